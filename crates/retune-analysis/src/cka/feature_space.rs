//! The linear kernel's CKA from products of features with features, which are smaller than the kernel matrices where
//! there are more images than features.

use rayon::prelude::*;
use retune_kernels::row_products;

use super::{Estimator, Rows, Undefined};

/// Features that one task computes, the same on any number of threads.
const TASK_ROWS: usize = 32;
/// What rounding leaves of an HSIC that is 0, as a share of the squared norms' product.
const ROUNDING: f64 = 1e-26;

/// CKA of features that are finite, of the same images, and enough of them.
pub(super) fn compare(one: Rows, other: Rows, estimator: Estimator) -> Result<f64, Undefined> {
    if one.are_constant() || other.are_constant() {
        return Err(Undefined::ConstantFeatures);
    }
    let (one, other) = (Centered::new(one), Centered::new(other));
    let own = independence(&one, &one, estimator) * independence(&other, &other, estimator);
    let size = own.sqrt();
    if size.is_nan() || size <= ROUNDING * one.total() * other.total() {
        return Err(Undefined::NoStructure);
    }
    Ok((independence(&one, &other, estimator) / size).clamp(-1.0, 1.0))
}

/// Features with their mean taken off, as doubles, and each image's squared norm.
struct Centered {
    values: Vec<f64>,
    width: usize,
    norms: Vec<f64>,
}

impl Centered {
    fn new(rows: Rows) -> Self {
        let n = rows.values.len() / rows.width;
        let mut means = vec![0.0; rows.width];
        for row in rows.values.chunks_exact(rows.width) {
            means.iter_mut().zip(row).for_each(|(mean, &value)| *mean += f64::from(value));
        }
        means.iter_mut().for_each(|mean| *mean /= n as f64);
        let center = |row: &[f32]| row.iter().zip(&means).map(|(&value, mean)| f64::from(value) - mean).collect();
        let values: Vec<f64> =
            rows.values.par_chunks(rows.width).flat_map_iter(|row| -> Vec<f64> { center(row) }).collect();
        let norms = values.chunks_exact(rows.width).map(|row| row.iter().map(|value| value * value).sum()).collect();
        Self { values, width: rows.width, norms }
    }

    fn total(&self) -> f64 {
        self.norms.iter().sum()
    }
}

/// n (n − 3) times Song's HSIC, or (n − 1)² times Gretton's: the factor cancels in CKA.
///
/// With the mean taken off, a row of the kernel matrix without its diagonal sums to minus the image's squared norm, so
/// Song's three terms need no kernel matrix.
fn independence(one: &Centered, other: &Centered, estimator: Estimator) -> f64 {
    let squares = cross_products(one, other);
    if estimator == Estimator::Biased {
        return squares;
    }
    let n = one.norms.len() as f64;
    let norms: f64 = one.norms.iter().zip(&other.norms).map(|(one, other)| one * other).sum();
    squares - norms + one.total() * other.total() / ((n - 1.0) * (n - 2.0)) - 2.0 / (n - 2.0) * norms
}

/// `‖XᵀY‖²`, the sum of squares of all products of a feature with a feature.
fn cross_products(one: &Centered, other: &Centered) -> f64 {
    let n = one.norms.len();
    let others = transposed(other);
    let squares: Vec<f64> = transposed(one)
        .par_chunks(TASK_ROWS * n)
        .map(|features| {
            let mut products = vec![0.0; features.len() / n * other.width];
            row_products(features, &others, n, &mut products);
            products.iter().map(|product| product * product).sum()
        })
        .collect();
    squares.iter().sum()
}

/// A row of all images for each feature.
fn transposed(features: &Centered) -> Vec<f64> {
    let n = features.norms.len();
    let mut values = vec![0.0; features.values.len()];
    for (image, row) in features.values.chunks_exact(features.width).enumerate() {
        for (feature, &value) in row.iter().enumerate() {
            values[feature * n + image] = value;
        }
    }
    values
}
