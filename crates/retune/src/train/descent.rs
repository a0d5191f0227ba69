//! A gradient phase at one learning rate: what trains, at which rate, at every step.

use indexmap::IndexMap;

use super::Trainer;
use super::checkpoint::Progress;
use super::gradient::Differentiation;
use super::metrics::MetricsRow;
use super::options::{BatchNormPolicy, Precision};
use crate::models::{Model, ParameterSpec};
use crate::plan::{Gradient, Phase};

/// A gradient phase at one learning rate.
pub(super) struct Descent<'a> {
    phase: &'a Phase,
    pub settings: &'a Gradient,
    base_rate: f64,
    trial: Option<String>,
    /// Factor on the scheduled rate for each parameter, before anything is measured.
    factors: Vec<f64>,
    /// Whole epochs for which each parameter stays frozen.
    frozen_epochs: Vec<usize>,
    /// For each block, whether its tensors are treated differently by the plan.
    split: Vec<bool>,
    /// For each parameter, its block.
    block_of: Vec<usize>,
    /// For each parameter, whether the phase trains it at all.
    selected: Vec<bool>,
    batch_norm: BatchNormPolicy,
    class_weights: Option<Vec<f64>>,
    precision: Precision,
    pub steps_per_epoch: usize,
}

/// What trains in one epoch.
pub(super) struct EpochRates {
    /// Factor on the scheduled rate for each parameter; 0 where it is frozen.
    factors: Vec<f64>,
    /// For each parameter, whether it trains.
    pub trained: Vec<bool>,
    /// For each block, whether anything in it trains.
    pub trained_blocks: Vec<bool>,
    batch_statistics: Vec<bool>,
}

impl EpochRates {
    /// The rate of each parameter where the scheduled rate is `rate`.
    pub fn scaled(&self, rate: f64) -> Vec<f64> {
        self.factors.iter().map(|factor| factor * rate).collect()
    }
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
        let specs = &model.network().specs;
        let blocks = model.blocks();
        let base_rate = settings.learning_rates[candidate];
        let trials = settings.learning_rates.len();
        let frozen = |spec: &ParameterSpec| settings.frozen_epochs_of(&blocks[spec.block], &spec.name);
        Self {
            phase,
            settings,
            base_rate,
            trial: (trials > 1).then(|| format!("rate {base_rate:e}")),
            factors: phase.parameter_rate_factors(blocks, specs),
            frozen_epochs: specs.iter().map(frozen).collect(),
            split: blocks.iter().map(|block| settings.splits(block)).collect(),
            block_of: specs.iter().map(|spec| spec.block).collect(),
            selected: specs.iter().map(|spec| settings.trains(spec, model.head())).collect(),
            batch_norm: trainer.options.batch_norm,
            class_weights: trainer.class_weights(),
            precision: trainer.options.precision,
            steps_per_epoch,
        }
    }

    pub fn task(&self, epoch: usize) -> String {
        let trial = self.trial.as_ref().map(|trial| format!(", {trial}")).unwrap_or_default();
        format!("{}{trial}, epoch {}/{}", self.phase.name, epoch + 1, self.settings.epochs)
    }

    /// What trains in `epoch` (from 0), with a factor measured for each parameter if there is one.
    pub fn epoch_rates(&self, epoch: usize, multipliers: Option<&[f64]>) -> EpochRates {
        let factor = |parameter: usize| {
            let thawed = epoch >= self.frozen_epochs[parameter];
            if !thawed || !self.selected[parameter] {
                return 0.0;
            }
            self.factors[parameter] * multipliers.map_or(1.0, |multipliers| multipliers[parameter])
        };
        let factors: Vec<f64> = (0..self.block_of.len()).map(factor).collect();
        let trained: Vec<bool> = factors.iter().map(|&factor| factor > 0.0).collect();
        let mut trained_blocks = vec![false; self.split.len()];
        for (&block, &trained) in self.block_of.iter().zip(&trained) {
            trained_blocks[block] |= trained;
        }
        let batch_statistics = match self.batch_norm {
            BatchNormPolicy::Train => trained_blocks.clone(),
            BatchNormPolicy::Frozen | BatchNormPolicy::Recalibrate => Vec::new(),
        };
        EpochRates { factors, trained, trained_blocks, batch_statistics }
    }

    fn scheduled_rate(&self, step: usize) -> f64 {
        let steps = self.steps_per_epoch * self.settings.epochs;
        let warmup_steps = self.settings.warmup_epochs * self.steps_per_epoch as f64;
        self.base_rate * self.settings.schedule.factor(step, steps, warmup_steps)
    }

    /// The rate of each parameter at a step of the phase.
    pub fn rates_at(&self, step: usize, epoch: &EpochRates) -> Vec<f64> {
        epoch.scaled(self.scheduled_rate(step))
    }

    /// The mean rate of each block over an epoch: over its steps, and over its parameters where
    /// measures make them differ. Where the plan makes them differ, the rate of each tensor that trains.
    pub fn mean_rates(&self, model: &Model, epoch: usize, rates: &EpochRates) -> IndexMap<String, f64> {
        let steps = epoch * self.steps_per_epoch..(epoch + 1) * self.steps_per_epoch;
        let mean = steps.map(|step| self.scheduled_rate(step)).sum::<f64>() / self.steps_per_epoch as f64;
        let mut sums: IndexMap<&str, (f64, u32)> = IndexMap::new();
        let trained = self.block_of.iter().enumerate().filter(|(parameter, _)| rates.trained[*parameter]);
        for (parameter, &block) in trained {
            let own = &model.network().specs[parameter].name;
            let name = if self.split[block] { own } else { &model.blocks()[block].name };
            let (sum, count) = sums.entry(name).or_default();
            *sum += rates.factors[parameter];
            *count += 1;
        }
        sums.into_iter().map(|(name, (sum, count))| (name.to_owned(), mean * sum / f64::from(count))).collect()
    }

    pub fn differentiation<'b>(&'b self, epoch: &'b EpochRates) -> Differentiation<'b> {
        Differentiation {
            trained: &epoch.trained,
            batch_statistics: &epoch.batch_statistics,
            class_weights: self.class_weights.as_deref(),
            precision: self.precision,
        }
    }

    pub fn row(&self, progress: &Progress, split: &str, loss: f64, accuracy: f64, seconds: f64) -> MetricsRow {
        MetricsRow {
            epoch: progress.epoch,
            step: progress.epoch * self.steps_per_epoch,
            seconds,
            learning_rate: Some(self.base_rate),
            ..MetricsRow::new(&self.phase.name, split, loss, accuracy)
        }
    }
}
