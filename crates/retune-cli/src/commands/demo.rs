//! `retune demo`: tries every method on two embedded tasks with a shift.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use retune::analysis::intervals::proportion_difference;
use retune::compare::{self, Comparison, MethodRow, Standing, table};
use retune::demo::{self, Task};
use retune::inference::Evaluation;
use retune::methods::layers::LayerSelection;
use retune::methods::{self, Layers, Method, MethodOptions, MethodSpec};
use retune::models::{HeadInitialization, Model};
use retune::monitor::Monitor;
use retune::report::findings::{points, shown_difference};
use retune::report::page::{Page, Section};
use retune::run::{self, FitError, Summary};
use retune::train::options::TrainOptions;
use retune::train::{Shared, TrainError, Trainer};
use retune::wording::{capitalized, listed};
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
        let outcome = Outcome::of(runs, task.name);
        outcomes.push((task, outcome));
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
    let name = capitalized(task.name);
    format!("{name} ({images} training images)\n{}\n\n{table}\n{first}{rest}\n", task.title)
}

/// What came of a task.
struct Outcome {
    runs: Vec<Summary>,
    comparison: Comparison,
    /// What was found, the most important first.
    sentences: Vec<String>,
}

impl Outcome {
    /// What came of a task with a shift of this name.
    fn of(runs: Vec<Summary>, shift: &str) -> Self {
        let row = |run: &Summary| {
            let mut row = MethodRow::new(&run.method);
            row.add(run.seed, run.clone(), None);
            row
        };
        let comparison = Comparison::new(runs.iter().map(row).collect(), &["shifted".to_owned()]);
        let mut sentences: Vec<String> = finding(&comparison, shift).into_iter().collect();
        sentences.extend(surprises(&runs, shift));
        Self { runs, comparison, sentences }
    }
}

/// Which method is best under a shift, and how the default does beside it.
fn finding(comparison: &Comparison, shift: &str) -> Option<String> {
    let shifted = comparison.results().iter().find(|result| result.column.set == "shifted")?;
    let best = shifted.methods.iter().find(|method| method.standing == Standing::Best)?;
    let default = shifted.methods.iter().find(|method| method.label == methods::DEFAULT.name)?;
    let (highest, own) = (best.estimate?.mean, default.estimate?.mean);
    let lost = shown_difference(own, highest);
    let beside = match (lost, default.standing) {
        (..0.0005, _) => "is as good".to_owned(),
        (_, Standing::Worse) => format!("is {} points lower", points(lost)),
        _ => format!("is {} points lower, which is not significant", points(lost)),
    };
    let (best, default) = (&best.label, &default.label);
    Some(format!(
        "Under {shift}, {best} is the most accurate, {:.1} %; the default, {default}, {beside}.",
        100.0 * highest
    ))
}

fn default_of(runs: &[Summary]) -> Option<&Summary> {
    runs.iter().find(|run| run.method == methods::DEFAULT.name)
}

/// How a method does beside the default where that is surprising: significantly better or worse under the shift, and not
/// so in distribution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Surprise {
    WorseThoughAsGood,
    WorseThoughBetter,
    BetterThoughWorse,
    BetterAndAsGood,
}

impl Surprise {
    /// From the 95 % intervals of how much better a method is than the default.
    fn of([own_low, own_high]: [f64; 2], [low, high]: [f64; 2]) -> Option<Self> {
        let (is_worse, is_better) = (high < 0.0, low > 0.0);
        match (own_high < 0.0, own_low > 0.0) {
            (false, false) if is_worse => Some(Self::WorseThoughAsGood),
            (false, true) if is_worse => Some(Self::WorseThoughBetter),
            (true, _) if is_better => Some(Self::BetterThoughWorse),
            (false, false) if is_better => Some(Self::BetterAndAsGood),
            _ => None,
        }
    }

    /// What is said of the methods under a shift, and in distribution.
    fn words(self) -> [&'static str; 2] {
        match self {
            Self::WorseThoughAsGood => ["worse", "though as good in distribution"],
            Self::WorseThoughBetter => ["worse", "though better in distribution"],
            Self::BetterThoughWorse => ["better", "though worse in distribution"],
            Self::BetterAndAsGood => ["better", "and as good in distribution"],
        }
    }
}

/// A sentence for each kind of surprise with the methods that it holds for; the largest difference first.
fn surprises(runs: &[Summary], shift: &str) -> Vec<String> {
    let Some(default) = default_of(runs) else { return Vec::new() };
    let found = runs.iter().filter_map(|run| Some((surprise(run, default)?, run.method.clone())));
    let mut kinds: BTreeMap<Surprise, Vec<(f64, String)>> = BTreeMap::new();
    for ((kind, size), method) in found {
        kinds.entry(kind).or_default().push((size, method));
    }
    for methods in kinds.values_mut() {
        methods.sort_by(|one, other| other.0.total_cmp(&one.0));
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by(|one, other| other.1[0].0.total_cmp(&one.1[0].0));
    let sentence = |(kind, methods): (Surprise, Vec<(f64, String)>)| {
        let named: Vec<String> =
            methods.iter().map(|(size, method)| format!("{method} ({} points)", points(*size))).collect();
        let is = if named.len() == 1 { "is" } else { "are" };
        let [under, in_distribution] = kind.words();
        format!("{} {is} {under} than {} under {shift}, {in_distribution}.", listed(&named), default.method)
    };
    kinds.into_iter().map(sentence).collect()
}

/// What is surprising in a method's row, with how large the difference under the shift is.
fn surprise(run: &Summary, default: &Summary) -> Option<(Surprise, f64)> {
    let gain = |set: &str| {
        let (own, other) = (run.splits.get(set)?, default.splits.get(set)?);
        let counts = |found: &Evaluation| ((found.accuracy * found.n as f64).round() as usize, found.n);
        let difference = shown_difference(other.accuracy, own.accuracy);
        Some((difference, proportion_difference(counts(own), counts(other))))
    };
    let ((_, on_test), (shifted, under_shift)) = (gain("test")?, gain("shifted")?);
    Some((Surprise::of(on_test, under_shift)?, shifted.abs()))
}

/// The page of both tasks.
fn page(outcomes: &[(Task, Outcome)], backbone: &Model) -> Page {
    let methods = outcomes.first().map_or(0, |(_, outcome)| outcome.runs.len());
    let mut page = Page::new(format!("Demo: {methods} methods on two shifted tasks"));
    for (task, outcome) in outcomes {
        page.verdict.extend(outcome.sentences.iter().cloned());
        let (mut table, scatter) = compare::page::sections(&outcome.comparison);
        table.note = format!("{}. {}", task.title, table.note);
        // Across the whole page, so that a figure stays below its own table.
        let sections = std::iter::once(table).chain(scatter.map(Section::wide));
        let of_task = |section: Section| Section {
            title: format!("{}: {}", capitalized(task.name), section.title.to_lowercase()),
            ..section
        };
        page.sections.extend(sections.map(of_task));
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
            run("wise-ft", 895, 490),
            run("same", 905, 610),
            run("worse", 700, 400),
            run("better", 905, 690),
            run("overfitted", 950, 540),
        ];
        let expected = [
            "lp-ft (12.0 points) and wise-ft (11.0 points) are worse than ft under fog, though as good in distribution.",
            "lp (10.0 points) is better than ft under fog, though worse in distribution.",
            "better (9.0 points) is better than ft under fog, and as good in distribution.",
            "overfitted (6.0 points) is worse than ft under fog, though better in distribution.",
        ];
        assert_eq!(surprises(&runs, "fog"), expected);
    }

    #[test]
    fn the_default_is_called_lower_by_a_significant_difference_alone() {
        let found = |runs: [Summary; 2]| Outcome::of(runs.into(), "fog").sentences.remove(0);
        assert_eq!(
            found([run("lp", 800, 700), run("ft", 900, 600)]),
            "Under fog, lp is the most accurate, 70.0 %; the default, ft, is 10.0 points lower."
        );
        assert_eq!(
            found([run("lp", 900, 610), run("ft", 900, 600)]),
            "Under fog, lp is the most accurate, 61.0 %; the default, ft, is 1.0 points lower, which is not significant."
        );
        assert!(found([run("lp", 900, 600), run("ft", 900, 600)]).ends_with("; the default, ft, is as good."));
    }

    #[test]
    fn each_figure_of_the_page_says_its_task() {
        let outcome = |shift| Outcome::of(vec![run("lp", 800, 700), run("ft", 900, 600)], shift);
        let tasks = [demo::subpopulation_shift().unwrap(), demo::input_shift().unwrap()];
        let outcomes = tasks.map(|task| {
            let outcome = outcome(task.name);
            (task, outcome)
        });
        let page = page(&outcomes, &demo::backbone().unwrap());
        let titles: Vec<&str> = page.sections.iter().map(|section| section.title.as_str()).collect();
        assert_eq!(
            titles,
            [
                "Subpopulation shift: accuracy",
                "Subpopulation shift: in distribution and under shift",
                "Input shift: accuracy",
                "Input shift: in distribution and under shift",
            ]
        );
        assert!(page.sections.iter().all(|section| section.wide));
    }
}
