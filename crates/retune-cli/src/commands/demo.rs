//! `retune demo`: tries every method on two embedded tasks with a shift.

use clap::Args;
use retune::compare::{Comparison, MethodRow, table};
use retune::demo::{self, Task};
use retune::methods::layers::LayerSelection;
use retune::methods::{self, Layers, Method, MethodOptions, MethodSpec};
use retune::models::{HeadInitialization, Model};
use retune::monitor::Monitor;
use retune::run::{self, FitError, Summary};
use retune::train::options::TrainOptions;
use retune::train::{Shared, TrainError, Trainer};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::color::bold;
use crate::output::{Console, results};

const EPOCHS: usize = 4;
const LEARNING_RATES: [f64; 2] = [1e-3, 3e-3];

/// Options of `retune demo`.
#[derive(Args)]
pub struct DemoArguments {
    /// Random seed
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,
}

#[derive(Serialize)]
struct TaskResults {
    task: &'static str,
    runs: Vec<Summary>,
}

/// Fits each method on each task and prints the tables.
pub fn run(arguments: &DemoArguments, console: &Console) -> Result<(), Failure> {
    let backbone = demo::backbone()?;
    let mut results = Vec::new();
    let mut text = String::new();
    for task in [demo::subpopulation_shift()?, demo::input_shift()?] {
        let mut runs = Vec::new();
        let shared = Shared::default();
        for spec in specs(&task) {
            console.progress.message(&format!("{}: {}", task.name, spec.label()));
            let summary = fit(&task, &spec, &backbone, arguments.seed, &shared, console)?;
            runs.push(Summary { method: spec.label(), ..summary });
        }
        text.push_str(&describe(&task, &runs));
        results.push(TaskResults { task: task.name, runs });
    }
    text.push_str("Validation images chose rates and epochs; shifted images did not influence any choice.\n");
    text.push_str(
        "On your own images:\n  retune fit --model MODEL --data IMAGES --eval shifted=OTHER_IMAGES --out RUN\n  retune compare \
         --model MODEL --data IMAGES --eval shifted=OTHER_IMAGES --methods all --out RUNS\n",
    );
    console.print(&results, || text)
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

fn describe(task: &Task, runs: &[Summary]) -> String {
    let row = |run: &Summary| {
        let mut row = MethodRow::new(&run.method);
        row.add(run.seed, run.clone(), None);
        row
    };
    let comparison = Comparison::new(runs.iter().map(row).collect(), &["shifted".to_owned()]);
    let images = runs.first().map_or(0, |run| run.training_images);
    let finding = finding(runs).unwrap_or_default();
    format!(
        "{} ({images} training images)\n{}\n\n{}\n{finding}\n",
        task.name,
        task.title,
        results::comparison(&table::rows(&comparison))
    )
}

/// Which method is best under shift, and how the default does beside it.
fn finding(runs: &[Summary]) -> Option<String> {
    let shifted = |run: &Summary| run.splits.get("shifted").map(|found| found.accuracy);
    let best = runs.iter().max_by(|one, other| {
        let accuracy = |run: &Summary| shifted(run).unwrap_or(f64::NEG_INFINITY);
        accuracy(one).total_cmp(&accuracy(other))
    })?;
    let default = runs.iter().find(|run| run.method == methods::DEFAULT.name)?;
    let (highest, own) = (shifted(best)?, shifted(default)?);
    let best_is = format!("Highest accuracy under this shift: {}, {:.1} %", best.method, 100.0 * highest);
    let points = 100.0 * (highest - own);
    Some(match points < 0.05 {
        true => format!("{}\n", bold(&format!("{best_is}; the default, {}, is as good.", default.method))),
        false => format!(
            "{}\nThe default, {}, is {points:.1} points lower. Which method is best depends on the shift, so compare \
             methods on your own images.\n",
            bold(&format!("{best_is}.")),
            default.method
        ),
    })
}
