//! Which learning rates suit a model and data, before any run.

use serde::{Deserialize, Serialize};

use crate::methods::{Method, MethodOptions};
use crate::models::HeadInitialization;
use crate::monitor::Monitor;
use crate::plan::{Gradient, Plan, Solver};
use crate::run::{self, FitError, FitOptions, PlanSource};
use crate::sources::ReadImages;
use crate::train::Trainer;
use crate::train::range_test::{RangeCurve, RangeTestOptions, Suggestions};

/// Name of the group of everything that the plan trains.
pub const WHOLE: &str = "all";

/// The range test of one group of blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupTest {
    /// `all`, or a stage's name.
    pub group: String,
    /// Rates that the curve suggests.
    pub suggestions: Suggestions,
    /// Loss against learning rate.
    pub curve: RangeCurve,
}

/// Runs the range test on what full fine-tuning would train and, with `groups`, on each stage alone.
///
/// The model starts as a fit would. A new head trains along with every stage: without it, under a
/// head of zeros, no gradient would reach the body.
///
/// # Errors
/// As a fit: data and models that do not go together; an interruption.
pub fn find(
    options: &FitOptions,
    test: &RangeTestOptions,
    groups: bool,
    monitor: &dyn Monitor,
) -> Result<Vec<GroupTest>, FitError> {
    let (model, mut data) = run::open(options)?;
    model.tell_notes(monitor);
    data.tell_notes(monitor);
    if options.skip_bad {
        data.leave_out_unreadable(&options.data, &ReadImages::default(), monitor)?;
    }
    let new_head = options.head_initialization != HeadInitialization::Keep;
    let plan = PlanSource::Method(Method::FT, MethodOptions::default()).resolve(&model)?;
    let trainer = Trainer::new(&data.train, &data.validation).options(options.train.clone());
    let mut stages = vec![WHOLE.to_owned()];
    if groups {
        stages.extend(model.blocks().iter().map(|block| block.stage.clone()));
        stages.dedup();
    }
    let blocks = model.blocks();
    stages
        .into_iter()
        .map(|group| {
            let chosen =
                |index: usize| group == WHOLE || blocks[index].stage == group || (new_head && index == model.head());
            let names = (0..blocks.len()).filter(|&index| chosen(index)).map(|index| blocks[index].name.clone());
            let settings = Gradient { rate_factors: names.map(|name| (name, 1.0)).collect(), ..first_descent(&plan) };
            let curve = trainer.range_test(&model, &settings, test, &format!("range test of {group}"), monitor)?;
            Ok(GroupTest { suggestions: curve.suggestions(test), group, curve })
        })
        .collect()
}

fn first_descent(plan: &Plan) -> Gradient {
    let descents = plan.phases.iter().filter_map(|phase| match &phase.solver {
        Solver::Gradient(gradient) => Some(gradient.clone()),
        _ => None,
    });
    descents.into_iter().next().unwrap_or_default()
}
