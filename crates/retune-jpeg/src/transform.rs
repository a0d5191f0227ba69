//! The inverse transform of a block: the integer algorithm of Loeffler, Ligtenberg and Moschytz ("Practical
//! fast 1-D DCT algorithms with 11 multiplications", 1989) with the precision and rounding of libjpeg's
//! "islow", so that the samples are the same.

use crate::frame::{Block, SIDE};
use crate::vectors::Vectors;

/// Fraction bits of the constants, and those kept between the two passes.
pub(crate) const CONSTANT_BITS: u32 = 13;
pub(crate) const PASS_BITS: u32 = 2;

/// A constant with [`CONSTANT_BITS`] fraction bits.
pub(crate) const fn fixed(value: f64) -> i32 {
    (value * (1 << CONSTANT_BITS) as f64 + 0.5) as i32
}

/// Transforms coefficients, multiplied by their quantization, into samples. `used` holds the positions in the block
/// of all AC coefficients that are not 0, one or another; row `y` of the block begins at `samples[y * stride]`.
///
/// Values between the steps are kept in 16 bits, as in libjpeg-turbo's vector instructions: sums of two inputs wrap,
/// and results are limited. Only damaged files have values that this changes.
#[inline(always)]
pub(crate) fn inverse(vectors: impl Vectors, block: &Block, used: usize, samples: &mut [u8], stride: usize) {
    if used == 0 {
        let value = to_sample((i32::from(block[0] << PASS_BITS) + 16) >> 5);
        for row in samples.chunks_mut(stride) {
            row[..SIDE].fill(value);
        }
        return;
    }
    let rows = if used < SIDE { first_row_transformed(block) } else { vectors.transform(block) };
    for (out, row) in samples.chunks_mut(stride).zip(rows) {
        out[..SIDE].copy_from_slice(&row);
    }
}

/// Transforms a block.
#[inline(always)]
pub(crate) fn transformed(block: &Block) -> [[u8; SIDE]; SIDE] {
    let mut columns = [[0_i16; SIDE]; SIDE];
    for x in 0..SIDE {
        let sums = one_dimension(std::array::from_fn(|y| block[y * SIDE + x]), CONSTANT_BITS - PASS_BITS);
        for y in 0..SIDE {
            columns[y][x] = sums[y];
        }
    }
    let turned = transpose(&columns);
    let mut rows = [[0_u8; SIDE]; SIDE];
    for y in 0..SIDE {
        let sums = one_dimension(std::array::from_fn(|x| turned[x][y]), CONSTANT_BITS + PASS_BITS + 3);
        for x in 0..SIDE {
            rows[x][y] = to_sample(i32::from(sums[x]));
        }
    }
    transpose_bytes(rows)
}

/// Transforms a block of which only the first row is not 0, so that all its rows become alike. Its values are not
/// limited between the steps.
#[inline(always)]
fn first_row_transformed(block: &Block) -> [[u8; SIDE]; SIDE] {
    let sums = one_dimension(std::array::from_fn(|x| block[x] << PASS_BITS), CONSTANT_BITS + PASS_BITS + 3);
    [sums.map(|sum| to_sample(i32::from(sum))); SIDE]
}

/// Exchanges rows and columns, in words: first the bytes of each 2 × 2, then these pairs, then those of pairs.
#[inline(always)]
fn transpose_bytes(rows: [[u8; SIDE]; SIDE]) -> [[u8; SIDE]; SIDE] {
    let mut words = rows.map(u64::from_le_bytes);
    let steps = [(1, 0x00FF_00FF_00FF_00FF_u64), (2, 0x0000_FFFF_0000_FFFF), (4, 0x0000_0000_FFFF_FFFF)];
    for (distance, low) in steps {
        for upper in (0..SIDE).filter(|row| row & distance == 0) {
            let lower = upper + distance;
            let exchanged = (words[upper] >> (8 * distance) ^ words[lower]) & low;
            words[upper] ^= exchanged << (8 * distance);
            words[lower] ^= exchanged;
        }
    }
    words.map(u64::to_le_bytes)
}

#[inline(always)]
fn transpose(values: &[[i16; SIDE]; SIDE]) -> [[i16; SIDE]; SIDE] {
    std::array::from_fn(|y| std::array::from_fn(|x| values[x][y]))
}

/// Divides by a power of two, rounds to the nearest, and limits to 16 bits.
#[inline(always)]
fn descale(value: i32, bits: u32) -> i16 {
    (value.wrapping_add(1 << (bits - 1)) >> bits).clamp(-32768, 32767) as i16
}

/// Transformed values lie around 0, samples around 128.
#[inline(always)]
fn to_sample(value: i32) -> u8 {
    (value + 128).clamp(0, 255) as u8
}

/// One row or column, scaled by √8; `bits` are the fraction bits that it loses.
#[inline(always)]
fn one_dimension(input: [i16; SIDE], bits: u32) -> [i16; SIDE] {
    let sum = |a: i32, b: i32| a.wrapping_add(b);
    let difference = |a: i32, b: i32| a.wrapping_sub(b);
    // Two products in one step, with constants that are sums of the algorithm's.
    let pair = |a: i16, by: i32, b: i16, and: i32| sum(i32::from(a) * by, i32::from(b) * and);

    let e2 = pair(input[2], fixed(0.541_196_100), input[6], fixed(0.541_196_100) - fixed(1.847_759_065));
    let e3 = pair(input[2], fixed(0.541_196_100) + fixed(0.765_366_865), input[6], fixed(0.541_196_100));
    let e0 = i32::from(input[0].wrapping_add(input[4])) << CONSTANT_BITS;
    let e1 = i32::from(input[0].wrapping_sub(input[4])) << CONSTANT_BITS;
    let even = [sum(e0, e3), sum(e1, e2), difference(e1, e2), difference(e0, e3)];

    let [o0, o1, o2, o3] = [input[7], input[5], input[3], input[1]];
    let (z3, z4) = (o0.wrapping_add(o2), o1.wrapping_add(o3));
    let (c5, c1, c2) = (fixed(1.175_875_602), fixed(0.899_976_223), fixed(2.562_915_447));
    let s3 = pair(z3, c5 - fixed(1.961_570_560), z4, c5);
    let s4 = pair(z3, c5, z4, c5 - fixed(0.390_180_644));
    let odd = [
        sum(pair(o0, -c1, o3, fixed(1.501_321_110) - c1), s4),
        sum(pair(o1, -c2, o2, fixed(3.072_711_026) - c2), s3),
        sum(pair(o1, fixed(2.053_119_869) - c2, o2, -c2), s4),
        sum(pair(o0, fixed(0.298_631_336) - c1, o3, -c1), s3),
    ];
    let sums: [i32; SIDE] =
        std::array::from_fn(|n| if n < 4 { sum(even[n], odd[n]) } else { difference(even[7 - n], odd[7 - n]) });
    sums.map(|value| descale(value, bits))
}
