//! The product of a linear layer's training: its weight's gradient, `Σ_row left[row]ᵀ · right[row]`.

use std::ops::Range;

use pulp::{Simd, WithSimd};

#[cfg(target_arch = "x86_64")]
use super::amx;
use super::panels::{panel_width, widest_panel};
use super::threads::Threads;
use super::{ROWS_OF_16_REGISTERS, ROWS_OF_32_REGISTERS};
use crate::instructions::dispatch;
use crate::precision::Precision;
use crate::shared::{SharedSlice, share};
use crate::vectors::{load, prefetch, store};
use crate::workspace::Workspace;

/// How much of both sides is packed together.
#[derive(Clone, Copy)]
struct Blocks {
    /// Most rows. For every block of rows the sums are read and written.
    rows: usize,
    /// Panels of the right side. For every group of them the left side is packed again.
    panels: usize,
    /// Columns of the left side, whole tiles: reading few values of each of many rows misses more cache lines and pages.
    columns: usize,
}

/// With the widest vectors, a panel of the right side takes 32 KiB, and all 512 KiB of a second-level cache.
const BLOCKS_OF_32_REGISTERS: Blocks = Blocks { rows: 256, panels: 16, columns: 4 * ROWS_OF_32_REGISTERS };
/// A panel takes 33 KiB, and a tile of the left side 12.4 KiB of a first-level cache. A panel passes by so slowly that the
/// group may lie in a third-level cache.
const BLOCKS_OF_16_REGISTERS: Blocks = Blocks { rows: 528, panels: 48, columns: MOST_COLUMNS };
/// Most panels of a group where several threads divide the left side too, so that none of them packs all of the right side.
const PANELS_OF_SHARED_CACHE: usize = 16;
/// Most columns of a block.
const MOST_COLUMNS: usize = 16 * ROWS_OF_32_REGISTERS;
/// Rows between the one that is packed and the one that is asked for.
const ROWS_AHEAD: usize = 6;

impl Blocks {
    const fn of<S: Simd>() -> Self {
        if S::REGISTER_COUNT >= 32 { BLOCKS_OF_32_REGISTERS } else { BLOCKS_OF_16_REGISTERS }
    }

    /// With the instruction set of the kernels.
    fn present() -> Self {
        struct Present;
        impl WithSimd for Present {
            type Output = Blocks;
            #[inline(always)]
            fn with_simd<S: Simd>(self, _: S) -> Blocks {
                Blocks::of::<S>()
            }
        }
        dispatch(Present)
    }
}

/// A side of the product: `rows × width`, row-major.
#[derive(Clone, Copy)]
pub(crate) struct Side<'a> {
    pub values: &'a [f32],
    pub width: usize,
}

/// Whether `outer_products` computes a product of this precision: in bfloat16 only on the matrix unit.
pub(crate) fn suits_outer(precision: Precision, rows: usize, left: Side, right: Side) -> bool {
    precision == Precision::Float32 || unit_for(rows, left, right).is_some()
}

/// The matrix unit, if there is one and it computes this product.
#[cfg(target_arch = "x86_64")]
fn unit_for(rows: usize, left: Side, right: Side) -> Option<amx::Unit> {
    amx::Unit::available().filter(|_| amx::suits_outer(rows, left, right))
}

#[cfg(not(target_arch = "x86_64"))]
fn unit_for(_: usize, _: Side, _: Side) -> Option<()> {
    None
}

/// Sets `out`, `left.width × right.width`, to the sum of the rows' outer products, and `left_sums` to
/// the sum of the left rows. Every element is a sum over the rows in their order, whatever the number
/// of threads.
///
/// # Panics
/// If the sizes do not fit, or it is not for this to compute (see `suits_outer`).
pub(crate) fn outer_products(
    precision: Precision,
    rows: usize,
    left: Side,
    right: Side,
    out: &SharedSlice,
    left_sums: &SharedSlice,
    threads: Threads,
) {
    assert_eq!((left.values.len(), right.values.len()), (rows * left.width, rows * right.width), "rows of both sides");
    assert_eq!(out.len(), left.width * right.width, "a value for each pair of columns");
    assert_eq!(left_sums.len(), left.width, "a sum for each column");
    assert!(suits_outer(precision, rows, left, right), "bfloat16 on the matrix unit");
    #[cfg(target_arch = "x86_64")]
    if let Some(unit) = unit_for(rows, left, right) {
        return amx::outer_products(unit, precision, rows, (left, right), (out, left_sums), threads);
    }
    let panels = right.width.div_ceil(widest_panel());
    let alone = threads.count() == 1;
    let together = if alone { Blocks::present().panels } else { PANELS_OF_SHARED_CACHE };
    let groups = panels.div_ceil(together).max(1);
    let tiles = left.width.div_ceil(ROWS_OF_32_REGISTERS);
    // Where there are few groups of panels the tiles are divided too, so that every thread has work.
    let wanted = if alone { 1 } else { 2 * threads.count() };
    let parts = wanted.div_ceil(groups).clamp(1, tiles.max(1));
    threads.for_each(groups * parts, |task| {
        let (group, part) = (task / parts, task % parts);
        let bound = |part: usize| (part * tiles / parts * ROWS_OF_32_REGISTERS).min(left.width);
        let columns = bound(part)..bound(part + 1);
        let panels = group * panels / groups..(group + 1) * panels / groups;
        let left_sums = (group == 0).then_some(left_sums);
        dispatch(Task { rows, left, right, columns, panels, out, left_sums });
    });
}

struct Task<'a> {
    rows: usize,
    left: Side<'a>,
    right: Side<'a>,
    /// Of the left side.
    columns: Range<usize>,
    /// Of the right side.
    panels: Range<usize>,
    out: &'a SharedSlice<'a>,
    left_sums: Option<&'a SharedSlice<'a>>,
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if S::REGISTER_COUNT >= 32 {
            self.run::<S, ROWS_OF_32_REGISTERS>(simd);
        } else {
            self.run::<S, ROWS_OF_16_REGISTERS>(simd);
        }
    }
}

impl Task<'_> {
    #[inline(always)]
    fn run<S: Simd, const ROWS: usize>(&self, simd: S) {
        let together = Blocks::of::<S>();
        // Of no rows the sum is zero.
        let blocks = self.rows.div_ceil(together.rows).max(1);
        let most_rows = self.rows.div_ceil(blocks);
        let mut right = Workspace::new(self.panels.len() * most_rows * panel_width::<S>());
        let mut left = Workspace::new(most_rows * together.columns);
        for block in 0..blocks {
            let rows = share(block, blocks, self.rows);
            self.pack_right::<S>(rows.clone(), &mut right);
            for column in self.columns.clone().step_by(together.columns) {
                let columns = column..self.columns.end.min(column + together.columns);
                self.pack_left::<ROWS>(rows.clone(), columns.clone(), &mut left);
                for (tile, column) in columns.clone().step_by(ROWS).enumerate() {
                    let left = &left[tile * rows.len() * ROWS..][..rows.len() * ROWS];
                    let columns = column..columns.end.min(column + ROWS);
                    self.tiles::<S, ROWS>(simd, left, (&right[..], rows.len()), columns, block > 0);
                }
            }
        }
    }

    /// A tile of the left side with every panel of the right.
    #[inline(always)]
    fn tiles<S: Simd, const ROWS: usize>(
        &self,
        simd: S,
        left: &[f32],
        (right, rows): (&[f32], usize),
        columns: Range<usize>,
        adds: bool,
    ) {
        let size = rows * panel_width::<S>();
        for (index, panel) in self.panels.clone().enumerate() {
            let right = &right[index * size..][..size];
            if self.right.width - panel * panel_width::<S>() <= S::F32_LANES {
                self.tile::<S, ROWS, 1>(simd, left, right, columns.clone(), panel, adds);
            } else {
                self.tile::<S, ROWS, 2>(simd, left, right, columns.clone(), panel, adds);
            }
        }
    }

    /// `panel × row × panel width`, zeros past the last column. Row by row, so that the cache lines of a row are read one after
    /// the other.
    #[inline(always)]
    fn pack_right<S: Simd>(&self, rows: Range<usize>, out: &mut [f32]) {
        let width = panel_width::<S>();
        let columns = self.panels.start * width..self.right.width.min(self.panels.end * width);
        for (index, row) in rows.clone().enumerate() {
            let values = self.right.values[row * self.right.width..][columns.clone()].chunks(width);
            for (panel, values) in values.enumerate() {
                let out = &mut out[(panel * rows.len() + index) * width..][..width];
                if values.len() == width {
                    out.copy_from_slice(values);
                } else {
                    out[..values.len()].copy_from_slice(values);
                    out[values.len()..].fill(0.0);
                }
            }
        }
    }

    /// `tile × row × ROWS`, zeros past the last column; adds to the sums of the columns.
    #[inline(always)]
    fn pack_left<const ROWS: usize>(&self, rows: Range<usize>, columns: Range<usize>, out: &mut [f32]) {
        let mut sums = [0.0f32; MOST_COLUMNS];
        let (out, _) = out.as_chunks_mut::<ROWS>();
        for (index, row) in rows.clone().enumerate() {
            let values = &self.left.values[row * self.left.width..][columns.clone()];
            // The next row is too far for a processor to read it ahead by itself.
            prefetch(values, ROWS_AHEAD * self.left.width);
            let (tiles, rest) = values.as_chunks::<ROWS>();
            let mut places = out[index..].iter_mut().step_by(rows.len());
            for (values, out) in tiles.iter().zip(&mut places) {
                *out = *values;
            }
            if let Some(out) = places.next().filter(|_| !rest.is_empty()) {
                *out = [0.0; ROWS];
                out[..rest.len()].copy_from_slice(rest);
            }
            if self.left_sums.is_some() {
                for (sum, value) in sums.iter_mut().zip(values) {
                    *sum += *value;
                }
            }
        }
        if let Some(left_sums) = self.left_sums {
            // SAFETY: tasks have different columns.
            let out = unsafe { left_sums.part(columns.start, columns.len()) };
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = if rows.start == 0 { sum } else { *out + sum };
            }
        }
    }

    /// `out[columns, panel] = (adds ? out : 0) + leftᵀ · right`.
    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(
        &self,
        simd: S,
        left: &[f32],
        right: &[f32],
        columns: Range<usize>,
        panel: usize,
        adds: bool,
    ) {
        let lanes = S::F32_LANES;
        let first = panel * panel_width::<S>();
        let width = (self.right.width - first).min(panel_width::<S>());
        let mut totals = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
        if adds {
            for (totals, column) in totals.iter_mut().zip(columns.clone()) {
                // SAFETY: tasks have different columns or panels.
                let out = unsafe { self.out.part(column * self.right.width + first, width) };
                for (total, out) in totals.iter_mut().zip(out.chunks(lanes)) {
                    *total = load(simd, out);
                }
            }
        }
        let (left, _) = left.as_chunks::<ROWS>();
        let (right, _) = S::as_simd_f32s(right).0.as_chunks::<2>();
        for (left, right) in left.iter().zip(right) {
            for r in 0..ROWS {
                let factor = simd.splat_f32s(left[r]);
                for (total, &right) in totals[r].iter_mut().zip(right) {
                    *total = simd.mul_add_e_f32s(factor, right, *total);
                }
            }
        }
        for (totals, column) in totals.iter().zip(columns) {
            // SAFETY: as above.
            let out = unsafe { self.out.part(column * self.right.width + first, width) };
            for (total, out) in totals.iter().zip(out.chunks_mut(lanes)) {
                store(simd, out, *total);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Precision, Side, Threads, outer_products};
    use crate::shared::SharedSlice;

    /// The products and the sums of the left rows.
    fn computed(rows: usize, left: Side, right: Side, threads: Threads) -> (Vec<f32>, Vec<f32>) {
        let (mut out, mut sums) = (vec![f32::NAN; left.width * right.width], vec![f32::NAN; left.width]);
        outer_products(
            Precision::Float32,
            rows,
            left,
            right,
            &SharedSlice::new(&mut out),
            &SharedSlice::new(&mut sums),
            threads,
        );
        (out, sums)
    }

    #[test]
    fn they_are_those_of_plain_loops() {
        // Rows and columns in no, one, and several blocks; others in half a panel, several, and more than a group.
        for (rows, of_left, of_right) in [
            (0, 3, 5),
            (1, 1, 1),
            (7, 13, 17),
            (256, 12, 32),
            (257, 24, 33),
            (600, 29, 50),
            (40, 5, 1100),
            (300, 100, 7),
            (530, 200, 20),
        ] {
            // Small whole numbers, of which every sum is exact.
            let values =
                |count: usize, step: usize| (0..count).map(|at| (at * step % 11) as f32 - 5.0).collect::<Vec<_>>();
            let (left, right) = (values(rows * of_left, 5), values(rows * of_right, 7));
            let sides = (Side { values: &left, width: of_left }, Side { values: &right, width: of_right });
            let found = computed(rows, sides.0, sides.1, Threads::This);
            for column in 0..of_left {
                let of_column = |row: usize| left[row * of_left + column];
                assert_eq!(found.1[column], (0..rows).map(of_column).sum::<f32>(), "{rows} {of_left} {of_right}");
                for other in 0..of_right {
                    let expected: f32 = (0..rows).map(|row| of_column(row) * right[row * of_right + other]).sum();
                    assert_eq!(found.0[column * of_right + other], expected, "{rows} {of_left} {of_right}");
                }
            }
        }
    }

    #[test]
    fn they_are_the_same_on_any_number_of_threads() {
        let values = |count: usize| (0..count).map(|at| (at as f32 * 0.618).fract() - 0.5).collect::<Vec<_>>();
        let (left, right) = (values(700 * 50), values(700 * 90));
        let sides = (Side { values: &left, width: 50 }, Side { values: &right, width: 90 });
        let bits = |threads| {
            let (out, sums) = computed(700, sides.0, sides.1, threads);
            out.into_iter().chain(sums).map(f32::to_bits).collect::<Vec<_>>()
        };
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        for threads in [1, 2, 5] {
            assert_eq!(pool(threads).install(|| bits(Threads::All)), bits(Threads::This));
        }
    }
}
