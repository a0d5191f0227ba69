//! The gradients of weights with windows: outer products of gathered rows, summed.

use std::ops::Range;

use super::parts::{Packed, pack_columns, pack_row};
use super::{BLOCK, Block, Place, STEP, Tiles, Unit};
use crate::precision::Precision;
use crate::product::gather::Places;
use crate::product::transposed::{Division, Task, TransposedProduct};
use crate::transpose::transpose_rows;
use crate::workspace::Workspace;

/// What padding reads.
static ZEROS: [f32; BLOCK] = [0.0; BLOCK];

/// Most columns of a task.
const MOST_COLUMNS: usize = 512;
/// Rows that are packed together, times the parts of a factor: the gradients of the most columns take 768 KiB of a
/// second-level cache in either precision.
const PARTS_TOGETHER: usize = 768;

/// Least depth and least columns of a product that goes to the unit. Below, blocks are more than half padding.
const MIN_DEPTH: usize = 16;
const MIN_COLUMNS: usize = 48;

/// Whether the unit computes a product faster than vectors do.
pub(in crate::product) fn suits_transposed(product: &TransposedProduct) -> bool {
    product.depth >= MIN_DEPTH && product.columns >= MIN_COLUMNS
}

/// How the product is divided.
pub(in crate::product) fn division(product: &TransposedProduct) -> Division {
    Division::of_blocks(BLOCK, product.columns.next_multiple_of(BLOCK).min(MOST_COLUMNS))
}

/// Adds a task's part of the gradient to its sums.
pub(in crate::product) fn run_transposed(unit: Unit, task: Task) {
    // SAFETY: the unit is there, and AVX-512 beside it.
    unsafe {
        match task.product.precision {
            Precision::Float32 => run_with_unit::<3>(unit, task),
            Precision::Bfloat16 => run_with_unit::<1>(unit, task),
        }
    }
}

/// # Safety
/// The machine must have the instructions.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn run_with_unit<const PARTS: usize>(unit: Unit, task: Task) {
    let Task { product, columns, depths, sums, width } = task;
    let all_rows = product.gather.rows();
    let together = (PARTS_TOGETHER / PARTS).min(all_rows).max(1);
    let mut left = Packed::<PARTS>::new(columns.len().div_ceil(BLOCK), together);
    let mut right = Packed::<PARTS>::new(1, together);
    let tiles = Tiles::new(unit);
    // Whether a tap's sums hold something.
    let mut are_begun = vec![false; product.gather.taps()];
    for first in (0..all_rows).step_by(together) {
        let rows = Rows::new(&product, first, together.min(all_rows - first));
        rows.pack_gradients(&columns, &mut left);
        for ((tap, sums), is_begun) in sums.chunks_exact_mut(depths.len() * width).enumerate().zip(&mut are_begun) {
            let Some(sources) = rows.sources(tap, depths.start) else { continue };
            let adds = std::mem::replace(is_begun, true);
            for start in (0..depths.len()).step_by(BLOCK) {
                let count = BLOCK.min(depths.len() - start);
                let row = |row: usize| sources[row].map_or(&ZEROS[..count], |source| &source[start..][..count]);
                pack_columns::<PARTS>(rows.count, row, right.only_block_mut());
                write_products(&tiles, (&left, &right), rows.count, &mut sums[start..], (count, depths.len()), adds);
            }
        }
    }
    // Taps that lie on the padding everywhere.
    for (sums, is_begun) in sums.chunks_exact_mut(depths.len() * width).zip(are_begun) {
        if !is_begun {
            sums.fill(0.0);
        }
    }
}

/// Writes the products of all blocks of columns and a block of `count` depths, or adds them to the sums, a row for each
/// column, each `stride` values from the next.
#[inline(always)]
fn write_products<const PARTS: usize>(
    tiles: &Tiles,
    (left, right): (&Packed<PARTS>, &Packed<PARTS>),
    rows: usize,
    sums: &mut [f32],
    (count, stride): (usize, usize),
    adds: bool,
) {
    let steps = 0..rows.div_ceil(STEP);
    let mut beside = Block::default();
    for block in 0..left.blocks() {
        let (left, right) = (left.steps_of(block, steps.clone()), right.steps_of(0, steps.clone()));
        let sums = &mut sums[block * BLOCK * stride..][..(BLOCK - 1) * stride + count];
        if count == BLOCK {
            let to = Place { start: sums.as_mut_ptr(), stride };
            // SAFETY: the sums have a whole block there.
            unsafe { tiles.multiply::<PARTS>(left, right, if adds { to } else { Place::zeros() }, to) };
        } else {
            // SAFETY: a block of its own.
            unsafe { tiles.multiply::<PARTS>(left, right, Place::zeros(), beside.place()) };
            for (sums, products) in sums.chunks_mut(stride).zip(&beside.0) {
                let sums = sums[..count].iter_mut().zip(products);
                sums.for_each(|(sum, product)| *sum = if adds { *sum + product } else { *product });
            }
        }
    }
}

/// Rows that are packed together.
struct Rows<'a> {
    product: &'a TransposedProduct<'a>,
    places: Vec<Places<BLOCK>>,
    count: usize,
}

impl<'a> Rows<'a> {
    fn new(product: &'a TransposedProduct, first: usize, count: usize) -> Self {
        let blocks = (0..count).step_by(BLOCK);
        let places = blocks.map(|at| product.gather.places::<BLOCK>(first + at, BLOCK.min(count - at))).collect();
        Self { product, places, count }
    }

    /// Packs the gradients' columns as rows of the left side.
    #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    fn pack_gradients<const PARTS: usize>(&self, columns: &Range<usize>, packed: &mut Packed<PARTS>) {
        let TransposedProduct { gradient, gradient_offset, gradient_stride, .. } = *self.product;
        let mut turned = Workspace::new(BLOCK * self.count);
        for (start, block) in columns.clone().step_by(BLOCK).zip(packed.blocks_mut()) {
            let count = BLOCK.min(columns.end - start);
            let row = |row: usize| {
                let place = self.places[row / BLOCK].destination[row % BLOCK];
                &gradient[gradient_offset + place * gradient_stride + start..][..count]
            };
            transpose_rows(self.count, row, &mut turned, self.count);
            for (column, values) in turned.chunks_exact(self.count).take(count).enumerate() {
                pack_row::<PARTS>(values, column, block);
            }
        }
    }

    /// What each row reads at a tap, from a depth on; nothing in the padding, and nothing at all if all rows are there.
    fn sources(&self, tap: usize, depth: usize) -> Option<Vec<Option<&'a [f32]>>> {
        let source = self.product.source;
        let mut any = false;
        let mut sources = Vec::with_capacity(self.places.len() * BLOCK);
        for places in &self.places {
            let offsets = self.product.gather.offsets(places, tap);
            any |= offsets.is_some();
            let offsets = offsets.unwrap_or([-1; BLOCK]);
            sources.extend(offsets.map(|offset| (offset >= 0).then(|| &source[offset as usize + depth..])));
        }
        any.then_some(sources)
    }
}

#[cfg(test)]
mod tests {
    use super::Unit;
    use crate::convolution::{ConvolutionShape, weight_gradient};
    use crate::precision::{Precision, rounded};
    use crate::product::amx::tests::{padded, values, windows};

    /// The gradient in double precision, and for each element the magnitudes that it adds up.
    fn expected(shape: &ConvolutionShape, x: &[f32], gradient: &[f32]) -> Vec<(f64, f64)> {
        let (mut sums, taps) = (vec![(0.0, 0.0); shape.weight_len()], shape.kernel * shape.kernel);
        for (pixel, tap, source) in windows(shape) {
            let source = &x[source * shape.inputs..][..shape.inputs];
            for (output, &g) in gradient[pixel * shape.outputs..][..shape.outputs].iter().enumerate() {
                for (input, &value) in source.iter().enumerate() {
                    let sum = &mut sums[(output * shape.inputs + input) * taps + tap];
                    let term = f64::from(g) * f64::from(value);
                    *sum = (sum.0 + term, sum.1 + term.abs());
                }
            }
        }
        sums
    }

    #[test]
    fn gradients_of_windows_are_those_of_double_precision_on_any_number_of_threads() {
        if Unit::available().is_none() {
            return;
        }
        // Depths and columns below, at, and above whole blocks; one group of rows and several; more columns than a task has.
        for (batch, side, inputs, outputs, kernel, stride) in [
            (2, 9, 40, 72, 3, 2),
            (1, 5, 33, 48, 3, 2),
            (3, 18, 32, 64, 2, 1),
            (1, 4, 64, 530, 3, 2),
            (2, 21, 70, 50, 1, 2),
            (2, 12, 20, 64, 3, 2),
        ] {
            let shape = padded(batch, side, (inputs, outputs), (kernel, stride));
            let (x, gradient) = (values(shape.input_len(), 1), values(shape.output_len(), 2));
            for precision in [Precision::Float32, Precision::Bfloat16] {
                let computed = |threads| {
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
                    pool.install(|| weight_gradient(&shape, &x, &gradient, None, None, precision).weight)
                };
                let found = computed(1);
                let round = |values: &[f32]| match precision {
                    Precision::Float32 => values.to_vec(),
                    Precision::Bfloat16 => values.iter().map(|value| rounded(*value)).collect(),
                };
                for (found, (sum, magnitude)) in found.iter().zip(expected(&shape, &round(&x), &round(&gradient))) {
                    // Sums of 32 bits, of up to a thousand products in steps of 32.
                    let close = (f64::from(*found) - sum).abs() <= 2f64.powi(-20) * magnitude;
                    assert!(close, "{shape:?} {precision:?}: {found} {sum}");
                }
                assert!([2, 5].into_iter().all(|threads| computed(threads) == found), "{shape:?} on several threads");
            }
        }
    }
}
