//! Learning rates: which parameters of a phase train in an epoch, and how fast each of them learns at a step.

use indexmap::IndexMap;

use super::pacing::Pacing;
use crate::models::{Model, ParameterSpec};
use crate::plan::{Gradient, Phase};

/// The learning rates of a phase that is run with one of those that it tries.
pub(super) struct LearningRates<'a> {
    settings: &'a Gradient,
    /// The one that is tried: the schedule and the factors scale it.
    learning_rate: f64,
    steps_per_epoch: usize,
    parameters: Vec<PlannedParameter>,
    /// For each block, whether the plan treats its tensors differently.
    splits: Vec<bool>,
}

/// What the plan says of a parameter.
struct PlannedParameter {
    block: usize,
    /// Whether the phase trains it at all.
    selected: bool,
    /// Whole epochs for which it stays frozen first.
    frozen_epochs: usize,
    /// Factor on the learning rate, before anything is measured.
    rate_factor: f64,
}

/// The factors on the learning rate in one epoch.
pub(super) struct RateFactors {
    /// For each parameter; 0 where it is frozen.
    of_parameters: Vec<f64>,
    /// For each parameter, whether it trains.
    pub trained: Vec<bool>,
    /// For each block, whether anything in it trains.
    pub trained_blocks: Vec<bool>,
}

impl RateFactors {
    /// The learning rate of each parameter where the factors scale `learning_rate`.
    pub fn scaling(&self, learning_rate: f64) -> Vec<f64> {
        self.of_parameters.iter().map(|rate_factor| rate_factor * learning_rate).collect()
    }
}

impl<'a> LearningRates<'a> {
    pub fn new(
        model: &Model,
        phase: &Phase,
        settings: &'a Gradient,
        learning_rate: f64,
        steps_per_epoch: usize,
    ) -> Self {
        let (specs, blocks, head) = (&model.network().specs, model.blocks(), model.head());
        let planned = |(spec, rate_factor): (&ParameterSpec, f64)| PlannedParameter {
            block: spec.block,
            selected: settings.trains(spec, head),
            frozen_epochs: settings.frozen_epochs_of(&blocks[spec.block], &spec.name),
            rate_factor,
        };
        Self {
            settings,
            learning_rate,
            steps_per_epoch,
            parameters: specs.iter().zip(phase.parameter_rate_factors(blocks, specs)).map(planned).collect(),
            splits: blocks.iter().map(|block| settings.splits(block)).collect(),
        }
    }

    /// The learning rate that is tried.
    pub fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    /// The factors in `epoch` of the plan (from 0), with one measured for each parameter if there is one.
    pub fn rate_factors(&self, epoch: usize, measured: Option<&[f64]>) -> RateFactors {
        let rate_factor = |(index, parameter): (usize, &PlannedParameter)| {
            let thawed = epoch >= parameter.frozen_epochs;
            if !thawed || !parameter.selected {
                return 0.0;
            }
            parameter.rate_factor * measured.map_or(1.0, |measured| measured[index])
        };
        let of_parameters: Vec<f64> = self.parameters.iter().enumerate().map(rate_factor).collect();
        let trained: Vec<bool> = of_parameters.iter().map(|&rate_factor| rate_factor > 0.0).collect();
        let mut trained_blocks = vec![false; self.splits.len()];
        for (parameter, &trained) in self.parameters.iter().zip(&trained) {
            trained_blocks[parameter.block] |= trained;
        }
        RateFactors { of_parameters, trained, trained_blocks }
    }

    /// The learning rate of each parameter at a batch of an epoch.
    pub fn at_batch(&self, batch: usize, pacing: &Pacing, rate_factors: &RateFactors) -> Vec<f64> {
        rate_factors.scaling(self.scheduled(batch, pacing))
    }

    /// What the schedule makes of the learning rate at a batch of an epoch.
    fn scheduled(&self, batch: usize, pacing: &Pacing) -> f64 {
        let step = pacing.position * self.steps_per_epoch as f64 + pacing.pace * batch as f64;
        let steps = self.steps_per_epoch * self.settings.epochs;
        let warmup_steps = self.settings.warmup_epochs * self.steps_per_epoch as f64;
        let factor = if step < warmup_steps {
            self.settings.warmup.factor(step, warmup_steps, self.steps_per_epoch)
        } else {
            self.settings.schedule.factor(step, steps, warmup_steps)
        };
        self.learning_rate * factor
    }

    /// The mean learning rate of each block over the steps of an epoch and over its parameters, which measured factors may
    /// differ in. Where the plan itself treats tensors of a block differently, that of each tensor that trains.
    pub fn means_of_epoch(&self, model: &Model, pacing: &Pacing, rate_factors: &RateFactors) -> IndexMap<String, f64> {
        let batches = 0..self.steps_per_epoch;
        let mean = batches.map(|batch| self.scheduled(batch, pacing)).sum::<f64>() / self.steps_per_epoch as f64;
        let mut sums: IndexMap<&str, (f64, u32)> = IndexMap::new();
        for (index, parameter) in self.parameters.iter().enumerate().filter(|(index, _)| rate_factors.trained[*index]) {
            let own = &model.network().specs[index].name;
            let name = if self.splits[parameter.block] { own } else { &model.blocks()[parameter.block].name };
            let (sum, count) = sums.entry(name).or_default();
            *sum += rate_factors.of_parameters[index];
            *count += 1;
        }
        sums.into_iter().map(|(name, (sum, count))| (name.to_owned(), mean * sum / f64::from(count))).collect()
    }
}
