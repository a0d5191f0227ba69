//! Multi-head self-attention.

use std::sync::OnceLock;

use burn::tensor::Tensor;
use burn::tensor::activation::softmax;

use super::{on_card, run_on};
use crate::attention::{Forward, Heads, backward, forward};
use crate::operator::{Array, Kept, Needs, Operator, run};
use crate::shared::{SharedSlice, filled};

/// `softmax(query · keyᵀ / √head width) · value` for each head, of `[batch, tokens, 3, heads, head
/// width]` (queries, keys and values, as a linear layer makes them), the heads joined:
/// `[batch, tokens, heads · head width]`.
pub fn attention(parts: Tensor<5>) -> Tensor<3> {
    let [batch, tokens, three, heads, width] = parts.dims();
    assert_eq!(three, 3, "queries, keys and values");
    if run_on(&parts.device()) {
        let heads = Heads { batch, tokens, heads, width };
        let operator = Attention { heads, log_sums: OnceLock::new() };
        return run(vec![parts.into_dispatch()], operator);
    }
    if on_card::is_card(&parts.device()) {
        return on_card::attention(parts).swap_dims(1, 2).reshape([batch, tokens, heads * width]);
    }
    let part = |index: usize| {
        let part = parts.clone().slice([0..batch, 0..tokens, index..index + 1, 0..heads, 0..width]);
        part.reshape([batch, tokens, heads, width]).swap_dims(1, 2)
    };
    attention_of(part(0), part(1), part(2))
}

/// The same of queries, keys and values of their own, each `[batch, heads, tokens, head width]`.
pub fn attention_of(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>) -> Tensor<3> {
    let [batch, heads, tokens, width] = query.dims();
    if run_on(&query.device()) {
        let by_token = |part: Tensor<4>| part.swap_dims(1, 2).reshape([batch, tokens, 1, heads, width]);
        return attention(Tensor::cat(vec![by_token(query), by_token(key), by_token(value)], 2));
    }
    if on_card::is_card(&query.device()) {
        return on_card::attention_of(query, key, value).swap_dims(1, 2).reshape([batch, tokens, heads * width]);
    }
    let scores = query.mul_scalar((width as f64).powf(-0.5)).matmul(key.swap_dims(2, 3));
    softmax(scores, 3).matmul(value).swap_dims(1, 2).reshape([batch, tokens, heads * width])
}

#[derive(Debug)]
struct Attention {
    heads: Heads,
    /// The logarithm of the sum of each row's exponentials, `[batch, heads, tokens]`, left by the
    /// forward pass for the backward one.
    log_sums: OnceLock<Vec<f32>>,
}

impl Operator for Attention {
    fn forward(&self, inputs: &[Array]) -> Array {
        let Heads { batch, tokens, heads, width } = self.heads;
        let mut log_sums = vec![0.0; batch * heads * tokens];
        let fill = |y: &SharedSlice| forward(self.heads, inputs[0].values(), y, &mut log_sums);
        // SAFETY: the forward pass writes all of it.
        let y = unsafe { filled(self.heads.output_len(), fill) };
        // A second forward pass of the same operator would leave the same.
        let _ = self.log_sums.set(log_sums);
        Array::new(y, &[batch, tokens, heads * width])
    }

    fn needs(&self, _: &[bool]) -> Needs {
        Needs { inputs: vec![true], output: true }
    }

    fn backward(&self, kept: Kept, gradient: Array, _: &[bool]) -> Vec<Option<Array>> {
        let Heads { batch, tokens, heads, width } = self.heads;
        let left = Forward {
            parts: kept.input(0).values(),
            y: kept.output().values(),
            log_sums: self.log_sums.get().expect("the forward pass has run"),
            gradient: gradient.values(),
        };
        // SAFETY: the backward pass writes all of it.
        let dparts = unsafe { filled(left.parts.len(), |dparts| backward(self.heads, left, dparts)) };
        vec![Some(Array::new(dparts, &[batch, tokens, 3, heads, width]))]
    }
}
