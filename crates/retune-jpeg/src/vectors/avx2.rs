//! The inverse transform and the conversion to RGB in AVX2.

use core::arch::x86_64::{__m128i, __m256i};

use pulp::cast;
use pulp::x86::V3;

use super::Vectors;
use crate::color;
use crate::frame::{Block, SIDE};
use crate::transform::{CONSTANT_BITS, PASS_BITS, fixed};

#[derive(Clone, Copy)]
pub(crate) struct Avx2(pub V3);

impl Vectors for Avx2 {
    #[inline(always)]
    fn transform(self, block: &Block) -> [[u8; SIDE]; SIDE] {
        let V3 { avx, avx2, .. } = self.0;
        let rows = std::array::from_fn(|y| {
            let row: [i16; SIDE] = std::array::from_fn(|x| block[y * SIDE + x]);
            cast(row)
        });
        let columns = self.one_dimension::<{ (CONSTANT_BITS - PASS_BITS) as i32 }>(rows);
        let low = columns.map(|pair| avx._mm256_castsi256_si128(pair));
        let high = columns.map(|pair| avx2._mm256_extracti128_si256::<1>(pair));
        let columns = [low[0], low[1], low[2], low[3], high[0], high[1], high[2], high[3]];
        let [r04, r15, r26, r37] = self.one_dimension::<{ (CONSTANT_BITS + PASS_BITS + 3) as i32 }>(columns);
        let center = avx._mm256_set1_epi8(-128);
        let sample = |one, other| avx2._mm256_xor_si256(avx2._mm256_packs_epi16(one, other), center);
        let [r0, r1, r4, r5]: [[u8; SIDE]; 4] = cast(sample(r04, r15));
        let [r2, r3, r6, r7]: [[u8; SIDE]; 4] = cast(sample(r26, r37));
        [r0, r1, r2, r3, r4, r5, r6, r7]
    }

    #[inline(always)]
    fn convert(self, luma: &[u8], cb: &[u8], cr: &[u8], out: &mut [[u8; 3]]) {
        let n = out.len();
        let whole = n / GROUP * GROUP;
        let groups = luma[..n].as_chunks::<GROUP>().0.iter().zip(cb[..n].as_chunks::<GROUP>().0);
        let groups = groups.zip(cr[..n].as_chunks::<GROUP>().0);
        for (out, ((luma, cb), cr)) in out.as_chunks_mut::<GROUP>().0.iter_mut().zip(groups) {
            let rgb = self.group_to_rgb(cast(*luma), cast(*cb), cast(*cr));
            let out = out.as_flattened_mut().as_chunks_mut::<16>().0;
            for (half, vectors) in out.chunks_exact_mut(3).zip([0, 1]) {
                for (out, vector) in half.iter_mut().zip(rgb) {
                    let halves: [[u8; 16]; 2] = cast(vector);
                    *out = halves[vectors];
                }
            }
        }
        color::convert(&luma[whole..n], &cb[whole..n], &cr[whole..n], &mut out[whole..]);
    }
}

/// Pixels that are converted at a time.
const GROUP: usize = 32;

/// Two constants for the products of neighbors, the first for the lower one.
const fn two(lower: i32, upper: i32) -> i32 {
    lower & 0xFFFF | upper << 16
}

impl Avx2 {
    /// The transform of eight columns at once, as [`crate::transform`] describes it, and the exchange of rows and
    /// columns. The four vectors hold the columns 0 and 4, 1 and 5, 2 and 6, 3 and 7.
    #[inline(always)]
    fn one_dimension<const BITS: i32>(self, rows: [__m128i; SIDE]) -> [__m256i; 4] {
        let V3 { sse2, avx, avx2, .. } = self.0;
        let pair = |lower: __m128i, upper: __m128i| {
            let upper = avx2._mm256_slli_epi32::<16>(avx2._mm256_cvtepu16_epi32(upper));
            avx2._mm256_blend_epi16::<0xAA>(avx2._mm256_cvtepu16_epi32(lower), upper)
        };
        let products = |pair, lower, upper| avx2._mm256_madd_epi16(pair, avx._mm256_set1_epi32(two(lower, upper)));
        let sum = |a, b| avx2._mm256_add_epi32(a, b);
        let difference = |a, b| avx2._mm256_sub_epi32(a, b);

        let c_even = fixed(0.541_196_100);
        let z26 = pair(rows[2], rows[6]);
        let e2 = products(z26, c_even, c_even - fixed(1.847_759_065));
        let e3 = products(z26, c_even + fixed(0.765_366_865), c_even);
        let rounding = avx._mm256_set1_epi32(1 << (BITS - 1));
        let shifted = |value| {
            let wide = avx2._mm256_cvtepi16_epi32(value);
            sum(avx2._mm256_slli_epi32::<{ CONSTANT_BITS as i32 }>(wide), rounding)
        };
        let e0 = shifted(sse2._mm_add_epi16(rows[0], rows[4]));
        let e1 = shifted(sse2._mm_sub_epi16(rows[0], rows[4]));
        let even = [sum(e0, e3), sum(e1, e2), difference(e1, e2), difference(e0, e3)];

        let [o0, o1, o2, o3] = [rows[7], rows[5], rows[3], rows[1]];
        let (c5, c1, c2) = (fixed(1.175_875_602), fixed(0.899_976_223), fixed(2.562_915_447));
        let z34 = pair(sse2._mm_add_epi16(o0, o2), sse2._mm_add_epi16(o1, o3));
        let s3 = products(z34, c5 - fixed(1.961_570_560), c5);
        let s4 = products(z34, c5, c5 - fixed(0.390_180_644));
        let (z03, z12) = (pair(o0, o3), pair(o1, o2));
        let odd = [
            sum(products(z03, -c1, fixed(1.501_321_110) - c1), s4),
            sum(products(z12, -c2, fixed(3.072_711_026) - c2), s3),
            sum(products(z12, fixed(2.053_119_869) - c2, -c2), s4),
            sum(products(z03, fixed(0.298_631_336) - c1, -c1), s3),
        ];
        let descale = |value| avx2._mm256_srai_epi32::<BITS>(value);
        let upper: [__m256i; 4] = std::array::from_fn(|n| descale(sum(even[n], odd[n])));
        let lower: [__m256i; 4] = std::array::from_fn(|n| descale(difference(even[3 - n], odd[3 - n])));

        // Half the columns in each half of a vector, so that they are exchanged half by half.
        let (r01, r23) = (avx2._mm256_packs_epi32(upper[0], upper[1]), avx2._mm256_packs_epi32(upper[2], upper[3]));
        let (r45, r67) = (avx2._mm256_packs_epi32(lower[0], lower[1]), avx2._mm256_packs_epi32(lower[2], lower[3]));
        let exchange = |one, other| {
            let (even, odd) = (avx2._mm256_unpacklo_epi16(one, other), avx2._mm256_unpackhi_epi16(one, other));
            (avx2._mm256_unpacklo_epi16(even, odd), avx2._mm256_unpackhi_epi16(even, odd))
        };
        let (upper01, upper23) = exchange(r01, r23);
        let (lower01, lower23) = exchange(r45, r67);
        [
            avx2._mm256_unpacklo_epi64(upper01, lower01),
            avx2._mm256_unpackhi_epi64(upper01, lower01),
            avx2._mm256_unpacklo_epi64(upper23, lower23),
            avx2._mm256_unpackhi_epi64(upper23, lower23),
        ]
    }

    /// 32 pixels to RGB. Each vector holds 16 bytes of the first 16 pixels and, in its upper half, of the others.
    #[inline(always)]
    fn group_to_rgb(self, luma: __m256i, cb: __m256i, cr: __m256i) -> [__m256i; 3] {
        let V3 { avx, avx2, .. } = self.0;
        let zero = avx._mm256_setzero_si256();
        let low = |bytes| avx2._mm256_unpacklo_epi8(bytes, zero);
        let high = |bytes| avx2._mm256_unpackhi_epi8(bytes, zero);
        let first = self.half_to_rgb(low(luma), low(cb), low(cr));
        let second = self.half_to_rgb(high(luma), high(cb), high(cr));
        let channels: [__m256i; 3] = std::array::from_fn(|n| avx2._mm256_packus_epi16(first[n], second[n]));
        // 3 and 16 have no common factor, so the places of a channel's 16 values in three vectors of 16 bytes are
        // all different.
        let spread: [__m256i; 3] = std::array::from_fn(|n| avx2._mm256_shuffle_epi8(channels[n], cast(PLACES[n])));
        std::array::from_fn(|vector| {
            let part = |n: usize| avx2._mm256_and_si256(spread[n], cast(MASKS[vector][n]));
            avx2._mm256_or_si256(avx2._mm256_or_si256(part(0), part(1)), part(2))
        })
    }

    /// 16 pixels to red, green and blue, in 16 bits each, as [`color::from_luma_and_chroma`] has it. Factors are split
    /// into a whole number and a rest below 1/2, and a product with twice a value leaves one bit to round by.
    #[inline(always)]
    fn half_to_rgb(self, luma: __m256i, cb: __m256i, cr: __m256i) -> [__m256i; 3] {
        let V3 { avx, avx2, .. } = self.0;
        let sum = |a, b| avx2._mm256_add_epi16(a, b);
        let center = avx._mm256_set1_epi16(128);
        let (cb, cr) = (avx2._mm256_sub_epi16(cb, center), avx2._mm256_sub_epi16(cr, center));
        let (twice_cb, twice_cr) = (sum(cb, cb), sum(cr, cr));
        let share = |twice, factor: i32| {
            let product = avx2._mm256_mulhi_epi16(twice, avx._mm256_set1_epi16(factor as i16));
            avx2._mm256_srai_epi16::<1>(sum(product, avx._mm256_set1_epi16(1)))
        };
        let red = sum(sum(luma, cr), share(twice_cr, color::fixed(1.402) - 65536));
        let blue = sum(sum(luma, twice_cb), share(twice_cb, color::fixed(1.772) - 2 * 65536));
        let factors = avx._mm256_set1_epi32(two(-color::fixed(0.34414), 65536 - color::fixed(0.71414)));
        let green = |pairs| {
            let products = avx2._mm256_add_epi32(avx2._mm256_madd_epi16(pairs, factors), avx._mm256_set1_epi32(32768));
            avx2._mm256_srai_epi32::<16>(products)
        };
        let (low, high) = (avx2._mm256_unpacklo_epi16(cb, cr), avx2._mm256_unpackhi_epi16(cb, cr));
        let green = avx2._mm256_packs_epi32(green(low), green(high));
        [red, sum(avx2._mm256_sub_epi16(luma, cr), green), blue]
    }
}

/// For each channel which of 16 pixels comes to which byte, in both halves.
const PLACES: [[u8; 32]; 3] = {
    let mut places = [[0; 32]; 3];
    let mut n = 0;
    while n < 3 * 16 {
        let (pixel, channel) = (n / 3, n % 3);
        places[channel][n % 16] = pixel as u8;
        places[channel][n % 16 + 16] = pixel as u8;
        n += 1;
    }
    places
};

/// For each vector of the result which bytes are a channel's, in both halves.
const MASKS: [[[u8; 32]; 3]; 3] = {
    let mut masks = [[[0; 32]; 3]; 3];
    let mut n = 0;
    while n < 3 * 16 {
        let (vector, channel) = (n / 16, n % 3);
        masks[vector][channel][n % 16] = 0xFF;
        masks[vector][channel][n % 16 + 16] = 0xFF;
        n += 1;
    }
    masks
};
