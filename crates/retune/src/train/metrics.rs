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

/// The rows of a phase that trained in full at a learning rate. A search also trains for a few epochs at each rate, the
/// chosen one included; those rows are no part of its curve.
pub fn in_full<'a>(rows: &'a [MetricsRow], phase: &'a str, rate: f64) -> impl Iterator<Item = &'a MetricsRow> + Clone {
    let of_phase = rows.iter().filter(move |row| row.phase == phase && row.short_epochs.is_none());
    of_phase.filter(move |row| row.learning_rate == Some(rate))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_runs_of_a_search_are_no_part_of_a_curve() {
        let row = |phase: &str, epoch: usize, rate: f64, short: Option<usize>| -> MetricsRow {
            let text = r#"{"phase":"","epoch":0,"step":1,"split":"val","loss":1.0,"accuracy":0.5,"seconds":1.0}"#;
            let row: MetricsRow = serde_json::from_str(text).unwrap();
            MetricsRow { phase: phase.into(), epoch, learning_rate: Some(rate), short_epochs: short, ..row }
        };
        let rows = [
            row("fine-tuning", 1, 1e-3, Some(1)),
            row("fine-tuning", 1, 3e-4, Some(1)),
            row("fine-tuning", 1, 3e-4, None),
            row("another", 2, 3e-4, None),
            row("fine-tuning", 2, 3e-4, None),
        ];
        let epochs: Vec<usize> = in_full(&rows, "fine-tuning", 3e-4).map(|row| row.epoch).collect();
        assert_eq!(epochs, [1, 2]);
    }
}
