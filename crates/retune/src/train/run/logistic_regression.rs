//! A linear probe as a phase.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use super::Run;
use crate::inference::{self, Tally};
use crate::models::Model;
use crate::monitor::Monitor;
use crate::plan::{LogisticRegression, Phase};
use crate::train::kept_features::KeptFeatures;
use crate::train::loaders::KeyedLoader;
use crate::train::metrics::MetricsRow;
use crate::train::probe::{self, FeatureMatrix, ProbeError, ProbeOptions, for_each_logits};
use crate::train::{PhaseOutcome, TrainError};

/// What the head sees of the images.
pub(super) struct ProbeFeatures {
    pub train: Arc<KeptFeatures>,
    pub validation: Arc<KeptFeatures>,
}

impl Run<'_> {
    /// Trains the head alone, to the optimum. Of several processes, each keeps the features of its images, and all find the same.
    pub(super) fn logistic_regression(
        &mut self,
        phase: &Phase,
        settings: &LogisticRegression,
    ) -> Result<PhaseOutcome, TrainError> {
        let monitor = self.monitor;
        let started = Instant::now();
        let memory_bytes = self.trainer.options.activations.memory_bytes;
        let model = &self.state.model;
        // In memory as far as it suffices.
        let features = |model: &Model, images: &KeyedLoader, memory_bytes: u64, task: &str| {
            self.shared.features(model, images, memory_bytes, task, monitor)
        };
        // Validation judges the head on what the model will give it.
        let frozen = model.in_precision(self.trainer.options.frozen_precision);
        let train = features(&frozen, &self.loaders.plain, memory_bytes, "features of training images")?;
        let memory_left = memory_bytes.saturating_sub(train.memory_bytes());
        let validation = features(model, &self.loaders.validation, memory_left, "features of validation images")?;

        self.solve(phase, settings, ProbeFeatures { train, validation }, started)
    }

    fn solve(
        &mut self,
        phase: &Phase,
        settings: &LogisticRegression,
        features: ProbeFeatures,
        started: Instant,
    ) -> Result<PhaseOutcome, TrainError> {
        let model = &self.state.model;
        if let Some(sets) = inference::label_sets(model, &self.trainer.train)? {
            return self.label_probes(phase, settings, &features, &sets);
        }
        let ProbeFeatures { train, validation } = features;
        let train_labels = self.trainer.train.labels()?;
        let validation_labels = self.trainer.validation.labels()?;
        let options = ProbeOptions {
            inverse_strengths: settings.strengths.clone(),
            select: self.select(),
            solver: probe::SolverOptions {
                class_weights: self.trainer.class_weights(),
                ..probe::SolverOptions::default()
            },
        };
        let (training, validating) =
            ((train.matrix()?, &train_labels[..]), (validation.matrix()?, &validation_labels[..]));
        let classes = model.config().num_classes();
        let probe = fit_probe("linear probe", training, validating, classes, &options, self.monitor)?;

        self.log_path(phase, &probe, started.elapsed().as_secs_f64())?;
        let (weight, bias) = self.state.model.head_parameters().ok_or(inference::InferenceError::NoClassifier)?;
        let inverse_strength = probe.inverse_strength;
        let mut tally = Tally::of(self.select(), validation_labels.len(), probe.bias.len());
        let mut images = validation_labels.iter().zip(&self.trainer.validation.samples);
        for_each_logits(validation.matrix()?, &probe.weight, &probe.bias, |logits| {
            for (row, (&label, sample)) in logits.chunks_exact(probe.bias.len()).zip(&mut images) {
                tally.add(row, label, sample.group.as_deref());
            }
        })?;
        let validation = tally.evaluation();
        self.state.model.parameters.set_values(weight, probe.weight);
        self.state.model.parameters.set_values(bias, probe.bias);
        Ok(PhaseOutcome { inverse_strength: Some(inverse_strength), ..PhaseOutcome::new(&phase.name, 0, validation) })
    }

    fn log_path(&mut self, phase: &Phase, probe: &probe::Probe, seconds: f64) -> Result<(), TrainError> {
        for point in &probe.path {
            let splits = [
                ("train", point.train_loss, point.train_accuracy),
                ("val", point.validation_loss, point.validation_accuracy),
            ];
            for (split, loss, accuracy) in splits {
                self.record(&MetricsRow {
                    step: point.diagnostics.iterations,
                    seconds: seconds / probe.path.len() as f64,
                    inverse_strength: Some(point.inverse_strength),
                    ..MetricsRow::new(&phase.name, split, loss, accuracy)
                })?;
            }
        }
        Ok(())
    }
}

/// Fits a probe on features and labels, and chooses by others.
pub(in crate::train) fn fit_probe(
    task: &str,
    (train, train_labels): (FeatureMatrix, &[usize]),
    (validation, validation_labels): (FeatureMatrix, &[usize]),
    classes: usize,
    options: &ProbeOptions,
    monitor: &dyn Monitor,
) -> Result<probe::Probe, TrainError> {
    monitor.start_counting(task, options.inverse_strengths.len(), "strengths");
    let mut reported = 0;
    let probe = probe::fit_path(train, train_labels, validation, validation_labels, classes, options, |progress| {
        monitor.advance(progress.fitted - reported);
        reported = progress.fitted;
        if monitor.canceled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    if probe.is_ok() {
        monitor.advance(options.inverse_strengths.len() - reported);
    }
    monitor.finish();
    match probe {
        Err(ProbeError::Interrupted) => Err(TrainError::Interrupted),
        other => Ok(other?),
    }
}
