//! Gradient descent as a phase: each learning rate in turn, epoch after epoch.

use std::time::Instant;

use indexmap::IndexMap;

use super::{Ending, Run};
use crate::inference::{self, Evaluation, InferenceError};
use crate::models::Parameters;
use crate::plan::{Adaptive, Averaging, Combine, Criterion, Gradient, Phase};
use crate::train::average::WeightAverage;
use crate::train::checkpoint::{BestEpoch, Progress, RunningTotals, Snapshot};
use crate::train::descent::{Descent, EpochRates};
use crate::train::gradient::{self, StepRule, loss_gradients, loss_gradients_from};
use crate::train::low_rank::{Adapters, TrainedAdapters};
use crate::train::optimizer::Optimizer;
use crate::train::options::{BatchNormPolicy, Keep, TrainOptions};
use crate::train::rates::measure_layers;
use crate::train::running_statistics;
use crate::train::{Divergence, NotFinite, PhaseOutcome, TrainError, Trainer};

impl Run<'_> {
    /// Trains by gradient descent at each learning rate in turn and makes one model of the results.
    pub(super) fn descend(&mut self, phase: &Phase, settings: &Gradient) -> Result<PhaseOutcome, TrainError> {
        let mut first = None;
        self.tell_of_single_images();
        for candidate in self.state.progress.candidate..settings.learning_rates.len() {
            if let Ending::Diverged(divergence) = self.try_rate(phase, settings, candidate)? {
                let rate = settings.learning_rates[candidate];
                let told = format!("learning rate {rate:e} diverged and is left out: {divergence}");
                self.trainer.monitor.message(&told);
                first.get_or_insert(divergence);
                (self.state.progress.best, self.state.best) = (None, None);
            }
            self.end_candidate(settings.combine);
            let progress = &mut self.state.progress;
            (progress.candidate, progress.epoch, progress.batch) = (candidate + 1, 0, 0);
            progress.running = RunningTotals::default();
            (progress.multipliers, progress.validation_due) = (None, false);
        }
        if self.state.finished.is_empty() {
            let nothing = Divergence { what: NotFinite::Validation, epoch: settings.epochs, step: 0, images: vec![] };
            let first = first.unwrap_or(nothing);
            let rates: Vec<String> = settings.learning_rates.iter().map(|rate| format!("{rate:e}")).collect();
            let (phase, rates) = (phase.name.clone(), rates.join(", "));
            return Err(TrainError::Diverged { phase, rates, first: Box::new(first) });
        }
        self.combine(phase, settings)
    }

    /// Says what a batch of one image cannot do.
    fn tell_of_single_images(&self) {
        let TrainOptions { batch_size, batch_norm, balanced_classes, mix, .. } = self.trainer.options;
        let which = match self.trainer.train.len() % batch_size {
            _ if *batch_size == 1 => "every batch",
            1 => "the last batch of each epoch",
            _ => return,
        };
        let tell = |effect: &str| self.trainer.monitor.message(&format!("note: {which} has one image: {effect}"));
        if *batch_norm != BatchNormPolicy::Frozen {
            tell("BatchNorm takes no statistics from it");
        }
        if *balanced_classes && !mix.is_active() {
            tell("the weight of its class cancels in its mean loss");
        }
    }

    /// Keeps the best epoch of a learning rate: every one for a soup, else the best of all rates.
    fn end_candidate(&mut self, combine: Combine) {
        let state = &mut self.state;
        let Some((found, snapshot)) = state.progress.best.take().zip(state.best.take()) else { return };
        if combine == Combine::Best {
            let kept = state.progress.finished.first();
            if kept.is_some_and(|kept| !found.validation.is_better_than(&kept.validation)) {
                return;
            }
            state.progress.finished.clear();
            state.finished.clear();
        }
        state.progress.finished.push(found);
        state.finished.push(snapshot);
    }

    fn try_rate(&mut self, phase: &Phase, settings: &Gradient, candidate: usize) -> Result<Ending, TrainError> {
        let steps_per_epoch = self.loaders.training.loader.batches_per_epoch();
        let descent = Descent::new(self.trainer, &self.state.model, steps_per_epoch, phase, settings, candidate);
        if self.state.progress.epoch == 0 && self.state.progress.batch == 0 {
            self.begin_candidate(&descent)?;
        }
        while self.state.progress.epoch < settings.epochs || self.state.progress.validation_due {
            if !self.state.progress.validation_due
                && let Ending::Diverged(divergence) = self.epoch(&descent)?
            {
                return Ok(Ending::Diverged(divergence));
            }
            self.state.progress.validation_due = true;
            let task = format!("validation after epoch {}", self.state.progress.epoch);
            let started = Instant::now();
            let validation = match self.validate(&task) {
                Err(TrainError::Inference(InferenceError::NotFinite { image })) => {
                    let epoch = self.state.progress.epoch;
                    let (what, images) = (NotFinite::Validation, vec![image]);
                    return Ok(Ending::Diverged(Divergence { what, epoch, step: 0, images }));
                }
                Err(TrainError::Interrupted) => {
                    self.save_checkpoint()?;
                    return Err(TrainError::Interrupted);
                }
                other => other?,
            };
            self.state.progress.validation_due = false;
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
            self.consider(candidate, validation, settings);
            self.save_checkpoint()?;
        }
        Ok(Ending::Finished)
    }

    /// The state before a learning rate's first step.
    fn begin_candidate(&mut self, descent: &Descent) -> Result<(), TrainError> {
        let settings = descent.settings;
        self.leave();
        self.state.model.parameters = self.state.phase_start.clone();
        let count = self.state.model.network().specs.len();
        self.state.optimizer = Optimizer::new(self.trainer.options.optimizer, count);
        if !settings.reinitialize.is_empty() {
            self.reinitialize(&settings.reinitialize)?;
        }
        self.state.average = settings.average.map(|_| WeightAverage::new(&self.state.model.parameters));
        self.state.adapters = low_rank_changes(self.trainer, &self.state.model, settings);
        Ok(())
    }

    /// Draws the parameters of blocks anew; their running statistics are measured, because those of
    /// the pretrained weights fit no others.
    fn reinitialize(&mut self, names: &[String]) -> Result<(), TrainError> {
        let blocks = self.state.model.blocks().iter();
        let renewed: Vec<bool> = blocks.map(|block| names.contains(&block.name)).collect();
        self.state.model.parameters.reinitialize(self.trainer.options.seed, |spec| renewed[spec.block]);
        self.recalibrate(&renewed)
    }

    /// Keeps the present weights if they are the best of this learning rate so far.
    fn consider(&mut self, candidate: usize, validation: Evaluation, settings: &Gradient) {
        let epoch = self.state.progress.epoch;
        if self.trainer.options.keep == Keep::Last && epoch < settings.epochs {
            return;
        }
        // Before the average has begun there is nothing yet of what was asked for.
        if self.state.average.as_ref().is_some_and(|average| average.count == 0) {
            return;
        }
        let best = &self.state.progress.best;
        if best.as_ref().is_none_or(|best| validation.is_better_than(&best.validation)) {
            self.state.progress.best = Some(BestEpoch { candidate, epoch, validation });
            // An average of low-rank changes is not of low rank.
            let adapters = self.state.adapters.as_ref().filter(|_| self.state.average.is_none());
            let adapters = adapters.map(|trained| trained.adapters.clone());
            self.state.best = Some(Snapshot { parameters: self.evaluated_parameters().clone(), adapters });
        }
    }

    /// The average over training where there is one, else the weights themselves.
    fn evaluated_parameters(&self) -> &Parameters {
        let average = self.state.average.as_ref().filter(|average| average.count > 0);
        average.map_or(&self.state.model.parameters, |average| &average.parameters)
    }

    /// One pass over the training images, or the rest of one.
    fn epoch(&mut self, descent: &Descent) -> Result<Ending, TrainError> {
        let (trainer, monitor) = (self.trainer, self.trainer.monitor);
        let started = Instant::now();
        let epoch = self.state.progress.epoch;
        let rates = match self.epoch_rates(descent, epoch)? {
            Some(rates) => rates,
            None => {
                let (what, images) = (NotFinite::Measure, Vec::new());
                return Ok(Ending::Diverged(Divergence { what, epoch: epoch + 1, step: 0, images }));
            }
        };
        let candidates = descent.settings.learning_rates.len() - self.state.progress.candidate;
        let passes = descent.settings.epochs * candidates - epoch;
        let batches = self.entering_batches(&rates, passes)?;
        monitor.start(&descent.task(epoch), trainer.train.len());
        monitor.advance(self.state.progress.running.images);
        for batch in batches {
            let (batch, entry) = batch?;
            let (model, what) = (&self.state.model, descent.differentiation(&rates));
            let found = match entry {
                Some(entry) => loss_gradients_from(model, entry, &batch, &what),
                None => loss_gradients(model, &batch, &what),
            };
            let diverged = |what| Ok(Ending::Diverged(Divergence::in_step(what, epoch, &batch, trainer.train)));
            if !found.loss.is_finite() {
                monitor.finish();
                return diverged(NotFinite::Loss);
            }
            let progress = &mut self.state.progress;
            progress.running.loss += found.loss * batch.n as f64;
            progress.running.correct += found.correct;
            self.step(descent, &rates, found);
            let progress = &mut self.state.progress;
            progress.running.images += batch.n;
            progress.batch += 1;
            monitor.advance(batch.n);
            let due = trainer.options.checkpoint_every.is_some_and(|steps| progress.batch.is_multiple_of(steps));
            let (is_last, interrupted) = (progress.batch == descent.steps_per_epoch, monitor.cancelled());
            if !(due || is_last || interrupted) {
                continue;
            }
            // A finite loss can give an update that overflows; no checkpoint may hold that.
            if !self.is_finite() {
                monitor.finish();
                return diverged(NotFinite::Weights);
            }
            // After the last step, validation notices the interruption.
            if !is_last {
                self.save_checkpoint()?;
                if interrupted {
                    return Err(TrainError::Interrupted);
                }
            }
        }
        monitor.finish();
        self.end_epoch(descent, &rates, started.elapsed().as_secs_f64())?;
        Ok(Ending::Finished)
    }

    /// Whether the weights, and their average where there is one, are finite.
    fn is_finite(&self) -> bool {
        let finite = |parameters: &Parameters| {
            (0..parameters.specs().len()).all(|index| parameters.values(index).iter().all(|value| value.is_finite()))
        };
        finite(&self.state.model.parameters)
            && self.state.average.as_ref().is_none_or(|average| finite(&average.parameters))
    }

    /// What trains in this epoch; measures adaptive rates where they are not measured yet. `None`
    /// if the gradients are not finite.
    fn epoch_rates(&mut self, descent: &Descent, epoch: usize) -> Result<Option<EpochRates>, TrainError> {
        let Some(adaptive) = &descent.settings.adaptive else {
            return Ok(Some(descent.epoch_rates(epoch, None)));
        };
        if self.state.progress.multipliers.is_none() {
            let plain = descent.epoch_rates(epoch, None);
            let (view, order) = self.view_and_order(epoch as u64);
            let batches = self.loaders.training.loader.epoch(view, order, 0).take(adaptive.batches);
            let what = descent.differentiation(&plain);
            let measured = measure_layers(&self.state.model, batches, &what, adaptive.criterion, adaptive.layer)?;
            let multipliers = measured.multipliers(adaptive);
            if multipliers.values().any(|value| !value.is_finite()) {
                return Ok(None);
            }
            self.trainer.monitor.message(&format!("{}: {}", descent.task(epoch), describe(adaptive, &multipliers)));
            let of_parameters = measured.for_parameters(&multipliers);
            self.state.progress.multipliers = Some((multipliers, of_parameters));
            if adaptive.restart_optimizer {
                self.restart_optimizer();
            }
        }
        let multipliers = self.state.progress.multipliers.as_ref().map(|(_, of_parameters)| of_parameters.as_slice());
        Ok(Some(descent.epoch_rates(epoch, multipliers)))
    }

    fn restart_optimizer(&mut self) {
        let options = self.trainer.options.optimizer;
        self.state.optimizer = Optimizer::new(options, self.state.model.network().specs.len());
        if let Some(adapters) = &mut self.state.adapters {
            adapters.restart_optimizer(options);
        }
    }

    fn step(&mut self, descent: &Descent, rates: &EpochRates, found: gradient::LossGradients) {
        let settings = descent.settings;
        let Progress { epoch, batch, .. } = self.state.progress;
        let rates = descent.rates_at(epoch * descent.steps_per_epoch + batch, rates);
        let head = self.state.model.head();
        let state = &mut self.state;
        let rule = StepRule {
            rates: &rates,
            clip_norm: self.trainer.options.clip_norm,
            anchor: settings.anchor.map(|anchor| (anchor, &state.initial, head)),
        };
        let adapters = state.adapters.as_mut().map(|adapters| (adapters, &state.phase_start));
        gradient::step(&mut state.model, &mut state.optimizer, adapters, found, &rule);
        if let Some((average, averaging)) = state.average.as_mut().zip(settings.average) {
            average.after_step(averaging, &state.model.parameters);
        }
    }

    fn end_epoch(&mut self, descent: &Descent, rates: &EpochRates, seconds: f64) -> Result<(), TrainError> {
        if self.trainer.options.batch_norm == BatchNormPolicy::Recalibrate {
            self.recalibrate(&rates.trained_blocks)?;
        }
        let state = &mut self.state;
        let epoch = state.progress.epoch;
        if let Some((average, averaging)) = state.average.as_mut().zip(descent.settings.average) {
            average.after_epoch(averaging, epoch + 1, &state.model.parameters);
        }
        self.renew_average(descent.settings.average)?;
        let state = &mut self.state;
        let totals = std::mem::take(&mut state.progress.running);
        (state.progress.epoch, state.progress.batch) = (epoch + 1, 0);
        let multipliers = state.progress.multipliers.take();
        let images = totals.images.max(1) as f64;
        let (loss, accuracy) = (totals.loss / images, totals.correct as f64 / images);
        let mut row = descent.row(&state.progress, "train", loss, accuracy, seconds);
        row.rates = Some(descent.mean_rates(&state.model, epoch, rates));
        row.rate_multipliers = multipliers.map(|(of_layers, _)| of_layers);
        self.metrics.append(&row)?;
        Ok(())
    }

    /// Gives an average over epochs statistics of its own, as PyTorch's recipe for SWA does. An exponential average keeps
    /// the average of the statistics, as timm has it: it follows the weights closely.
    fn renew_average(&mut self, averaging: Option<Averaging>) -> Result<(), TrainError> {
        if !matches!(averaging, Some(Averaging::Epochs { .. })) {
            return Ok(());
        }
        let Some(average) = self.state.average.as_ref().filter(|average| average.count > 0) else { return Ok(()) };
        let renewed = self.renewed(average.parameters.clone(), &self.state.phase_start)?;
        if let Some(average) = &mut self.state.average {
            average.parameters = renewed;
        }
        Ok(())
    }

    fn recalibrate(&mut self, blocks: &[bool]) -> Result<(), TrainError> {
        let (images, seed) = (&self.loaders.plain.loader, self.trainer.options.seed);
        self.state.model.parameters = running_statistics::measure(&self.state.model, images, blocks, seed)?;
        Ok(())
    }

    /// Weights made of several others, such as an average, with running statistics of their own; blocks that are the
    /// same in `reference`, one of those others, keep theirs.
    pub(super) fn renewed(&self, mixed: Parameters, reference: &Parameters) -> Result<Parameters, TrainError> {
        let TrainOptions { batch_norm, seed, .. } = *self.trainer.options;
        let images = || Ok(self.loaders.plain.loader.clone());
        let mixed = self.state.model.with_parameters(mixed);
        Ok(running_statistics::renew(mixed, reference, batch_norm, images, seed)?.parameters)
    }

    /// Evaluates the weights that would be kept.
    fn validate(&mut self, task: &str) -> Result<Evaluation, TrainError> {
        let parameters = self.evaluated_parameters().clone();
        self.evaluate(parameters, task)
    }

    /// Evaluates any parameters on the validation images.
    pub(super) fn evaluate(&mut self, parameters: Parameters, task: &str) -> Result<Evaluation, TrainError> {
        let entered = self.entered_validation(&parameters);
        let model = self.state.model.with_parameters(parameters);
        if let Some(prefix) = entered {
            let batch_size = self.trainer.options.batch_size;
            if let Some(evaluation) = prefix.evaluate(&model, &self.loaders.validation.loader, batch_size)? {
                return Ok(evaluation);
            }
        }
        let evaluation = inference::evaluate(&model, &self.loaders.validation.loader, task, self.trainer.monitor);
        evaluation.map_err(TrainError::from)
    }
}

/// The low-rank changes that a phase trains, as they are before its first step.
pub(in crate::train) fn low_rank_changes(
    trainer: &Trainer,
    model: &crate::models::Model,
    settings: &Gradient,
) -> Option<TrainedAdapters> {
    let low_rank = settings.low_rank?;
    let specs = &model.network().specs;
    let head = model.head();
    let blocks = model.blocks();
    let changed = |index: &usize| {
        let spec = &specs[*index];
        let rate = settings.rate_factor(&blocks[spec.block], &spec.name);
        spec.block != head && rate > 0.0 && settings.trains(spec, head)
    };
    let adapters = Adapters::new(low_rank, specs, (0..specs.len()).filter(changed), trainer.options.seed);
    Some(TrainedAdapters::new(adapters, trainer.options.optimizer))
}

/// A factor with two digits that count.
fn shown(value: f64) -> String {
    if value == 0.0 || value >= 0.1 { format!("{value:.2}") } else { format!("{value:.1e}") }
}

/// What a measure found, in a line: the layers that train fastest, or how many train at all.
fn describe(adaptive: &Adaptive, multipliers: &IndexMap<String, f64>) -> String {
    const SHOWN: usize = 4;
    let name = match adaptive.criterion {
        Criterion::RelativeGradientNorm => "relative gradient norm",
        Criterion::SignalToNoise | Criterion::SignalToNoiseOfficial => "signal-to-noise ratio",
    };
    if adaptive.threshold.is_some() {
        let on = multipliers.values().filter(|value| **value > 0.0).count();
        return format!("{on} of {} layers train by their {name}", multipliers.len());
    }
    let mut sorted: Vec<(&String, &f64)> = multipliers.iter().collect();
    sorted.sort_by(|one, other| other.1.total_cmp(one.1));
    let shown: Vec<String> =
        sorted.into_iter().take(SHOWN).map(|(layer, value)| format!("{layer} × {}", shown(*value))).collect();
    format!("rates by {name}: {}, …", shown.join(", "))
}
