//! The penalized multinomial logistic loss over a whole feature matrix.

use std::ops::Range;

use super::curvature::Curvature;
use super::features::RowBuffer;
use super::kernel::{self, Shape};
use super::lbfgs::Objective;
use super::{FeatureMatrix, ProbeError};

/// Bytes of features that one chunk reads; half of a common second-level cache, so that the gradient finds the chunk
/// still there after the logits.
const CHUNK_BYTES: usize = 256 * 1024;

/// How features are seen by the penalty: `(x − center) / scale`. The features themselves stay as they are; the change
/// of coordinates is folded into the weights.
#[derive(Clone, Debug)]
pub(super) struct Coordinates {
    pub center: Vec<f64>,
    pub scale: f64,
}

impl Coordinates {
    /// The weights (k×d, then k biases) that act on the features as they are.
    pub(super) fn unscaled(&self, parameters: &[f64], classes: usize) -> Classifier {
        let columns = self.center.len();
        let (weight, bias) = parameters.split_at(classes * columns);
        let weight: Vec<f32> = weight.iter().map(|w| (w / self.scale) as f32).collect();
        let bias = bias
            .iter()
            .zip(weight.chunks_exact(columns))
            .map(|(bias, weight)| {
                // The rounded weights: the bias then cancels exactly what they do to the center.
                let shift: f64 = weight.iter().zip(&self.center).map(|(w, m)| f64::from(*w) * m).sum();
                (bias - shift) as f32
            })
            .collect();
        Classifier { weight, bias }
    }
}

/// A linear classifier of features as they are: weight k×d row-major, bias k.
#[derive(Clone, Debug)]
pub(super) struct Classifier {
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

/// Mean cross-entropy and accuracy on one set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Score {
    pub loss: f64,
    pub accuracy: f64,
}

/// The rows of a part, as many at a time as the kernels compute together. That depends on the sizes alone.
fn chunks(features: &FeatureMatrix<'_>, rows: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
    let chunk_rows = (CHUNK_BYTES / (features.columns() * size_of::<f32>())).clamp(16, 256) / 8 * 8;
    rows.clone().step_by(chunk_rows).map(move |start| start..(start + chunk_rows).min(rows.end))
}

/// Mean weighted cross-entropy + penalty/2 · ‖W‖², with W the weights on [`Coordinates`]. The parameters are W (k×d,
/// row-major) followed by k biases, which are not penalized.
pub(super) struct PenalizedLoss<'a> {
    features: FeatureMatrix<'a>,
    labels: &'a [usize],
    classes: usize,
    class_weights: Option<&'a [f64]>,
    coordinates: &'a Coordinates,
    total_weight: f64,
    pub penalty: f64,
    curvature: Curvature,
    /// The mean of `p (1 − p)` of each class at the last point evaluated.
    class_curvature: Vec<f64>,
}

impl<'a> PenalizedLoss<'a> {
    /// # Errors
    /// [`ProbeError::Unreadable`].
    pub(super) fn new(
        features: FeatureMatrix<'a>,
        labels: &'a [usize],
        classes: usize,
        class_weights: Option<&'a [f64]>,
        coordinates: &'a Coordinates,
    ) -> Result<Self, ProbeError> {
        let total_weight = match class_weights {
            None => labels.len() as f64,
            Some(weights) => labels.iter().map(|label| weights[*label]).sum(),
        };
        Ok(Self {
            features,
            labels,
            classes,
            class_weights,
            coordinates,
            total_weight,
            penalty: 0.0,
            curvature: Curvature::of(features, coordinates)?,
            class_curvature: vec![1.0; classes],
        })
    }

    /// Sets the penalty to that of scikit-learn's `C`, whose loss is a sum and not a mean.
    pub(super) fn set_inverse_strength(&mut self, inverse_strength: f64) {
        self.penalty = 1.0 / (inverse_strength * self.total_weight);
    }

    /// Sum of the weights of all rows: the factor between this loss and scikit-learn's.
    pub(super) fn total_weight(&self) -> f64 {
        self.total_weight
    }

    pub(super) fn parameters(&self) -> usize {
        self.classes * (self.features.columns() + 1)
    }

    /// Adds the sums over some rows.
    fn add_rows(&self, rows: Range<usize>, classifier: &Classifier, sums: &mut [f64]) -> Result<(), ProbeError> {
        let (columns, classes) = (self.features.columns(), self.classes);
        let Sums { loss, weight, bias, curvature } = Sums::of(sums, classes, columns);
        let mut logits = Vec::new();
        let mut chunk_gradient = vec![0.0_f32; classes * columns];
        let mut buffer = RowBuffer::default();
        for rows in chunks(&self.features, rows) {
            let shape = Shape { rows: rows.len(), columns, classes };
            logits.resize(shape.rows * classes, 0.0);
            let features = self.features.row_range(rows.clone(), &mut buffer)?;
            kernel::logits(shape, features, &classifier.weight, &classifier.bias, &mut logits);
            for (row, label) in logits.chunks_exact_mut(classes).zip(&self.labels[rows]) {
                let row_weight = self.class_weights.map_or(1.0, |weights| weights[*label]);
                *loss += row_weight * cross_entropy_to_residual(row, *label, row_weight as f32);
                for ((sum, curvature), residual) in bias.iter_mut().zip(&mut *curvature).zip(&*row) {
                    let residual = f64::from(*residual);
                    *sum += residual;
                    // The residual is weight · p or weight · (p − 1): either way this is weight · p (1 − p).
                    *curvature += residual.abs() * (1.0 - residual.abs() / row_weight);
                }
            }
            chunk_gradient.fill(0.0);
            kernel::accumulate_gradient(shape, features, &logits, &mut chunk_gradient);
            // Single precision inside a chunk, double across chunks: the error does not grow with the number of rows.
            for (sum, chunk) in weight.iter_mut().zip(&chunk_gradient) {
                *sum += f64::from(*chunk);
            }
        }
        Ok(())
    }
}

impl Objective for PenalizedLoss<'_> {
    type Error = ProbeError;

    fn evaluate(&mut self, point: &[f64], gradient: &mut [f64]) -> Result<f64, ProbeError> {
        let columns = self.features.columns();
        let classifier = self.coordinates.unscaled(point, self.classes);
        let length = Sums::length(self.classes, columns);
        let mut sums = self.features.sum(length, |rows, sums| self.add_rows(rows, &classifier, sums))?;
        let total = Sums::of(&mut sums, self.classes, columns);

        let (weight, _) = point.split_at(self.classes * columns);
        let (weight_gradient, bias_gradient) = gradient.split_at_mut(self.classes * columns);
        let Coordinates { center, scale } = self.coordinates;
        let per_row = 1.0 / self.total_weight;
        let class_rows = weight_gradient
            .chunks_exact_mut(columns)
            .zip(total.weight.chunks_exact(columns))
            .zip(weight.chunks_exact(columns))
            .zip(&*total.bias);
        for (((gradient, data), weight), residual) in class_rows {
            for (column, gradient) in gradient.iter_mut().enumerate() {
                let centered = (data[column] - residual * center[column]) / scale;
                *gradient = centered * per_row + self.penalty * weight[column];
            }
        }
        for (gradient, residual) in bias_gradient.iter_mut().zip(&*total.bias) {
            *gradient = residual * per_row;
        }
        self.class_curvature = total.curvature.iter().map(|curvature| curvature * per_row).collect();
        let squared_weights: f64 = weight.iter().map(|w| w * w).sum();
        Ok(*total.loss * per_row + 0.5 * self.penalty * squared_weights)
    }

    fn precondition(&self, vector: &mut [f64]) {
        self.curvature.divide(vector, &self.class_curvature, self.penalty);
    }
}

/// Sums over some rows: the loss and its gradient by the weights and biases on the features as they are. They lie one after
/// the other.
struct Sums<'a> {
    loss: &'a mut f64,
    weight: &'a mut [f64],
    bias: &'a mut [f64],
    /// Of `weight · p (1 − p)`.
    curvature: &'a mut [f64],
}

impl<'a> Sums<'a> {
    fn length(classes: usize, columns: usize) -> usize {
        1 + classes * columns + 2 * classes
    }

    fn of(sums: &'a mut [f64], classes: usize, columns: usize) -> Self {
        let (loss, rest) = sums.split_at_mut(1);
        let (weight, rest) = rest.split_at_mut(classes * columns);
        let (bias, curvature) = rest.split_at_mut(classes);
        Self { loss: &mut loss[0], weight, bias, curvature }
    }
}

/// Turns a row of logits into `weight · (softmax − one-hot)` and returns its cross-entropy, unweighted.
fn cross_entropy_to_residual(row: &mut [f32], label: usize, weight: f32) -> f64 {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let margin = f64::from(row[label]) - f64::from(largest);
    let mut sum = 0.0_f32;
    for value in row.iter_mut() {
        *value = (*value - largest).exp();
        sum += *value;
    }
    let scale = weight / sum;
    for value in row.iter_mut() {
        *value *= scale;
    }
    row[label] -= weight;
    f64::from(sum).ln() - margin
}

/// Mean cross-entropy and accuracy of a classifier; of equal logits the first class is the answer.
///
/// # Errors
/// [`ProbeError::Unreadable`].
pub(super) fn score(
    features: FeatureMatrix<'_>,
    labels: &[usize],
    classifier: &Classifier,
) -> Result<Score, ProbeError> {
    let (columns, classes) = (features.columns(), classifier.bias.len());
    let sums = features.sum(2, |rows, sums| {
        let mut logits = Vec::new();
        let mut buffer = RowBuffer::default();
        for rows in chunks(&features, rows) {
            let shape = Shape { rows: rows.len(), columns, classes };
            logits.resize(shape.rows * classes, 0.0);
            let values = features.row_range(rows.clone(), &mut buffer)?;
            kernel::logits(shape, values, &classifier.weight, &classifier.bias, &mut logits);
            for (row, label) in logits.chunks_exact_mut(classes).zip(&labels[rows]) {
                sums[1] += f64::from(u8::from(first_largest(row) == *label));
                sums[0] += cross_entropy_to_residual(row, *label, 1.0);
            }
        }
        Ok(())
    })?;
    let rows = labels.len() as f64;
    Ok(Score { loss: sums[0] / rows, accuracy: sums[1] / rows })
}

fn first_largest(row: &[f32]) -> usize {
    let mut largest = 0;
    for (index, value) in row.iter().enumerate() {
        if *value > row[largest] {
            largest = index;
        }
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> (Vec<f32>, Vec<usize>) {
        let features = (0..30 * 5).map(|i| ((i * 29 % 83) as f32 - 30.0) / 20.0).collect();
        let labels = (0..30).map(|i| i * i % 3).collect();
        (features, labels)
    }

    #[test]
    fn gradient_equals_finite_differences() {
        let (features, labels) = example();
        let features = FeatureMatrix::new(&features, 5).unwrap();
        let coordinates = Coordinates { center: vec![0.3, -0.1, 0.2, 0.0, 0.5], scale: 1.7 };
        let class_weights = [0.5, 2.0, 1.0];
        let mut loss = PenalizedLoss::new(features, &labels, 3, Some(&class_weights), &coordinates).unwrap();
        loss.set_inverse_strength(0.3);
        let point: Vec<f64> = (0..loss.parameters()).map(|i| ((i * 7 % 11) as f64 - 5.0) / 10.0).collect();
        let mut gradient = vec![0.0; point.len()];
        let mut unused = vec![0.0; point.len()];
        loss.evaluate(&point, &mut gradient).unwrap();
        // Logits carry an error of about 1e-7 each; over a step of 1e-2 that is 1e-5 of slope, and the third
        // derivative adds about step² / 6 = 2e-5.
        let step = 1e-2;
        for index in 0..point.len() {
            let mut shifted = point.clone();
            shifted[index] += step;
            let above = loss.evaluate(&shifted, &mut unused).unwrap();
            shifted[index] -= 2.0 * step;
            let below = loss.evaluate(&shifted, &mut unused).unwrap();
            let numerical = (above - below) / (2.0 * step);
            assert!((numerical - gradient[index]).abs() < 5e-5, "{index}: {numerical} {gradient:?}");
        }
    }

    #[test]
    fn value_and_gradient_are_the_same_bits_on_any_number_of_threads() {
        let features: Vec<f32> = (0..3000 * 40).map(|i| ((i * 29 % 83) as f32 - 30.0) / 20.0).collect();
        let labels: Vec<usize> = (0..3000).map(|i| i * i % 7).collect();
        let coordinates = Coordinates { center: vec![0.25; 40], scale: 1.2 };
        let evaluate = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let features = FeatureMatrix::new(&features, 40).unwrap();
                let mut loss = PenalizedLoss::new(features, &labels, 7, None, &coordinates).unwrap();
                let point: Vec<f64> = (0..loss.parameters()).map(|i| (i % 13) as f64 / 50.0).collect();
                let mut gradient = vec![0.0; point.len()];
                let value = loss.evaluate(&point, &mut gradient).unwrap();
                (value, gradient)
            })
        };
        assert_eq!(evaluate(1), evaluate(3));
    }
}
