//! Depthwise convolution: every channel is convolved with a window of its own. There is no matrix
//! product in it; channels are the vectors.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{After, ConvolutionShape};
use crate::product::Axis;
use crate::shared::SharedSlice;
use crate::vectors::{load, store};

/// Neighbouring pixels that are computed together, so that a weight is read once for all of them.
const PIXELS: usize = 4;

pub(super) fn forward(shape: &ConvolutionShape, x: &[f32], weight: &[f32], after: After, y: &SharedSlice) {
    let weight = by_tap(shape, weight, after.scale);
    let (vertical, horizontal) = shape.forward_axes();
    let source_size = shape.input;
    WindowSum { shape, source: x, source_size, vertical, horizontal, weight, after }.run(y);
}

pub(super) fn input_gradient(
    shape: &ConvolutionShape,
    gradient: &[f32],
    weight: &[f32],
    scale: Option<&[f32]>,
    dx: &SharedSlice,
) {
    let weight = by_tap(shape, weight, scale);
    let (vertical, horizontal) = shape.backward_axes();
    let (source_size, after) = (shape.output(), After::default());
    WindowSum { shape, source: gradient, source_size, vertical, horizontal, weight, after }.run(dx);
}

/// `[channels, window]` to `[window, channels]`, times the scale.
fn by_tap(shape: &ConvolutionShape, weight: &[f32], scale: Option<&[f32]>) -> Vec<f32> {
    let (window, channels) = (shape.window(), shape.inputs);
    let mut arranged = vec![0.0; weight.len()];
    for (channel, taps) in weight.chunks_exact(window).enumerate() {
        let factor = scale.map_or(1.0, |scale| scale[channel]);
        for (tap, value) in taps.iter().enumerate() {
            arranged[tap * channels + channel] = value * factor;
        }
    }
    arranged
}

/// Positions of a line at which every tap of the window reads a source.
fn inner(axis: &Axis, taps: usize) -> Range<usize> {
    let is_inner = |at: &usize| (0..taps).all(|tap| axis.source(tap, *at) >= 0);
    match (0..axis.length()).find(is_inner) {
        Some(start) => start..(start..axis.length()).find(|at| !is_inner(at)).unwrap_or(axis.length()),
        None => 0..0,
    }
}

/// Each destination pixel is the sum over the taps of a source pixel times the tap's weights.
struct WindowSum<'a> {
    shape: &'a ConvolutionShape,
    source: &'a [f32],
    source_size: (usize, usize),
    vertical: Axis,
    horizontal: Axis,
    weight: Vec<f32>,
    after: After<'a>,
}

impl WindowSum<'_> {
    fn run(&self, destination: &SharedSlice) {
        let line = self.horizontal.length() * self.shape.inputs;
        let height = self.vertical.length();
        (0..self.shape.batch * height).into_par_iter().for_each(|index| {
            // SAFETY: every task has a line of its own.
            let out = unsafe { destination.part(index * line, line) };
            Arch::new().dispatch(Line { sum: self, image: index / height, y: index % height, at: index * line, out });
        });
    }
}

/// One line of destination pixels.
struct Line<'a> {
    sum: &'a WindowSum<'a>,
    image: usize,
    y: usize,
    /// Where the line starts in the destination.
    at: usize,
    out: &'a mut [f32],
}

impl WithSimd for Line<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let channels = self.sum.shape.inputs;
        let width = self.sum.horizontal.length();
        let whole = inner(&self.sum.horizontal, self.sum.shape.kernel);
        for channel in (0..channels).step_by(S::F32_LANES) {
            let count = S::F32_LANES.min(channels - channel);
            let mut x = 0;
            while x < width {
                if whole.contains(&x) && x + PIXELS <= whole.end {
                    self.pixels::<S, PIXELS>(simd, x, channel, count);
                    x += PIXELS;
                } else {
                    self.pixels::<S, 1>(simd, x, channel, count);
                    x += 1;
                }
            }
        }
    }
}

impl Line<'_> {
    #[inline(always)]
    fn pixels<S: Simd, const COUNT: usize>(&mut self, simd: S, x: usize, channel: usize, count: usize) {
        let sum = self.sum;
        let (channels, kernel) = (sum.shape.inputs, sum.shape.kernel);
        let mut totals = [simd.splat_f32s(0.0); COUNT];
        for tap_y in 0..kernel {
            let source_y = sum.vertical.source(tap_y, self.y);
            if source_y < 0 {
                continue;
            }
            let line = (self.image * sum.source_size.0 + source_y as usize) * sum.source_size.1;
            for tap_x in 0..kernel {
                let weight = load(simd, &sum.weight[(tap_y * kernel + tap_x) * channels + channel..][..count]);
                for (pixel, total) in totals.iter_mut().enumerate() {
                    let source_x = sum.horizontal.source(tap_x, x + pixel);
                    if source_x >= 0 {
                        let from = (line + source_x as usize) * channels + channel;
                        let value = load(simd, &sum.source[from..from + count]);
                        *total = simd.mul_add_e_f32s(value, weight, *total);
                    }
                }
            }
        }
        for (pixel, mut total) in totals.into_iter().enumerate() {
            let at = (x + pixel) * channels + channel;
            if let Some(shift) = sum.after.shift {
                total = simd.add_f32s(total, load(simd, &shift[channel..channel + count]));
            }
            if let Some(residual) = sum.after.residual {
                total = simd.add_f32s(total, load(simd, &residual[self.at + at..][..count]));
            }
            if let Some((low, high)) = sum.after.limits {
                total = simd.min_f32s(simd.max_f32s(total, simd.splat_f32s(low)), simd.splat_f32s(high));
            }
            store(simd, &mut self.out[at..at + count], total);
        }
    }
}

/// The gradient of a depthwise weight: for each tap and channel, the sum over all pixels of source
/// times gradient.
pub(super) fn weight_gradient(shape: &ConvolutionShape, x: &[f32], gradient: &[f32], dw: &mut [f32]) {
    let (vertical, horizontal) = shape.forward_axes();
    let shared = SharedSlice::new(dw);
    // A cache line of channels each, so that the threads do not read each other's lines.
    let blocks = shape.inputs.div_ceil(16);
    (0..blocks).into_par_iter().for_each(|block| {
        let channels = block * 16..shape.inputs.min(block * 16 + 16);
        let start = channels.start * shape.window();
        // SAFETY: every task has channels of its own.
        let dw = unsafe { shared.part(start, channels.len() * shape.window()) };
        let axes = (&vertical, &horizontal);
        Arch::new().dispatch(ChannelGradient { shape, x, gradient, axes, channels, dw });
    });
}

struct ChannelGradient<'a> {
    shape: &'a ConvolutionShape,
    x: &'a [f32],
    gradient: &'a [f32],
    axes: (&'a Axis, &'a Axis),
    channels: Range<usize>,
    dw: &'a mut [f32],
}

impl WithSimd for ChannelGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        for first in self.channels.clone().step_by(S::F32_LANES) {
            let count = S::F32_LANES.min(self.channels.end - first);
            match self.shape.kernel {
                3 => self.channels::<S, 3>(simd, first, count),
                5 => self.channels::<S, 5>(simd, first, count),
                7 => self.channels::<S, 7>(simd, first, count),
                _ => self.channels::<S, 1>(simd, first, count),
            }
        }
    }
}

impl ChannelGradient<'_> {
    /// Sums `TAPS` neighbouring taps of a line at a time.
    #[inline(always)]
    fn channels<S: Simd, const TAPS: usize>(&mut self, simd: S, first: usize, count: usize) {
        let kernel = self.shape.kernel;
        for tap_y in 0..kernel {
            for tap_x in (0..kernel).step_by(TAPS) {
                let mut totals = [simd.splat_f32s(0.0); TAPS];
                self.sum_taps(simd, (tap_y, tap_x), (first, count), &mut totals);
                for (offset, total) in totals.into_iter().enumerate() {
                    let mut values = [0.0; 64];
                    store(simd, &mut values[..S::F32_LANES], total);
                    for (channel, value) in values.iter().enumerate().take(count) {
                        let row = (first - self.channels.start + channel) * kernel * kernel;
                        self.dw[row + tap_y * kernel + tap_x + offset] = *value;
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn sum_taps<S: Simd, const TAPS: usize>(
        &self,
        simd: S,
        (tap_y, tap_x): (usize, usize),
        (first, count): (usize, usize),
        totals: &mut [S::f32s; TAPS],
    ) {
        let (vertical, horizontal) = self.axes;
        let channels = self.shape.inputs;
        let (out_height, out_width) = self.shape.output();
        let whole = inner(horizontal, self.shape.kernel);
        for image in 0..self.shape.batch {
            for y in 0..out_height {
                let source_y = vertical.source(tap_y, y);
                if source_y < 0 {
                    continue;
                }
                let source_line = (image * self.shape.input.0 + source_y as usize) * self.shape.input.1;
                let line = (image * out_height + y) * out_width;
                for x in 0..out_width {
                    let from = (line + x) * channels + first;
                    let gradient = load(simd, &self.gradient[from..from + count]);
                    let is_whole = whole.contains(&x);
                    for (offset, total) in totals.iter_mut().enumerate() {
                        let source_x = horizontal.source(tap_x + offset, x);
                        if is_whole || source_x >= 0 {
                            let from = (source_line + source_x as usize) * channels + first;
                            let value = load(simd, &self.x[from..from + count]);
                            *total = simd.mul_add_e_f32s(value, gradient, *total);
                        }
                    }
                }
            }
        }
    }
}
