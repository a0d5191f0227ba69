//! `retune plan`: prints a plan before anything trains.

use clap::Args;
use retune::models::{Block, HeadInitialization, Model};
use retune::monitor::Monitor;
use retune::plan::Plan;
use serde::Serialize;

use crate::arguments::method::MethodArguments;
use crate::arguments::model::{ModelArguments, PreprocessingArguments};
use crate::arguments::training::HeadArguments;
use crate::failure::Failure;
use crate::output::{Console, plan as shown};

/// Options of `retune plan`.
#[derive(Args)]
pub struct PlanArguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    method: MethodArguments,
    #[command(flatten)]
    head: HeadArguments,
    #[command(flatten)]
    preprocessing: PreprocessingArguments,
    /// Print the plan as TOML, to edit and pass to `retune fit --plan`
    #[arg(long, conflicts_with = "json")]
    toml: bool,
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
    let source = arguments.method.source(&arguments.head)?;
    let model = arguments.model.load(&arguments.preprocessing.change(), console)?;
    let model = with_a_head(model, console)?;
    let plan = source.resolve(&model)?;
    if arguments.toml {
        return console.write(plan.to_toml()?.trim_end());
    }
    let sizes = model.blocks().iter().zip(model.block_parameters());
    let document = Document {
        architecture: model.config().architecture(),
        blocks: sizes.map(|(block, parameters)| BlockSize { block, parameters }).collect(),
        plan: &plan,
    };
    console.print(&document, || shown::describe(&plan, &model, console.is_verbose()))
}

/// The model, with a head of two classes where it has none: training gives it one, and the plan has a rate for it.
fn with_a_head(model: Model, console: &Console) -> Result<Model, Failure> {
    if model.config().num_classes() > 0 {
        return Ok(model);
    }
    console.progress.message("note: the model has no classifier; the plan assumes a new head with two classes");
    Ok(model.with_classes(&["0", "1"].map(String::from), HeadInitialization::Zeros, 0)?)
}
