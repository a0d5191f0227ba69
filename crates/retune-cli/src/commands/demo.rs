//! `retune demo`: tries every method on two embedded tasks with a shift.

use std::path::PathBuf;

use clap::Args;
use retune::analysis::intervals::proportion_difference;
use retune::compare::{self, Comparison, MethodRow, table};
use retune::demo::{self, Task};
use retune::inference::Evaluation;
use retune::methods::layers::LayerSelection;
use retune::methods::{self, Layers, Method, MethodOptions, MethodSpec};
use retune::models::{HeadInitialization, Model};
use retune::monitor::Monitor;
use retune::report::page::Page;
use retune::run::{self, FitError, Summary};
use retune::train::options::TrainOptions;
use retune::train::{Shared, TrainError, Trainer};
use serde::Serialize;

use crate::arguments::parse;
use crate::failure::Failure;
use crate::output::color::bold;
use crate::output::{Console, results};

const EPOCHS: usize = 4;
const LEARNING_RATES: [f64; 2] = [1e-3, 3e-3];

/// Options of `retune demo`.
#[derive(Args)]
pub struct DemoArguments {
    /// Random seed
    #[arg(long, value_name = "N", default_value = "0", value_parser = parse::seed, allow_hyphen_values = true)]
    seed: u64,
    /// Page to write [default: retune-demo.html in the folder for temporary files]
    #[arg(short, long, value_name = "FILE.html")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct TaskResults<'a> {
    task: &'static str,
    runs: &'a [Summary],
}

/// Fits each method on each task, writes a page, and prints the tables.
pub fn run(arguments: &DemoArguments, console: &Console) -> Result<(), Failure> {
    let backbone = demo::backbone()?;
    let mut outcomes = Vec::new();
    for task in [demo::subpopulation_shift()?, demo::input_shift()?] {
        let mut runs = Vec::new();
        let shared = Shared::default();
        for spec in specs(&task) {
            console.progress.message(&format!("{}: {}", task.name, spec.label()));
            let summary = fit(&task, &spec, &backbone, arguments.seed, &shared, console)?;
            runs.push(Summary { method: spec.label(), ..summary });
        }
        outcomes.push((task, Outcome::of(runs)));
    }
    let report = write(&page(&outcomes, &backbone), arguments, console)?;
    let results: Vec<TaskResults> =
        outcomes.iter().map(|(task, outcome)| TaskResults { task: task.name, runs: &outcome.runs }).collect();
    console.print(&results, || {
        let tasks: String = outcomes.iter().map(|(task, outcome)| describe(task, outcome)).collect();
        let report = report.map(|path| format!("\nreport: {}\n", path.display())).unwrap_or_default();
        format!("{tasks}{ON_YOUR_OWN}{report}")
    })
}

/// What the demo leaves to say.
const ON_YOUR_OWN: &str = "\
Which method is best depends on the shift, so compare methods on your own images. Validation images chose rates and epochs;
shifted images did not influence any choice.
Next: fine-tune a model, and see what it loses on images from elsewhere:
  retune fit --model MODEL --data IMAGES --eval shifted=OTHER_IMAGES --out RUN
Next: see which method loses least:
  retune compare --model MODEL --data IMAGES --eval shifted=OTHER_IMAGES --methods all --out RUNS
";

/// Writes the page. A file that was not asked for can be missing.
fn write(page: &Page, arguments: &DemoArguments, console: &Console) -> Result<Option<PathBuf>, Failure> {
    let path = arguments.out.clone().unwrap_or_else(|| std::env::temp_dir().join("retune-demo.html"));
    match page.save(&path) {
        Ok(()) => Ok(Some(path)),
        Err(error) if arguments.out.is_some() => Err(FitError::from(error).into()),
        Err(error) => {
            console.progress.message(&format!("note: there is no report: {error}"));
            Ok(None)
        }
    }
}

/// Every method; those that need layers with the ones that Lee et al. 2023 found best for such a shift.
fn specs(task: &Task) -> Vec<MethodSpec> {
    let layers = LayerSelection::Range { first: Some(task.surgical[0].into()), last: Some(task.surgical[1].into()) };
    let spec = |method: &Method| match method.layers {
        Layers::Needed => MethodSpec { method: *method, layers: layers.clone() },
        Layers::Whole | Layers::Taken => MethodSpec::from(*method),
    };
    methods::ALL.iter().map(spec).collect()
}

fn fit(
    task: &Task,
    spec: &MethodSpec,
    backbone: &Model,
    seed: u64,
    shared: &Shared,
    console: &Console,
) -> Result<Summary, Failure> {
    let data = task.data(seed)?;
    let model = backbone.with_classes(&data.train.classes, HeadInitialization::Zeros, seed)?;
    let method_options =
        MethodOptions { epochs: EPOCHS, learning_rates: LEARNING_RATES.into(), ..MethodOptions::default() };
    let plan = spec
        .method
        .plan(model.blocks(), &spec.options(&method_options))
        .map_err(|error| Failure::Mistake(error.to_string()))?;
    let options = TrainOptions { seed, batch_size: 64, threads: console.threads, ..TrainOptions::default() };
    let trainer = Trainer::new(&data.train, &data.validation).options(options.clone()).sharing(shared);
    let trained = trainer.run(&plan, model, &console.progress).map_err(of_training)?;
    Ok(run::summarize(&plan, &options, &trained, &data, &console.progress)?)
}

fn of_training(error: TrainError) -> Failure {
    // Nothing of the demo is kept on disk, so there is nothing to go on with.
    FitError::from(error).into()
}

/// A task's table and what it shows, as text.
fn describe(task: &Task, outcome: &Outcome) -> String {
    let images = outcome.runs.first().map_or(0, |run| run.training_images);
    let mut sentences = outcome.sentences.iter();
    let first = sentences.next().map(|first| format!("{}\n", bold(first))).unwrap_or_default();
    let rest: String = sentences.map(|sentence| format!("{sentence}\n")).collect();
    let table = results::comparison(&table::rows(&outcome.comparison));
    format!("{} ({images} training images)\n{}\n\n{table}\n{first}{rest}\n", task.name, task.title)
}

/// What came of a task.
struct Outcome {
    runs: Vec<Summary>,
    comparison: Comparison,
    /// What was found, the most important first.
    sentences: Vec<String>,
}

impl Outcome {
    fn of(runs: Vec<Summary>) -> Self {
        let row = |run: &Summary| {
            let mut row = MethodRow::new(&run.method);
            row.add(run.seed, run.clone(), None);
            row
        };
        let comparison = Comparison::new(runs.iter().map(row).collect(), &["shifted".to_owned()]);
        let mut sentences: Vec<String> = finding(&runs).into_iter().collect();
        sentences.extend(surprises(&runs));
        Self { runs, comparison, sentences }
    }
}

/// Which method is best under shift, and how the default does beside it.
fn finding(runs: &[Summary]) -> Option<String> {
    let shifted = |run: &Summary| run.splits.get("shifted").map(|found| found.accuracy);
    let best = runs.iter().max_by(|one, other| {
        let accuracy = |run: &Summary| shifted(run).unwrap_or(f64::NEG_INFINITY);
        accuracy(one).total_cmp(&accuracy(other))
    })?;
    let default = default_of(runs)?;
    let (highest, own) = (shifted(best)?, shifted(default)?);
    let lost = 100.0 * (highest - own);
    let beside = match lost {
        ..0.05 => format!("the default, {}, is as good", default.method),
        _ => format!("the default, {}, is {lost:.1} points lower", default.method),
    };
    Some(format!("Highest accuracy under this shift: {}, {:.1} %; {beside}.", best.method, 100.0 * highest))
}

fn default_of(runs: &[Summary]) -> Option<&Summary> {
    runs.iter().find(|run| run.method == methods::DEFAULT.name)
}

/// A sentence for each method that does significantly better or worse under shift than on data as in training, beside the
/// default; the largest difference first.
fn surprises(runs: &[Summary]) -> Vec<String> {
    let Some(default) = default_of(runs) else { return Vec::new() };
    let mut found: Vec<(f64, String)> = runs.iter().filter_map(|run| surprise(run, default)).collect();
    found.sort_by(|one, other| other.0.total_cmp(&one.0));
    found.into_iter().map(|(_, sentence)| sentence).collect()
}

/// What is surprising in a method's row, with how large it is.
fn surprise(run: &Summary, default: &Summary) -> Option<(f64, String)> {
    let gain = |set: &str| {
        let (own, other) = (run.splits.get(set)?, default.splits.get(set)?);
        let counts = |found: &Evaluation| ((found.accuracy * found.n as f64).round() as usize, found.n);
        Some((own.accuracy - other.accuracy, proportion_difference(counts(own), counts(other))))
    };
    let ((on_test, [test_low, test_high]), (shifted, [low, high])) = (gain("test")?, gain("shifted")?);
    let method = &run.method;
    let points = |share: f64| format!("{:.1} points", 100.0 * share.abs());
    let like = if test_low > 0.0 {
        format!("is {} better than {} on images as in training", points(on_test), default.method)
    } else if test_high < 0.0 {
        format!("is {} worse than {} on images as in training", points(on_test), default.method)
    } else {
        format!("is as good as {} on images as in training", default.method)
    };
    // Better here and worse there, or a difference in one of them.
    let sentence = if high < 0.0 && test_high >= 0.0 {
        format!("{method} {like}, but {} worse under the shift.", points(shifted))
    } else if low > 0.0 && test_high < 0.0 {
        format!("{method} {like}, but {} better under the shift.", points(shifted))
    } else if low > 0.0 && test_low <= 0.0 {
        format!("{method} {like}, and {} better under the shift.", points(shifted))
    } else {
        return None;
    };
    Some((shifted.abs(), sentence))
}

/// The page of both tasks.
fn page(outcomes: &[(Task, Outcome)], backbone: &Model) -> Page {
    let methods = outcomes.first().map_or(0, |(_, outcome)| outcome.runs.len());
    let mut page = Page::new(format!("Demo: {methods} methods on two shifted tasks"));
    for (task, outcome) in outcomes {
        page.verdict.extend(outcome.sentences.iter().map(|sentence| format!("{}: {sentence}", task.name)));
        let (mut table, scatter) = compare::page::sections(&outcome.comparison);
        table.title = format!("{}: {}", task.name, table.title.to_lowercase());
        table.note = format!("{}. {}", task.title, table.note);
        page.sections.push(table);
        page.sections.extend(scatter);
    }
    page.facts = vec![
        ("Model".into(), format!("{}, embedded", backbone.config().architecture())),
        ("Data".into(), "Fashion-MNIST, embedded".into()),
    ];
    page
}

#[cfg(test)]
mod tests {
    use retune::analysis::intervals::wilson_interval;

    use super::*;

    /// A run that is right about so many of 1,000 images as in training, and of 1,000 shifted ones.
    fn run(method: &str, test: usize, shifted: usize) -> Summary {
        let set = |right: usize| {
            serde_json::json!({ "n": 1000, "accuracy": right as f64 / 1000.0, "accuracy_interval": wilson_interval(right, 1000),
                "balanced_accuracy": 0.5, "loss": 1.0 })
        };
        let summary = serde_json::json!({ "method": method, "architecture": "resnet18", "seed": 0, "best_epoch": 1,
            "seconds": 1.0, "training_images": 10, "trained_parameters": 10, "classes": ["a", "b"], "phases": [],
            "splits": { "test": set(test), "shifted": set(shifted) } });
        Summary::from_json(&summary.to_string()).unwrap()
    }

    #[test]
    fn surprising_rows_are_told_and_others_are_not() {
        // Differences of 1,000 images are significant from about 4 points on.
        let runs = [
            run("lp", 800, 700),
            run("ft", 900, 600),
            run("lp-ft", 900, 480),
            run("same", 905, 610),
            run("worse", 700, 400),
            run("better", 905, 690),
        ];
        let found = surprises(&runs);
        let expected = [
            "lp-ft is as good as ft on images as in training, but 12.0 points worse under the shift.",
            "lp is 10.0 points worse than ft on images as in training, but 10.0 points better under the shift.",
            "better is as good as ft on images as in training, and 9.0 points better under the shift.",
        ];
        assert_eq!(found, expected);
        let best = finding(&runs).unwrap();
        assert_eq!(best, "Highest accuracy under this shift: lp, 70.0 %; the default, ft, is 10.0 points lower.");
    }
}
