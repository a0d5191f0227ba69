//! Which classes are taken for which.

use std::collections::BTreeMap;

use serde::Serialize;

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

    /// Images of each of `classes` classes.
    pub fn totals(&self, classes: usize) -> Vec<usize> {
        let mut totals = vec![0; classes];
        for &(label, _, n) in &self.counts {
            totals[label] += n;
        }
        totals
    }
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
}
