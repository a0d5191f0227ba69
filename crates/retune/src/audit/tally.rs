//! What is summed over images of a way of preparing them.

use retune_analysis::cka::Estimate;
use retune_analysis::intervals::{Estimate as Difference, matched_difference};
use retune_analysis::label_resampling::{LabelScores, mean_average_precisions, precision_difference};
use retune_analysis::resampling::{RESAMPLES, Resampled};
use retune_analysis::two_way::TwoWay;

use super::{AuditRow, Seen, Share};
use crate::inference::{self, InferenceError, most_likely};
use crate::models::Model;
use crate::similarity::View;
use crate::sources::{Dataset, LabelSets};

/// What decides whether images have each of several labels.
pub(super) struct Labels {
    sets: LabelSets,
    /// Probabilities from which on an image is taken to have each label.
    thresholds: Vec<f64>,
}

impl Labels {
    /// `None` of a model that gives each image one class.
    pub fn of(model: &Model, dataset: &Dataset) -> Result<Option<Self>, InferenceError> {
        let of_sets = |sets: LabelSets| Self { thresholds: inference::thresholds(model, sets.names().len()), sets };
        Ok(inference::label_sets(model, dataset)?.map(of_sets))
    }

    /// The labels that the model gives an image.
    fn given(&self, logits: &[f32]) -> Vec<bool> {
        logits.iter().zip(&self.thresholds).map(|(&logit, least)| inference::sigmoid(logit) >= *least).collect()
    }

    /// The labels that images of a class have.
    fn of_class(&self, class: usize) -> Vec<bool> {
        let own = self.sets.of_class(class);
        (0..self.thresholds.len()).map(|label| own.binary_search(&label).is_ok()).collect()
    }
}

/// Sums over images.
#[derive(Clone, Default)]
pub(super) struct Tally {
    images: usize,
    labeled: usize,
    /// Whether each image is right; where images have several labels, whether all of them are.
    right: Vec<bool>,
    changed: usize,
    logit_change: f64,
    logits: usize,
    spread: Spread,
    pixel_change: f64,
    pixels: usize,
    /// Logits and what they should say, a row for each image, where images have several labels.
    scores: Vec<f32>,
    has: Vec<bool>,
}

/// What the spread of logits follows from.
#[derive(Clone, Default)]
struct Spread {
    /// Of one class for each image: squares of the logits' distances from the mean of their image.
    squares: f64,
    /// Of several labels: the sum of each label's logits, and of their squares.
    of_labels: Vec<[f64; 2]>,
}

impl Tally {
    /// Adds images as `seen` in one way, and in the model's own as `reference`.
    pub fn add(&mut self, seen: &Seen, reference: &Seen, images: &Dataset, labels: Option<&Labels>) {
        self.images += images.len();
        if seen.size == reference.size {
            let change = |(one, other): (&u8, &u8)| u64::from(one.abs_diff(*other));
            self.pixel_change += seen.pixels.iter().zip(&reference.pixels).map(change).sum::<u64>() as f64;
            self.pixels += seen.pixels.len();
        }
        if seen.classes == 0 {
            return;
        }
        let rows = seen.logits.chunks_exact(seen.classes).zip(reference.logits.chunks_exact(seen.classes));
        for ((logits, own), sample) in rows.zip(&images.samples) {
            self.labeled += usize::from(sample.label.is_some());
            self.logits += seen.classes;
            match labels {
                Some(labels) => self.add_labels(logits, own, sample.label, labels),
                None => self.add_class(logits, own, sample.label),
            }
        }
    }

    fn add_class(&mut self, logits: &[f32], own: &[f32], label: Option<usize>) {
        let predicted = most_likely(logits);
        self.changed += usize::from(predicted != most_likely(own));
        self.right.push(label == Some(predicted));
        let (mean, own_mean) = (mean_of(logits), mean_of(own));
        for (&logit, &own) in logits.iter().zip(own) {
            let own = f64::from(own) - own_mean;
            self.logit_change += (f64::from(logit) - mean - own).abs();
            self.spread.squares += own * own;
        }
    }

    fn add_labels(&mut self, logits: &[f32], own: &[f32], class: Option<usize>, labels: &Labels) {
        let given = labels.given(logits);
        self.changed += usize::from(given != labels.given(own));
        if let Some(class) = class {
            let has = labels.of_class(class);
            self.right.push(given == has);
            self.has.extend(has);
            self.scores.extend_from_slice(logits);
        }
        self.spread.of_labels.resize(own.len(), [0.0; 2]);
        for ((&logit, &own), [sum, squares]) in logits.iter().zip(own).zip(&mut self.spread.of_labels) {
            let own = f64::from(own);
            self.logit_change += (f64::from(logit) - own).abs();
            *sum += own;
            *squares += own * own;
        }
    }

    /// The logits' spread: over the classes of an image or, of several labels, over the images.
    fn spread(&self) -> f64 {
        let n = self.images.max(1) as f64;
        let squares = match self.spread.of_labels.is_empty() {
            true => self.spread.squares,
            false => self.spread.of_labels.iter().map(|[sum, squares]| squares - sum * sum / n).sum::<f64>().max(0.0),
        };
        (squares / self.logits as f64).sqrt()
    }

    /// The row of a view. `own` is the model's own way.
    pub fn row(&self, view: &View, own: &Self, precision: Option<Precision>, cka: Estimate) -> AuditRow {
        let classified = self.logits > 0;
        let labeled = classified && self.labeled == self.images;
        let spread = self.spread();
        AuditRow {
            name: view.name.clone(),
            interpolation: view.preprocessing.interpolation,
            size: [view.preprocessing.height, view.preprocessing.width],
            crop_pct: view.preprocessing.crop_pct,
            accuracy: labeled.then(|| Share::of(self.right.iter().filter(|right| **right).count(), self.images)),
            accuracy_difference: labeled.then(|| matched_difference(&self.right, &own.right)),
            mean_average_precision: precision.map(|precision| precision.value),
            mean_average_precision_difference: precision.map(|precision| precision.difference),
            changed_predictions: classified.then(|| Share::of(self.changed, self.images)),
            // Logits that are all alike have no spread to measure a change by.
            logit_change: (classified && spread > 0.0).then(|| self.logit_change / self.logits as f64 / spread),
            pixel_difference: (self.pixels > 0).then(|| self.pixel_change / self.pixels as f64),
            cka: cka.value.ok(),
            cka_interval: cka.interval,
            cka_undefined: cka.value.err().map(|reason| reason.to_string()),
        }
    }
}

/// A mean average precision, and how much it is above that with the model's own preprocessing.
#[derive(Clone, Copy)]
pub(super) struct Precision {
    value: Share,
    difference: Difference,
}

/// The mean average precision of each view, the model's own first. `None` where images have one label, where the labels of
/// some are not known, and where no image has any.
pub(super) fn precisions(tallies: &[Tally], seed: u64) -> Vec<Option<Precision>> {
    let none = || vec![None; tallies.len()];
    let Some(own) = tallies.first().filter(|own| own.has.contains(&true) && own.labeled == own.images) else {
        return none();
    };
    let labels = own.logits / own.images;
    let runs: Vec<LabelScores> =
        tallies.iter().map(|tally| LabelScores { scores: &tally.scores, has: &own.has, labels }).collect();
    let resampled = mean_average_precisions(&runs, RESAMPLES, seed);
    let precision = |found: &Resampled| {
        let estimate = TwoWay::of(std::slice::from_ref(found), own.images).accuracy();
        let value = Share { value: estimate.mean, interval: estimate.interval };
        Some(Precision { value, difference: precision_difference(found, &resampled[0], own.images) })
    };
    resampled.iter().map(precision).collect()
}

fn mean_of(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64
}
