//! Inner products of every row of one matrix with every row of another, in double precision.
//!
//! One call runs on one thread, and sums in an order that depends on the sizes alone: who divides the rows without regard
//! to the number of threads gets the same bits on any number.

use gemm::{Parallelism, gemm};

/// Sets `products`, row-major, to the inner products of the rows of `left` with those of `right`: rows of `width`.
///
/// # Panics
/// If the lengths of the slices do not fit each other.
pub fn row_products(left: &[f64], right: &[f64], width: usize, products: &mut [f64]) {
    let (rows, others) = (left.len() / width, right.len() / width);
    assert_eq!(left.len(), rows * width, "whole rows on the left");
    assert_eq!(right.len(), others * width, "whole rows on the right");
    assert_eq!(products.len(), rows * others, "one product for each pair of rows");
    let [row, other] =
        [width, others].map(|stride| isize::try_from(stride).expect("slices are shorter than isize::MAX"));
    // SAFETY: the three matrices are slices of the sizes asserted above, row-major: element (i, j) of the left is at
    // i · width + j, element (j, k) of the transposed right at k · width + j, element (i, k) of the products at
    // i · others + k. The products are borrowed mutably, so they overlap with neither side; they are not read.
    unsafe {
        gemm(
            rows,
            others,
            width,
            products.as_mut_ptr(),
            1,
            other,
            false,
            left.as_ptr(),
            1,
            row,
            right.as_ptr(),
            row,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
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
