//! What a run of a comparison says to the monitor of the whole.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::monitor::Monitor;

/// The monitor of one of several simultaneous runs. Messages carry the run's name, and only one run draws a bar.
pub(super) struct RunMonitor<'a> {
    /// The monitor of the comparison.
    pub inner: &'a dyn Monitor,
    /// Notes that have been shown.
    pub told: &'a Mutex<BTreeSet<String>>,
    /// The run's name, where several runs speak at the same time.
    pub prefix: Option<String>,
    /// When the run began.
    pub begun: Instant,
    /// Runs that are done.
    pub runs_before: usize,
    /// Seconds that those took.
    pub seconds_before: f64,
    /// Runs that are still to come, divided among those that run at the same time.
    pub runs_after: usize,
}

impl Monitor for RunMonitor<'_> {
    fn inner(&self) -> Option<&dyn Monitor> {
        Some(self.inner)
    }

    fn start(&self, task: &str, total: usize) {
        if self.prefix.is_none() {
            self.inner.start(task, total);
        }
    }

    fn start_counting(&self, task: &str, total: usize, unit: &str) {
        if self.prefix.is_none() {
            self.inner.start_counting(task, total, unit);
        }
    }

    fn time_left(&self, left: Duration) {
        // The runs to come take as long as the ones so far, of which this is one.
        let whole = self.begun.elapsed() + left;
        let mean = (self.seconds_before + whole.as_secs_f64()) / (self.runs_before + 1) as f64;
        let later = mean * self.runs_after as f64;
        self.inner.time_left(left + Duration::try_from_secs_f64(later).unwrap_or(Duration::MAX / 2));
    }

    fn advance(&self, units: usize) {
        if self.prefix.is_none() {
            self.inner.advance(units);
        }
    }

    fn finish(&self) {
        if self.prefix.is_none() {
            self.inner.finish();
        }
    }

    fn message(&self, text: &str) {
        // What is said of data and models is the same in every run.
        if text.starts_with("note: ") {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            if told.insert(text.to_owned()) {
                self.inner.message(text);
            }
            return;
        }
        match &self.prefix {
            Some(prefix) => self.inner.message(&format!("[{prefix}] {text}")),
            None => self.inner.message(text),
        }
    }

    fn detail(&self, text: &str) {
        match &self.prefix {
            Some(prefix) => self.inner.detail(&format!("[{prefix}] {text}")),
            None => self.inner.detail(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::MetricsRow;
    use crate::sources::DataNote;

    /// Keeps the last time that was told, and all else in the order it was.
    #[derive(Default)]
    struct Told {
        left: Mutex<Duration>,
        texts: Mutex<Vec<String>>,
    }

    impl Told {
        fn keep(&self, text: String) {
            self.texts.lock().unwrap().push(text);
        }
    }

    impl Monitor for Told {
        fn time_left(&self, left: Duration) {
            *self.left.lock().unwrap() = left;
        }
        fn message(&self, text: &str) {
            self.keep(text.to_owned());
        }
        fn detail(&self, text: &str) {
            self.keep(format!("detail: {text}"));
        }
        fn note(&self, note: &DataNote) {
            self.keep(format!("of data: {note}"));
        }
        fn measured(&self, row: &MetricsRow) {
            self.keep(format!("epoch {}", row.epoch));
        }
    }

    fn monitor<'a>(inner: &'a Told, told: &'a Mutex<BTreeSet<String>>, prefix: Option<&str>) -> RunMonitor<'a> {
        RunMonitor {
            inner,
            told,
            prefix: prefix.map(str::to_owned),
            begun: Instant::now(),
            runs_before: 1,
            seconds_before: 20.0,
            runs_after: 3,
        }
    }

    #[test]
    fn the_time_left_counts_the_runs_to_come() {
        let (inner, told) = (Told::default(), Mutex::default());
        // This run takes 10 s, the one before took 20: three more take 45.
        monitor(&inner, &told, None).time_left(Duration::from_secs(10));
        let left = inner.left.lock().unwrap().as_secs_f64();
        assert!((left - 55.0).abs() < 1.0, "{left}");
    }

    #[test]
    fn rows_details_and_notes_reach_the_monitor_of_the_whole() {
        let (inner, told) = (Told::default(), Mutex::default());
        let monitor = monitor(&inner, &told, Some("ft"));
        monitor.measured(&MetricsRow { epoch: 2, ..MetricsRow::new("fine-tuning", "val", 0.1, 0.9) });
        monitor.detail("read a model");
        monitor.message("note: of a model");
        monitor.message("note: of a model");
        monitor.message("begun");
        let note = DataNote::NotImages { folders: Vec::new() };
        monitor.note(&note);
        let expected =
            ["epoch 2", "detail: [ft] read a model", "note: of a model", "[ft] begun", &format!("of data: {note}")];
        assert_eq!(*inner.texts.lock().unwrap(), expected);
    }
}
