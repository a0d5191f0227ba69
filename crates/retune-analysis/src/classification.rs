//! How well scores and answers fit classes.

use rayon::prelude::*;

/// The area under the ROC curve of a score: the probability that it is higher for a positive than for a negative, where
/// equal scores count half (Hanley & McNeil 1982, *Radiology* 143, 29–36). `None` without positives or negatives.
pub fn auroc(scores: &[f64], is_positive: impl Fn(usize) -> bool) -> Option<f64> {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    order.sort_unstable_by(|&one, &other| scores[one as usize].total_cmp(&scores[other as usize]));
    let (mut positives, mut negatives, mut twice_won) = (0u64, 0u64, 0u128);
    for tied in order.chunk_by(|&one, &other| scores[one as usize] == scores[other as usize]) {
        let own = tied.iter().filter(|&&index| is_positive(index as usize)).count() as u64;
        let others = tied.len() as u64 - own;
        twice_won += u128::from(own) * u128::from(2 * negatives + others);
        positives += own;
        negatives += others;
    }
    (positives > 0 && negatives > 0).then(|| twice_won as f64 / 2.0 / (positives as f64 * negatives as f64))
}

/// The mean over classes of the area under the ROC curve of each class against all others, as
/// `sklearn.metrics.roc_auc_score(labels, probabilities, multi_class="ovr")`. `logits` are row-major, a row for each label;
/// scores are their softmax. `None` if a class has no image or every image.
pub fn one_vs_rest_auroc(logits: &[f32], classes: usize, labels: &[usize]) -> Option<f64> {
    let rows: Vec<(f32, f64)> = logits.chunks_exact(classes.max(1)).map(largest_and_total).collect();
    let of_class = |class: usize| {
        let score = |(row, &(largest, total)): (usize, &(f32, f64))| {
            (f64::from(logits[row * classes + class]) - f64::from(largest)).exp() / total
        };
        let scores: Vec<f64> = rows.iter().enumerate().map(score).collect();
        auroc(&scores, |row| labels[row] == class)
    };
    let areas: Vec<f64> = (0..classes).into_par_iter().map(of_class).collect::<Option<_>>()?;
    (!areas.is_empty()).then(|| areas.iter().sum::<f64>() / areas.len() as f64)
}

/// The largest logit of a row, and the sum of the exponentials of all beyond it.
fn largest_and_total(row: &[f32]) -> (f32, f64) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (largest, row.iter().map(|&logit| (f64::from(logit) - f64::from(largest)).exp()).sum())
}

/// What was counted of a class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClassCounts {
    /// Images of the class.
    pub images: usize,
    /// Images of it that were taken for it.
    pub right: usize,
    /// Images that were taken for it.
    pub answers: usize,
}

/// The mean over classes of the harmonic mean of precision and recall, as `sklearn.metrics.f1_score(average="macro")`:
/// classes that are neither a label nor an answer do not count. `None` without any other.
pub fn macro_f1(classes: impl IntoIterator<Item = ClassCounts>) -> Option<f64> {
    let known = classes.into_iter().filter(|class| class.images + class.answers > 0);
    let f1 = |class: ClassCounts| 2.0 * class.right as f64 / (class.images + class.answers) as f64;
    let values: Vec<f64> = known.map(f1).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_with_ties_by_hand() {
        // Of four pairs of a positive and a negative, two are won and one is tied.
        assert_eq!(auroc(&[0.1, 0.5, 0.5, 0.9], |index| index == 1 || index == 3), Some(0.875));
        assert_eq!(auroc(&[0.3; 5], |index| index < 2), Some(0.5));
        assert_eq!(auroc(&[0.1, 0.2], |_| true), None);
        assert_eq!(auroc(&[], |_| true), None);
    }

    #[test]
    fn classes_that_never_occur_do_not_count() {
        let counts = |images, right, answers| ClassCounts { images, right, answers };
        // sklearn.metrics.f1_score([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 1], average="macro") is 0.48888…: 0.8, 2/3, 0.
        let found = macro_f1([counts(3, 2, 2), counts(2, 2, 4), counts(1, 0, 0), counts(0, 0, 0)]).unwrap();
        assert!((found - (0.8 + 2.0 / 3.0) / 3.0).abs() < 1e-15, "{found}");
        assert_eq!(macro_f1([]), None);
    }
}
