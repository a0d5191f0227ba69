//! Inner products of every row of one matrix with every row of another, in double precision.
//!
//! Each product is summed in an order that does not depend on the number of threads, so results are the same to the bit.

use pulp::{Simd, WithSimd};

use crate::dispatch;

/// Columns that are multiplied at a time: what of both matrices stays in a core's cache.
const COLUMNS: usize = 512;
/// Rows of each matrix whose products are summed together, in as many vector registers as there are, so that what is
/// loaded is used more than once.
const LEFT: usize = 4;
const RIGHT: usize = 3;

/// Sets `products`, row-major, to the inner products of the rows of `left` with those of `right`: rows of `width`.
pub fn row_products(left: &[f64], right: &[f64], width: usize, products: &mut [f64]) {
    products.fill(0.0);
    dispatch(Products { left, right, width, products });
}

struct Products<'a> {
    left: &'a [f64],
    right: &'a [f64],
    width: usize,
    products: &'a mut [f64],
}

impl WithSimd for Products<'_> {
    type Output = ();

    // Loops, not closures: those that are not inlined are compiled without the instruction set that is dispatched to.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { left, right, width, products } = self;
        let (rows, others) = (left.len() / width, right.len() / width);
        for start in (0..width).step_by(COLUMNS) {
            let length = COLUMNS.min(width - start);
            for first in (0..rows).step_by(LEFT) {
                // At an edge the last row stands in for those that are missing.
                let mut one: [&[f64]; LEFT] = [&[]; LEFT];
                for (offset, row) in one.iter_mut().enumerate() {
                    *row = &left[(first + offset).min(rows - 1) * width + start..][..length];
                }
                for other in (0..others).step_by(RIGHT) {
                    let mut two: [&[f64]; RIGHT] = [&[]; RIGHT];
                    for (offset, row) in two.iter_mut().enumerate() {
                        *row = &right[(other + offset).min(others - 1) * width + start..][..length];
                    }
                    let sums = tile(simd, one, two);
                    for (row, sums) in sums.iter().enumerate().take(rows - first) {
                        for (column, sum) in sums.iter().enumerate().take(others - other) {
                            products[(first + row) * others + other + column] += sum;
                        }
                    }
                }
            }
        }
    }
}

/// Inner products of a few rows of equal length.
#[inline(always)]
fn tile<S: Simd>(simd: S, one: [&[f64]; LEFT], two: [&[f64]; RIGHT]) -> [[f64; RIGHT]; LEFT] {
    let vectors = S::as_simd_f64s(one[0]).0.len();
    let mut ones: [&[S::f64s]; LEFT] = [&[]; LEFT];
    for (head, row) in ones.iter_mut().zip(one) {
        *head = &S::as_simd_f64s(row).0[..vectors];
    }
    let mut twos: [&[S::f64s]; RIGHT] = [&[]; RIGHT];
    for (head, row) in twos.iter_mut().zip(two) {
        *head = &S::as_simd_f64s(row).0[..vectors];
    }
    let mut lanes = [[simd.splat_f64s(0.0); RIGHT]; LEFT];
    for position in 0..vectors {
        for column in 0..RIGHT {
            let b = twos[column][position];
            for row in 0..LEFT {
                lanes[row][column] = simd.mul_add_f64s(ones[row][position], b, lanes[row][column]);
            }
        }
    }
    let mut sums = [[0.0; RIGHT]; LEFT];
    for row in 0..LEFT {
        let left_rest = S::as_simd_f64s(one[row]).1;
        for column in 0..RIGHT {
            let mut sum = simd.reduce_sum_f64s(lanes[row][column]);
            for (a, b) in left_rest.iter().zip(S::as_simd_f64s(two[column]).1) {
                sum += a * b;
            }
            sums[row][column] = sum;
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_every_shape_are_those_of_plain_loops() {
        for (rows, others, width) in [(1, 1, 1), (2, 4, 8), (3, 5, 7), (7, 9, 300), (5, 1, 521)] {
            // Small whole numbers, of which every sum is exact.
            let values =
                |count: usize, step: usize| (0..count).map(|at| (at * step % 13) as f64 - 6.0).collect::<Vec<_>>();
            let (left, right) = (values(rows * width, 5), values(others * width, 7));
            let mut products = vec![f64::NAN; rows * others];
            row_products(&left, &right, width, &mut products);
            for row in 0..rows {
                for other in 0..others {
                    let expected: f64 = (0..width).map(|at| left[row * width + at] * right[other * width + at]).sum();
                    assert_eq!(products[row * others + other], expected, "{rows} {others} {width}");
                }
            }
        }
    }
}
