//! The options of a run, from the groups of options that `fit` and `compare` share.

use std::path::Path;

use retune::models::HeadInitialization;
use retune::run::{FitOptions, ModelSource};

use super::data::EvaluationArguments;
use super::location::locate_data;
use super::model::{ModelArguments, PreprocessingArguments, absolute};
use super::training::TrainingArguments;
use crate::failure::Failure;
use crate::output::Console;

/// Groups of options that make a run together.
pub struct RunArguments<'a> {
    /// The images to train on.
    pub data: &'a Path,
    /// The pretrained model.
    pub model: &'a ModelArguments,
    /// Further sets.
    pub evaluations: &'a EvaluationArguments,
    /// How to train.
    pub training: &'a TrainingArguments,
    /// Changes to the model's preprocessing.
    pub preprocessing: &'a PreprocessingArguments,
}

impl RunArguments<'_> {
    /// The library's options, with absolute paths, so that the run can be resumed from another folder.
    pub fn options(&self, console: &Console) -> Result<FitOptions, Failure> {
        self.options_of(self.model.source(console)?, console)
    }

    /// The same for a model that other options name.
    pub fn options_of(&self, model: ModelSource, console: &Console) -> Result<FitOptions, Failure> {
        let mut evaluations = self.evaluations.sources(console)?;
        for evaluation in &mut evaluations {
            evaluation.path = absolute(&evaluation.path);
        }
        let uses_head =
            matches!(self.training.head.initialization(), HeadInitialization::Keep | HeadInitialization::Known);
        if self.model.names_classes() && !uses_head {
            let reason = "--classes names the classes of the model's own head, but a new head takes the classes of the data; add \
                          --head-init keep or known, or leave out --classes";
            return Err(Failure::Mistake(reason.to_owned()));
        }
        Ok(FitOptions {
            data: absolute(&locate_data(self.data, console)?),
            validation_fraction: self.training.val_fraction,
            split_by: self.training.split_by,
            head_initialization: self.training.head.initialization(),
            device: self.model.device.clone(),
            model,
            preprocessing: self.preprocessing.change(),
            train: self.training.options(console.threads, &self.model.device),
            skip_bad: self.training.skip_bad,
            multi_label: self.training.multi_label,
            evaluations,
        })
    }
}
