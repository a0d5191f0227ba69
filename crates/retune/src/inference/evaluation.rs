//! How good a model is on labeled images: accuracy with its interval, balanced accuracy, loss and the worst group.

use retune_analysis::classification::{ClassCounts, macro_f1, one_vs_rest_auroc};
use retune_analysis::intervals::{Estimate, wilson_interval};
use serde::{Deserialize, Serialize};

use super::label_tally::{LabelTally, label_sets};
use super::logits::{cross_entropy, most_likely};
use super::{InferenceError, Layer, MAX_LOGITS, Metric, for_each_batch};
use crate::loading::{Batch, Loader};
use crate::models::Model;
use crate::monitor::Monitor;
use crate::sources::Dataset;

/// Accuracy and loss on a dataset.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
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
    /// Share of images whose label is among the five most likely classes, 0 to 1; `None` for five classes or fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top5_accuracy: Option<f64>,
    /// Mean over the classes that are a label or a prediction of the F1 score of each; `None` of older results.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub macro_f1: Option<f64>,
    /// Mean over classes of the area under the ROC curve of each against all others. `None` if a class has no image, if
    /// there are more than 2²⁶ logits, and of evaluations within training. Of several labels, the mean over those that
    /// some images have and others do not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auroc: Option<f64>,
    /// The F1 score of all labels together, where images have several labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_f1: Option<f64>,
    /// Mean over the labels that some image has of their average precision, where images have several labels. Such images
    /// count as right where all of their labels are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_average_precision: Option<f64>,
    /// Its 95 % interval over images, where it was measured: it takes many resamples, so training does without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_average_precision_interval: Option<[f64; 2]>,
    /// The accuracy of every group, the lowest first, where samples belong to groups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupAccuracy>,
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
    /// Whether images have several labels, or none.
    pub fn is_of_several_labels(&self) -> bool {
        self.micro_f1.is_some()
    }

    /// The share that tells first how good a model is, 0 to 1: accuracy or, where images have several labels, mean average
    /// precision. All labels of an image are seldom right.
    pub fn score(&self) -> f64 {
        self.mean_average_precision.filter(|_| self.is_of_several_labels()).unwrap_or(self.accuracy)
    }

    /// The mean average precision with its interval, where that was measured.
    pub fn mean_average_precision_estimate(&self) -> Option<Estimate> {
        Some(Estimate { mean: self.mean_average_precision?, interval: self.mean_average_precision_interval? })
    }

    /// What [`Self::score`] is.
    pub fn score_name(&self) -> &'static str {
        if self.is_of_several_labels() { "mean average precision" } else { "accuracy" }
    }

    /// Standard error of the score over images, √(p (1 − p) / n). A mean average precision is no share of images, and has
    /// this one only about.
    pub fn standard_error(&self) -> f64 {
        let (share, n) = (self.score(), self.n.max(1) as f64);
        (share * (1.0 - share) / n).sqrt()
    }

    /// How this compares with `other` by the score: the greater has the higher one, then the lower loss.
    pub fn score_order(&self, other: &Self) -> std::cmp::Ordering {
        self.score().total_cmp(&other.score()).then(other.loss.total_cmp(&self.loss))
    }

    /// How this compares with `other`: the greater is more accurate, then of lower loss.
    pub fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.accuracy.total_cmp(&other.accuracy).then(other.loss.total_cmp(&self.loss))
    }
}

/// Evaluates a model on a labeled dataset.
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
    evaluate_for(Metric::Accuracy, model, loader, task, monitor)
}

/// As [`evaluate`], with all numbers that `metric` goes by.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_for(
    metric: Metric,
    model: &Model,
    loader: &Loader,
    task: &str,
    monitor: &dyn Monitor,
) -> Result<Evaluation, InferenceError> {
    evaluate_with(metric.ranks_images(), model, loader, task, monitor, |_, _| ())
}

/// As [`evaluate`], with the area under the ROC curve, for which all logits are kept. Gives the true class of each image
/// and its logits to `answer` on the way.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_each(
    model: &Model,
    loader: &Loader,
    task: &str,
    monitor: &dyn Monitor,
    mut answer: impl FnMut(usize, &[f32]),
) -> Result<Evaluation, InferenceError> {
    let classes = model.config().num_classes().max(1);
    evaluate_batches(model, loader, task, monitor, |batch, logits| {
        for (row, &label) in logits.chunks_exact(classes).zip(&batch.labels) {
            answer(label, row);
        }
    })
}

/// As [`evaluate_each`], and gives each batch with its logits, a row for each image, to `observe`.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_batches(
    model: &Model,
    loader: &Loader,
    task: &str,
    monitor: &dyn Monitor,
    observe: impl FnMut(&Batch, &[f32]),
) -> Result<Evaluation, InferenceError> {
    evaluate_with(true, model, loader, task, monitor, observe)
}

fn evaluate_with(
    ranks: bool,
    model: &Model,
    loader: &Loader,
    task: &str,
    monitor: &dyn Monitor,
    mut observe: impl FnMut(&Batch, &[f32]),
) -> Result<Evaluation, InferenceError> {
    let classes = model.config().num_classes();
    if classes == 0 {
        return Err(InferenceError::NoClassifier);
    }
    let dataset = loader.dataset();
    let mut tally = Tally::of_dataset(ranks, model, dataset)?;
    for_each_batch(model, loader, Layer::Logits, task, monitor, |batch, rows| {
        for (row, (&label, &index)) in rows.chunks_exact(classes).zip(batch.labels.iter().zip(&batch.indices)) {
            tally.add(row, label, dataset.samples[index].group.as_deref());
        }
        observe(batch, &rows);
    })?;
    Ok(tally.evaluation())
}

/// The labels of a dataset, which must be among so many classes.
fn labels_below(classes: usize, dataset: &Dataset) -> Result<Vec<usize>, InferenceError> {
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

/// As [`evaluate_logits`], of the logits that a model gives, which may be for several labels.
///
/// # Errors
/// An image without a label, or with one that is none of the model's.
pub(crate) fn evaluate_rows<'a>(
    metric: Metric,
    model: &Model,
    dataset: &Dataset,
    rows: impl IntoIterator<Item = &'a [f32]>,
) -> Result<Evaluation, InferenceError> {
    let mut tally = Tally::of_dataset(metric.ranks_images(), model, dataset)?;
    for ((row, label), sample) in rows.into_iter().zip(dataset.labels()?).zip(&dataset.samples) {
        tally.add(row, label, sample.group.as_deref());
    }
    Ok(tally.evaluation())
}

/// Evaluates logits, row-major, a row of `classes` for each label.
///
/// # Panics
/// If a label has no logit: a caller's mistake, not input's.
pub fn evaluate_labeled_rows(logits: &[f32], classes: usize, labels: &[usize]) -> Evaluation {
    let mut tally = Tally::ranking(labels.len(), classes);
    for (row, &label) in logits.chunks_exact(classes.max(1)).zip(labels) {
        tally.add(row, label, None);
    }
    tally.evaluation()
}

/// Evaluates probabilities, or votes, which are made probabilities: row-major, a row of `classes` scores for each label,
/// none below 0. A class without any score counts as the smallest positive number, so that losses are finite.
///
/// # Panics
/// If a label has no score: a caller's mistake, not input's.
pub fn evaluate_scores(scores: &[f64], classes: usize, labels: &[usize]) -> Evaluation {
    let mut tally = Tally { ranks: (scores.len() <= MAX_LOGITS).then(Ranks::default), ..Tally::default() };
    for (row, &label) in scores.chunks_exact(classes.max(1)).zip(labels) {
        let total: f64 = row.iter().sum();
        let logarithm = |score: &f64| (score / total).max(f64::from(f32::MIN_POSITIVE)).ln() as f32;
        tally.add(&row.iter().map(logarithm).collect::<Vec<f32>>(), label, None);
    }
    tally.evaluation()
}

/// Counts while the images go by.
#[derive(Default)]
pub(crate) struct Tally {
    loss: f64,
    right: usize,
    in_top5: usize,
    n: usize,
    /// By the number of the class.
    classes: std::collections::BTreeMap<usize, ClassCounts>,
    groups: std::collections::BTreeMap<String, (usize, usize)>,
    /// The most classes that an image had logits for.
    width: usize,
    ranks: Option<Ranks>,
    /// In the place of all this where images have several labels.
    labels: Option<LabelTally>,
}

/// What the ranks of images come from.
#[derive(Default)]
struct Ranks {
    logits: Vec<f32>,
    labels: Vec<usize>,
}

impl Tally {
    /// One that also measures the area under the ROC curve of so many images, unless they are too many to keep.
    pub fn ranking(images: usize, classes: usize) -> Self {
        let fits = images.saturating_mul(classes) <= MAX_LOGITS;
        Self { ranks: fits.then(Ranks::default), ..Self::default() }
    }

    /// One of all numbers that `metric` goes by.
    pub fn of(metric: Metric, images: usize, classes: usize) -> Self {
        if metric.ranks_images() { Self::ranking(images, classes) } else { Self::default() }
    }

    /// One for a model on a dataset; `ranks` is whether it also measures the area under the ROC curve.
    ///
    /// # Errors
    /// An image without a label, or with one that is none of the model's.
    pub fn of_dataset(ranks: bool, model: &Model, dataset: &Dataset) -> Result<Self, InferenceError> {
        if let Some(sets) = label_sets(model, dataset)? {
            dataset.labels()?;
            let labels = LabelTally::new(model, sets, dataset.len());
            return Ok(Self { labels: Some(labels), ..Self::default() });
        }
        let classes = model.config().num_classes();
        labels_below(classes, dataset)?;
        Ok(if ranks { Self::ranking(dataset.len(), classes) } else { Self::default() })
    }

    /// Counts an image by its logits.
    pub fn add(&mut self, logits: &[f32], label: usize, group: Option<&str>) {
        if let Some(labels) = &mut self.labels {
            return labels.add(logits, label, group);
        }
        let answer = most_likely(logits);
        let right = answer == label;
        self.loss += cross_entropy(logits, label);
        self.right += usize::from(right);
        self.in_top5 += usize::from(is_in_top(5, logits, label));
        self.n += 1;
        self.width = self.width.max(logits.len());
        self.classes.entry(answer).or_default().answers += 1;
        let of_class = self.classes.entry(label).or_default();
        of_class.images += 1;
        of_class.right += usize::from(right);
        if let Some(group) = group {
            let counts = self.groups.entry(group.to_owned()).or_default();
            counts.0 += usize::from(right);
            counts.1 += 1;
        }
        if let Some(ranks) = &mut self.ranks {
            ranks.logits.extend_from_slice(logits);
            ranks.labels.push(label);
        }
    }

    /// What the images counted so far amount to.
    pub fn evaluation(self) -> Evaluation {
        if let Some(labels) = self.labels {
            return labels.evaluation();
        }
        let share = |(right, n): (usize, usize)| right as f64 / n.max(1) as f64;
        let present = self.classes.values().filter(|class| class.images > 0);
        let per_class: Vec<f64> = present.map(|class| share((class.right, class.images))).collect();
        let group =
            |(group, counts): (String, (usize, usize))| GroupAccuracy { group, n: counts.1, accuracy: share(counts) };
        let mut groups: Vec<GroupAccuracy> = self.groups.into_iter().map(group).collect();
        groups.sort_by(|one, other| one.accuracy.total_cmp(&other.accuracy));
        let width = self.width;
        Evaluation {
            n: self.n,
            accuracy: share((self.right, self.n)),
            accuracy_interval: wilson_interval(self.right, self.n),
            balanced_accuracy: per_class.iter().sum::<f64>() / per_class.len().max(1) as f64,
            loss: self.loss / self.n.max(1) as f64,
            worst_group: groups.first().cloned(),
            top5_accuracy: (width > 5).then(|| share((self.in_top5, self.n))),
            macro_f1: macro_f1(self.classes.into_values()),
            micro_f1: None,
            mean_average_precision: None,
            mean_average_precision_interval: None,
            auroc: self.ranks.and_then(|ranks| one_vs_rest_auroc(&ranks.logits, width, &ranks.labels)),
            groups,
        }
    }
}

/// Whether a class is among so many of the largest logits; of equal ones, the first come first.
fn is_in_top(count: usize, logits: &[f32], class: usize) -> bool {
    let own = logits[class];
    let is_before = |&(other, &logit): &(usize, &f32)| logit > own || (logit == own && other < class);
    logits.iter().enumerate().filter(is_before).take(count).count() < count
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
    fn everything_is_scikit_learns() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../retune-analysis/tests/fixtures/classification/classification.json"
        );
        let cases: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for case in cases {
            let numbers = |name: &str| -> Vec<f64> {
                case[name].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
            };
            let classes = case["classes"].as_u64().unwrap() as usize;
            let logits: Vec<f32> = numbers("logits").into_iter().map(|logit| logit as f32).collect();
            let mut tally = Tally { ranks: Some(Ranks::default()), ..Tally::default() };
            for ((row, label), group) in logits.chunks_exact(classes).zip(numbers("labels")).zip(numbers("groups")) {
                tally.add(row, label as usize, Some(&group.to_string()));
            }
            let found = tally.evaluation();
            let agrees = |found: Option<f64>, expected: &serde_json::Value| match (found, expected.as_f64()) {
                (Some(found), Some(expected)) => (found - expected).abs() < 1e-9,
                (found, expected) => found == expected,
            };
            assert!(agrees(Some(found.accuracy), &case["accuracy"]));
            assert!(agrees(found.top5_accuracy, &case["top5_accuracy"]), "{:?}", found.top5_accuracy);
            assert!(agrees(found.macro_f1, &case["macro_f1"]) && agrees(found.auroc, &case["auroc"]), "{found:?}");
            for group in &found.groups {
                let position: usize = group.group.parse().unwrap();
                assert!(agrees(Some(group.accuracy), &case["group_accuracies"][position]), "{group:?}");
            }
            assert!(found.groups.is_sorted_by(|one, other| one.accuracy <= other.accuracy) && found.groups.len() == 3);
            assert_eq!(found.worst_group.as_ref(), found.groups.first());
        }
    }

    #[test]
    fn results_of_older_versions_are_read() {
        let old =
            r#"{"n": 2, "accuracy": 0.5, "accuracy_interval": [0.1, 0.9], "balanced_accuracy": 0.5, "loss": 1.0}"#;
        let found: Evaluation = serde_json::from_str(old).unwrap();
        assert_eq!((found.macro_f1, found.auroc, found.top5_accuracy), (None, None, None));
        // What is undefined is absent.
        assert!(!serde_json::to_string(&found).unwrap().contains("auroc"));
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
