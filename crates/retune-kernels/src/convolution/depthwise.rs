//! Depthwise convolution: every channel is convolved with a window of its own. There is no matrix
//! product in it; channels are the vectors.
//!
//! A band of the source is first copied with its padding, so that no window crosses a border, and
//! with its channels filled up to whole vectors. The gradient of the input is a convolution too, of
//! the output's gradient with the window turned round.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{After, ConvolutionShape};
use crate::instructions::dispatch;
use crate::shared::SharedSlice;
use crate::vectors::{load, store};

/// Neighboring pixels that are computed together, so that a weight is read once for all of them.
const PIXELS: usize = 8;
/// Values of a band's copy: half of what a second-level cache usually holds.
const BAND: usize = 1 << 16;
/// Channels are filled up to a multiple of this, a whole vector of any instruction set.
const LANES: usize = 16;

pub(super) fn forward(shape: &ConvolutionShape, x: &[f32], weight: &[f32], after: After, y: &SharedSlice) {
    let weight = by_tap(shape, weight, after.scale, |tap| tap);
    WindowSum { layout: Layout::forward(shape), source: x, weight, after }.run(y);
}

pub(super) fn input_gradient(
    shape: &ConvolutionShape,
    gradient: &[f32],
    weight: &[f32],
    scale: Option<&[f32]>,
    dx: &SharedSlice,
) {
    let turned = |tap: usize| shape.window() - 1 - tap;
    let weight = by_tap(shape, weight, scale, turned);
    WindowSum { layout: Layout::backward(shape), source: gradient, weight, after: After::default() }.run(dx);
}

/// `[channels, window]` to `[window, channels filled up]`, times the scale; tap `t` goes to `to(t)`.
fn by_tap(shape: &ConvolutionShape, weight: &[f32], scale: Option<&[f32]>, to: impl Fn(usize) -> usize) -> Vec<f32> {
    let (window, filled) = (shape.window(), shape.inputs.next_multiple_of(LANES));
    let mut arranged = vec![0.0; window * filled];
    for (channel, taps) in weight.chunks_exact(window).enumerate() {
        let factor = scale.map_or(1.0, |scale| scale[channel]);
        for (tap, value) in taps.iter().enumerate() {
            arranged[to(tap) * filled + channel] = value * factor;
        }
    }
    arranged
}

/// How windows lie on the padded source.
#[derive(Clone, Copy)]
struct Layout {
    batch: usize,
    channels: usize,
    /// `channels` filled up to whole vectors.
    filled: usize,
    kernel: usize,
    /// Lines and columns of the source.
    source: (usize, usize),
    /// Lines and columns of the destination.
    destination: (usize, usize),
    /// Places between windows.
    step: usize,
    /// Places between neighbors of the source.
    spread: usize,
    /// Places above and left of the source's first; negative where it begins outside.
    before: (isize, isize),
}

impl Layout {
    fn forward(shape: &ConvolutionShape) -> Self {
        Self {
            batch: shape.batch,
            channels: shape.inputs,
            filled: shape.inputs.next_multiple_of(LANES),
            kernel: shape.kernel,
            source: shape.input,
            destination: shape.output(),
            step: shape.stride,
            spread: 1,
            before: (shape.vertical_padding.0 as isize, shape.horizontal_padding.0 as isize),
        }
    }

    fn backward(shape: &ConvolutionShape) -> Self {
        let before = |padding: usize| shape.kernel as isize - 1 - padding as isize;
        Self {
            source: shape.output(),
            destination: shape.input,
            step: 1,
            spread: shape.stride,
            before: (before(shape.vertical_padding.0), before(shape.horizontal_padding.0)),
            ..Self::forward(shape)
        }
    }

    /// Columns of the padded source that any window reads.
    fn padded_width(&self) -> usize {
        (self.destination.1.max(1) - 1) * self.step + self.kernel
    }

    /// Destination lines to a band.
    fn band(&self) -> usize {
        let line = self.padded_width() * self.filled * self.step;
        (BAND / line.max(1)).saturating_sub(self.kernel).clamp(1, self.destination.0.max(1))
    }

    fn bands(&self) -> usize {
        self.destination.0.div_ceil(self.band())
    }

    fn lines_of_band(&self, band: usize) -> Range<usize> {
        band * self.band()..self.destination.0.min((band + 1) * self.band())
    }

    /// The part of an image's padded source that the windows of `lines` read.
    fn padded(&self, source: &[f32], image: usize, lines: &Range<usize>) -> Vec<f32> {
        let (width, filled, channels) = (self.padded_width(), self.filled, self.channels);
        let height = (lines.len() - 1) * self.step + self.kernel;
        let mut padded = vec![0.0; height * width * filled];
        let place = |at: usize, before: isize, first: usize, length: usize| {
            let place = (at * self.spread) as isize + before - first as isize;
            usize::try_from(place).ok().filter(|place| *place < length)
        };
        let image = &source[image * self.source.0 * self.source.1 * channels..];
        for y in 0..self.source.0 {
            let Some(to_y) = place(y, self.before.0, lines.start * self.step, height) else { continue };
            for x in 0..self.source.1 {
                let Some(to_x) = place(x, self.before.1, 0, width) else { continue };
                let from = (y * self.source.1 + x) * channels;
                padded[(to_y * width + to_x) * filled..][..channels].copy_from_slice(&image[from..from + channels]);
            }
        }
        padded
    }
}

/// Each destination pixel is the sum over the taps of a source pixel times the tap's weights.
struct WindowSum<'a> {
    layout: Layout,
    source: &'a [f32],
    weight: Vec<f32>,
    after: After<'a>,
}

impl WindowSum<'_> {
    fn run(&self, destination: &SharedSlice) {
        let layout = &self.layout;
        let line = layout.destination.1 * layout.channels;
        let bands = layout.bands();
        (0..layout.batch * bands).into_par_iter().for_each(|task| {
            let (image, lines) = (task / bands, layout.lines_of_band(task % bands));
            let at = (image * layout.destination.0 + lines.start) * line;
            // SAFETY: every task has lines of its own.
            let out = unsafe { destination.part(at, lines.len() * line) };
            let padded = layout.padded(self.source, image, &lines);
            dispatch(Band { sum: self, padded: &padded, at, out });
        });
    }
}

/// A band of destination lines.
struct Band<'a> {
    sum: &'a WindowSum<'a>,
    padded: &'a [f32],
    /// Where the band starts in the destination.
    at: usize,
    out: &'a mut [f32],
}

impl WithSimd for Band<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let layout = &self.sum.layout;
        let (width, channels) = (layout.destination.1, layout.channels);
        for line in 0..self.out.len() / (width * channels).max(1) {
            for channel in (0..channels).step_by(S::F32_LANES) {
                let mut x = 0;
                while x < width {
                    x += match width - x {
                        PIXELS.. => self.pixels::<S, PIXELS>(simd, line, x, channel),
                        4.. => self.pixels::<S, 4>(simd, line, x, channel),
                        _ => self.pixels::<S, 1>(simd, line, x, channel),
                    };
                }
            }
        }
    }
}

impl Band<'_> {
    /// One vector of channels of `COUNT` neighboring pixels; returns how many.
    #[inline(always)]
    fn pixels<S: Simd, const COUNT: usize>(&mut self, simd: S, line: usize, x: usize, channel: usize) -> usize {
        let Self { sum, padded, .. } = *self;
        let Layout { filled, kernel, step, .. } = sum.layout;
        let width = sum.layout.padded_width();
        let mut totals = [simd.splat_f32s(0.0); COUNT];
        for tap_y in 0..kernel {
            let first = ((line * step + tap_y) * width + x * step) * filled + channel;
            let last = first + ((COUNT - 1) * step + kernel - 1) * filled;
            assert!(last + S::F32_LANES <= padded.len() && channel + S::F32_LANES <= filled);
            for tap_x in 0..kernel {
                let weight = load(simd, &sum.weight[(tap_y * kernel + tap_x) * filled + channel..][..S::F32_LANES]);
                for (pixel, total) in totals.iter_mut().enumerate() {
                    // SAFETY: no pixel and tap lies behind the last, which is inside by the assertion.
                    let value = unsafe {
                        padded.as_ptr().add(first + (pixel * step + tap_x) * filled).cast::<S::f32s>().read_unaligned()
                    };
                    *total = simd.mul_add_e_f32s(value, weight, *total);
                }
            }
        }
        self.finish(simd, totals, (line, x, channel));
        COUNT
    }

    #[inline(always)]
    fn finish<S: Simd, const COUNT: usize>(
        &mut self,
        simd: S,
        totals: [S::f32s; COUNT],
        (line, x, channel): (usize, usize, usize),
    ) {
        let (after, channels) = (self.sum.after, self.sum.layout.channels);
        let count = S::F32_LANES.min(channels - channel);
        for (pixel, mut total) in totals.into_iter().enumerate() {
            let at = (line * self.sum.layout.destination.1 + x + pixel) * channels + channel;
            if let Some(shift) = after.shift {
                total = simd.add_f32s(total, load(simd, &shift[channel..channel + count]));
            }
            if let Some(residual) = after.residual {
                total = simd.add_f32s(total, load(simd, &residual[self.at + at..][..count]));
            }
            if let Some((low, high)) = after.limits {
                total = simd.min_f32s(simd.max_f32s(total, simd.splat_f32s(low)), simd.splat_f32s(high));
            }
            store(simd, &mut self.out[at..at + count], total);
        }
    }
}

/// The gradient of a depthwise weight: for each tap and channel, the sum over all pixels of source
/// times gradient; image by image, so that the order of the sums does not depend on the threads.
pub(super) fn weight_gradient(shape: &ConvolutionShape, x: &[f32], gradient: &[f32], dw: &mut [f32]) {
    let layout = Layout::forward(shape);
    let size = (shape.window() * layout.filled).max(1);
    let mut of_images = vec![0.0; shape.batch * size];
    of_images.par_chunks_mut(size).enumerate().for_each(|(image, sums)| {
        for band in 0..layout.bands() {
            let lines = layout.lines_of_band(band);
            let padded = layout.padded(x, image, &lines);
            let gradient = filled_up(&layout, gradient, image, &lines);
            let lines = lines.len();
            dispatch(TapSums { layout, padded: &padded, gradient: &gradient, lines, sums });
        }
    });
    for sums in of_images.chunks_exact(size) {
        for (tap, sums) in sums.chunks_exact(layout.filled.max(1)).enumerate() {
            for (channel, sum) in sums.iter().enumerate().take(layout.channels) {
                dw[channel * shape.window() + tap] += sum;
            }
        }
    }
}

/// Lines of an image's gradient with the channels filled up to whole vectors.
fn filled_up(layout: &Layout, gradient: &[f32], image: usize, lines: &Range<usize>) -> Vec<f32> {
    let Layout { channels, filled, destination: (height, width), .. } = *layout;
    let from = &gradient[(image * height + lines.start) * width * channels..][..lines.len() * width * channels];
    let mut copy = vec![0.0; lines.len() * width * filled];
    for (to, from) in copy.chunks_exact_mut(filled.max(1)).zip(from.chunks_exact(channels.max(1))) {
        to[..channels].copy_from_slice(from);
    }
    copy
}

/// Adds a band's part to the sums of an image, `[window, channels filled up]`.
struct TapSums<'a> {
    layout: Layout,
    padded: &'a [f32],
    gradient: &'a [f32],
    lines: usize,
    sums: &'a mut [f32],
}

impl WithSimd for TapSums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        for channel in (0..self.layout.channels).step_by(S::F32_LANES) {
            match self.layout.kernel {
                3 => self.window::<S, 3>(simd, channel),
                5 => self.window::<S, 5>(simd, channel),
                7 => self.window::<S, 7>(simd, channel),
                _ => self.window::<S, 1>(simd, channel),
            }
        }
    }
}

impl TapSums<'_> {
    /// One vector of channels, `TAPS` neighboring taps at a time.
    #[inline(always)]
    fn window<S: Simd, const TAPS: usize>(&mut self, simd: S, channel: usize) {
        let Layout { kernel, filled, .. } = self.layout;
        for tap_y in 0..kernel {
            for tap_x in (0..kernel).step_by(TAPS) {
                let mut totals = [simd.splat_f32s(0.0); TAPS];
                for line in 0..self.lines {
                    self.add_line(simd, line, (tap_y, tap_x), channel, &mut totals);
                }
                for (offset, total) in totals.into_iter().enumerate() {
                    let at = (tap_y * kernel + tap_x + offset) * filled + channel;
                    let sum = &mut self.sums[at..at + S::F32_LANES];
                    let total = simd.add_f32s(total, load(simd, sum));
                    store(simd, sum, total);
                }
            }
        }
    }

    #[inline(always)]
    fn add_line<S: Simd, const TAPS: usize>(
        &self,
        simd: S,
        line: usize,
        (tap_y, tap_x): (usize, usize),
        channel: usize,
        totals: &mut [S::f32s; TAPS],
    ) {
        let Layout { filled, step, destination: (_, width), .. } = self.layout;
        let source = ((line * step + tap_y) * self.layout.padded_width() + tap_x) * filled + channel;
        let gradient = line * width * filled + channel;
        let last = width.max(1) - 1;
        assert!(source + (last * step + TAPS - 1) * filled + S::F32_LANES <= self.padded.len());
        assert!(gradient + last * filled + S::F32_LANES <= self.gradient.len());
        for x in 0..width {
            // SAFETY: no pixel and tap lies behind the last, which is inside by the assertions.
            unsafe {
                let gradient = self.gradient.as_ptr().add(gradient + x * filled).cast::<S::f32s>().read_unaligned();
                let source = self.padded.as_ptr().add(source + x * step * filled);
                for (offset, total) in totals.iter_mut().enumerate() {
                    let value = source.add(offset * filled).cast::<S::f32s>().read_unaligned();
                    *total = simd.mul_add_e_f32s(value, gradient, *total);
                }
            }
        }
    }
}
