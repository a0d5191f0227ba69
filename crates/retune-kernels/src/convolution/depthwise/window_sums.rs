//! Windows' sums: the output of a depthwise convolution, and its input's gradient.

use std::ops::Range;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::STRIP;
use super::layout::{Direction, Layout, Row, Seen};
use super::lines::Lines;
use crate::convolution::After;
use crate::instructions::dispatch;
use crate::shared::{SharedSlice, share};
use crate::vectors::{load, store};

/// Neighboring windows that are computed together, so that a weight is read once for all of them.
const TOGETHER: usize = 8;
/// The same on lines that have fewer.
const FEWER_TOGETHER: usize = 4;
/// Most lines of windows that one task computes. The lines that several tasks see are copied by each.
const LINES_OF_BAND: usize = 32;

/// Each destination pixel is the sum over the taps of a source pixel times the tap's weights.
pub(super) struct WindowSums<'a> {
    pub layout: Layout,
    pub source: &'a [f32],
    /// `[strips, window, STRIP]`.
    pub weight: Vec<f32>,
    pub after: After<'a>,
}

impl WindowSums<'_> {
    pub fn run(&self, destination: &SharedSlice) {
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

/// Some lines of an image's windows.
struct Band<'a> {
    sum: &'a WindowSums<'a>,
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
            let is_seen = line.place + of_copies * STRIP <= copies.len();
            let is_weighted = (line.tap + of_weights + 1) * STRIP <= weights.len();
            assert!(row.taps == 0 || is_seen && is_weighted, "a window's taps have weights, and see the copies");
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
