//! The one matrix product under every convolution, linear layer and attention: rows gathered from
//! anywhere times packed panels of weights.
//!
//! A destination row is the sum, over the taps of a window, of a source row times that tap's matrix.
//! The source rows are never copied together (no `im2col`): a tile of rows keeps its sums in
//! registers while it walks over the taps, and only looks up where each source row lies.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod bfloat16;
mod gather;
mod outer;
mod panels;
mod source;
mod threads;
mod transposed;

#[cfg(target_arch = "x86_64")]
pub(crate) use self::bfloat16::Unit as Bfloat16Unit;
use self::gather::Places;
pub(crate) use self::gather::{Axis, Gather};
pub(crate) use self::outer::{Side, outer_products, suits_outer};
use self::panels::panel_width;
pub(crate) use self::panels::{MatrixLayout, Panels, Scale, pack_panel, widest_panel};
pub(crate) use self::source::{Source, Weights};
pub(crate) use self::threads::Threads;
pub(crate) use self::transposed::{Part, Strides, TransposedProduct, transposed_product};

use std::ops::Range;

use pulp::{Simd, WithSimd};

use crate::instructions::dispatch;
use crate::shared::{SharedSlice, share};
use crate::vectors::{load, store};

/// Destination rows in a tile where there are 32 vector registers: 24 sums, 2 weights, the rest for
/// the source.
pub(crate) const ROWS_OF_32_REGISTERS: usize = 12;
/// The same where there are 16: 12 sums.
pub(crate) const ROWS_OF_16_REGISTERS: usize = 6;
/// Most rows that one task computes for all its panels, so that a panel read into the cache is used often.
const ROWS_OF_TASK: usize = 480;
/// The least, where the rows are long.
const ROWS_OF_SMALL_TASK: usize = 96;
/// Values of a task's rows that a second-level cache keeps while the task goes from panel to panel; 1 MiB.
const VALUES_OF_TASK: usize = 1 << 18;

/// Values of neighboring panels that a tile of rows meets one after the other: about as many as a first-level cache holds; 32 KiB.
const VALUES_OF_PANELS: usize = 1 << 13;

/// Rows that one task computes.
fn rows_of_task(depth: usize) -> usize {
    (VALUES_OF_TASK / depth.max(1)).clamp(ROWS_OF_SMALL_TASK, ROWS_OF_TASK)
}

/// Whether this machine has a matrix unit, which multiplies most matrices of floats.
pub(crate) fn has_matrix_unit() -> bool {
    #[cfg(target_arch = "x86_64")]
    return amx::Unit::available().is_some();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// What becomes of the sums before they are written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Epilogue<'a> {
    /// Added to each column.
    pub shift: Option<&'a [f32]>,
    /// Added element by element, laid out as the destination.
    pub residual: Option<&'a [f32]>,
    /// Lower and upper limit of the result.
    pub limits: Option<(f32, f32)>,
    /// Whether the result is added to what the destination holds.
    pub accumulate: bool,
}

/// Where the rows of a product go: row `r` starts at `offset + r · stride`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Destination {
    pub offset: usize,
    pub stride: usize,
}

/// The output's rows: each the sum, over the taps, of a source row times that tap's panels. There must be a source row at
/// every offset of the output's gather.
fn product(source: &[f32], panels: &Panels, output: Output, threads: Threads) {
    let zeros = vec![0.0; panels.depth()];
    let factors = SingleFactors { source, panels, zeros: &zeros };
    let division = (ROWS_OF_32_REGISTERS, rows_of_task(panels.depth()));
    output.divide(division, panels.count(), threads, |rows, panels| {
        dispatch(Task { output, factors, rows, panels });
    });
}

/// The two sides of a product, as a tile of it multiplies them.
trait Factors<S: Simd>: Copy {
    /// How many 32-bit values take as much room as a panel.
    fn panel_len(&self) -> usize;

    /// `sums[r] += source[offsets[r]] · panels[panel, tap]`, of which the leading vectors; a negative offset stands for
    /// zeros.
    ///
    /// # Safety
    /// There must be a whole source row at every offset that is not negative.
    unsafe fn add_tap<const ROWS: usize, const VECTORS: usize>(
        &self,
        simd: S,
        sums: &mut [[S::f32s; VECTORS]; ROWS],
        offsets: [isize; ROWS],
        panel_and_tap: (usize, usize),
    );
}

/// The factors of a product in 32 bits.
#[derive(Clone, Copy)]
struct SingleFactors<'a> {
    source: &'a [f32],
    panels: &'a Panels,
    /// A row of zeros for what lies on the padding.
    zeros: &'a [f32],
}

impl<S: Simd> Factors<S> for SingleFactors<'_> {
    fn panel_len(&self) -> usize {
        self.panels.panel_len()
    }

    #[inline(always)]
    unsafe fn add_tap<const ROWS: usize, const VECTORS: usize>(
        &self,
        simd: S,
        sums: &mut [[S::f32s; VECTORS]; ROWS],
        offsets: [isize; ROWS],
        (panel, tap): (usize, usize),
    ) {
        let mut rows = [self.zeros.as_ptr(); ROWS];
        for (row, offset) in rows.iter_mut().zip(offsets) {
            if offset >= 0 {
                // SAFETY: a place in the source by the contract.
                *row = unsafe { self.source.as_ptr().add(offset as usize) };
            }
        }
        // SAFETY: each pointer is followed by a row, in the source or in the zeros; a tap's panel holds
        // a row of one panel width for each of its values.
        unsafe { accumulate(simd, sums, rows, self.panels.depth(), self.panels.tap(panel, tap)) };
    }
}

/// Where the results of a product go.
#[derive(Clone, Copy)]
struct Output<'a> {
    gather: &'a Gather,
    epilogue: Epilogue<'a>,
    destination: &'a SharedSlice<'a>,
    place: Destination,
    columns: usize,
}

impl Output<'_> {
    /// Divides the product among tasks, each of whole tiles of rows, except for the last: `work` gets the rows and panels
    /// of each.
    fn divide(
        &self,
        (rows_of_tile, rows_of_task): (usize, usize),
        panels: usize,
        threads: Threads,
        work: impl Fn(Range<usize>, Range<usize>) + Send + Sync,
    ) {
        let rows = self.gather.rows();
        let Destination { offset, stride } = self.place;
        assert!(rows == 0 || offset + (rows - 1) * stride + self.columns <= self.destination.len());
        let row_tasks = rows.div_ceil(rows_of_task).max(1);
        // With few rows the panels are divided too, so that every thread has work.
        let wanted = 4 * threads.count();
        let panel_tasks = wanted.div_ceil(row_tasks).clamp(1, panels.max(1));
        let tiles = rows.div_ceil(rows_of_tile);
        threads.for_each(row_tasks * panel_tasks, |task| {
            let (row_task, panel_task) = (task / panel_tasks, task % panel_tasks);
            let tiles = share(row_task, row_tasks, tiles);
            let rows = tiles.start * rows_of_tile..rows.min(tiles.end * rows_of_tile);
            work(rows, share(panel_task, panel_tasks, panels));
        });
    }
}

/// A part of a product. Its factors have a whole row at every offset of the output's gather.
struct Task<'a, F> {
    output: Output<'a>,
    factors: F,
    rows: Range<usize>,
    panels: Range<usize>,
}

impl WithSimd for Task<'_, SingleFactors<'_>> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.run(simd);
    }
}

impl<F> Task<'_, F> {
    /// Panels stay in the first-level cache while rows pass by: one deep panel, or several shallow ones, so that a tile's rows
    /// are looked up once for all of them, and its results are written side by side.
    #[inline(always)]
    fn run<S: Simd>(&self, simd: S)
    where
        F: Factors<S>,
    {
        let together = (VALUES_OF_PANELS / self.factors.panel_len().max(1)).max(1);
        for first in self.panels.clone().step_by(together) {
            let panels = first..self.panels.end.min(first + together);
            match S::REGISTER_COUNT >= 32 {
                true => self.tiles::<S, ROWS_OF_32_REGISTERS>(simd, panels),
                false => self.tiles::<S, ROWS_OF_16_REGISTERS>(simd, panels),
            }
        }
    }

    #[inline(always)]
    fn tiles<S: Simd, const ROWS: usize>(&self, simd: S, panels: Range<usize>)
    where
        F: Factors<S>,
    {
        let mut row = self.rows.start;
        while row < self.rows.end {
            let (panels, left) = (panels.clone(), self.rows.end - row);
            row += if left >= ROWS {
                self.tile::<S, ROWS>(simd, panels, row, ROWS)
            } else if left > 4 && ROWS > 8 {
                self.tile::<S, 8>(simd, panels, row, left.min(8))
            } else if left > 4 {
                self.tile::<S, ROWS>(simd, panels, row, left)
            } else if left > 1 {
                self.tile::<S, 4>(simd, panels, row, left.min(4))
            } else {
                self.tile::<S, 1>(simd, panels, row, 1)
            };
        }
    }

    /// One tile for each panel: `count` rows from `row` on, computed as `ROWS` of which the last may be idle.
    /// Returns how many.
    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize>(&self, simd: S, panels: Range<usize>, row: usize, count: usize) -> usize
    where
        F: Factors<S>,
    {
        let places = self.output.gather.places::<ROWS>(row, count);
        for panel in panels {
            if self.output.columns - panel * panel_width::<S>() <= S::F32_LANES {
                self.sums::<S, ROWS, 1>(simd, panel, &places, count);
            } else {
                self.sums::<S, ROWS, 2>(simd, panel, &places, count);
            }
        }
        count
    }

    /// Computes a tile's sums for the leading vectors of a panel, and finishes them.
    #[inline(always)]
    fn sums<S: Simd, const ROWS: usize, const VECTORS: usize>(
        &self,
        simd: S,
        panel: usize,
        places: &Places<ROWS>,
        count: usize,
    ) where
        F: Factors<S>,
    {
        let gather = self.output.gather;
        let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
        for tap in 0..gather.taps() {
            let Some(offsets) = gather.offsets(places, tap) else { continue };
            // SAFETY: the factors have a row at every offset of the gather.
            unsafe { self.factors.add_tap(simd, &mut sums, offsets, (panel, tap)) };
        }
        self.output.finish(simd, sums, panel, &places.destination[..count]);
    }
}

impl Output<'_> {
    #[inline(always)]
    fn finish<S: Simd, const ROWS: usize, const VECTORS: usize>(
        &self,
        simd: S,
        sums: [[S::f32s; VECTORS]; ROWS],
        panel: usize,
        rows: &[usize],
    ) {
        let lanes = S::F32_LANES;
        let first = panel * panel_width::<S>();
        let columns = (self.columns - first).min(panel_width::<S>());
        if columns == VECTORS * S::F32_LANES {
            return self.finish_whole(simd, sums, first, rows);
        }
        for half in 0..VECTORS {
            let start = half * lanes;
            if start >= columns {
                break;
            }
            let width = (columns - start).min(lanes);
            let load_at = |values: &[f32], at: usize| load(simd, &values[at..at + width]);
            let shift = match self.epilogue.shift {
                Some(shift) => load_at(shift, first + start),
                None => simd.splat_f32s(0.0),
            };
            for (sums, row) in sums.iter().zip(rows) {
                let at = self.place.offset + row * self.place.stride + first + start;
                let mut value = simd.add_f32s(sums[half], shift);
                if let Some(residual) = self.epilogue.residual {
                    value = simd.add_f32s(value, load_at(residual, at));
                }
                if let Some((low, high)) = self.epilogue.limits {
                    value = simd.min_f32s(simd.max_f32s(value, simd.splat_f32s(low)), simd.splat_f32s(high));
                }
                // SAFETY: tasks have different rows or panels, so no other task touches this part.
                let out = unsafe { self.destination.part(at, width) };
                if self.epilogue.accumulate {
                    value = simd.add_f32s(value, load(simd, out));
                }
                store(simd, out, value);
            }
        }
    }

    /// The same where no column of the sums is past the last.
    #[inline(always)]
    fn finish_whole<S: Simd, const ROWS: usize, const VECTORS: usize>(
        &self,
        simd: S,
        sums: [[S::f32s; VECTORS]; ROWS],
        first: usize,
        rows: &[usize],
    ) {
        let width = VECTORS * S::F32_LANES;
        let Epilogue { shift, residual, limits, accumulate } = self.epilogue;
        let Destination { offset, stride } = self.place;
        let shift = shift.map(|shift| shift[first..first + width].as_ptr().cast::<[S::f32s; VECTORS]>());
        let start = offset + first;
        let len = rows.iter().max().map_or(0, |last| last * stride + width);
        let out = self.destination.place(start, len);
        let residual = residual.map(|residual| residual[start..start + len].as_ptr());
        let limits = limits.map(|(low, high)| (simd.splat_f32s(low), simd.splat_f32s(high)));
        for (sums, row) in sums.iter().zip(rows) {
            let (mut sums, at) = (*sums, row * stride);
            // SAFETY: all rows end where the last does or before, which is inside; vectors are read and written as they lie.
            // Tasks have different rows or panels, so no other task touches this part.
            unsafe {
                if let Some(shift) = shift {
                    add(simd, &mut sums, &shift.read_unaligned());
                }
                if let Some(residual) = residual {
                    add(simd, &mut sums, &residual.add(at).cast::<[S::f32s; VECTORS]>().read_unaligned());
                }
                if let Some((low, high)) = limits {
                    for sum in &mut sums {
                        *sum = simd.min_f32s(simd.max_f32s(*sum, low), high);
                    }
                }
                let out = out.add(at).cast::<[S::f32s; VECTORS]>();
                if accumulate {
                    add(simd, &mut sums, &out.read_unaligned());
                }
                out.write_unaligned(sums);
            }
        }
    }
}

/// `sums += values`.
#[inline(always)]
fn add<S: Simd, const VECTORS: usize>(simd: S, sums: &mut [S::f32s; VECTORS], values: &[S::f32s; VECTORS]) {
    for (sum, value) in sums.iter_mut().zip(values) {
        *sum = simd.add_f32s(*sum, *value);
    }
}

/// `sums[r] += Σ_k rows[r][k] · panel[k]`, of which the leading vectors.
///
/// # Safety
/// Every row must point to `depth` readable values, the panel to `depth` times two vectors.
#[inline(always)]
pub(crate) unsafe fn accumulate<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    sums: &mut [[S::f32s; VECTORS]; ROWS],
    rows: [*const f32; ROWS],
    depth: usize,
    panel: *const f32,
) {
    let mut panel = panel.cast::<S::f32s>();
    // A copy, which stays in registers even where the caller goes through the sums by an index, for which they must lie in memory.
    let mut totals = *sums;
    for k in 0..depth {
        let mut weights = [simd.splat_f32s(0.0); VECTORS];
        // SAFETY: by the contract; panels are read as they lie.
        unsafe {
            for (v, weight) in weights.iter_mut().enumerate() {
                *weight = panel.add(v).read_unaligned();
            }
            for r in 0..ROWS {
                let factor = simd.splat_f32s(*rows[r].add(k));
                for (total, &weight) in totals[r].iter_mut().zip(&weights) {
                    *total = simd.mul_add_e_f32s(factor, weight, *total);
                }
            }
        }
        panel = panel.wrapping_add(2);
    }
    *sums = totals;
}
