//! Runs on images with several labels: what they cannot be combined with, and the thresholds that they choose.

use super::record::LabelRecorder;
use super::summary::summarize_by;
use super::{FitData, FitError, FitOptions, RunDirectory, Summary, evaluation_loader};
use crate::inference::{self, InferenceError, Metric};
use crate::models::{HeadInitialization, Model};
use crate::sources::{Dataset, LabelSets};
use crate::train::Trained;
use crate::train::options::Sampling;

/// Checks that options go together with several labels for each image, or with one.
///
/// # Errors
/// The first that does not.
pub(super) fn check(options: &FitOptions) -> Result<(), FitError> {
    let train = &options.train;
    let refuse = |what| Err(FitError::MultiLabel(what));
    match options.multi_label {
        false if train.select == Metric::MeanAveragePrecision => Err(FitError::SingleLabel),
        false => Ok(()),
        true if train.balanced_classes => refuse("class weights"),
        true if train.sampling == Sampling::Balanced => refuse("balanced sampling"),
        true if train.label_smoothing > 0.0 => refuse("label smoothing"),
        true => Ok(()),
    }
}

/// What the logits of a run's model stand for, in their order: the labels of images with several, or the data's classes.
///
/// # Errors
/// A head that is kept and is not one for several labels.
pub(super) fn class_names(options: &FitOptions, data: &FitData, pretrained: &Model) -> Result<Vec<String>, FitError> {
    let config = pretrained.config();
    match (options.multi_label, options.head_initialization) {
        (false, _) => Ok(data.train.classes.clone()),
        (true, HeadInitialization::Keep) if !config.is_multi_label() => Err(FitError::NoLabelsToKeep),
        (true, HeadInitialization::Keep) => Ok(config.label_names().unwrap_or_default()),
        (true, _) => Ok(LabelSets::of(&data.train.classes).names().to_vec()),
    }
}

impl RunDirectory<'_> {
    /// Chooses the labels' thresholds on validation, evaluates the model on every set by them, and keeps what it said of
    /// each image for the report.
    pub(super) fn evaluate_labels(&self, trained: &Trained) -> Result<Summary, FitError> {
        let Self { options, plan, data, monitor, .. } = *self;
        let (model, validation) = (&trained.model, &data.validation);
        let sets = inference::label_sets(model, validation)?.ok_or(InferenceError::NoClassifier)?;
        let loader = evaluation_loader(validation.clone(), model, options.train.batch_size, options.train.threads)
            .map_err(InferenceError::from)?;
        let loader = loader.among(&options.train.processes);
        let (mut logits, mut classes) = (Vec::new(), Vec::new());
        inference::evaluate_each(model, &loader, "choosing thresholds", monitor, |class, row| {
            logits.extend_from_slice(row);
            classes.push(class);
        })?;
        let thresholds = inference::best_thresholds(&logits, &classes, &sets);
        let model = model.clone().with_thresholds(thresholds.clone());
        let mut recorder = LabelRecorder::new(&model, &options.train, data, monitor);
        let of_validation = recorder.evaluate("val", validation)?;
        let mut evaluate = |name: &str, dataset: &Dataset| recorder.evaluate(name, dataset);
        let mut summary = summarize_by(plan, &options.train, trained, data, monitor, &mut evaluate)?;
        summary.splits.insert("val".to_owned(), of_validation);
        // Only the first process observes the images.
        if options.train.processes.is_root() {
            recorder.write(self.out)?;
        }
        summary.classes = sets.names().to_vec();
        summary.thresholds = Some(thresholds);
        Ok(summary)
    }
}
