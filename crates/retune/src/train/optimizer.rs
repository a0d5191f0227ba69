//! Optimizers with PyTorch's update rules: SGD with momentum, Adam (Kingma & Ba 2015, arXiv
//! 1412.6980) and AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101).
//!
//! The state is kept for each parameter by its index, so it is saved by name and does not change
//! when a phase freezes or thaws blocks; a frozen parameter's state simply waits.

use std::collections::BTreeMap;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::gradient::Gradients;
use crate::device::values::{self, Quantity, Rule};
use crate::device::{self, DeviceError};
use crate::models::Parameters;
use crate::models::weights::NamedTensor;
use crate::plan::Gradient;

/// Which update rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Gradient descent with momentum; weight decay is added to the gradient.
    Sgd,
    /// Adam; weight decay is added to the gradient.
    Adam,
    /// Adam with decoupled weight decay.
    AdamW,
}

impl std::str::FromStr for OptimizerKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "sgd" => Self::Sgd,
            "adam" => Self::Adam,
            "adamw" => Self::AdamW,
            _ => return Err("expected sgd, adam, or adamw".into()),
        })
    }
}

/// An update rule and its constants.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct OptimizerOptions {
    /// The update rule.
    pub kind: OptimizerKind,
    /// SGD's momentum.
    pub momentum: f32,
    /// Weight decay, for parameters that decay at all.
    pub weight_decay: f32,
    /// Adam's decay rates of the first and second moment.
    pub betas: [f32; 2],
    /// Adam's divisor guard.
    pub epsilon: f32,
}

impl Default for OptimizerOptions {
    /// AdamW with PyTorch's constants and timm's usual weight decay for fine-tuning.
    fn default() -> Self {
        let kind = OptimizerKind::AdamW;
        Self { kind, momentum: 0.9, weight_decay: 0.05, betas: [0.9, 0.999], epsilon: 1e-8 }
    }
}

impl OptimizerOptions {
    /// In a phase of these settings: L2-SP's penalty takes the place of weight decay.
    pub(super) fn in_phase(self, settings: &Gradient) -> Self {
        if settings.anchor.is_some() { Self { weight_decay: 0.0, ..self } } else { self }
    }
}

/// What an optimizer remembers of one parameter.
#[derive(Clone, Debug, Default)]
pub struct ParameterState {
    /// Updates so far.
    pub steps: u64,
    /// Momentum buffer, or Adam's first moment; absent before the first update.
    pub first: Option<Tensor<1>>,
    /// Adam's second moment; absent for SGD.
    pub second: Option<Tensor<1>>,
}

impl ParameterState {
    /// The state of a parameter like `values`, of what [`Optimizer::tensors`] gave under this name.
    pub(super) fn of_tensors(
        name: &str,
        steps: u64,
        values: &Tensor<1>,
        tensors: &mut BTreeMap<String, NamedTensor>,
    ) -> Self {
        let (length, device) = (values.dims()[0], values.device());
        let mut take = |moment: &str| {
            let saved = tensors.remove(&format!("{moment}.{name}"))?.values;
            (saved.len() == length).then(|| device::tensor(saved, [length], &device))
        };
        Self { steps, first: take("first"), second: take("second") }
    }
}

/// Update rule and state of all parameters of a model.
#[derive(Clone, Debug)]
pub struct Optimizer {
    options: OptimizerOptions,
    states: Vec<ParameterState>,
}

impl Optimizer {
    /// An optimizer of `parameters` parameters that has seen nothing yet.
    pub fn new(options: OptimizerOptions, parameters: usize) -> Self {
        Self { options, states: vec![ParameterState::default(); parameters] }
    }

    /// Whether it divides a gradient by its size so far, as Adam and AdamW do.
    pub fn is_adaptive(&self) -> bool {
        self.options.kind != OptimizerKind::Sgd
    }

    /// The state of each parameter, in the model's order.
    pub fn states(&self) -> &[ParameterState] {
        &self.states
    }

    /// All moments by the names of their parameters, `first.` and `second.` in front.
    ///
    /// # Errors
    /// What the device failed in.
    pub(super) fn tensors(
        &self,
        names: impl IntoIterator<Item = String>,
    ) -> Result<BTreeMap<String, NamedTensor>, DeviceError> {
        let states = self.states.iter().zip(names);
        let (names, tensors): (Vec<String>, Vec<Tensor<1>>) = states
            .flat_map(|(state, name)| {
                let moments = [("first", &state.first), ("second", &state.second)];
                moments.map(|(moment, values)| values.clone().map(|values| (format!("{moment}.{name}"), values)))
            })
            .flatten()
            .unzip();
        let flat = |values: Vec<f32>| NamedTensor { shape: vec![values.len()], values };
        Ok(names.into_iter().zip(device::read_all(tensors)?.into_iter().map(flat)).collect())
    }

    /// Replaces a parameter's state, as when a run is resumed.
    pub fn restore(&mut self, index: usize, state: ParameterState) {
        self.states[index] = state;
    }

    /// Forgets everything that it has seen.
    pub fn restart(&mut self) {
        self.states.fill(ParameterState::default());
    }

    /// Updates a model's parameters by their gradients, as PyTorch's `optimizer.step()` does. `learning_rates` has one for
    /// each parameter; parameters without a gradient stay as they are. Biases and normalization layers do not decay.
    ///
    /// # Panics
    /// If gradients or learning rates are not as many as the parameters.
    pub fn step(&mut self, parameters: &mut Parameters, gradients: Gradients, learning_rates: &[f64]) {
        let specs = parameters.specs().clone();
        assert_eq!((gradients.len(), learning_rates.len()), (specs.len(), specs.len()), "one for each parameter");
        for (index, gradient) in gradients.into_iter().enumerate() {
            let Some(gradient) = gradient else { continue };
            let (values, decays) = (parameters.tensor_mut(index), specs[index].decays());
            self.update(index, values, &gradient, learning_rates[index], decays);
        }
    }

    /// Updates the values of parameter `index` by their gradient.
    pub fn update(
        &mut self,
        index: usize,
        values: &mut Tensor<1>,
        gradient: &Tensor<1>,
        learning_rate: f64,
        decays: bool,
    ) {
        let weight_decay = if decays { self.options.weight_decay } else { 0.0 };
        let state = &mut self.states[index];
        state.steps += 1;
        let first = state.first.get_or_insert_with(|| values::zeros_like(values));
        match self.options.kind {
            OptimizerKind::Sgd => {
                let (learning_rate, momentum) = (learning_rate as f32, self.options.momentum);
                values::update([values, first], [gradient], SgdStep { learning_rate, momentum, weight_decay });
            }
            OptimizerKind::Adam | OptimizerKind::AdamW => {
                let second = state.second.get_or_insert_with(|| values::zeros_like(values));
                let step = AdamStep::new(&self.options, state.steps, learning_rate, weight_decay);
                values::update([values, first, second], [gradient], step);
            }
        }
    }
}

/// The constants of one SGD update.
#[derive(Clone, Copy)]
struct SgdStep {
    learning_rate: f32,
    momentum: f32,
    weight_decay: f32,
}

impl Rule<2, 1> for SgdStep {
    #[inline]
    fn apply<Q: Quantity>(self, [value, buffer]: [Q; 2], [gradient]: [Q; 1]) -> [Q; 2] {
        let buffer = buffer * self.momentum + (gradient + value.clone() * self.weight_decay);
        [value - buffer.clone() * self.learning_rate, buffer]
    }
}

/// The constants of one Adam update.
#[derive(Clone, Copy)]
struct AdamStep {
    betas: [f32; 2],
    epsilon: f32,
    /// Added to the gradient (Adam).
    coupled_decay: f32,
    /// Multiplies the value (AdamW).
    shrinkage: f32,
    step_size: f32,
    second_correction: f32,
}

impl AdamStep {
    fn new(options: &OptimizerOptions, steps: u64, learning_rate: f64, weight_decay: f32) -> Self {
        let steps = i32::try_from(steps).unwrap_or(i32::MAX);
        let correction = |beta: f32| 1.0 - f64::from(beta).powi(steps);
        let decoupled = options.kind == OptimizerKind::AdamW;
        Self {
            betas: options.betas,
            epsilon: options.epsilon,
            coupled_decay: if decoupled { 0.0 } else { weight_decay },
            shrinkage: if decoupled { (1.0 - learning_rate * f64::from(weight_decay)) as f32 } else { 1.0 },
            step_size: (learning_rate / correction(options.betas[0])) as f32,
            second_correction: correction(options.betas[1]).sqrt() as f32,
        }
    }
}

impl Rule<3, 1> for AdamStep {
    #[inline]
    fn apply<Q: Quantity>(self, [value, first, second]: [Q; 3], [gradient]: [Q; 1]) -> [Q; 3] {
        let [first_beta, second_beta] = self.betas;
        let gradient = gradient + value.clone() * self.coupled_decay;
        let first = first * first_beta + gradient.clone() * (1.0 - first_beta);
        let second = second * second_beta + gradient.clone() * (1.0 - second_beta) * gradient;
        let deviation = second.clone().sqrt() / self.second_correction + self.epsilon;
        [value * self.shrinkage - first.clone() * self.step_size / deviation, first, second]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn updated(kind: OptimizerKind, weight_decay: f32, updates: usize) -> f32 {
        let options = OptimizerOptions { kind, weight_decay, ..OptimizerOptions::default() };
        let mut optimizer = Optimizer::new(options, 1);
        let [mut values, gradient] = [1.0, 0.5].map(|value| device::tensor(vec![value], [1], &Device::flex()));
        for _ in 0..updates {
            optimizer.update(0, &mut values, &gradient, 0.1, true);
        }
        device::host_values(values)[0]
    }

    #[test]
    fn updates_follow_their_equations_by_hand() {
        // SGD: 1 − 0.1·0.5 = 0.95, then the buffer is 0.9·0.5 + 0.5 = 0.95.
        assert!((updated(OptimizerKind::Sgd, 0.0, 2) - (0.95 - 0.095)).abs() < 1e-6);
        // Adam's first step has the size of the rate, whatever the gradient.
        assert!((updated(OptimizerKind::Adam, 0.0, 1) - 0.9).abs() < 1e-6);
        // AdamW shrinks by 1 − 0.1·0.05 first.
        assert!((updated(OptimizerKind::AdamW, 0.05, 1) - (0.995 - 0.1)).abs() < 1e-6);
    }
}
