//! How good a model is on images with several labels.

use std::collections::BTreeMap;

use rayon::prelude::*;
use retune_analysis::classification::auroc;
use retune_analysis::intervals::wilson_interval;
use retune_analysis::multilabel::{LabelCounts, average_precision, best_f1_threshold, macro_f1, micro_f1};

use super::evaluation::{Evaluation, GroupAccuracy};
use super::{InferenceError, MAX_LOGITS};
use crate::models::Model;
use crate::sources::{Dataset, LabelSets};

/// Which labels each class of a dataset stands for, if the model says of several labels whether an image has them.
///
/// # Errors
/// A label that the model does not know; a model that does not name its labels.
pub fn label_sets(model: &Model, dataset: &Dataset) -> Result<Option<LabelSets>, InferenceError> {
    let config = model.config();
    if !config.is_multi_label() {
        return Ok(None);
    }
    let names = config.label_names().ok_or(InferenceError::UnnamedLabels)?;
    Ok(Some(LabelSets::under(&names, &dataset.classes)?))
}

/// The probability of a label by its logit.
pub fn sigmoid(logit: f32) -> f64 {
    1.0 / (1.0 + (-f64::from(logit)).exp())
}

/// The probability of each label from which on a model takes an image to have it: its own thresholds, or a half.
pub fn thresholds(model: &Model, labels: usize) -> Vec<f64> {
    let own = model.config().thresholds().filter(|thresholds| thresholds.len() == labels);
    own.unwrap_or_else(|| vec![0.5; labels])
}

/// Counts images with several labels while they go by.
pub(super) struct LabelTally {
    sets: LabelSets,
    /// Probabilities from which on an image is taken to have each label.
    thresholds: Vec<f64>,
    loss: f64,
    /// Images of which every label is right.
    right: usize,
    n: usize,
    counts: Vec<LabelCounts>,
    groups: BTreeMap<String, (usize, usize)>,
    /// Row-major, and the classes; none where they are too many to keep.
    logits: Vec<f32>,
    classes: Vec<usize>,
    keeps: bool,
}

impl LabelTally {
    /// For so many images, by the thresholds of a model or by a half.
    pub fn new(model: &Model, sets: LabelSets, images: usize) -> Self {
        let labels = sets.names().len();
        Self {
            thresholds: thresholds(model, labels),
            loss: 0.0,
            right: 0,
            n: 0,
            counts: vec![LabelCounts::default(); labels],
            groups: BTreeMap::new(),
            logits: Vec::new(),
            classes: Vec::new(),
            keeps: images.saturating_mul(labels) <= MAX_LOGITS,
            sets,
        }
    }

    /// Counts an image by its logits.
    pub fn add(&mut self, logits: &[f32], class: usize, group: Option<&str>) {
        let has = self.sets.of_class(class);
        let mut all_right = true;
        for (label, &logit) in logits.iter().enumerate() {
            let (has, answer) = (has.binary_search(&label).is_ok(), sigmoid(logit) >= self.thresholds[label]);
            self.loss += binary_cross_entropy(logit, has);
            self.counts[label].add(has, answer);
            all_right &= has == answer;
        }
        self.right += usize::from(all_right);
        self.n += 1;
        if let Some(group) = group {
            let counts = self.groups.entry(group.to_owned()).or_default();
            counts.0 += usize::from(all_right);
            counts.1 += 1;
        }
        if self.keeps {
            self.logits.extend_from_slice(logits);
            self.classes.push(class);
        }
    }

    /// What the images counted so far amount to.
    pub fn evaluation(self) -> Evaluation {
        let share = |(right, n): (usize, usize)| right as f64 / n.max(1) as f64;
        let group = |(group, &counts): (&String, &(usize, usize))| GroupAccuracy {
            group: group.clone(),
            n: counts.1,
            accuracy: share(counts),
        };
        let mut groups: Vec<GroupAccuracy> = self.groups.iter().map(group).collect();
        groups.sort_by(|one, other| one.accuracy.total_cmp(&other.accuracy));
        Evaluation {
            n: self.n,
            accuracy: share((self.right, self.n)),
            accuracy_interval: wilson_interval(self.right, self.n),
            balanced_accuracy: self.mean_balanced_accuracy(),
            loss: self.loss / (self.n * self.counts.len()).max(1) as f64,
            worst_group: groups.first().cloned(),
            macro_f1: Some(macro_f1(&self.counts)),
            micro_f1: Some(micro_f1(&self.counts)),
            mean_average_precision: self.mean_over_labels(|scores, has| average_precision(scores, has)),
            auroc: self.mean_over_labels(|scores, has| {
                let scores: Vec<f64> = scores.iter().map(|&score| score.into()).collect();
                auroc(&scores, has)
            }),
            groups,
            ..Evaluation::default()
        }
    }

    /// The mean over labels of the mean of the shares that are right of the images with and without it.
    fn mean_balanced_accuracy(&self) -> f64 {
        let of_label = |counts: &LabelCounts| {
            let (positives, negatives) = (counts.positives, self.n - counts.positives);
            let wrong = counts.answers - counts.right;
            let rates = [(counts.right, positives), (negatives - wrong, negatives)];
            let rates: Vec<f64> =
                rates.iter().filter(|(_, n)| *n > 0).map(|&(right, n)| right as f64 / n as f64).collect();
            rates.iter().sum::<f64>() / rates.len().max(1) as f64
        };
        self.counts.iter().map(of_label).sum::<f64>() / self.counts.len().max(1) as f64
    }

    /// The mean of a measure of scores and of which images have the label, over the labels that have it.
    fn mean_over_labels(&self, measure: impl Fn(&[f32], &dyn Fn(usize) -> bool) -> Option<f64> + Sync) -> Option<f64> {
        let labels = self.counts.len();
        let of_label = |label: usize| measure(&column(&self.logits, labels, label), &|image| self.has(image, label));
        let known: Vec<f64> = (0..labels).into_par_iter().filter_map(of_label).collect();
        (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
    }

    fn has(&self, image: usize, label: usize) -> bool {
        self.sets.of_class(self.classes[image]).binary_search(&label).is_ok()
    }
}

/// The probability of each label from which on an image should be taken to have it, so that the label's F1 score on these
/// images is the largest; a half for labels that no image has. `logits` are row-major, a row for each of `classes`.
pub fn best_thresholds(logits: &[f32], classes: &[usize], sets: &LabelSets) -> Vec<f64> {
    let labels = sets.names().len();
    let of_label = |label: usize| {
        let has = |image: usize| sets.of_class(classes[image]).binary_search(&label).is_ok();
        best_f1_threshold(&column(logits, labels, label), has).map_or(0.5, sigmoid)
    };
    (0..labels).into_par_iter().map(of_label).collect()
}

fn column(rows: &[f32], width: usize, column: usize) -> Vec<f32> {
    rows.chunks_exact(width.max(1)).map(|row| row[column]).collect()
}

/// `ln(1 + eˣ) − y x` without overflow.
fn binary_cross_entropy(logit: f32, has: bool) -> f64 {
    let logit = f64::from(logit);
    logit.max(0.0) - if has { logit } else { 0.0 } + (-logit.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::ModelConfig;

    fn tally(thresholds: Option<Vec<f64>>) -> LabelTally {
        let keys = r#"{"architecture": "resnet18", "num_classes": 2, "label_names": ["a", "b"],
                       "model_args": {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8]}}"#;
        let config = ModelConfig::parse(keys, "config.json").unwrap().for_several_labels().with_thresholds(thresholds);
        let model = Model::initialize(config, 0, &crate::device::by_name("cpu").unwrap()).unwrap();
        LabelTally::new(&model, LabelSets::of(&["", "a", "a;b"].map(str::to_owned)), 3)
    }

    #[test]
    fn images_are_right_where_every_label_is() {
        let of = |thresholds| {
            let mut tally = tally(thresholds);
            tally.add(&[1.0, -1.0], 1, Some("day"));
            tally.add(&[1.0, -0.5], 2, Some("day"));
            tally.add(&[-1.0, -2.0], 0, Some("night"));
            tally.evaluation()
        };
        let found = of(None);
        assert!((found.accuracy - 2.0 / 3.0).abs() < 1e-12 && found.n == 3);
        // By hand: label a is right twice of two, label b never: 2·2 / (3 + 2).
        assert_eq!((found.micro_f1, found.macro_f1), (Some(0.8), Some(0.5)));
        assert_eq!(found.mean_average_precision, Some(1.0));
        assert!((found.balanced_accuracy - 0.75).abs() < 1e-12);
        assert_eq!(found.worst_group.unwrap().group, "day");
        // Σ ln(1 + e^±x) over six logits, each on its side but the second image's b.
        let losses = [1.0f64, 1.0, 1.0, -0.5, 1.0, 2.0].map(|margin| (-margin).exp().ln_1p());
        assert!((found.loss - losses.iter().sum::<f64>() / 6.0).abs() < 1e-9);
        // From a quarter on, b is found where it is.
        assert_eq!(of(Some(vec![0.5, 0.3])).accuracy, 1.0);
    }

    #[test]
    fn thresholds_are_those_of_the_best_f1() {
        let sets = LabelSets::of(&["", "a", "a;b"].map(str::to_owned));
        let logits = [1.0, -1.0, 1.0, -0.5, -1.0, -2.0];
        let found = best_thresholds(&logits, &[1, 2, 0], &sets);
        assert!((found[0] - 0.5).abs() < 1e-9 && (found[1] - sigmoid(-0.75)).abs() < 1e-9, "{found:?}");
    }
}
