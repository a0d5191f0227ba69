//! Floats as sums of bfloat16, packed as the tiles read them.

use std::arch::x86_64::{
    __m512, __m512i, _mm512_castsi512_ps, _mm512_castsi512_si256, _mm512_cvtepu16_epi32, _mm512_cvtne2ps_pbh,
    _mm512_extracti64x4_epi64, _mm512_maskz_loadu_ps, _mm512_setzero_si512, _mm512_slli_epi32, _mm512_store_si512,
    _mm512_sub_ps,
};
use std::ops::Range;

use super::{BLOCK, Line, STEP, TILE};
use crate::product::bfloat16::{LANES, alternated, bits};
use crate::workspace::Workspace;

/// One side of a product, packed: `block × step × part × tile × line`. Room that nothing was written to holds what an
/// earlier use has left.
pub(crate) struct Packed<const PARTS: usize> {
    room: Workspace,
    blocks: usize,
    steps: usize,
}

impl<const PARTS: usize> Packed<PARTS> {
    /// Floats in a line's place.
    const WORDS: usize = size_of::<Line>() / size_of::<f32>();

    /// Room for blocks of `depth`.
    pub fn new(blocks: usize, depth: usize) -> Self {
        let steps = depth.div_ceil(STEP);
        let lines = blocks * steps * PARTS * BLOCK;
        // One line more, since the room need not begin where a line may.
        Self { room: Workspace::new((lines + 1) * Self::WORDS), blocks, steps }
    }

    /// Lines of a block.
    fn size(&self) -> usize {
        self.steps * PARTS * BLOCK
    }

    fn lines(&self) -> &[Line] {
        // SAFETY: any bits are a line.
        let (_, lines, _) = unsafe { self.room.align_to::<Line>() };
        &lines[..self.blocks * self.size()]
    }

    pub fn blocks(&self) -> usize {
        self.blocks
    }

    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The lines of some steps of a block.
    #[inline(always)]
    pub fn steps_of(&self, block: usize, steps: Range<usize>) -> &[Line] {
        let step = PARTS * BLOCK;
        &self.lines()[block * self.size()..][..self.size()][steps.start * step..steps.end * step]
    }

    /// The block, where there is one.
    #[inline(always)]
    pub fn only_block_mut(&mut self) -> &mut [Line] {
        let lines = self.size();
        // SAFETY: any bits are a line.
        let (_, all, _) = unsafe { self.room.align_to_mut::<Line>() };
        &mut all[..lines]
    }

    /// All blocks, to write them.
    pub fn blocks_mut(&mut self) -> std::slice::ChunksExactMut<'_, Line> {
        let (size, lines) = (self.size(), self.blocks * self.size());
        // SAFETY: any bits are a line.
        let (_, all, _) = unsafe { self.room.align_to_mut::<Line>() };
        all[..lines].chunks_exact_mut(size.max(1))
    }
}

/// Packs a row of the left side: its values are neighbors in memory.
#[inline]
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
pub(crate) fn pack_row<const PARTS: usize>(values: &[f32], row: usize, block: &mut [Line]) {
    for (values, lines) in values.chunks(STEP).zip(block.chunks_exact_mut(PARTS * BLOCK)) {
        let (low, high) = values.split_at(values.len().min(LANES));
        for (part, values) in parts_of::<PARTS>(leading(low), leading(high)).into_iter().enumerate() {
            store(values, &mut lines[part * BLOCK + row]);
        }
    }
}

/// Packs a row of zeros.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn clear_row<const PARTS: usize>(row: usize, block: &mut [Line]) {
    for lines in block.chunks_exact_mut(PARTS * BLOCK) {
        for part in 0..PARTS {
            store(_mm512_setzero_si512(), &mut lines[part * BLOCK + row]);
        }
    }
}

/// Packs two neighboring depths of a block of the right side, each a value for every column; columns that are missing stay as
/// they are, and a depth that is missing counts as zeros.
#[inline]
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
pub(crate) fn pack_depths<const PARTS: usize>(even: &[f32], odd: &[f32], pair: usize, block: &mut [Line]) {
    let lines = &mut block[pair / TILE * PARTS * BLOCK..][..PARTS * BLOCK];
    for (tile, even) in even.chunks(TILE).enumerate() {
        let odd = odd.get(tile * TILE..).unwrap_or_default();
        for (part, values) in parts_of::<PARTS>(leading(even), leading(odd)).into_iter().enumerate() {
            store(alternated(values), &mut lines[part * BLOCK + tile * TILE + pair % TILE]);
        }
    }
}

/// Packs a block of the right side: `row` gives the values of a depth, one for every column.
#[inline]
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
pub(crate) fn pack_columns<'a, const PARTS: usize>(depth: usize, row: impl Fn(usize) -> &'a [f32], block: &mut [Line]) {
    for pair in 0..depth.div_ceil(2) {
        let odd = if 2 * pair + 1 < depth { row(2 * pair + 1) } else { &[] };
        pack_depths::<PARTS>(row(2 * pair), odd, pair, block);
    }
    // Up to the end of the last step there are zeros.
    for pair in depth.div_ceil(2)..block.len() / (PARTS * BLOCK) * TILE {
        let lines = &mut block[pair / TILE * PARTS * BLOCK..][..PARTS * BLOCK];
        for lines in lines.chunks_exact_mut(TILE) {
            lines[pair % TILE] = Line([0; STEP]);
        }
    }
}

/// The parts of sixteen values and sixteen more, the largest first: each is what the ones before it leave, rounded.
#[inline]
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
fn parts_of<const PARTS: usize>(mut low: __m512, mut high: __m512) -> [__m512i; PARTS] {
    let mut parts = [_mm512_setzero_si512(); PARTS];
    for part in &mut parts {
        let rounded = bits(_mm512_cvtne2ps_pbh(high, low));
        *part = rounded;
        // What is left of the last part is not used; the compiler leaves it out.
        low = _mm512_sub_ps(low, widened(_mm512_cvtepu16_epi32(_mm512_castsi512_si256(rounded))));
        high = _mm512_sub_ps(high, widened(_mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64::<1>(rounded))));
    }
    parts
}

/// Bfloat16 in the low halves as floats.
#[inline]
#[target_feature(enable = "avx512f")]
fn widened(halves: __m512i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves))
}

/// Up to sixteen values, zeros after the last.
#[inline]
#[target_feature(enable = "avx512f")]
fn leading(values: &[f32]) -> __m512 {
    let mask = ((1u32 << values.len().min(LANES)) - 1) as u16;
    // SAFETY: what the mask leaves out is not read.
    unsafe { _mm512_maskz_loadu_ps(mask, values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(values: __m512i, line: &mut Line) {
    // SAFETY: a line is as large as a vector, and aligned like it.
    unsafe { _mm512_store_si512(line.0.as_mut_ptr().cast(), values) }
}
