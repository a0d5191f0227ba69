//! What runs said of each image, and no more of it than a comparison needs.

use std::collections::HashMap;

use indexmap::IndexMap;
use retune_random::{combine, hash};

use crate::run::record::Predictions;

/// Whether a run was right, image by image, for each set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgments {
    /// By the name of the set.
    pub sets: IndexMap<String, Vec<Judgment>>,
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
        Self { sets: sets.collect() }
    }
}
