//! `metrics.jsonl`: a row for each epoch and split, appended as training goes.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::files::FileError;

/// One row of `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetricsRow {
    /// The phase's name.
    pub phase: String,
    /// Epochs done in the phase with this learning rate; 0 for a linear probe.
    pub epoch: usize,
    /// Steps done in the phase with this learning rate.
    pub step: usize,
    /// `train` or `val`.
    pub split: String,
    /// Mean loss; on training images over the epoch, while the model changes.
    pub loss: f64,
    /// Accuracy, 0 to 1.
    pub accuracy: f64,
    /// Seconds that the epoch, or its evaluation, took.
    pub seconds: f64,
    /// Base learning rate, in gradient phases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Inverse strength of the penalty, in linear probes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inverse_strength: Option<f64>,
    /// Mean learning rate of each trained block over the epoch, on training rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<IndexMap<String, f64>>,
}

/// Appends rows to a file, or nowhere.
pub(super) struct MetricsFile {
    target: Option<(PathBuf, File)>,
}

impl MetricsFile {
    /// A file that is cut to `keep` bytes first (rows written after the checkpoint that a run
    /// resumes from would otherwise stand twice).
    pub fn open(path: Option<&Path>, keep: u64) -> Result<Self, FileError> {
        let Some(path) = path else { return Ok(Self { target: None }) };
        let opened = OpenOptions::new().create(true).append(true).open(path).and_then(|file| {
            file.set_len(keep.min(file.metadata()?.len()))?;
            Ok(file)
        });
        let file = opened.map_err(|error| FileError::new("write", path, error))?;
        Ok(Self { target: Some((path.to_owned(), file)) })
    }

    pub fn append(&mut self, row: &MetricsRow) -> Result<(), FileError> {
        let Some((path, file)) = &mut self.target else { return Ok(()) };
        let written = serde_json::to_string(row)
            .map_err(std::io::Error::other)
            .and_then(|line| file.write_all(format!("{line}\n").as_bytes()));
        written.map_err(|error| FileError::new("write", path, error))
    }

    pub fn bytes(&self) -> u64 {
        self.target.as_ref().and_then(|(_, file)| file.metadata().ok()).map_or(0, |data| data.len())
    }
}
