//! What makes the numbers of some sets say less than they seem to.

use std::collections::HashSet;

use super::super::run_page::RunRecord;
use super::{in_distribution, percent};
use crate::run::Caveat;
use crate::run::record::Predictions;
use crate::wording::sentence;

/// A sentence for each caveat; of a set without some classes, also the accuracy as in training on those that it has.
pub(super) fn of(record: &RunRecord) -> Vec<String> {
    let (summary, shifted) = (&record.summary, record.shifted());
    let own = in_distribution(summary, &shifted).map(|(name, _)| name);
    let in_words = |caveat: &Caveat| {
        let text = sentence(&caveat.to_string());
        let (Caveat::MissingClasses { classes, .. }, Some(own)) = (caveat, own) else { return text };
        let missing: HashSet<&String> = classes.iter().collect();
        let is_missing = |label: usize| summary.classes.get(label).is_some_and(|class| missing.contains(class));
        let predictions = record.predictions.as_ref();
        match predictions.and_then(|predictions| accuracy_without(predictions, own, is_missing)) {
            Some(accuracy) => format!("{text} On the classes that it has, accuracy on {own} is {}.", percent(accuracy)),
            None => text,
        }
    };
    summary.caveats.iter().map(in_words).collect()
}

/// Accuracy on a set without the images of some classes; `None` where no image is left.
fn accuracy_without(predictions: &Predictions, set: &str, is_missing: impl Fn(usize) -> bool) -> Option<f64> {
    let set = predictions.sets.iter().position(|name| name == set)?;
    let rows = || predictions.of_set(set).filter(|row| !is_missing(row.label));
    let (right, images) = (rows().filter(|row| row.predicted == row.label).count(), rows().count());
    (images > 0).then(|| right as f64 / images as f64)
}
