//! The trainer: runs any [`Plan`](crate::plan::Plan), and does not know who made it.
//!
//! A [`Trainer`] makes a run, which goes through a plan's phases (`run.rs`). Of these, gradient descent is the training loop
//! (`training_loop.rs`): what happens in an epoch, in a step and at the end of an epoch stands there, from top to bottom. What it
//! calls is in files named after what they are.

mod anchor;
pub mod average;
pub mod budget;
mod checkpoint;
mod divergence;
pub mod estimate;
mod frozen_activations;
mod gradient;
mod kept_features;
mod keys;
mod learning_rates;
mod loaders;
mod loss;
pub mod low_rank;
mod measured_rates;
pub mod metrics;
pub mod optimizer;
pub mod options;
mod pacing;
pub mod probe;
pub mod range_test;
mod run;
pub(crate) mod running_statistics;
mod search;
mod shared;
mod shared_gradients;
mod state;
pub(crate) mod together;
mod trainer;
mod training_loop;
mod update;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::divergence::{Divergence, NotFinite};
pub use self::gradient::{Differentiation, Gradients, LossGradients, loss_gradients};
pub use self::loss::Loss;
use self::low_rank::Adapters;
pub use self::measured_rates::{LayerMeasures, measure_layers};
pub use self::pacing::{BudgetCut, ShortenedTraining};
use self::probe::ProbeError;
pub(crate) use self::run::first_difference;
pub use self::search::{RunnerUp, Tried};
pub use self::shared::Shared;
pub use self::trainer::{Trainer, has_checkpoint, remove_checkpoint};
use crate::device::DeviceError;
use crate::files::FileError;
use crate::inference::{Evaluation, InferenceError};
use crate::models::weights::WeightsError;
use crate::models::{Model, Parameters};
use crate::plan::PlanError;
use crate::sources::DataError;

/// Why training ended without a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
    /// A checkpoint that another version of this program wrote, and this one would misread.
    #[error("cannot resume from {path}: another version of retune wrote it; go on with that one, or begin a new run", path = path.display())]
    CheckpointFormat {
        /// The checkpoint.
        path: PathBuf,
    },
    /// Every learning rate ended in NaN or infinity.
    #[error("phase '{phase}' diverged at every learning rate tried ({learning_rates}): {first}; {advice}", advice = first.advice())]
    Diverged {
        /// The phase.
        phase: String,
        /// The learning rates.
        learning_rates: String,
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
    /// BatchNorm would normalize by less than a batch.
    #[error(
        "BatchNorm that follows the batches needs whole ones on this device: an update has {batches}, and {processes} \
         processes would cut them up; compute on the CPU, give an update as many batches as there are processes, or keep \
         BatchNorm as it is"
    )]
    BatchNormInParts {
        /// Batches of an update.
        batches: usize,
        /// Processes.
        processes: usize,
    },
    /// The device has no products of bfloat16.
    #[error("bfloat16 needs the CPU and its fused operators, or a device that multiplies in it")]
    NoBfloat16,
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// Several processes keep no activations.
    #[error("activations of frozen blocks cannot be kept in 16 bits by several processes, which keep none")]
    HalfActivationsOfSeveral,
    /// The processes would not work on the same run.
    #[error("the processes do not see the same images, model, options, or checkpoint; give all of them the same files")]
    ProcessesDiffer,
    /// The processes computed different weights.
    #[error(
        "the processes have come to different weights in epoch {epoch}; do they run on processors of different kinds? Go on \
         from the last checkpoint on processors of one kind"
    )]
    WeightsDiffer {
        /// From 1.
        epoch: usize,
    },
    /// What process 0 found has not reached the others.
    #[error("what a process found cannot be told to the others: {0}")]
    Untold(#[from] serde_json::Error),
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
    /// The trainings that were made, in gradient phases that try several learning rates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<Tried>,
    /// What was left out to keep to a budget.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut: Option<BudgetCut>,
}

impl PhaseOutcome {
    /// The learning rate that came closest to the chosen one, where several were tried.
    pub fn runner_up(&self) -> Option<RunnerUp> {
        RunnerUp::of(self.learning_rate?, &self.tried)
    }

    /// An outcome with what all phases have, to be filled up.
    fn new(phase: &str, epoch: usize, validation: Evaluation) -> Self {
        let phase = phase.to_owned();
        Self {
            phase,
            learning_rate: None,
            inverse_strength: None,
            soup: None,
            alpha: None,
            epoch,
            validation,
            tried: Vec::new(),
            cut: None,
        }
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
