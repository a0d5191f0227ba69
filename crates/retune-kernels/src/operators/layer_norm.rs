//! Layer normalization.

use burn::tensor::{Tensor, module};
use rayon::prelude::*;

use super::{on_card, run_on};
use crate::operator::{Array, Kept, Needs, Operator, run};
use crate::shared::{SharedSlice, filled};
use crate::vectors::vectorized;

/// Rows that one task handles.
const ROWS: usize = 64;

const X: usize = 0;
const WEIGHT: usize = 1;
const BIAS: usize = 2;

/// `(x − mean) / √(variance + epsilon) · weight + bias`, with mean and variance over the last
/// dimension (Ba et al. 2016, arXiv 1607.06450).
///
/// # Panics
/// If `weight` and `bias` are not as long as the last dimension.
pub fn layer_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, bias: Tensor<1>, epsilon: f64) -> Tensor<D> {
    if on_card::is_card(&x.device()) {
        return on_card::layer_norm(x, weight, bias, epsilon);
    }
    if !run_on(&x.device()) {
        return module::layer_norm(x, weight, Some(bias), epsilon);
    }
    let shape = x.dims().to_vec();
    let width = shape[D - 1];
    assert_eq!((weight.dims(), bias.dims()), ([width], [width]), "a weight and a bias for each channel");
    let operator = FusedLayerNorm { shape, width, epsilon: epsilon as f32 };
    run(vec![x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()], operator)
}

#[derive(Debug)]
struct FusedLayerNorm {
    shape: Vec<usize>,
    width: usize,
    epsilon: f32,
}

impl FusedLayerNorm {
    /// Mean and inverse deviation of a row.
    #[inline(always)]
    fn statistics(&self, row: &[f32]) -> (f32, f32) {
        let mean = sum(
            row,
            #[inline(always)]
            |x| x,
        ) / self.width as f32;
        let variance = sum(
            row,
            #[inline(always)]
            |x| (x - mean) * (x - mean),
        ) / self.width as f32;
        (mean, 1.0 / (variance + self.epsilon).sqrt())
    }

    /// The gradient of each row's input; adds to the gradients of the weight and bias.
    #[inline(always)]
    fn backward_rows(&self, x: &[f32], weight: &[f32], gradient: &[f32], dx: &mut [f32], sums: &mut [f32]) {
        let width = self.width;
        let (dweight, dbias) = sums.split_at_mut(width);
        let rows = x.chunks_exact(width).zip(gradient.chunks_exact(width)).zip(dx.chunks_exact_mut(width));
        for ((x, gradient), dx) in rows {
            let (mean, scale) = self.statistics(x);
            for index in 0..width {
                let normalized = (x[index] - mean) * scale;
                dweight[index] += gradient[index] * normalized;
                dbias[index] += gradient[index];
                dx[index] = gradient[index] * weight[index];
            }
            let mean_gradient = sum(
                dx,
                #[inline(always)]
                |dx| dx,
            ) / width as f32;
            let along = sum_of_products(dx, x, mean) * scale / width as f32;
            for index in 0..width {
                let normalized = (x[index] - mean) * scale;
                dx[index] = (dx[index] - mean_gradient - normalized * along) * scale;
            }
        }
    }
}

/// The sum of `f` over the values, in sixteen partial sums that vector instructions can hold.
#[inline(always)]
fn sum(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut partial = [0.0f32; 16];
    let (blocks, rest) = values.as_chunks::<16>();
    for block in blocks {
        for (partial, &value) in partial.iter_mut().zip(block) {
            *partial += f(value);
        }
    }
    partial.iter().sum::<f32>() + rest.iter().map(|&value| f(value)).sum::<f32>()
}

/// `Σ a · (b − mean)`.
#[inline(always)]
fn sum_of_products(a: &[f32], b: &[f32], mean: f32) -> f32 {
    let mut partial = [0.0f32; 16];
    let ((a_blocks, a_rest), (b_blocks, b_rest)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for index in 0..16 {
            partial[index] += a[index] * (b[index] - mean);
        }
    }
    partial.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * (b - mean)).sum::<f32>()
}

impl Operator for FusedLayerNorm {
    fn forward(&self, inputs: &[Array]) -> Array {
        let (x, weight, bias) = (inputs[X].values(), inputs[WEIGHT].values(), inputs[BIAS].values());
        let size = (ROWS * self.width).max(1);
        let fill = |y: &SharedSlice| {
            x.par_chunks(size).enumerate().for_each(|(index, x)| {
                // SAFETY: every task has rows of its own.
                let y = unsafe { y.part(index * size, x.len()) };
                vectorized(
                    #[inline(always)]
                    || {
                        for (x, y) in x.chunks_exact(self.width).zip(y.chunks_exact_mut(self.width)) {
                            let (mean, scale) = self.statistics(x);
                            for (((y, x), weight), bias) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                                *y = (x - mean) * scale * weight + bias;
                            }
                        }
                    },
                );
            });
        };
        // SAFETY: every row is written whole.
        Array::new(unsafe { filled(x.len(), fill) }, &self.shape)
    }

    fn needs(&self, _: &[bool]) -> Needs {
        Needs { inputs: vec![true, true, false], output: false }
    }

    fn backward(&self, kept: Kept, gradient: Array, wanted: &[bool]) -> Vec<Option<Array>> {
        let (x, weight, gradient) = (kept.input(X).values(), kept.input(WEIGHT).values(), gradient.values());
        let (width, size) = (self.width, (ROWS * self.width).max(1));
        let mut partial = vec![0.0; x.len().div_ceil(size) * 2 * width];
        let fill = |dx: &SharedSlice| {
            let parts =
                partial.par_chunks_mut((2 * width).max(1)).zip(x.par_chunks(size).zip(gradient.par_chunks(size)));
            parts.enumerate().for_each(|(index, (sums, (x, gradient)))| {
                // SAFETY: every task has rows of its own.
                let dx = unsafe { dx.part(index * size, x.len()) };
                vectorized(
                    #[inline(always)]
                    || self.backward_rows(x, weight, gradient, dx, sums),
                );
            });
        };
        // SAFETY: every row is written whole, before it is read.
        let dx = unsafe { filled(x.len(), fill) };
        let mut sums = vec![0.0; 2 * width];
        for partial in partial.chunks_exact((2 * width).max(1)) {
            sums.iter_mut().zip(partial).for_each(|(sum, value)| *sum += value);
        }
        let dbias = sums.split_off(width);
        vec![
            wanted[X].then(|| Array::new(dx, &self.shape)),
            wanted[WEIGHT].then(|| Array::new(sums, &[width])),
            wanted[BIAS].then(|| Array::new(dbias, &[width])),
        ]
    }
}
