//! The trial: a candidate alone tuned for some steps, and judged on held-out images.

use std::time::Instant;

use serde::Serialize;

use super::{AdviseError, Quiet, Target};
use crate::inference::{self, Layer, most_likely};
use crate::methods::Method;
use crate::methods::layers::LayerSelection;
use crate::models::Model;
use crate::run::{FitError, evaluation_loader};
use crate::train::TrainError;

/// What came of a trial.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Trial {
    /// The learning rate that the held-out images chose.
    pub learning_rate: f64,
    /// The epoch that they chose.
    pub epoch: usize,
    /// Share of the held-out images that are right, 0 to 1. It is the best of a few, and so a little too good, for every
    /// candidate alike.
    pub accuracy: f64,
    /// Wilson's 95 % interval.
    pub accuracy_interval: [f64; 2],
    /// Mean cross-entropy on the held-out images.
    pub loss: f64,
    /// For each held-out image, whether it is right.
    #[serde(skip)]
    pub right: Vec<bool>,
    /// Seconds that it took.
    #[serde(skip)]
    pub seconds: f64,
}

impl Target<'_> {
    /// Tunes layers by a method for the trial's epochs; `None` if it diverges at every rate.
    pub(super) fn trial(
        &self,
        name: &str,
        method: Method,
        layers: LayerSelection,
    ) -> Result<Option<Trial>, AdviseError> {
        let started = Instant::now();
        let trained = match self.train(method, layers, &Quiet(self.monitor)) {
            Err(AdviseError::Fit(FitError::Train(error @ TrainError::Diverged { .. }))) => {
                self.monitor.message(&format!("trial of {name}: {error}"));
                return Ok(None);
            }
            other => other?,
        };
        // Every plan of a method has a phase.
        let Some(outcome) = trained.phases.last() else { return Ok(None) };
        let trial = Trial {
            learning_rate: outcome.learning_rate.unwrap_or(0.0),
            epoch: outcome.epoch,
            accuracy: outcome.validation.accuracy,
            accuracy_interval: outcome.validation.accuracy_interval,
            loss: outcome.validation.loss,
            right: self.right(&trained.model, &format!("trial of {name}"))?,
            seconds: started.elapsed().as_secs_f64(),
        };
        self.monitor.message(&format!(
            "trial of {name}: {:.1} % of the held-out images right, at learning rate {:e}",
            100.0 * trial.accuracy,
            trial.learning_rate
        ));
        Ok(Some(trial))
    }

    /// Which held-out images a model gets right.
    pub(super) fn right(&self, model: &Model, task: &str) -> Result<Vec<bool>, AdviseError> {
        let images = &self.data.validation;
        let (labels, classes) = (images.labels()?, model.config().num_classes());
        let train = &self.options.train;
        let loader = evaluation_loader(images.clone(), model, train.batch_size, train.threads)?;
        let mut right = Vec::with_capacity(images.len());
        inference::for_each_batch(model, &loader, Layer::Logits, task, self.monitor, |batch, rows| {
            let rows = rows.chunks_exact(classes).zip(&batch.indices);
            right.extend(rows.map(|(row, &index)| most_likely(row) == labels[index]));
        })?;
        Ok(right)
    }
}
