//! The inverse transform of a block: the integer algorithm of Loeffler, Ligtenberg and Moschytz ("Practical
//! fast 1-D DCT algorithms with 11 multiplications", 1989) with the precision and rounding of libjpeg's
//! "islow", so that the samples are the same.

use crate::frame::{Block, SIDE};

/// Fraction bits of the constants, and those kept between the two passes.
const CONSTANT_BITS: u32 = 13;
const PASS_BITS: u32 = 2;

/// A constant with [`CONSTANT_BITS`] fraction bits.
const fn fixed(value: f64) -> i32 {
    (value * (1 << CONSTANT_BITS) as f64 + 0.5) as i32
}

/// Transforms coefficients, multiplied by their quantization, into samples. `last` is where in zigzag order
/// the last coefficient is that is not 0; row `y` of the block begins at `samples[y * stride]`.
#[inline(always)]
pub(crate) fn inverse(block: &Block, last: usize, samples: &mut [u8], stride: usize) {
    if last == 0 {
        let value = to_sample((i32::from(block[0]) + 4) >> 3);
        for row in samples.chunks_mut(stride) {
            row[..SIDE].fill(value);
        }
        return;
    }
    let mut columns = [[0_i32; SIDE]; SIDE];
    for x in 0..SIDE {
        let sums = one_dimension(std::array::from_fn(|y| i32::from(block[y * SIDE + x])));
        for y in 0..SIDE {
            columns[y][x] = descale(sums[y], CONSTANT_BITS - PASS_BITS);
        }
    }
    let turned = transpose(&columns);
    let mut rows = [[0_u8; SIDE]; SIDE];
    for y in 0..SIDE {
        let sums = one_dimension(std::array::from_fn(|x| turned[x][y]));
        for x in 0..SIDE {
            rows[x][y] = to_sample(descale(sums[x], CONSTANT_BITS + PASS_BITS + 3));
        }
    }
    for (out, row) in samples.chunks_mut(stride).zip(transpose_bytes(rows)) {
        out[..SIDE].copy_from_slice(&row);
    }
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
fn transpose(values: &[[i32; SIDE]; SIDE]) -> [[i32; SIDE]; SIDE] {
    std::array::from_fn(|y| std::array::from_fn(|x| values[x][y]))
}

#[inline(always)]
fn descale(value: i32, bits: u32) -> i32 {
    value.wrapping_add(1 << (bits - 1)) >> bits
}

/// Transformed values lie around 0, samples around 128.
#[inline(always)]
fn to_sample(value: i32) -> u8 {
    (value + 128).clamp(0, 255) as u8
}

/// One row or column, scaled by √8 and by the constants' fraction bits.
#[inline(always)]
fn one_dimension(input: [i32; SIDE]) -> [i32; SIDE] {
    let product = |value: i32, constant: i32| value.wrapping_mul(constant);
    let sum = |a: i32, b: i32| a.wrapping_add(b);
    let difference = |a: i32, b: i32| a.wrapping_sub(b);

    let shared = product(sum(input[2], input[6]), fixed(0.541_196_100));
    let e2 = difference(shared, product(input[6], fixed(1.847_759_065)));
    let e3 = sum(shared, product(input[2], fixed(0.765_366_865)));
    let e0 = sum(input[0], input[4]) << CONSTANT_BITS;
    let e1 = difference(input[0], input[4]) << CONSTANT_BITS;
    let even = [sum(e0, e3), sum(e1, e2), difference(e1, e2), difference(e0, e3)];

    let [o0, o1, o2, o3] = [input[7], input[5], input[3], input[1]];
    let (z3, z4) = (sum(o0, o2), sum(o1, o3));
    let z5 = product(sum(z3, z4), fixed(1.175_875_602));
    let z1 = product(sum(o0, o3), fixed(0.899_976_223));
    let z2 = product(sum(o1, o2), fixed(2.562_915_447));
    let z3 = difference(z5, product(z3, fixed(1.961_570_560)));
    let z4 = difference(z5, product(z4, fixed(0.390_180_644)));
    let odd = [
        sum(product(o3, fixed(1.501_321_110)), difference(z4, z1)),
        sum(product(o2, fixed(3.072_711_026)), difference(z3, z2)),
        sum(product(o1, fixed(2.053_119_869)), difference(z4, z2)),
        sum(product(o0, fixed(0.298_631_336)), difference(z3, z1)),
    ];
    std::array::from_fn(|n| if n < 4 { sum(even[n], odd[n]) } else { difference(even[7 - n], odd[7 - n]) })
}
