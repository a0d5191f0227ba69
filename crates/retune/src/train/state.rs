//! The state of a run between two steps. A checkpoint keeps all of it.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::PhaseOutcome;
use super::average::WeightAverage;
use super::low_rank::{Adapters, TrainedAdapters};
use super::optimizer::{Optimizer, OptimizerOptions};
use super::pacing::{Pacing, PhaseTime};
use super::search::Tried;
use crate::inference::Evaluation;
use crate::models::{Model, Parameters};
use crate::plan::{Gradient, Phase, Solver};

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
    /// Trainings of the present phase that are done.
    pub candidate: usize,
    /// What came of them.
    pub tried: Vec<Tried>,
    /// The best epochs of the learning rates that were tried, where they are kept.
    pub candidates: Vec<BestEpoch>,
    /// What the present phase has taken of a budget.
    pub time: PhaseTime,
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
            tried: Vec::new(),
            candidates: Vec::new(),
            time: PhaseTime::default(),
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
    /// How far that is in the epochs of the plan.
    pub pacing: Pacing,
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
            pacing: Pacing::after(0),
            validation_due: false,
            totals: EpochTotals::default(),
            measured: None,
            optimizer: Optimizer::new(optimizer, model.network().specs.len()),
            average: None,
            adapters: None,
            best: None,
        }
    }

    /// Whether epochs, or the validation of the last one, are left to do. With patience, so many epochs in a row without a
    /// better one are the end.
    pub fn goes_on(&self, settings: &Gradient) -> bool {
        let best = self.best.as_ref().map(|best| best.epoch);
        let impatient = settings.patience.zip(best).is_some_and(|(patience, best)| self.epoch >= best + patience);
        self.validation_due || !(self.is_at_end(settings) || impatient)
    }

    /// Whether all epochs are done, or all that there is time for.
    pub fn is_at_end(&self, settings: &Gradient) -> bool {
        self.pacing.epochs_left(settings.epochs) == 0 || self.pacing.out_of_time
    }

    /// The number of epochs when all are done at the present pace.
    pub fn epochs_in_all(&self, settings: &Gradient) -> usize {
        self.epoch + self.pacing.epochs_left(settings.epochs)
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
    /// Adds a batch of so many images with this mean loss, so many of which were right.
    pub fn add(&mut self, loss: f64, correct: usize, images: usize) {
        self.loss += loss * images as f64;
        self.correct += correct;
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
