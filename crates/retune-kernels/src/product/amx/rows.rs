//! The product of gathered rows and weights.

use std::ops::Range;

use rayon::prelude::*;

use super::parts::{Packed, clear_row, pack_columns, pack_row};
use super::{BLOCK, Block, Line, Place, STEP, TILE, Tiles, Unit};
use crate::precision::Precision;
use crate::product::gather::Places;
use crate::product::panels::{MatrixLayout, Scale, pack_panel};
use crate::product::source::Weights;
use crate::product::{Epilogue, Gather, Output, Threads};
use crate::workspace::Workspace;

/// Bytes that the packed rows of a task take up, half of a second-level cache.
const BYTES_OF_TASK: usize = 1 << 20;
/// Bytes of weights that a block of rows meets before the next block does, a quarter of a second-level cache. The more panels,
/// the longer the parts of the destination's rows that are written, and of the residual's that are read, one after the other.
const BYTES_OF_PANELS: usize = 1 << 19;
/// Steps of depths that all blocks of a task go through before any goes further.
const STEPS_TOGETHER: usize = 24;

/// Least depth of all taps and least columns of a product that goes to the unit. Below, blocks are mostly padding.
const MIN_DEPTH: usize = 32;
const MIN_COLUMNS: usize = 48;
/// Most taps: their values are copied next to each other for every row.
const MAX_TAPS: usize = 64;

/// Least rows of a gradient of a convolution that strides, in 32 bits: with fewer, it takes longer to pack the weights.
const MIN_ROWS_BY_TAPS: usize = 2048;

/// Whether the unit computes a product faster than vectors do. In forward passes, the number of rows does not matter, so that a
/// row's result does not depend on it.
pub(in crate::product) fn suits_rows(precision: Precision, gather: &Gather, layout: MatrixLayout) -> bool {
    let MatrixLayout { taps, depth, columns, .. } = layout;
    let suits_windows = if gather.is_even() {
        taps <= MAX_TAPS
    } else {
        let are_many = precision == Precision::Bfloat16 || gather.rows() >= MIN_ROWS_BY_TAPS;
        depth.is_multiple_of(STEP) && are_many
    };
    taps * depth >= MIN_DEPTH && columns >= MIN_COLUMNS && (taps == 1 || suits_windows)
}

/// Computes the output's rows from those of `source`.
pub(in crate::product) fn row_products(
    unit: Unit,
    precision: Precision,
    source: &[f32],
    weights: Weights,
    output: Output,
) {
    match precision {
        Precision::Float32 => products_of_parts::<3>(unit, source, weights, output),
        Precision::Bfloat16 => products_of_parts::<1>(unit, source, weights, output),
    }
}

fn products_of_parts<const PARTS: usize>(unit: Unit, source: &[f32], weights: Weights, output: Output) {
    let right = pack_weights::<PARTS>(unit, weights);
    let columns = weights.layout.columns.next_multiple_of(BLOCK);
    let mut start = output.epilogue.shift.map_or_else(Vec::new, <[f32]>::to_vec);
    start.resize(columns, 0.0);
    let output = Output { epilogue: Epilogue { shift: None, ..output.epilogue }, ..output };
    let task = Task { unit, output, source, depth: weights.layout.depth, start, right };
    let rows_of_task = BYTES_OF_TASK / (task.right.steps().min(STEPS_TOGETHER) * PARTS * size_of::<Line>());
    let is_even = output.gather.is_even() || !task.depth.is_multiple_of(STEP);
    output.divide((BLOCK, rows_of_task), columns / BLOCK, Threads::All, |rows, panels| {
        // SAFETY: the unit is there, and AVX-512 beside it.
        unsafe { if is_even { task.run(rows, panels) } else { task.run_by_taps(rows, panels) } };
    });
}

/// The weights in blocks of columns, the depths of all taps one after the other.
fn pack_weights<const PARTS: usize>(_: Unit, weights: Weights) -> Packed<PARTS> {
    let MatrixLayout { taps, depth, columns, .. } = weights.layout;
    let mut packed = Packed::new(columns.div_ceil(BLOCK), taps * depth);
    packed.blocks_mut().enumerate().par_bridge().for_each(|(panel, block)| {
        // SAFETY: the unit is there, and AVX-512 beside it.
        unsafe { pack_some::<PARTS>(weights, panel * BLOCK..columns.min((panel + 1) * BLOCK), block) };
    });
    packed
}

/// Packs some columns of the weights.
///
/// # Safety
/// The machine must have the instructions.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn pack_some<const PARTS: usize>(weights: Weights, columns: Range<usize>, block: &mut [Line]) {
    let Weights { matrix, layout, scale } = weights;
    let (depth, count) = (layout.taps * layout.depth, columns.len());
    if layout.taps == 1 && layout.column_stride == 1 && matches!(scale, Scale::None) {
        let row = |k: usize| &matrix[layout.start + k * layout.depth_stride..][columns.clone()];
        return pack_columns::<PARTS>(depth, row, block);
    }
    let mut arranged = Workspace::new(depth * BLOCK);
    pack_panel(matrix, layout, scale, columns, BLOCK, &mut arranged);
    pack_columns::<PARTS>(depth, |k| &arranged[k * BLOCK..][..count], block);
}

/// What all tasks of a product have in common.
struct Task<'a, const PARTS: usize> {
    unit: Unit,
    output: Output<'a>,
    source: &'a [f32],
    /// Of a tap.
    depth: usize,
    /// What the sums of each column start with, for whole blocks.
    start: Vec<f32>,
    right: Packed<PARTS>,
}

impl<const PARTS: usize> Task<'_, PARTS> {
    /// Computes some rows of some panels. With many steps, all blocks go through some of them before any goes through the
    /// next, so that the factors of these stay in the cache; so do those of some panels.
    ///
    /// # Safety
    /// The machine must have the instructions.
    #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    unsafe fn run(&self, rows: Range<usize>, panels: Range<usize>) {
        let (left, destinations) = self.pack(rows);
        let tiles = Tiles::new(self.unit);
        let (steps, blocks) = (self.right.steps(), left.blocks());
        // Rows of several images that take turns may begin and end like neighbors.
        let are_neighbors: Vec<bool> =
            destinations.chunks(BLOCK).map(|rows| rows.is_sorted_by(|one, next| one + 1 == *next)).collect();
        let mut sums = vec![Block::default(); if steps > STEPS_TOGETHER { panels.len() * blocks } else { 1 }];
        for first in (0..steps).step_by(STEPS_TOGETHER) {
            let together = first..steps.min(first + STEPS_TOGETHER);
            let panels_together = (BYTES_OF_PANELS / (together.len() * PARTS * size_of::<[Line; BLOCK]>())).max(1);
            for group in panels.clone().step_by(panels_together) {
                let group = group..panels.end.min(group + panels_together);
                for (block, destinations) in destinations.chunks(BLOCK).enumerate() {
                    let left = left.steps_of(block, together.clone());
                    for panel in group.clone() {
                        let at = ((panel - panels.start) * blocks + block) % sums.len();
                        let between = sums[at].place();
                        let from = if first == 0 { self.start(panel) } else { between };
                        let is_last = together.end == steps;
                        let goes_direct = is_last && are_neighbors[block];
                        let direct = if goes_direct { self.direct(panel, destinations) } else { None };
                        let right = self.right.steps_of(panel, together.clone());
                        // SAFETY: `from` is the start of a whole block's columns or a block; the sums go to a block, or to
                        // where there is room for one.
                        unsafe { tiles.multiply::<PARTS>(left, right, from, direct.unwrap_or(between)) };
                        if is_last && direct.is_none() {
                            self.finish(&sums[at], panel, destinations);
                        }
                    }
                }
            }
        }
    }

    /// The same where most rows read few of the taps, as in the gradient of a convolution that strides: blocks meet only the taps
    /// that their rows read. Each has a depth of whole steps.
    ///
    /// # Safety
    /// The machine must have the instructions.
    #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    unsafe fn run_by_taps(&self, rows: Range<usize>, panels: Range<usize>) {
        let gather = self.output.gather;
        let mut left = Packed::<PARTS>::new(rows.len().div_ceil(BLOCK), gather.taps() * self.depth);
        let mut blocks = Vec::with_capacity(left.blocks());
        for (block, first) in left.blocks_mut().zip(rows.clone().step_by(BLOCK)) {
            let count = BLOCK.min(rows.end - first);
            let places = gather.places::<BLOCK>(first, count);
            let taps: Vec<usize> = (0..gather.taps()).filter(|tap| gather.offsets(&places, *tap).is_some()).collect();
            self.pack_taps(&places, count, &taps, block);
            blocks.push((taps, places, count));
        }
        let tiles = Tiles::new(self.unit);
        let of_tap = |tap: usize| tap * self.depth / STEP..(tap + 1) * self.depth / STEP;
        let mut sums = Block::default();
        for panel in panels {
            for (block, (taps, places, count)) in blocks.iter().enumerate() {
                if taps.is_empty() {
                    sums.0.fill(
                        self.start[panel * BLOCK..][..BLOCK].try_into().expect("the start is padded to whole blocks"),
                    );
                }
                for (at, &tap) in taps.iter().enumerate() {
                    let from = if at == 0 { self.start(panel) } else { sums.place() };
                    let (left, right) = (left.steps_of(block, of_tap(at)), self.right.steps_of(panel, of_tap(tap)));
                    // SAFETY: `from` is the start of a whole block's columns or a block, to which the sums go.
                    unsafe { tiles.multiply::<PARTS>(left, right, from, sums.place()) };
                }
                self.finish(&sums, panel, &places.destination[..*count]);
            }
        }
    }

    /// The same start for every row.
    fn start(&self, panel: usize) -> Place {
        Place { start: self.start[panel * BLOCK..][..BLOCK].as_ptr().cast_mut(), stride: 0 }
    }

    /// Where sums of neighboring rows go that nothing more becomes of: the destination, if it has room for the whole block.
    #[inline(always)]
    fn direct(&self, panel: usize, destinations: &[usize]) -> Option<Place> {
        let Output { epilogue, place, columns, destination, .. } = self.output;
        let is_whole = destinations.len() == BLOCK && (panel + 1) * BLOCK <= columns;
        let is_plain = epilogue.residual.is_none() && epilogue.limits.is_none() && !epilogue.accumulate;
        (is_whole && is_plain).then(|| {
            let at = place.offset + destinations[0] * place.stride + panel * BLOCK;
            Place { start: destination.place(at, (BLOCK - 1) * place.stride + BLOCK), stride: place.stride }
        })
    }

    /// Writes a block of sums row by row.
    #[inline(always)]
    fn finish(&self, sums: &Block, panel: usize, destinations: &[usize]) {
        let simd = self.unit.simd;
        let is_narrow = self.output.columns - panel * BLOCK <= TILE;
        for (sums, row) in sums.0.iter().zip(destinations) {
            let (vectors, _) = pulp::as_arrays::<16, _>(sums);
            let [first, second] = [0, 1].map(|at| pulp::cast(vectors[at]));
            if is_narrow {
                self.output.finish(simd, [[first]], panel, &[*row]);
            } else {
                self.output.finish(simd, [[first, second]], panel, &[*row]);
            }
        }
    }

    /// Packs the source rows that a task's rows read, and returns them with the places where the sums go.
    #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    fn pack(&self, rows: Range<usize>) -> (Packed<PARTS>, Vec<usize>) {
        let gather = self.output.gather;
        let (taps, depth) = (gather.taps(), self.depth);
        let mut packed = Packed::new(rows.len().div_ceil(BLOCK), taps * depth);
        let mut destinations = Vec::with_capacity(rows.len());
        // A tap of whole steps is packed by itself; others share steps, so windows are put together first.
        let is_apart = taps == 1 || depth.is_multiple_of(STEP);
        let all: Vec<usize> = (0..taps).collect();
        let mut windows = Workspace::new(if is_apart { 0 } else { BLOCK * taps * depth });
        for (block, first) in packed.blocks_mut().zip(rows.clone().step_by(BLOCK)) {
            let count = BLOCK.min(rows.end - first);
            let places = gather.places::<BLOCK>(first, count);
            destinations.extend_from_slice(&places.destination[..count]);
            if is_apart {
                self.pack_taps(&places, count, &all, block);
                continue;
            }
            for tap in 0..taps {
                let offsets = gather.offsets(&places, tap).unwrap_or([-1; BLOCK]);
                for (row, &offset) in offsets[..count].iter().enumerate() {
                    let window = &mut windows[(row * taps + tap) * depth..][..depth];
                    match usize::try_from(offset) {
                        Ok(offset) => window.copy_from_slice(&self.source[offset..][..depth]),
                        Err(_) => window.fill(0.0),
                    }
                }
            }
            for (row, window) in windows.chunks_exact((taps * depth).max(1)).take(count).enumerate() {
                pack_row::<PARTS>(window, row, block);
            }
        }
        (packed, destinations)
    }

    /// Packs what some rows read at some taps, one tap after the other.
    #[inline]
    #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    fn pack_taps(&self, places: &Places<BLOCK>, count: usize, taps: &[usize], block: &mut [Line]) {
        let lines = self.depth.div_ceil(STEP) * PARTS * BLOCK;
        for (&tap, block) in taps.iter().zip(block.chunks_exact_mut(lines)) {
            let offsets = self.output.gather.offsets(places, tap).unwrap_or([-1; BLOCK]);
            for (row, &offset) in offsets[..count].iter().enumerate() {
                match usize::try_from(offset) {
                    Ok(offset) => pack_row::<PARTS>(&self.source[offset..][..self.depth], row, block),
                    Err(_) => clear_row::<PARTS>(row, block),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Unit;
    use crate::convolution::{ConvolutionShape, input_gradient};
    use crate::precision::{Precision, rounded};
    use crate::product::amx::tests::{padded, values, windows};

    /// The input's gradient in double precision, and for each element the magnitudes that it adds up.
    fn expected(shape: &ConvolutionShape, gradient: &[f32], weight: &[f32]) -> Vec<(f64, f64)> {
        let (mut sums, taps) = (vec![(0.0, 0.0); shape.input_len()], shape.kernel * shape.kernel);
        for (pixel, tap, source) in windows(shape) {
            let sums = &mut sums[source * shape.inputs..][..shape.inputs];
            for (output, &g) in gradient[pixel * shape.outputs..][..shape.outputs].iter().enumerate() {
                for (input, sum) in sums.iter_mut().enumerate() {
                    let term = f64::from(g) * f64::from(weight[(output * shape.inputs + input) * taps + tap]);
                    *sum = (sum.0 + term, sum.1 + term.abs());
                }
            }
        }
        sums
    }

    #[test]
    fn gradients_of_strides_are_those_of_double_precision() {
        if Unit::available().is_none() {
            return;
        }
        // Enough rows for either precision, and too few; columns of whole blocks and not; places that no window reads.
        for (batch, side, inputs, outputs, kernel, stride) in
            [(3, 27, 48, 64, 3, 2), (3, 27, 70, 32, 1, 2), (2, 5, 64, 32, 3, 2), (1, 47, 64, 32, 2, 3)]
        {
            let shape = padded(batch, side, (inputs, outputs), (kernel, stride));
            let (gradient, weight) = (values(shape.output_len(), 1), values(shape.weight_len(), 2));
            for precision in [Precision::Float32, Precision::Bfloat16] {
                let found = input_gradient(&shape, &gradient, &weight, None, precision);
                let round = |values: &[f32]| match precision {
                    Precision::Float32 => values.to_vec(),
                    Precision::Bfloat16 => values.iter().map(|value| rounded(*value)).collect(),
                };
                for (found, (sum, magnitude)) in found.iter().zip(expected(&shape, &round(&gradient), &round(&weight)))
                {
                    // Sums of 32 bits, of up to 256 products in steps of 32.
                    let close = (f64::from(*found) - sum).abs() <= 2f64.powi(-20) * magnitude;
                    assert!(close, "{shape:?} {precision:?}: {found} {sum}");
                }
            }
        }
    }
}
