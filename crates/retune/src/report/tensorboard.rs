//! A run's numbers as TensorBoard shows them, while it trains and after.
//!
//! ```text
//! tensorboard/PHASE/               linear probes and interpolations
//! tensorboard/PHASE/lr RATE/       a learning rate trained in full
//! tensorboard/PHASE/search, lr RATE/   one that was tried for a few epochs
//! tensorboard/result/              accuracy and confusion on each set
//! ```

mod events;

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use indexmap::IndexMap;
use retune_figures::FileFormat;

use self::events::{EventFile, Picture};
use super::confusion::Confusion;
use super::figures;
use super::plot::Plot;
use crate::models::imagenet;
use crate::monitor::{MetricsRow, Monitor};
use crate::run::Summary;
use crate::run::record::Predictions;
use crate::train::metrics;

/// The folder with a run's event files.
pub const TENSORBOARD_FOLDER: &str = "tensorboard";
/// The series of what a finished run found.
const RESULT: &str = "result";
/// As many steps stand for the whole of an interpolation.
const SHARE_STEPS: f64 = 100.0;

/// A monitor that logs each row of metrics to a run's `tensorboard/` as well. A log that cannot be written is said once and
/// fails nothing.
pub struct Logging<'a> {
    monitor: &'a dyn Monitor,
    log: Mutex<Option<Log>>,
}

impl<'a> Logging<'a> {
    /// Of a run that begins.
    pub fn start(run: &Path, monitor: &'a dyn Monitor) -> Self {
        Self { monitor, log: Mutex::new(Some(Log::new(run))) }
    }

    /// Of a run that goes on: what it has measured is logged anew, once there is something to log, and so after the run has
    /// taken its lock.
    pub fn resume(run: &Path, monitor: &'a dyn Monitor) -> Self {
        Self { monitor, log: Mutex::new(Some(Log { replays: true, ..Log::new(run) })) }
    }

    /// Whether a run is logged already.
    pub fn is_of(run: &Path) -> bool {
        run.join(TENSORBOARD_FOLDER).is_dir()
    }

    /// Logs what a finished run found.
    pub fn finish(self, summary: &Summary) {
        let logged = self.with_log(|log| log.result(summary));
        self.tell(logged);
    }

    fn with_log(&self, write: impl FnOnce(&mut Log) -> io::Result<()>) -> io::Result<()> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let written = log.as_mut().map_or(Ok(()), |log| log.replay().and_then(|()| write(log)));
        if written.is_err() {
            *log = None;
        }
        written
    }

    fn tell(&self, logged: io::Result<()>) {
        if let Err(error) = logged {
            self.monitor.message(&format!("note: logging to {TENSORBOARD_FOLDER}/ ends: {error}"));
        }
    }
}

impl Monitor for Logging<'_> {
    fn inner(&self) -> Option<&dyn Monitor> {
        Some(self.monitor)
    }

    fn measured(&self, row: &MetricsRow) {
        let logged = self.with_log(|log| log.row(row));
        self.tell(logged);
        self.monitor.measured(row);
    }
}

/// A run's event files.
struct Log {
    run: PathBuf,
    folder: PathBuf,
    /// Whether the rows that the run has written down are still to be logged.
    replays: bool,
    files: IndexMap<String, EventFile>,
    /// Rows that are there. A run that goes on from a checkpoint measures some of them again, to the same values.
    logged: HashSet<String>,
    /// Penalties of each probe so far, which have no epochs to count steps by.
    penalties: IndexMap<String, Vec<u64>>,
}

impl Log {
    fn new(run: &Path) -> Self {
        Self {
            run: run.to_owned(),
            folder: run.join(TENSORBOARD_FOLDER),
            replays: false,
            files: IndexMap::new(),
            logged: HashSet::new(),
            penalties: IndexMap::new(),
        }
    }

    /// Logs the rows that a run has written down, in the place of what it has logged, if that is still to be done.
    fn replay(&mut self) -> io::Result<()> {
        if !std::mem::take(&mut self.replays) {
            return Ok(());
        }
        if self.folder.is_dir() {
            fs::remove_dir_all(&self.folder)?;
        }
        let path = self.run.join("metrics.jsonl");
        if !path.is_file() {
            return Ok(());
        }
        let rows = metrics::read(&path).map_err(io::Error::other)?;
        rows.iter().try_for_each(|row| self.row(row))
    }

    fn row(&mut self, row: &MetricsRow) -> io::Result<()> {
        let (series, step) = (series(row), self.step(row));
        if !self.logged.insert(format!("{series}\n{step}\n{}", row.split)) {
            return Ok(());
        }
        let split = &row.split;
        let mut numbers = vec![(format!("loss/{split}"), row.loss), (format!("accuracy/{split}"), row.accuracy)];
        let precision = row.mean_average_precision;
        numbers.extend(precision.map(|value| (format!("mean average precision/{split}"), value)));
        numbers
            .extend(row.inverse_strength.filter(|_| split == "val").map(|value| ("inverse penalty".to_owned(), value)));
        let of_layers = |kind: &str, values: &Option<IndexMap<String, f64>>| {
            let values = values.iter().flatten();
            values.map(|(layer, value)| (format!("{kind}/{layer}"), *value)).collect::<Vec<_>>()
        };
        numbers.extend(of_layers("learning rate", &row.rates));
        numbers.extend(of_layers("rate factor", &row.rate_multipliers));
        self.file(&series)?.numbers(now(), step, &numbers)
    }

    /// The step at which a row stands: its epoch, its penalty's place on the path, or its share in percent.
    fn step(&mut self, row: &MetricsRow) -> usize {
        if let Some(alpha) = row.alpha {
            return (alpha * SHARE_STEPS).round() as usize;
        }
        let Some(strength) = row.inverse_strength else { return row.epoch };
        let known = self.penalties.entry(row.phase.clone()).or_default();
        let bits = strength.to_bits();
        known.iter().position(|&other| other == bits).unwrap_or_else(|| {
            known.push(bits);
            known.len() - 1
        })
    }

    /// Accuracy, loss, and confusion on each set.
    fn result(&mut self, summary: &Summary) -> io::Result<()> {
        let step = summary.best_epoch;
        let numbers: Vec<(String, f64)> = summary
            .splits
            .iter()
            .flat_map(|(set, found)| [(format!("loss/{set}"), found.loss), (format!("accuracy/{set}"), found.accuracy)])
            .collect();
        self.file(RESULT)?.numbers(now(), step, &numbers)?;
        let Some(predictions) = Predictions::read(&self.run, &summary.classes).map_err(io::Error::other)? else {
            return Ok(());
        };
        let classes = imagenet::shown(&summary.classes);
        for (set, name) in predictions.sets.iter().enumerate() {
            let found = Confusion::count(predictions.of_set(set).map(|row| (row.label, row.predicted)));
            let title = format!("{name}: predicted class by true class");
            let drawn = picture(&figures::confusion(&title, &classes, &found).into())?;
            self.file(RESULT)?.picture(now(), step, &format!("confusion/{name}"), drawn)?;
        }
        Ok(())
    }

    fn file(&mut self, series: &str) -> io::Result<&mut EventFile> {
        if !self.files.contains_key(series) {
            self.files.insert(series.to_owned(), EventFile::create(&self.folder.join(series), now())?);
        }
        Ok(&mut self.files[series])
    }
}

/// The folder below the log's in which a row stands.
fn series(row: &MetricsRow) -> String {
    let phase = folder_name(&row.phase);
    match (row.learning_rate, row.short_epochs) {
        (Some(rate), None) => format!("{phase}/lr {rate}"),
        (Some(rate), Some(_)) => format!("{phase}/search, lr {rate}"),
        (None, _) => phase,
    }
}

/// A phase's name as that of a folder on every system; plans that are written by hand name phases freely.
fn folder_name(phase: &str) -> String {
    let plain = |c: char| if c.is_alphanumeric() || " -_".contains(c) { c } else { '_' };
    let name: String = phase.chars().map(plain).collect();
    match name.trim() {
        "" => "phase".to_owned(),
        name => name.to_owned(),
    }
}

fn picture(plot: &Plot) -> io::Result<Picture> {
    let png = plot.encode(FileFormat::Png).map_err(io::Error::other)?;
    let reader = image::ImageReader::with_format(io::Cursor::new(&png), image::ImageFormat::Png);
    let (width, height) = reader.into_dimensions().map_err(io::Error::other)?;
    Ok(Picture { width, height, png })
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::{Messages, Silent};

    fn row(phase: &str, epoch: usize, rate: Option<f64>) -> MetricsRow {
        MetricsRow { epoch, learning_rate: rate, ..MetricsRow::new(phase, "val", 0.5, 0.75) }
    }

    fn files_below(folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            match entry.path().is_dir() {
                true => found.extend(files_below(&entry.path()).into_iter().map(|below| format!("{name}/{below}"))),
                false => found.push(name),
            }
        }
        found.sort();
        found
    }

    #[test]
    fn each_training_is_a_series() {
        let run = tempfile::tempdir().unwrap();
        let logging = Logging::start(run.path(), &Silent);
        logging.measured(&row("fine-tuning", 1, Some(0.001)));
        logging.measured(&MetricsRow { short_epochs: Some(1), ..row("fine-tuning", 1, Some(0.0003)) });
        logging.measured(&row("../a:b", 0, None));
        let folders: Vec<String> = files_below(&run.path().join(TENSORBOARD_FOLDER))
            .into_iter()
            .map(|path| path.rsplit_once('/').unwrap().0.to_owned())
            .collect();
        assert_eq!(folders, ["___a_b", "fine-tuning/lr 0.001", "fine-tuning/search, lr 0.0003"]);
    }

    #[test]
    fn a_run_that_goes_on_logs_no_row_twice() {
        let run = tempfile::tempdir().unwrap();
        let (first, second) = (row("fine-tuning", 1, Some(0.1)), row("fine-tuning", 2, Some(0.1)));
        let text = |row: &MetricsRow| serde_json::to_string(row).unwrap() + "\n";
        let bytes = || {
            let folder = run.path().join(TENSORBOARD_FOLDER);
            let files = files_below(&folder);
            assert_eq!(files.len(), 1);
            fs::metadata(folder.join(&files[0])).unwrap().len()
        };
        let logging = Logging::start(run.path(), &Silent);
        logging.measured(&first);
        logging.measured(&second);
        let whole = bytes();
        // The second epoch came after the last checkpoint.
        fs::write(run.path().join("metrics.jsonl"), text(&first) + &text(&second)).unwrap();
        let logging = Logging::resume(run.path(), &Silent);
        logging.measured(&second);
        assert_eq!(bytes(), whole);
    }

    /// The run may be another process's, or no run at all.
    #[test]
    fn nothing_is_touched_before_there_is_something_to_log() {
        let run = tempfile::tempdir().unwrap();
        let folder = run.path().join(TENSORBOARD_FOLDER);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("events.out.tfevents.1.other"), "of another").unwrap();
        let logging = Logging::resume(run.path(), &Silent);
        drop(logging);
        assert_eq!(files_below(&folder), ["events.out.tfevents.1.other"]);
    }

    #[test]
    fn a_log_that_cannot_be_written_is_said_once() {
        let run = tempfile::tempdir().unwrap();
        fs::write(run.path().join(TENSORBOARD_FOLDER), "a file").unwrap();
        let messages = Messages::default();
        let logging = Logging::resume(run.path(), &messages);
        logging.measured(&row("fine-tuning", 1, None));
        logging.measured(&row("fine-tuning", 2, None));
        assert_eq!(messages.into_texts().len(), 1);
    }
}
