//! LoRA (Hu et al. 2022, arXiv 2106.09685): low-rank changes of weights.
//!
//! The network always runs on the merged weight `W = W₀ + scale · B A`, so that nothing about the
//! forward pass changes and the weights are merged at the end by themselves. The factors' gradients
//! follow from the weight's by the chain rule: `dA = scale · Bᵀ dW`, `dB = scale · dW Aᵀ`.

mod peft;

use std::collections::BTreeMap;

use rand::RngExt;

use super::gradient::Gradients;
use super::optimizer::{Optimizer, OptimizerOptions, ParameterState};
use crate::models::weights::NamedTensor;
use crate::models::{Model, ParameterSpec, Parameters};
use crate::plan::{Gradient, LowRank};

/// The change of one weight, seen as a matrix `outputs × inputs`.
#[derive(Clone, Debug, PartialEq)]
pub struct Factors {
    /// `rank × inputs`, row-major.
    pub a: Vec<f32>,
    /// `outputs × rank`, row-major.
    pub b: Vec<f32>,
}

/// Low-rank changes of a model's weights.
#[derive(Clone, Debug)]
pub struct Adapters {
    low_rank: LowRank,
    factors: BTreeMap<usize, Factors>,
}

impl Adapters {
    /// Factors for the parameters at `indices`: `A` drawn as PEFT draws it (uniform within
    /// 1 / √inputs), `B` zero, so that nothing changes at first.
    pub fn new(low_rank: LowRank, specs: &[ParameterSpec], indices: impl Iterator<Item = usize>, seed: u64) -> Self {
        let factors = indices.map(|index| (index, initial_factors(low_rank.rank, &specs[index], seed))).collect();
        Self { low_rank, factors }
    }

    /// Rank and scale.
    pub fn low_rank(&self) -> LowRank {
        self.low_rank
    }

    /// The changed parameters' indices and their factors.
    pub fn factors(&self) -> &BTreeMap<usize, Factors> {
        &self.factors
    }

    /// The factors by the changed parameters' names, `a.` and `b.` in front.
    pub(super) fn tensors(&self, specs: &[ParameterSpec]) -> BTreeMap<String, NamedTensor> {
        let named = |(&index, factors): (&usize, &Factors)| {
            let name = &specs[index].name;
            [(format!("a.{name}"), flat(&factors.a)), (format!("b.{name}"), flat(&factors.b))]
        };
        self.factors.iter().flat_map(named).collect()
    }

    /// Takes out of `tensors` what [`Adapters::tensors`] gave; `false` if it does not fit.
    pub(super) fn restore(&mut self, specs: &[ParameterSpec], tensors: &mut BTreeMap<String, NamedTensor>) -> bool {
        self.factors.iter_mut().all(|(&index, factors)| {
            let name = &specs[index].name;
            [("a", &mut factors.a), ("b", &mut factors.b)].into_iter().all(|(kind, values)| {
                let saved = tensors.remove(&format!("{kind}.{name}")).map(|tensor| tensor.values).unwrap_or_default();
                let fits = saved.len() == values.len();
                *values = saved;
                fits
            })
        })
    }

    /// The first tensor outside the head that is not, to the bit, what these changes make of `initial`.
    pub(super) fn first_unexplained<'p>(
        &self,
        initial: &Parameters,
        model: &'p Parameters,
        head: usize,
    ) -> Option<&'p str> {
        let explained = |index: usize| match self.factors.get(&index) {
            None => model.equal_at(initial, index),
            Some(factors) => {
                let merged = self.merged(factors, &initial.values(index));
                merged.iter().zip(&model.values(index)).all(|(made, found)| made.to_bits() == found.to_bits())
            }
        };
        let body = model.specs().iter().enumerate().filter(|(_, spec)| spec.block != head);
        body.into_iter().find(|(index, _)| !explained(*index)).map(|(_, spec)| spec.name.as_str())
    }

    fn scale(&self) -> f32 {
        (self.low_rank.alpha / self.low_rank.rank as f64) as f32
    }

    /// The gradients of `A` and `B` by that of the weight.
    fn gradients(&self, factors: &Factors, weight: &[f32]) -> Factors {
        let (rank, scale) = (self.low_rank.rank, self.scale());
        let inputs = factors.a.len() / rank;
        let mut gradients = Factors { a: vec![0.0; factors.a.len()], b: vec![0.0; factors.b.len()] };
        let rows = weight.chunks_exact(inputs).zip(factors.b.chunks_exact(rank));
        for ((row, b), gradient_b) in rows.zip(gradients.b.chunks_exact_mut(rank)) {
            for (r, gradient_b) in gradient_b.iter_mut().enumerate() {
                let a = &factors.a[r * inputs..(r + 1) * inputs];
                *gradient_b = scale * row.iter().zip(a).map(|(weight, a)| weight * a).sum::<f32>();
                let gradient_a = &mut gradients.a[r * inputs..(r + 1) * inputs];
                gradient_a.iter_mut().zip(row).for_each(|(gradient, weight)| *gradient += scale * b[r] * weight);
            }
        }
        gradients
    }

    /// `base + scale · B A`.
    fn merged(&self, factors: &Factors, base: &[f32]) -> Vec<f32> {
        let (rank, scale) = (self.low_rank.rank, self.scale());
        let inputs = factors.a.len() / rank;
        let mut merged = base.to_vec();
        for (row, b) in merged.chunks_exact_mut(inputs).zip(factors.b.chunks_exact(rank)) {
            for (a, b) in factors.a.chunks_exact(inputs).zip(b) {
                row.iter_mut().zip(a).for_each(|(weight, a)| *weight += scale * b * a);
            }
        }
        merged
    }
}

fn initial_factors(rank: usize, spec: &ParameterSpec, seed: u64) -> Factors {
    let outputs = spec.shape[0];
    let inputs = spec.len() / outputs;
    let bound = 1.0 / (inputs as f32).sqrt();
    let mut generator =
        retune_random::generator(seed, &[retune_random::hash(b"low-rank"), retune_random::hash(spec.name.as_bytes())]);
    let a = (0..rank * inputs).map(|_| generator.random_range(-1.0f32..1.0) * bound).collect();
    Factors { a, b: vec![0.0; outputs * rank] }
}

/// Adapters in training: with the optimizer of their factors.
#[derive(Clone, Debug)]
pub(super) struct TrainedAdapters {
    pub adapters: Adapters,
    /// `A` of the n-th changed parameter has the state 2n, its `B` the state 2n + 1.
    optimizer: Optimizer,
}

impl TrainedAdapters {
    /// The low-rank changes that a phase trains, as they are before its first step; `None` if it trains weights.
    pub fn of_phase(model: &Model, settings: &Gradient, seed: u64, optimizer: OptimizerOptions) -> Option<Self> {
        let low_rank = settings.low_rank?;
        let (specs, blocks, head) = (&model.network().specs, model.blocks(), model.head());
        let changed = |index: &usize| {
            let spec = &specs[*index];
            let rate_factor = settings.rate_factor(&blocks[spec.block], &spec.name);
            spec.block != head && rate_factor > 0.0 && settings.trains(spec, head)
        };
        let adapters = Adapters::new(low_rank, specs, (0..specs.len()).filter(changed), seed);
        Some(Self::new(adapters, optimizer))
    }

    pub fn new(adapters: Adapters, optimizer: OptimizerOptions) -> Self {
        let optimizer = Optimizer::new(optimizer, 2 * adapters.factors.len());
        Self { adapters, optimizer }
    }

    /// Takes the gradients of changed weights out and gives those of their factors, in the order of
    /// the parameters; `None` for what stays frozen.
    pub fn take_gradients(&self, gradients: &mut Gradients) -> Vec<Option<Factors>> {
        let factors = self.adapters.factors.iter();
        factors
            .map(|(&index, factors)| gradients[index].take().map(|weight| self.adapters.gradients(factors, &weight)))
            .collect()
    }

    /// Updates the factors by their gradients and merges them into the parameters; `learning_rates` has one
    /// for each parameter, `base` the weights without any change.
    pub fn step(
        &mut self,
        gradients: &[Option<Factors>],
        learning_rates: &[f64],
        base: &Parameters,
        parameters: &mut Parameters,
    ) {
        for (turn, ((&index, factors), gradient)) in self.adapters.factors.iter_mut().zip(gradients).enumerate() {
            if let Some(gradient) = gradient {
                self.optimizer.update(2 * turn, &mut factors.a, &gradient.a, learning_rates[index], true);
                self.optimizer.update(2 * turn + 1, &mut factors.b, &gradient.b, learning_rates[index], true);
            }
        }
        for (&index, factors) in &self.adapters.factors {
            parameters.set_values(index, self.adapters.merged(factors, &base.values(index)));
        }
    }

    /// Forgets the optimizer's moments.
    pub fn restart_optimizer(&mut self) {
        self.optimizer.restart();
    }

    /// Everything that a checkpoint needs, by the changed parameters' names, and the optimizer's
    /// updates of each factor.
    pub fn tensors(&self, specs: &[ParameterSpec]) -> (BTreeMap<String, NamedTensor>, Vec<u64>) {
        let mut tensors = self.adapters.tensors(specs);
        for (state, name) in self.optimizer.states().iter().zip(self.factor_names(specs)) {
            for (moment, values) in [("first", &state.first), ("second", &state.second)] {
                if !values.is_empty() {
                    tensors.insert(format!("{moment}.{name}"), flat(values));
                }
            }
        }
        (tensors, self.optimizer.states().iter().map(|state| state.steps).collect())
    }

    /// Puts back what [`TrainedAdapters::tensors`] gave; `false` if it does not fit.
    pub fn restore(
        &mut self,
        specs: &[ParameterSpec],
        mut tensors: BTreeMap<String, NamedTensor>,
        steps: &[u64],
    ) -> bool {
        let names = self.factor_names(specs);
        if steps.len() != names.len() || !self.adapters.restore(specs, &mut tensors) {
            return false;
        }
        let mut take = |name: String| tensors.remove(&name).map(|tensor| tensor.values).unwrap_or_default();
        for (index, (name, &steps)) in names.iter().zip(steps).enumerate() {
            let (first, second) = (take(format!("first.{name}")), take(format!("second.{name}")));
            self.optimizer.restore(index, ParameterState { steps, first, second });
        }
        true
    }

    /// Names of the factors in the order of the optimizer's states.
    fn factor_names(&self, specs: &[ParameterSpec]) -> Vec<String> {
        let changed = self.adapters.factors.keys();
        changed.flat_map(|&index| ["a", "b"].map(|kind| format!("{kind}.{}", specs[index].name))).collect()
    }
}

fn flat(values: &[f32]) -> NamedTensor {
    NamedTensor { shape: vec![values.len()], values: values.to_vec() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Role;
    use crate::models::parameters::Initialization;

    fn spec() -> ParameterSpec {
        let initialization = Initialization::Constant(0.0);
        ParameterSpec { name: "w".into(), shape: vec![2, 3], role: Role::Weight, block: 0, initialization }
    }

    #[test]
    fn merging_and_gradients_follow_the_definition_by_hand() {
        let adapters = Adapters::new(LowRank { rank: 1, alpha: 2.0 }, &[spec()], std::iter::once(0), 0);
        let factors = Factors { a: vec![1.0, 0.0, -1.0], b: vec![0.5, 2.0] };
        // W + 2 · b a.
        let merged = adapters.merged(&factors, &[1.0; 6]);
        assert_eq!(merged, [2.0, 1.0, 0.0, 5.0, 1.0, -3.0]);
        // dB = 2 · dW aᵀ; dA = 2 · bᵀ dW.
        let gradients = adapters.gradients(&factors, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(gradients.b, [-4.0, -4.0]);
        assert_eq!(gradients.a, [17.0, 22.0, 27.0]);
    }

    #[test]
    fn a_new_adapter_changes_nothing_and_its_first_factor_is_small() {
        let adapters = Adapters::new(LowRank::default(), &[spec()], std::iter::once(0), 5);
        let factors = &adapters.factors()[&0];
        assert_eq!(adapters.merged(factors, &[3.0; 6]), [3.0; 6]);
        assert_eq!((factors.a.len(), factors.b.len()), (24, 16));
        let bound = 1.0 / 3f32.sqrt();
        assert!(factors.a.iter().all(|value| value.abs() <= bound) && factors.a.iter().any(|value| *value != 0.0));
    }

    #[test]
    fn what_is_saved_is_restored() {
        let adapters = || Adapters::new(LowRank { rank: 2, alpha: 2.0 }, &[spec()], std::iter::once(0), 5);
        let mut trained = TrainedAdapters::new(adapters(), OptimizerOptions::default());
        let mut gradients = vec![Some(vec![0.5; 6])];
        let factors = trained.take_gradients(&mut gradients);
        assert!(gradients[0].is_none());
        let device = burn::tensor::Device::flex();
        let base = Parameters::initialize(vec![spec()].into(), 0, &device);
        let mut parameters = base.clone();
        trained.step(&factors, &[0.1], &base, &mut parameters);
        assert!(parameters.values(0).iter().any(|value| *value != 0.0));
        let (tensors, steps) = trained.tensors(&[spec()]);
        let mut restored = TrainedAdapters::new(adapters(), OptimizerOptions::default());
        assert!(restored.restore(&[spec()], tensors, &steps));
        assert_eq!(restored.adapters.factors, trained.adapters.factors);
        assert_eq!(restored.optimizer.states(), trained.optimizer.states());
    }
}
