//! A symmetric matrix as `Q T Qᵀ`, with orthogonal Q and tridiagonal T, by Householder's reflections (Golub & Van Loan,
//! *Matrix Computations*, 4th edition, algorithm 8.3.1).
//!
//! Once that is known, `(m A + λ I)⁻¹ v` costs two products with Q and a tridiagonal solution, for any m and λ; no
//! eigenvalues are needed.

use rayon::prelude::*;

use super::lbfgs::{add_scaled, dot};

/// Rows that one task computes.
const TASK_ROWS: usize = 16;

/// `A = Q T Qᵀ`.
pub(super) struct Tridiagonal {
    /// Q, row-major.
    pub basis: Vec<f64>,
    /// Qᵀ, row-major.
    pub transposed: Vec<f64>,
    diagonal: Vec<f64>,
    /// Element i couples i and i + 1.
    off_diagonal: Vec<f64>,
}

impl Tridiagonal {
    /// Reduces a symmetric matrix of `size` rows.
    pub(super) fn of(matrix: Vec<f64>, size: usize) -> Self {
        let (diagonal, off_diagonal, reflectors) = reduce(matrix, size);
        let mut basis = vec![0.0; size * size];
        basis.par_chunks_mut(TASK_ROWS * size).enumerate().for_each(|(task, rows)| {
            for (offset, row) in rows.chunks_exact_mut(size).enumerate() {
                row[task * TASK_ROWS + offset] = 1.0;
            }
            // All rows of a task meet a reflector together: it is read from memory once for all of them.
            for (first, reflector) in reflectors.iter().enumerate() {
                for row in rows.chunks_exact_mut(size) {
                    let row = &mut row[first + 1..];
                    let projection = dot(row, reflector);
                    add_scaled(row, -2.0 * projection, reflector);
                }
            }
        });
        let mut transposed = vec![0.0; size * size];
        transposed.par_chunks_mut(size).enumerate().for_each(|(column, out)| {
            for (row, value) in out.iter_mut().enumerate() {
                *value = basis[row * size + column];
            }
        });
        Self { basis, transposed, diagonal, off_diagonal }
    }

    /// Replaces `values` by the solution x of `(factor · T + shift · I) x = values`, for positive definite matrices.
    pub(super) fn solve(&self, factor: f64, shift: f64, values: &mut [f64]) {
        let mut ratios = vec![0.0; values.len()];
        let (mut ratio, mut previous) = (0.0, 0.0);
        for (row, value) in values.iter_mut().enumerate() {
            let coupling = if row == 0 { 0.0 } else { factor * self.off_diagonal[row - 1] };
            let pivot = factor * self.diagonal[row] + shift - coupling * ratio;
            previous = (*value - coupling * previous) / pivot;
            *value = previous;
            ratio = self.off_diagonal.get(row).map_or(0.0, |next| factor * next / pivot);
            ratios[row] = ratio;
        }
        for row in (1..values.len()).rev() {
            values[row - 1] -= ratios[row - 1] * values[row];
        }
    }
}

/// The diagonal of T, its off-diagonal, and the reflectors: unit vectors (or zeros), each over the coordinates after its
/// own index.
fn reduce(mut matrix: Vec<f64>, size: usize) -> (Vec<f64>, Vec<f64>, Vec<Vec<f64>>) {
    let mut diagonal = Vec::with_capacity(size);
    let mut off_diagonal = Vec::with_capacity(size);
    let mut reflectors = Vec::with_capacity(size);
    for column in 0..size {
        diagonal.push(matrix[column * size + column]);
        let next = column + 1;
        if next == size {
            break;
        }
        let mut reflector = matrix[column * size + next..next * size].to_vec();
        let length = dot(&reflector, &reflector).sqrt();
        let reflected = if reflector[0] > 0.0 { -length } else { length };
        off_diagonal.push(reflected);
        reflector[0] -= reflected;
        let norm = dot(&reflector, &reflector).sqrt();
        if norm > 0.0 {
            reflector.iter_mut().for_each(|value| *value /= norm);
            reflect(&mut matrix[next * size..], size, next, &reflector);
        }
        reflectors.push(reflector);
    }
    (diagonal, off_diagonal, reflectors)
}

/// `B ← H B H` for the reflection `H = I − 2 v vᵀ`, where B is the part of `rows` from column `first` on.
fn reflect(rows: &mut [f64], size: usize, first: usize, reflector: &[f64]) {
    let mut product = vec![0.0; reflector.len()];
    product.par_iter_mut().with_min_len(TASK_ROWS).enumerate().for_each(|(row, product)| {
        *product = 2.0 * dot(&rows[row * size + first..(row + 1) * size], reflector);
    });
    let projection = dot(&product, reflector);
    add_scaled(&mut product, -projection, reflector);
    rows.par_chunks_exact_mut(size).with_min_len(TASK_ROWS).enumerate().for_each(|(row, values)| {
        let values = &mut values[first..];
        let (own_product, own_reflector) = (product[row], reflector[row]);
        for (value, (product, reflector)) in values.iter_mut().zip(product.iter().zip(reflector)) {
            *value -= own_reflector * product + own_product * reflector;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A positive definite matrix without structure.
    fn matrix(size: usize) -> Vec<f64> {
        let factor: Vec<f64> = (0..size * size).map(|i| ((i * 29 % 83) as f64 - 41.0) / 40.0).collect();
        let mut matrix = vec![0.0; size * size];
        for row in 0..size {
            for column in 0..size {
                let product: f64 = (0..size).map(|k| factor[row * size + k] * factor[column * size + k]).sum();
                matrix[row * size + column] = product + f64::from(u8::from(row == column));
            }
        }
        matrix
    }

    #[test]
    fn solutions_satisfy_the_shifted_system() {
        for size in [1, 2, 3, 40] {
            let matrix = matrix(size);
            let form = Tridiagonal::of(matrix.clone(), size);
            let right: Vec<f64> = (0..size).map(|i| (i * 7 % 5) as f64 - 1.5).collect();
            let rotate = |basis: &[f64], values: &[f64]| -> Vec<f64> {
                basis.chunks_exact(size).map(|row| dot(row, values)).collect()
            };
            let mut values = rotate(&form.transposed, &right);
            form.solve(0.7, 0.3, &mut values);
            let solution = rotate(&form.basis, &values);
            for (row, right) in matrix.chunks_exact(size).zip(right.iter().enumerate()) {
                let left = 0.7 * dot(row, &solution) + 0.3 * solution[right.0];
                // Double precision, with a condition number of about a thousand.
                assert!((left - right.1).abs() < 1e-10, "{size}: {left} {right:?}");
            }
        }
    }
}
