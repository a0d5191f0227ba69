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
    /// Epochs of the short training that the row is of, where a search for the learning rate makes any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short_epochs: Option<usize>,
    /// Inverse strength of the penalty, in linear probes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inverse_strength: Option<f64>,
    /// Share of the end, in interpolations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// Mean learning rate of each trained block over the epoch, on training rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rates: Option<IndexMap<String, f64>>,
    /// Factor on the rate of each measured layer in the epoch, where rates are adaptive, on training
    /// rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_multipliers: Option<IndexMap<String, f64>>,
}

impl MetricsRow {
    /// A row with what all rows have, to be filled up.
    pub(super) fn new(phase: &str, split: &str, loss: f64, accuracy: f64) -> Self {
        Self {
            phase: phase.to_owned(),
            epoch: 0,
            step: 0,
            split: split.to_owned(),
            loss,
            accuracy,
            seconds: 0.0,
            learning_rate: None,
            short_epochs: None,
            inverse_strength: None,
            alpha: None,
            rates: None,
            rate_multipliers: None,
        }
    }
}

/// Reads a run's `metrics.jsonl`; a last line that is cut off is left out.
///
/// # Errors
/// A file that cannot be read.
pub fn read(path: &Path) -> Result<Vec<MetricsRow>, FileError> {
    let text = crate::files::read_text(path)?;
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
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

    /// Sees to it that the rows so far are on the disk, as a checkpoint says they are.
    pub fn sync(&self) -> Result<(), FileError> {
        let Some((path, file)) = &self.target else { return Ok(()) };
        file.sync_data().map_err(|error| FileError::new("write", path, error))
    }

    pub fn bytes(&self) -> u64 {
        self.target.as_ref().and_then(|(_, file)| file.metadata().ok()).map_or(0, |data| data.len())
    }
}
