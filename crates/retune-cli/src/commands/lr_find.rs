//! `retune lr-find`: runs the learning-rate range test.

use std::path::{Path, PathBuf};

use clap::Args;
use retune::advise::learning_rate::{self, GroupTest};
use retune::compare::runner;
use retune::files;
use retune::report::range_test;
use retune::run::{self, FitOptions};
use retune::train::range_test::{RangeTestOptions, Suggestions};

use crate::arguments::data::EvaluationArguments;
use crate::arguments::model::{ModelArguments, PreprocessingArguments};
use crate::arguments::parse;
use crate::arguments::run::RunArguments;
use crate::arguments::training::TrainingArguments;
use crate::failure::Failure;
use crate::output::Console;
use crate::output::table::{Align, Table};

/// Options of `retune lr-find`.
#[derive(Args)]
pub struct LrFindArguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Training images, in any layout that `retune fit` takes
    #[arg(short, long, value_name = "PATH", help_heading = "Data")]
    data: PathBuf,
    /// Also test each stage alone
    #[arg(long, help_heading = "Range test")]
    groups: bool,
    /// First learning rate
    #[arg(long, value_name = "X", default_value = "1e-7", value_parser = parse::positive, help_heading = "Range test",
          allow_hyphen_values = true)]
    from: f64,
    /// Last learning rate
    #[arg(long, value_name = "X", default_value = "10", value_parser = parse::positive, help_heading = "Range test",
          allow_hyphen_values = true)]
    to: f64,
    /// Number of steps, one batch each
    #[arg(long, value_name = "N", default_value = "100", value_parser = parse::count, help_heading = "Range test",
          allow_hyphen_values = true)]
    steps: usize,
    /// Write the curves (lr_find.json, lr_find.svg, lr_find.png) to this folder
    #[arg(short, long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    #[command(flatten)]
    training: TrainingArguments,
    #[command(flatten)]
    preprocessing: PreprocessingArguments,
}

/// Runs the test and prints what it suggests.
pub fn run(arguments: &LrFindArguments, console: &Console) -> Result<(), Failure> {
    if arguments.from >= arguments.to {
        let reason = format!("--from {} must be below --to {}", arguments.from, arguments.to);
        return Err(Failure::Mistake(reason));
    }
    arguments.out.as_deref().map_or(Ok(()), |out| check_out(out, &arguments.data))?;
    let groups = RunArguments {
        data: &arguments.data,
        model: &arguments.model,
        evaluations: &EvaluationArguments::default(),
        training: &arguments.training,
        preprocessing: &arguments.preprocessing,
    };
    let options = groups.options(console)?;
    let test = RangeTestOptions { lowest: arguments.from, highest: arguments.to, steps: arguments.steps };
    let tests = learning_rate::find(&options, &test, arguments.groups, &console.progress)?;
    if let Some(out) = &arguments.out {
        files::create_folder(out)?;
        let text = serde_json::to_string_pretty(&tests).map_err(|error| Failure::Mistake(error.to_string()))?;
        files::write_atomically(&out.join("lr_find.json"), |file| file.write_all(text.as_bytes()))?;
        let plot = range_test::plot(&tests, &what(&options));
        plot.save_both(out, "lr_find").map_err(|error| Failure::Mistake(error.to_string()))?;
    }
    console.print(&tests, || describe(&tests))
}

/// Checks that the curves do not go where other files belong.
fn check_out(out: &Path, data: &Path) -> Result<(), Failure> {
    let holds = if out.exists() && !out.is_dir() {
        "is a file"
    } else if run::read_options(out).is_ok() {
        "holds a run"
    } else if runner::is_comparison(out) {
        "holds a comparison"
    } else if files::are_same(out, data) {
        "holds the data"
    } else {
        return Ok(());
    };
    Err(Failure::Mistake(format!("{} {holds}; choose another --out", out.display())))
}

fn advice(found: Suggestions) -> String {
    match found.recommended() {
        None if found.within_noise => "no rate stands out: the loss falls by little more than it varies from batch to batch, as \
                                       with a head that already fits; leave out --lr, so that fit searches by validation, or \
                                       try more --steps"
            .to_owned(),
        Some(rate) => {
            let around = [rate / 3.0, rate, 3.0 * rate].map(|rate| format!("{rate:.1e}")).join(",");
            format!("try --lr {rate:.1e}, or let validation choose with --lr {around}")
        }
        None => {
            "no rate stands out: the loss did not fall; try other --from and --to, or more --steps".to_owned()
        }
    }
}

fn describe(tests: &[GroupTest]) -> String {
    let columns =
        [("trained", Align::Left), ("steep", Align::Right), ("valley", Align::Right), ("minimum / 10", Align::Right)];
    let mut table = Table::new(columns);
    let rate = |rate: Option<f64>| rate.map_or_else(|| "–".to_owned(), |rate| format!("{rate:.1e}"));
    for test in tests {
        let found = test.suggestions;
        table.row([test.group.clone(), rate(found.steep), rate(found.valley), rate(found.minimum)]);
    }
    let advice = advice(tests.first().map(|test| test.suggestions).unwrap_or_default());
    let limit = tests.first().map(|test| limit(test.curve.above_start(), test.curve.too_large)).unwrap_or_default();
    format!("{table}\n{advice}{limit}\n")
}

/// From where on rates are too large.
fn limit(above_start: Option<f64>, too_large: Option<f64>) -> String {
    match (above_start, too_large) {
        (Some(above), Some(explodes)) if above < explodes => {
            format!("; from {above:.1e} on the loss is above its start, and at {explodes:.1e} it explodes")
        }
        (Some(above), _) => format!("; from {above:.1e} on the loss is above its start"),
        (None, Some(explodes)) => format!("; at {explodes:.1e} the loss explodes"),
        (None, None) => String::new(),
    }
}

/// What was trained on what, by the last parts of paths.
fn what(options: &FitOptions) -> String {
    let last =
        |path: &Path| path.file_name().map_or_else(|| path.display().to_string(), |name| name.display().to_string());
    let model = match (&options.model.path, &options.model.architecture) {
        (Some(path), _) => last(path),
        (None, architecture) => architecture.clone().unwrap_or_default(),
    };
    format!("{model} on {}", last(&options.data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_when_it_cannot_tell() {
        let clear = Suggestions { valley: Some(1e-5), steep: Some(3e-4), ..Suggestions::default() };
        assert!(advice(clear).starts_with("try --lr 3.0e-4, or let validation choose with --lr 1.0e-4,3.0e-4,9.0e-4"));
        assert!(advice(Suggestions { within_noise: true, ..clear }).contains("little more than it varies"));
        assert!(advice(Suggestions::default()).contains("the loss did not fall"));
        assert_eq!(
            limit(Some(3.3e-3), Some(8.9e-2)),
            "; from 3.3e-3 on the loss is above its start, and at 8.9e-2 it explodes"
        );
        assert_eq!(limit(None, Some(1.0)) + &limit(None, None), "; at 1.0e0 the loss explodes");
    }
}
