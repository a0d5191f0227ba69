//! The forward pass of a head: softmax and product of a tile of queries at a time.

use pulp::{Simd, WithSimd};

use super::tiles::row_stride;
use super::{Heads, Matrix, Rows};
use crate::exponential::exp;
use crate::product::{Panels, ROWS_OF_16_REGISTERS, ROWS_OF_32_REGISTERS};
use crate::workspace::Workspace;

/// A head to compute.
pub(super) struct ForwardHead<'a> {
    pub heads: Heads,
    pub queries: Matrix<'a>,
    pub keys: Matrix<'a>,
    pub values: Matrix<'a>,
    pub y: Rows<'a>,
    pub log_sums: &'a mut [f32],
}

/// The other sides of its products.
struct Packed {
    /// Columns of the keys' transpose.
    keys: Panels,
    values: Panels,
}

impl WithSimd for ForwardHead<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        if S::REGISTER_COUNT >= 32 {
            self.run::<S, ROWS_OF_32_REGISTERS>(simd);
        } else {
            self.run::<S, ROWS_OF_16_REGISTERS>(simd);
        }
    }
}

impl ForwardHead<'_> {
    #[inline(always)]
    fn run<S: Simd, const ROWS: usize>(&mut self, simd: S) {
        let packed = Packed { keys: self.keys.transposed(self.heads), values: self.values.columns(self.heads) };
        let stride = row_stride(&packed.keys);
        let mut scores = Workspace::new(ROWS * stride);
        for first in (0..self.heads.tokens).step_by(ROWS) {
            let count = (self.heads.tokens - first).min(ROWS);
            if count <= 4 {
                self.tile::<S, 4>(simd, (first, count), &packed, &mut scores, stride);
            } else if count <= 6 && ROWS > 6 {
                self.tile::<S, 6>(simd, (first, count), &packed, &mut scores, stride);
            } else {
                self.tile::<S, ROWS>(simd, (first, count), &packed, &mut scores, stride);
            }
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize>(
        &mut self,
        simd: S,
        rows: (usize, usize),
        packed: &Packed,
        scores: &mut [f32],
        stride: usize,
    ) {
        let (first, count) = rows;
        self.queries.tile_times::<S, ROWS>(simd, rows, &packed.keys, scores, stride);
        let mut inverses = [0.0; ROWS];
        let log_sums = &mut self.log_sums[first..first + count];
        for ((row, log_sum), inverse) in scores.chunks_exact_mut(stride).zip(log_sums).zip(&mut inverses) {
            (*inverse, *log_sum) = exponentials(row, self.heads.tokens, self.heads.factor());
        }
        // SAFETY: every head has rows of its own.
        unsafe { self.y.set_to_tile_times::<S, ROWS>(simd, rows, (&*scores, stride), &packed.values, inverses) };
    }
}

/// Turns the leading `count` scores into `exp(factor · (score − largest))`; returns the inverse of
/// their sum, and the logarithm of the sum of `exp(factor · score)`. The rest of the row is lost.
#[inline(always)]
pub(super) fn exponentials(row: &mut [f32], count: usize, factor: f32) -> (f32, f32) {
    const LANES: usize = 16;
    let row = &mut row[..count.next_multiple_of(LANES)];
    row[count..].fill(f32::NEG_INFINITY);
    let (blocks, _) = row.as_chunks_mut::<LANES>();
    let mut largest = [f32::NEG_INFINITY; LANES];
    for block in &*blocks {
        for (largest, &value) in largest.iter_mut().zip(block) {
            *largest = if value > *largest { value } else { *largest };
        }
    }
    let largest = factor * largest.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0f32; LANES];
    for block in blocks {
        for (sum, value) in sums.iter_mut().zip(block) {
            *value = exp(factor * *value - largest);
            *sum += *value;
        }
    }
    let sum = sums.iter().sum::<f32>();
    (1.0 / sum, largest + sum.ln())
}
