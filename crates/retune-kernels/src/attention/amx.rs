//! Both passes on the matrix unit, by blocks of 32 queries or keys.

use super::backward::BackwardHead;
use super::forward::{ForwardHead, exponentials};
use super::{Heads, Matrix, Rows};
use crate::exponential::exp;
use crate::product::amx::{BLOCK, Block, Packed, Place, STEP, Tiles, Unit, pack_columns, pack_depths, pack_row};
use crate::transpose::transpose_rows;
use crate::workspace::Workspace;

/// Parts of a factor: floats.
const PARTS: usize = 3;
/// Least tokens, and least width of a head. Below, packing takes as long as the unit saves.
const MIN_TOKENS: usize = 128;
const MIN_WIDTH: usize = 48;
/// Blocks of keys whose gradients of scores are kept to be multiplied together with the keys.
const BLOCKS_TOGETHER: usize = 8;

type Side = Packed<PARTS>;

/// The unit, if there is one and it computes these heads faster than vectors do.
pub(super) fn unit_for(heads: Heads) -> Option<Unit> {
    (heads.tokens >= MIN_TOKENS && heads.width >= MIN_WIDTH).then(Unit::available).flatten()
}

impl ForwardHead<'_> {
    /// Computes it on the unit.
    pub fn run_on(mut self, unit: Unit) {
        // SAFETY: the unit is there, and AVX-512 beside it.
        unsafe { self.run_with_unit(unit) }
    }

    #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    unsafe fn run_with_unit(&mut self, unit: Unit) {
        let Heads { tokens, width, .. } = self.heads;
        let (keys, values) = (self.keys.packed_across(self.heads), self.values.packed_columns(self.heads));
        let tiles = Tiles::new(unit);
        let stride = tokens.next_multiple_of(BLOCK);
        let mut scores = Workspace::new(BLOCK * stride);
        let (mut queries, mut weights) = (Side::new(1, width), Side::new(1, tokens));
        for first in (0..tokens).step_by(BLOCK) {
            let count = BLOCK.min(tokens - first);
            self.queries.pack_rows(self.heads, first, count, &mut queries);
            multiply_all(&tiles, &queries, &keys, (&mut scores, stride));
            let mut inverses = [0.0; BLOCK];
            let rows = scores.chunks_exact_mut(stride).zip(&mut self.log_sums[first..first + count]);
            for (row, ((scores, log_sum), inverse)) in rows.zip(&mut inverses).enumerate() {
                (*inverse, *log_sum) = exponentials(scores, tokens, self.heads.factor());
                pack_row::<PARTS>(&scores[..tokens], row, weights.only_block_mut());
            }
            // SAFETY: every head has rows of its own.
            unsafe { self.y.set_to_product(&tiles, (&weights, &values), (first, count), width, &inverses) };
        }
    }
}

/// Right sides of the products with all queries.
struct Queries {
    /// A column for each query.
    queries_across: Side,
    dy_across: Side,
    /// A depth for each query.
    queries: Side,
    dy: Side,
}

impl BackwardHead<'_> {
    /// Differentiates it on the unit.
    pub fn run_on(&self, unit: Unit) {
        // SAFETY: the unit is there, and AVX-512 beside it.
        unsafe { self.run_with_unit(unit) }
    }

    #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    unsafe fn run_with_unit(&self, unit: Unit) {
        let Heads { tokens, width, .. } = self.heads;
        let packed = Queries {
            queries_across: self.queries.packed_across(self.heads),
            dy_across: self.dy.packed_across(self.heads),
            queries: self.queries.packed_columns(self.heads),
            dy: self.dy.packed_columns(self.heads),
        };
        let tiles = Tiles::new(unit);
        let stride = tokens.next_multiple_of(BLOCK);
        let together = BLOCKS_TOGETHER * BLOCK;
        let keys_turned = self.keys.packed_turned(self.heads);
        let mut dscores = Side::new(stride / BLOCK, together.min(stride));
        // A row for each of the head's channels.
        let mut dqueries = Workspace::new(width.next_multiple_of(BLOCK) * stride);
        let mut work = KeyBlock::new(self.heads);
        for start in (0..tokens).step_by(together) {
            let end = tokens.min(start + together);
            for first in (start..end).step_by(BLOCK) {
                let count = BLOCK.min(end - first);
                // SAFETY: the instructions are there.
                unsafe { self.block(&tiles, (first, count), &packed, &mut work) };
                for (block, lines) in dscores.blocks_mut().enumerate() {
                    let row = |key: usize| &work.dscores[key * stride + block * BLOCK..][..BLOCK];
                    for pair in 0..BLOCK / 2 {
                        let at = (first - start) / 2 + pair;
                        pack_depths::<PARTS>(row(2 * pair), row(2 * pair + 1), at, lines);
                    }
                }
            }
            let steps = (end - start).div_ceil(STEP);
            for of_channels in 0..keys_turned.blocks() {
                for of_queries in 0..dscores.blocks() {
                    let out = &mut dqueries[of_channels * BLOCK * stride + of_queries * BLOCK..];
                    let out = Place { start: out[..(BLOCK - 1) * stride + BLOCK].as_mut_ptr(), stride };
                    let from = if start == 0 { Place::zeros() } else { out };
                    let left = keys_turned.steps_of(of_channels, start / STEP..start / STEP + steps);
                    // SAFETY: a whole block lies at `out`.
                    unsafe { tiles.multiply::<PARTS>(left, dscores.steps_of(of_queries, 0..steps), from, out) };
                }
            }
        }
        self.write_turned_queries(&dqueries, stride);
    }

    /// The gradients of the keys and values of a block; leaves those of its scores, a row for each key, zeros in those that
    /// are missing.
    ///
    /// # Safety
    /// The machine must have the instructions.
    #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    unsafe fn block(&self, tiles: &Tiles, (first, count): (usize, usize), packed: &Queries, work: &mut KeyBlock) {
        let Heads { tokens, width, .. } = self.heads;
        let stride = tokens.next_multiple_of(BLOCK);
        self.keys.pack_rows(self.heads, first, count, &mut work.narrow);
        multiply_all(tiles, &work.narrow, &packed.queries_across, (&mut work.weights, stride));
        self.values.pack_rows(self.heads, first, count, &mut work.narrow);
        multiply_all(tiles, &work.narrow, &packed.dy_across, (&mut work.dscores, stride));
        let factor = self.heads.factor();
        let rows = work.weights.chunks_exact_mut(stride).zip(work.dscores.chunks_exact_mut(stride));
        for (row, (weights, dscores)) in rows.enumerate() {
            if row >= count {
                dscores.fill(0.0);
                continue;
            }
            let (dscores, past) = dscores.split_at_mut(tokens);
            past.fill(0.0);
            let each = weights.iter_mut().zip(dscores.iter_mut()).zip(self.log_sums.iter().zip(self.along));
            for ((weight, dscore), (log_sum, along)) in each {
                *weight = exp(factor * *weight - log_sum);
                *dscore = factor * *weight * (*dscore - along);
            }
            pack_row::<PARTS>(&weights[..tokens], row, work.weights_packed.only_block_mut());
            pack_row::<PARTS>(dscores, row, work.dscores_packed.only_block_mut());
        }
        let ones = [1.0; BLOCK];
        // SAFETY: every head has rows of its own.
        unsafe {
            self.dvalues.set_to_product(tiles, (&work.weights_packed, &packed.dy), (first, count), width, &ones);
            self.dkeys.set_to_product(tiles, (&work.dscores_packed, &packed.queries), (first, count), width, &ones);
        }
    }

    /// Writes rows from a row for each channel.
    fn write_turned_queries(&self, channels: &[f32], stride: usize) {
        let Heads { tokens, width, .. } = self.heads;
        let mut rows = Workspace::new(tokens * width);
        transpose_rows(width, |channel| &channels[channel * stride..][..tokens], &mut rows, width);
        for (token, row) in rows.chunks_exact(width).enumerate() {
            // SAFETY: every head has rows of its own.
            unsafe { self.dqueries.row(token, width) }.copy_from_slice(row);
        }
    }
}

/// What is computed of a block of keys.
struct KeyBlock {
    /// A row for each key, a column for each query.
    weights: Workspace,
    dscores: Workspace,
    /// Left sides: keys or values; what the scores became.
    narrow: Side,
    weights_packed: Side,
    dscores_packed: Side,
}

impl KeyBlock {
    fn new(heads: Heads) -> Self {
        let size = BLOCK * heads.tokens.next_multiple_of(BLOCK);
        Self {
            weights: Workspace::new(size),
            dscores: Workspace::new(size),
            narrow: Side::new(1, heads.width),
            weights_packed: Side::new(1, heads.tokens),
            dscores_packed: Side::new(1, heads.tokens),
        }
    }
}

impl<'a> Matrix<'a> {
    /// A token's row.
    #[inline(always)]
    fn row(self, heads: Heads, token: usize) -> &'a [f32] {
        &self.values[self.start + token * self.stride..][..heads.width]
    }

    /// Packs a block of tokens as the left side.
    #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    fn pack_rows(self, heads: Heads, first: usize, count: usize, packed: &mut Side) {
        for row in 0..count {
            pack_row::<PARTS>(self.row(heads, first + row), row, packed.only_block_mut());
        }
    }

    /// The right side with a depth for each token.
    #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    fn packed_columns(self, heads: Heads) -> Side {
        let Heads { tokens, width, .. } = heads;
        let mut packed = Side::new(width.div_ceil(BLOCK), tokens);
        for (block, lines) in packed.blocks_mut().enumerate() {
            let columns = block * BLOCK..width.min((block + 1) * BLOCK);
            pack_columns::<PARTS>(tokens, |token| &self.row(heads, token)[columns.clone()], lines);
        }
        packed
    }

    /// The right side with a column for each token.
    #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    fn packed_across(self, heads: Heads) -> Side {
        let Heads { tokens, width, .. } = heads;
        let stride = tokens.next_multiple_of(BLOCK);
        let turned = self.turned(heads, stride);
        let mut packed = Side::new(stride / BLOCK, width);
        for (block, lines) in packed.blocks_mut().enumerate() {
            pack_columns::<PARTS>(width, |channel| &turned[channel * stride + block * BLOCK..][..BLOCK], lines);
        }
        packed
    }

    /// The left side with a row for each channel and a depth for each token.
    #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    fn packed_turned(self, heads: Heads) -> Side {
        let Heads { tokens, width, .. } = heads;
        let stride = tokens.next_multiple_of(BLOCK);
        let turned = self.turned(heads, stride);
        let mut packed = Side::new(width.div_ceil(BLOCK), tokens);
        for (channels, lines) in turned.chunks(BLOCK * stride).zip(packed.blocks_mut()) {
            for (row, channel) in channels.chunks_exact(stride).enumerate() {
                pack_row::<PARTS>(&channel[..tokens], row, lines);
            }
        }
        packed
    }

    /// The transpose, a row of `stride` values for each channel; those past the last token are any.
    fn turned(self, heads: Heads, stride: usize) -> Workspace {
        let Heads { tokens, width, .. } = heads;
        let mut turned = Workspace::new(width * stride);
        transpose_rows(tokens, |token| self.row(heads, token), &mut turned, stride);
        turned
    }
}

/// The product of a block of rows with every block of the right side.
#[inline(always)]
fn multiply_all(tiles: &Tiles, left: &Side, right: &Side, (out, stride): (&mut [f32], usize)) {
    assert!(right.blocks() * BLOCK <= stride && BLOCK * stride <= out.len(), "room for all blocks");
    let steps = 0..right.steps();
    for block in 0..right.blocks() {
        let out = Place { start: out[block * BLOCK..].as_mut_ptr(), stride };
        // SAFETY: there is room for a whole block at `out`.
        unsafe {
            tiles.multiply::<PARTS>(
                left.steps_of(0, steps.clone()),
                right.steps_of(block, steps.clone()),
                Place::zeros(),
                out,
            );
        }
    }
}

impl<'a> Rows<'a> {
    /// A token's row.
    ///
    /// # Safety
    /// Nobody else may use it at the same time.
    #[inline(always)]
    unsafe fn row(self, token: usize, width: usize) -> &'a mut [f32] {
        // SAFETY: by the contract.
        unsafe { self.values.part(self.start + token * self.stride, width) }
    }

    /// `self[first + r] = factors[r] · (left[r] · right)` for `count` rows.
    ///
    /// # Safety
    /// Nobody else may use these rows at the same time.
    #[inline(always)]
    unsafe fn set_to_product(
        self,
        tiles: &Tiles,
        (left, right): (&Side, &Side),
        (first, count): (usize, usize),
        width: usize,
        factors: &[f32; BLOCK],
    ) {
        let mut sums = Block::default();
        let steps = 0..right.steps();
        for block in 0..right.blocks() {
            let columns = block * BLOCK..width.min((block + 1) * BLOCK);
            // SAFETY: the sums are a block.
            unsafe {
                tiles.multiply::<PARTS>(
                    left.steps_of(0, steps.clone()),
                    right.steps_of(block, steps.clone()),
                    Place::zeros(),
                    sums.place(),
                );
            }
            for (row, (sums, factor)) in sums.0.iter().zip(factors).enumerate().take(count) {
                // SAFETY: by the contract.
                let out = unsafe { &mut self.row(first + row, width)[columns.clone()] };
                out.iter_mut().zip(sums).for_each(|(out, sum)| *out = factor * sum);
            }
        }
    }
}
