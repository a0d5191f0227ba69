//! What a feature file says of its rows besides their values.

use std::sync::Arc;

use super::origin::Origin;
use crate::sources::{Dataset, Sample};

/// The labels and paths of rows, and what the labels mean.
pub(super) struct Listing {
    /// −1 where unknown.
    pub labels: Vec<i64>,
    /// Relative to the data's root.
    pub paths: Vec<Arc<str>>,
    pub classes: Vec<String>,
    /// What the rows depend on, as JSON; only a shard says so.
    pub origin: Option<String>,
}

impl Listing {
    /// That of some of a dataset's images.
    pub fn of(dataset: &Dataset, samples: &[Sample], origin: &Origin) -> serde_json::Result<Self> {
        Ok(Self {
            labels: samples.iter().map(|sample| stored_label(sample.label)).collect(),
            paths: samples.iter().map(|sample| sample.name.clone()).collect(),
            classes: dataset.classes.clone(),
            origin: origin.shard.map(|_| serde_json::to_string(origin)).transpose()?,
        })
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }
}

/// The label as files hold it: −1 where it is unknown.
fn stored_label(label: Option<usize>) -> i64 {
    label.and_then(|label| i64::try_from(label).ok()).unwrap_or(-1)
}
