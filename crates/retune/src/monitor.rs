//! How long work reports its progress and learns that it should stop.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::sources::DataNote;

/// Receives progress; the command line draws bars from it. A monitor handles what it wants to, and the rest goes to its
/// [`inner`](Self::inner) one, or nowhere.
pub trait Monitor: Sync {
    /// The monitor that hears of all that this one does not handle itself.
    fn inner(&self) -> Option<&dyn Monitor> {
        None
    }
    /// A task of `total` images begins.
    fn start(&self, task: &str, total: usize) {
        if let Some(inner) = self.inner() {
            inner.start(task, total);
        }
    }
    /// A task of `total` other things begins, such as `steps`.
    fn start_counting(&self, task: &str, total: usize, unit: &str) {
        match self.inner() {
            Some(inner) => inner.start_counting(task, total, unit),
            None => self.start(task, total),
        }
    }
    /// That many of them are done.
    fn advance(&self, units: usize) {
        if let Some(inner) = self.inner() {
            inner.advance(units);
        }
    }
    /// How long all that is planned will take from now on, judging by the epochs so far.
    fn time_left(&self, left: Duration) {
        if let Some(inner) = self.inner() {
            inner.time_left(left);
        }
    }
    /// The task is done.
    fn finish(&self) {
        if let Some(inner) = self.inner() {
            inner.finish();
        }
    }
    /// Something that a user should read.
    fn message(&self, text: &str) {
        if let Some(inner) = self.inner() {
            inner.message(text);
        }
    }
    /// Something that a user should read who asked for every detail.
    fn detail(&self, text: &str) {
        if let Some(inner) = self.inner() {
            inner.detail(text);
        }
    }
    /// Something about data that a user should hear.
    fn note(&self, note: &DataNote) {
        match self.inner() {
            Some(inner) => inner.note(note),
            None => self.message(&format!("note: {note}")),
        }
    }
    /// How well a model in training does, as `metrics.jsonl` has it: of each epoch and split, of each penalty of a probe, and
    /// of each share of an interpolation.
    fn measured(&self, row: &MetricsRow) {
        if let Some(inner) = self.inner() {
            inner.measured(row);
        }
    }
    /// Whether the user asked to stop; asked between batches.
    fn canceled(&self) -> bool {
        self.inner().is_some_and(|inner| inner.canceled())
    }
}

/// Reports nothing and never stops.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Monitor for Silent {}

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
    fn message(&self, text: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
    }
}

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
    /// The mean average precision on validation, where images have several labels; `accuracy` is then the share of images of
    /// which every label is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_average_precision: Option<f64>,
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
    pub(crate) fn new(phase: &str, split: &str, loss: f64, accuracy: f64) -> Self {
        Self {
            phase: phase.to_owned(),
            epoch: 0,
            step: 0,
            split: split.to_owned(),
            loss,
            accuracy,
            mean_average_precision: None,
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
