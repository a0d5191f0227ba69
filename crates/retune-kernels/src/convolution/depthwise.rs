//! Depthwise convolution: every channel is convolved with a window of its own. There is no matrix
//! product in it; channels are the vectors.
//!
//! Lines of the source are copied with their padding, so that no window crosses a border. The copy is divided into strips of channels:
//! neighboring pixels of a strip lie side by side, at distances that the compiler knows. It keeps no more lines than a window
//! has.
//!
//! The gradient of the input is a convolution too, of the output's gradient with the window turned around. Where windows move by
//! several places, only some taps of a window see a place of that gradient, and those of its neighbors at that distance.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::{After, ConvolutionShape};
use crate::instructions::dispatch;
use crate::shared::SharedSlice;
use crate::vectors::{load, store};
use crate::workspace::Workspace;

/// Neighboring windows that are computed together, so that a weight is read once for all of them.
const TOGETHER: usize = 8;
/// The same on lines that have fewer.
const FEWER_TOGETHER: usize = 4;
/// Channels of a strip: a cache line, and whole vectors of any instruction set.
const STRIP: usize = 16;
/// Most lines of windows that one task computes. The lines that several tasks see are copied by each.
const LINES_OF_BAND: usize = 32;
/// Values that a task copies of the source at a time: half of what a second-level cache usually holds.
const COPY: usize = 1 << 16;

pub(super) fn forward(shape: &ConvolutionShape, x: &[f32], weight: &[f32], after: After, y: &SharedSlice) {
    let weight = by_strip(shape, weight, after.scale, |tap| tap);
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
    let weight = by_strip(shape, weight, scale, turned);
    WindowSum { layout: Layout::backward(shape), source: gradient, weight, after: After::default() }.run(dx);
}

/// `[channels, window]` to `[strips, window, STRIP]`, times the scale; tap `t` goes to `to(t)`. Channels past the last are zeros.
fn by_strip(shape: &ConvolutionShape, weight: &[f32], scale: Option<&[f32]>, to: impl Fn(usize) -> usize) -> Vec<f32> {
    let window = shape.window();
    let mut arranged = vec![0.0; shape.inputs.next_multiple_of(STRIP) * window];
    for (channel, taps) in weight.chunks_exact(window).enumerate() {
        let factor = scale.map_or(1.0, |scale| scale[channel]);
        let strip = channel / STRIP * window * STRIP + channel % STRIP;
        for (tap, value) in taps.iter().enumerate() {
            arranged[strip + to(tap) * STRIP] = value * factor;
        }
    }
    arranged
}

/// How windows lie on the source, lines first.
#[derive(Clone, Copy)]
struct Layout {
    batch: usize,
    channels: usize,
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

    /// The places that any window sees, inside the source or not; there must be windows.
    fn seen(&self) -> Range<isize> {
        self.place(0, 0)..self.place(self.destination - 1, self.kernel - 1) + 1
    }

    /// The first tap of a window that sees a place, where there is one below `kernel`. Its other taps follow `spread` apart.
    fn first_tap(&self, at: usize) -> usize {
        (self.before - (at * self.step) as isize).rem_euclid(self.spread as isize) as usize
    }

    /// How many taps from the first on see a place.
    fn taps_from(&self, first: usize) -> usize {
        self.kernel.saturating_sub(first).div_ceil(self.spread)
    }
}

impl Layout {
    fn forward(shape: &ConvolutionShape) -> Self {
        let (kernel, stride, output) = (shape.kernel, shape.stride, shape.output());
        Self {
            batch: shape.batch,
            channels: shape.inputs,
            kernel,
            vertical: Direction::forward(kernel, shape.input.0, output.0, stride, shape.vertical_padding.0),
            horizontal: Direction::forward(kernel, shape.input.1, output.1, stride, shape.horizontal_padding.0),
        }
    }

    fn backward(shape: &ConvolutionShape) -> Self {
        let forward = Self::forward(shape);
        Self { vertical: forward.vertical.turned(), horizontal: forward.horizontal.turned(), ..forward }
    }

    fn window(&self) -> usize {
        self.kernel * self.kernel
    }

    fn strips(&self) -> usize {
        self.channels.div_ceil(STRIP)
    }

    /// The tasks that compute the windows' lines, in `bands` parts: for each its image, its band, and its strips. There are
    /// enough for all threads, and copies of several strips stay in the cache.
    fn tasks(&self, bands: usize) -> impl IndexedParallelIterator<Item = (usize, usize, Range<usize>)> {
        let strips = self.strips();
        let of_strip = self.kernel * self.horizontal.seen().len() * STRIP;
        let few_enough = strips.div_ceil((COPY / of_strip.max(1)).max(1));
        let for_threads = (4 * rayon::current_num_threads()).div_ceil(self.batch * bands);
        let parts = for_threads.max(few_enough).clamp(1, strips);
        (0..self.batch * bands * parts).into_par_iter().map(move |task| {
            let (image, band, part) = (task / parts / bands, task / parts % bands, task % parts);
            (image, band, share(part, parts, strips))
        })
    }

    /// The values of an image of a source or destination.
    fn image<'a>(&self, values: &'a [f32], image: usize, (height, width): (usize, usize)) -> &'a [f32] {
        let len = height * width * self.channels;
        &values[image * len..][..len]
    }

    /// The rows of a line: every `spread`-th window, starting from each of the first `spread`.
    fn rows(&self) -> Vec<Row> {
        let across = self.horizontal;
        let row = |first| {
            let tap = across.first_tap(first);
            Row {
                first,
                count: (across.destination - first).div_ceil(across.spread),
                tap,
                taps: across.taps_from(tap),
                column: (across.place(first, tap) - across.seen().start) as usize,
            }
        };
        (0..across.spread.min(across.destination)).map(row).collect()
    }

    /// The lines that a line of windows sees.
    #[inline(always)]
    fn seen(&self, y: usize, source: &Lines) -> impl Iterator<Item = Seen> {
        let Layout { kernel, vertical, .. } = *self;
        let tap = vertical.first_tap(y);
        let first = vertical.place(y, tap);
        (0..vertical.taps_from(tap)).map(move |turn| Seen {
            place: source.place(first + turn as isize),
            tap: (tap + turn * vertical.spread) * kernel,
        })
    }

    /// The lines of an image's source.
    fn source_lines<'a>(&self, source: &'a [f32], image: usize, strips: Range<usize>) -> Lines<'a> {
        let (height, width) = (self.vertical.source, self.horizontal.source);
        let image = self.image(source, image, (height, width));
        Lines::new(image, (height, width), self.channels, strips, self.horizontal.seen(), self.kernel)
    }
}

/// The part of a number that falls to one of several.
fn share(index: usize, count: usize, of: usize) -> Range<usize> {
    index * of / count..(index + 1) * of / count
}

/// Copies of the last lines of an image that were read, `[strips, lines, columns, STRIP]`.
struct Lines<'a> {
    image: &'a [f32],
    height: usize,
    width: usize,
    channels: usize,
    strips: Range<usize>,
    /// Of the copies, inside the image or not.
    columns: Range<isize>,
    /// How many lines are kept.
    kept: usize,
    /// The line that is read next.
    next: isize,
    values: Workspace,
    /// Where the copies begin: at a cache line.
    start: usize,
}

impl<'a> Lines<'a> {
    fn new(
        image: &'a [f32],
        (height, width): (usize, usize),
        channels: usize,
        strips: Range<usize>,
        columns: Range<isize>,
        kept: usize,
    ) -> Self {
        let values = Workspace::new((strips.len() * kept * columns.len() + 1) * STRIP);
        let start = values.as_ptr().align_offset(STRIP * size_of::<f32>()).min(STRIP);
        Self { image, height, width, channels, strips, columns, kept, next: isize::MIN, values, start }
    }

    /// Where the copy of a line begins in each strip. Not for inner loops: it divides.
    #[inline(always)]
    fn place(&self, line: isize) -> usize {
        line.rem_euclid(self.kept as isize) as usize * self.columns.len() * STRIP
    }

    /// The copies of a strip, the strips being counted from the first of these.
    #[inline(always)]
    fn strip(&self, strip: usize) -> &[f32] {
        let len = self.kept * self.columns.len() * STRIP;
        &self.values[self.start + strip * len..][..len]
    }

    /// Reads lines up to `last`. Then the last `kept` lines are there.
    #[inline(always)]
    fn read_to(&mut self, last: isize) {
        for line in self.next.max(last + 1 - self.kept as isize)..last + 1 {
            self.read(line);
        }
        self.next = self.next.max(last + 1);
    }

    #[inline(always)]
    fn read(&mut self, line: isize) {
        let row = self.width * self.channels;
        let from = match usize::try_from(line).ok().filter(|line| *line < self.height) {
            Some(line) => &self.image[line * row..][..row],
            None => &[],
        };
        let width = (from.len() / self.channels.max(1)) as isize;
        let inside = self.columns.start.clamp(0, width)..self.columns.end.clamp(0, width);
        let at = |column: isize| (column - self.columns.start).clamp(0, self.columns.len() as isize) as usize * STRIP;
        let (before, after) = (at(inside.start), at(inside.end).max(at(inside.start)));
        let len = self.columns.len() * STRIP;
        let (first, apart) = (self.start + self.place(line), self.kept * len);
        for strip in 0..self.strips.len() {
            let to = &mut self.values[first + strip * apart..][..len];
            to[..before].fill(0.0);
            to[after..].fill(0.0);
        }
        let pixels = inside.start as usize..inside.end.max(inside.start) as usize;
        let from = from[pixels.start * self.channels..pixels.end * self.channels].chunks_exact(self.channels.max(1));
        for (pixel, from) in from.enumerate() {
            let channels = self.strips.start * STRIP..self.channels.min(self.strips.end * STRIP);
            let (whole, rest) = from[channels].as_chunks::<STRIP>();
            let mut place = first + before + pixel * STRIP;
            for from in whole {
                self.values[place..][..STRIP].copy_from_slice(from);
                place += apart;
            }
            if !rest.is_empty() {
                let to = &mut self.values[place..][..STRIP];
                to[..rest.len()].copy_from_slice(rest);
                to[rest.len()..].fill(0.0);
            }
        }
    }
}

/// Each destination pixel is the sum over the taps of a source pixel times the tap's weights.
struct WindowSum<'a> {
    layout: Layout,
    source: &'a [f32],
    /// `[strips, window, STRIP]`.
    weight: Vec<f32>,
    after: After<'a>,
}

impl WindowSum<'_> {
    fn run(&self, destination: &SharedSlice) {
        let layout = &self.layout;
        let lines = layout.vertical.destination;
        if layout.batch * lines * layout.horizontal.destination * layout.channels == 0 {
            return;
        }
        let bands = lines.div_ceil(LINES_OF_BAND);
        layout.tasks(bands).for_each(|(image, band, strips)| {
            let source = layout.source_lines(self.source, image, strips);
            let rows = layout.rows();
            dispatch(Band { sum: self, source, rows: &rows, image, lines: share(band, bands, lines), destination });
        });
    }
}

/// Every `spread`-th window of a line: their taps see places, `step` places apart.
#[derive(Clone, Copy)]
struct Row {
    first: usize,
    count: usize,
    /// The first tap that sees a place, and how many do.
    tap: usize,
    taps: usize,
    /// The column of the copies that this tap of the first window sees.
    column: usize,
}

/// A line that windows see.
#[derive(Clone, Copy)]
struct Seen {
    /// Where its copy begins in each strip.
    place: usize,
    /// The first tap on it.
    tap: usize,
}

/// Some lines of an image's windows.
struct Band<'a> {
    sum: &'a WindowSum<'a>,
    source: Lines<'a>,
    rows: &'a [Row],
    image: usize,
    lines: Range<usize>,
    destination: &'a SharedSlice<'a>,
}

/// A vector of channels of a line of windows.
#[derive(Clone, Copy)]
struct Place {
    y: usize,
    /// Counted from the first of the task.
    strip: usize,
    /// The first channel, counted from the strip's first.
    lane: usize,
}

impl WithSimd for Band<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.sum.layout.horizontal.step {
            1 => self.run::<S, 1>(simd),
            2 => self.run::<S, 2>(simd),
            _ => self.run::<S, 0>(simd),
        }
    }
}

/// `STEP` is the number of places between windows, or zero where the compiler does not know it.
impl Band<'_> {
    #[inline(always)]
    fn run<S: Simd, const STEP: usize>(mut self, simd: S) {
        let layout = self.sum.layout;
        let mut seen = Vec::with_capacity(layout.kernel);
        for y in self.lines.clone() {
            self.source.read_to(layout.vertical.place(y, layout.kernel - 1));
            seen.clear();
            seen.extend(layout.seen(y, &self.source));
            for strip in 0..self.source.strips.len() {
                let first = (self.source.strips.start + strip) * STRIP;
                for lane in (0..STRIP.min(layout.channels - first)).step_by(S::F32_LANES) {
                    for row in self.rows {
                        self.row::<S, STEP>(simd, &seen, Place { y, strip, lane }, *row);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn row<S: Simd, const STEP: usize>(&self, simd: S, seen: &[Seen], place: Place, row: Row) {
        match row.count {
            TOGETHER.. => self.windows::<S, STEP, TOGETHER>(simd, seen, place, row),
            FEWER_TOGETHER.. => self.windows::<S, STEP, FEWER_TOGETHER>(simd, seen, place, row),
            _ => self.windows::<S, STEP, 1>(simd, seen, place, row),
        }
    }

    /// The windows of a row, `COUNT` at a time. The last group overlaps the one before it, rather than being smaller.
    #[inline(always)]
    fn windows<S: Simd, const STEP: usize, const COUNT: usize>(
        &self,
        simd: S,
        seen: &[Seen],
        Place { y, strip, lane }: Place,
        row: Row,
    ) {
        let Layout { channels, vertical, horizontal, .. } = self.sum.layout;
        let step = if STEP > 0 { STEP } else { horizontal.step };
        let weights = self.weights(strip);
        let copies = &self.source.strip(strip)[row.column * STRIP..];
        let (of_weights, of_copies) =
            (row.taps.saturating_sub(1) * horizontal.spread + row.tap, (row.count - 1) * step + row.taps);
        for line in seen {
            assert!(row.taps == 0 || line.place + of_copies * STRIP <= copies.len());
            assert!(row.taps == 0 || (line.tap + of_weights + 1) * STRIP <= weights.len());
        }
        let channel = (self.source.strips.start + strip) * STRIP + lane;
        let count = S::F32_LANES.min(channels - channel);
        let first = ((self.image * vertical.destination + y) * horizontal.destination + row.first) * channels + channel;
        let apart = horizontal.spread * channels;
        let len = (row.count - 1) * apart + count;
        let After { shift, residual, limits, .. } = self.sum.after;
        let end = End {
            out: self.destination.place(first, len),
            shift: shift.map(|shift| load(simd, &shift[channel..][..count])),
            residual: residual.map(|residual| residual[first..][..len].as_ptr()),
            limits: limits.map(|(low, high)| (simd.splat_f32s(low), simd.splat_f32s(high))),
            apart,
            count,
        };
        for at in (0..row.count).step_by(COUNT) {
            let at = at.min(row.count - COUNT);
            // SAFETY: a strip has whole vectors. By the assertions, the last tap of the last window is among the weights, and
            // what it sees is among the copies. The ends are inside. No other task writes this strip of these lines.
            unsafe {
                // Windows that see nothing may lie past the end of the copies.
                let (weights, copies) =
                    (weights.as_ptr().add(lane), copies.as_ptr().wrapping_add(at * step * STRIP + lane));
                let totals = self.sums::<S, STEP, COUNT>(simd, seen, row, weights, copies);
                end.write(simd, totals, at * apart);
            }
        }
    }

    /// The weights of a strip of the task, `[window, STRIP]`.
    #[inline(always)]
    fn weights(&self, strip: usize) -> &[f32] {
        let len = self.sum.layout.window() * STRIP;
        &self.sum.weight[(self.source.strips.start + strip) * len..][..len]
    }

    /// The sums of `COUNT` windows of a row.
    ///
    /// # Safety
    /// Every tap must be among `weights`, and what it sees among `copies`, the first column being what the first tap of the
    /// first window sees.
    #[inline(always)]
    unsafe fn sums<S: Simd, const STEP: usize, const COUNT: usize>(
        &self,
        simd: S,
        seen: &[Seen],
        row: Row,
        weights: *const f32,
        copies: *const f32,
    ) -> [S::f32s; COUNT] {
        let Direction { step, spread, .. } = self.sum.layout.horizontal;
        let step = if STEP > 0 { STEP } else { step };
        let mut totals = [simd.splat_f32s(0.0); COUNT];
        for line in seen {
            for turn in 0..row.taps {
                // SAFETY: by the contract.
                unsafe {
                    let weight = weights.add((line.tap + row.tap + turn * spread) * STRIP);
                    let weight = weight.cast::<S::f32s>().read_unaligned();
                    let values = copies.add(line.place + turn * STRIP);
                    for (window, total) in totals.iter_mut().enumerate() {
                        let value = values.add(window * step * STRIP).cast::<S::f32s>().read_unaligned();
                        *total = simd.mul_add_e_f32s(value, weight, *total);
                    }
                }
            }
        }
        totals
    }
}

/// What becomes of the sums of a row of windows.
struct End<S: Simd> {
    /// Where those of the first window go.
    out: *mut f32,
    shift: Option<S::f32s>,
    /// What is added to those of the first window.
    residual: Option<*const f32>,
    limits: Option<(S::f32s, S::f32s)>,
    /// The distance from one window of the row to the next.
    apart: usize,
    /// How many channels of the vectors there are.
    count: usize,
}

impl<S: Simd> End<S> {
    /// Writes the results of neighbors in the row, of which the first is `at` values after the row's first.
    ///
    /// # Safety
    /// They must be inside the destination and the residual, and nobody else may use them.
    #[inline(always)]
    unsafe fn write<const COUNT: usize>(&self, simd: S, totals: [S::f32s; COUNT], at: usize) {
        for (window, mut total) in totals.into_iter().enumerate() {
            let at = at + window * self.apart;
            if let Some(shift) = self.shift {
                total = simd.add_f32s(total, shift);
            }
            // SAFETY: by the contract.
            unsafe {
                if let Some(residual) = self.residual {
                    total = simd.add_f32s(total, load(simd, std::slice::from_raw_parts(residual.add(at), self.count)));
                }
                if let Some((low, high)) = self.limits {
                    total = simd.min_f32s(simd.max_f32s(total, low), high);
                }
                store(simd, std::slice::from_raw_parts_mut(self.out.add(at), self.count), total);
            }
        }
    }
}

/// Adds to `dw` the gradient of a depthwise weight: for each tap and channel, the sum over all pixels of source times gradient;
/// image by image, so that the order of the sums does not depend on the threads. Returns the sums of the gradient itself, one for
/// each channel.
pub(super) fn weight_gradient(shape: &ConvolutionShape, x: &[f32], gradient: &[f32], dw: &mut [f32]) -> Vec<f32> {
    let layout = Layout::forward(shape);
    let mut of_channels = vec![0.0; layout.channels];
    if shape.output_len() == 0 {
        return of_channels;
    }
    let window = layout.window();
    let of_strip = (window + 1) * STRIP;
    let of_image = layout.strips() * of_strip;
    let mut of_images = vec![0.0; layout.batch * of_image];
    let shared = SharedSlice::new(&mut of_images);
    layout.tasks(1).for_each(|(image, _, strips)| {
        let (height, width) = (layout.vertical.destination, layout.horizontal.destination);
        let columns = 0..width as isize;
        let of_output = layout.image(gradient, image, (height, width));
        let gradient = Lines::new(of_output, (height, width), layout.channels, strips.clone(), columns, 1);
        // SAFETY: every task has strips of its own.
        let sums = unsafe { shared.part(image * of_image + strips.start * of_strip, strips.len() * of_strip) };
        dispatch(TapSums { layout, source: layout.source_lines(x, image, strips), gradient, sums });
    });
    for sums in of_images.chunks_exact(of_image) {
        for (channel, (dw, total)) in dw.chunks_exact_mut(window).zip(&mut of_channels).enumerate() {
            let sum = |tap: usize| sums[channel / STRIP * of_strip + channel % STRIP + tap * STRIP];
            dw.iter_mut().enumerate().for_each(|(tap, dw)| *dw += sum(tap));
            *total += sum(window);
        }
    }
    of_channels
}

/// Adds up the products of an image's source and gradient, and the gradient, for some of its strips.
struct TapSums<'a> {
    layout: Layout,
    source: Lines<'a>,
    gradient: Lines<'a>,
    /// `[strips, window + 1, STRIP]`, those of the gradient at the end.
    sums: &'a mut [f32],
}

impl WithSimd for TapSums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.layout.horizontal.step {
            1 => self.run::<S, 1>(simd),
            2 => self.run::<S, 2>(simd),
            _ => self.run::<S, 0>(simd),
        }
    }
}

/// `STEP` is the number of places between windows, or zero where the compiler does not know it.
impl TapSums<'_> {
    /// Line by line, so that what several taps and strips read is still in the cache.
    #[inline(always)]
    fn run<S: Simd, const STEP: usize>(mut self, simd: S) {
        let layout = self.layout;
        let mut seen = Vec::with_capacity(layout.kernel);
        for y in 0..layout.vertical.destination {
            self.source.read_to(layout.vertical.place(y, layout.kernel - 1));
            self.gradient.read_to(y as isize);
            seen.clear();
            seen.extend(layout.seen(y, &self.source));
            for strip in 0..self.source.strips.len() {
                let first = (self.source.strips.start + strip) * STRIP;
                for lane in (0..STRIP.min(layout.channels - first)).step_by(S::F32_LANES) {
                    self.add_gradient(simd, strip, lane);
                    match layout.kernel {
                        3 => self.windows::<S, STEP, 3, 3>(simd, &seen, strip, lane),
                        5 if S::REGISTER_COUNT >= 32 => self.windows::<S, STEP, 5, 5>(simd, &seen, strip, lane),
                        5 => self.windows::<S, STEP, 1, 5>(simd, &seen, strip, lane),
                        7 => self.windows::<S, STEP, 1, 7>(simd, &seen, strip, lane),
                        _ => self.windows::<S, STEP, 1, 1>(simd, &seen, strip, lane),
                    }
                }
            }
        }
    }

    /// A line is summed by itself first, so that small values do not meet a large sum one by one.
    #[inline(always)]
    fn add_gradient<S: Simd>(&mut self, simd: S, strip: usize, lane: usize) {
        let mut of_line = simd.splat_f32s(0.0);
        for pixel in self.gradient.strip(strip).as_chunks::<STRIP>().0 {
            of_line = simd.add_f32s(of_line, load(simd, &pixel[lane..lane + S::F32_LANES]));
        }
        let window = self.layout.window();
        let total = &mut self.sums[(strip * (window + 1) + window) * STRIP + lane..][..S::F32_LANES];
        let sum = simd.add_f32s(load(simd, total), of_line);
        store(simd, total, sum);
    }

    /// All taps of a vector of channels of a line, `ROWS` × `TAPS` neighboring taps at a time.
    #[inline(always)]
    fn windows<S: Simd, const STEP: usize, const ROWS: usize, const TAPS: usize>(
        &mut self,
        simd: S,
        seen: &[Seen],
        strip: usize,
        lane: usize,
    ) {
        let kernel = self.layout.kernel;
        let sums = strip * (self.layout.window() + 1) * STRIP + lane;
        for lines in seen.as_chunks::<ROWS>().0 {
            for tap_x in (0..kernel).step_by(TAPS) {
                let at = |row: usize, tap: usize| sums + (lines[row].tap + tap_x + tap) * STRIP;
                let mut totals = [[simd.splat_f32s(0.0); TAPS]; ROWS];
                for (row, totals) in totals.iter_mut().enumerate() {
                    for (tap, total) in totals.iter_mut().enumerate() {
                        *total = load(simd, &self.sums[at(row, tap)..][..S::F32_LANES]);
                    }
                }
                self.add_line::<S, STEP, ROWS, TAPS>(simd, lines, (strip, lane, tap_x), &mut totals);
                for (row, totals) in totals.into_iter().enumerate() {
                    for (tap, total) in totals.into_iter().enumerate() {
                        store(simd, &mut self.sums[at(row, tap)..][..S::F32_LANES], total);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn add_line<S: Simd, const STEP: usize, const ROWS: usize, const TAPS: usize>(
        &self,
        simd: S,
        lines: &[Seen; ROWS],
        (strip, lane, tap_x): (usize, usize, usize),
        totals: &mut [[S::f32s; TAPS]; ROWS],
    ) {
        let Direction { step, destination: width, .. } = self.layout.horizontal;
        let step = if STEP > 0 { STEP } else { step };
        let gradient = &self.gradient.strip(strip)[..width * STRIP];
        let copies = self.source.strip(strip);
        let len = ((width - 1) * step + TAPS) * STRIP;
        let lines = lines.map(|line| copies[line.place + tap_x * STRIP..][..len].as_ptr());
        for x in 0..width {
            // SAFETY: a strip has whole vectors. What the last tap of the last window sees is inside the slices.
            unsafe {
                let gradient = gradient.as_ptr().add(x * STRIP + lane).cast::<S::f32s>().read_unaligned();
                for (line, totals) in lines.iter().zip(totals.iter_mut()) {
                    let values = line.add(x * step * STRIP + lane);
                    for (tap, total) in totals.iter_mut().enumerate() {
                        let value = values.add(tap * STRIP).cast::<S::f32s>().read_unaligned();
                        *total = simd.mul_add_e_f32s(value, gradient, *total);
                    }
                }
            }
        }
    }
}
