//! Kernel values between every two images, in double precision.

use rayon::prelude::*;
use retune_kernels::row_products;

use super::{Kernel, Rows, Undefined};

/// Features that are converted and multiplied at a time.
const COLUMNS: usize = 2048;
/// Rows that one task computes. Work is cut the same way on any number of threads, so results are the same too.
const TASK_ROWS: usize = 32;

/// The symmetric n × n matrix of kernel values, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Gram {
    pub(super) n: usize,
    pub(super) values: Vec<f64>,
    /// Whether all images had the same features.
    pub(super) constant: bool,
}

impl Gram {
    /// The matrix of the images whose features are `rows`, which must be finite.
    ///
    /// The features' mean is taken off first. That changes no CKA, and keeps digits where features are far from 0.
    ///
    /// # Errors
    /// [`Undefined::NoBandwidth`].
    pub fn of(rows: Rows, kernel: Kernel) -> Result<Self, Undefined> {
        let n = rows.values.len() / rows.width;
        if rows.are_constant() {
            // Rounding would leave something other than 0.
            return Ok(Self { n, values: vec![0.0; n * n], constant: true });
        }
        let values = inner_products(rows, n);
        match kernel {
            Kernel::Linear => Ok(Self { n, values, constant: false }),
            Kernel::Rbf { bandwidth } => radial(values, n, bandwidth),
        }
    }

    /// The matrix of some of the images.
    pub(super) fn select(&self, images: &[usize]) -> Self {
        let n = images.len();
        let mut values = Vec::with_capacity(n * n);
        for &row in images {
            let row = &self.values[row * self.n..][..self.n];
            values.extend(images.iter().map(|&column| row[column]));
        }
        Self { n, values, constant: self.constant }
    }
}

/// `XXᵀ` of the features with their mean taken off.
fn inner_products(rows: Rows, n: usize) -> Vec<f64> {
    let mut products = vec![0.0; n * n];
    let mut block = vec![0.0; n * COLUMNS.min(rows.width)];
    for start in (0..rows.width).step_by(COLUMNS) {
        let columns = COLUMNS.min(rows.width - start);
        let block = &mut block[..n * columns];
        centered_columns(rows, start, columns, block);
        let block = &*block;
        products.par_chunks_mut(TASK_ROWS * n).enumerate().for_each(|(task, products)| {
            let first = task * TASK_ROWS;
            let count = products.len() / n;
            // The part right of the diagonal is mirrored afterwards.
            let reach = first + count;
            let mut found = vec![0.0; count * reach];
            let own = &block[first * columns..reach * columns];
            row_products(own, &block[..reach * columns], columns, &mut found);
            for (sums, found) in products.chunks_exact_mut(n).zip(found.chunks_exact(reach)) {
                sums.iter_mut().zip(found).for_each(|(sum, found)| *sum += found);
            }
        });
    }
    mirror(&mut products, n);
    products
}

/// Some columns of the features, as doubles with their mean taken off.
fn centered_columns(rows: Rows, start: usize, columns: usize, block: &mut [f64]) {
    let mut means = vec![0.0; columns];
    for row in rows.values.chunks_exact(rows.width) {
        for (mean, &value) in means.iter_mut().zip(&row[start..start + columns]) {
            *mean += f64::from(value);
        }
    }
    let n = block.len() / columns;
    means.iter_mut().for_each(|mean| *mean /= n as f64);
    block.par_chunks_mut(columns).zip(rows.values.par_chunks(rows.width)).for_each(|(target, row)| {
        for ((target, &value), mean) in target.iter_mut().zip(&row[start..start + columns]).zip(&means) {
            *target = f64::from(value) - mean;
        }
    });
}

/// Copies what is left of the diagonal to its right.
fn mirror(values: &mut [f64], n: usize) {
    for row in 0..n {
        for column in row + 1..n {
            values[row * n + column] = values[column * n + row];
        }
    }
}

/// The radial kernel's values from inner products.
fn radial(mut values: Vec<f64>, n: usize, bandwidth: f64) -> Result<Gram, Undefined> {
    let norms: Vec<f64> = (0..n).map(|image| values[image * n + image]).collect();
    values.par_chunks_mut(n).enumerate().for_each(|(row, line)| {
        for (column, value) in line.iter_mut().enumerate() {
            let square = norms[row] + norms[column] - 2.0 * *value;
            *value = if row == column { 0.0 } else { square.max(0.0) };
        }
    });
    let scale = bandwidth * median_distance(&values, n);
    if scale <= 0.0 {
        return Err(Undefined::NoBandwidth);
    }
    let factor = -1.0 / (2.0 * scale * scale);
    values.par_iter_mut().for_each(|value| *value = (*value * factor).exp());
    Ok(Gram { n, values, constant: false })
}

/// The median distance between two different images, from squared distances; the upper one of an even number.
fn median_distance(squares: &[f64], n: usize) -> f64 {
    let mut pairs: Vec<f64> = (1..n).flat_map(|row| squares[row * n..row * n + row].iter().copied()).collect();
    if pairs.is_empty() {
        return 0.0;
    }
    let middle = pairs.len() / 2;
    pairs.select_nth_unstable_by(middle, f64::total_cmp).1.sqrt()
}
