//! The two matrix products of a linear classifier, shaped for many rows, many features and few classes.
//!
//! A general matrix product packs both operands first, which costs as much as the product itself when there are only a
//! handful of classes. These kernels keep a small block of rows and classes in registers and read the features where
//! they lie. [`pulp`] picks the widest instruction set of the machine at run time.

use std::mem;
use std::ops::Range;

use pulp::{Simd, WithSimd};
use retune_kernels::dispatch;

/// Rows handled together, so that each class weight read from the cache is used this many times.
const ROW_BLOCK: usize = 4;
/// Classes handled together: with four rows, as many sums as sixteen vector registers have room for, and thirty-two.
const CLASSES_OF_16_REGISTERS: usize = 3;
const CLASSES_OF_32_REGISTERS: usize = 6;
/// Rows added to a class's gradient together, so that it is read and written once for this many of them.
const GRADIENT_ROWS: usize = 8;
/// Classes whose gradients are added to together where there are thirty-two vector registers, so that features are read
/// once for all of them.
const GRADIENT_CLASSES: usize = 3;
/// Bytes of gradients that all rows of a block are added to in turn; they stay in the first-level cache meanwhile.
const GRADIENT_TILE_BYTES: usize = 32 * 1024;

/// The sizes of a block of rows, of the features, and of the classes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub rows: usize,
    pub columns: usize,
    pub classes: usize,
}

/// `out[row, class] = features[row] · weight[class] + bias[class]`, all row-major.
pub(super) fn logits(shape: Shape, features: &[f32], weight: &[f32], bias: &[f32], out: &mut [f32]) {
    dispatch(Logits { shape, features, weight, bias, out });
}

/// `gradient[class] += Σ_row residual[row, class] · features[row]`, all row-major.
pub(super) fn accumulate_gradient(shape: Shape, features: &[f32], residual: &[f32], gradient: &mut [f32]) {
    dispatch(AccumulateGradient { shape, features, residual, gradient });
}

#[inline(always)]
fn row(matrix: &[f32], columns: usize, index: usize) -> &[f32] {
    &matrix[index * columns..(index + 1) * columns]
}

// Loops, not `array::map`: a closure is compiled without the instruction set that is dispatched to unless it is inlined,
// and inside `map` it is not.

#[inline(always)]
fn consecutive_rows<const ROWS: usize>(matrix: &[f32], columns: usize, first: usize) -> [&[f32]; ROWS] {
    let mut rows: [&[f32]; ROWS] = [&[]; ROWS];
    for (offset, slot) in rows.iter_mut().enumerate() {
        *slot = row(matrix, columns, first + offset);
    }
    rows
}

/// The leading whole vectors of every row.
#[inline(always)]
fn whole_vectors<S: Simd, const ROWS: usize>(rows: [&[f32]; ROWS], vectors: usize) -> [&[S::f32s]; ROWS] {
    let mut heads: [&[S::f32s]; ROWS] = [&[]; ROWS];
    for (head, row) in heads.iter_mut().zip(rows) {
        *head = &S::as_simd_f32s(row).0[..vectors];
    }
    heads
}

struct Logits<'a> {
    shape: Shape,
    features: &'a [f32],
    weight: &'a [f32],
    bias: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Logits<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let Shape { rows, classes, .. } = self.shape;
        // Classes outermost: their few weight rows stay in the first-level cache while the features stream past.
        let together = if S::REGISTER_COUNT >= 32 { CLASSES_OF_32_REGISTERS } else { CLASSES_OF_16_REGISTERS };
        for class in (0..classes).step_by(together) {
            match (classes - class).min(together) {
                1 => self.class_block::<S, 1>(simd, rows, class),
                2 => self.class_block::<S, 2>(simd, rows, class),
                3 => self.class_block::<S, 3>(simd, rows, class),
                4 => self.class_block::<S, 4>(simd, rows, class),
                5 => self.class_block::<S, 5>(simd, rows, class),
                _ => self.class_block::<S, CLASSES_OF_32_REGISTERS>(simd, rows, class),
            }
        }
    }
}

impl Logits<'_> {
    #[inline(always)]
    fn class_block<S: Simd, const CLASSES: usize>(&mut self, simd: S, rows: usize, class: usize) {
        let blocked_rows = rows - rows % ROW_BLOCK;
        for first in (0..blocked_rows).step_by(ROW_BLOCK) {
            self.block::<S, ROW_BLOCK, CLASSES>(simd, first, class);
        }
        for single in blocked_rows..rows {
            self.block::<S, 1, CLASSES>(simd, single, class);
        }
    }

    #[inline(always)]
    fn block<S: Simd, const ROWS: usize, const CLASSES: usize>(
        &mut self,
        simd: S,
        first_row: usize,
        first_class: usize,
    ) {
        let Shape { columns, classes, .. } = self.shape;
        let features = consecutive_rows::<ROWS>(self.features, columns, first_row);
        let weights = consecutive_rows::<CLASSES>(self.weight, columns, first_class);
        let products = dot_products(simd, features, weights);
        for (row_offset, products) in products.iter().enumerate() {
            let out = &mut self.out[(first_row + row_offset) * classes + first_class..][..CLASSES];
            for (class_offset, (out, product)) in out.iter_mut().zip(products).enumerate() {
                *out = product + self.bias[first_class + class_offset];
            }
        }
    }
}

#[inline(always)]
fn dot_products<S: Simd, const ROWS: usize, const CLASSES: usize>(
    simd: S,
    features: [&[f32]; ROWS],
    weights: [&[f32]; CLASSES],
) -> [[f32; CLASSES]; ROWS] {
    let vectors = S::as_simd_f32s(features[0]).0.len();
    let feature_vectors = whole_vectors::<S, ROWS>(features, vectors);
    let weight_vectors = whole_vectors::<S, CLASSES>(weights, vectors);
    let mut sums = [[simd.splat_f32s(0.0); CLASSES]; ROWS];
    for position in 0..vectors {
        for class in 0..CLASSES {
            let weight = weight_vectors[class][position];
            for row in 0..ROWS {
                sums[row][class] = simd.mul_add_f32s(feature_vectors[row][position], weight, sums[row][class]);
            }
        }
    }
    let mut products = [[0.0; CLASSES]; ROWS];
    for row in 0..ROWS {
        let feature_tail = S::as_simd_f32s(features[row]).1;
        for class in 0..CLASSES {
            let weight_tail = S::as_simd_f32s(weights[class]).1;
            let tail: f32 = feature_tail.iter().zip(weight_tail).map(|(f, w)| f * w).sum();
            products[row][class] = simd.reduce_sum_f32s(sums[row][class]) + tail;
        }
    }
    products
}

struct AccumulateGradient<'a> {
    shape: Shape,
    features: &'a [f32],
    residual: &'a [f32],
    gradient: &'a mut [f32],
}

impl WithSimd for AccumulateGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let Shape { rows, columns, classes } = self.shape;
        let blocked_rows = rows - rows % GRADIENT_ROWS;
        let together = if S::REGISTER_COUNT >= 32 { GRADIENT_CLASSES } else { 1 };
        let blocks = (GRADIENT_TILE_BYTES / (together * columns * size_of::<f32>())).max(1);
        let tile = blocks * together;
        for start in (0..classes).step_by(tile) {
            let end = (start + tile).min(classes);
            for first in (0..blocked_rows).step_by(GRADIENT_ROWS) {
                self.add_rows::<S, GRADIENT_ROWS>(simd, first, start..end, together);
            }
            for single in blocked_rows..rows {
                self.add_rows::<S, 1>(simd, single, start..end, together);
            }
        }
    }
}

impl AccumulateGradient<'_> {
    #[inline(always)]
    fn add_rows<S: Simd, const ROWS: usize>(
        &mut self,
        simd: S,
        first_row: usize,
        classes: Range<usize>,
        together: usize,
    ) {
        let mut class = classes.start;
        while class < classes.end {
            if together == GRADIENT_CLASSES && classes.end - class >= GRADIENT_CLASSES {
                self.block::<S, ROWS, GRADIENT_CLASSES>(simd, first_row, class);
                class += GRADIENT_CLASSES;
            } else {
                self.block::<S, ROWS, 1>(simd, first_row, class);
                class += 1;
            }
        }
    }

    #[inline(always)]
    fn block<S: Simd, const ROWS: usize, const CLASSES: usize>(&mut self, simd: S, first_row: usize, class: usize) {
        let Shape { columns, classes, .. } = self.shape;
        let features = consecutive_rows::<ROWS>(self.features, columns, first_row);
        let mut residuals = [[0.0; ROWS]; CLASSES];
        for (index, residuals) in residuals.iter_mut().enumerate() {
            for (offset, residual) in residuals.iter_mut().enumerate() {
                *residual = self.residual[(first_row + offset) * classes + class + index];
            }
        }
        let gradient = &mut self.gradient[class * columns..(class + CLASSES) * columns];
        add_scaled_rows(simd, features, residuals, gradient);
    }
}

/// `sums[class] += Σ_row scales[class][row] · features[row]`, the sums one after another.
#[inline(always)]
fn add_scaled_rows<S: Simd, const ROWS: usize, const CLASSES: usize>(
    simd: S,
    features: [&[f32]; ROWS],
    scales: [[f32; ROWS]; CLASSES],
    mut sums: &mut [f32],
) {
    let columns = features[0].len();
    let vectors = S::as_simd_f32s(features[0]).0.len();
    let feature_vectors = whole_vectors::<S, ROWS>(features, vectors);
    let mut scale_vectors = [[simd.splat_f32s(0.0); ROWS]; CLASSES];
    for (vectors, scales) in scale_vectors.iter_mut().zip(scales) {
        for (vector, scale) in vectors.iter_mut().zip(scales) {
            *vector = simd.splat_f32s(scale);
        }
    }
    let mut sum_vectors: [&mut [S::f32s]; CLASSES] = std::array::from_fn(|_| Default::default());
    let mut sum_tails: [&mut [f32]; CLASSES] = std::array::from_fn(|_| Default::default());
    for (head, tail) in sum_vectors.iter_mut().zip(&mut sum_tails) {
        let (own, others) = mem::take(&mut sums).split_at_mut(columns);
        sums = others;
        let (own_vectors, own_tail) = S::as_mut_simd_f32s(own);
        *head = &mut own_vectors[..vectors];
        *tail = own_tail;
    }
    for position in 0..vectors {
        let mut totals = [simd.splat_f32s(0.0); CLASSES];
        for class in 0..CLASSES {
            totals[class] = sum_vectors[class][position];
        }
        for row in 0..ROWS {
            let feature = feature_vectors[row][position];
            for class in 0..CLASSES {
                totals[class] = simd.mul_add_f32s(feature, scale_vectors[class][row], totals[class]);
            }
        }
        for class in 0..CLASSES {
            sum_vectors[class][position] = totals[class];
        }
    }
    for (tail, scales) in sum_tails.iter_mut().zip(scales) {
        let first_of_tail = columns - tail.len();
        for (position, sum) in tail.iter_mut().enumerate() {
            for row in 0..ROWS {
                *sum += features[row][first_of_tail + position] * scales[row];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Odd sizes on every axis, so that each remainder path runs.
    const SHAPES: [(usize, usize, usize); 5] = [(9, 37, 7), (4, 16, 3), (1, 1, 1), (6, 5, 2), (9, 600, 23)];

    fn ramp(length: usize, step: f32) -> Vec<f32> {
        (0..length).map(|i| ((i * 37 % 101) as f32 - 50.0) * step).collect()
    }

    #[test]
    fn logits_equal_the_sums_written_out() {
        for (rows, columns, classes) in SHAPES {
            let features = ramp(rows * columns, 0.02);
            let weight = ramp(classes * columns, 0.03);
            let bias = ramp(classes, 0.1);
            let mut out = vec![f32::NAN; rows * classes];
            let shape = Shape { rows, columns, classes };
            logits(shape, &features, &weight, &bias, &mut out);
            for r in 0..rows {
                for c in 0..classes {
                    let expected: f64 = row(&features, columns, r)
                        .iter()
                        .zip(row(&weight, columns, c))
                        .map(|(f, w)| f64::from(*f) * f64::from(*w))
                        .sum::<f64>()
                        + f64::from(bias[c]);
                    // Each term is below 2, and its rounding below 2⁻²³ of the sum so far.
                    let tolerance = 1e-5 + 2.0_f64.powi(-23) * columns as f64;
                    assert!((f64::from(out[r * classes + c]) - expected).abs() < tolerance);
                }
            }
        }
    }

    #[test]
    fn gradient_adds_to_what_is_there() {
        for (rows, columns, classes) in SHAPES {
            let features = ramp(rows * columns, 0.02);
            let residual = ramp(rows * classes, 0.03);
            let mut gradient = vec![1.0; classes * columns];
            let shape = Shape { rows, columns, classes };
            accumulate_gradient(shape, &features, &residual, &mut gradient);
            for c in 0..classes {
                for j in 0..columns {
                    let expected: f64 = 1.0
                        + (0..rows)
                            .map(|r| f64::from(features[r * columns + j]) * f64::from(residual[r * classes + c]))
                            .sum::<f64>();
                    assert!((f64::from(gradient[c * columns + j]) - expected).abs() < 2e-5);
                }
            }
        }
    }
}
