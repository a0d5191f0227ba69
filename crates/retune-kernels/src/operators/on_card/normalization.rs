//! Layer and batch normalization on graphics cards.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::Tensor;

use super::with_backward;
use crate::card::{CardKernels, along_last, inverse_deviation};

/// `(x − mean) / √(variance + epsilon) · weight + bias`, with mean and variance over the last dimension.
pub(in crate::operators) fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<D> {
    let (weight, bias) = (weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(Dispatch::normalized_rows(x.into_dispatch(), weight, bias, epsilon))
}

/// The same with mean and variance over all dimensions but the last; and these, `[channels]`, without gradients.
pub(in crate::operators) fn batch_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> (Tensor<D>, Tensor<1>, Tensor<1>) {
    let (weight, bias) = (weight.into_dispatch(), bias.into_dispatch());
    let (output, mean, variance) = Dispatch::normalized_columns(x.into_dispatch(), weight, bias, epsilon);
    (Tensor::from_dispatch(output), Tensor::from_dispatch(mean), Tensor::from_dispatch(variance))
}

/// Normalization with backward passes of its own.
#[backend_extension(Flex, Cube: cfg(any(feature = "cuda", feature = "wgpu")), Autodiff)]
pub trait NormalizationOnCard: Backend {
    /// Layer normalization over the last dimension.
    fn normalized_rows(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self>;

    /// Batch normalization over all dimensions but the last, the mean, and the biased variance.
    fn normalized_columns(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

macro_rules! forward_passes {
    ($backend:ty) => {
        impl NormalizationOnCard for $backend {
            fn normalized_rows(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                bias: FloatTensor<Self>,
                epsilon: f64,
            ) -> FloatTensor<Self> {
                Self::normalize_rows(x, weight, bias, epsilon)
            }

            fn normalized_columns(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                bias: FloatTensor<Self>,
                epsilon: f64,
            ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
                let (columns, mean, variance) = columns::<Self>(x, weight, epsilon);
                (columns.output(bias), mean, variance)
            }
        }
    };
}

forward_passes!(Flex);
#[cfg(any(feature = "cuda", feature = "wgpu"))]
forward_passes!(burn::backend::Cube);

impl<B: CardKernels, C: CheckpointStrategy> NormalizationOnCard for Autodiff<B, C> {
    fn normalized_rows(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let ((x, x_node), (weight, weight_node), (bias, bias_node)) =
            (x.into_parts(), weight.into_parts(), bias.into_parts());
        let output = B::normalize_rows(x.clone(), weight.clone(), bias, epsilon);
        with_backward::<B, C, 3, _>(OfRows, [x_node, weight_node, bias_node], output, (x, weight, epsilon))
    }

    fn normalized_columns(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let ((x, x_node), (weight, weight_node), (bias, bias_node)) =
            (x.into_parts(), weight.into_parts(), bias.into_parts());
        let (columns, mean, variance) = columns::<B>(x, weight, epsilon);
        let output = columns.output(bias);
        let output = with_backward::<B, C, 3, _>(OfColumns, [x_node, weight_node, bias_node], output, columns);
        (output, FloatTensor::<Self>::new(mean), FloatTensor::<Self>::new(variance))
    }
}

/// A batch that was normalized, and by which numbers, `[1, .., columns]`.
#[derive(Clone, Debug)]
struct Normalized<B: Backend> {
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    mean: FloatTensor<B>,
    /// `1 / √(variance + epsilon)`.
    inverse: FloatTensor<B>,
}

impl<B: CardKernels> Normalized<B> {
    fn normalized(&self) -> FloatTensor<B> {
        B::float_mul(B::float_sub(self.x.clone(), self.mean.clone()), self.inverse.clone())
    }

    fn weight(&self) -> FloatTensor<B> {
        along_last::<B>(self.weight.clone(), self.x.rank())
    }

    fn output(&self, bias: FloatTensor<B>) -> FloatTensor<B> {
        B::float_add(B::float_mul(self.normalized(), self.weight()), along_last::<B>(bias, self.x.rank()))
    }
}

/// A batch to normalize, its mean, and its biased variance, `[columns]`.
fn columns<B: CardKernels>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    epsilon: f64,
) -> (Normalized<B>, FloatTensor<B>, FloatTensor<B>) {
    let rank = x.rank();
    let mean = column_means::<B>(x.clone());
    let centered = B::float_sub(x.clone(), along_last::<B>(mean.clone(), rank));
    let variance = column_means::<B>(B::float_mul(centered.clone(), centered));
    let inverse = along_last::<B>(inverse_deviation::<B>(variance.clone(), epsilon), rank);
    (Normalized { x, weight, mean: along_last::<B>(mean.clone(), rank), inverse }, mean, variance)
}

fn column_means<B: CardKernels>(x: FloatTensor<B>) -> FloatTensor<B> {
    let shape = x.shape();
    let rows = shape.num_elements() / shape[x.rank() - 1].max(1);
    B::float_mul_scalar(B::sum_rows(x), (1.0 / rows as f64).into())
}

#[derive(Debug)]
struct OfRows;

impl<B: CardKernels> Backward<B, 3> for OfRows {
    type State = (FloatTensor<B>, FloatTensor<B>, f64);

    fn backward(self, ops: Ops<Self::State, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let (x, weight, epsilon) = ops.state;
        let [x_parent, weight_parent, bias_parent] = ops.parents;
        if let Some(parent) = bias_parent {
            gradients.register::<B>(parent.id, B::sum_rows(gradient.clone()));
        }
        if x_parent.is_none() && weight_parent.is_none() {
            return;
        }
        let (dx, products) = B::normalize_rows_backward(x, weight, gradient, epsilon);
        if let Some(parent) = weight_parent {
            gradients.register::<B>(parent.id, B::sum_rows(products));
        }
        if let Some(parent) = x_parent {
            gradients.register::<B>(parent.id, dx);
        }
    }
}

#[derive(Debug)]
struct OfColumns;

impl<B: CardKernels> Backward<B, 3> for OfColumns {
    type State = Normalized<B>;

    fn backward(self, ops: Ops<Normalized<B>, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let of = ops.state;
        let [x, weight, bias] = ops.parents;
        let normalized = of.normalized();
        if let Some(parent) = bias {
            gradients.register::<B>(parent.id, B::sum_rows(gradient.clone()));
        }
        if let Some(parent) = weight {
            gradients.register::<B>(parent.id, B::sum_rows(B::float_mul(gradient.clone(), normalized.clone())));
        }
        if let Some(parent) = x {
            let rank = gradient.rank();
            let mean = |x| along_last::<B>(column_means::<B>(x), rank);
            let gradient = B::float_mul(gradient, of.weight());
            let along = B::float_mul(normalized.clone(), mean(B::float_mul(gradient.clone(), normalized)));
            let across = B::float_sub(gradient.clone(), mean(gradient));
            gradients.register::<B>(parent.id, B::float_mul(B::float_sub(across, along), of.inverse));
        }
    }
}
