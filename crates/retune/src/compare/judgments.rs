//! What runs said of each image, and no more of it than a comparison needs.

use std::collections::HashMap;
use std::path::Path;

use indexmap::IndexMap;
use retune_random::{combine, hash};

use crate::files::FileError;
use crate::run::record::{LabelPredictions, Predictions};

/// What a run said of each image, for each set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgments {
    /// Whether it was right, by the name of the set.
    pub sets: IndexMap<String, Vec<Judgment>>,
    /// What it said of each label where images have several, by the name of the set.
    pub labels: IndexMap<String, LabelJudgments>,
}

/// What a run said of the labels of each image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelJudgments {
    /// Tells the image from others of the set, and is the same in every run.
    pub images: Vec<u64>,
    /// The probability of each label, a row for each image.
    pub scores: Vec<f32>,
    /// Whether the image has it.
    pub has: Vec<bool>,
    /// Labels in a row.
    pub labels: usize,
}

/// Whether a run was right about an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgment {
    /// Tells the image from others of the set, and is the same in every run.
    pub image: u64,
    /// The image's group, where it has one.
    pub group: Option<u64>,
    /// Whether the most likely class is the image's own.
    pub is_right: bool,
}

impl Judgments {
    /// What a run said of each image, where it kept that.
    ///
    /// # Errors
    /// A file that cannot be read or understood.
    pub fn read(run: &Path, classes: &[String]) -> Result<Option<Self>, FileError> {
        if let Some(predictions) = LabelPredictions::read(run)? {
            return Ok(Some(Self::of_labels(predictions)));
        }
        Ok(Predictions::read(run, classes)?.as_ref().map(Self::of))
    }

    /// Takes from a run's predictions what a comparison needs.
    pub fn of(predictions: &Predictions) -> Self {
        let sets = predictions.sets.iter().enumerate().map(|(position, name)| {
            let mut seen: HashMap<u64, u64> = HashMap::new();
            let judgment = |row: &crate::run::record::Prediction| {
                let path = hash(row.path.as_bytes());
                // Images of one name are told apart by their order.
                let before = seen.entry(path).and_modify(|count| *count += 1).or_default();
                Judgment {
                    image: combine(path, *before),
                    group: row.group.as_ref().map(|group| hash(group.as_bytes())),
                    is_right: row.predicted == row.label,
                }
            };
            (name.clone(), predictions.of_set(position).map(judgment).collect())
        });
        Self { sets: sets.collect(), labels: IndexMap::new() }
    }

    /// The same of a run on images with several labels.
    pub fn of_labels(predictions: LabelPredictions) -> Self {
        let labels = predictions.labels.len();
        let sets = predictions.sets.into_iter().map(|(name, rows)| {
            let mut seen: HashMap<u64, u64> = HashMap::new();
            let mut found = LabelJudgments { labels, ..LabelJudgments::default() };
            for row in rows {
                let path = hash(row.path.as_bytes());
                let before = seen.entry(path).and_modify(|count| *count += 1).or_default();
                found.images.push(combine(path, *before));
                found.scores.extend(row.logits());
                found.has.extend(row.has);
            }
            (name, found)
        });
        Self { sets: IndexMap::new(), labels: sets.collect() }
    }
}
