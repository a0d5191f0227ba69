//! Attention on graphics cards.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::Tensor;

use super::with_backward;
use crate::card::CardKernels;

/// `softmax(query · keyᵀ / √head width) · value` of queries, keys and values `[batch, heads, tokens, head width]`.
pub(in crate::operators) fn attention_of(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>) -> Tensor<4> {
    let (key, value) = (key.into_dispatch(), value.into_dispatch());
    Tensor::from_dispatch(Dispatch::attended(query.into_dispatch(), key, value))
}

/// Attention with a backward pass of its own, which needs the attention's weights and nothing else of that size.
#[backend_extension(Flex, Cube: cfg(any(feature = "cuda", feature = "wgpu")), Autodiff)]
pub trait AttentionOnCard: Backend {
    /// Attention of `[batch, heads, tokens, head width]`.
    fn attended(query: FloatTensor<Self>, key: FloatTensor<Self>, value: FloatTensor<Self>) -> FloatTensor<Self>;
}

macro_rules! forward_passes {
    ($backend:ty) => {
        impl AttentionOnCard for $backend {
            fn attended(
                query: FloatTensor<Self>,
                key: FloatTensor<Self>,
                value: FloatTensor<Self>,
            ) -> FloatTensor<Self> {
                let weights = weights::<Self>(query, key);
                Self::multiply(weights, value)
            }
        }
    };
}

forward_passes!(Flex);
#[cfg(any(feature = "cuda", feature = "wgpu"))]
forward_passes!(burn::backend::Cube);

impl<B: CardKernels, C: CheckpointStrategy> AttentionOnCard for Autodiff<B, C> {
    fn attended(query: FloatTensor<Self>, key: FloatTensor<Self>, value: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((query, query_node), (key, key_node), (value, value_node)) =
            (query.into_parts(), key.into_parts(), value.into_parts());
        let weights = weights::<B>(query.clone(), key.clone());
        let output = B::multiply(weights.clone(), value.clone());
        let state = Kept { query, key, value, weights };
        with_backward::<B, C, 3, _>(Attention, [query_node, key_node, value_node], output, state)
    }
}

fn transposed<B: Backend>(matrices: FloatTensor<B>) -> FloatTensor<B> {
    B::float_swap_dims(matrices, 2, 3)
}

/// `1 / √head width`.
fn scale<T: TensorMetadata>(query: &T) -> f64 {
    (query.shape()[3] as f64).powf(-0.5)
}

/// How much each token attends to each, `[batch, heads, tokens, tokens]`.
fn weights<B: CardKernels>(query: FloatTensor<B>, key: FloatTensor<B>) -> FloatTensor<B> {
    let scale = scale(&query);
    let scores = B::multiply(B::float_mul_scalar(query, scale.into()), transposed::<B>(key));
    let largest = B::float_max_dim(scores.clone(), 3);
    let exponentials = B::float_exp(B::float_sub(scores, largest));
    let sums = B::float_sum_dim(exponentials.clone(), 3);
    B::float_div(exponentials, sums)
}

#[derive(Clone, Debug)]
struct Kept<B: Backend> {
    query: FloatTensor<B>,
    key: FloatTensor<B>,
    value: FloatTensor<B>,
    weights: FloatTensor<B>,
}

#[derive(Debug)]
struct Attention;

impl<B: CardKernels> Backward<B, 3> for Attention {
    type State = Kept<B>;

    fn backward(self, ops: Ops<Kept<B>, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let Kept { query, key, value, weights } = ops.state;
        let [query_parent, key_parent, value_parent] = ops.parents;
        if let Some(parent) = value_parent {
            let found = B::multiply(transposed::<B>(weights.clone()), gradient.clone());
            gradients.register::<B>(parent.id, found);
        }
        if query_parent.is_none() && key_parent.is_none() {
            return;
        }
        // The gradient of a softmax: w · (g − Σ w · g).
        let of_weights = B::multiply(gradient, transposed::<B>(value));
        let products = B::float_mul(of_weights.clone(), weights.clone());
        let of_scores = B::float_mul(B::float_sub(of_weights, B::float_sum_dim(products, 3)), weights);
        let of_scores = B::float_mul_scalar(of_scores, scale(&query).into());
        if let Some(parent) = query_parent {
            gradients.register::<B>(parent.id, B::multiply(of_scores.clone(), key));
        }
        if let Some(parent) = key_parent {
            gradients.register::<B>(parent.id, B::multiply(transposed::<B>(of_scores), query));
        }
    }
}
