//! Transposes of eight lines at a time.

/// Lines that are transposed together.
pub(crate) const LINES: usize = 8;

/// `out[k · stride + line] = lines[line][k]` for every `k` of the lines.
///
/// # Panics
/// If the lines differ in length, or `out` is too short.
#[inline]
pub(crate) fn transpose(lines: [&[f32]; LINES], out: &mut [f32], stride: usize) {
    transpose_taps::<1>(lines, [1.0; LINES], out, stride);
}

/// `out[(tap · depth + k) · stride + line] = lines[line][k · TAPS + tap] · factors[line]` for every tap and `k`, of lines with
/// `depth · TAPS` values.
///
/// # Panics
/// As [`transpose`], and if a line is not of whole depths.
#[inline]
pub(crate) fn transpose_taps<const TAPS: usize>(
    lines: [&[f32]; LINES],
    factors: [f32; LINES],
    out: &mut [f32],
    stride: usize,
) {
    let length = lines[0].len();
    assert!(lines.iter().all(|line| line.len() == length) && stride >= LINES, "lines of one length");
    assert!(length.is_multiple_of(TAPS), "whole depths");
    assert!(length == 0 || (length - 1) * stride + LINES <= out.len(), "a row for each value of the lines");
    #[cfg(target_arch = "x86_64")]
    let done = squares::<TAPS>(lines, factors, out, stride);
    #[cfg(not(target_arch = "x86_64"))]
    let done = 0;
    for at in done..length {
        let row = row_of::<TAPS>(at, length);
        for ((out, line), factor) in out[row * stride..].iter_mut().zip(lines).zip(factors) {
            *out = line[at] * factor;
        }
    }
}

/// The row of a line's value.
#[inline(always)]
fn row_of<const TAPS: usize>(at: usize, length: usize) -> usize {
    at % TAPS * (length / TAPS) + at / TAPS
}

/// The same for any number of lines, of which `row` gives each.
///
/// # Panics
/// As [`transpose`].
#[cfg(any(test, target_arch = "x86_64"))]
#[inline]
pub(crate) fn transpose_rows<'a>(count: usize, row: impl Fn(usize) -> &'a [f32], out: &mut [f32], stride: usize) {
    let whole = count / LINES * LINES;
    for first in (0..whole).step_by(LINES) {
        transpose(std::array::from_fn(|line| row(first + line)), &mut out[first..], stride);
    }
    for line in whole..count {
        for (k, value) in row(line).iter().enumerate() {
            out[k * stride + line] = *value;
        }
    }
}

/// Transposes eight values of each line at a time, where the machine has AVX; returns how many of each line.
#[cfg(target_arch = "x86_64")]
#[inline]
fn squares<const TAPS: usize>(lines: [&[f32]; LINES], factors: [f32; LINES], out: &mut [f32], stride: usize) -> usize {
    let length = lines[0].len();
    if !is_x86_feature_detected!("avx") {
        return 0;
    }
    // SAFETY: the instructions are there; each line holds that many values, and each row of `out` eight (asserted by
    // `transpose_taps`).
    unsafe { transpose_squares::<TAPS>(lines.map(<[f32]>::as_ptr), length, factors, out.as_mut_ptr(), stride) };
    length / LINES * LINES
}

/// # Safety
/// The machine must have AVX; `length` values must be readable at each line, and eight writable at each of `length` rows.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
unsafe fn transpose_squares<const TAPS: usize>(
    lines: [*const f32; LINES],
    length: usize,
    factors: [f32; LINES],
    out: *mut f32,
    stride: usize,
) {
    for at in (0..length / LINES * LINES).step_by(LINES) {
        let rows = std::array::from_fn(|index| out.wrapping_add(row_of::<TAPS>(at + index, length) * stride));
        // SAFETY: by the contract.
        unsafe { transpose_square(lines.map(|line| line.add(at)), factors, rows) };
    }
}

/// # Safety
/// The machine must have AVX; eight values must be readable at each line and writable at each of the eight rows.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx")]
unsafe fn transpose_square(lines: [*const f32; LINES], factors: [f32; LINES], out: [*mut f32; LINES]) {
    use std::arch::x86_64::*;
    // SAFETY: by the contract.
    let halves = |line: usize, at: usize| unsafe {
        let (low, high) = (_mm_loadu_ps(lines[line].add(at)), _mm_loadu_ps(lines[line + 4].add(at)));
        _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(low), high)
    };
    // SAFETY: eight factors.
    let factors = unsafe { _mm256_loadu_ps(factors.as_ptr()) };
    for at in [0, 4] {
        // Four values of the lines 0 to 3 in the low halves, of 4 to 7 in the high ones.
        let (a, b, c, d) = (halves(0, at), halves(1, at), halves(2, at), halves(3, at));
        let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        let rows = [
            _mm256_shuffle_ps::<0b0100_0100>(ab_low, cd_low),
            _mm256_shuffle_ps::<0b1110_1110>(ab_low, cd_low),
            _mm256_shuffle_ps::<0b0100_0100>(ab_high, cd_high),
            _mm256_shuffle_ps::<0b1110_1110>(ab_high, cd_high),
        ];
        for (row, &values) in rows.iter().enumerate() {
            // SAFETY: by the contract.
            unsafe { _mm256_storeu_ps(out[at + row], _mm256_mul_ps(values, factors)) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LINES, transpose, transpose_rows, transpose_taps};

    #[test]
    fn rows_of_any_number_find_their_places() {
        for (count, depth) in [(0, 3), (1, 2), (7, 5), (8, 5), (21, 13)] {
            let values: Vec<f32> = (0..count * depth).map(|value| value as f32).collect();
            let mut out = vec![-1.0; count * depth];
            transpose_rows(count, |line| &values[line * depth..][..depth], &mut out, count);
            for (at, value) in out.into_iter().enumerate() {
                assert_eq!(value, ((at % count) * depth + at / count) as f32, "{count} rows of {depth}, at {at}");
            }
        }
    }

    #[test]
    fn values_of_every_depth_find_their_places() {
        for depth in [0, 1, 7, 8, 9, 16, 37] {
            let values: Vec<f32> = (0..LINES * depth).map(|value| value as f32).collect();
            for stride in [LINES, 13, 32] {
                let mut out = vec![-1.0; depth * stride];
                transpose(std::array::from_fn(|line| &values[line * depth..][..depth]), &mut out, stride);
                for (at, value) in out.into_iter().enumerate() {
                    let (k, line) = (at / stride, at % stride);
                    let expected = if line < LINES { (line * depth + k) as f32 } else { -1.0 };
                    assert_eq!(value, expected, "value {k} of line {line}, stride {stride}");
                }
            }
        }
    }

    #[test]
    fn taps_are_told_apart_and_lines_have_factors() {
        const TAPS: usize = 9;
        let factors = std::array::from_fn(|line| (line + 1) as f32);
        for depth in [0, 1, 3, 8, 17] {
            let length = depth * TAPS;
            let values: Vec<f32> = (0..LINES * length).map(|value| value as f32).collect();
            let mut out = vec![-1.0; length * LINES];
            let lines = std::array::from_fn(|line| &values[line * length..][..length]);
            transpose_taps::<TAPS>(lines, factors, &mut out, LINES);
            for (at, value) in out.into_iter().enumerate() {
                let (row, line) = (at / LINES, at % LINES);
                let (tap, k) = (row / depth, row % depth);
                let expected = (line * length + k * TAPS + tap) as f32 * factors[line];
                assert_eq!(value, expected, "tap {tap} of depth {k} of line {line}, of {depth}");
            }
        }
    }
}
