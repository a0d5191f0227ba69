//! The trainer: runs any [`Plan`], and does not know who made it.

pub mod average;
mod checkpoint;
mod descent;
mod divergence;
mod gradient;
mod kept_features;
pub mod low_rank;
pub mod metrics;
pub mod optimizer;
pub mod options;
mod prefix;
pub mod probe;
pub mod range_test;
mod rates;
mod run;
pub(crate) mod running_statistics;
mod shared;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::divergence::{Divergence, NotFinite};
pub use self::gradient::{Differentiation, LossGradients, loss_gradients};
use self::low_rank::Adapters;
use self::options::{ActivationOptions, TrainOptions};
use self::probe::ProbeError;
pub use self::rates::{LayerMeasures, measure_layers};
use self::run::Run;
pub(crate) use self::run::first_difference;
pub use self::shared::Shared;
use crate::files::FileError;
use crate::inference::{Evaluation, InferenceError};
use crate::models::weights::WeightsError;
use crate::models::{Model, Parameters};
use crate::monitor::Monitor;
use crate::plan::{Plan, PlanError};
use crate::sources::{DataError, Dataset};

/// Why training ended without a model.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The plan does not fit the model.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The images are at fault.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A pass over a dataset failed.
    #[error(transparent)]
    Inference(InferenceError),
    /// The linear probe failed.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Weights could not be read or written.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A checkpoint does not fit.
    #[error("cannot resume from {path}: {reason}", path = path.display())]
    Checkpoint {
        /// The checkpoint.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Every learning rate ended in NaN or infinity.
    #[error("phase '{phase}' diverged at every learning rate tried ({rates}): {first}; {advice}", advice = first.advice())]
    Diverged {
        /// The phase.
        phase: String,
        /// The rates.
        rates: String,
        /// Where the first of them stopped being finite.
        first: Box<Divergence>,
    },
    /// A tensor that the plan froze has changed: a defect of this program.
    #[error("the frozen tensor '{0}' changed during training; please report this as a defect")]
    FrozenChanged(String),
    /// The temporary file with the frozen blocks' activations cannot be read.
    #[error(
        "the temporary file with the activations of the frozen blocks cannot be read: is the disk damaged? \
         TMPDIR names another place"
    )]
    ActivationsLost,
    /// The user asked to stop. What a checkpoint keeps is in one; a pass over the images that only collects (features, kept
    /// activations, a soup's validation) begins anew.
    #[error("interrupted")]
    Interrupted,
}

impl From<InferenceError> for TrainError {
    fn from(error: InferenceError) -> Self {
        match error {
            InferenceError::Interrupted => Self::Interrupted,
            other => Self::Inference(other),
        }
    }
}

/// What a phase found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PhaseOutcome {
    /// The phase.
    pub phase: String,
    /// The learning rate chosen, in gradient phases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// The inverse strength chosen, in linear probes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inverse_strength: Option<f64>,
    /// The learning rates whose weights were averaged, in soups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soup: Option<Vec<f64>>,
    /// The share of the fine-tuned weights chosen, in interpolations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// Epochs after which the parameters were kept; 0 for a linear probe and an interpolation.
    pub epoch: usize,
    /// Accuracy and loss on validation at that point.
    pub validation: Evaluation,
}

impl PhaseOutcome {
    /// An outcome with what all phases have, to be filled up.
    fn new(phase: &str, epoch: usize, validation: Evaluation) -> Self {
        let phase = phase.to_owned();
        Self { phase, learning_rate: None, inverse_strength: None, soup: None, alpha: None, epoch, validation }
    }
}

/// The ends of a line of models.
#[derive(Clone, Debug)]
pub struct Line {
    /// The parameters at share 0.
    pub start: Parameters,
    /// The parameters at share 1.
    pub end: Parameters,
}

/// A trained model and how it came about.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The model that the last phase hands on.
    pub model: Model,
    /// One for each phase.
    pub phases: Vec<PhaseOutcome>,
    /// The line that the model was taken from, if the last phase is an interpolation.
    pub line: Option<Line>,
    /// The low-rank changes that are merged into the model, if a single set of them is.
    pub low_rank: Option<Adapters>,
    /// Seconds of work, those before an interruption included.
    pub seconds: f64,
}

/// Everything that training needs besides the model.
pub struct Trainer<'a> {
    /// What to do.
    pub plan: &'a Plan,
    /// How to do it.
    pub options: &'a TrainOptions,
    /// Images to train on, their labels in the model's order of classes.
    pub train: &'a Dataset,
    /// Images that choose rates, strengths and epochs.
    pub validation: &'a Dataset,
    /// Where metrics and checkpoints go; `None` keeps nothing on disk.
    pub directory: Option<&'a Path>,
    /// What runs that are made together share.
    pub shared: Option<&'a Shared>,
    /// Where progress goes.
    pub monitor: &'a dyn Monitor,
}

impl Trainer<'_> {
    /// Trains `model` by the plan, from the start or, with `resume`, from the directory's
    /// checkpoint; a resumed run ends with the same parameters, bit for bit.
    ///
    /// # Errors
    /// What does not fit or cannot be read or written; divergence; an interruption, after a
    /// checkpoint was written.
    pub fn run(&self, model: Model, resume: bool) -> Result<Trained, TrainError> {
        self.plan.check(model.blocks())?;
        Run::begin(self, model, resume)?.finish()
    }

    /// What a checkpoint's images must be the same in: names, labels and groups, in order.
    fn images_key(&self) -> u64 {
        shared::samples_key(&self.train.samples, shared::samples_key(&self.validation.samples, 0))
    }

    /// What a checkpoint's plan and options must be the same in: all that the run's numbers depend on, but for the
    /// processor. What only changes speed and memory may change between a stop and going on.
    fn recipe_key(&self, model: &Model) -> u64 {
        let activations = self.options.activations;
        // With activations in 16 bits, what there is room for decides what is rounded.
        let memory_bytes = if activations.half { activations.memory_bytes } else { 0 };
        let options = TrainOptions {
            checkpoint_every: None,
            cache_bytes: 0,
            threads: 1,
            activations: ActivationOptions { memory_bytes, ..activations },
            ..self.options.clone()
        };
        let preprocessing = model.config().preprocessing();
        let device = model.parameters.tensors()[0].device();
        let kernels = retune_kernels::operators::are_enabled();
        retune_random::hash(format!("{:?}{options:?}{preprocessing:?}{device:?}{kernels}", self.plan).as_bytes())
    }

    fn checkpoint_directory(&self) -> Option<PathBuf> {
        self.directory.map(checkpoint_directory)
    }

    fn class_weights(&self) -> Option<Vec<f64>> {
        if !self.options.balanced_classes {
            return None;
        }
        let counts = self.train.class_counts();
        let total: usize = counts.iter().sum();
        let weight = |&count: &usize| total as f64 / (counts.len() * count.max(1)) as f64;
        Some(counts.iter().map(weight).collect())
    }
}

fn checkpoint_directory(run: &Path) -> PathBuf {
    run.join("checkpoint")
}

/// Whether a run's directory has a checkpoint to go on from.
pub fn has_checkpoint(run: &Path) -> bool {
    checkpoint::exists(&checkpoint_directory(run))
}

/// Removes a run's checkpoint, which only going on with it needs.
pub fn remove_checkpoint(run: &Path) {
    checkpoint::remove(&checkpoint_directory(run));
}
