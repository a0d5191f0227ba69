//! `retune plan`: prints a plan before anything trains.

use std::path::PathBuf;

use clap::Args;
use retune::models::{Block, HeadInitialization, Model};
use retune::monitor::Monitor;
use retune::plan::Plan;
use retune::run;
use retune::train::estimate::Estimate;
use serde::Serialize;

use crate::arguments::data::EvaluationArguments;
use crate::arguments::given::GivenOptions;
use crate::arguments::method::MethodArguments;
use crate::arguments::model::{ModelArguments, PreprocessingArguments};
use crate::arguments::run::RunArguments;
use crate::arguments::training::TrainingArguments;
use crate::failure::Failure;
use crate::output::{Console, estimate, plan as shown};

/// Options of `retune plan`.
#[derive(Args)]
pub struct PlanArguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    method: MethodArguments,
    /// Images, in any layout that `retune fit` takes, for an estimate of time and memory
    #[arg(short, long, value_name = "PATH", help_heading = "Data")]
    data: Option<PathBuf>,
    #[command(flatten)]
    evaluations: EvaluationArguments,
    #[command(flatten)]
    training: TrainingArguments,
    #[command(flatten)]
    preprocessing: PreprocessingArguments,
    /// Print the plan as TOML, to edit and pass to `retune fit --plan`
    #[arg(long, conflicts_with = "json")]
    toml: bool,
}

/// A plan, and what it would take where that can be known.
#[derive(Serialize)]
struct Estimated<'a> {
    #[serde(flatten)]
    document: Document<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimate: Option<&'a Estimate>,
}

/// The plan with what its block names stand for.
#[derive(Serialize)]
struct Document<'a> {
    architecture: &'a str,
    blocks: Vec<BlockSize<'a>>,
    #[serde(flatten)]
    plan: &'a Plan,
}

#[derive(Serialize)]
struct BlockSize<'a> {
    #[serde(flatten)]
    block: &'a Block,
    parameters: usize,
}

/// Prints the plan for the model.
pub fn run(arguments: &PlanArguments, console: &Console) -> Result<(), Failure> {
    let source = arguments.method.source(&arguments.training.head, &GivenOptions::default())?;
    let Some(data) = arguments.data.as_deref() else {
        let model = arguments.model.load(&arguments.preprocessing.change(), console)?;
        let model = with_a_head(model, console)?;
        let plan = source.resolve(&model)?;
        if arguments.toml {
            return console.write(plan.to_toml()?.trim_end());
        }
        return print(&model, &plan, None, console);
    };
    let groups = RunArguments {
        data,
        model: &arguments.model,
        evaluations: &arguments.evaluations,
        training: &arguments.training,
        preprocessing: &arguments.preprocessing,
    };
    let (model, plan, estimate) = run::dry_run(&groups.options(console)?, &source)?;
    if arguments.toml {
        return console.write(plan.to_toml()?.trim_end());
    }
    print(&model, &plan, Some(&estimate), console)
}

/// Prints a plan with what it would take.
pub fn print(model: &Model, plan: &Plan, estimate: Option<&Estimate>, console: &Console) -> Result<(), Failure> {
    let sizes = model.blocks().iter().zip(model.block_parameters());
    let document = Document {
        architecture: model.config().architecture(),
        blocks: sizes.map(|(block, parameters)| BlockSize { block, parameters }).collect(),
        plan,
    };
    let document = Estimated { document, estimate };
    console.print(&document, || {
        let plan = shown::describe(plan, model, console.is_verbose());
        format!("{plan}\n{}", estimate::describe(estimate))
    })
}

/// The model, with a head of two classes where it has none: training gives it one, and the plan has a rate for it.
fn with_a_head(model: Model, console: &Console) -> Result<Model, Failure> {
    if model.config().num_classes() > 0 {
        return Ok(model);
    }
    console.progress.message("note: the model has no classifier; the plan assumes a new head with two classes");
    Ok(model.with_classes(&["0", "1"].map(String::from), HeadInitialization::Zeros, 0)?)
}
