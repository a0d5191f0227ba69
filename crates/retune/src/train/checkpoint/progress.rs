//! `progress.json`: what of a checkpoint is no tensor.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::inference::Evaluation;
use crate::models::Parameters;
use crate::plan::{Plan, Solver};
use crate::train::PhaseOutcome;
use crate::train::low_rank::Adapters;
use crate::train::pacing::{Pacing, PhaseTime};
use crate::train::search::Tried;
use crate::train::state::{BestEpoch, EpochTotals};

/// What a run has written, and how long it has worked, at a checkpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::train) struct WorkDone {
    /// Length of `metrics.jsonl`.
    pub metrics_bytes: u64,
    /// Seconds of work.
    pub seconds: f64,
}

/// What the checkpoint and the run that goes on from it must agree in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Origin {
    /// Plan and options, as [`recipe_key`](crate::train::keys::recipe_key) makes it.
    pub recipe: u64,
    /// The images, as [`images_key`](crate::train::keys::images_key) makes it.
    pub images: u64,
    /// What the classes are called.
    pub classes: Vec<String>,
}

/// `progress.json`: what of a state is no tensor.
#[derive(Serialize, Deserialize)]
pub(super) struct Saved {
    /// Which files there are and what they mean.
    pub format: u32,
    pub origin: Origin,
    pub done: WorkDone,
    /// The phases that are done.
    pub outcomes: Vec<PhaseOutcome>,
    pub candidate: usize,
    #[serde(default)]
    pub tried: Vec<Tried>,
    pub candidates: Vec<SavedEpoch>,
    pub epoch: usize,
    pub batch: usize,
    /// `None` of earlier versions, which knew no budget.
    #[serde(default)]
    pub pacing: Option<Pacing>,
    #[serde(default)]
    pub time: PhaseTime,
    pub validation_due: bool,
    pub totals: EpochTotals,
    pub measured: Option<IndexMap<String, f64>>,
    pub best: Option<SavedEpoch>,
    /// Optimizer updates of each parameter; integers do not fit a float tensor.
    pub updates: Vec<u64>,
    /// Steps or epochs that the average of weights holds.
    pub averaged: u64,
    /// Optimizer updates of each factor of low-rank changes.
    pub adapter_updates: Vec<u64>,
}

/// What of a [`BestEpoch`] is no tensor.
#[derive(Serialize, Deserialize)]
pub(super) struct SavedEpoch {
    pub candidate: usize,
    pub epoch: usize,
    pub validation: Evaluation,
}

impl SavedEpoch {
    pub fn of(best: &BestEpoch) -> Self {
        Self { candidate: best.candidate, epoch: best.epoch, validation: best.validation.clone() }
    }

    pub fn with(self, parameters: Parameters, adapters: Option<Adapters>) -> BestEpoch {
        let Self { candidate, epoch, validation } = self;
        BestEpoch { candidate, epoch, validation, parameters, adapters }
    }
}

/// The part of `progress.json` that every format has.
#[derive(Deserialize)]
pub(super) struct SavedFormat {
    #[serde(default)]
    pub format: u32,
}

impl Saved {
    /// Whether a run of `plan` can have come here.
    pub fn fits(&self, plan: &Plan) -> bool {
        let Some(phase) = plan.phases.get(self.outcomes.len()) else { return self.outcomes.len() == plan.phases.len() };
        let Solver::Gradient(settings) = &phase.solver else { return true };
        let is_tried =
            |best: &SavedEpoch| best.candidate < settings.learning_rates.len() && best.epoch <= settings.epochs;
        // Earlier versions, which had no rungs, did not note what they tried.
        let trainings = match settings.rungs.len() {
            0 => settings.learning_rates.len(),
            rungs => self.tried.len().min((rungs + 1) * settings.learning_rates.len()),
        };
        self.candidate <= trainings
            && self.epoch <= settings.epochs
            && self.best.iter().chain(&self.candidates).all(is_tried)
    }
}
