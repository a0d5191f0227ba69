//! `metrics.jsonl`: a row for each epoch and split, appended as training goes.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::files::FileError;
pub use crate::monitor::MetricsRow;

impl MetricsRow {
    /// The mean average precision, where there is one; else the accuracy.
    pub fn score(&self) -> f64 {
        self.mean_average_precision.unwrap_or(self.accuracy)
    }
}

/// What the scores of rows are, for an axis.
pub fn score_name<'a>(mut rows: impl Iterator<Item = &'a MetricsRow>) -> &'static str {
    if rows.any(|row| row.mean_average_precision.is_some()) { "mean average precision" } else { "accuracy" }
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
