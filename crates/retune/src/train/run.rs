//! A run in progress: phase after phase, candidate after candidate, epoch after epoch.

use std::ops::ControlFlow;
use std::time::Instant;

use super::checkpoint::{self, BestEpoch, Progress, RunningTotals, State};
use super::descent::Descent;
use super::gradient::{self, Recalibration, StepSize, loss_gradients};
use super::metrics::{MetricsFile, MetricsRow};
use super::optimizer::Optimizer;
use super::options::{BatchNormPolicy, Keep};
use super::probe::{self, FeatureMatrix, ProbeError, ProbeOptions};
use super::{PhaseOutcome, TrainError, Trained, Trainer};
use crate::data::augment::AugmentPolicy;
use crate::data::mix::Mix;
use crate::data::{CacheOptions, DataError, Loader, LoaderOptions, Order};
use crate::inference::{self, Evaluation, InferenceError, Layer};
use crate::models::{Model, Parameters};
use crate::monitor::Monitor;
use crate::plan::{Gradient, LogisticRegression, Phase, Solver};

/// Batches whose statistics a recalibration averages; more change little.
const RECALIBRATION_BATCHES: usize = 100;

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
pub(super) struct Run<'a> {
    trainer: &'a Trainer<'a>,
    state: State,
    metrics: MetricsFile,
    loaders: Loaders,
    started: Instant,
    seconds_before: f64,
}

impl<'a> Run<'a> {
    /// The run's first state, or the one in the directory's checkpoint.
    pub fn begin(trainer: &'a Trainer<'a>, model: Model, resume: bool) -> Result<Self, TrainError> {
        let optimizer = Optimizer::new(trainer.options.optimizer, model.network().specs.len());
        let state = match (resume, trainer.checkpoint_directory()) {
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
        let metrics_path = trainer.directory.map(|directory| directory.join("metrics.jsonl"));
        let metrics = MetricsFile::open(metrics_path.as_deref(), state.progress.metrics_bytes)?;
        let loaders = Loaders::new(trainer, &state.model)?;
        let seconds_before = state.progress.seconds;
        Ok(Self { trainer, state, metrics, loaders, started: Instant::now(), seconds_before })
    }

    /// Runs what is left of the plan.
    pub fn finish(mut self) -> Result<Trained, TrainError> {
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
        let logits = probe.logits(&validation.values);
        let rows = logits.chunks_exact(probe.bias.len());
        let validation = inference::evaluate_logits(self.trainer.validation, rows)?;
        self.state.model.parameters.set_values(weight, probe.weight);
        self.state.model.parameters.set_values(bias, probe.bias);
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
        let descent = Descent::new(
            self.trainer,
            &self.state.model,
            self.loaders.training.batches_per_epoch(),
            phase,
            settings,
            candidate,
        );
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
        if monitor.cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    monitor.finish();
    match probe {
        Err(ProbeError::Interrupted) => Err(TrainError::Interrupted),
        other => Ok(other?),
    }
}
