//! The backward pass of a head: a tile of keys at a time meets all queries.

use pulp::{Simd, WithSimd};

use super::tiles::row_stride;
use super::{Heads, Matrix, Rows};
use crate::exponential::exp;
use crate::product::{Panels, ROWS_OF_16_REGISTERS, ROWS_OF_32_REGISTERS};
use crate::vectors::store;
use crate::workspace::Workspace;

/// Most keys whose gradients of scores are kept to be multiplied together with the keys.
const KEYS_TOGETHER: usize = 96;

/// A head to differentiate.
pub(super) struct BackwardHead<'a> {
    pub heads: Heads,
    pub queries: Matrix<'a>,
    pub keys: Matrix<'a>,
    pub values: Matrix<'a>,
    pub dy: Matrix<'a>,
    /// `Σ dy · y` for each query.
    pub along: &'a [f32],
    pub log_sums: &'a [f32],
    pub dqueries: Rows<'a>,
    pub dkeys: Rows<'a>,
    pub dvalues: Rows<'a>,
}

/// Both sides of the products with all queries.
struct Packed {
    /// Columns of the queries' transpose, and of the output's gradient's.
    queries_across: Panels,
    dy_across: Panels,
    queries: Panels,
    dy: Panels,
    keys: Panels,
}

impl WithSimd for BackwardHead<'_> {
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

impl BackwardHead<'_> {
    #[inline(always)]
    fn run<S: Simd, const ROWS: usize>(&self, simd: S) {
        let tokens = self.heads.tokens;
        let packed = Packed {
            queries_across: self.queries.transposed(self.heads),
            dy_across: self.dy.transposed(self.heads),
            queries: self.queries.columns(self.heads),
            dy: self.dy.columns(self.heads),
            keys: self.keys.columns(self.heads),
        };
        let stride = row_stride(&packed.queries_across);
        let blocks = tokens.div_ceil(KEYS_TOGETHER);
        let together = tokens.div_ceil(blocks.max(1)).next_multiple_of(ROWS);
        let mut weights = Workspace::new(ROWS * stride);
        let mut dscores = Workspace::new((together + ROWS) * stride);
        let mut dqueries = Workspace::new(tokens.next_multiple_of(ROWS) * packed.keys.count() * packed.keys.width());
        dqueries.fill(0.0);
        for block in (0..tokens).step_by(together.max(1)) {
            let end = tokens.min(block + together);
            for first in (block..end).step_by(ROWS) {
                let count = (end - first).min(ROWS);
                let dscores = &mut dscores[(first - block) * stride..];
                if count <= 4 {
                    self.tile::<S, 4>(simd, (first, count), &packed, (&mut weights[..], dscores), stride);
                } else if count <= 6 && ROWS > 6 {
                    self.tile::<S, 6>(simd, (first, count), &packed, (&mut weights[..], dscores), stride);
                } else {
                    self.tile::<S, ROWS>(simd, (first, count), &packed, (&mut weights[..], dscores), stride);
                }
            }
            add_to_queries::<S, ROWS>(simd, (block, end), (&dscores[..], stride), &packed.keys, &mut dqueries, tokens);
        }
        self.write_queries(simd, &dqueries, &packed.keys);
    }

    /// The gradients of the keys and values of a tile; leaves those of its scores, a row for each key.
    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize>(
        &self,
        simd: S,
        rows: (usize, usize),
        packed: &Packed,
        (weights, dscores): (&mut [f32], &mut [f32]),
        stride: usize,
    ) {
        self.keys.tile_times::<S, ROWS>(simd, rows, &packed.queries_across, weights, stride);
        self.values.tile_times::<S, ROWS>(simd, rows, &packed.dy_across, dscores, stride);
        let factor = self.heads.factor();
        let both = weights.chunks_exact_mut(stride).zip(dscores.chunks_exact_mut(stride));
        for (weights, dscores) in both.take(rows.1) {
            // What is past the last query meets the keys too, in sums that are not written: no denormal numbers there,
            // which are slow.
            let (dscores, past) = dscores.split_at_mut(self.heads.tokens);
            past.fill(0.0);
            let each = weights.iter_mut().zip(dscores).zip(self.log_sums.iter().zip(self.along));
            for ((weight, dscore), (log_sum, along)) in each {
                *weight = exp(factor * *weight - log_sum);
                *dscore = factor * *weight * (*dscore - along);
            }
        }
        // SAFETY: every head has rows of its own.
        unsafe {
            self.dvalues.set_to_tile_times::<S, ROWS>(simd, rows, (&*weights, stride), &packed.dy, [1.0; ROWS]);
            self.dkeys.set_to_tile_times::<S, ROWS>(simd, rows, (&*dscores, stride), &packed.queries, [1.0; ROWS]);
        }
    }

    /// Writes the sums of `add_to_queries`.
    #[inline(always)]
    fn write_queries<S: Simd>(&self, simd: S, sums: &[f32], keys: &Panels) {
        let (width, padded) = (keys.width(), keys.count() * keys.width());
        for (token, sums) in sums.chunks_exact(padded.max(1)).enumerate().take(self.heads.tokens) {
            let start = self.dqueries.start + token * self.dqueries.stride;
            // SAFETY: every head has rows of its own.
            let out = unsafe { self.dqueries.values.part(start, self.heads.width) };
            for (out, sums) in out.chunks_mut(width / 2).zip(S::as_simd_f32s(sums).0) {
                store(simd, out, *sums);
            }
        }
    }
}

/// `sums[query] += Σ_key dscores[key][query] · keys[key]` over the keys of a block.
#[inline(always)]
fn add_to_queries<S: Simd, const ROWS: usize>(
    simd: S,
    (block, end): (usize, usize),
    (dscores, stride): (&[f32], usize),
    keys: &Panels,
    sums: &mut [f32],
    tokens: usize,
) {
    let (width, padded) = (keys.width(), keys.count() * keys.width());
    assert!(block < end && end <= keys.depth() && width == 2 * S::F32_LANES);
    assert!((end - block - 1) * stride + tokens.next_multiple_of(ROWS) <= dscores.len());
    for first in (0..tokens).step_by(ROWS) {
        let sums = &mut sums[first * padded..][..ROWS * padded];
        for panel in 0..keys.count() {
            let mut totals = [[simd.splat_f32s(0.0); 2]; ROWS];
            for (total, sums) in totals.iter_mut().zip(sums.chunks_exact(padded)) {
                let (sums, _) = S::as_simd_f32s(&sums[panel * width..]);
                *total = [sums[0], sums[1]];
            }
            // SAFETY: the key's panel is `width` values long; the scores of the tile are inside their row or the next
            // (asserted above), of which those past the last token are not written.
            unsafe {
                let mut key = keys.tap(panel, 0).add(block * width).cast::<S::f32s>();
                let mut scores = dscores.as_ptr().add(first);
                for _ in block..end {
                    let (left, right) = (key.read_unaligned(), key.add(1).read_unaligned());
                    for (r, total) in totals.iter_mut().enumerate() {
                        let factor = simd.splat_f32s(*scores.add(r));
                        total[0] = simd.mul_add_e_f32s(factor, left, total[0]);
                        total[1] = simd.mul_add_e_f32s(factor, right, total[1]);
                    }
                    key = key.add(2);
                    scores = scores.wrapping_add(stride);
                }
            }
            for (total, sums) in totals.iter().zip(sums.chunks_exact_mut(padded)) {
                let (sums, _) = S::as_mut_simd_f32s(&mut sums[panel * width..]);
                sums[..2].copy_from_slice(total);
            }
        }
    }
}
