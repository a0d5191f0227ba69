//! What the runs of a comparison would take, before the first of them.

use serde::Serialize;

use super::runner::{CompareError, CompareOptions};
use crate::monitor::Monitor;
use crate::train::TrainError;
use crate::train::estimate::{Estimate, MemorySoFar, estimate_after};

/// What the runs of a method would take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MethodEstimate {
    /// The method, with its layers where it has any.
    pub label: String,
    /// How many runs: one for each seed, or one in all if nothing in them is random.
    pub runs: usize,
    /// One of them. Its memory is that of the method that takes most so far.
    pub run: Estimate,
}

/// What a comparison would take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComparisonEstimate {
    /// The methods, in order.
    pub methods: Vec<MethodEstimate>,
    /// Seconds of all runs, one after the other. What runs share, such as features, is counted in each of them.
    pub seconds: f64,
    /// Memory at the peak of the largest run, in bytes; `None` where the system does not tell.
    pub memory_bytes: Option<u64>,
}

impl ComparisonEstimate {
    /// The number of all runs.
    pub fn runs(&self) -> usize {
        self.methods.iter().map(|method| method.runs).sum()
    }
}

/// Measures a step of each phase of each method, and multiplies. Nothing is trained or written.
///
/// # Errors
/// The user's mistakes, as those of [`run`](super::runner::run).
pub fn dry_run(options: &CompareOptions, monitor: &dyn Monitor) -> Result<ComparisonEstimate, CompareError> {
    let planned = options.planned()?;
    let images = planned.data.image_counts();
    monitor.start_counting("measuring steps", planned.plans.len(), "methods");
    let (mut memory, mut methods) = (MemorySoFar::now(), Vec::new());
    for (spec, plan) in options.methods.iter().zip(&planned.plans) {
        if monitor.canceled() {
            return Err(CompareError::Fit(Box::new(TrainError::Interrupted.into())));
        }
        let runs = if planned.follows_seed(plan) { options.seeds.len() } else { 1 };
        let run = estimate_after(&mut memory, plan, &planned.model, images, &options.fit.train);
        methods.push(MethodEstimate { label: spec.label(), runs, run });
        monitor.advance(1);
    }
    monitor.finish();
    let seconds = methods.iter().map(|method| method.runs as f64 * method.run.seconds).sum();
    let memory_bytes = methods.iter().filter_map(|method| method.run.memory_bytes).max();
    Ok(ComparisonEstimate { methods, seconds, memory_bytes })
}
