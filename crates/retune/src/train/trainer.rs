//! The trainer: images, options and a place for checkpoints, with which any plan can be run.

use std::path::{Path, PathBuf};

use retune_random::combine;
use serde_json::Value;

use super::options::TrainOptions;
use super::run::Run;
use super::shared::Shared;
use super::{TrainError, Trained, checkpoint};
use crate::models::{Dropping, Model};
use crate::monitor::Monitor;
use crate::plan::Plan;
use crate::sources::Dataset;

/// Everything that training needs besides a plan and a model. Cheap to clone.
///
/// ```
/// use retune::methods::{Method, MethodOptions};
/// use retune::models::Model;
/// use retune::monitor::Silent;
/// use retune::sources::Dataset;
/// use retune::train::{Trained, Trainer};
///
/// fn probe(model: Model, train: &Dataset, validation: &Dataset) -> Result<Trained, Box<dyn std::error::Error>> {
///     let plan = Method::LP.plan(model.blocks(), &MethodOptions::default())?;
///     Ok(Trainer::new(train, validation).seed(1).run(&plan, model, &Silent)?)
/// }
/// ```
#[derive(Clone)]
pub struct Trainer {
    pub(super) train: Dataset,
    pub(super) validation: Dataset,
    pub(super) options: TrainOptions,
    pub(super) directory: Option<PathBuf>,
    pub(super) shared: Option<Shared>,
}

impl Trainer {
    /// A trainer on the images of `train`, their labels in the model's order of classes; those of `validation` choose
    /// learning rates, strengths and epochs. Nothing is kept on disk.
    pub fn new(train: &Dataset, validation: &Dataset) -> Self {
        let (train, validation) = (train.clone(), validation.clone());
        Self { train, validation, options: TrainOptions::default(), directory: None, shared: None }
    }

    /// Trains with these options, in place of the default ones.
    #[must_use]
    pub fn options(self, options: TrainOptions) -> Self {
        Self { options, ..self }
    }

    /// Sets the seed of everything random; 0 without it.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.options.seed = seed;
        self
    }

    /// Writes metrics and checkpoints to this directory, which must exist.
    #[must_use]
    pub fn directory(self, directory: impl Into<PathBuf>) -> Self {
        Self { directory: Some(directory.into()), ..self }
    }

    /// Shares decoded images and features with other trainers that are given the same.
    #[must_use]
    pub fn sharing(self, shared: &Shared) -> Self {
        Self { shared: Some(shared.clone()), ..self }
    }

    /// Trains `model` by the plan.
    ///
    /// # Errors
    /// What does not fit or cannot be read or written; divergence; an interruption, after a checkpoint was written.
    pub fn run(&self, plan: &Plan, model: Model, monitor: &dyn Monitor) -> Result<Trained, TrainError> {
        plan.check(model.blocks())?;
        Run::start(self, plan, model, monitor)?.finish()
    }

    /// Resumes from the directory's checkpoint, or trains from the start if there is none. `plan` and `model` must be those
    /// that the run began with. The parameters end up the same as without the interruption, bit for bit.
    ///
    /// # Errors
    /// As [`Trainer::run`]; a checkpoint that does not fit.
    pub fn resume(&self, plan: &Plan, model: Model, monitor: &dyn Monitor) -> Result<Trained, TrainError> {
        plan.check(model.blocks())?;
        Run::resume(self, plan, model, monitor)?.finish()
    }

    /// What runs of this trainer share.
    pub(super) fn shared(&self) -> Shared {
        self.shared.clone().unwrap_or_else(Shared::of_one_run)
    }

    /// What a step leaves out at random: stochastic depth at the rate of the options, or that of the model's `model_args`,
    /// and dropout as these say. Rates that leave out nothing or everything count as none.
    pub(super) fn dropping(&self, model: &Model, epoch: u64, batch: usize) -> Option<Dropping> {
        // Keeps these draws apart from others of the same seed.
        const DROPPING: u64 = 0x6472_6f70_7069_6e01;
        let arguments = model.config().model_args();
        let own = |name: &str| arguments.get(name).and_then(Value::as_f64);
        let rate = |rate: Option<f64>| rate.filter(|rate| *rate > 0.0 && *rate < 1.0).unwrap_or(0.0);
        let path_rate = rate(self.options.drop_path.or_else(|| own("drop_path_rate")));
        let feature_rate = rate(own("drop_rate"));
        let key = combine(combine(combine(DROPPING, self.options.seed), epoch), batch as u64);
        let dropping = Dropping { path_rate, feature_rate, key, first_image: 0 };
        (path_rate > 0.0 || feature_rate > 0.0).then_some(dropping)
    }

    /// Factor on the loss of each class, where classes are balanced: the inverse of its share of the images, 1 on average.
    pub(super) fn class_weights(&self) -> Option<Vec<f64>> {
        if !self.options.balanced_classes {
            return None;
        }
        let counts = self.train.class_counts();
        let total: usize = counts.iter().sum();
        let weight = |&count: &usize| total as f64 / (counts.len() * count.max(1)) as f64;
        Some(counts.iter().map(weight).collect())
    }
}

pub(super) fn checkpoint_directory(run: &Path) -> PathBuf {
    run.join("checkpoint")
}

/// Whether a run's directory has a checkpoint to resume from.
pub fn has_checkpoint(run: &Path) -> bool {
    checkpoint::exists(&checkpoint_directory(run))
}

/// Removes a run's checkpoint, which is needed only to resume the run.
pub fn remove_checkpoint(run: &Path) {
    checkpoint::remove(&checkpoint_directory(run));
}
