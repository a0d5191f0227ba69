//! The training loop of gradient descent: each learning rate in turn, epoch after epoch, step after step.

mod losses;
mod reports;

use std::ops::ControlFlow;
use std::time::Instant;

use indexmap::IndexMap;

use self::losses::UnseenLosses;
use super::average::WeightAverage;
use super::gradient::Differentiation;
use super::learning_rates::{LearningRates, RateFactors};
use super::loss::TrainingLoss;
use super::low_rank::TrainedAdapters;
use super::measured_rates::{LayerMeasures, measure_shared_layers, of_parameters, squared_norms};
use super::options::{BatchNormPolicy, Keep};
use super::run::Run;
use super::search::{Next, Tried};
use super::shared_gradients::shared_gradients;
use super::state::BestEpoch;
use super::update::Update;
use super::{Divergence, NotFinite, PhaseOutcome, TrainError, keys};
use crate::device::{DeviceError, values};
use crate::inference::{Evaluation, InferenceError};
use crate::models::Parameters;
use crate::plan::{Averaging, Combine, Criterion, Gradient, Phase};

/// A phase of gradient descent at one of its learning rates.
struct Trial<'a> {
    phase: &'a Phase,
    settings: &'a Gradient,
    learning_rates: LearningRates<'a>,
    loss: TrainingLoss,
    steps_per_epoch: usize,
    /// Its place in the search.
    next: Next,
}

/// How training at a learning rate, or an epoch of it, ended: a divergence breaks it off.
type Ending = ControlFlow<Divergence>;

impl Run<'_> {
    /// Trains at each of the phase's learning rates in turn, and makes one model of what they gave.
    pub(super) fn gradient_descent(&mut self, phase: &Phase, settings: &Gradient) -> Result<PhaseOutcome, TrainError> {
        let mut first_divergence = None;
        self.note_batches_of_one_image();
        while let Some(next) = self.next_training(settings) {
            let learning_rate = settings.learning_rates[next.position];
            let ending = match next.in_full {
                true => self.train_at(next, phase, settings)?,
                false => self.train_at(next, phase, &settings.shortened(next.epochs))?,
            };
            if let Ending::Break(divergence) = ending {
                let told = format!("learning rate {learning_rate:e} diverged and is left out: {divergence}");
                self.monitor.message(&told);
                first_divergence.get_or_insert(divergence);
                self.state.training.best = None;
            }
            self.note_if_shortened(next, learning_rate);
            self.keep_candidate(next, learning_rate, settings);
            self.state.candidate += 1;
            self.state.training = self.fresh_training();
        }
        if self.state.candidates.is_empty() {
            return Err(diverged_everywhere(phase, settings, first_divergence));
        }
        let cut = self.cut(settings);
        Ok(PhaseOutcome { cut, ..self.combine(phase, settings)? })
    }

    /// Trains for the settings' epochs at one learning rate, or for those that an interrupted run left.
    fn train_at(&mut self, next: Next, phase: &Phase, settings: &Gradient) -> Result<Ending, TrainError> {
        let learning_rate = settings.learning_rates[next.position];
        let steps_per_epoch = self.loaders.training.loader.batches_per_epoch();
        let learning_rates = LearningRates::new(&self.state.model, phase, settings, learning_rate, steps_per_epoch);
        let loss = TrainingLoss::of(self.trainer, &self.state.model)?;
        let trial = Trial { phase, settings, learning_rates, loss, steps_per_epoch, next };

        if !self.state.training.has_begun() {
            self.begin_training(settings)?;
            self.begin_pacing(next, settings);
        }
        while self.state.training.goes_on(settings) {
            let begun = Instant::now();
            let is_whole = self.state.training.batch == 0 && !self.state.training.validation_due;
            if !self.state.training.validation_due {
                let ending = self.train_epoch(&trial);
                if matches!(ending, Err(TrainError::Interrupted)) && self.weights_are_finite()? {
                    self.save_checkpoint()?;
                }
                if let Ending::Break(divergence) = ending? {
                    return Ok(Ending::Break(divergence));
                }
            }
            self.state.training.validation_due = true;
            let started = Instant::now();
            let validation = match self.validate(&format!("validation after epoch {}", self.state.training.epoch)) {
                Err(TrainError::Inference(InferenceError::NotFinite { image })) => {
                    let (what, epoch) = (NotFinite::Validation, self.state.training.epoch);
                    return Ok(Ending::Break(Divergence { what, epoch, step: 0, images: vec![image] }));
                }
                Err(TrainError::Interrupted) => {
                    self.save_checkpoint()?;
                    return Err(TrainError::Interrupted);
                }
                other => other?,
            };
            self.state.training.validation_due = false;
            self.report_validation(&trial, &validation, started.elapsed().as_secs_f64())?;
            self.keep_pace(next, settings);
            self.keep_if_best(validation, &trial);
            self.save_checkpoint_of_epoch()?;
            if is_whole {
                self.tell_time_left(&trial, begun.elapsed());
            }
        }
        Ok(Ending::Continue(()))
    }

    /// The state before a learning rate's first step: the phase's starting weights, and nothing learned yet.
    fn begin_training(&mut self, settings: &Gradient) -> Result<(), TrainError> {
        self.leave_frozen_blocks();
        self.state.model.parameters = self.state.phase_start.clone();
        if !settings.reinitialize.is_empty() {
            self.reinitialize(&settings.reinitialize)?;
        }
        let options = &self.trainer.options;
        let model = &self.state.model;
        let mut training = self.fresh_training();
        training.average = settings.average.map(|_| WeightAverage::new(&model.parameters));
        training.adapters = TrainedAdapters::of_phase(model, settings, options.seed, options.optimizer);
        self.state.training = training;
        Ok(())
    }

    /// One pass over the training images, or the rest of one.
    fn train_epoch(&mut self, trial: &Trial) -> Result<Ending, TrainError> {
        let Trial { settings, .. } = *trial;
        let (trainer, monitor) = (self.trainer, self.monitor);
        let epoch = self.state.training.epoch;
        let started = Instant::now();

        let Some(rate_factors) = self.rate_factors(trial)? else {
            let (what, images) = (NotFinite::Measure, Vec::new());
            return Ok(Ending::Break(Divergence { what, epoch: epoch + 1, step: 0, images }));
        };
        let batches = self.epoch_batches(&rate_factors, trial.next.passes - epoch)?;

        let is_cumulative =
            settings.adaptive.as_ref().is_some_and(|adaptive| adaptive.criterion == Criterion::CumulativeGradientNorm);
        let mut last_norms = None;
        let mut losses = UnseenLosses::on(&self.state.model.parameters.tensors()[0].device());

        // Images from before an interruption took none of the time that begins now.
        let images = trainer.train.len().saturating_sub(self.state.training.totals.images);
        monitor.start(&trial.task(epoch, &self.state.training), images);
        for batch in batches {
            let (batch, entry) = batch?;
            let diverged = |divergence| {
                monitor.finish();
                Ok(Ending::Break(divergence))
            };

            // Forward and backward.
            let what = Differentiation::of(&rate_factors, &trainer.options, trial.loss.loss());
            let dropping = trainer.dropping(&self.state.model, epoch as u64, batch.number);
            let what = Differentiation { dropping, ..what };
            let found = shared_gradients(&self.state.model, &batch, entry, &what, &trainer.options.processes)?;
            losses.push(found.numbers.clone(), &batch);
            if losses.are_due()
                && let Some(divergence) = losses.look(epoch, &mut self.state.training.totals, &trainer.train)?
            {
                return diverged(divergence);
            }

            // The update.
            if is_cumulative && self.state.training.batch + 1 == trial.steps_per_epoch {
                last_norms = Some(squared_norms(&found.gradients)?);
            }
            let state = &mut self.state;
            let training = &mut state.training;
            let update = Update {
                learning_rates: &trial.learning_rates.at_batch(training.batch, &training.pacing, &rate_factors),
                clip_norm: trainer.options.clip_norm,
                anchor: settings.anchor,
                pretrained: &state.initial,
                phase_start: &state.phase_start,
            };
            update.apply(found, &mut state.model, &mut training.optimizer, training.adapters.as_mut());
            if let Some((average, averaging)) = training.average.as_mut().zip(settings.average) {
                average.after_step(averaging, &state.model.parameters);
            }
            training.batch += 1;
            monitor.advance(batch.n);

            // A checkpoint.
            let due = trainer.options.checkpoint_every.is_some_and(|steps| training.batch.is_multiple_of(steps));
            let (is_last, interrupted) = (training.batch == trial.steps_per_epoch, monitor.canceled());
            if !(due || is_last || interrupted) {
                continue;
            }
            if let Some(divergence) = losses.look(epoch, &mut self.state.training.totals, &trainer.train)? {
                return diverged(divergence);
            }
            // A finite loss can give an update that overflows; no checkpoint may hold that.
            if !self.weights_are_finite()? {
                let (number, indices) = (batch.number, &batch.indices);
                return diverged(Divergence::in_step(NotFinite::Weights, epoch, number, indices, &trainer.train));
            }
            // After the last step, validation notices the interruption.
            if !is_last {
                if interrupted {
                    return Err(TrainError::Interrupted);
                }
                self.save_checkpoint()?;
            }
        }
        monitor.finish();
        self.loaders.training.loader.tell_damaged(monitor);
        self.check_weights_agree(epoch)?;

        // The end of the epoch.
        if trainer.options.batch_norm == BatchNormPolicy::Recalibrate {
            self.recalibrate(&rate_factors.trained_blocks)?;
        }
        if let Some(averaging) = settings.average {
            self.average_epoch(averaging, settings)?;
        }
        self.report_epoch(trial, &rate_factors, started.elapsed().as_secs_f64())?;
        let training = &mut self.state.training;
        (training.epoch, training.batch) = (epoch + 1, 0);
        training.pacing.advance(settings.epochs);
        let measured = training.measured.take();
        training.totals = Default::default();
        if let Some(norms) = last_norms {
            self.lower_rates(trial, &norms, measured.as_ref())?;
        }
        Ok(Ending::Continue(()))
    }

    /// The factors of the next epoch, after those `before`, by the squared norms of the last gradients of the epoch that
    /// has just ended.
    fn lower_rates(
        &mut self,
        trial: &Trial,
        norms: &[Option<f64>],
        before: Option<&IndexMap<String, f64>>,
    ) -> Result<(), DeviceError> {
        let Some(adaptive) = trial.settings.adaptive.as_ref() else { return Ok(()) };
        let next = LayerMeasures::of_norms(&self.state.model, norms, adaptive.layer)?.falling_from(before);
        let training = &self.state.training;
        if !training.is_at_end(trial.settings) {
            let task = trial.task(training.epoch, training);
            self.monitor.message(&format!("{task}: {}", reports::describe(adaptive, &next)));
        }
        self.state.training.measured = Some(next);
        Ok(())
    }

    /// The factors on the learning rate in the present epoch; those that follow the gradients are measured where they are
    /// not measured yet. `None` if the gradients are not finite.
    fn rate_factors(&mut self, trial: &Trial) -> Result<Option<RateFactors>, TrainError> {
        let epoch = self.state.training.epoch;
        let epoch_of_plan = self.state.training.pacing.position as usize;
        let planned = trial.learning_rates.rate_factors(epoch_of_plan, None);
        let Some(adaptive) = &trial.settings.adaptive else { return Ok(Some(planned)) };
        if self.state.training.measured.is_none() {
            if adaptive.criterion == Criterion::CumulativeGradientNorm {
                return Ok(Some(planned));
            }
            let (view, order) = self.view_and_order(epoch as u64);
            let (loader, options) = (&self.loaders.training.loader, &self.trainer.options);
            let numbers = (0..loader.batches_per_epoch().min(adaptive.batches)).collect();
            let batches = loader.batches(view, order, numbers, options.turns());
            let what = Differentiation::of(&planned, options, trial.loss.loss());
            let measures = measure_shared_layers(&self.state.model, batches, &what, adaptive, &options.processes)?;
            let measured = measures.rate_factors(adaptive);
            if measured.values().any(|rate_factor| !rate_factor.is_finite()) {
                return Ok(None);
            }
            let task = trial.task(epoch, &self.state.training);
            self.monitor.message(&format!("{task}: {}", reports::describe(adaptive, &measured)));
            let training = &mut self.state.training;
            training.measured = Some(measured);
            if adaptive.restart_optimizer {
                training.optimizer.restart();
                training.adapters.iter_mut().for_each(TrainedAdapters::restart_optimizer);
            }
        }
        let measured = self.state.training.measured.as_ref();
        let measured = measured.map(|measured| of_parameters(&self.state.model, adaptive.layer, measured));
        Ok(Some(trial.learning_rates.rate_factors(epoch_of_plan, measured.as_deref())))
    }

    /// Draws the parameters of blocks anew and measures their running statistics, because the pretrained ones fit only
    /// the pretrained weights.
    fn reinitialize(&mut self, names: &[String]) -> Result<(), TrainError> {
        let blocks = self.state.model.blocks().iter();
        let renewed: Vec<bool> = blocks.map(|block| names.contains(&block.name)).collect();
        self.state.model.parameters.reinitialize(self.trainer.options.seed, |spec| renewed[spec.block]);
        self.recalibrate(&renewed)
    }

    /// Takes the weights after an epoch into their average. An average over epochs gets statistics of its own, as PyTorch's
    /// recipe for SWA has it. An exponential average keeps the average of the statistics, as timm has it: it follows the
    /// weights closely.
    fn average_epoch(&mut self, averaging: Averaging, settings: &Gradient) -> Result<(), TrainError> {
        let state = &mut self.state;
        let Some(average) = &mut state.training.average else { return Ok(()) };
        let mut pacing = state.training.pacing;
        pacing.advance(settings.epochs);
        average.after_epoch(averaging, pacing.position as usize, &state.model.parameters);
        if !matches!(averaging, Averaging::Epochs { .. }) || average.count == 0 {
            return Ok(());
        }
        let averaged = average.parameters.clone();
        let renewed = self.renewed(averaged, &self.state.phase_start)?;
        if let Some(average) = &mut self.state.training.average {
            average.parameters = renewed;
        }
        Ok(())
    }

    /// Checks that all processes have come to the same weights.
    fn check_weights_agree(&self, epoch: usize) -> Result<(), TrainError> {
        let (processes, model) = (&self.trainer.options.processes, &self.state.model);
        if processes.are_several() && !processes.agree_on(keys::body_key(model, model.blocks().len())?) {
            return Err(TrainError::WeightsDiffer { epoch: epoch + 1 });
        }
        Ok(())
    }

    /// Whether the weights, and their average where there is one, are finite.
    fn weights_are_finite(&self) -> Result<bool, DeviceError> {
        let average = self.state.training.average.iter().map(|average| &average.parameters);
        let all = [&self.state.model.parameters].into_iter().chain(average);
        values::are_finite(all.flat_map(Parameters::tensors))
    }

    /// Keeps the present weights if they are the best of this learning rate so far.
    fn keep_if_best(&mut self, validation: Evaluation, trial: &Trial) {
        let (training, metric) = (&self.state.training, self.select());
        let epoch = training.epoch;
        if self.trainer.options.keep == Keep::Last && !training.is_at_end(trial.settings) {
            return;
        }
        // The average was asked for, and it has not begun yet.
        if training.average.as_ref().is_some_and(|average| average.count == 0) {
            return;
        }
        if training.best.as_ref().is_none_or(|best| metric.is_better(&validation, &best.validation)) {
            // An average of low-rank changes is not of low rank.
            let adapters = training.adapters.as_ref().filter(|_| training.average.is_none());
            let adapters = adapters.map(|trained| trained.adapters.clone());
            let (candidate, parameters) = (trial.next.position, self.weights_to_keep().clone());
            self.state.training.best = Some(BestEpoch { candidate, epoch, validation, parameters, adapters });
        }
    }

    /// Notes what came of a training, and keeps the best epoch of one in full: every one for a soup, else the best of all
    /// learning rates.
    fn keep_candidate(&mut self, next: Next, learning_rate: f64, settings: &Gradient) {
        let best = self.state.training.best.take();
        self.state.tried.push(Tried {
            learning_rate,
            epochs: next.epochs,
            epoch: best.as_ref().map_or(0, |best| best.epoch),
            validation: best.as_ref().map(|best| best.validation.clone()),
        });
        let Some(best) = best.filter(|_| next.in_full) else { return };
        let metric = self.select();
        let candidates = &mut self.state.candidates;
        if settings.combine == Combine::Best {
            let kept = candidates.first();
            if kept.is_some_and(|kept| !metric.is_better(&best.validation, &kept.validation)) {
                return;
            }
            candidates.clear();
        }
        candidates.push(best);
    }
}

/// The error when no learning rate of a phase gave a model.
fn diverged_everywhere(phase: &Phase, settings: &Gradient, first: Option<Divergence>) -> TrainError {
    let unknown = Divergence { what: NotFinite::Validation, epoch: settings.epochs, step: 0, images: vec![] };
    let learning_rates: Vec<String> = settings.learning_rates.iter().map(|rate| format!("{rate:e}")).collect();
    let (phase, learning_rates) = (phase.name.clone(), learning_rates.join(", "));
    TrainError::Diverged { phase, learning_rates, first: Box::new(first.unwrap_or(unknown)) }
}
