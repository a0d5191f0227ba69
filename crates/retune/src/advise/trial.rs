//! The trial: a candidate alone tuned for some steps, and judged on held-out images.

use std::time::Instant;

use retune_analysis::intervals::Estimate;
use serde::Serialize;

use super::judgment::Judgment;
use super::{AdviseError, Quiet, Target};
use crate::inference::{self, Layer, most_likely};
use crate::loading::Batch;
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
    /// Share of the held-out images that are right, 0 to 1, of images with several labels those with all of them right. It
    /// is the best of a few, and so a little too good, for every candidate alike.
    pub accuracy: f64,
    /// Wilson's 95 % interval.
    pub accuracy_interval: [f64; 2],
    /// The mean average precision on the held-out images, where images have several labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_average_precision: Option<f64>,
    /// Its 95 % interval, by the bootstrap over images.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_average_precision_interval: Option<[f64; 2]>,
    /// Mean cross-entropy on the held-out images.
    pub loss: f64,
    /// How good it is on each held-out image.
    #[serde(skip)]
    pub(super) judgment: Judgment,
    /// Seconds that it took.
    #[serde(skip)]
    pub seconds: f64,
}

impl Trial {
    /// The share that trials are judged by, with its 95 % interval: mean average precision where images have several
    /// labels, else accuracy.
    pub fn score(&self) -> Estimate {
        let accuracy = Estimate { mean: self.accuracy, interval: self.accuracy_interval };
        let precision = self.mean_average_precision.zip(self.mean_average_precision_interval);
        precision.map_or(accuracy, |(mean, interval)| Estimate { mean, interval })
    }
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
        let judgment = self.judged(&trained.model, &format!("trial of {name}"))?;
        let precision = matches!(judgment, Judgment::Labels { .. }).then(|| judgment.score());
        let trial = Trial {
            learning_rate: outcome.learning_rate.unwrap_or(0.0),
            epoch: outcome.epoch,
            accuracy: outcome.validation.accuracy,
            accuracy_interval: outcome.validation.accuracy_interval,
            mean_average_precision: precision.map(|found| found.mean),
            mean_average_precision_interval: precision.map(|found| found.interval),
            loss: outcome.validation.loss,
            judgment,
            seconds: started.elapsed().as_secs_f64(),
        };
        let (score, rate) = (100.0 * trial.score().mean, trial.learning_rate);
        self.monitor.message(&match precision {
            Some(_) => format!("trial of {name}: mean average precision {score:.1} %, at learning rate {rate:e}"),
            None => format!("trial of {name}: {score:.1} % of the held-out images right, at learning rate {rate:e}"),
        });
        Ok(Some(trial))
    }

    /// How good a model is on each held-out image.
    pub(super) fn judged(&self, model: &Model, task: &str) -> Result<Judgment, AdviseError> {
        let images = &self.data.validation;
        let (labels, classes) = (images.labels()?, model.config().num_classes());
        let train = &self.options.train;
        let loader = evaluation_loader(images.clone(), model, train.batch_size, train.threads)?;
        if let Some(sets) = inference::label_sets(model, images)? {
            let mut logits = Vec::with_capacity(images.len() * classes);
            let keep = |_: &Batch, rows: Vec<f32>| logits.extend(rows);
            inference::for_each_batch(model, &loader, Layer::Logits, task, self.monitor, keep)?;
            return Ok(Judgment::of_labels(&logits, &labels, &sets));
        }
        let mut right = Vec::with_capacity(images.len());
        inference::for_each_batch(model, &loader, Layer::Logits, task, self.monitor, |batch, rows| {
            let rows = rows.chunks_exact(classes).zip(&batch.indices);
            right.extend(rows.map(|(row, &index)| most_likely(row) == labels[index]));
        })?;
        Ok(Judgment::Classes(right))
    }
}
