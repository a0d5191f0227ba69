//! Depthwise convolution: every channel is convolved with a window of its own. There is no matrix
//! product in it; channels are the vectors.
//!
//! A band of the source is first copied with its padding, so that no window crosses a border, and
//! with its channels filled up to whole vectors. The gradient of the input is a convolution too, of
//! the output's gradient with the window turned round; where windows move by several places, only some taps of a window see
//! a place of that gradient, and those of its neighbors at that distance.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{After, ConvolutionShape};
use crate::instructions::dispatch;
use crate::shared::SharedSlice;
use crate::vectors::{load, store};
use crate::workspace::Workspace;

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

/// How windows lie on the source, lines first.
#[derive(Clone, Copy)]
struct Layout {
    batch: usize,
    channels: usize,
    /// `channels` filled up to whole vectors.
    filled: usize,
    kernel: usize,
    vertical: Direction,
    horizontal: Direction,
}

/// How windows lie on the source in one direction: the tap `t` of the window at `at` sees the place `(at · step + t - before) /
/// spread`, and none where that is no whole number.
#[derive(Clone, Copy)]
struct Direction {
    kernel: usize,
    /// Places of the source.
    source: usize,
    /// Windows.
    destination: usize,
    /// Places between windows.
    step: usize,
    /// Windows between neighbors of the source.
    spread: usize,
    /// Places before the source's first; negative where it begins outside.
    before: isize,
}

impl Direction {
    fn forward(kernel: usize, source: usize, destination: usize, stride: usize, padding: usize) -> Self {
        Self { kernel, source, destination, step: stride, spread: 1, before: padding as isize }
    }

    /// That of the gradient, with the window turned around.
    fn turned(self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            step: self.spread,
            spread: self.step,
            before: self.kernel as isize - 1 - self.before,
            ..self
        }
    }

    /// The place that a tap of a window sees, rounded down.
    fn place(&self, at: usize, tap: usize) -> isize {
        ((at * self.step + tap) as isize - self.before).div_euclid(self.spread as isize)
    }

    /// The places that the windows of a range see, inside the source or not; `windows` must not be empty.
    fn seen(&self, windows: &Range<usize>) -> Range<isize> {
        self.place(windows.start, 0)..self.place(windows.end - 1, self.kernel - 1) + 1
    }

    /// The first tap of a window that sees a place, where there is one below `kernel`. Its other taps follow `spread` apart.
    fn first_tap(&self, at: usize) -> usize {
        (self.before - (at * self.step) as isize).rem_euclid(self.spread as isize) as usize
    }
}

impl Layout {
    fn forward(shape: &ConvolutionShape) -> Self {
        let (kernel, stride, output) = (shape.kernel, shape.stride, shape.output());
        Self {
            batch: shape.batch,
            channels: shape.inputs,
            filled: shape.inputs.next_multiple_of(LANES),
            kernel,
            vertical: Direction::forward(kernel, shape.input.0, output.0, stride, shape.vertical_padding.0),
            horizontal: Direction::forward(kernel, shape.input.1, output.1, stride, shape.horizontal_padding.0),
        }
    }

    fn backward(shape: &ConvolutionShape) -> Self {
        let forward = Self::forward(shape);
        Self { vertical: forward.vertical.turned(), horizontal: forward.horizontal.turned(), ..forward }
    }

    /// Columns of the source that any window sees, inside it or not.
    fn columns(&self) -> Range<isize> {
        self.horizontal.seen(&(0..self.horizontal.destination))
    }

    /// Columns of a padded copy. Not for inner loops: it divides.
    fn padded_width(&self) -> usize {
        self.columns().len()
    }

    /// Destination lines to a band.
    fn band(&self) -> usize {
        let Direction { step, spread, destination, .. } = self.vertical;
        let lines = (BAND / (self.padded_width() * self.filled).max(1)).saturating_sub(self.kernel);
        (lines * spread / step).clamp(1, destination.max(1))
    }

    fn bands(&self) -> usize {
        self.vertical.destination.div_ceil(self.band())
    }

    fn lines_of_band(&self, band: usize) -> Range<usize> {
        band * self.band()..self.vertical.destination.min((band + 1) * self.band())
    }

    /// The part of an image's source that the windows of `lines` see, with zeros for what lies outside.
    fn padded(&self, source: &[f32], image: usize, lines: &Range<usize>) -> Workspace {
        let (height, width) = (self.vertical.source, self.horizontal.source);
        let (seen, columns) = (self.vertical.seen(lines), self.columns());
        let image = &source[image * height * width * self.channels..][..height * width * self.channels];
        let mut padded = Workspace::new(seen.len() * columns.len() * self.filled);
        for (to, line) in padded.chunks_exact_mut((columns.len() * self.filled).max(1)).zip(seen) {
            match usize::try_from(line).ok().filter(|line| *line < height) {
                Some(line) => {
                    self.pad_line(&image[line * width * self.channels..][..width * self.channels], &columns, to)
                }
                None => to.fill(0.0),
            }
        }
        padded
    }

    /// Copies those `columns` of a line that are inside it, with their channels filled up, between zeros.
    fn pad_line(&self, line: &[f32], columns: &Range<isize>, to: &mut [f32]) {
        let width = self.horizontal.source as isize;
        let inside = columns.start.clamp(0, width)..columns.end.clamp(0, width);
        let at = |column: isize| (column - columns.start).clamp(0, columns.len() as isize) as usize * self.filled;
        let (start, end) = (at(inside.start), at(inside.end).max(at(inside.start)));
        to[..start].fill(0.0);
        to[end..].fill(0.0);
        let line = &line[inside.start as usize * self.channels..inside.end.max(inside.start) as usize * self.channels];
        fill_up(line, self.channels, self.filled, &mut to[start..end]);
    }
}

/// Copies pixels and fills their channels up with zeros.
fn fill_up(pixels: &[f32], channels: usize, filled: usize, to: &mut [f32]) {
    if channels == filled {
        return to.copy_from_slice(pixels);
    }
    for (to, from) in to.chunks_exact_mut(filled.max(1)).zip(pixels.chunks_exact(channels.max(1))) {
        to[..channels].copy_from_slice(from);
        to[channels..].fill(0.0);
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
        let line = layout.horizontal.destination * layout.channels;
        if line == 0 {
            return;
        }
        let bands = layout.bands();
        (0..layout.batch * bands).into_par_iter().for_each(|task| {
            let (image, lines) = (task / bands, layout.lines_of_band(task % bands));
            let at = (image * layout.vertical.destination + lines.start) * line;
            // SAFETY: every task has lines of its own.
            let out = unsafe { destination.part(at, lines.len() * line) };
            let padded = layout.padded(self.source, image, &lines);
            let width = layout.padded_width();
            dispatch(Band { sum: self, padded: &padded, width, lines, at, out });
        });
    }
}

/// A band of destination lines.
struct Band<'a> {
    sum: &'a WindowSum<'a>,
    padded: &'a [f32],
    /// Columns of the padded copy.
    width: usize,
    /// Its lines in the image.
    lines: Range<usize>,
    /// Where the band starts in the destination.
    at: usize,
    out: &'a mut [f32],
}

/// Neighboring windows whose taps see the source: `spread` apart, so that neighbors see places `step` apart.
#[derive(Clone, Copy)]
struct Neighbors {
    /// The line in the band.
    line: usize,
    /// Column of the first window.
    column: usize,
    /// The first tap of each that sees a place.
    first_tap: (usize, usize),
    /// What it sees, in the padded copy.
    place: (usize, usize),
}

impl WithSimd for Band<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let Layout { channels, vertical, horizontal, .. } = self.sum.layout;
        let (first_line, first_column) = (vertical.seen(&self.lines).start, self.sum.layout.columns().start);
        for (line, y) in self.lines.clone().enumerate() {
            let tap_y = vertical.first_tap(y);
            let place_y = (vertical.place(y, tap_y) - first_line) as usize;
            for channel in (0..channels).step_by(S::F32_LANES) {
                for column in 0..horizontal.spread.min(horizontal.destination) {
                    let tap_x = horizontal.first_tap(column);
                    let place_x = (horizontal.place(column, tap_x) - first_column) as usize;
                    let (first_tap, place) = ((tap_y, tap_x), (place_y, place_x));
                    self.windows(simd, Neighbors { line, column, first_tap, place }, channel);
                }
            }
        }
    }
}

impl Band<'_> {
    /// One vector of channels of every `spread`-th window of a line.
    #[inline(always)]
    fn windows<S: Simd>(&mut self, simd: S, mut neighbors: Neighbors, channel: usize) {
        let Direction { step, spread, destination, .. } = self.sum.layout.horizontal;
        while neighbors.column < destination {
            let count = match (destination - neighbors.column).div_ceil(spread) {
                PIXELS.. => self.pixels::<S, PIXELS>(simd, neighbors, channel),
                4.. => self.pixels::<S, 4>(simd, neighbors, channel),
                2.. => self.pixels::<S, 2>(simd, neighbors, channel),
                _ => self.pixels::<S, 1>(simd, neighbors, channel),
            };
            neighbors.column += count * spread;
            neighbors.place.1 += count * step;
        }
    }

    /// One vector of channels of `COUNT` neighbors; returns how many.
    #[inline(always)]
    fn pixels<S: Simd, const COUNT: usize>(&mut self, simd: S, neighbors: Neighbors, channel: usize) -> usize {
        let Self { sum, padded, width, .. } = *self;
        let Layout { filled, kernel, horizontal: Direction { step, spread, .. }, .. } = sum.layout;
        let Neighbors { first_tap, place, .. } = neighbors;
        let mut totals = [simd.splat_f32s(0.0); COUNT];
        let taps = kernel.saturating_sub(first_tap.1).div_ceil(spread);
        let lines = if taps > 0 { first_tap.0..kernel } else { 0..0 };
        for (turn_y, tap_y) in lines.step_by(spread).enumerate() {
            let first = ((place.0 + turn_y) * width + place.1) * filled + channel;
            let last = first + ((COUNT - 1) * step + taps - 1) * filled;
            assert!(last + S::F32_LANES <= padded.len() && channel + S::F32_LANES <= filled);
            for turn_x in 0..taps {
                let tap = tap_y * kernel + first_tap.1 + turn_x * spread;
                let weight = load(simd, &sum.weight[tap * filled + channel..][..S::F32_LANES]);
                for (pixel, total) in totals.iter_mut().enumerate() {
                    // SAFETY: no pixel and tap lies behind the last, which is inside by the assertion.
                    let value = unsafe {
                        padded.as_ptr().add(first + (pixel * step + turn_x) * filled).cast::<S::f32s>().read_unaligned()
                    };
                    *total = simd.mul_add_e_f32s(value, weight, *total);
                }
            }
        }
        self.finish(simd, totals, neighbors, channel);
        COUNT
    }

    #[inline(always)]
    fn finish<S: Simd, const COUNT: usize>(
        &mut self,
        simd: S,
        totals: [S::f32s; COUNT],
        Neighbors { line, column, .. }: Neighbors,
        channel: usize,
    ) {
        let (after, channels) = (self.sum.after, self.sum.layout.channels);
        let Direction { destination, spread, .. } = self.sum.layout.horizontal;
        let count = S::F32_LANES.min(channels - channel);
        for (pixel, mut total) in totals.into_iter().enumerate() {
            let at = (line * destination + column + pixel * spread) * channels + channel;
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
    let size = shape.window() * layout.filled;
    if shape.output_len() == 0 {
        return;
    }
    let mut of_images = vec![0.0; shape.batch * size];
    of_images.par_chunks_mut(size).enumerate().for_each(|(image, sums)| {
        for band in 0..layout.bands() {
            let lines = layout.lines_of_band(band);
            let padded = layout.padded(x, image, &lines);
            let gradient = filled_up(&layout, gradient, image, &lines);
            let lines = lines.len();
            let width = layout.padded_width();
            dispatch(TapSums { layout, padded: &padded, width, gradient: &gradient, lines, sums });
        }
    });
    for sums in of_images.chunks_exact(size) {
        for (tap, sums) in sums.chunks_exact(layout.filled).enumerate() {
            for (channel, sum) in sums.iter().enumerate().take(layout.channels) {
                dw[channel * shape.window() + tap] += sum;
            }
        }
    }
}

/// Lines of an image's gradient with the channels filled up to whole vectors.
fn filled_up(layout: &Layout, gradient: &[f32], image: usize, lines: &Range<usize>) -> Workspace {
    let Layout { channels, filled, .. } = *layout;
    let (height, width) = (layout.vertical.destination, layout.horizontal.destination);
    let from = &gradient[(image * height + lines.start) * width * channels..][..lines.len() * width * channels];
    let mut copy = Workspace::new(lines.len() * width * filled);
    fill_up(from, channels, filled, &mut copy);
    copy
}

/// Adds a band's part to the sums of an image, `[window, channels filled up]`.
struct TapSums<'a> {
    layout: Layout,
    padded: &'a [f32],
    /// Columns of the padded copy.
    width: usize,
    gradient: &'a [f32],
    lines: usize,
    sums: &'a mut [f32],
}

impl WithSimd for TapSums<'_> {
    type Output = ();

    /// Line by line, so that what several taps and vectors of channels read is still in the first-level cache.
    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        for line in 0..self.lines {
            for channel in (0..self.layout.channels).step_by(S::F32_LANES) {
                match self.layout.kernel {
                    3 => self.window::<S, 3, 3>(simd, line, channel),
                    5 if S::REGISTER_COUNT >= 32 => self.window::<S, 5, 5>(simd, line, channel),
                    5 => self.window::<S, 1, 5>(simd, line, channel),
                    7 => self.window::<S, 1, 7>(simd, line, channel),
                    _ => self.window::<S, 1, 1>(simd, line, channel),
                }
            }
        }
    }
}

impl TapSums<'_> {
    /// One vector of channels of a line, `ROWS` × `TAPS` neighboring taps at a time.
    #[inline(always)]
    fn window<S: Simd, const ROWS: usize, const TAPS: usize>(&mut self, simd: S, line: usize, channel: usize) {
        let Layout { kernel, filled, .. } = self.layout;
        for tap_y in (0..kernel).step_by(ROWS) {
            for tap_x in (0..kernel).step_by(TAPS) {
                let at = |row: usize, tap: usize| ((tap_y + row) * kernel + tap_x + tap) * filled + channel;
                let mut totals = [[simd.splat_f32s(0.0); TAPS]; ROWS];
                for (row, totals) in totals.iter_mut().enumerate() {
                    for (tap, total) in totals.iter_mut().enumerate() {
                        *total = load(simd, &self.sums[at(row, tap)..][..S::F32_LANES]);
                    }
                }
                self.add_line(simd, line, (tap_y, tap_x), channel, &mut totals);
                for (row, totals) in totals.into_iter().enumerate() {
                    for (tap, total) in totals.into_iter().enumerate() {
                        store(simd, &mut self.sums[at(row, tap)..][..S::F32_LANES], total);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn add_line<S: Simd, const ROWS: usize, const TAPS: usize>(
        &self,
        simd: S,
        line: usize,
        (tap_y, tap_x): (usize, usize),
        channel: usize,
        totals: &mut [[S::f32s; TAPS]; ROWS],
    ) {
        let Layout { filled, vertical, horizontal: Direction { step, destination: width, .. }, .. } = self.layout;
        let line_len = self.width * filled;
        let source = (line * vertical.step + tap_y) * line_len + tap_x * filled + channel;
        let gradient = line * width * filled + channel;
        let last = width - 1;
        assert!(source + (ROWS - 1) * line_len + (last * step + TAPS - 1) * filled + S::F32_LANES <= self.padded.len());
        assert!(gradient + last * filled + S::F32_LANES <= self.gradient.len());
        for x in 0..width {
            // SAFETY: no pixel and tap lies behind the last, which is inside by the assertions.
            unsafe {
                let gradient = self.gradient.as_ptr().add(gradient + x * filled).cast::<S::f32s>().read_unaligned();
                let source = self.padded.as_ptr().add(source + x * step * filled);
                for (row, totals) in totals.iter_mut().enumerate() {
                    for (tap, total) in totals.iter_mut().enumerate() {
                        let value = source.add(row * line_len + tap * filled).cast::<S::f32s>().read_unaligned();
                        *total = simd.mul_add_e_f32s(value, gradient, *total);
                    }
                }
            }
        }
    }
}
