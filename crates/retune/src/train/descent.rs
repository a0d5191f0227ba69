//! A gradient phase at one learning rate: what trains, at which rate, at every step.

use indexmap::IndexMap;

use super::Trainer;
use super::checkpoint::Progress;
use super::gradient::Differentiation;
use super::metrics::MetricsRow;
use super::options::BatchNormPolicy;
use crate::models::Model;
use crate::plan::{Gradient, Phase};

/// A gradient phase at one learning rate.
pub(super) struct Descent<'a> {
    phase: &'a Phase,
    settings: &'a Gradient,
    base_rate: f64,
    trial: Option<String>,
    block_factors: Vec<f64>,
    /// For each block, whether it trains.
    pub trained: Vec<bool>,
    batch_statistics: Vec<bool>,
    class_weights: Option<Vec<f64>>,
    pub steps_per_epoch: usize,
}

impl<'a> Descent<'a> {
    pub fn new(
        trainer: &Trainer,
        model: &Model,
        steps_per_epoch: usize,
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
            steps_per_epoch,
        }
    }

    pub fn task(&self, epoch: usize) -> String {
        let trial = self.trial.as_ref().map(|trial| format!(", {trial}")).unwrap_or_default();
        format!("{}{trial}, epoch {}/{}", self.phase.name, epoch + 1, self.settings.epochs)
    }

    fn schedule_factor(&self, step: usize) -> f64 {
        let steps = self.steps_per_epoch * self.settings.epochs;
        let warmup_steps = self.settings.warmup_epochs * self.steps_per_epoch as f64;
        self.settings.schedule.factor(step, steps, warmup_steps)
    }

    pub fn rates_at(&self, step: usize) -> Vec<f64> {
        let rate = self.base_rate * self.schedule_factor(step);
        self.block_factors.iter().map(|factor| factor * rate).collect()
    }

    pub fn mean_rates(&self, model: &Model, epoch: usize) -> IndexMap<String, f64> {
        let steps = epoch * self.steps_per_epoch..(epoch + 1) * self.steps_per_epoch;
        let mean = steps.map(|step| self.schedule_factor(step)).sum::<f64>() / self.steps_per_epoch as f64;
        let blocks = model.blocks().iter().zip(&self.block_factors);
        blocks
            .filter(|(_, factor)| **factor > 0.0)
            .map(|(block, factor)| (block.name.clone(), factor * self.base_rate * mean))
            .collect()
    }

    pub fn differentiation(&self) -> Differentiation<'_> {
        Differentiation {
            trained: &self.trained,
            batch_statistics: &self.batch_statistics,
            class_weights: self.class_weights.as_deref(),
        }
    }

    pub fn row(&self, progress: &Progress, split: &str, loss: f64, accuracy: f64, seconds: f64) -> MetricsRow {
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
