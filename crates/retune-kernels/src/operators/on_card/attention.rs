//! Attention on graphics cards.

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Shape, Slice, Tensor};

use super::with_backward;
use crate::card::CardKernels;

/// `softmax(query · keyᵀ / √head width) · value` of queries, keys and values `[batch, heads, tokens, head width]`.
pub(in crate::operators) fn attention_of(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>) -> Tensor<4> {
    let (key, value) = (key.into_dispatch(), value.into_dispatch());
    Tensor::from_dispatch(Dispatch::attended(query.into_dispatch(), key, value))
}

/// The same of `[batch, tokens, 3, heads, head width]`: queries, keys and values.
pub(in crate::operators) fn attention(parts: Tensor<5>) -> Tensor<4> {
    Tensor::from_dispatch(Dispatch::attended_parts(parts.into_dispatch()))
}

/// Attention with a backward pass of its own, which needs the attention's weights and nothing else of that size.
#[backend_extension(Flex, Cube: cfg(any(feature = "cuda", feature = "wgpu")), Autodiff)]
pub trait AttentionOnCard: Backend {
    /// Attention of `[batch, heads, tokens, head width]`.
    fn attended(query: FloatTensor<Self>, key: FloatTensor<Self>, value: FloatTensor<Self>) -> FloatTensor<Self>;

    /// The same of `[batch, tokens, 3, heads, head width]`.
    fn attended_parts(parts: FloatTensor<Self>) -> FloatTensor<Self>;
}

macro_rules! forward_passes {
    ($backend:ty) => {
        impl AttentionOnCard for $backend {
            fn attended(
                query: FloatTensor<Self>,
                key: FloatTensor<Self>,
                value: FloatTensor<Self>,
            ) -> FloatTensor<Self> {
                Kept::<Self>::of(query, key, value).0
            }

            fn attended_parts(parts: FloatTensor<Self>) -> FloatTensor<Self> {
                let [query, key, value] = in_parts::<Self>(parts);
                Self::attended(query, key, value)
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
        let (output, kept) = Kept::<B>::of(query, key, value);
        with_backward::<B, C, 3, _>(Attention, [query_node, key_node, value_node], output, kept)
    }

    fn attended_parts(parts: FloatTensor<Self>) -> FloatTensor<Self> {
        let (parts, node) = parts.into_parts();
        let [query, key, value] = in_parts::<B>(parts);
        let (output, kept) = Kept::<B>::of(query, key, value);
        with_backward::<B, C, 1, _>(AttentionOfParts, [node], output, kept)
    }
}

/// Queries, keys and values `[batch, heads, tokens, head width]` of `[batch, tokens, 3, heads, head width]`.
fn in_parts<B: Backend>(parts: FloatTensor<B>) -> [FloatTensor<B>; 3] {
    let [batch, tokens, _, heads, width] = parts.shape().dims();
    let by_part = B::float_permute(parts, &[2, 0, 3, 1, 4]);
    [0, 1, 2].map(|part| {
        let whole = [batch, heads, tokens, width].map(|length| Slice::from(0..length));
        let [images, heads_of, tokens_of, numbers] = whole;
        let found =
            B::float_slice(by_part.clone(), &[Slice::from(part..part + 1), images, heads_of, tokens_of, numbers]);
        B::float_reshape(found, Shape::new([batch, heads, tokens, width]))
    })
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
    B::softmax_rows(B::multiply(query, transposed::<B>(key)), scale)
}

#[derive(Clone, Debug)]
struct Kept<B: Backend> {
    query: FloatTensor<B>,
    key: FloatTensor<B>,
    value: FloatTensor<B>,
    weights: FloatTensor<B>,
}

impl<B: CardKernels> Kept<B> {
    /// The output, and what its backward pass needs.
    fn of(query: FloatTensor<B>, key: FloatTensor<B>, value: FloatTensor<B>) -> (FloatTensor<B>, Self) {
        let weights = weights::<B>(query.clone(), key.clone());
        let output = B::multiply(weights.clone(), value.clone());
        (output, Self { query, key, value, weights })
    }

    fn of_value(&self, gradient: FloatTensor<B>) -> FloatTensor<B> {
        B::multiply(transposed::<B>(self.weights.clone()), gradient)
    }

    fn of_scores(&self, gradient: FloatTensor<B>) -> FloatTensor<B> {
        let of_weights = B::multiply(gradient, transposed::<B>(self.value.clone()));
        B::softmax_rows_backward(self.weights.clone(), of_weights, scale(&self.query))
    }

    fn of_query(&self, of_scores: FloatTensor<B>) -> FloatTensor<B> {
        B::multiply(of_scores, self.key.clone())
    }

    fn of_key(&self, of_scores: FloatTensor<B>) -> FloatTensor<B> {
        B::multiply(transposed::<B>(of_scores), self.query.clone())
    }
}

#[derive(Debug)]
struct Attention;

impl<B: CardKernels> Backward<B, 3> for Attention {
    type State = Kept<B>;

    fn backward(self, ops: Ops<Kept<B>, 3>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let kept = ops.state;
        let [query, key, value] = ops.parents;
        if let Some(parent) = value {
            gradients.register::<B>(parent.id, kept.of_value(gradient.clone()));
        }
        if query.is_none() && key.is_none() {
            return;
        }
        let of_scores = kept.of_scores(gradient);
        if let Some(parent) = query {
            gradients.register::<B>(parent.id, kept.of_query(of_scores.clone()));
        }
        if let Some(parent) = key {
            gradients.register::<B>(parent.id, kept.of_key(of_scores));
        }
    }
}

#[derive(Debug)]
struct AttentionOfParts;

impl<B: CardKernels> Backward<B, 1> for AttentionOfParts {
    type State = Kept<B>;

    fn backward(self, ops: Ops<Kept<B>, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let kept = ops.state;
        let [parent] = ops.parents;
        let Some(parent) = parent else { return };
        let value = kept.of_value(gradient.clone());
        let of_scores = kept.of_scores(gradient);
        let found = [kept.of_query(of_scores.clone()), kept.of_key(of_scores), value];
        let apart = found.map(|part| {
            let [batch, heads, tokens, width] = part.shape().dims();
            B::float_reshape(part, Shape::new([1, batch, heads, tokens, width]))
        });
        let joined = B::float_permute(B::float_cat(apart.into(), 0), &[1, 3, 0, 2, 4]);
        gradients.register::<B>(parent.id, joined);
    }
}
