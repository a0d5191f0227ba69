//! Multi-head self-attention without a matrix of scores: each tile of queries meets all keys, and each
//! tile of keys all queries on the way back, where the weights are computed again (Dao et al. 2022,
//! arXiv 2205.14135, in what is kept: the logarithm of each row's sum).

#[cfg(target_arch = "x86_64")]
mod amx;
mod backward;
mod forward;
mod tiles;

use rayon::prelude::*;

use self::backward::BackwardHead;
use self::forward::ForwardHead;
use crate::instructions::dispatch;
use crate::product::{MatrixLayout, Panels, Scale, Threads};
use crate::shared::SharedSlice;

/// The sizes of an attention. Queries, keys and values are `[batch, tokens, 3, heads, width]`, the
/// output is `[batch, tokens, heads, width]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    pub batch: usize,
    pub tokens: usize,
    pub heads: usize,
    pub width: usize,
}

/// A matrix with a row for each token, within larger rows.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    values: &'a [f32],
    start: usize,
    stride: usize,
}

/// Where a matrix with a row for each token is written.
#[derive(Clone, Copy)]
struct Rows<'a> {
    values: &'a SharedSlice<'a>,
    start: usize,
    stride: usize,
}

impl Heads {
    /// Values of the output.
    pub fn output_len(&self) -> usize {
        self.batch * self.tokens * self.heads * self.width
    }

    /// What scores are multiplied with.
    fn factor(&self) -> f32 {
        1.0 / (self.width as f32).sqrt()
    }

    /// Heads of all images.
    fn count(&self) -> usize {
        self.batch * self.heads
    }

    /// Start and stride of a head's queries (0), keys (1) or values (2).
    fn part(&self, head: usize, part: usize) -> (usize, usize) {
        let (image, head) = (head / self.heads, head % self.heads);
        let stride = 3 * self.heads * self.width;
        (image * self.tokens * stride + (part * self.heads + head) * self.width, stride)
    }

    /// Start and stride of a head's output.
    fn output(&self, head: usize) -> (usize, usize) {
        let (image, head) = (head / self.heads, head % self.heads);
        ((image * self.tokens * self.heads + head) * self.width, self.heads * self.width)
    }
}

impl<'a> Matrix<'a> {
    fn new(values: &'a [f32], (start, stride): (usize, usize)) -> Self {
        Self { values, start, stride }
    }

    /// Panels of its columns: a row of a panel for each token.
    fn columns(self, heads: Heads) -> Panels {
        self.pack(MatrixLayout {
            taps: 1,
            depth: heads.tokens,
            columns: heads.width,
            start: self.start,
            tap_stride: 0,
            depth_stride: self.stride,
            column_stride: 1,
        })
    }

    /// Panels of its transpose's columns: a column for each token.
    fn transposed(self, heads: Heads) -> Panels {
        self.pack(MatrixLayout {
            taps: 1,
            depth: heads.width,
            columns: heads.tokens,
            start: self.start,
            tap_stride: 0,
            depth_stride: 1,
            column_stride: self.stride,
        })
    }

    fn pack(self, layout: MatrixLayout) -> Panels {
        Panels::pack(self.values, layout, Scale::None, Threads::This)
    }
}

impl<'a> Rows<'a> {
    fn new(values: &'a SharedSlice<'a>, (start, stride): (usize, usize)) -> Self {
        Self { values, start, stride }
    }
}

/// `softmax(query · keyᵀ / √width) · value` for each head; writes all of `y` and, for each row of
/// scores (`[batch, heads, tokens]`), the logarithm of the sum of its exponentials.
///
/// # Panics
/// If the sizes do not fit.
pub(crate) fn forward(heads: Heads, parts: &[f32], y: &SharedSlice, log_sums: &mut [f32]) {
    let size = heads.output_len();
    assert_eq!((parts.len(), y.len()), (3 * size, size), "sizes of the attention");
    assert_eq!(log_sums.len(), heads.count() * heads.tokens, "sizes of the attention");
    log_sums.par_chunks_mut(heads.tokens.max(1)).enumerate().for_each(|(head, log_sums)| {
        let [queries, keys, values] = [0, 1, 2].map(|part| Matrix::new(parts, heads.part(head, part)));
        let head = ForwardHead { heads, queries, keys, values, y: Rows::new(y, heads.output(head)), log_sums };
        #[cfg(target_arch = "x86_64")]
        if let Some(unit) = amx::unit_for(heads) {
            return head.run_on(unit);
        }
        dispatch(head);
    });
}

/// What the forward pass has left, and the gradient of its output.
#[derive(Clone, Copy)]
pub(crate) struct Forward<'a> {
    pub parts: &'a [f32],
    pub y: &'a [f32],
    pub log_sums: &'a [f32],
    pub gradient: &'a [f32],
}

/// Writes the gradient of queries, keys and values, all of it.
///
/// # Panics
/// If the sizes do not fit.
pub(crate) fn backward(heads: Heads, forward: Forward, dparts: &SharedSlice) {
    let Forward { parts, y, log_sums, gradient } = forward;
    let size = heads.output_len();
    assert_eq!((parts.len(), dparts.len()), (3 * size, 3 * size), "sizes of the attention");
    assert_eq!((y.len(), gradient.len()), (size, size), "sizes of the attention");
    assert_eq!(log_sums.len(), heads.count() * heads.tokens, "sizes of the attention");
    (0..heads.count()).into_par_iter().for_each(|head| {
        let [queries, keys, values] = [0, 1, 2].map(|part| Matrix::new(parts, heads.part(head, part)));
        let [dqueries, dkeys, dvalues] = [0, 1, 2].map(|part| Rows::new(dparts, heads.part(head, part)));
        let [y, dy] = [y, gradient].map(|values| Matrix::new(values, heads.output(head)));
        let log_sums = &log_sums[head * heads.tokens..][..heads.tokens];
        let along = &along(heads, dy, y);
        let head = BackwardHead { heads, queries, keys, values, dy, along, log_sums, dqueries, dkeys, dvalues };
        #[cfg(target_arch = "x86_64")]
        if let Some(unit) = amx::unit_for(heads) {
            return head.run_on(unit);
        }
        dispatch(head);
    });
}

/// `Σ dy · y` for each query.
fn along(heads: Heads, dy: Matrix, y: Matrix) -> Vec<f32> {
    let row = |matrix: Matrix<'_>, token: usize| matrix.start + token * matrix.stride;
    let mut along = vec![0.0; heads.tokens];
    for (token, along) in along.iter_mut().enumerate() {
        let dy = &dy.values[row(dy, token)..][..heads.width];
        let y = &y.values[row(y, token)..][..heads.width];
        let mut sums = [0.0f32; 16];
        let ((dy, dy_rest), (y, y_rest)) = (dy.as_chunks::<16>(), y.as_chunks::<16>());
        for (dy, y) in dy.iter().zip(y) {
            for index in 0..16 {
                sums[index] += dy[index] * y[index];
            }
        }
        let rest: f32 = dy_rest.iter().zip(y_rest).map(|(dy, y)| dy * y).sum();
        *along = sums.iter().sum::<f32>() + rest;
    }
    along
}
