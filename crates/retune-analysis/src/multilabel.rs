//! How well scores fit images that have several labels, or none.

/// The average precision of scores, `Σₙ (Rₙ − Rₙ₋₁) Pₙ` over the thresholds from the highest score down, as
/// `sklearn.metrics.average_precision_score`. `None` without a positive.
pub fn average_precision(scores: &[f32], is_positive: impl Fn(usize) -> bool) -> Option<f64> {
    let (mut found, mut taken, mut sum) = (0usize, 0usize, 0.0);
    for tied in by_score(scores).chunk_by(|&one, &other| scores[one] == scores[other]) {
        let positives = tied.iter().filter(|&&index| is_positive(index)).count();
        taken += tied.len();
        found += positives;
        sum += positives as f64 * found as f64 / taken as f64;
    }
    (found > 0).then(|| sum / found as f64)
}

/// The score from which on images count as positive, so that the F1 score is the largest; of equally good ones, the highest.
/// It lies halfway to the next lower score, or at it where there is none. `None` without a positive.
pub fn best_f1_threshold(scores: &[f32], is_positive: impl Fn(usize) -> bool) -> Option<f32> {
    let order = by_score(scores);
    let all = order.iter().filter(|&&index| is_positive(index)).count();
    let (mut found, mut taken) = (0usize, 0usize);
    let mut best: Option<(f64, f32)> = None;
    for tied in order.chunk_by(|&one, &other| scores[one] == scores[other]) {
        taken += tied.len();
        found += tied.iter().filter(|&&index| is_positive(index)).count();
        let f1 = 2.0 * found as f64 / (taken + all) as f64;
        if found > 0 && best.is_none_or(|(best, _)| f1 > best) {
            let lowest = scores[tied[0]];
            let next = order.get(taken).map_or(lowest, |&next| scores[next]);
            let halfway = lowest / 2.0 + next / 2.0;
            // Between neighboring numbers there is none, and rounding may give the lower one.
            best = Some((f1, if halfway > next { halfway } else { lowest }));
        }
    }
    best.map(|(_, threshold)| threshold)
}

/// Positions of scores from the highest down.
pub(crate) fn by_score(scores: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&one, &other| scores[other].total_cmp(&scores[one]));
    order
}

/// What was counted of a label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LabelCounts {
    /// Images that have the label and are taken to have it.
    pub right: usize,
    /// Images that have it.
    pub positives: usize,
    /// Images that are taken to have it.
    pub answers: usize,
}

impl LabelCounts {
    /// Counts an image.
    pub fn add(&mut self, has: bool, answer: bool) {
        self.right += usize::from(has && answer);
        self.positives += usize::from(has);
        self.answers += usize::from(answer);
    }

    /// The harmonic mean of precision and recall; 0 where neither has anything to count.
    pub fn f1(&self) -> f64 {
        2.0 * self.right as f64 / (self.positives + self.answers).max(1) as f64
    }
}

/// The F1 score of all labels together, as `sklearn.metrics.f1_score(average="micro")`.
pub fn micro_f1(labels: &[LabelCounts]) -> f64 {
    let mut all = LabelCounts::default();
    for label in labels {
        all.right += label.right;
        all.positives += label.positives;
        all.answers += label.answers;
    }
    all.f1()
}

/// The mean of the labels' F1 scores, as `sklearn.metrics.f1_score(average="macro")`.
pub fn macro_f1(labels: &[LabelCounts]) -> f64 {
    labels.iter().map(LabelCounts::f1).sum::<f64>() / labels.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn measures_are_scikit_learns() {
        let cases: Vec<Value> =
            serde_json::from_str(include_str!("../tests/fixtures/multilabel/multilabel.json")).unwrap();
        for case in cases {
            let numbers = |name: &str| -> Vec<f64> {
                case[name].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
            };
            let labels = case["labels"].as_u64().unwrap() as usize;
            let (scores, targets) = (numbers("scores"), numbers("targets"));
            let mut counts = vec![LabelCounts::default(); labels];
            for (label, expected) in numbers("average_precisions").into_iter().enumerate() {
                let column: Vec<f32> = scores.chunks(labels).map(|row| row[label] as f32).collect();
                let positive = |image: usize| targets[image * labels + label] == 1.0;
                let found = average_precision(&column, positive).unwrap();
                // A dozen additions in double precision.
                assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
                (0..column.len()).for_each(|image| counts[label].add(positive(image), column[image] >= 0.0));
            }
            let close =
                |found: f64, name: &str| assert!((found - case[name].as_f64().unwrap()).abs() < 1e-12, "{name}");
            close(micro_f1(&counts), "micro_f1");
            close(macro_f1(&counts), "macro_f1");
        }
    }

    #[test]
    fn a_threshold_is_the_best_of_all() {
        let scores = [0.9, 0.8, 0.7, 0.4, 0.3, 0.1];
        // F1 of the first n: 1/2 · …: 2/4, 2/5, 4/6, 6/7, 6/8, 6/9.
        let positive = [true, false, true, true, false, false];
        let threshold = best_f1_threshold(&scores, |image| positive[image]).unwrap();
        assert!((threshold - 0.35).abs() < 1e-6, "{threshold}");
        // All of them: nothing lies below the lowest.
        assert_eq!(best_f1_threshold(&[1.0, 1.0], |_| true), Some(1.0));
        assert_eq!(best_f1_threshold(&scores, |_| false), None);
        let (above, below) = (1.0, f32::from_bits(1.0f32.to_bits() - 1));
        assert_eq!(best_f1_threshold(&[above, below], |image| image == 0), Some(above));
        assert_eq!(average_precision(&scores, |_| false), None);
    }
}
