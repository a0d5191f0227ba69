//! The precision in which a model that only runs forward multiplies its matrices.

use retune_kernels::Precision;

use super::{Model, ModelError};
use crate::device;
use crate::monitor::Monitor;

impl Model {
    /// The precision of matrix products in [`Model::forward_range`], and so in evaluation, predictions, and features.
    /// A loaded model has [`Precision::Float32`]. Training has a precision of its own.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The same model with matrix products in `precision`: those of linear layers and of convolutions, except depthwise
    /// ones. Sums, attention, weights, and all else stay in float32. What is saved does not say it.
    ///
    /// # Errors
    /// bfloat16 on another device than the CPU, or without its fused operators.
    pub fn with_precision(self, precision: Precision) -> Result<Self, ModelError> {
        let device = self.parameters.tensors()[0].device();
        if !device::can_multiply_in(precision, &device) {
            return Err(ModelError::NoBfloat16);
        }
        Ok(Self { precision, ..self })
    }

    /// The same where the device is known to have the precision.
    pub(crate) fn in_precision(&self, precision: Precision) -> Self {
        Self { precision, ..self.clone() }
    }

    /// Says so where the precision costs time instead of saving it: on a CPU without instructions for it.
    pub fn tell_precision(&self, monitor: &dyn Monitor) {
        let on_cpu = device::is_cpu(&self.parameters.tensors()[0].device());
        if self.precision == Precision::Bfloat16 && on_cpu && !retune_kernels::multiplies_bfloat16() {
            monitor.message(WITHOUT_INSTRUCTIONS);
        }
    }
}

/// What bfloat16 costs on a CPU that cannot multiply it.
pub(crate) const WITHOUT_INSTRUCTIONS: &str =
    "note: this CPU has no instructions for bfloat16 (AVX-512 BF16); rounding costs time here";

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor, TensorData};

    use super::*;

    /// Logits of two images of noise.
    fn logits(model: &Model) -> Vec<f32> {
        let noise = |index: usize| (retune_random::hash(&index.to_le_bytes()) % 256) as f32 / 128.0 - 1.0;
        let preprocessing = model.config().preprocessing();
        let (height, width) = (preprocessing.height as usize, preprocessing.width as usize);
        let values = (0..2 * height * width * 3).map(noise).collect();
        let images = Tensor::from_data(TensorData::new(values, [2, height, width, 3]), &Device::flex());
        model.logits(images).into_data().iter().collect()
    }

    /// Eight significant bits in each factor of a few layers leave two digits; nothing else is rounded.
    #[test]
    fn a_model_rounds_in_the_precision_that_it_was_given_and_no_other() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models/resnet_basic");
        let exact = Model::load(folder.as_ref(), None, Clone::clone, &Device::flex()).unwrap();
        let rounding = exact.clone().with_precision(Precision::Bfloat16).unwrap();
        assert_eq!((exact.precision(), rounding.precision()), (Precision::Float32, Precision::Bfloat16));
        let (expected, found) = (logits(&exact), logits(&rounding));
        let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        let difference = expected.iter().zip(&found).fold(0.0f32, |most, (a, b)| most.max((a - b).abs())) / largest;
        assert!(difference > 1e-5 && difference < 5e-2, "{difference}");
        assert_eq!(logits(&exact), expected);
        let same = rounding.with_precision(Precision::Float32).unwrap();
        assert_eq!(logits(&same), expected);
        assert_eq!(rounding_of_head(&exact), Precision::Bfloat16);
    }

    /// The precision of a model with another head.
    fn rounding_of_head(model: &Model) -> Precision {
        let classes = ["a", "b"].map(str::to_owned);
        let rounding = model.in_precision(Precision::Bfloat16);
        rounding.with_classes(&classes, crate::models::HeadInitialization::Zeros, 0).unwrap().precision()
    }
}
