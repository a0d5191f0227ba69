//! Operators that work element by element, and sums over rows.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::instructions::dispatch;
use crate::vectors::vectorized;

/// Values that one task handles.
const CHUNK: usize = 1 << 14;
/// Rows that one task sums.
const ROWS: usize = 512;

/// The sum of products, in an order that does not depend on the machine's threads.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    struct Dot<'a>(&'a [f32], &'a [f32]);
    impl WithSimd for Dot<'_> {
        type Output = f32;
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f32 {
            let ((a, a_rest), (b, b_rest)) = (S::as_simd_f32s(self.0), S::as_simd_f32s(self.1));
            let mut total = simd.splat_f32s(0.0);
            for (a, b) in a.iter().zip(b) {
                total = simd.mul_add_e_f32s(*a, *b, total);
            }
            let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
            simd.reduce_sum_f32s(total) + rest
        }
    }
    assert_eq!(a.len(), b.len(), "as many values on either side");
    dispatch(Dot(a, b))
}

/// The sums of the columns of a row-major matrix. Blocks of rows are summed first and then added in
/// their order, so the result does not depend on the number of threads.
pub fn column_sums(values: &[f32], columns: usize) -> Vec<f32> {
    let block = (ROWS * columns).max(1);
    let partial: Vec<Vec<f32>> = values.par_chunks(block).map(|block| block_sums(block, columns)).collect();
    let mut sums = vec![0.0; columns];
    for partial in partial {
        sums.iter_mut().zip(partial).for_each(|(sum, value)| *sum += value);
    }
    sums
}

fn block_sums(block: &[f32], columns: usize) -> Vec<f32> {
    let mut sums = vec![0.0; columns];
    vectorized(
        #[inline(always)]
        || {
            for row in block.chunks_exact(columns) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += value;
                }
            }
        },
    );
    sums
}

/// Sets `gradient` to zero where `output` lies on a limit.
pub fn mask_by_limits(gradient: &mut [f32], output: &[f32], limits: (f32, f32)) {
    gradient.par_chunks_mut(CHUNK).zip(output.par_chunks(CHUNK)).for_each(|(gradient, output)| {
        dispatch(Mask { gradient, output, limits });
    });
}

/// Written in vectors: of the loop over numbers, the compiler makes branches, or stores under a mask, which some processors are
/// slow at.
struct Mask<'a> {
    gradient: &'a mut [f32],
    output: &'a [f32],
    limits: (f32, f32),
}

impl WithSimd for Mask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let ((gradients, rest), (outputs, outputs_rest)) =
            (S::as_mut_simd_f32s(self.gradient), S::as_simd_f32s(self.output));
        let (zero, low, high) = (simd.splat_f32s(0.0), simd.splat_f32s(self.limits.0), simd.splat_f32s(self.limits.1));
        let masked = |gradient: S::f32s, output: S::f32s| {
            let inside = simd.and_m32s(simd.less_than_f32s(low, output), simd.less_than_f32s(output, high));
            simd.select_f32s(inside, gradient, zero)
        };
        for (gradient, output) in gradients.iter_mut().zip(outputs) {
            *gradient = masked(*gradient, *output);
        }
        let last = masked(simd.partial_load_f32s(rest), simd.partial_load_f32s(outputs_rest));
        simd.partial_store_f32s(rest, last);
    }
}
