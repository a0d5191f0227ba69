//! Evaluation on images with several labels that keeps what the model said of each image.

use std::path::Path;

use super::kept::{Hardest, KeptImages};
use super::tiles::{Tiles, image_of};
use super::{HARDEST_SIDE, LabelPredictions, LabeledImage};
use crate::files::FileError;
use crate::inference::{self, Evaluation, InferenceError, evaluate_observed};
use crate::models::Model;
use crate::monitor::Monitor;
use crate::run::{FitData, evaluation_loader};
use crate::sources::Dataset;
use crate::train::options::TrainOptions;

/// Evaluates a model for several labels on one set after the other and keeps what it said.
pub(in crate::run) struct LabelRecorder<'a> {
    model: &'a Model,
    options: &'a TrainOptions,
    monitor: &'a dyn Monitor,
    predictions: LabelPredictions,
    kept: KeptImages,
}

impl<'a> LabelRecorder<'a> {
    /// For a model with its thresholds.
    pub fn new(model: &'a Model, options: &'a TrainOptions, data: &FitData, monitor: &'a dyn Monitor) -> Self {
        let labels = model.config().label_names().unwrap_or_default();
        Self { model, options, monitor, predictions: LabelPredictions::new(labels), kept: KeptImages::of(data) }
    }

    /// Evaluates a set.
    ///
    /// # Errors
    /// As [`crate::inference::evaluate`]; a label that the model does not know.
    pub fn evaluate(&mut self, name: &str, dataset: &Dataset) -> Result<Evaluation, InferenceError> {
        let Self { model, options, monitor, .. } = *self;
        let sets = inference::label_sets(model, dataset)?.ok_or(InferenceError::NoClassifier)?;
        let labels = sets.names().len();
        let thresholds = inference::thresholds(model, labels);
        let loader = evaluation_loader(dataset.clone(), model, options.batch_size, options.threads)?;
        let loader = loader.among(&options.processes);
        let preprocessing = model.config().preprocessing();
        let share = self.kept.share(dataset.len());
        let (mut images, mut hardest) = (Vec::with_capacity(dataset.len()), Hardest::default());
        let task = format!("evaluating {name}");
        let evaluation = evaluate_observed(model, &loader, &task, monitor, |batch, outputs| {
            let (width, pixels) = (outputs.pooled.len() / batch.n, batch.images.len() / batch.n);
            for (row, logits) in outputs.logits.chunks_exact(labels).enumerate() {
                let index = batch.indices[row];
                let own = sets.of_class(batch.labels[row]);
                let image = LabeledImage::of(dataset.samples[index].name.to_string(), own, logits, &thresholds);
                let seen = || image_of(&batch.images[row * pixels..(row + 1) * pixels], preprocessing);
                if share.takes(index) {
                    self.kept.add(&outputs.pooled[row * width..(row + 1) * width], &seen());
                }
                hardest.offer(image.loss(), index, || Tiles::tile(&seen(), HARDEST_SIDE));
                images.push(image);
            }
        })?;
        hardest.into_images().for_each(|tile| self.kept.add_hardest(&tile));
        self.predictions.sets.push((name.to_owned(), images));
        Ok(evaluation)
    }

    /// Writes what was kept into the run directory.
    ///
    /// # Errors
    /// Names the path and the reason.
    pub fn write(self, run: &Path) -> Result<(), FileError> {
        self.predictions.write(run)?;
        self.kept.write(run)
    }
}
