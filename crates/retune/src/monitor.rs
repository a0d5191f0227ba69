//! How long work reports its progress and learns that it should stop.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::sources::DataNote;

/// Receives progress; the command line draws bars from it.
pub trait Monitor: Sync {
    /// A task of `total` images begins.
    fn start(&self, task: &str, total: usize);
    /// A task of `total` other things begins, such as `steps`.
    fn start_counting(&self, task: &str, total: usize, _unit: &str) {
        self.start(task, total);
    }
    /// That many of them are done.
    fn advance(&self, units: usize);
    /// How long all that is planned will take from now on, judging by the epochs so far.
    fn time_left(&self, _: Duration) {}
    /// The task is done.
    fn finish(&self);
    /// Something that a user should read.
    fn message(&self, text: &str);
    /// Something that a user should read who asked for every detail.
    fn detail(&self, _: &str) {}
    /// Something about data that a user should hear.
    fn note(&self, note: &DataNote) {
        self.message(&format!("note: {note}"));
    }
    /// Whether the user asked to stop; asked between batches.
    fn canceled(&self) -> bool;
}

/// Reports nothing and never stops.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Monitor for Silent {
    fn start(&self, _: &str, _: usize) {}
    fn advance(&self, _: usize) {}
    fn finish(&self) {}
    fn message(&self, _: &str) {}
    fn canceled(&self) -> bool {
        false
    }
}

/// Keeps what a user should read, for a program that shows it later, and never stops.
#[derive(Debug, Default)]
pub struct Messages(Mutex<Vec<String>>);

impl Messages {
    /// The messages in their order.
    pub fn into_texts(self) -> Vec<String> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Monitor for Messages {
    fn start(&self, _: &str, _: usize) {}
    fn advance(&self, _: usize) {}
    fn finish(&self) {}
    fn message(&self, text: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
    }
    fn canceled(&self) -> bool {
        false
    }
}
