//! Products of factors rounded to bfloat16: AVX-512 BF16 multiplies and adds two neighboring depths at
//! once, so source rows are read two values at a time and panels hold pairs of depths.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _mm512_castsi512_ps, _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_loadu_ps,
    _mm512_loadu_si512, _mm512_permutexvar_epi16, _mm512_set1_epi32, _mm512_storeu_si512,
};
use std::mem::MaybeUninit;

use pulp::f32x16;
use pulp::x86::V4;
use rayon::prelude::*;

use super::panels::{MatrixLayout, Scale, pack_panel};
use super::{Factors, Task};
use crate::instructions::{Instructions, kept_to};
use crate::precision::rounded;
use crate::workspace::Workspace;

/// Values of a vector.
pub(super) const LANES: usize = 16;
/// Columns of a panel.
pub(super) const WIDTH: usize = 2 * LANES;
/// Values that one task rounds.
const CHUNK: usize = 1 << 15;

/// Proof that this machine has the instructions.
#[derive(Clone, Copy)]
pub(crate) struct Unit(V4);

impl Unit {
    /// The unit, if this machine has it and may use it.
    pub fn available() -> Option<Self> {
        if kept_to() == Instructions::Avx2 || !is_x86_feature_detected!("avx512bf16") {
            None
        } else {
            V4::try_new().map(Self)
        }
    }

    /// Runs a product's task.
    pub(super) fn run(self, task: Task<PairFactors>) {
        // SAFETY: the unit is there.
        unsafe { run_task(self.0, task) }
    }
}

/// Everything inlined into this is compiled with the instructions that the unit stands for.
///
/// # Safety
/// The machine must have them.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn run_task(simd: V4, task: Task<PairFactors>) {
    task.run(simd);
}

/// A source whose values are rounded.
pub(crate) struct RoundedSource {
    unit: Unit,
    /// One zero after the last, so that a row of an odd number of values can be read in pairs.
    values: Vec<u16>,
}

impl RoundedSource {
    pub fn new(unit: Unit, source: &[f32]) -> Self {
        let mut values: Vec<u16> = Vec::with_capacity(source.len() + 1);
        let room = &mut values.spare_capacity_mut()[..source.len() + 1];
        room[source.len()].write(0);
        let chunks = room[..source.len()].par_chunks_mut(CHUNK).zip(source.par_chunks(CHUNK));
        // SAFETY: the unit is there.
        chunks.for_each(|(room, source)| unsafe { round(source, room) });
        // SAFETY: every value has been written.
        unsafe { values.set_len(source.len() + 1) };
        Self { unit, values }
    }

    pub fn unit(&self) -> Unit {
        self.unit
    }
}

/// # Safety
/// The machine must have the instructions.
#[target_feature(enable = "avx512bf16,avx512f")]
unsafe fn round(source: &[f32], out: &mut [MaybeUninit<u16>]) {
    let (blocks, rest) = source.as_chunks::<{ 2 * LANES }>();
    let (out_blocks, out_rest) = out.as_chunks_mut::<{ 2 * LANES }>();
    for (block, out) in blocks.iter().zip(out_blocks) {
        // SAFETY: a block is two vectors of floats, and as many halves.
        unsafe {
            let (low, high) = (_mm512_loadu_ps(block.as_ptr()), _mm512_loadu_ps(block.as_ptr().add(LANES)));
            _mm512_storeu_si512(out.as_mut_ptr().cast(), bits(_mm512_cvtne2ps_pbh(high, low)));
        }
    }
    for (value, out) in rest.iter().zip(out_rest) {
        out.write((rounded(*value).to_bits() >> 16) as u16);
    }
}

/// Packed weights, rounded: `panel × tap × pair of depths × panel width × 2`, zeros past the last
/// column and depth.
pub(super) struct PairPanels {
    values: Vec<u16>,
    taps: usize,
    depth: usize,
    columns: usize,
}

impl PairPanels {
    /// Packs `matrix`, laid out as `layout` says, times `scale`.
    pub fn pack(_: Unit, matrix: &[f32], layout: MatrixLayout, scale: Scale) -> Self {
        let MatrixLayout { taps, depth, columns, .. } = layout;
        let pairs = depth.div_ceil(2);
        let size = taps * pairs * WIDTH * 2;
        let count = columns.div_ceil(WIDTH);
        let mut values: Vec<u16> = Vec::with_capacity(count * size);
        let room = &mut values.spare_capacity_mut()[..count * size];
        let pack = |panel: usize, out: &mut [MaybeUninit<u16>]| {
            let first = panel * WIDTH;
            let mut single = Workspace::new(taps * depth * WIDTH);
            if first + WIDTH > columns {
                single.fill(0.0);
            }
            pack_panel(matrix, layout, scale, first..columns.min(first + WIDTH), WIDTH, &mut single);
            let taps =
                single.chunks_exact((depth * WIDTH).max(1)).zip(out.chunks_exact_mut((pairs * WIDTH * 2).max(1)));
            for (single, out) in taps {
                for (two, out) in single.chunks(2 * WIDTH).zip(out.chunks_exact_mut(2 * WIDTH)) {
                    let (even, odd) = two.split_at(WIDTH);
                    // SAFETY: the unit is there; rows are a panel wide, or missing.
                    unsafe { interleave(even, (!odd.is_empty()).then_some(odd), out) };
                }
            }
        };
        room.par_chunks_mut(size.max(1)).enumerate().for_each(|(panel, out)| pack(panel, out));
        // SAFETY: every panel has been written whole.
        unsafe { values.set_len(count * size) };
        Self { values, taps, depth, columns }
    }

    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Number of panels.
    pub fn count(&self) -> usize {
        self.columns.div_ceil(WIDTH)
    }
}

/// Writes pairs of two rows' values, rounded; the second may be missing.
///
/// # Safety
/// The machine must have the instructions; the rows must be whole vectors long, `out` twice as long.
#[target_feature(enable = "avx512bf16,avx512f,avx512bw")]
pub(super) unsafe fn interleave(even: &[f32], odd: Option<&[f32]>, out: &mut [MaybeUninit<u16>]) {
    for at in (0..even.len()).step_by(LANES) {
        // SAFETY: whole vectors, by the contract.
        unsafe {
            let even = _mm512_loadu_ps(even.as_ptr().add(at));
            let odd =
                odd.map_or(_mm512_castsi512_ps(_mm512_set1_epi32(0)), |odd| _mm512_loadu_ps(odd.as_ptr().add(at)));
            _mm512_storeu_si512(out.as_mut_ptr().add(2 * at).cast(), pairs_of(even, odd));
        }
    }
}

/// `even[0], odd[0], even[1], …`, rounded.
#[inline]
#[target_feature(enable = "avx512bf16,avx512f,avx512bw")]
pub(super) fn pairs_of(even: __m512, odd: __m512) -> __m512i {
    alternated(bits(_mm512_cvtne2ps_pbh(odd, even)))
}

/// The two halves of a vector of 16-bit values, one value of each in turn.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn alternated(halves: __m512i) -> __m512i {
    const ORDER: [u16; 32] = {
        let mut order = [0; 32];
        let mut at = 0;
        while at < 32 {
            order[at] = (at / 2 + at % 2 * 16) as u16;
            at += 1;
        }
        order
    };
    // SAFETY: the order is a vector long.
    let order = unsafe { _mm512_loadu_si512(ORDER.as_ptr().cast()) };
    _mm512_permutexvar_epi16(order, halves)
}

/// A vector of bfloat16 as plain bits.
#[inline(always)]
pub(super) fn bits(values: __m512bh) -> __m512i {
    // SAFETY: two types for the same 64 bytes, any of which are valid.
    unsafe { std::mem::transmute(values) }
}

/// `sum + Σ left · right` over the two halves of each lane.
///
/// # Safety
/// The machine must have the instructions.
#[inline(always)]
pub(super) unsafe fn add_pairs(sum: __m512, left: __m512i, right: __m512i) -> __m512 {
    // SAFETY: the instruction is there by the contract; two types for the same 64 bytes.
    unsafe {
        let left = std::mem::transmute::<__m512i, __m512bh>(left);
        let right = std::mem::transmute::<__m512i, __m512bh>(right);
        _mm512_dpbf16_ps(sum, left, right)
    }
}

/// The factors of a product in bfloat16.
#[derive(Clone, Copy)]
pub(super) struct PairFactors<'a> {
    pub source: &'a RoundedSource,
    pub panels: &'a PairPanels,
    /// A row of zeros for what lies on the padding.
    pub zeros: &'a [u16],
}

impl Factors<V4> for PairFactors<'_> {
    fn panel_len(&self) -> usize {
        self.panels.taps * self.panels.depth.div_ceil(2) * WIDTH
    }

    #[inline(always)]
    unsafe fn add_tap<const ROWS: usize, const VECTORS: usize>(
        &self,
        _: V4,
        sums: &mut [[f32x16; VECTORS]; ROWS],
        offsets: [isize; ROWS],
        (panel, tap): (usize, usize),
    ) {
        let mut rows = [self.zeros.as_ptr(); ROWS];
        for (row, offset) in rows.iter_mut().zip(offsets) {
            if offset >= 0 {
                // SAFETY: a place in the source by the contract.
                *row = unsafe { self.source.values.as_ptr().add(offset as usize) };
            }
        }
        let pairs = self.panels.depth.div_ceil(2);
        let size = pairs * 2 * WIDTH;
        let panel = self.panels.values[(panel * self.panels.taps + tap) * size..][..size].as_ptr();
        for pair in 0..pairs {
            // SAFETY: each row holds the depth's values and, for an odd depth, one that meets a zero
            // of the panel; the panel holds as many pairs. Tasks of this kind run with the unit.
            unsafe {
                let at = panel.add(pair * 2 * WIDTH);
                let mut weights = [_mm512_set1_epi32(0); VECTORS];
                for (v, weight) in weights.iter_mut().enumerate() {
                    *weight = _mm512_loadu_si512(at.add(v * 2 * LANES).cast());
                }
                for r in 0..ROWS {
                    let factor = _mm512_set1_epi32(rows[r].add(2 * pair).cast::<i32>().read_unaligned());
                    for (sum, &weight) in sums[r].iter_mut().zip(&weights) {
                        *sum = pulp::cast(add_pairs(pulp::cast(*sum), factor, weight));
                    }
                }
            }
        }
    }
}
