//! What a user can set about training beyond the plan.

use std::num::NonZeroUsize;

use burn::tensor::Device;
use retune_pixels::augment::{AugmentPolicy, Augmentation};
use serde::{Deserialize, Serialize};

use super::TrainError;
use super::budget::Budget;
use super::optimizer::OptimizerOptions;
use crate::collective::{Processes, Turns};
use crate::device;
use crate::inference::Metric;
use crate::loading::Order;
use crate::loading::mix::Mix;
use crate::models::Model;
pub use crate::models::Precision;

/// What BatchNorm layers of trained blocks do. Those of frozen blocks never change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchNormPolicy {
    /// Normalize by the pretrained running statistics and leave them as they are, as LP-FT and
    /// surgical fine-tuning do.
    #[default]
    Frozen,
    /// Normalize by each batch and update the running statistics (PyTorch's training mode).
    Train,
    /// Train as `Frozen`, then measure the statistics anew on the training images after each epoch.
    Recalibrate,
}

impl std::str::FromStr for BatchNormPolicy {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "frozen" => Self::Frozen,
            "train" => Self::Train,
            "recalibrate" => Self::Recalibrate,
            _ => return Err("expected frozen, train, or recalibrate".into()),
        })
    }
}

/// Which state of the model a phase hands on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// The epoch that is most accurate on validation (then, of lower loss).
    #[default]
    Best,
    /// The last epoch.
    Last,
}

impl std::str::FromStr for Keep {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "best" => Self::Best,
            "last" => Self::Last,
            _ => return Err("expected best or last".into()),
        })
    }
}

/// Which images an epoch shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampling {
    /// Each once.
    #[default]
    All,
    /// As many images as there are, the same number of each class: images of rare classes come several times, those of
    /// frequent ones take turns over the epochs.
    Balanced,
}

impl std::str::FromStr for Sampling {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "all" => Self::All,
            "balanced" => Self::Balanced,
            _ => return Err("expected all or balanced".into()),
        })
    }
}

/// What is kept of the frozen blocks' activations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ActivationOptions {
    /// Memory for them, in bytes; 8 GiB, or eight times the memory if that is more, may go to a temporary file. 0 keeps
    /// nothing. A linear probe's features have as much memory, and a file of any size.
    pub memory_bytes: u64,
    /// Keep them in 16 bits each, half the room at a relative error of up to 2⁻¹¹.
    pub half: bool,
    /// Augment each image in this many ways only, in turn, so that augmented images can be kept
    /// too. `None` draws anew in every epoch.
    pub views: Option<usize>,
}

impl Default for ActivationOptions {
    fn default() -> Self {
        Self { memory_bytes: 256 << 20, half: false, views: None }
    }
}

/// Options of gradient training, in a form that `run.toml` keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainOptions {
    /// Seed of everything random.
    pub seed: u64,
    /// A bound on the time of training. With one, results depend on the speed of the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    /// Images in a batch.
    pub batch_size: usize,
    /// Batches whose gradients add up to those of one update; an update is that of a batch so many times as large, but for
    /// BatchNorm that normalizes by the batch.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub accumulate: NonZeroUsize,
    /// Which images an epoch shows.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sampling: Sampling,
    /// Rate of stochastic depth; `None` takes the model's own (`drop_path_rate` of its `model_args`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drop_path: Option<f64>,
    /// Draw the images of an epoch in a random order.
    pub shuffle: bool,
    /// Update rule.
    pub optimizer: OptimizerOptions,
    /// Largest norm of all gradients together; larger ones are scaled down to it.
    pub clip_norm: Option<f64>,
    /// BatchNorm of trained blocks.
    pub batch_norm: BatchNormPolicy,
    /// Which state a phase hands on.
    pub keep: Keep,
    /// The number by which validation chooses epochs, learning rates, averages, and the strength of a linear probe.
    #[serde(default)]
    pub select: Metric,
    /// Part of the target spread evenly over all classes.
    pub label_smoothing: f64,
    /// Weigh classes by the inverse of their number of images.
    pub balanced_classes: bool,
    /// Random changes of training images.
    pub augmentation: Augmentation,
    /// Mixup and cutmix.
    pub mix: Mix,
    /// Steps between checkpoints within an epoch, each of which then ends with one, too. With `None`, those of two epochs are at
    /// least 30 seconds apart. A phase always ends with one.
    pub checkpoint_every: Option<usize>,
    /// Memory for decoded images, in bytes; what does not fit goes to a temporary file.
    pub cache_bytes: u64,
    /// The numbers in which trained blocks multiply matrices, forward and backward. Weights, sums, gradients, optimizer and
    /// everything else stay in 32 bits, and so does evaluation.
    #[serde(default)]
    pub precision: Precision,
    /// The same of the blocks below the first trained one, for training images: what enters a trained block, and the
    /// features that a linear probe learns from. Validation sees the model as it will be used, in 32 bits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub frozen_precision: Precision,
    /// What is kept of the frozen blocks' activations.
    #[serde(default)]
    pub activations: ActivationOptions,
    /// Threads that decode images.
    pub threads: usize,
    /// The processes that train together.
    #[serde(skip)]
    pub processes: Processes,
}

impl Default for TrainOptions {
    /// What `retune fit` does where nothing else is asked for, with a thread for each processor.
    fn default() -> Self {
        Self {
            seed: 0,
            budget: None,
            batch_size: 32,
            accumulate: NonZeroUsize::MIN,
            sampling: Sampling::default(),
            drop_path: None,
            shuffle: true,
            optimizer: OptimizerOptions::default(),
            clip_norm: None,
            batch_norm: BatchNormPolicy::default(),
            keep: Keep::default(),
            select: Metric::default(),
            label_smoothing: 0.0,
            balanced_classes: false,
            augmentation: Augmentation::new(AugmentPolicy::None),
            mix: Mix::default(),
            checkpoint_every: None,
            cache_bytes: 256 << 20,
            precision: Precision::Float32,
            frozen_precision: Precision::Float32,
            activations: ActivationOptions::default(),
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            processes: Processes::default(),
        }
    }
}

impl TrainOptions {
    /// Images of an update.
    pub(super) fn images_of_update(&self) -> usize {
        self.batch_size.saturating_mul(self.accumulate.get())
    }

    /// Images that pass through the network at once, where an update has more: a batch where gradients of several add up,
    /// and less where there are more processes than batches.
    pub(super) fn at_once(&self) -> Option<NonZeroUsize> {
        let (batches, processes) = (self.accumulate.get(), self.processes.size());
        match batches.max(processes) {
            1 => None,
            _ if batches >= processes => NonZeroUsize::new(self.batch_size),
            _ => {
                let images = self.shared_batch().map_or(self.images_of_update(), NonZeroUsize::get);
                NonZeroUsize::new(images.div_ceil(processes))
            }
        }
    }

    /// Images of a batch that all processes share, each with a part of it, and that BatchNorm sees whole. `None` where
    /// BatchNorm does not follow the batches, or every process has whole ones.
    pub(super) fn shared_batch(&self) -> Option<NonZeroUsize> {
        let is_cut = self.accumulate.get() < self.processes.size();
        let follows = self.batch_norm == BatchNormPolicy::Train;
        NonZeroUsize::new(self.batch_size).filter(|_| is_cut && follows)
    }

    /// The images of an update that this process loads; `None` for all. Mixing needs the others, too.
    pub(super) fn turns(&self) -> Option<Turns> {
        let (rank, size) = (self.processes.rank(), self.processes.size());
        let part = self.at_once()?.get();
        let batch = self.shared_batch().map_or(self.images_of_update(), NonZeroUsize::get);
        (self.processes.are_several() && !self.mix.is_active()).then_some(Turns { batch, part, rank, size })
    }

    /// Checks that a device can train by these options.
    ///
    /// # Errors
    /// What it cannot do.
    pub(crate) fn check_device(&self, device: &Device) -> Result<(), TrainError> {
        let can = |precision| device::can_multiply_in(precision, device);
        if can(self.precision) && can(self.frozen_precision) { Ok(()) } else { Err(TrainError::NoBfloat16) }
    }

    /// Checks that several processes can train by these options.
    ///
    /// # Errors
    /// The first option that they cannot follow together.
    pub(super) fn check_processes(&self, model: &Model) -> Result<(), TrainError> {
        let (batches, processes) = (self.accumulate.get(), self.processes.size());
        let has_statistics = model.network().specs.iter().any(|spec| !spec.role.is_trainable());
        let shares = self.shared_batch().is_some() && has_statistics;
        if shares && !device::can_share_batches(&model.parameters.tensors()[0].device()) {
            return Err(TrainError::BatchNormInParts { batches, processes });
        }
        if self.processes.are_several() && self.activations.half {
            return Err(TrainError::HalfActivationsOfSeveral);
        }
        Ok(())
    }

    /// The order of images that `seed` gives.
    pub(super) fn order(&self, seed: u64) -> Order {
        match self.sampling {
            Sampling::Balanced => Order::Balanced { seed },
            Sampling::All if self.shuffle => Order::Shuffled { seed },
            Sampling::All => Order::Sequential,
        }
    }
}

fn one() -> NonZeroUsize {
    NonZeroUsize::MIN
}

fn is_one(value: &NonZeroUsize) -> bool {
    value.get() == 1
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
