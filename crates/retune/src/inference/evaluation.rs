//! How good a model is on labelled images: accuracy with its interval, balanced accuracy, loss and the worst group.

use retune_analysis::intervals::wilson_interval;
use serde::{Deserialize, Serialize};

use super::logits::{cross_entropy, most_likely};
use super::{InferenceError, Layer, for_each_batch};
use crate::loading::Loader;
use crate::models::Model;
use crate::monitor::Monitor;
use crate::sources::Dataset;

/// Accuracy and loss on a dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Images with a label.
    pub n: usize,
    /// Share of images whose most likely class is their label, 0 to 1.
    pub accuracy: f64,
    /// Wilson's 95 % interval of the accuracy.
    pub accuracy_interval: [f64; 2],
    /// Mean over the classes present of the accuracy in each.
    pub balanced_accuracy: f64,
    /// Mean cross-entropy.
    pub loss: f64,
    /// The lowest accuracy of a group, where samples belong to groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_group: Option<GroupAccuracy>,
}

/// The accuracy of one group of samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupAccuracy {
    /// The group.
    pub group: String,
    /// Its images.
    pub n: usize,
    /// Share that is right, 0 to 1.
    pub accuracy: f64,
}

impl Evaluation {
    /// Whether this is better than `other`: more accurate, then of lower loss.
    pub fn is_better_than(&self, other: &Self) -> bool {
        self.order(other).is_gt()
    }

    /// How this compares with `other`: the greater is more accurate, then of lower loss.
    pub fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.accuracy.total_cmp(&other.accuracy).then(other.loss.total_cmp(&self.loss))
    }
}

/// Evaluates a model on a labelled dataset.
///
/// # Errors
/// As [`for_each_batch`]; a model without a classifier; an image without a label, or with one that is none of the model's
/// classes.
pub fn evaluate(
    model: &Model,
    loader: &Loader,
    task: &str,
    monitor: &dyn Monitor,
) -> Result<Evaluation, InferenceError> {
    evaluate_each(model, loader, task, monitor, |_, _| ())
}

/// As [`evaluate`], and gives the true and the predicted class of each image to `answer` on the way.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_each(
    model: &Model,
    loader: &Loader,
    task: &str,
    monitor: &dyn Monitor,
    mut answer: impl FnMut(usize, usize),
) -> Result<Evaluation, InferenceError> {
    let classes = model.config().num_classes();
    if classes == 0 {
        return Err(InferenceError::NoClassifier);
    }
    let dataset = loader.dataset();
    labels_below(classes, dataset)?;
    let mut tally = Tally::default();
    for_each_batch(model, loader, Layer::Logits, task, monitor, |batch, rows| {
        for (row, (&label, &index)) in rows.chunks_exact(classes).zip(batch.labels.iter().zip(&batch.indices)) {
            tally.add(row, label, dataset.samples[index].group.as_deref());
            answer(label, most_likely(row));
        }
    })?;
    Ok(tally.evaluation())
}

/// The labels of a dataset, which must be among so many classes.
pub(super) fn labels_below(classes: usize, dataset: &Dataset) -> Result<Vec<usize>, InferenceError> {
    let labels = dataset.labels()?;
    match labels.iter().position(|&label| label >= classes) {
        None => Ok(labels),
        Some(index) => {
            let image = dataset.samples[index].name.to_string();
            Err(InferenceError::LabelBeyond { image, label: labels[index], classes })
        }
    }
}

/// Evaluates logits that are at hand, one row for each image of the dataset in order.
///
/// # Errors
/// An image without a label, or with one that its row has no logit for.
pub fn evaluate_logits<'a>(
    dataset: &Dataset,
    rows: impl IntoIterator<Item = &'a [f32]>,
) -> Result<Evaluation, InferenceError> {
    let mut tally = Tally::default();
    for ((row, label), sample) in rows.into_iter().zip(dataset.labels()?).zip(&dataset.samples) {
        if label >= row.len() {
            let image = sample.name.to_string();
            return Err(InferenceError::LabelBeyond { image, label, classes: row.len() });
        }
        tally.add(row, label, sample.group.as_deref());
    }
    Ok(tally.evaluation())
}

/// Counts while the images go by.
#[derive(Default)]
pub(crate) struct Tally {
    loss: f64,
    right: usize,
    n: usize,
    classes: std::collections::BTreeMap<usize, (usize, usize)>,
    groups: std::collections::BTreeMap<String, (usize, usize)>,
}

impl Tally {
    /// Counts an image by its logits.
    pub fn add(&mut self, logits: &[f32], label: usize, group: Option<&str>) {
        let right = most_likely(logits) == label;
        self.loss += cross_entropy(logits, label);
        self.right += usize::from(right);
        self.n += 1;
        let count = |entry: &mut (usize, usize)| {
            entry.0 += usize::from(right);
            entry.1 += 1;
        };
        count(self.classes.entry(label).or_default());
        if let Some(group) = group {
            count(self.groups.entry(group.to_owned()).or_default());
        }
    }

    /// What the images counted so far amount to.
    pub fn evaluation(self) -> Evaluation {
        let share = |(right, n): (usize, usize)| right as f64 / n.max(1) as f64;
        let per_class: Vec<f64> = self.classes.values().map(|&counts| share(counts)).collect();
        let worst_group = self
            .groups
            .into_iter()
            .map(|(group, counts)| GroupAccuracy { group, n: counts.1, accuracy: share(counts) })
            .min_by(|one, other| one.accuracy.total_cmp(&other.accuracy));
        Evaluation {
            n: self.n,
            accuracy: share((self.right, self.n)),
            accuracy_interval: wilson_interval(self.right, self.n),
            balanced_accuracy: per_class.iter().sum::<f64>() / per_class.len().max(1) as f64,
            loss: self.loss / self.n.max(1) as f64,
            worst_group,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_has_no_logit_is_an_error_by_its_image() {
        let dataset = crate::sources::source::tests::memory_dataset(&[0, 1, 2], 4, 4);
        let error = labels_below(2, &dataset).unwrap_err().to_string();
        assert!(error.starts_with("the image 2/00002.png has class number 2, and the model has 2 classes"), "{error}");
        assert_eq!(labels_below(3, &dataset).unwrap(), [0, 1, 2]);
        let rows = [[1.0, 0.0].as_slice(), &[0.0, 1.0], &[0.0, 1.0]];
        assert!(matches!(evaluate_logits(&dataset, rows), Err(InferenceError::LabelBeyond { label: 2, .. })));
    }

    #[test]
    fn the_worst_group_and_the_balance_of_classes_are_counted() {
        let mut tally = Tally::default();
        tally.add(&[2.0, 1.0], 0, Some("sun"));
        tally.add(&[2.0, 1.0], 0, Some("sun"));
        tally.add(&[2.0, 1.0], 1, Some("snow"));
        let evaluation = tally.evaluation();
        assert!((evaluation.accuracy - 2.0 / 3.0).abs() < 1e-12);
        assert!((evaluation.balanced_accuracy - 0.5).abs() < 1e-12);
        assert_eq!(evaluation.worst_group.unwrap().group, "snow");
        // Cross-entropies by hand: ln(1 + e⁻¹) twice and ln(1 + e).
        let expected = (2.0 * (1.0 + (-1f64).exp()).ln() + (1.0 + 1f64.exp()).ln()) / 3.0;
        assert!((evaluation.loss - expected).abs() < 1e-9);
    }
}
