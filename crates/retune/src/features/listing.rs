//! What a feature file says of its rows besides their values.

use std::sync::Arc;

use super::origin::Origin;
use crate::models::{Model, Precision};
use crate::sources::{Dataset, Sample};

/// The labels and paths of rows, and what the labels mean.
pub(super) struct Listing {
    /// −1 where unknown.
    pub labels: Vec<i64>,
    /// Relative to the data's root.
    pub paths: Vec<Arc<str>>,
    pub classes: Vec<String>,
    /// What the model computed in, where that is not float32.
    pub precision: Option<&'static str>,
    /// What the rows depend on, as JSON; only a shard says so.
    pub origin: Option<String>,
}

impl Listing {
    /// That of some of a dataset's images, as `model` sees their labels.
    pub fn of(model: &Model, dataset: &Dataset, samples: &[Sample], origin: &Origin) -> serde_json::Result<Self> {
        let labels = labels(model, samples);
        Ok(Self {
            labels: labels.map(stored_label).collect(),
            paths: samples.iter().map(|sample| sample.name.clone()).collect(),
            classes: classes(model, dataset),
            precision: origin.reduced_precision().map(Precision::name),
            origin: origin.shard.map(|_| serde_json::to_string(origin)).transpose()?,
        })
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }
}

/// The class of each image. An image that may have several labels has none that a class could stand for.
pub(super) fn labels<'a>(model: &Model, samples: &'a [Sample]) -> impl Iterator<Item = Option<usize>> + use<'a> {
    let has_class = !model.config().is_multi_label();
    samples.iter().map(move |sample| sample.label.filter(|_| has_class))
}

/// What the labels mean.
pub(super) fn classes(model: &Model, dataset: &Dataset) -> Vec<String> {
    if model.config().is_multi_label() { Vec::new() } else { dataset.classes.clone() }
}

/// The label as files hold it: −1 where it is unknown.
fn stored_label(label: Option<usize>) -> i64 {
    label.and_then(|label| i64::try_from(label).ok()).unwrap_or(-1)
}
