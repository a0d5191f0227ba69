//! What a model says of the held-out images, in a form in which two models can be compared on the same images.

use retune_analysis::intervals::{Estimate, matched_difference, wilson_interval};
use retune_analysis::label_resampling::{LabelScores, mean_average_precisions, precision_difference};
use retune_analysis::resampling::{RESAMPLES, Resampled};
use retune_analysis::two_way::TwoWay;

use crate::sources::LabelSets;

/// Starts the resamples, which are the same for every model.
const SEED: u64 = 0;

/// How good a model is on each held-out image.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Judgment {
    /// Whether the most likely class of each image is its own.
    Classes(Vec<bool>),
    /// The mean average precision, also on resamples of the images, where images have several labels.
    Labels {
        /// On the images and on each resample.
        precision: Resampled,
        /// Images.
        images: usize,
    },
}

impl Judgment {
    /// By the logits of images with several labels, row-major, and the class of each image.
    pub fn of_labels(logits: &[f32], classes: &[usize], sets: &LabelSets) -> Self {
        let labels = sets.names().len();
        let has = |&class: &usize| {
            let own = sets.of_class(class);
            (0..labels).map(move |label| own.binary_search(&label).is_ok())
        };
        let has: Vec<bool> = classes.iter().flat_map(has).collect();
        let run = LabelScores { scores: logits, has: &has, labels };
        let precision = mean_average_precisions(&[run], RESAMPLES, SEED).remove(0);
        Self::Labels { precision, images: classes.len() }
    }

    /// The share of images that are right, or the mean average precision, with its 95 % interval.
    pub fn score(&self) -> Estimate {
        match self {
            Self::Classes(right) => {
                let count = right.iter().filter(|right| **right).count();
                let mean = count as f64 / right.len().max(1) as f64;
                Estimate { mean, interval: wilson_interval(count, right.len()) }
            }
            Self::Labels { precision, images } => TwoWay::of(std::slice::from_ref(precision), *images).accuracy(),
        }
    }

    /// How far this model is ahead of another on the same images, with the 95 % interval: Agresti and Min's of a share of
    /// images, the bootstrap's of a mean average precision.
    ///
    /// # Panics
    /// If one of the two is of labels and the other is not: a caller's mistake, not input's.
    pub fn ahead_of(&self, other: &Self) -> Estimate {
        match (self, other) {
            (Self::Classes(one), Self::Classes(other)) => matched_difference(one, other),
            (Self::Labels { precision: one, images }, Self::Labels { precision: other, .. }) => {
                precision_difference(one, other, *images)
            }
            _ => panic!("one advice judges all its models alike: by classes, or by labels"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_judged_by_their_average_precision() {
        let sets = LabelSets::of(&["", "a", "a;b", "b"].map(str::to_owned));
        let classes: Vec<usize> = (0..40).map(|image| image % 4).collect();
        let has = |image: usize, label: usize| sets.of_class(classes[image]).contains(&label);
        let logits = |of: fn(bool, usize) -> f32| -> Vec<f32> {
            (0..40).flat_map(|image| [0, 1].map(|label| of(has(image, label), image))).collect()
        };
        let right = Judgment::of_labels(&logits(|has, _| f32::from(u8::from(has))), &classes, &sets);
        assert_eq!(right.score().mean, 1.0);
        // Scores that know nothing rank half of the images, those that have the label, anywhere.
        let blind = Judgment::of_labels(&logits(|_, image| (image * 7 % 40) as f32), &classes, &sets);
        let found = blind.score();
        assert!(found.mean < 0.75 && found.interval[0] < found.mean && found.mean < found.interval[1], "{found:?}");
        let lead = right.ahead_of(&blind);
        assert!((lead.mean - (1.0 - found.mean)).abs() < 1e-12 && lead.interval[0] > 0.0, "{lead:?}");
        assert!(right.ahead_of(&right).interval[0] < 0.0);
    }
}
