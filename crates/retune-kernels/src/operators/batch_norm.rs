//! Batch normalization by the statistics of the batch.

use burn::tensor::{Tensor, module};

use super::{channels_first, channels_last, on_card};

/// A batch, normalized.
pub struct BatchNorm {
    /// The batch, `[batch, height, width, channels]`.
    pub output: Tensor<4>,
    /// Its mean over images and positions, `[channels]`, without a gradient.
    pub mean: Tensor<1>,
    /// Its biased variance over images and positions, `[channels]`, without a gradient.
    pub variance: Tensor<1>,
}

/// `(x − mean) / √(variance + epsilon) · weight + bias` of `x` `[batch, height, width, channels]`, with mean and biased variance of
/// each channel over the batch (Ioffe and Szegedy 2015, arXiv 1502.03167). Gradients pass through the statistics.
///
/// # Panics
/// If `weight` and `bias` are not as long as the last dimension.
pub fn batch_norm(x: Tensor<4>, weight: Tensor<1>, bias: Tensor<1>, epsilon: f64) -> BatchNorm {
    if on_card::is_card(&x.device()) {
        let (output, mean, variance) = on_card::batch_norm(x, weight, bias, epsilon);
        return BatchNorm { output, mean: mean.inner(), variance: variance.inner() };
    }
    let found = module::batch_norm_train(channels_first(x), weight, bias, epsilon);
    BatchNorm { output: channels_last(found.output), mean: found.mean.inner(), variance: found.variance.inner() }
}
