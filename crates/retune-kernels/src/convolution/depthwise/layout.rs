//! How windows lie on the source, forward and backward.

use std::ops::Range;

use rayon::prelude::*;

use super::STRIP;
use super::lines::Lines;
use crate::convolution::ConvolutionShape;
use crate::shared::share;

/// Values that a task copies of the source at a time: half of what a second-level cache usually holds.
const COPY: usize = 1 << 16;

/// How windows lie on the source, lines first.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    pub batch: usize,
    pub channels: usize,
    pub kernel: usize,
    pub vertical: Direction,
    pub horizontal: Direction,
}

/// How windows lie on the source in one direction: the tap `t` of the window at `at` sees the place `(at · step + t - before) /
/// spread`, and none where that is no whole number.
#[derive(Clone, Copy)]
pub(super) struct Direction {
    pub kernel: usize,
    /// Places of the source.
    pub source: usize,
    /// Windows.
    pub destination: usize,
    /// Places between windows.
    pub step: usize,
    /// Windows between neighbors of the source.
    pub spread: usize,
    /// Places before the source's first; negative where it begins outside.
    pub before: isize,
}

impl Direction {
    pub fn forward(kernel: usize, source: usize, destination: usize, stride: usize, padding: usize) -> Self {
        Self { kernel, source, destination, step: stride, spread: 1, before: padding as isize }
    }

    /// That of the gradient, with the window turned around.
    pub fn turned(self) -> Self {
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
    pub fn place(&self, at: usize, tap: usize) -> isize {
        ((at * self.step + tap) as isize - self.before).div_euclid(self.spread as isize)
    }

    /// The places that any window sees, inside the source or not; there must be windows.
    pub fn seen(&self) -> Range<isize> {
        self.place(0, 0)..self.place(self.destination - 1, self.kernel - 1) + 1
    }

    /// The first tap of a window that sees a place, where there is one below `kernel`. Its other taps follow `spread` apart.
    pub fn first_tap(&self, at: usize) -> usize {
        (self.before - (at * self.step) as isize).rem_euclid(self.spread as isize) as usize
    }

    /// How many taps from the first on see a place.
    pub fn taps_from(&self, first: usize) -> usize {
        self.kernel.saturating_sub(first).div_ceil(self.spread)
    }
}

impl Layout {
    pub fn forward(shape: &ConvolutionShape) -> Self {
        let (kernel, stride, output) = (shape.kernel, shape.stride, shape.output());
        Self {
            batch: shape.batch,
            channels: shape.inputs,
            kernel,
            vertical: Direction::forward(kernel, shape.input.0, output.0, stride, shape.vertical_padding.0),
            horizontal: Direction::forward(kernel, shape.input.1, output.1, stride, shape.horizontal_padding.0),
        }
    }

    pub fn backward(shape: &ConvolutionShape) -> Self {
        let forward = Self::forward(shape);
        Self { vertical: forward.vertical.turned(), horizontal: forward.horizontal.turned(), ..forward }
    }

    pub fn window(&self) -> usize {
        self.kernel * self.kernel
    }

    pub fn strips(&self) -> usize {
        self.channels.div_ceil(STRIP)
    }

    /// The tasks that compute the windows' lines, in `bands` parts: for each its image, its band, and its strips. There are
    /// enough for all threads, and copies of several strips stay in the cache.
    pub fn tasks(&self, bands: usize) -> impl IndexedParallelIterator<Item = (usize, usize, Range<usize>)> {
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
    pub fn image<'a>(&self, values: &'a [f32], image: usize, (height, width): (usize, usize)) -> &'a [f32] {
        let len = height * width * self.channels;
        &values[image * len..][..len]
    }

    /// The rows of a line: every `spread`-th window, starting from each of the first `spread`.
    pub fn rows(&self) -> Vec<Row> {
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
    pub fn seen(&self, y: usize, source: &Lines) -> impl Iterator<Item = Seen> {
        let Layout { kernel, vertical, .. } = *self;
        let tap = vertical.first_tap(y);
        let first = vertical.place(y, tap);
        (0..vertical.taps_from(tap)).map(move |turn| Seen {
            place: source.place(first + turn as isize),
            tap: (tap + turn * vertical.spread) * kernel,
        })
    }

    /// The lines of an image's source.
    pub fn source_lines<'a>(&self, source: &'a [f32], image: usize, strips: Range<usize>) -> Lines<'a> {
        let (height, width) = (self.vertical.source, self.horizontal.source);
        let image = self.image(source, image, (height, width));
        Lines::new(image, (height, width), self.channels, strips, self.horizontal.seen(), self.kernel)
    }
}

/// Every `spread`-th window of a line: their taps see places, `step` places apart.
#[derive(Clone, Copy)]
pub(super) struct Row {
    pub first: usize,
    pub count: usize,
    /// The first tap that sees a place, and how many do.
    pub tap: usize,
    pub taps: usize,
    /// The column of the copies that this tap of the first window sees.
    pub column: usize,
}

/// A line that windows see.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    /// Where its copy begins in each strip.
    pub place: usize,
    /// The first tap on it.
    pub tap: usize,
}
