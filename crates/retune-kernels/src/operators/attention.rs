//! Multi-head self-attention without a matrix of scores for the whole batch: each head of each image
//! makes its own, and makes it again in the backward pass (Dao et al. 2022, arXiv 2205.14135, in what
//! is kept: the logarithm of each row's sum).

use std::sync::OnceLock;

use burn::tensor::Tensor;
use burn::tensor::activation::softmax;
use rayon::prelude::*;

use super::run_on;
use crate::exponential::exp;
use crate::operator::{Array, Kept, Needs, Operator, run};
use crate::precision::Precision;
use crate::product::{
    Destination, Epilogue, Gather, MatrixLayout, Panels, Scale, Threads, TransposedProduct, product, transposed_product,
};
use crate::shared::{SharedSlice, filled};
use crate::vectors::vectorized;

/// `softmax(query · keyᵀ / √head width) · value` for each head, of `[batch, tokens, 3, heads, head
/// width]` (queries, keys and values, as a linear layer makes them), the heads joined:
/// `[batch, tokens, heads · head width]`.
pub fn attention(parts: Tensor<5>) -> Tensor<3> {
    let [batch, tokens, three, heads, width] = parts.dims();
    assert_eq!(three, 3, "queries, keys and values");
    if run_on(&parts.device()) {
        let operator = Attention { batch, tokens, heads, width, log_sums: OnceLock::new() };
        return run(vec![parts.into_dispatch()], operator);
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
    let scores = query.mul_scalar((width as f64).powf(-0.5)).matmul(key.swap_dims(2, 3));
    softmax(scores, 3).matmul(value).swap_dims(1, 2).reshape([batch, tokens, heads * width])
}

#[derive(Debug)]
struct Attention {
    batch: usize,
    tokens: usize,
    heads: usize,
    width: usize,
    /// The logarithm of the sum of each row's exponentials, `[batch, heads, tokens]`, left by the
    /// forward pass for the backward one.
    log_sums: OnceLock<Vec<f32>>,
}

/// A matrix within the queries, keys and values (or a gradient of theirs): a row for each token.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    values: &'a [f32],
    start: usize,
    stride: usize,
}

impl Attention {
    fn factor(&self) -> f32 {
        1.0 / (self.width as f32).sqrt()
    }

    /// Where the part (0 query, 1 key, 2 value) of a head of an image starts; rows are
    /// `3 · heads · width` apart.
    fn start(&self, task: usize, part: usize) -> usize {
        let (image, head) = (task / self.heads, task % self.heads);
        image * self.tokens * self.stride() + (part * self.heads + head) * self.width
    }

    fn stride(&self) -> usize {
        3 * self.heads * self.width
    }

    fn part<'a>(&self, values: &'a [f32], task: usize, part: usize) -> Matrix<'a> {
        Matrix { values, start: self.start(task, part), stride: self.stride() }
    }

    /// The head's part of the joined output, or of its gradient.
    fn joined_start(&self, task: usize) -> usize {
        let (image, head) = (task / self.heads, task % self.heads);
        (image * self.tokens * self.heads + head) * self.width
    }

    fn joined<'a>(&self, values: &'a [f32], task: usize) -> Matrix<'a> {
        Matrix { values, start: self.joined_start(task), stride: self.heads * self.width }
    }

    /// `a · bᵀ`, `tokens × tokens`.
    fn by_token(&self, a: Matrix, b: Matrix) -> Vec<f32> {
        let (tokens, width) = (self.tokens, self.width);
        let layout = MatrixLayout {
            taps: 1,
            depth: width,
            columns: tokens,
            start: b.start,
            tap_stride: 0,
            depth_stride: 1,
            column_stride: b.stride,
        };
        let panels = Panels::pack(b.values, layout, Scale::None, Threads::This);
        let gather = Gather::matrix(tokens, a.stride, a.start);
        let place = Destination { offset: 0, stride: tokens };
        let fill = |out: &SharedSlice| {
            product(&gather, a.values, &panels, Epilogue::default(), out, place, Threads::This);
        };
        // SAFETY: the product writes every row and column.
        unsafe { filled(tokens * tokens, fill) }
    }

    /// `square · b` with `square` of `tokens × tokens`, written to rows of `out`.
    fn mix(&self, square: &[f32], b: Matrix, out: &SharedSlice, place: Destination) {
        let (tokens, width) = (self.tokens, self.width);
        let layout = MatrixLayout {
            taps: 1,
            depth: tokens,
            columns: width,
            start: b.start,
            tap_stride: 0,
            depth_stride: b.stride,
            column_stride: 1,
        };
        let panels = Panels::pack(b.values, layout, Scale::None, Threads::This);
        let gather = Gather::matrix(tokens, tokens, 0);
        product(&gather, square, &panels, Epilogue::default(), out, place, Threads::This);
    }

    /// `squareᵀ · b`, likewise.
    fn mix_transposed(&self, square: &[f32], b: Matrix, out: &SharedSlice, place: Destination) {
        let work = TransposedProduct {
            gather: &Gather::matrix(self.tokens, self.tokens, 0),
            source: square,
            depth: self.tokens,
            gradient: b.values,
            gradient_offset: b.start,
            gradient_stride: b.stride,
            columns: self.width,
            precision: Precision::Float32,
        };
        transposed_product(work, Threads::This, |part| {
            for (row, values) in part.depths.zip(part.values.chunks_exact(part.width)) {
                let at = place.offset + row * place.stride + part.columns.start;
                // SAFETY: the parts of a product differ in their rows or columns.
                let out = unsafe { out.part(at, part.columns.len()) };
                out.copy_from_slice(&values[..part.columns.len()]);
            }
        });
    }

    fn forward_head(&self, parts: &[f32], task: usize, y: &SharedSlice, log_sums: &mut [f32]) {
        let mut scores = self.by_token(self.part(parts, task, 0), self.part(parts, task, 1));
        let factor = self.factor();
        vectorized(
            #[inline(always)]
            || {
                for (row, log_sum) in scores.chunks_exact_mut(self.tokens).zip(&mut *log_sums) {
                    *log_sum = softmax_row(row, factor);
                }
            },
        );
        let place = Destination { offset: self.joined_start(task), stride: self.heads * self.width };
        self.mix(&scores, self.part(parts, task, 2), y, place);
    }

    fn backward_head(&self, parts: &[f32], y: &[f32], gradient: &[f32], task: usize, dparts: &SharedSlice) {
        let (tokens, factor) = (self.tokens, self.factor());
        let [query, key, value] = [0, 1, 2].map(|part| self.part(parts, task, part));
        let dy = self.joined(gradient, task);
        let log_sums = self.log_sums.get().expect("the forward pass has run");
        let log_sums = &log_sums[task * tokens..(task + 1) * tokens];
        let place = |part: usize| Destination { offset: self.start(task, part), stride: self.stride() };

        // Transposed, a row for each key: then every further product but one finds its rows in a line.
        let mut weights = self.by_token(key, query);
        let mut dweights = self.by_token(value, dy);
        let along: Vec<f32> = (0..tokens)
            .map(|token| {
                let at = dy.start + token * dy.stride;
                let (dy, y) = (&gradient[at..at + self.width], &y[at..at + self.width]);
                dy.iter().zip(y).map(|(dy, y)| dy * y).sum()
            })
            .collect();
        vectorized(
            #[inline(always)]
            || {
                let rows = weights.chunks_exact_mut(tokens).zip(dweights.chunks_exact_mut(tokens));
                for (weights, dscores) in rows {
                    for query in 0..tokens {
                        weights[query] = exp(factor * weights[query] - log_sums[query]);
                        dscores[query] = factor * weights[query] * (dscores[query] - along[query]);
                    }
                }
            },
        );
        self.mix(&weights, dy, dparts, place(2));
        self.mix(&dweights, query, dparts, place(1));
        self.mix_transposed(&dweights, key, dparts, place(0));
    }
}

/// Turns scores into `softmax(factor · scores)`; returns the logarithm of the exponentials' sum.
#[inline(always)]
fn softmax_row(row: &mut [f32], factor: f32) -> f32 {
    let mut largest = [f32::NEG_INFINITY; 16];
    let (blocks, rest) = row.as_chunks::<16>();
    for block in blocks {
        for (largest, &value) in largest.iter_mut().zip(block) {
            *largest = if value > *largest { value } else { *largest };
        }
    }
    let largest = factor * largest.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0f32; 16];
    let (blocks, rest) = row.as_chunks_mut::<16>();
    for block in blocks {
        for (sum, value) in sums.iter_mut().zip(block) {
            *value = exp(factor * *value - largest);
            *sum += *value;
        }
    }
    rest.iter_mut().for_each(|value| *value = exp(factor * *value - largest));
    let sum = sums.iter().sum::<f32>() + rest.iter().sum::<f32>();
    let inverse = 1.0 / sum;
    row.iter_mut().for_each(|value| *value *= inverse);
    largest + sum.ln()
}

impl Operator for Attention {
    fn forward(&self, inputs: &[Array]) -> Array {
        let parts = inputs[0].values();
        let Self { batch, tokens, heads, width, .. } = *self;
        let mut log_sums = vec![0.0; batch * heads * tokens];
        let fill = |y: &SharedSlice| {
            let tasks = log_sums.par_chunks_mut(tokens.max(1)).enumerate();
            tasks.for_each(|(task, log_sums)| self.forward_head(parts, task, y, log_sums));
        };
        // SAFETY: every head of every image writes its part of every row.
        let y = unsafe { filled(batch * tokens * heads * width, fill) };
        // A second forward pass of the same operator would leave the same.
        let _ = self.log_sums.set(log_sums);
        Array::new(y, &[batch, tokens, heads * width])
    }

    fn needs(&self, _: &[bool]) -> Needs {
        Needs { inputs: vec![true], output: true }
    }

    fn backward(&self, kept: Kept, gradient: Array, _: &[bool]) -> Vec<Option<Array>> {
        let (parts, y) = (kept.input(0).values(), kept.output().values());
        let fill = |dparts: &SharedSlice| {
            (0..self.batch * self.heads)
                .into_par_iter()
                .for_each(|task| self.backward_head(parts, y, gradient.values(), task, dparts));
        };
        // SAFETY: every head of every image writes its queries', keys' and values' gradients.
        let dparts = unsafe { filled(parts.len(), fill) };
        vec![Some(Array::new(dparts, &[self.batch, self.tokens, 3, self.heads, self.width]))]
    }
}
