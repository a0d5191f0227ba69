//! Batch normalization of a batch that is computed in parts, each by another process.

use std::fmt::Debug;
use std::sync::{Arc, OnceLock};

use burn::tensor::{Tensor, TensorData};
use rayon::prelude::*;

use crate::operator::{Array, Kept, Needs, Operator, run};
use crate::shared::{SharedSlice, filled};
use crate::vectors::vectorized;

/// Positions that one task handles.
const ROWS: usize = 256;

const X: usize = 0;
const WEIGHT: usize = 1;
const BIAS: usize = 2;

/// Those who each compute a part of the same batch.
pub trait SharedBatch: Debug + Send + Sync {
    /// Replaces the values by their sums over all parts of the batch, the same for everyone to the bit.
    ///
    /// Whoever computes a part asks for the same sums in the same order: [`shared_batch_norm`] does once on the way
    /// forward, and once on the way back where its input gets a gradient.
    fn add_up(&self, values: &mut [f64]);
}

/// A part of a batch, normalized by the statistics of the whole.
pub struct SharedBatchNorm {
    /// The part, normalized, `[batch, height, width, channels]`.
    pub output: Tensor<4>,
    /// Mean over the whole batch and all positions, `[channels]`.
    pub mean: Tensor<1>,
    /// Unbiased variance over the whole batch and all positions, `[channels]`; biased where there is a single position.
    pub variance: Tensor<1>,
}

/// `(x − mean) / √(variance + epsilon) · weight + bias` for a part `x` of a batch, with mean and biased variance of each
/// channel over the whole batch and all positions (Ioffe and Szegedy 2015, arXiv 1502.03167), as PyTorch's `SyncBatchNorm`
/// has it. Gradients pass through the statistics to the images of all parts; those of `weight` and `bias` are what this
/// part adds to those of the whole batch.
///
/// The statistics have no gradients. `x` is on the CPU, `[batch, height, width, channels]`.
///
/// # Panics
/// If `weight` and `bias` are not as long as the last dimension, or tensors are not on the CPU.
pub fn shared_batch_norm(
    x: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
    batch: Arc<dyn SharedBatch>,
) -> SharedBatchNorm {
    let shape = x.dims();
    let channels = shape[3];
    assert_eq!((weight.dims(), bias.dims()), ([channels], [channels]), "a weight and a bias for each channel");
    let device = x.device().inner();
    let seen = Arc::new(OnceLock::new());
    let operator = Normalization { shape, epsilon, batch, seen: Arc::clone(&seen) };
    let output = run(vec![x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch()], operator);
    let Statistics { count, mean, variance } =
        seen.get().expect("the operator that has given an output has seen its input");
    let tensor = |values: Vec<f32>| Tensor::from_data(TensorData::new(values, [channels]), &device);
    let unbiased = count / (count - 1.0).max(1.0);
    SharedBatchNorm {
        output,
        mean: tensor(mean.iter().map(|&mean| mean as f32).collect()),
        variance: tensor(variance.iter().map(|variance| (variance * unbiased) as f32).collect()),
    }
}

/// What a whole batch is like.
#[derive(Debug)]
struct Statistics {
    /// Values of each channel.
    count: f64,
    mean: Vec<f64>,
    /// Biased.
    variance: Vec<f64>,
}

impl Statistics {
    /// Those of the batch that `batch` puts together from this part and others.
    ///
    /// Sums of squares lose no digit that matters: squares of floats are exact in double precision, and the mean would have
    /// to be 10⁴ deviations from zero for an error of 10⁻⁸ in the variance.
    fn of(x: &[f32], channels: usize, batch: &dyn SharedBatch) -> Self {
        let mut sums = column_sums(
            x,
            x,
            channels,
            #[inline(always)]
            |value, _| (f64::from(value), f64::from(value) * f64::from(value)),
        );
        sums.push((x.len() / channels.max(1)) as f64);
        batch.add_up(&mut sums);
        let count = sums[2 * channels];
        let mean: Vec<f64> = sums[..channels].iter().map(|sum| sum / count).collect();
        let squares = sums[channels..2 * channels].iter().zip(&mean);
        let variance = squares.map(|(squares, mean)| (squares / count - mean * mean).max(0.0)).collect();
        Self { count, mean, variance }
    }

    fn inverse_deviations(&self, epsilon: f64) -> Vec<f64> {
        self.variance.iter().map(|variance| 1.0 / (variance + epsilon).sqrt()).collect()
    }
}

#[derive(Debug)]
struct Normalization {
    shape: [usize; 4],
    epsilon: f64,
    batch: Arc<dyn SharedBatch>,
    /// The statistics of the way forward.
    seen: Arc<OnceLock<Statistics>>,
}

impl Operator for Normalization {
    fn forward(&self, inputs: &[Array]) -> Array {
        let (x, weight, bias) = (inputs[X].values(), inputs[WEIGHT].values(), inputs[BIAS].values());
        let statistics = self.seen.get_or_init(|| Statistics::of(x, weight.len(), &*self.batch));
        let deviations = statistics.inverse_deviations(self.epsilon);
        let mean: Vec<f32> = statistics.mean.iter().map(|&mean| mean as f32).collect();
        let scale: Vec<f32> =
            deviations.iter().zip(weight).map(|(inverse, &weight)| *inverse as f32 * weight).collect();
        let y = by_row(
            [x, x],
            weight.len(),
            #[inline(always)]
            |channel, x, _| (x - mean[channel]) * scale[channel] + bias[channel],
        );
        Array::new(y, &self.shape)
    }

    fn needs(&self, _: &[bool]) -> Needs {
        Needs { inputs: vec![true, true, false], output: false }
    }

    fn backward(&self, kept: Kept, gradient: Array, wanted: &[bool]) -> Vec<Option<Array>> {
        let (x, weight, gradient) = (kept.input(X).values(), kept.input(WEIGHT).values(), gradient.values());
        let channels = weight.len();
        let statistics = self.seen.get().expect("a gradient comes back through an operator that has gone forward");
        let inverse = statistics.inverse_deviations(self.epsilon);

        // For each channel, the sum of the gradients and that of their products with the centered input.
        let mean = &statistics.mean;
        let mut sums = column_sums(
            gradient,
            x,
            channels,
            #[inline(always)]
            |gradient, x| (f64::from(gradient), f64::from(gradient) * f64::from(x)),
        );
        for channel in 0..channels {
            sums[channels + channel] -= sums[channel] * mean[channel];
        }
        let values = |values: &[f64]| Array::new(values.iter().map(|&value| value as f32).collect(), &[channels]);
        let along: Vec<f64> = sums[channels..].iter().zip(&inverse).map(|(sum, inverse)| sum * inverse).collect();
        let dweight = wanted[WEIGHT].then(|| values(&along));
        let dbias = wanted[BIAS].then(|| values(&sums[..channels]));

        let dx = wanted[X].then(|| {
            self.batch.add_up(&mut sums);
            let (of_gradient, of_product) = sums.split_at(channels);
            let count = statistics.count;
            let mean: Vec<f32> = mean.iter().map(|&mean| mean as f32).collect();
            let scale: Vec<f32> =
                inverse.iter().zip(weight).map(|(inverse, &weight)| *inverse as f32 * weight).collect();
            let shift: Vec<f32> = of_gradient.iter().map(|sum| (sum / count) as f32).collect();
            let slope: Vec<f32> = of_product
                .iter()
                .zip(&inverse)
                .map(|(sum, inverse)| (sum * inverse * inverse / count) as f32)
                .collect();
            let dx = by_row(
                [x, gradient],
                channels,
                #[inline(always)]
                |channel, x, gradient| {
                    (gradient - shift[channel] - (x - mean[channel]) * slope[channel]) * scale[channel]
                },
            );
            Array::new(dx, &self.shape)
        });
        vec![dx, dweight, dbias]
    }
}

/// For each column of two row-major matrices, the sums of the two numbers that `of` makes of their values: all first ones,
/// then all second ones. Blocks of rows are summed first and then added in their order, so the result does not depend on
/// the number of threads.
fn column_sums(a: &[f32], b: &[f32], columns: usize, of: impl Fn(f32, f32) -> (f64, f64) + Sync) -> Vec<f64> {
    let block = (ROWS * columns).max(1);
    let sums_of = |(a, b): (&[f32], &[f32])| {
        let mut sums = vec![0.0; 2 * columns];
        let (first, second) = sums.split_at_mut(columns);
        vectorized(
            #[inline(always)]
            || {
                for (a, b) in a.chunks_exact(columns).zip(b.chunks_exact(columns)) {
                    for (((first, second), &a), &b) in first.iter_mut().zip(second.iter_mut()).zip(a).zip(b) {
                        let (one, other) = of(a, b);
                        *first += one;
                        *second += other;
                    }
                }
            },
        );
        sums
    };
    let partial: Vec<Vec<f64>> = a.par_chunks(block).zip(b.par_chunks(block)).map(sums_of).collect();
    let mut sums = vec![0.0; 2 * columns];
    for partial in partial {
        sums.iter_mut().zip(partial).for_each(|(sum, value)| *sum += value);
    }
    sums
}

/// What `of` makes of each channel's number and the values of two row-major matrices.
fn by_row([a, b]: [&[f32]; 2], channels: usize, of: impl Fn(usize, f32, f32) -> f32 + Sync) -> Vec<f32> {
    let block = (ROWS * channels).max(1);
    let fill = |out: &SharedSlice| {
        a.par_chunks(block).zip(b.par_chunks(block)).enumerate().for_each(|(index, (a, b))| {
            // SAFETY: every task has rows of its own.
            let out = unsafe { out.part(index * block, a.len()) };
            vectorized(
                #[inline(always)]
                || {
                    let rows = a.chunks_exact(channels).zip(b.chunks_exact(channels));
                    for ((a, b), out) in rows.zip(out.chunks_exact_mut(channels)) {
                        for channel in 0..channels {
                            out[channel] = of(channel, a[channel], b[channel]);
                        }
                    }
                },
            );
        });
    };
    // SAFETY: every row is written whole.
    unsafe { filled(a.len(), fill) }
}
