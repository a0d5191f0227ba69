//! L2-SP's pull to the pretrained weights (Li et al. 2018, arXiv 1802.01483): `strength / 2 · ‖w − w₀‖²` on the body, and
//! `strength / 2 · ‖w‖²` on the head, which has no pretrained weights.

use super::gradient::Gradients;
use crate::device::values::{self, Quantity, Rule};
use crate::models::Parameters;
use crate::plan::Anchor;

/// Adds the gradient of the penalty: `g ← g + strength · (w − w₀)`.
#[derive(Clone, Copy)]
struct AddGradient {
    strength: f32,
}

impl Rule<1, 2> for AddGradient {
    #[inline]
    fn apply<Q: Quantity>(self, [gradient]: [Q; 1], [value, start]: [Q; 2]) -> [Q; 1] {
        [gradient + (value - start) * self.strength]
    }
}

/// The same with `w₀ = 0`.
impl Rule<1, 1> for AddGradient {
    #[inline]
    fn apply<Q: Quantity>(self, [gradient]: [Q; 1], [value]: [Q; 1]) -> [Q; 1] {
        [gradient + value * self.strength]
    }
}

/// Goes a share of the way: `w ← w − share · (w − w₀)`.
#[derive(Clone, Copy)]
struct Approach {
    share: f32,
}

impl Rule<1, 1> for Approach {
    #[inline]
    fn apply<Q: Quantity>(self, [value]: [Q; 1], [start]: [Q; 1]) -> [Q; 1] {
        [value.clone() - (value - start) * self.share]
    }
}

/// The same with `w₀ = 0`.
impl Rule<1, 0> for Approach {
    #[inline]
    fn apply<Q: Quantity>(self, [value]: [Q; 1], []: [Q; 0]) -> [Q; 1] {
        [value.clone() - value * self.share]
    }
}

/// Adds the gradient of the penalty on parameters of the blocks before `head` that have left those of `pretrained`, and on
/// the head's.
pub(super) fn add_l2_sp(
    gradients: &mut Gradients,
    parameters: &Parameters,
    anchor: Anchor,
    pretrained: &Parameters,
    head: usize,
) {
    for (index, gradient) in gradients.iter_mut().enumerate() {
        let Some(gradient) = gradient else { continue };
        let value = &parameters.tensors()[index];
        if parameters.specs()[index].block == head {
            values::update([gradient], [value], AddGradient { strength: anchor.head_strength as f32 });
        } else {
            let start = &pretrained.tensors()[index];
            values::update([gradient], [value, start], AddGradient { strength: anchor.strength as f32 });
        }
    }
}

/// Steps along the penalty by itself, `w ← w − rate · strength · (w − w₀)`, for the parameters that have a gradient: what
/// AdamW does with weight decay (arXiv 1711.05101), with the penalty in the place of ‖w‖².
pub(super) fn pull_to(
    pretrained: &Parameters,
    parameters: &mut Parameters,
    gradients: &Gradients,
    anchor: Anchor,
    head: usize,
    learning_rates: &[f64],
) {
    for index in (0..gradients.len()).filter(|&index| gradients[index].is_some()) {
        let approach = |strength: f64| Approach { share: (learning_rates[index] * strength) as f32 };
        if parameters.specs()[index].block == head {
            values::update([parameters.tensor_mut(index)], [], approach(anchor.head_strength));
        } else {
            let start = &pretrained.tensors()[index];
            values::update([parameters.tensor_mut(index)], [start], approach(anchor.strength));
        }
    }
}
