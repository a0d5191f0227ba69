//! `retune wise-ft`: evaluates models on the line between the start and the end of a run.

use std::path::PathBuf;

use clap::Args;
use retune::files;
use retune::merge::RunCurve;
use retune::report;
use retune::run::CurvePoint;

use crate::arguments::data::EvaluationArguments;
use crate::arguments::model::absolute;
use crate::arguments::output_file::check_vacant;
use crate::arguments::parse;
use crate::failure::Failure;
use crate::output::Console;
use crate::output::results::percent;
use crate::output::table::{Align, Table};

/// Options of `retune wise-ft`.
#[derive(Args)]
pub struct WiseFtArguments {
    /// Finished run, the end of the line
    run: PathBuf,
    /// Run or model directory with the same classes, the start of the line [default: the run's pretrained model with
    /// the head of a linear probe]
    #[arg(long, value_name = "PATH")]
    from: Option<PathBuf>,
    /// Weights of the run in the average, separated by commas
    #[arg(long, value_name = "X,…", value_delimiter = ',', value_parser = parse::share, allow_hyphen_values = true,
          default_value = "0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,1")]
    alphas: Vec<f64>,
    #[command(flatten)]
    evaluations: EvaluationArguments,
    /// Write the curve (curve.json, curve.svg, curve.png) to this folder
    #[arg(short, long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Write the model at this alpha, or at the best on validation, to model/ in the folder
    #[arg(long, value_name = "X|best", value_parser = share_or_best, requires = "out", allow_hyphen_values = true)]
    save_alpha: Option<SavedShare>,
}

#[derive(Clone, Copy, Debug)]
enum SavedShare {
    Best,
    Share(f64),
}

fn share_or_best(text: &str) -> Result<SavedShare, String> {
    match text {
        "best" => Ok(SavedShare::Best),
        _ => parse::share(text).map(SavedShare::Share).map_err(|_| "must be a number from 0 to 1, or best".into()),
    }
}

/// Evaluates the line and prints a table.
pub fn run(arguments: &WiseFtArguments, console: &Console) -> Result<(), Failure> {
    let mut further = arguments.evaluations.sources(console)?;
    for source in &mut further {
        source.path = absolute(&source.path);
    }
    if let (Some(out), Some(_)) = (&arguments.out, arguments.save_alpha) {
        // A run's directory holds a model of its own.
        check_vacant(&out.join("model"))?;
    }
    let from = arguments.from.as_deref();
    let curve = RunCurve::measure(&arguments.run, from, &arguments.alphas, &further, &console.progress)?;
    if let Some(out) = &arguments.out {
        files::create_folder(out)?;
        let text = serde_json::to_string_pretty(&curve.points).map_err(|error| Failure::Mistake(error.to_string()))?;
        files::write_atomically(&out.join("curve.json"), |file| file.write_all(text.as_bytes()))?;
        let plot = report::pictures::interpolation(
            "Along the line between two models",
            &curve.points,
            curve.best_on_validation(),
        );
        plot.save_both(out, "curve").map_err(|error| Failure::Mistake(error.to_string()))?;
        let share = match arguments.save_alpha {
            Some(SavedShare::Share(share)) => Some(share),
            Some(SavedShare::Best) => curve.best_on_validation(),
            None => None,
        };
        if let Some(share) = share {
            curve.save(share, &out.join("model"), &console.progress)?;
        }
    }
    let best =
        curve.best_on_validation().map(|alpha| format!("\nbest on validation: alpha {alpha}\n")).unwrap_or_default();
    console.print(&curve.points, || format!("{}{best}", table(&curve.points)))
}

fn table(points: &[CurvePoint]) -> Table {
    let sets = points.first().map(|point| point.splits.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let columns = std::iter::once("alpha".to_owned()).chain(sets).map(|heading| (heading, Align::Right));
    let mut table = Table::new(columns);
    for point in points {
        let scores = point.splits.values().map(|evaluation| percent(evaluation.score()));
        table.row(std::iter::once(point.alpha.to_string()).chain(scores));
    }
    table
}
