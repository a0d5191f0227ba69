//! Pooling over windows and over whole maps.

use burn::tensor::Tensor;
use burn::tensor::module::max_pool2d;
use burn::tensor::ops::MaxPoolOptions;
use rayon::prelude::*;

use super::{channels_first, channels_last, run_on};
use crate::operator::{Array, Kept, Needs, Operator, run};
use crate::product::Axis;
use crate::shared::{SharedSlice, filled};
use crate::vectors::vectorized;

/// The largest value of each window of a map `[batch, height, width, channels]`, `padding` places
/// around it left out.
///
/// # Panics
/// If a window lies in the padding altogether.
pub fn max_pool(x: Tensor<4>, kernel: usize, stride: usize, padding: usize) -> Tensor<4> {
    if !run_on(&x.device()) {
        let options = MaxPoolOptions::new([kernel; 2]).with_stride([stride; 2]).with_padding([padding; 2]);
        return channels_last(max_pool2d(channels_first(x), options));
    }
    assert!(padding < kernel, "no window lies in the padding altogether");
    let [batch, height, width, channels] = x.dims();
    let length = |input: usize| (input + 2 * padding).checked_sub(kernel).map_or(0, |rest| rest / stride + 1);
    let axis = |input: usize| Axis::forward(length(input), input, kernel, stride, padding);
    let input = (height, width);
    let operator = MaxPool { batch, input, channels, kernel, vertical: axis(height), horizontal: axis(width) };
    run(vec![x.into_dispatch()], operator)
}

#[derive(Debug)]
struct MaxPool {
    batch: usize,
    input: (usize, usize),
    channels: usize,
    kernel: usize,
    vertical: Axis,
    horizontal: Axis,
}

impl MaxPool {
    /// Where the taps of the window at `(y, x)` start in an image, in the window's order.
    #[inline(always)]
    fn taps(&self, y: usize, x: usize) -> impl Iterator<Item = usize> + '_ {
        let places = (0..self.kernel).flat_map(move |tap_y| (0..self.kernel).map(move |tap_x| (tap_y, tap_x)));
        places.filter_map(move |(tap_y, tap_x)| {
            let (line, column) = (self.vertical.source(tap_y, y), self.horizontal.source(tap_x, x));
            (line >= 0 && column >= 0).then(|| (line as usize * self.input.1 + column as usize) * self.channels)
        })
    }

    fn image_len(&self) -> usize {
        self.input.0 * self.input.1 * self.channels
    }

    #[inline(always)]
    fn pool_line(&self, x: &[f32], out: &mut [f32], image: usize, y: usize) {
        let x = &x[image * self.image_len()..][..self.image_len()];
        for (column, out) in out.chunks_exact_mut(self.channels).enumerate() {
            out.fill(f32::NEG_INFINITY);
            for start in self.taps(y, column) {
                for (largest, &value) in out.iter_mut().zip(&x[start..start + self.channels]) {
                    // So that NaN is the largest value, as in PyTorch.
                    *largest = if value > *largest || value.is_nan() { value } else { *largest };
                }
            }
        }
    }

    /// Adds the gradient of each window to its first largest value.
    #[inline(always)]
    fn spread_image(&self, x: &[f32], output: &[f32], gradient: &[f32], dx: &mut [f32]) {
        let channels = self.channels;
        let mut rest = vec![0.0; channels];
        let windows = (0..self.vertical.length()).flat_map(|y| (0..self.horizontal.length()).map(move |x| (y, x)));
        for (index, (y, column)) in windows.enumerate() {
            let output = &output[index * channels..][..channels];
            rest.copy_from_slice(&gradient[index * channels..][..channels]);
            for start in self.taps(y, column) {
                let (x, dx) = (&x[start..start + channels], &mut dx[start..start + channels]);
                for channel in 0..channels {
                    let is_largest = x[channel] == output[channel];
                    dx[channel] += if is_largest { rest[channel] } else { 0.0 };
                    rest[channel] = if is_largest { 0.0 } else { rest[channel] };
                }
            }
        }
    }
}

impl Operator for MaxPool {
    fn forward(&self, inputs: &[Array]) -> Array {
        let (height, width) = (self.vertical.length(), self.horizontal.length());
        let line = width * self.channels;
        let x = inputs[0].values();
        let fill = |y: &SharedSlice| {
            (0..self.batch * height).into_par_iter().for_each(|index| {
                // SAFETY: every task has a line of its own.
                let out = unsafe { y.part(index * line, line) };
                vectorized(
                    #[inline(always)]
                    || self.pool_line(x, out, index / height, index % height),
                );
            });
        };
        // SAFETY: every line is written whole, first by negative infinity.
        let y = unsafe { filled(self.batch * height * line, fill) };
        Array::new(y, &[self.batch, height, width, self.channels])
    }

    fn needs(&self, _: &[bool]) -> Needs {
        Needs { inputs: vec![true], output: true }
    }

    fn backward(&self, kept: Kept, gradient: Array, _: &[bool]) -> Vec<Option<Array>> {
        let x = kept.input(0).values();
        let output = kept.output().values();
        let of_image = (self.vertical.length() * self.horizontal.length() * self.channels).max(1);
        let mut dx = vec![0.0; x.len()];
        let images = dx.par_chunks_mut(self.image_len().max(1)).zip(x.par_chunks(self.image_len().max(1)));
        let outputs = output.par_chunks(of_image).zip(gradient.values().par_chunks(of_image));
        images.zip(outputs).for_each(|((dx, x), (output, gradient))| {
            vectorized(
                #[inline(always)]
                || self.spread_image(x, output, gradient, dx),
            );
        });
        vec![Some(Array::new(dx, &[self.batch, self.input.0, self.input.1, self.channels]))]
    }
}

/// The mean of each channel of `[batch, height, width, channels]`, `[batch, channels]`.
pub fn global_average(x: Tensor<4>) -> Tensor<2> {
    let [batch, height, width, channels] = x.dims();
    if !run_on(&x.device()) {
        return x.reshape([batch, height * width, channels]).mean_dim(1).reshape([batch, channels]);
    }
    run(vec![x.into_dispatch()], GlobalAverage { batch, map: (height, width), channels })
}

#[derive(Debug)]
struct GlobalAverage {
    batch: usize,
    map: (usize, usize),
    channels: usize,
}

impl GlobalAverage {
    fn positions(&self) -> usize {
        self.map.0 * self.map.1
    }
}

impl Operator for GlobalAverage {
    fn forward(&self, inputs: &[Array]) -> Array {
        let (channels, positions) = (self.channels, self.positions());
        let mut y = vec![0.0; self.batch * channels];
        let images = inputs[0].values().par_chunks((positions * channels).max(1));
        y.par_chunks_mut(channels.max(1)).zip(images).for_each(|(y, x)| {
            vectorized(
                #[inline(always)]
                || {
                    for pixel in x.chunks_exact(channels) {
                        y.iter_mut().zip(pixel).for_each(|(sum, value)| *sum += value);
                    }
                    y.iter_mut().for_each(|sum| *sum /= positions as f32);
                },
            );
        });
        Array::new(y, &[self.batch, channels])
    }

    fn needs(&self, _: &[bool]) -> Needs {
        Needs { inputs: vec![false], output: false }
    }

    fn backward(&self, _: Kept, gradient: Array, _: &[bool]) -> Vec<Option<Array>> {
        let (channels, positions) = (self.channels, self.positions());
        let factor = 1.0 / positions as f32;
        let fill = |dx: &SharedSlice| {
            gradient.values().par_chunks(channels.max(1)).enumerate().for_each(|(image, gradient)| {
                let share: Vec<f32> = gradient.iter().map(|value| value * factor).collect();
                for position in 0..positions {
                    // SAFETY: every task has an image of its own.
                    unsafe { dx.part((image * positions + position) * channels, channels) }.copy_from_slice(&share);
                }
            });
        };
        // SAFETY: every pixel of every image is written.
        let dx = unsafe { filled(self.batch * positions * channels, fill) };
        vec![Some(Array::new(dx, &[self.batch, self.map.0, self.map.1, channels]))]
    }
}
