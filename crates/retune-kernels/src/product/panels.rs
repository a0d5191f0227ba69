//! Weights rearranged for the product: panels of as many columns as two vector registers hold.

use pulp::{Simd, WithSimd};

use super::threads::Threads;
use crate::instructions::dispatch;
use crate::shared::SharedSlice;

/// Depths that are packed together: what they take up stays in the first-level cache.
const DEPTHS_TOGETHER: usize = 16;

/// Columns of a panel with this instruction set.
pub(crate) const fn panel_width<S: Simd>() -> usize {
    2 * S::F32_LANES
}

/// Columns of a panel with the widest instruction set of this machine.
pub(crate) fn widest_panel() -> usize {
    struct Width;
    impl WithSimd for Width {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            panel_width::<S>()
        }
    }
    dispatch(Width)
}

/// How a matrix for each tap lies in memory: element `(tap, k, column)` is at
/// `start + tap · tap_stride + k · depth_stride + column · column_stride`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MatrixLayout {
    pub taps: usize,
    pub depth: usize,
    pub columns: usize,
    pub start: usize,
    pub tap_stride: usize,
    pub depth_stride: usize,
    pub column_stride: usize,
}

/// A factor on every element, by its column or by its depth.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scale<'a> {
    None,
    Columns(&'a [f32]),
    Depth(&'a [f32]),
}

/// Packed weights: `panel × tap × depth × panel width`, columns past the last filled with zeros.
#[derive(Clone, Debug)]
pub(crate) struct Panels {
    values: Vec<f32>,
    taps: usize,
    depth: usize,
    columns: usize,
    width: usize,
}

impl Panels {
    /// Packs `matrix`, laid out as `layout` says, times `scale`.
    pub fn pack(matrix: &[f32], layout: MatrixLayout, scale: Scale, threads: Threads) -> Self {
        let MatrixLayout { taps, depth, columns, .. } = layout;
        let width = widest_panel();
        let size = taps * depth * width;
        let mut values = vec![0.0; columns.div_ceil(width) * size];
        let shared = SharedSlice::new(&mut values);
        threads.for_each(columns.div_ceil(width), |panel| {
            let first = panel * width;
            // SAFETY: every panel has a part of its own.
            let out = unsafe { shared.part(panel * size, size) };
            pack_panel(matrix, layout, scale, first..columns.min(first + width), width, out);
        });
        Self { values, taps, depth, columns, width }
    }

    pub fn values(&self) -> &[f32] {
        &self.values
    }

    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    pub fn depth(&self) -> usize {
        self.depth
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Number of panels.
    pub fn count(&self) -> usize {
        self.columns.div_ceil(self.width)
    }

    /// The weights of a tap in a panel: `depth` times a panel's width.
    #[inline(always)]
    pub fn tap(&self, panel: usize, tap: usize) -> *const f32 {
        let size = self.depth * self.width;
        self.values[(panel * self.taps + tap) * size..][..size].as_ptr()
    }
}

/// Packs one panel; lanes past its columns are left as they are.
pub(super) fn pack_panel(
    matrix: &[f32],
    layout: MatrixLayout,
    scale: Scale,
    columns: std::ops::Range<usize>,
    width: usize,
    out: &mut [f32],
) {
    let MatrixLayout { taps, depth, start, tap_stride, depth_stride, column_stride, .. } = layout;
    if taps == 1 && matches!(scale, Scale::None) && (depth_stride == 1 || column_stride == 1) {
        return pack_plain_panel(&matrix[start..], layout, columns, width, out);
    }
    for block in (0..depth).step_by(DEPTHS_TOGETHER) {
        for (lane, column) in columns.clone().enumerate() {
            for k in block..depth.min(block + DEPTHS_TOGETHER) {
                let factor = match scale {
                    Scale::None => 1.0,
                    Scale::Columns(factors) => factors[column],
                    Scale::Depth(factors) => factors[k],
                };
                let from = start + k * depth_stride + column * column_stride;
                for tap in 0..taps {
                    out[(tap * depth + k) * width + lane] = matrix[from + tap * tap_stride] * factor;
                }
            }
        }
    }
}

/// A panel of a single tap whose rows or columns lie in a line and are not scaled.
fn pack_plain_panel(
    matrix: &[f32],
    layout: MatrixLayout,
    columns: std::ops::Range<usize>,
    width: usize,
    out: &mut [f32],
) {
    let MatrixLayout { depth, depth_stride, column_stride, .. } = layout;
    if column_stride == 1 {
        for (k, out) in out.chunks_exact_mut(width).enumerate() {
            out[..columns.len()].copy_from_slice(&matrix[k * depth_stride..][columns.clone()]);
        }
        return;
    }
    for first in columns.clone().step_by(8) {
        let lane = first - columns.start;
        let lines: [&[f32]; 8] = std::array::from_fn(|index| {
            // Columns past the last repeat it, and are not copied.
            let column = (first + index).min(columns.end - 1);
            &matrix[column * column_stride..][..depth]
        });
        let count = (columns.end - first).min(8);
        for (k, out) in out.chunks_exact_mut(width).enumerate() {
            let values: [f32; 8] = std::array::from_fn(|index| lines[index][k]);
            out[lane..lane + count].copy_from_slice(&values[..count]);
        }
    }
}
