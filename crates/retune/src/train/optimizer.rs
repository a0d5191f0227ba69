//! Optimizers with PyTorch's update rules: SGD with momentum, Adam (Kingma & Ba 2015, arXiv
//! 1412.6980) and AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101).
//!
//! The state is kept for each parameter by its index, so it is saved by name and does not change
//! when a phase freezes or thaws blocks; a frozen parameter's state simply waits.

use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::gradient::Gradients;
use crate::models::Parameters;
use crate::models::parameters::host_values;
use crate::plan::Gradient;

/// Values that one task updates; large enough that splitting costs nothing.
const CHUNK: usize = 1 << 15;

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
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ParameterState {
    /// Updates so far.
    pub steps: u64,
    /// Momentum buffer, or Adam's first moment; empty before the first update.
    pub first: Vec<f32>,
    /// Adam's second moment; empty for SGD.
    pub second: Vec<f32>,
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
            parameters.update(index, |tensor| {
                let device = tensor.device();
                let mut values = host_values(tensor);
                self.update(index, &mut values, &gradient, learning_rates[index], specs[index].decays());
                let length = values.len();
                Tensor::from_data(TensorData::new(values, [length]), &device)
            });
        }
    }

    /// Updates the values of parameter `index` in place.
    pub fn update(&mut self, index: usize, values: &mut [f32], gradient: &[f32], learning_rate: f64, decays: bool) {
        let weight_decay = if decays { self.options.weight_decay } else { 0.0 };
        let state = &mut self.states[index];
        state.steps += 1;
        state.first.resize(values.len(), 0.0);
        match self.options.kind {
            OptimizerKind::Sgd => {
                sgd(values, gradient, &mut state.first, learning_rate as f32, self.options.momentum, weight_decay);
            }
            OptimizerKind::Adam | OptimizerKind::AdamW => {
                state.second.resize(values.len(), 0.0);
                let step = AdamStep::new(&self.options, state.steps, learning_rate, weight_decay);
                step.apply(values, gradient, &mut state.first, &mut state.second);
            }
        }
    }
}

fn sgd(values: &mut [f32], gradient: &[f32], buffer: &mut [f32], learning_rate: f32, momentum: f32, weight_decay: f32) {
    let chunks = values.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK)).zip(buffer.par_chunks_mut(CHUNK));
    chunks.for_each(|((values, gradient), buffer)| {
        for ((value, gradient), buffer) in values.iter_mut().zip(gradient).zip(buffer) {
            *buffer = momentum * *buffer + (gradient + weight_decay * *value);
            *value -= learning_rate * *buffer;
        }
    });
}

/// The constants of one Adam update.
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

    fn apply(&self, values: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
        let chunks = values
            .par_chunks_mut(CHUNK)
            .zip(gradient.par_chunks(CHUNK))
            .zip(first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK)));
        chunks.for_each(|((values, gradient), (first, second))| {
            let moments = first.iter_mut().zip(second);
            for ((value, gradient), (first, second)) in values.iter_mut().zip(gradient).zip(moments) {
                let gradient = gradient + self.coupled_decay * *value;
                *first = self.betas[0] * *first + (1.0 - self.betas[0]) * gradient;
                *second = self.betas[1] * *second + (1.0 - self.betas[1]) * gradient * gradient;
                let deviation = second.sqrt() / self.second_correction + self.epsilon;
                *value = *value * self.shrinkage - self.step_size * *first / deviation;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn updated(kind: OptimizerKind, weight_decay: f32, updates: usize) -> f32 {
        let options = OptimizerOptions { kind, weight_decay, ..OptimizerOptions::default() };
        let mut optimizer = Optimizer::new(options, 1);
        let mut values = [1.0];
        for _ in 0..updates {
            optimizer.update(0, &mut values, &[0.5], 0.1, true);
        }
        values[0]
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

    #[test]
    fn chunks_do_not_change_the_result() {
        let count = CHUNK * 2 + 7;
        let mut optimizer = Optimizer::new(OptimizerOptions::default(), 1);
        let mut values = vec![1.0; count];
        optimizer.update(0, &mut values, &vec![0.5; count], 0.1, true);
        assert!(values.iter().all(|value| value.to_bits() == values[0].to_bits()));
    }
}
