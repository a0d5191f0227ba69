//! How good a model is at each label, where images have several.

use indexmap::IndexMap;
use retune_analysis::intervals::Estimate;
use retune_analysis::label_resampling::{LabelScores, mean_average_precision};
use retune_analysis::multilabel::average_precision;

use super::{RunRecord, RunSection, Sheets};
use crate::report::page::{Cell, Column, Section, Table};
use crate::report::verdict::{percent, worst_set};
use crate::run::record::{LabelPredictions, LabeledImage};
use crate::wording::grouped;

/// Maximum number of rows in the table.
const MAX_ROWS: usize = 100;
/// Starts the resamples, the same as those of a comparison.
const SEED: u64 = 0;

pub(super) const SECTION: RunSection = RunSection { id: "labels", title: "Labels", of_each_run: true, content };

fn content(record: &RunRecord, _: Sheets) -> Option<Section> {
    let predictions = record.labels.as_ref()?;
    let note = "Average precision of each label, the lowest first, and recall and precision at the threshold that validation \
                chose for it. Their mean over the labels that a set has is its mean average precision.";
    let mut section = SECTION.noted(note).wide();
    for (name, images) in &predictions.sets {
        section = section.with(name, table(&predictions.labels, images));
    }
    Some(section.opened_at(worst_set(&record.summary)))
}

/// What is measured of a label on a set.
struct Measured<'a> {
    label: &'a str,
    images: usize,
    average_precision: f64,
    recall: f64,
    /// `None` where no image is taken to have it.
    precision: Option<f64>,
}

impl<'a> Measured<'a> {
    /// `None` of a label that no image has.
    fn of(position: usize, label: &'a str, images: &[LabeledImage], scores: &[f32]) -> Option<Self> {
        let has = images.iter().filter(|image| image.has[position]).count();
        let predicted = images.iter().filter(|image| image.predicted[position]).count();
        let right = images.iter().filter(|image| image.has[position] && image.predicted[position]).count();
        Some(Self {
            label,
            images: has,
            average_precision: average_precision(scores, |image| images[image].has[position])?,
            recall: right as f64 / has as f64,
            precision: (predicted > 0).then(|| right as f64 / predicted as f64),
        })
    }

    fn cells(&self) -> Vec<Cell> {
        let share = |share: f64| Cell::number(percent(share), share);
        vec![
            Cell::text(self.label),
            Cell::number(grouped(self.images), self.images as f64),
            share(self.average_precision),
            share(self.recall),
            self.precision.map_or_else(|| Cell::text("–"), share),
        ]
    }
}

fn table(labels: &[String], images: &[LabeledImage]) -> Table {
    let logits: Vec<Vec<f32>> = images.iter().map(|image| image.logits().collect()).collect();
    let mut rows: Vec<Measured> = Vec::new();
    for (position, label) in labels.iter().enumerate() {
        let scores: Vec<f32> = logits.iter().map(|row| row[position]).collect();
        rows.extend(Measured::of(position, label, images, &scores));
    }
    rows.sort_by(|one, other| one.average_precision.total_cmp(&other.average_precision));
    let left_out = rows.len().saturating_sub(MAX_ROWS);
    let columns =
        [("Label", false), ("Images", true), ("Average precision", true), ("Recall", true), ("Precision", true)];
    Table {
        columns: columns.into_iter().map(|(heading, number)| Column { heading: heading.into(), number }).collect(),
        rows: rows.iter().take(MAX_ROWS).map(Measured::cells).collect(),
        caption: match left_out {
            0 => String::new(),
            1 => "1 label does better.".to_owned(),
            _ => format!("{} labels do better.", grouped(left_out)),
        },
    }
}

/// The mean average precision on each set, with its 95 % interval over images.
pub(super) fn means(predictions: &LabelPredictions) -> IndexMap<String, Estimate> {
    let labels = predictions.labels.len();
    let of_set = |(name, images): &(String, Vec<LabeledImage>)| {
        let scores: Vec<f32> = images.iter().flat_map(LabeledImage::logits).collect();
        let has: Vec<bool> = images.iter().flat_map(|image| image.has.iter().copied()).collect();
        let run = LabelScores { scores: &scores, has: &has, labels };
        (name.clone(), mean_average_precision(run, SEED))
    };
    predictions.sets.iter().filter(|(_, images)| !images.is_empty()).map(of_set).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(has: [bool; 2], probabilities: [f64; 2]) -> LabeledImage {
        LabeledImage {
            path: String::new(),
            has: has.to_vec(),
            predicted: probabilities.map(|probability| probability >= 0.5).to_vec(),
            probabilities: probabilities.to_vec(),
        }
    }

    #[test]
    fn labels_are_ordered_by_average_precision_and_an_absent_one_is_left_out() {
        let labels = ["sky", "sea", "sun"].map(str::to_owned);
        let with_third = |mut image: LabeledImage| {
            image.has.push(false);
            image.predicted.push(true);
            image.probabilities.push(0.6);
            image
        };
        let images =
            [image([true, true], [0.9, 0.2]), image([true, false], [0.8, 0.7]), image([false, true], [0.1, 0.6])]
                .map(with_third);
        let rows = table(&labels, &images).rows;
        let texts: Vec<Vec<&str>> =
            rows.iter().map(|row| row.iter().map(|cell| cell.text.as_str()).collect()).collect();
        // sklearn.metrics.average_precision_score([1, 0, 1], [0.2, 0.7, 0.6]) is 1/2 · 1/2 + 1/2 · 2/3.
        assert_eq!(texts[0], ["sea", "2", "58.3 %", "50.0 %", "50.0 %"]);
        assert_eq!(texts[1], ["sky", "2", "100.0 %", "100.0 %", "100.0 %"]);
        assert_eq!(texts.len(), 2);
    }

    #[test]
    fn means_are_those_of_the_labels_with_an_interval_about_them() {
        let images = (0..60).map(|at| image([at % 2 == 0, at % 3 == 0], [f64::from(at % 5) / 5.0 + 0.1, 0.4]));
        let predictions = LabelPredictions {
            labels: vec!["a".into(), "b".into()],
            sets: vec![("val".into(), images.collect()), ("empty".into(), Vec::new())],
        };
        let found = means(&predictions);
        let labels: Vec<f64> = table(&predictions.labels, predictions.of_set("val").unwrap())
            .rows
            .iter()
            .map(|row| row[2].value.unwrap())
            .collect();
        let Estimate { mean, interval: [low, high] } = found["val"];
        assert!((mean - (labels[0] + labels[1]) / 2.0).abs() < 1e-12, "{mean} {labels:?}");
        assert!(low < mean && mean < high && found.len() == 1, "{low} {high}");
    }
}
