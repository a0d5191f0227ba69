//! What both passes do with a tile of rows.

use pulp::Simd;

use super::{Matrix, Rows};
use crate::product::{Panels, accumulate};
use crate::vectors::store;

/// Where the rows of a tile start: `count` of them, and the last once more for each that is missing.
///
/// # Safety
/// There must be `count` rows, at least one.
#[inline(always)]
pub(super) unsafe fn row_pointers<const ROWS: usize>(
    first: *const f32,
    stride: usize,
    count: usize,
) -> [*const f32; ROWS] {
    let mut rows = [first; ROWS];
    for (index, row) in rows.iter_mut().enumerate() {
        // SAFETY: one of the rows.
        *row = unsafe { first.add(index.min(count - 1) * stride) };
    }
    rows
}

/// The distance of the rows of a block of scores: room for whole panels, and an odd number of cache
/// lines, so that the rows do not share the same few places of a cache.
pub(super) fn row_stride(panels: &Panels) -> usize {
    const LINE: usize = 16;
    let lines = (panels.count() * panels.width()).div_ceil(LINE);
    (lines | 1) * LINE
}

impl Matrix<'_> {
    /// `out[r] = self[first + r] · panels` for the `count` rows from `first` on; as many rows of `stride` are written
    /// as the tile has, with whatever the last gives for those that are missing.
    ///
    /// # Panics
    /// If the rows are not inside the matrix, or the tile not inside `out`.
    #[inline(always)]
    pub(super) fn tile_times<S: Simd, const ROWS: usize>(
        self,
        simd: S,
        (first, count): (usize, usize),
        panels: &Panels,
        out: &mut [f32],
        stride: usize,
    ) {
        let width = 2 * S::F32_LANES;
        let start = self.start + first * self.stride;
        assert!(count > 0 && start + (count - 1) * self.stride + panels.depth() <= self.values.len());
        assert!((ROWS - 1) * stride + panels.count() * width <= out.len() && panels.width() == width);
        // SAFETY: the rows are inside the values.
        let rows = unsafe { row_pointers::<ROWS>(self.values.as_ptr().add(start), self.stride, count) };
        for panel in 0..panels.count() {
            let at = panels.tap(panel, 0);
            let out = &mut out[panel * width..];
            if panels.columns() - panel * width <= S::F32_LANES {
                let mut sums = [[simd.splat_f32s(0.0); 1]; ROWS];
                // SAFETY: rows and panel are as long as the panels are deep.
                unsafe { accumulate(simd, &mut sums, rows, panels.depth(), at) };
                write::<S, ROWS, 1>(sums, out, stride);
            } else {
                let mut sums = [[simd.splat_f32s(0.0); 2]; ROWS];
                // SAFETY: as above.
                unsafe { accumulate(simd, &mut sums, rows, panels.depth(), at) };
                write::<S, ROWS, 2>(sums, out, stride);
            }
        }
    }
}

#[inline(always)]
fn write<S: Simd, const ROWS: usize, const VECTORS: usize>(
    sums: [[S::f32s; VECTORS]; ROWS],
    out: &mut [f32],
    stride: usize,
) {
    for (r, sums) in sums.iter().enumerate() {
        let (out, _) = S::as_mut_simd_f32s(&mut out[r * stride..]);
        out[..VECTORS].copy_from_slice(sums);
    }
}

impl Rows<'_> {
    /// `self[first + r] = factors[r] · (tile[r] · panels)` for `count` rows of `tile`, which are `stride` values apart.
    ///
    /// # Safety
    /// Nobody else may use these rows at the same time.
    ///
    /// # Panics
    /// If the rows are not inside, or the tile has too few values.
    #[inline(always)]
    pub(super) unsafe fn set_to_tile_times<S: Simd, const ROWS: usize>(
        self,
        simd: S,
        (first, count): (usize, usize),
        (tile, stride): (&[f32], usize),
        panels: &Panels,
        factors: [f32; ROWS],
    ) {
        let width = 2 * S::F32_LANES;
        assert!(count > 0 && (count - 1) * stride + panels.depth() <= tile.len() && panels.width() == width);
        // SAFETY: the rows are inside the tile.
        let rows = unsafe { row_pointers::<ROWS>(tile.as_ptr(), stride, count) };
        for panel in 0..panels.count() {
            let mut sums = [[simd.splat_f32s(0.0); 2]; ROWS];
            // SAFETY: rows and panel are as long as the panels are deep.
            unsafe { accumulate(simd, &mut sums, rows, panels.depth(), panels.tap(panel, 0)) };
            let columns = (panels.columns() - panel * width).min(width);
            for ((r, sums), factor) in sums.iter().enumerate().take(count).zip(factors) {
                let start = self.start + (first + r) * self.stride + panel * width;
                // SAFETY: by the contract.
                let out = unsafe { self.values.part(start, columns) };
                for (out, sum) in out.chunks_mut(S::F32_LANES).zip(sums) {
                    store(simd, out, simd.mul_f32s(*sum, simd.splat_f32s(factor)));
                }
            }
        }
    }
}
