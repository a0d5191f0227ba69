//! Weights rearranged for the product: panels of as many columns as two vector registers hold.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::threads::Threads;
use crate::instructions::dispatch;
use crate::shared::SharedSlice;
use crate::transpose::{LINES, transpose_taps};
use crate::vectors::vectorized;

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

impl Scale<'_> {
    #[inline(always)]
    fn factor(self, column: usize, depth: usize) -> f32 {
        match self {
            Self::None => 1.0,
            Self::Columns(factors) => factors[column],
            Self::Depth(factors) => factors[depth],
        }
    }

    /// Writes neighboring columns of a depth, from `first` on, times their factors.
    #[inline(always)]
    fn write(self, values: &[f32], (first, depth): (usize, usize), out: &mut [f32]) {
        match self {
            Self::None => {
                // Whole vectors are copied without a call.
                let ((values, rest), (out, out_rest)) = (values.as_chunks::<LINES>(), out.as_chunks_mut::<LINES>());
                for (out, values) in out.iter_mut().zip(values) {
                    *out = *values;
                }
                out_rest.copy_from_slice(rest);
            }
            Self::Columns(factors) => {
                for ((out, value), factor) in out.iter_mut().zip(values).zip(&factors[first..]) {
                    *out = value * factor;
                }
            }
            Self::Depth(factors) => {
                let factor = factors[depth];
                for (out, value) in out.iter_mut().zip(values) {
                    *out = value * factor;
                }
            }
        }
    }
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

    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    pub fn depth(&self) -> usize {
        self.depth
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Columns of a panel.
    #[inline(always)]
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of panels.
    pub fn count(&self) -> usize {
        self.columns.div_ceil(self.width)
    }

    /// Values of each panel.
    pub fn panel_len(&self) -> usize {
        self.taps * self.depth * self.width
    }

    /// The weights of a tap in a panel: `depth` times a panel's width.
    #[inline(always)]
    pub fn tap(&self, panel: usize, tap: usize) -> *const f32 {
        let size = self.depth * self.width;
        self.values[(panel * self.taps + tap) * size..][..size].as_ptr()
    }
}

/// Packs one panel, `tap × depth × width`; lanes past its columns are left as they are.
pub(crate) fn pack_panel(
    matrix: &[f32],
    layout: MatrixLayout,
    scale: Scale,
    columns: Range<usize>,
    width: usize,
    out: &mut [f32],
) {
    let panel = Packing { matrix: &matrix[layout.start..], layout, scale, columns, width };
    vectorized(
        #[inline(always)]
        || match layout.taps {
            1 => panel.side_by_side::<1>(out),
            9 if layout.tap_stride == 1 => panel.side_by_side::<9>(out),
            _ => panel.apart(out),
        },
    );
}

/// Some columns of a matrix on their way into a panel.
struct Packing<'a> {
    /// From the layout's start on.
    matrix: &'a [f32],
    layout: MatrixLayout,
    scale: Scale<'a>,
    columns: Range<usize>,
    width: usize,
}

impl Packing<'_> {
    /// With taps side by side, and perhaps the columns of a depth or the depths of a column too.
    #[inline(always)]
    fn side_by_side<const TAPS: usize>(&self, out: &mut [f32]) {
        if self.layout.column_stride == TAPS {
            self.rows::<TAPS>(out);
        } else if self.layout.depth_stride == TAPS {
            self.lines::<TAPS>(out);
        } else {
            self.apart(out);
        }
    }

    /// From a row of columns for each depth, eight columns at a time.
    #[inline(always)]
    fn rows<const TAPS: usize>(&self, out: &mut [f32]) {
        let Self { matrix, layout, scale, ref columns, width } = *self;
        for k in 0..layout.depth {
            let row = &matrix[k * layout.depth_stride..][columns.start * TAPS..columns.end * TAPS];
            let (row, out) = (row.as_chunks::<TAPS>().0, &mut out[k * width..]);
            if TAPS == 1 {
                scale.write(row.as_flattened(), (columns.start, k), &mut out[..columns.len()]);
                continue;
            }
            let factor = |lane: usize| scale.factor(columns.start + lane, k);
            let whole = columns.len() / LINES * LINES;
            for lane in (0..whole).step_by(LINES) {
                let lines = std::array::from_fn(|index| row[lane + index].as_slice());
                let factors = std::array::from_fn(|index| factor(lane + index));
                transpose_taps::<1>(lines, factors, &mut out[lane..], layout.depth * width);
            }
            for tap in 0..TAPS {
                let out = &mut out[tap * layout.depth * width..][whole..columns.len()];
                for ((out, taps), lane) in out.iter_mut().zip(&row[whole..]).zip(whole..) {
                    *out = taps[tap] * factor(lane);
                }
            }
        }
    }

    /// From a line of depths for each column, eight columns at a time.
    #[inline(always)]
    fn lines<const TAPS: usize>(&self, out: &mut [f32]) {
        let Self { matrix, layout, scale, ref columns, width } = *self;
        for first in columns.clone().step_by(LINES) {
            let (lane, count) = (first - columns.start, (columns.end - first).min(LINES));
            // Columns past the last repeat it, and are not copied.
            let columns: [usize; LINES] = std::array::from_fn(|index| first + index.min(count - 1));
            let lines = columns.map(|column| &matrix[column * layout.column_stride..][..layout.depth * TAPS]);
            if count == LINES && !matches!(scale, Scale::Depth(_)) {
                let factors = columns.map(|column| scale.factor(column, 0));
                transpose_taps::<TAPS>(lines, factors, &mut out[lane..], width);
                continue;
            }
            for k in 0..layout.depth {
                let mut block = [[0.0; LINES]; TAPS];
                for (index, (line, &column)) in lines.iter().zip(&columns).enumerate() {
                    let factor = scale.factor(column, k);
                    for (values, value) in block.iter_mut().zip(&line[k * TAPS..][..TAPS]) {
                        values[index] = value * factor;
                    }
                }
                for (tap, values) in block.iter().enumerate() {
                    out[(tap * layout.depth + k) * width + lane..][..count].copy_from_slice(&values[..count]);
                }
            }
        }
    }

    /// From elements that lie in any order.
    #[inline(always)]
    fn apart(&self, out: &mut [f32]) {
        let MatrixLayout { taps, depth, tap_stride, depth_stride, column_stride, .. } = self.layout;
        for block in (0..depth).step_by(DEPTHS_TOGETHER) {
            for (lane, column) in self.columns.clone().enumerate() {
                for k in block..depth.min(block + DEPTHS_TOGETHER) {
                    let (from, factor) = (k * depth_stride + column * column_stride, self.scale.factor(column, k));
                    for tap in 0..taps {
                        out[(tap * depth + k) * self.width + lane] = self.matrix[from + tap * tap_stride] * factor;
                    }
                }
            }
        }
    }
}
