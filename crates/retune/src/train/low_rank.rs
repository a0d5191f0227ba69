//! LoRA (Hu et al. 2022, arXiv 2106.09685): low-rank changes of weights.
//!
//! The network always runs on the merged weight `W = W₀ + scale · B A`, so that nothing about the
//! forward pass changes and the weights are merged at the end by themselves. The factors' gradients
//! follow from the weight's by the chain rule: `dA = scale · Bᵀ dW`, `dB = scale · dW Aᵀ`.

mod peft;
mod products;

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use rand::RngExt;

use self::products::Scaling;
use super::gradient::Gradients;
use super::optimizer::{Optimizer, OptimizerOptions, ParameterState};
use crate::device::{self, DeviceError};
use crate::models::weights::NamedTensor;
use crate::models::{Model, ParameterSpec, Parameters};
use crate::plan::{Gradient, LowRank};

/// The change of one weight, seen as a matrix `outputs × inputs`.
#[derive(Clone, Debug)]
pub struct Factors {
    /// `rank × inputs`, flat.
    pub a: Tensor<1>,
    /// `outputs × rank`, flat.
    pub b: Tensor<1>,
}

impl Factors {
    /// The values of `A` and `B` on the host, row-major.
    ///
    /// # Errors
    /// What the device failed in.
    pub fn values(&self) -> Result<[Vec<f32>; 2], DeviceError> {
        Ok([device::read(self.a.clone())?, device::read(self.b.clone())?])
    }
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
    pub fn new(
        low_rank: LowRank,
        specs: &[ParameterSpec],
        indices: impl Iterator<Item = usize>,
        seed: u64,
        device: &Device,
    ) -> Self {
        let initial = |index: usize| initial_factors(low_rank.rank, &specs[index], seed, device);
        Self { low_rank, factors: indices.map(|index| (index, initial(index))).collect() }
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
    ///
    /// # Errors
    /// What the device failed in.
    pub(super) fn tensors(&self, specs: &[ParameterSpec]) -> Result<BTreeMap<String, NamedTensor>, DeviceError> {
        let mut tensors = BTreeMap::new();
        for (&index, factors) in &self.factors {
            let name = &specs[index].name;
            let [a, b] = factors.values()?;
            tensors.extend([(format!("a.{name}"), flat(a)), (format!("b.{name}"), flat(b))]);
        }
        Ok(tensors)
    }

    /// Takes out of `tensors` what [`Adapters::tensors`] gave; `false` if it does not fit.
    pub(super) fn restore(&mut self, specs: &[ParameterSpec], tensors: &mut BTreeMap<String, NamedTensor>) -> bool {
        self.factors.iter_mut().all(|(&index, factors)| {
            let name = &specs[index].name;
            [("a", &mut factors.a), ("b", &mut factors.b)].into_iter().all(|(kind, factor)| {
                let saved = tensors.remove(&format!("{kind}.{name}")).map(|tensor| tensor.values).unwrap_or_default();
                let (length, device) = (saved.len(), factor.device());
                let fits = length == factor.dims()[0];
                *factor = device::tensor(saved, [length], &device);
                fits
            })
        })
    }

    /// The first tensor outside the head that is not, to the bit, what these changes make of `initial`.
    ///
    /// # Errors
    /// What the device failed in.
    pub(super) fn first_unexplained<'p>(
        &self,
        initial: &Parameters,
        model: &'p Parameters,
        head: usize,
    ) -> Result<Option<&'p str>, DeviceError> {
        let mut explained = initial.clone();
        for (&index, factors) in &self.factors {
            explained.set(index, self.scaling().merged(factors, &initial.tensors()[index]));
        }
        let differing = model.differing(&explained)?;
        let mut body = model.specs().iter().zip(differing).filter(|(spec, _)| spec.block != head);
        Ok(body.find(|(_, differs)| *differs).map(|(spec, _)| spec.name.as_str()))
    }

    fn scaling(&self) -> Scaling {
        let LowRank { rank, alpha } = self.low_rank;
        Scaling { scale: (alpha / rank as f64) as f32, rank }
    }
}

fn initial_factors(rank: usize, spec: &ParameterSpec, seed: u64, device: &Device) -> Factors {
    let outputs = spec.shape[0];
    let inputs = spec.len() / outputs;
    let bound = 1.0 / (inputs as f32).sqrt();
    let mut generator =
        retune_random::generator(seed, &[retune_random::hash(b"low-rank"), retune_random::hash(spec.name.as_bytes())]);
    let a = (0..rank * inputs).map(|_| generator.random_range(-1.0f32..1.0) * bound).collect();
    Factors {
        a: device::tensor(a, [rank * inputs], device),
        b: device::tensor(vec![0.0; outputs * rank], [outputs * rank], device),
    }
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
        let device = model.parameters.tensors()[0].device();
        let adapters = Adapters::new(low_rank, specs, (0..specs.len()).filter(changed), seed, &device);
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
        let scaling = self.adapters.scaling();
        factors
            .map(|(&index, factors)| gradients[index].take().map(|weight| scaling.gradients(factors, &weight)))
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
            parameters.set(index, self.adapters.scaling().merged(factors, &base.tensors()[index]));
        }
    }

    /// Forgets the optimizer's moments.
    pub fn restart_optimizer(&mut self) {
        self.optimizer.restart();
    }

    /// Everything that a checkpoint needs, by the changed parameters' names, and the optimizer's
    /// updates of each factor.
    ///
    /// # Errors
    /// What the device failed in.
    pub fn tensors(&self, specs: &[ParameterSpec]) -> Result<(BTreeMap<String, NamedTensor>, Vec<u64>), DeviceError> {
        let mut tensors = self.adapters.tensors(specs)?;
        tensors.extend(self.optimizer.tensors(self.factor_names(specs))?);
        Ok((tensors, self.optimizer.states().iter().map(|state| state.steps).collect()))
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
        let factors = self.adapters.factors.values().flat_map(|factors| [&factors.a, &factors.b]);
        for (index, ((name, &steps), factor)) in names.iter().zip(steps).zip(factors).enumerate() {
            self.optimizer.restore(index, ParameterState::of_tensors(name, steps, factor, &mut tensors));
        }
        true
    }

    /// Names of the factors in the order of the optimizer's states.
    fn factor_names(&self, specs: &[ParameterSpec]) -> Vec<String> {
        let changed = self.adapters.factors.keys();
        changed.flat_map(|&index| ["a", "b"].map(|kind| format!("{kind}.{}", specs[index].name))).collect()
    }
}

fn flat(values: Vec<f32>) -> NamedTensor {
    NamedTensor { shape: vec![values.len()], values }
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

    fn adapters(low_rank: LowRank) -> Adapters {
        Adapters::new(low_rank, &[spec()], std::iter::once(0), 5, &Device::flex())
    }

    fn on_cpu(values: &[f32]) -> Tensor<1> {
        device::tensor(values.to_vec(), [values.len()], &Device::flex())
    }

    #[test]
    fn merging_and_gradients_follow_the_definition_by_hand() {
        let scaling = adapters(LowRank { rank: 1, alpha: 2.0 }).scaling();
        let factors = Factors { a: on_cpu(&[1.0, 0.0, -1.0]), b: on_cpu(&[0.5, 2.0]) };
        // W + 2 · b a.
        let merged = scaling.merged(&factors, &on_cpu(&[1.0; 6]));
        assert_eq!(device::host_values(merged), [2.0, 1.0, 0.0, 5.0, 1.0, -3.0]);
        // dB = 2 · dW aᵀ; dA = 2 · bᵀ dW.
        let gradients = scaling.gradients(&factors, &on_cpu(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
        assert_eq!(gradients.values().unwrap(), [vec![17.0, 22.0, 27.0], vec![-4.0, -4.0]]);
    }

    #[test]
    fn a_new_adapter_changes_nothing_and_its_first_factor_is_small() {
        let adapters = adapters(LowRank::default());
        let factors = &adapters.factors()[&0];
        assert_eq!(device::host_values(adapters.scaling().merged(factors, &on_cpu(&[3.0; 6]))), [3.0; 6]);
        let [a, b] = factors.values().unwrap();
        assert_eq!((a.len(), b.len()), (24, 16));
        let bound = 1.0 / 3f32.sqrt();
        assert!(a.iter().all(|value| value.abs() <= bound) && a.iter().any(|value| *value != 0.0));
    }

    #[test]
    fn what_is_saved_is_restored() {
        let adapters = || adapters(LowRank { rank: 2, alpha: 2.0 });
        let mut trained = TrainedAdapters::new(adapters(), OptimizerOptions::default());
        let mut gradients = vec![Some(on_cpu(&[0.5; 6]))];
        let factors = trained.take_gradients(&mut gradients);
        assert!(gradients[0].is_none());
        let base = Parameters::initialize(vec![spec()].into(), 0, &Device::flex());
        let mut parameters = base.clone();
        trained.step(&factors, &[0.1], &base, &mut parameters);
        assert!(parameters.values(0).iter().any(|value| *value != 0.0));
        let (tensors, steps) = trained.tensors(&[spec()]).unwrap();
        let mut restored = TrainedAdapters::new(adapters(), OptimizerOptions::default());
        assert!(restored.restore(&[spec()], tensors.clone(), &steps));
        // Those of both factors, and two moments of each.
        assert_eq!(tensors.len(), 6);
        assert_eq!(restored.tensors(&[spec()]).unwrap(), (tensors, steps));
    }
}
