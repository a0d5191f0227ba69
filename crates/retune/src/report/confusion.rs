//! Confusion of classes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use retune_analysis::intervals::wilson_interval;
use retune_analysis::multilabel::LabelCounts;

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

    /// The most frequent mistakes, `(true, predicted, images)`, most frequent first. Of equally frequent ones, the
    /// class with fewer images comes first.
    pub fn most_confused(&self, most: usize) -> Vec<(usize, usize, usize)> {
        let mut images: HashMap<usize, usize> = HashMap::new();
        self.counts.iter().for_each(|&(label, _, n)| *images.entry(label).or_default() += n);
        let mut mistakes: Vec<_> =
            self.counts.iter().copied().filter(|(label, predicted, _)| label != predicted).collect();
        mistakes.sort_by_key(|&(label, _, n)| (Reverse(n), images[&label]));
        mistakes.truncate(most);
        mistakes
    }

    /// The classes with mistakes, lowest recall first. Of equal ones, the class with the most images comes first.
    pub fn hardest(&self, most: usize) -> Vec<Hard> {
        let mut classes: Vec<Hard> = Vec::new();
        for of_class in self.counts.chunk_by(|one, other| one.0 == other.0) {
            let class = of_class[0].0;
            let n = of_class.iter().map(|&(_, _, n)| n).sum();
            let right = of_class.iter().filter(|count| count.1 == class).map(|&(_, _, n)| n).sum();
            // The first of the most frequent ones.
            let mistakes = of_class.iter().filter(|count| count.1 != class);
            let Some(&(_, taken_for, mistaken)) = mistakes.rev().max_by_key(|count| count.2) else { continue };
            classes.push(Hard { class, n, right, taken_for, mistaken });
        }
        classes.sort_by(|one, other| one.recall().total_cmp(&other.recall()).then(other.n.cmp(&one.n)));
        classes.truncate(most);
        classes
    }

    /// The counts of groups of `size` consecutive classes, for a matrix of very many classes.
    pub fn grouped(&self, size: usize) -> Self {
        let size = size.max(1);
        let mut counts: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for &(label, predicted, n) in &self.counts {
            *counts.entry((label / size, predicted / size)).or_default() += n;
        }
        Self { counts: counts.into_iter().map(|((label, predicted), n)| (label, predicted, n)).collect() }
    }

    /// Recall and precision of each of `classes`.
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

/// Maximum number of rows of a matrix; more classes are counted in groups.
pub const MAX_ROWS: usize = 100;

/// Classes in each group of a matrix that has at most [`MAX_ROWS`] rows: 1 where there is a row for every class.
pub fn group_size(classes: usize) -> usize {
    classes.div_ceil(MAX_ROWS).max(1)
}

/// Names of the groups of `size` classes: the class, or the first and the last.
pub fn group_names(classes: &[String], size: usize) -> Vec<String> {
    let name = |group: &[String]| match group {
        [first, .., last] => format!("{first} … {last}"),
        _ => group.concat(),
    };
    classes.chunks(size.max(1)).map(name).collect()
}

/// A class on which a model makes mistakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hard {
    /// The class.
    pub class: usize,
    /// Its images.
    pub n: usize,
    /// Those predicted correctly.
    pub right: usize,
    /// The class that it is confused with most often.
    pub taken_for: usize,
    /// Its images predicted as that class.
    pub mistaken: usize,
}

impl Hard {
    /// Its recall, 0 to 1.
    pub fn recall(&self) -> f64 {
        self.right as f64 / self.n as f64
    }
}

/// Recall and precision of a class.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassAccuracy {
    /// The class.
    pub class: String,
    /// Its images.
    pub n: usize,
    /// Recall, 0 to 1; `None` without images.
    pub recall: Option<f64>,
    /// Wilson's 95 % interval of that.
    pub recall_interval: [f64; 2],
    /// Precision, 0 to 1; `None` if no image is predicted as it.
    pub precision: Option<f64>,
}

impl ClassAccuracy {
    /// Of a label, where images have several.
    pub fn of_label(label: &str, counts: &LabelCounts) -> Self {
        let share = |of: usize| (of > 0).then(|| counts.right as f64 / of as f64);
        Self {
            class: label.to_owned(),
            n: counts.positives,
            recall: share(counts.positives),
            recall_interval: wilson_interval(counts.right, counts.positives),
            precision: share(counts.answers),
        }
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

    #[test]
    fn the_hardest_classes_and_what_they_are_taken_for() {
        // Class 0: 1 of 3 right; 1: all right; 2: none of 2, taken for 0 and 1 once each; 3: none of 3.
        let pairs = [(0, 0), (0, 1), (0, 1), (1, 1), (2, 0), (2, 1), (3, 0), (3, 2), (3, 2)];
        let hard = |class, n, right, taken_for, mistaken| Hard { class, n, right, taken_for, mistaken };
        let found = Confusion::count(pairs).hardest(9);
        assert_eq!(found, [hard(3, 3, 0, 2, 2), hard(2, 2, 0, 0, 1), hard(0, 3, 1, 1, 2)]);
        assert_eq!(Confusion::count(pairs).hardest(1), found[..1]);
    }

    #[test]
    fn groups_add_up_their_classes() {
        let found = Confusion::count([(0, 0), (0, 1), (1, 4), (2, 1), (3, 3), (4, 0), (4, 4)]).grouped(2);
        assert_eq!(found.counts, [(0, 0, 2), (0, 2, 1), (1, 0, 1), (1, 1, 1), (2, 0, 1), (2, 2, 1)]);
        let classes = ["a", "b", "c", "d", "e"].map(str::to_owned);
        assert_eq!(group_names(&classes, 2), ["a … b", "c … d", "e"]);
        assert_eq!([1, 100, 101, 1_000, 10_000].map(group_size), [1, 1, 2, 10, 100]);
    }

    #[test]
    fn counts_are_linear_in_images_whatever_the_classes() {
        // Two images of each of a million classes: a matrix of all pairs would take terabytes.
        let found = Confusion::count((0..2_000_000).map(|image| (image / 2, image % 1_000_000)));
        assert!(found.counts.len() <= 2_000_000);
        assert!(found.grouped(group_size(1_000_000)).counts.len() <= MAX_ROWS * MAX_ROWS);
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
