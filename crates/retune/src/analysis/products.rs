//! Inner products of every row of one matrix with every row of another, in double precision.
//!
//! Each product is summed in the same order whatever the machine or the number of threads, so results are the same to
//! the bit.

use pulp::Arch;

/// Sums that run side by side, which a compiler turns into vector instructions.
const LANES: usize = 8;
/// Columns that are multiplied at a time: what of both matrices stays in a core's cache.
const COLUMNS: usize = 256;
/// Rows of each matrix whose products are summed together, so that what is loaded is used more than once.
const LEFT: usize = 2;
const RIGHT: usize = 4;

/// Sets `products`, row-major, to the inner products of the rows of `left` with those of `right`: rows of `width`.
pub(super) fn inner_products(left: &[f64], right: &[f64], width: usize, products: &mut [f64]) {
    products.fill(0.0);
    Arch::new().dispatch(|| add_products(left, right, width, products));
}

#[inline(always)]
fn add_products(left: &[f64], right: &[f64], width: usize, products: &mut [f64]) {
    let (rows, others) = (left.len() / width, right.len() / width);
    for start in (0..width).step_by(COLUMNS) {
        let columns = start..width.min(start + COLUMNS);
        let part = |row: usize| row * width + columns.start..row * width + columns.end;
        for first in (0..rows).step_by(LEFT) {
            for other in (0..others).step_by(RIGHT) {
                // At an edge the last row stands in for those that are missing.
                let one: [&[f64]; LEFT] = std::array::from_fn(|at| &left[part((first + at).min(rows - 1))]);
                let two: [&[f64]; RIGHT] = std::array::from_fn(|at| &right[part((other + at).min(others - 1))]);
                let sums = tile(one, two);
                for (row, sums) in sums.iter().enumerate().take(rows - first) {
                    for (column, sum) in sums.iter().enumerate().take(others - other) {
                        products[(first + row) * others + other + column] += sum;
                    }
                }
            }
        }
    }
}

/// Inner products of a few rows of equal length.
#[inline(always)]
fn tile(one: [&[f64]; LEFT], two: [&[f64]; RIGHT]) -> [[f64; RIGHT]; LEFT] {
    let mut lanes = [[[0.0; LANES]; RIGHT]; LEFT];
    let ones = one.map(|row| row.as_chunks::<LANES>());
    let twos = two.map(|row| row.as_chunks::<LANES>());
    for chunk in 0..ones[0].0.len() {
        for row in 0..LEFT {
            let a = &ones[row].0[chunk];
            for column in 0..RIGHT {
                let b = &twos[column].0[chunk];
                for lane in 0..LANES {
                    lanes[row][column][lane] += a[lane] * b[lane];
                }
            }
        }
    }
    let mut sums = [[0.0; RIGHT]; LEFT];
    for row in 0..LEFT {
        for column in 0..RIGHT {
            let rest: f64 = ones[row].1.iter().zip(twos[column].1).map(|(a, b)| a * b).sum();
            sums[row][column] = lanes[row][column].iter().sum::<f64>() + rest;
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
            inner_products(&left, &right, width, &mut products);
            for row in 0..rows {
                for other in 0..others {
                    let expected: f64 = (0..width).map(|at| left[row * width + at] * right[other * width + at]).sum();
                    assert_eq!(products[row * others + other], expected, "{rows} {others} {width}");
                }
            }
        }
    }
}
