//! Which classes are taken for which.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::inference::wilson_interval;

/// Counts of images by true and predicted class, those above 0.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Confusion {
    /// True class, predicted class, images; sorted.
    pub counts: Vec<(usize, usize, usize)>,
}

impl Confusion {
    /// Counts pairs of true and predicted class.
    pub fn count(pairs: impl IntoIterator<Item = (usize, usize)>) -> Self {
        let mut counts: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for pair in pairs {
            *counts.entry(pair).or_default() += 1;
        }
        Self { counts: counts.into_iter().map(|((label, predicted), n)| (label, predicted, n)).collect() }
    }

    /// The mistakes made most often, `(true, predicted, images)`, the most frequent first.
    pub fn most_confused(&self, most: usize) -> Vec<(usize, usize, usize)> {
        let mut mistakes: Vec<_> =
            self.counts.iter().copied().filter(|(label, predicted, _)| label != predicted).collect();
        mistakes.sort_by_key(|&(_, _, n)| std::cmp::Reverse(n));
        mistakes.truncate(most);
        mistakes
    }

    /// What the model does with each of `classes`.
    pub fn of_classes(&self, classes: &[String]) -> Vec<ClassAccuracy> {
        let (mut images, mut right, mut answers) =
            (vec![0; classes.len()], vec![0; classes.len()], vec![0; classes.len()]);
        for &(label, predicted, n) in &self.counts {
            images[label] += n;
            answers[predicted] += n;
            if label == predicted {
                right[label] += n;
            }
        }
        let share = |right: usize, of: usize| (of > 0).then(|| right as f64 / of as f64);
        let class = |(index, name): (usize, &String)| ClassAccuracy {
            class: name.clone(),
            n: images[index],
            recall: share(right[index], images[index]),
            recall_interval: wilson_interval(right[index], images[index]),
            precision: share(right[index], answers[index]),
        };
        classes.iter().enumerate().map(class).collect()
    }

    /// Images of each of `classes` classes.
    pub fn totals(&self, classes: usize) -> Vec<usize> {
        let mut totals = vec![0; classes];
        for &(label, _, n) in &self.counts {
            totals[label] += n;
        }
        totals
    }
}

/// What a model does with a class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassAccuracy {
    /// The class.
    pub class: String,
    /// Its images.
    pub n: usize,
    /// Share of its images that are right, 0 to 1; none without images.
    pub recall: Option<f64>,
    /// Wilson's 95 % interval of that.
    pub recall_interval: [f64; 2],
    /// Share of the answers naming it that are right, 0 to 1; none where no answer does.
    pub precision: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_scikit_learns() {
        let pairs = (0..200usize).map(|i| ((i * 7 + 3) % 4, (i * i + i / 3) % 4));
        let mut found = [[0; 4]; 4];
        for (label, predicted, n) in Confusion::count(pairs).counts {
            found[label][predicted] = n;
        }
        // sklearn.metrics.confusion_matrix(true, predicted)
        assert_eq!(found, [[16, 0, 17, 17], [17, 0, 17, 16], [16, 17, 17, 0], [17, 17, 16, 0]]);
    }

    #[test]
    fn mistakes_are_counted_and_ordered() {
        let confusion = Confusion::count([(0, 0), (0, 1), (2, 1), (2, 1), (1, 1), (2, 0)]);
        assert_eq!(confusion.most_confused(2), [(2, 1, 2), (0, 1, 1)]);
        assert_eq!(confusion.totals(4), [2, 1, 3, 0]);
    }

    #[test]
    fn recall_and_precision_are_scikit_learns() {
        // sklearn.metrics.precision_recall_fscore_support([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 1], labels=range(5)), where
        // 0 stands for what does not exist: precision 1, 0.5, 0, 0, 0; recall 2/3, 1, 0, 0, 0; support 3, 2, 1, 0, 0.
        let confusion = Confusion::count([(0, 0), (0, 0), (0, 1), (1, 1), (1, 1), (2, 1)]);
        let found = confusion.of_classes(&["a", "b", "c", "d", "e"].map(str::to_owned));
        let of = |value: fn(&ClassAccuracy) -> Option<f64>| found.iter().map(value).collect::<Vec<_>>();
        assert_eq!(of(|class| class.precision), [Some(1.0), Some(0.5), None, None, None]);
        assert_eq!(of(|class| class.recall), [Some(2.0 / 3.0), Some(1.0), Some(0.0), None, None]);
        assert_eq!(found.iter().map(|class| class.n).collect::<Vec<_>>(), [3, 2, 1, 0, 0]);
        assert_eq!(found[0].recall_interval, wilson_interval(2, 3));
    }
}
