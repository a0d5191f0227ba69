//! Taps' sums: the gradient of a depthwise weight.

use pulp::{Simd, WithSimd};

use super::STRIP;
use super::layout::{Direction, Layout, Seen};
use super::lines::Lines;
use crate::vectors::{load, store};

/// Adds up the products of an image's source and gradient, and the gradient, for some of its strips.
pub(super) struct TapSums<'a> {
    pub layout: Layout,
    pub source: Lines<'a>,
    pub gradient: Lines<'a>,
    /// `[strips, window + 1, STRIP]`, those of the gradient at the end.
    pub sums: &'a mut [f32],
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
