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

    fn canceled(&self) -> bool {
        self.inner.canceled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps the last time that was told.
    #[derive(Default)]
    struct Told(Mutex<Duration>);

    impl Monitor for Told {
        fn start(&self, _: &str, _: usize) {}
        fn advance(&self, _: usize) {}
        fn finish(&self) {}
        fn message(&self, _: &str) {}
        fn canceled(&self) -> bool {
            false
        }
        fn time_left(&self, left: Duration) {
            *self.0.lock().unwrap() = left;
        }
    }

    #[test]
    fn the_time_left_counts_the_runs_to_come() {
        let inner = Told::default();
        let told = Mutex::default();
        let monitor = RunMonitor {
            inner: &inner,
            told: &told,
            prefix: None,
            begun: Instant::now(),
            runs_before: 1,
            seconds_before: 20.0,
            runs_after: 3,
        };
        // This run takes 10 s, the one before took 20: three more take 45.
        monitor.time_left(Duration::from_secs(10));
        let left = inner.0.lock().unwrap().as_secs_f64();
        assert!((left - 55.0).abs() < 1.0, "{left}");
    }
}
