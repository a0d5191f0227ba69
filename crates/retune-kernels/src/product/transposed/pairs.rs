//! A weight's gradient from factors rounded to bfloat16, two rows at a time.

use std::arch::x86_64::{
    __m512, _mm512_loadu_ps, _mm512_loadu_si512, _mm512_maskz_loadu_ps, _mm512_set1_epi32, _mm512_setzero_ps,
    _mm512_storeu_ps, _mm512_storeu_si512,
};
use std::ops::Range;

use super::super::bfloat16::{LANES, Unit, WIDTH, add_pairs, pairs_of};
use super::super::gather::Places;
use super::{DEPTHS_OF_TILE, ROWS_TOGETHER, Task, TransposedProduct};

/// Pairs of rows that are packed together.
const PAIRS: usize = ROWS_TOGETHER / 2;
/// Depths that are packed together: four tiles in three vectors, so that what a tile reads of the
/// pairs is 12 KiB.
const DEPTHS_TOGETHER: usize = 48;

/// A pair of rows: its place in the block, and where its source rows start, negative for padding.
type Pair = (usize, [isize; 2]);

/// Computes a part of the gradient.
pub(super) fn run(_: Unit, task: Task) {
    // SAFETY: the unit is there.
    unsafe { run_with_unit(task) }
}

#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn run_with_unit(task: Task) {
    let Task { product, columns, depths, sums, .. } = task;
    sums.fill(0.0);
    let mut gradients = vec![0u32; PAIRS * WIDTH];
    let mut sources = vec![0u32; PAIRS * DEPTHS_TOGETHER];
    let mut kept: Vec<Pair> = Vec::with_capacity(PAIRS);
    let rows = product.gather.rows();
    for first in (0..rows).step_by(ROWS_TOGETHER) {
        let count = ROWS_TOGETHER.min(rows - first);
        let mut block = Vec::with_capacity(count.div_ceil(8));
        for row in (0..count).step_by(8) {
            block.push(product.gather.places::<8>(first + row, (count - row).min(8)));
        }
        // SAFETY: the unit is there, and rows of the gradient have as many columns.
        unsafe { pack_gradients(&product, &columns, &block, count, &mut gradients) };
        for (tap, sums) in sums.chunks_exact_mut((depths.len() * WIDTH).max(1)).enumerate() {
            kept.clear();
            for (index, places) in block.iter().enumerate() {
                let Some(offsets) = product.gather.offsets(places, tap) else { continue };
                let pairs = offsets.as_chunks::<2>().0.iter().enumerate();
                kept.extend(
                    pairs.filter(|(_, pair)| pair[0] >= 0 || pair[1] >= 0).map(|(at, pair)| (index * 4 + at, *pair)),
                );
            }
            for (at, sums) in sums.chunks_mut(DEPTHS_TOGETHER * WIDTH).enumerate() {
                let start = depths.start + at * DEPTHS_TOGETHER;
                // SAFETY: the unit is there; the offsets leave room for a whole source row, which
                // `divide` has checked.
                unsafe {
                    pack_sources(&product.source[start..], &kept, sums.len() / WIDTH, &mut sources);
                    add_products(&sources, &gradients, &kept, sums);
                }
            }
        }
    }
}

/// The leading `count` values, zeros after them.
///
/// # Safety
/// They must be readable.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn leading(values: *const f32, count: usize) -> __m512 {
    // SAFETY: by the contract; what the mask leaves out is not read.
    unsafe { _mm512_maskz_loadu_ps(((1u32 << count.min(LANES)) - 1) as u16, values) }
}

/// Packs the gradients of a block's pairs of rows.
///
/// # Safety
/// The machine must have the instructions.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw")]
unsafe fn pack_gradients(
    product: &TransposedProduct,
    columns: &Range<usize>,
    block: &[Places<8>],
    count: usize,
    out: &mut [u32],
) {
    let row = |row: usize, at: usize| {
        if row >= count {
            return _mm512_setzero_ps();
        }
        let from = product.gradient_offset + block[row / 8].destination[row % 8] * product.gradient_stride;
        let values = &product.gradient[from..][columns.clone()];
        let values = &values[at.min(values.len())..];
        // SAFETY: as many values as the slice has.
        unsafe { leading(values.as_ptr(), values.len()) }
    };
    for (pair, out) in out.chunks_exact_mut(WIDTH).enumerate().take(count.div_ceil(2)) {
        for (at, out) in out.chunks_exact_mut(LANES).enumerate() {
            let packed = pairs_of(row(2 * pair, at * LANES), row(2 * pair + 1, at * LANES));
            // SAFETY: a chunk is a vector long.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), packed) };
        }
    }
}

/// Packs `depths` values of the source rows of the pairs.
///
/// # Safety
/// The machine must have the instructions, and the source that many values at every offset.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw")]
unsafe fn pack_sources(source: &[f32], pairs: &[Pair], depths: usize, out: &mut [u32]) {
    for ((_, offsets), out) in pairs.iter().zip(out.chunks_exact_mut(DEPTHS_TOGETHER)) {
        for (at, out) in out.chunks_exact_mut(LANES).enumerate().take(depths.div_ceil(LANES)) {
            let at = at * LANES;
            let [even, odd] = offsets.map(|offset| {
                if offset < 0 {
                    return _mm512_setzero_ps();
                }
                // SAFETY: by the contract.
                unsafe { leading(source.as_ptr().add(offset as usize + at), depths - at) }
            });
            // SAFETY: a chunk is a vector long.
            unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), pairs_of(even, odd)) };
        }
    }
}

/// `sums[d] += Σ sources[pair][d] · gradients[pair]` for as many depths as there are sums.
///
/// # Safety
/// The machine must have the instructions.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn add_products(sources: &[u32], gradients: &[u32], pairs: &[Pair], sums: &mut [f32]) {
    let depths = sums.len() / WIDTH;
    let mut done = 0;
    while done < depths {
        let sums = &mut sums[done * WIDTH..];
        // SAFETY: the unit is there.
        done += unsafe {
            match depths - done {
                DEPTHS_OF_TILE.. => tile::<DEPTHS_OF_TILE>(&sources[done..], gradients, pairs, sums),
                8.. => tile::<8>(&sources[done..], gradients, pairs, sums),
                4.. => tile::<4>(&sources[done..], gradients, pairs, sums),
                _ => tile::<1>(&sources[done..], gradients, pairs, sums),
            }
        };
    }
}

/// The same for `DEPTHS` depths; returns how many.
///
/// # Safety
/// The machine must have the instructions.
#[inline]
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn tile<const DEPTHS: usize>(sources: &[u32], gradients: &[u32], pairs: &[Pair], sums: &mut [f32]) -> usize {
    let sums = &mut sums[..DEPTHS * WIDTH];
    let mut totals = [[_mm512_setzero_ps(); 2]; DEPTHS];
    for (total, sums) in totals.iter_mut().zip(sums.chunks_exact(WIDTH)) {
        // SAFETY: a chunk is two vectors long.
        *total = unsafe { [_mm512_loadu_ps(sums.as_ptr()), _mm512_loadu_ps(sums.as_ptr().add(LANES))] };
    }
    for ((pair, _), source) in pairs.iter().zip(sources.chunks(DEPTHS_TOGETHER)) {
        let (gradient, source) = (&gradients[pair * WIDTH..][..WIDTH], &source[..DEPTHS]);
        // SAFETY: the gradient is two vectors long, and the unit is there.
        unsafe {
            let left = _mm512_loadu_si512(gradient.as_ptr().cast());
            let right = _mm512_loadu_si512(gradient.as_ptr().add(LANES).cast());
            for d in 0..DEPTHS {
                let factor = _mm512_set1_epi32(source[d] as i32);
                totals[d][0] = add_pairs(totals[d][0], factor, left);
                totals[d][1] = add_pairs(totals[d][1], factor, right);
            }
        }
    }
    for (total, sums) in totals.iter().zip(sums.chunks_exact_mut(WIDTH)) {
        // SAFETY: a chunk is two vectors long.
        unsafe {
            _mm512_storeu_ps(sums.as_mut_ptr(), total[0]);
            _mm512_storeu_ps(sums.as_mut_ptr().add(LANES), total[1]);
        }
    }
    DEPTHS
}
