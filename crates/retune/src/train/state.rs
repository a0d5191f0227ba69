//! The state of a run between two steps. A checkpoint keeps all of it.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::PhaseOutcome;
use super::average::WeightAverage;
use super::gradient::LossGradients;
use super::low_rank::{Adapters, TrainedAdapters};
use super::optimizer::{Optimizer, OptimizerOptions};
use crate::inference::Evaluation;
use crate::models::{Model, Parameters};
use crate::plan::{Phase, Solver};

/// A run between two steps.
pub(super) struct State {
    /// What the phases that are done found; their number is the position of the present phase.
    pub outcomes: Vec<PhaseOutcome>,
    /// The model as it is now.
    pub model: Model,
    /// Parameters at the start of the run: what L2-SP pulls back to, and what frozen ones are compared with.
    pub initial: Parameters,
    /// Parameters at the start of the present phase.
    pub phase_start: Parameters,
    /// Parameters at the start of the phase before, where the present one goes back to them.
    pub previous_start: Option<Parameters>,
    /// The low-rank changes that the phases so far merged into the model.
    pub merged_adapters: Option<Adapters>,
    /// Position of the learning rate that is being tried.
    pub candidate: usize,
    /// The best epochs of the learning rates that were tried, where they are kept.
    pub candidates: Vec<BestEpoch>,
    /// Training at the present learning rate.
    pub training: Training,
}

impl State {
    /// A run of `model` before its first step in `phase`, the first one.
    pub fn new(model: Model, optimizer: OptimizerOptions, phase: Option<&Phase>) -> Self {
        Self {
            outcomes: Vec::new(),
            initial: model.parameters.clone(),
            phase_start: model.parameters.clone(),
            previous_start: None,
            merged_adapters: None,
            candidate: 0,
            candidates: Vec::new(),
            training: Training::new(&model, optimizer, phase),
            model,
        }
    }
}

/// Training at one learning rate.
pub(super) struct Training {
    /// Epochs done.
    pub epoch: usize,
    /// Batches done in the present epoch.
    pub batch: usize,
    /// Whether the last of the epochs done is still to be validated.
    pub validation_due: bool,
    /// What the present epoch has added up so far.
    pub totals: EpochTotals,
    /// Factor on the learning rate of each layer, as measured for the present epoch.
    pub measured: Option<IndexMap<String, f64>>,
    /// The optimizer of the model's parameters.
    pub optimizer: Optimizer,
    /// The average of the weights over training.
    pub average: Option<WeightAverage>,
    /// The low-rank changes that train in place of the weights.
    pub adapters: Option<TrainedAdapters>,
    /// The best epoch so far.
    pub best: Option<BestEpoch>,
}

impl Training {
    /// Before the first step in `phase`.
    pub fn new(model: &Model, optimizer: OptimizerOptions, phase: Option<&Phase>) -> Self {
        let optimizer = match phase.map(|phase| &phase.solver) {
            Some(Solver::Gradient(settings)) => optimizer.in_phase(settings),
            _ => optimizer,
        };
        Self {
            epoch: 0,
            batch: 0,
            validation_due: false,
            totals: EpochTotals::default(),
            measured: None,
            optimizer: Optimizer::new(optimizer, model.network().specs.len()),
            average: None,
            adapters: None,
            best: None,
        }
    }

    /// Whether a step was made.
    pub fn has_begun(&self) -> bool {
        self.epoch > 0 || self.batch > 0
    }
}

/// Sums over the images that an epoch has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct EpochTotals {
    /// Sum of the images' losses.
    pub loss: f64,
    /// Images whose most likely class was right.
    pub correct: usize,
    /// Images.
    pub images: usize,
}

impl EpochTotals {
    /// Adds what a batch of so many images gave.
    pub fn add(&mut self, found: &LossGradients, images: usize) {
        self.loss += found.loss * images as f64;
        self.correct += found.correct;
        self.images += images;
    }
}

/// The epoch whose model a phase may hand on.
#[derive(Clone, Debug)]
pub(super) struct BestEpoch {
    /// Position of the learning rate.
    pub candidate: usize,
    /// Epochs done.
    pub epoch: usize,
    /// How good it was on validation.
    pub validation: Evaluation,
    /// The weights, or their average.
    pub parameters: Parameters,
    /// The low-rank changes that are merged into the parameters.
    pub adapters: Option<Adapters>,
}
