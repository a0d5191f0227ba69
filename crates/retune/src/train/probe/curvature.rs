//! An approximation of the loss's second derivatives, which L-BFGS starts every direction from.
//!
//! The Hessian of the mean cross-entropy by the weights of classes a and b is the mean of `z zᵀ (p_a δ_ab − p_a p_b)`.
//! Kept of it are the blocks on the diagonal, with the two factors averaged apart: `m_a G + λ I`, where `m_a` is the mean
//! of `p_a (1 − p_a)`, which every evaluation of the loss has anyway, and `G` the mean of `z zᵀ`, which never changes. (Böhning
//! 1992, "Multinomial logistic regression algorithm", bounds the Hessian by the same G.) Features of networks are
//! strongly correlated; with G, a penalty takes about a third of the iterations.

use std::ops::Range;

use rayon::prelude::*;
use retune_kernels::row_products;

use super::features::RowBuffer;
use super::objective::Coordinates;
use super::tridiagonal::Tridiagonal;
use super::{FeatureMatrix, ProbeError};

/// Features up to which correlations are taken into account: the reduction of G grows with their cube.
const MAX_CORRELATED: usize = 2048;
/// Rows for each feature below which they are not: an iteration is then cheap beside two products with Q.
const MIN_ROWS_PER_FEATURE: usize = 4;
/// Rows for each feature, at most, that G is estimated from.
const MAX_ROWS_PER_FEATURE: usize = 16;
/// Every how many-th row is used, at most, so that little has to be in memory at once.
const MAX_STRIDE: usize = 8;
/// Rows that are added to G together.
const BLOCK_ROWS: usize = 512;
/// Features that one task handles.
const TASK_FEATURES: usize = 32;
/// Share of the trace of G below which curvature is rounding noise of single-precision features.
const NOISE: f64 = 1e-7;
/// Share of the mean `m` below which a class is taken to have no less.
const MIN_CLASS: f64 = 1e-6;

/// The second moments of the centered and scaled features.
pub(super) struct Curvature {
    moments: Moments,
    trace: f64,
    columns: usize,
}

enum Moments {
    /// All of G.
    Full(Tridiagonal),
    /// Its diagonal.
    Diagonal(Vec<f64>),
}

impl Curvature {
    /// Measures the features.
    ///
    /// # Errors
    /// [`ProbeError::Unreadable`].
    pub(super) fn of(features: FeatureMatrix<'_>, coordinates: &Coordinates) -> Result<Self, ProbeError> {
        let columns = features.columns();
        let is_full = columns <= MAX_CORRELATED && features.rows() >= MIN_ROWS_PER_FEATURE * columns;
        if !is_full {
            let variances = variances(features, coordinates)?;
            let trace = variances.iter().sum();
            return Ok(Self { moments: Moments::Diagonal(variances), trace, columns });
        }
        let matrix = second_moments(features, coordinates)?;
        let trace = (0..columns).map(|column| matrix[column * (columns + 1)]).sum();
        Ok(Self { moments: Moments::Full(Tridiagonal::of(matrix, columns)), trace, columns })
    }

    /// Replaces a gradient by (all weights, then the biases) by what the approximate Hessian's inverse makes of it.
    /// `class_curvature` is the mean of `p (1 − p)` of each class.
    pub(super) fn divide(&self, gradient: &mut [f64], class_curvature: &[f64], penalty: f64) {
        let classes = class_curvature.len();
        let mean = class_curvature.iter().sum::<f64>() / classes as f64;
        // Saturated predictions have none left; any positive number then stands for it.
        let smallest = (MIN_CLASS * mean).max(f64::MIN_POSITIVE.sqrt());
        let factors: Vec<f64> = class_curvature.iter().map(|curvature| curvature.max(smallest)).collect();
        let shift = |factor: f64| penalty + NOISE * factor * self.trace + f64::MIN_POSITIVE.sqrt();
        let (weight, bias) = gradient.split_at_mut(classes * self.columns);
        match &self.moments {
            Moments::Full(form) => {
                let mut turned = self.products(weight, &form.transposed);
                turned.par_chunks_exact_mut(self.columns).zip(&factors).for_each(|(row, factor)| {
                    form.solve(*factor, shift(*factor), row);
                });
                weight.copy_from_slice(&self.products(&turned, &form.basis));
            }
            Moments::Diagonal(variances) => {
                for (row, factor) in weight.chunks_exact_mut(self.columns).zip(&factors) {
                    for (value, variance) in row.iter_mut().zip(variances) {
                        *value /= factor * variance + shift(*factor);
                    }
                }
            }
        }
        for (value, factor) in bias.iter_mut().zip(&factors) {
            *value /= factor;
        }
        // What all classes share changes no probability; the optimum has none of it.
        remove_mean_row(weight, self.columns);
        remove_mean_row(bias, 1);
    }

    /// The products of some rows with each row of a square matrix.
    fn products(&self, rows: &[f64], matrix: &[f64]) -> Vec<f64> {
        let columns = self.columns;
        let count = rows.len() / columns;
        let blocks: Vec<Vec<f64>> = matrix
            .par_chunks(TASK_FEATURES * columns)
            .map(|block| {
                let mut products = vec![0.0; count * (block.len() / columns)];
                row_products(rows, block, columns, &mut products);
                products
            })
            .collect();
        let mut all = vec![0.0; rows.len()];
        for (row, out) in all.chunks_exact_mut(columns).enumerate() {
            for (out, block) in out.chunks_mut(TASK_FEATURES).zip(&blocks) {
                out.copy_from_slice(&block[row * out.len()..(row + 1) * out.len()]);
            }
        }
        all
    }
}

/// Subtracts the mean of all rows from each.
fn remove_mean_row(values: &mut [f64], columns: usize) {
    let mut mean = vec![0.0; columns];
    let rows = (values.len() / columns) as f64;
    for row in values.chunks_exact(columns) {
        for (mean, value) in mean.iter_mut().zip(row) {
            *mean += value / rows;
        }
    }
    for row in values.chunks_exact_mut(columns) {
        for (value, mean) in row.iter_mut().zip(&mean) {
            *value -= mean;
        }
    }
}

/// The mean square of each centered and scaled feature.
fn variances(features: FeatureMatrix<'_>, coordinates: &Coordinates) -> Result<Vec<f64>, ProbeError> {
    let sums = features.sum(features.columns(), |rows, sums| {
        features.for_each_of(rows, |values| {
            for row in values.chunks_exact(sums.len()) {
                for ((sum, value), center) in sums.iter_mut().zip(row).zip(&coordinates.center) {
                    *sum += (f64::from(*value) - center).powi(2);
                }
            }
        })
    })?;
    let divisor = features.rows() as f64 * coordinates.scale.powi(2);
    Ok(sums.into_iter().map(|sum| sum / divisor).collect())
}

/// The mean of `z zᵀ` over the rows, or over as many of them as tell it well, evenly spread.
fn second_moments(features: FeatureMatrix<'_>, coordinates: &Coordinates) -> Result<Vec<f64>, ProbeError> {
    let (rows, columns) = (features.rows(), features.columns());
    let stride = rows.div_ceil(MAX_ROWS_PER_FEATURE * columns).min(MAX_STRIDE);
    // One part at a time, because a matrix is large, and its rows are computed side by side.
    let mut matrix = features.sum_side_by_side(1, columns * columns, |rows, matrix| {
        add_second_moments(features, coordinates, rows, stride, matrix)
    })?;
    let division = features.division();
    let used: usize = (0..division.parts()).map(|part| division.rows_of(part..part + 1).len().div_ceil(stride)).sum();
    for row in 0..columns {
        for column in 0..=row {
            let value = matrix[column * columns + row] / used as f64;
            matrix[row * columns + column] = value;
            matrix[column * columns + row] = value;
        }
    }
    Ok(matrix)
}

/// Adds the `z zᵀ` of every `stride`-th of some rows, on and right of the diagonal: the matrix is symmetric.
fn add_second_moments(
    features: FeatureMatrix<'_>,
    coordinates: &Coordinates,
    rows: Range<usize>,
    stride: usize,
    matrix: &mut [f64],
) -> Result<(), ProbeError> {
    let columns = features.columns();
    let mut buffer = RowBuffer::default();
    for start in rows.clone().step_by(BLOCK_ROWS * stride) {
        let end = (start + BLOCK_ROWS * stride).min(rows.end);
        let values = features.row_range(start..end, &mut buffer)?;
        let count = (end - start).div_ceil(stride);
        let block = by_feature(values, count, stride, coordinates);
        matrix.par_chunks_mut(TASK_FEATURES * columns).enumerate().for_each(|(task, out)| {
            let first = task * TASK_FEATURES;
            let own = &block[first * count..][..out.len() / columns * count];
            let others = &block[first * count..];
            let mut products = vec![0.0; out.len() / columns * (columns - first)];
            row_products(own, others, count, &mut products);
            for (out, products) in out.chunks_exact_mut(columns).zip(products.chunks_exact(columns - first)) {
                for (out, product) in out[first..].iter_mut().zip(products) {
                    *out += product;
                }
            }
        });
    }
    Ok(())
}

/// Every `stride`-th row, centered and scaled: one row of all these images for each feature.
fn by_feature(values: &[f32], count: usize, stride: usize, coordinates: &Coordinates) -> Vec<f64> {
    let columns = coordinates.center.len();
    let mut block = vec![0.0; columns * count];
    block.par_chunks_mut(TASK_FEATURES * count).enumerate().for_each(|(task, out)| {
        let first = task * TASK_FEATURES;
        for (image, row) in values.chunks_exact(columns).step_by(stride).enumerate() {
            for (offset, feature) in out.chunks_exact_mut(count).enumerate() {
                let (value, center) = (row[first + offset], coordinates.center[first + offset]);
                feature[image] = (f64::from(value) - center) / coordinates.scale;
            }
        }
    });
    block
}
