//! The temperature of a softmax (Guo et al. 2017, *On Calibration of Modern Neural Networks*, arXiv 1706.04599, section
//! 4.2): probabilities of logits divided by one number, which changes no order of classes.

/// Temperatures beyond are of logits that tell nothing, or of a set without a mistake, on which more confidence is always
/// better.
const EXTREME: f64 = 100.0;

/// The temperature that minimizes the mean log loss of labels; `logits` are row-major, a row for each label. `None` if
/// that has no minimum between 1/100 and 100: without images, on images that are all right, or where the logits are no
/// better than none.
pub fn fit(logits: &[f32], classes: usize, labels: &[usize]) -> Option<f64> {
    // The loss is convex in the inverse of the temperature, so that its derivative has one root.
    let (mut low, mut high) = (1.0 / EXTREME, EXTREME);
    let derivatives = |inverse| derivatives(logits, classes, labels, inverse);
    if labels.is_empty() || derivatives(low).0 >= 0.0 || derivatives(high).0 <= 0.0 {
        return None;
    }
    // Newton's method, and a bisection where it would leave the bracket.
    let mut inverse = 1.0;
    for _ in 0..100 {
        let (slope, curvature) = derivatives(inverse);
        if slope > 0.0 {
            high = inverse
        } else {
            low = inverse
        }
        let step = inverse - slope / curvature;
        let next = if step > low && step < high { step } else { (low + high) / 2.0 };
        let is_found = (next - inverse).abs() <= 1e-14 * inverse;
        inverse = next;
        if is_found {
            break;
        }
    }
    Some(1.0 / inverse)
}

/// The first and the second derivative of the loss by the inverse of the temperature.
fn derivatives(logits: &[f32], classes: usize, labels: &[usize], inverse: f64) -> (f64, f64) {
    let (mut slope, mut curvature) = (0.0, 0.0);
    for (row, &label) in logits.chunks_exact(classes.max(1)).zip(labels) {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let (mut total, mut first, mut second) = (0.0, 0.0, 0.0);
        for logit in row {
            let below = f64::from(*logit) - f64::from(largest);
            let weight = (inverse * below).exp();
            total += weight;
            first += weight * below;
            second += weight * below * below;
        }
        let mean = first / total;
        slope += mean - (f64::from(row[label]) - f64::from(largest));
        curvature += second / total - mean * mean;
    }
    (slope, curvature)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::Value;

    use super::*;
    use crate::classification::{ClassCounts, macro_f1, one_vs_rest_auroc};

    /// Logits, labels and what scikit-learn and SciPy say of them.
    fn cases() -> Vec<(Vec<f32>, usize, Vec<usize>, Value)> {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/classification/classification.json");
        let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let read = |case: Value| {
            let numbers = |name: &str| -> Vec<f64> {
                case[name].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
            };
            let labels: Vec<usize> = numbers("labels").into_iter().map(|label| label as usize).collect();
            let logits: Vec<f32> = numbers("logits").into_iter().map(|logit| logit as f32).collect();
            (logits, case["classes"].as_u64().unwrap() as usize, labels, case)
        };
        cases.into_iter().map(read).collect()
    }

    fn agree(found: Option<f64>, expected: &Value, tolerance: f64, what: &str) {
        match (found, expected.as_f64()) {
            (None, None) => {}
            (Some(found), Some(expected)) => {
                assert!((found - expected).abs() < tolerance, "{what}: {found} {expected}")
            }
            (found, expected) => panic!("{what}: {found:?} {expected:?}"),
        }
    }

    #[test]
    fn the_temperature_is_scipys_minimum() {
        for (logits, classes, labels, case) in cases() {
            // SciPy finds the root of the derivative to about 1e-12.
            agree(fit(&logits, classes, &labels), &case["temperature"], 1e-9, "temperature");
        }
    }

    #[test]
    fn areas_and_f1_are_scikit_learns() {
        for (logits, classes, labels, case) in cases() {
            agree(one_vs_rest_auroc(&logits, classes, &labels), &case["auroc"], 1e-9, "AUROC");
            let mut counts = vec![ClassCounts::default(); classes];
            for (row, &label) in logits.chunks_exact(classes).zip(&labels) {
                // The first of the largest, as np.argmax.
                let answer = (0..classes).rev().max_by(|&one, &other| row[one].total_cmp(&row[other])).unwrap();
                counts[label].images += 1;
                counts[answer].answers += 1;
                counts[label].right += usize::from(answer == label);
            }
            agree(macro_f1(counts), &case["macro_f1"], 1e-9, "macro F1");
        }
    }

    #[test]
    fn there_is_no_temperature_for_a_set_without_mistakes() {
        assert_eq!(fit(&[2.0, 1.0, 0.0, 3.0], 2, &[0, 1]), None);
        assert_eq!(fit(&[2.0, 1.0, 0.0, 3.0], 2, &[1, 0]), None);
        assert_eq!(fit(&[1.0; 6], 3, &[0, 1]), None);
        assert_eq!(fit(&[], 3, &[]), None);
    }
}
