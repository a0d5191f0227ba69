//! Which of a path's fits is the best on validation, and when weaker penalties are not worth a try.

use rayon::prelude::*;

use super::objective::Classifier;
use super::{FeatureMatrix, PathPoint, ProbeError};
use crate::inference::{Evaluation, Metric, Tally};

impl PathPoint {
    /// By accuracy and then loss, or the other way around.
    pub(super) fn is_better_than(&self, other: &Self, metric: Metric) -> bool {
        let accuracy = self.validation_accuracy.total_cmp(&other.validation_accuracy);
        let loss = other.validation_loss.total_cmp(&self.validation_loss);
        let order = if metric == Metric::Loss { loss.then(accuracy) } else { accuracy.then(loss) };
        order.is_gt()
    }
}

/// All numbers that `metric` goes by, of a classifier on some features.
pub(super) fn evaluate(
    features: FeatureMatrix<'_>,
    labels: &[usize],
    classifier: &Classifier,
    metric: Metric,
) -> Result<Evaluation, ProbeError> {
    let mut tally = Tally::of(metric, labels.len(), classifier.bias.len());
    let mut labels = labels.iter();
    for_each_logits(features, &classifier.weight, &classifier.bias, |logits| {
        for (row, &label) in logits.chunks_exact(classifier.bias.len()).zip(&mut labels) {
            tally.add(row, label, None);
        }
    })?;
    Ok(tally.evaluation())
}

/// Shows the logits of all rows in order, some whole rows at a time; those of other holders, too.
///
/// # Errors
/// [`ProbeError::Unreadable`].
pub(in crate::train) fn for_each_logits(
    features: FeatureMatrix<'_>,
    weight: &[f32],
    bias: &[f32],
    mut see: impl FnMut(&[f32]),
) -> Result<(), ProbeError> {
    let Some(holders) = features.holders() else {
        return features.for_each_rows(|rows| see(&logits(rows, weight, bias)));
    };
    let mut own = Vec::new();
    features.for_each_rows(|rows| own.extend(logits(rows, weight, bias)))?;
    // Each process holds some rows in a row.
    holders.gather(&own).iter().for_each(|logits| see(logits));
    Ok(())
}

/// Fits in a row that must all be clearly worse before a path ends; on the grid of Kumar et al., a factor of 18 in strength.
const TURNED_FITS: usize = 8;
/// Factor over the path's lowest validation loss from which on a fit counts as clearly worse.
const TURNED_LOSS: f64 = 1.2;

/// Whether the latest fits have all left the best one behind: less accurate on validation by more than two standard errors,
/// with a higher loss, and with a loss that still rises.
pub(super) fn has_turned(path: &[PathPoint], validation_rows: usize) -> bool {
    let Some((earlier, latest)) = path.len().checked_sub(TURNED_FITS).map(|first| path.split_at(first)) else {
        return false;
    };
    let accuracy = earlier.iter().map(|point| point.validation_accuracy).fold(0.0, f64::max);
    let loss = earlier.iter().map(|point| point.validation_loss).fold(f64::INFINITY, f64::min);
    let margin = 2.0 * (accuracy * (1.0 - accuracy) / validation_rows as f64).sqrt();
    latest
        .iter()
        .all(|point| point.validation_accuracy < accuracy - margin && point.validation_loss > TURNED_LOSS * loss)
        && latest.is_sorted_by(|one, next| one.validation_loss < next.validation_loss)
}

/// Logits of features, row-major, under a k×d weight and k biases.
pub(in crate::train) fn logits(features: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let classes = bias.len();
    let columns = weight.len() / classes;
    let logit = |row: &[f32], class: usize| {
        let weight = &weight[class * columns..(class + 1) * columns];
        let products = row.iter().zip(weight).map(|(feature, weight)| f64::from(*feature) * f64::from(*weight));
        (products.sum::<f64>() + f64::from(bias[class])) as f32
    };
    let rows = features.par_chunks_exact(columns);
    rows.flat_map_iter(|row| (0..classes).map(move |class| logit(row, class))).collect()
}
