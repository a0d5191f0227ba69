//! The trainer: runs any [`Plan`], and does not know who made it.

mod checkpoint;
mod gradient;
pub mod metrics;
pub mod optimizer;
pub mod options;
pub mod probe;

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use self::checkpoint::{BestEpoch, Progress, RunningTotals, State};
pub use self::gradient::{Differentiation, LossGradients, loss_gradients};
use self::gradient::{Recalibration, StepSize};
use self::metrics::{MetricsFile, MetricsRow};
use self::optimizer::Optimizer;
use self::options::{BatchNormPolicy, Keep, TrainOptions};
use self::probe::{FeatureMatrix, ProbeError, ProbeOptions};
use crate::data::augment::AugmentPolicy;
use crate::data::mix::Mix;
use crate::data::{CacheOptions, DataError, Dataset, Loader, LoaderOptions, Order};
use crate::files::FileError;
use crate::inference::{self, Evaluation, InferenceError, Layer};
use crate::models::weights::WeightsError;
use crate::models::{Model, Parameters};
use crate::monitor::Monitor;
use crate::plan::{Gradient, LogisticRegression, Phase, Plan, PlanError, Solver};

/// Batches whose statistics a recalibration averages; more change little.
const RECALIBRATION_BATCHES: usize = 100;

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
    #[error("phase '{phase}' diverged at every learning rate tried ({rates}); try a smaller --lr")]
    Diverged {
        /// The phase.
        phase: String,
        /// The rates.
        rates: String,
    },
    /// A tensor that the plan froze has changed: a defect of this program.
    #[error("the frozen tensor '{0}' changed during training; please report this as a defect")]
    FrozenChanged(String),
    /// The user asked to stop; the checkpoint is written.
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
    /// Epochs after which the parameters were kept; 0 for a linear probe.
    pub epoch: usize,
    /// Accuracy and loss on validation at that point.
    pub validation: Evaluation,
}

/// A trained model and how it came about.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The model that the last phase hands on.
    pub model: Model,
    /// One for each phase.
    pub phases: Vec<PhaseOutcome>,
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
        let optimizer = Optimizer::new(self.options.optimizer, model.network().specs.len());
        let state = match (resume, self.checkpoint_directory()) {
            (true, Some(directory)) if checkpoint::exists(&directory) => {
                checkpoint::load(&directory, model, optimizer)?
            }
            _ => State {
                progress: Progress::default(),
                initial: model.parameters.clone(),
                phase_start: model.parameters.clone(),
                best: None,
                model,
                optimizer,
            },
        };
        let metrics_path = self.directory.map(|directory| directory.join("metrics.jsonl"));
        let metrics = MetricsFile::open(metrics_path.as_deref(), state.progress.metrics_bytes)?;
        let loaders = Loaders::new(self, &state.model)?;
        let started = Instant::now();
        let seconds_before = state.progress.seconds;
        Run { trainer: self, state, metrics, loaders, started, seconds_before }.finish()
    }

    fn checkpoint_directory(&self) -> Option<PathBuf> {
        self.directory.map(|directory| directory.join("checkpoint"))
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

/// The training images as they are, the training images as the phases see them, and validation.
struct Loaders {
    plain: Loader,
    training: Loader,
    validation: Loader,
}

impl Loaders {
    fn new(trainer: &Trainer, model: &Model) -> Result<Self, DataError> {
        let options = trainer.options;
        let plain_options = LoaderOptions {
            threads: options.threads,
            seed: options.seed,
            cache: CacheOptions { memory_bytes: options.cache_bytes, ..CacheOptions::default() },
            ..LoaderOptions::deterministic(model.config().preprocessing().clone(), options.batch_size)
        };
        let plain = Loader::new(trainer.train.clone(), plain_options.clone())?;
        let changes_images = options.augmentation.policy != AugmentPolicy::None
            || options.mix != Mix::default()
            || options.label_smoothing > 0.0;
        let training = if changes_images {
            let options = LoaderOptions {
                augmentation: options.augmentation,
                mix: options.mix,
                label_smoothing: options.label_smoothing,
                ..plain_options.clone()
            };
            Loader::new(trainer.train.clone(), options)?
        } else {
            plain.clone()
        };
        let validation = Loader::new(trainer.validation.clone(), plain_options)?;
        Ok(Self { plain, training, validation })
    }
}

/// How an epoch or a candidate ended.
enum Ending {
    Finished,
    Diverged,
}

/// A run in progress.
struct Run<'a> {
    trainer: &'a Trainer<'a>,
    state: State,
    metrics: MetricsFile,
    loaders: Loaders,
    started: Instant,
    seconds_before: f64,
}

impl Run<'_> {
    fn finish(mut self) -> Result<Trained, TrainError> {
        while let Some(phase) = self.trainer.plan.phases.get(self.state.progress.phase) {
            let outcome = match &phase.solver {
                Solver::LogisticRegression(settings) => self.probe(phase, settings)?,
                Solver::Gradient(settings) => self.descend(phase, settings)?,
            };
            self.end_phase(outcome)?;
        }
        self.check_frozen()?;
        let seconds = self.seconds();
        Ok(Trained { model: self.state.model, phases: self.state.progress.outcomes, seconds })
    }

    fn seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    fn end_phase(&mut self, outcome: PhaseOutcome) -> Result<(), TrainError> {
        let progress = &mut self.state.progress;
        let mut outcomes = std::mem::take(&mut progress.outcomes);
        outcomes.push(outcome);
        *progress = Progress { phase: progress.phase + 1, outcomes, ..Progress::default() };
        self.state.phase_start = self.state.model.parameters.clone();
        self.state.best = None;
        self.save_checkpoint()
    }

    fn save_checkpoint(&mut self) -> Result<(), TrainError> {
        self.state.progress.metrics_bytes = self.metrics.bytes();
        self.state.progress.seconds = self.seconds();
        match self.trainer.checkpoint_directory() {
            Some(directory) => checkpoint::save(&directory, &self.state),
            None => Ok(()),
        }
    }

    /// Trains the head alone, to the optimum.
    fn probe(&mut self, phase: &Phase, settings: &LogisticRegression) -> Result<PhaseOutcome, TrainError> {
        let monitor = self.trainer.monitor;
        let started = Instant::now();
        let model = &self.state.model;
        let layer = Layer::Pooled;
        let extract = |loader: &Loader, task: &str| inference::extract(model, loader, layer, task, monitor);
        let train = extract(&self.loaders.plain, "features of training images")?;
        let validation = extract(&self.loaders.validation, "features of validation images")?;

        let train_labels = self.trainer.train.labels()?;
        let validation_labels = self.trainer.validation.labels()?;
        let options = ProbeOptions {
            inverse_strengths: settings.strengths.clone(),
            solver: probe::SolverOptions {
                class_weights: self.trainer.class_weights(),
                ..probe::SolverOptions::default()
            },
        };
        let probe = fit_probe(
            FeatureMatrix::new(&train.values, train.width)?,
            &train_labels,
            FeatureMatrix::new(&validation.values, validation.width)?,
            &validation_labels,
            model.config().num_classes(),
            &options,
            monitor,
        )?;

        let seconds = started.elapsed().as_secs_f64();
        for point in &probe.path {
            let splits = [
                ("train", point.train_loss, point.train_accuracy),
                ("val", point.validation_loss, point.validation_accuracy),
            ];
            for (split, loss, accuracy) in splits {
                self.metrics.append(&MetricsRow {
                    phase: phase.name.clone(),
                    epoch: 0,
                    step: point.diagnostics.iterations,
                    split: split.to_owned(),
                    loss,
                    accuracy,
                    seconds: seconds / probe.path.len() as f64,
                    learning_rate: None,
                    inverse_strength: Some(point.inverse_strength),
                    rates: None,
                })?;
            }
        }
        let (weight, bias) = model.head_parameters().ok_or(InferenceError::NoClassifier)?;
        let inverse_strength = probe.inverse_strength;
        self.state.model.parameters.set_values(weight, probe.weight);
        self.state.model.parameters.set_values(bias, probe.bias);
        let validation = self.validate("validation")?;
        Ok(PhaseOutcome {
            phase: phase.name.clone(),
            learning_rate: None,
            inverse_strength: Some(inverse_strength),
            epoch: 0,
            validation,
        })
    }

    /// Trains by gradient descent at each learning rate in turn and keeps the best.
    fn descend(&mut self, phase: &Phase, settings: &Gradient) -> Result<PhaseOutcome, TrainError> {
        for candidate in self.state.progress.candidate..settings.learning_rates.len() {
            if let Ending::Diverged = self.try_rate(phase, settings, candidate)? {
                let rate = settings.learning_rates[candidate];
                self.trainer.monitor.message(&format!("learning rate {rate:e} diverged and is left out"));
            }
            let progress = &mut self.state.progress;
            (progress.candidate, progress.epoch, progress.batch) = (candidate + 1, 0, 0);
            progress.running = RunningTotals::default();
        }
        let Some((best, parameters)) = self.state.progress.best.take().zip(self.state.best.take()) else {
            let rates: Vec<String> = settings.learning_rates.iter().map(|rate| format!("{rate:e}")).collect();
            return Err(TrainError::Diverged { phase: phase.name.clone(), rates: rates.join(", ") });
        };
        self.state.model.parameters = parameters;
        Ok(PhaseOutcome {
            phase: phase.name.clone(),
            learning_rate: Some(settings.learning_rates[best.candidate]),
            inverse_strength: None,
            epoch: best.epoch,
            validation: best.validation,
        })
    }

    fn try_rate(&mut self, phase: &Phase, settings: &Gradient, candidate: usize) -> Result<Ending, TrainError> {
        let at_start = self.state.progress.epoch == 0 && self.state.progress.batch == 0;
        if at_start {
            self.state.model.parameters = self.state.phase_start.clone();
            let count = self.state.model.network().specs.len();
            self.state.optimizer = Optimizer::new(self.trainer.options.optimizer, count);
        }
        let descent = Descent::new(self.trainer, &self.state.model, &self.loaders, phase, settings, candidate);
        while self.state.progress.epoch < settings.epochs {
            if let Ending::Diverged = self.epoch(&descent)? {
                return Ok(Ending::Diverged);
            }
            let task = format!("validation after epoch {}", self.state.progress.epoch);
            let started = Instant::now();
            let validation = match self.validate(&task) {
                Err(TrainError::Inference(InferenceError::NotFinite { .. })) => return Ok(Ending::Diverged),
                other => other?,
            };
            self.trainer.monitor.message(&format!(
                "{}: {:.1} % right on validation, loss {:.4}",
                descent.task(self.state.progress.epoch - 1),
                100.0 * validation.accuracy,
                validation.loss
            ));
            let seconds = started.elapsed().as_secs_f64();
            self.metrics.append(&descent.row(
                &self.state.progress,
                "val",
                validation.loss,
                validation.accuracy,
                seconds,
            ))?;
            self.consider(candidate, validation, settings.epochs);
            self.save_checkpoint()?;
        }
        Ok(Ending::Finished)
    }

    /// Keeps the present parameters if they are the best of the phase so far.
    fn consider(&mut self, candidate: usize, validation: Evaluation, epochs: usize) {
        let epoch = self.state.progress.epoch;
        if self.trainer.options.keep == Keep::Last && epoch < epochs {
            return;
        }
        let best = &self.state.progress.best;
        if best.as_ref().is_none_or(|best| validation.is_better_than(&best.validation)) {
            self.state.progress.best = Some(BestEpoch { candidate, epoch, validation });
            self.state.best = Some(self.state.model.parameters.clone());
        }
    }

    /// One pass over the training images, or the rest of one.
    fn epoch(&mut self, descent: &Descent) -> Result<Ending, TrainError> {
        let (trainer, monitor) = (self.trainer, self.trainer.monitor);
        let started = Instant::now();
        let epoch = self.state.progress.epoch;
        monitor.start(&descent.task(epoch), trainer.train.len());
        monitor.advance(self.state.progress.running.images);
        let order =
            if trainer.options.shuffle { Order::Shuffled { seed: trainer.options.seed } } else { Order::Sequential };
        let batches = self.loaders.training.epoch(epoch as u64, order, self.state.progress.batch);
        for batch in batches {
            let batch = batch?;
            if monitor.cancelled() {
                self.save_checkpoint()?;
                return Err(TrainError::Interrupted);
            }
            let rates = descent.rates_at(epoch * descent.steps_per_epoch + self.state.progress.batch);
            let found = loss_gradients(&self.state.model, &batch, &descent.differentiation());
            if !found.loss.is_finite() {
                monitor.finish();
                return Ok(Ending::Diverged);
            }
            let progress = &mut self.state.progress;
            progress.running.loss += found.loss * batch.n as f64;
            progress.running.correct += found.correct;
            let size = StepSize { rates: &rates, clip_norm: trainer.options.clip_norm };
            gradient::step(&mut self.state.model, &mut self.state.optimizer, found, &size);
            progress.running.images += batch.n;
            progress.batch += 1;
            monitor.advance(batch.n);
            let due = trainer.options.checkpoint_every.is_some_and(|steps| progress.batch.is_multiple_of(steps));
            if due && progress.batch < descent.steps_per_epoch {
                self.save_checkpoint()?;
            }
        }
        monitor.finish();
        if trainer.options.batch_norm == BatchNormPolicy::Recalibrate {
            self.recalibrate(&descent.trained)?;
        }
        let progress = &mut self.state.progress;
        let totals = std::mem::take(&mut progress.running);
        (progress.epoch, progress.batch) = (epoch + 1, 0);
        let images = totals.images.max(1) as f64;
        let mut row = descent.row(
            progress,
            "train",
            totals.loss / images,
            totals.correct as f64 / images,
            started.elapsed().as_secs_f64(),
        );
        row.rates = Some(descent.mean_rates(&self.state.model, epoch));
        self.metrics.append(&row)?;
        Ok(Ending::Finished)
    }

    fn recalibrate(&mut self, trained: &[bool]) -> Result<(), TrainError> {
        let mut recalibration = Recalibration::new(self.state.model.network().specs.len());
        for batch in self.loaders.plain.epoch(0, Order::Sequential, 0).take(RECALIBRATION_BATCHES) {
            recalibration.observe(&self.state.model, &batch?, trained);
        }
        recalibration.finish(&mut self.state.model.parameters);
        Ok(())
    }

    fn validate(&mut self, task: &str) -> Result<Evaluation, TrainError> {
        let monitor = self.trainer.monitor;
        let evaluation = inference::evaluate(&self.state.model, &self.loaders.validation, task, monitor);
        evaluation.map_err(TrainError::from)
    }

    /// Checks that every tensor of a block that no phase trains is byte for byte as it was.
    fn check_frozen(&self) -> Result<(), TrainError> {
        let model = &self.state.model;
        let trained = self.trainer.plan.trained_blocks(model.blocks());
        match first_difference(&self.state.initial, &model.parameters, &trained) {
            Some(name) => Err(TrainError::FrozenChanged(name)),
            None => Ok(()),
        }
    }
}

/// Name of the first parameter outside the `trained` blocks whose bits differ.
fn first_difference(before: &Parameters, after: &Parameters, trained: &[bool]) -> Option<String> {
    let bits = |parameters: &Parameters, index: usize| -> Vec<u32> {
        parameters.values(index).into_iter().map(f32::to_bits).collect()
    };
    let specs = before.specs().iter().enumerate();
    specs
        .filter(|(_, spec)| !trained[spec.block])
        .find(|(index, _)| bits(before, *index) != bits(after, *index))
        .map(|(_, spec)| spec.name.clone())
}

/// A gradient phase at one learning rate.
struct Descent<'a> {
    phase: &'a Phase,
    settings: &'a Gradient,
    base_rate: f64,
    trial: Option<String>,
    block_factors: Vec<f64>,
    trained: Vec<bool>,
    batch_statistics: Vec<bool>,
    class_weights: Option<Vec<f64>>,
    steps_per_epoch: usize,
}

impl<'a> Descent<'a> {
    fn new(
        trainer: &Trainer,
        model: &Model,
        loaders: &Loaders,
        phase: &'a Phase,
        settings: &'a Gradient,
        candidate: usize,
    ) -> Self {
        let block_factors = phase.block_rates(model.blocks());
        let trained: Vec<bool> = block_factors.iter().map(|&factor| factor > 0.0).collect();
        let batch_statistics = match trainer.options.batch_norm {
            BatchNormPolicy::Train => trained.clone(),
            BatchNormPolicy::Frozen | BatchNormPolicy::Recalibrate => Vec::new(),
        };
        let base_rate = settings.learning_rates[candidate];
        let trials = settings.learning_rates.len();
        Self {
            phase,
            settings,
            base_rate,
            trial: (trials > 1).then(|| format!("rate {base_rate:e}")),
            block_factors,
            trained,
            batch_statistics,
            class_weights: trainer.class_weights(),
            steps_per_epoch: loaders.training.batches_per_epoch(),
        }
    }

    fn task(&self, epoch: usize) -> String {
        let trial = self.trial.as_ref().map(|trial| format!(", {trial}")).unwrap_or_default();
        format!("{}{trial}, epoch {}/{}", self.phase.name, epoch + 1, self.settings.epochs)
    }

    fn schedule_factor(&self, step: usize) -> f64 {
        let steps = self.steps_per_epoch * self.settings.epochs;
        let warmup_steps = self.settings.warmup_epochs * self.steps_per_epoch as f64;
        self.settings.schedule.factor(step, steps, warmup_steps)
    }

    fn rates_at(&self, step: usize) -> Vec<f64> {
        let rate = self.base_rate * self.schedule_factor(step);
        self.block_factors.iter().map(|factor| factor * rate).collect()
    }

    fn mean_rates(&self, model: &Model, epoch: usize) -> indexmap::IndexMap<String, f64> {
        let steps = epoch * self.steps_per_epoch..(epoch + 1) * self.steps_per_epoch;
        let mean = steps.map(|step| self.schedule_factor(step)).sum::<f64>() / self.steps_per_epoch as f64;
        let blocks = model.blocks().iter().zip(&self.block_factors);
        blocks
            .filter(|(_, factor)| **factor > 0.0)
            .map(|(block, factor)| (block.name.clone(), factor * self.base_rate * mean))
            .collect()
    }

    fn differentiation(&self) -> Differentiation<'_> {
        Differentiation {
            trained: &self.trained,
            batch_statistics: &self.batch_statistics,
            class_weights: self.class_weights.as_deref(),
        }
    }

    fn row(&self, progress: &Progress, split: &str, loss: f64, accuracy: f64, seconds: f64) -> MetricsRow {
        MetricsRow {
            phase: self.phase.name.clone(),
            epoch: progress.epoch,
            step: progress.epoch * self.steps_per_epoch,
            split: split.to_owned(),
            loss,
            accuracy,
            seconds,
            learning_rate: Some(self.base_rate),
            inverse_strength: None,
            rates: None,
        }
    }
}

fn fit_probe(
    train: FeatureMatrix,
    train_labels: &[usize],
    validation: FeatureMatrix,
    validation_labels: &[usize],
    classes: usize,
    options: &ProbeOptions,
    monitor: &dyn Monitor,
) -> Result<probe::Probe, TrainError> {
    monitor.start("linear probe", options.inverse_strengths.len());
    let mut reported = 0;
    let probe = probe::fit_path(train, train_labels, validation, validation_labels, classes, options, |progress| {
        monitor.advance(progress.fitted - reported);
        reported = progress.fitted;
        if monitor.cancelled() { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
    });
    monitor.finish();
    match probe {
        Err(ProbeError::Interrupted) => Err(TrainError::Interrupted),
        other => Ok(other?),
    }
}
