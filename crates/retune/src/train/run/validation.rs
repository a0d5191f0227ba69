//! How good the weights of a run are on its validation images, and the running statistics of weights made of several.

use crate::inference::{self, Evaluation};
use crate::models::Parameters;
use crate::train::TrainError;
use crate::train::options::TrainOptions;
use crate::train::run::Run;
use crate::train::running_statistics;

impl Run<'_> {
    /// Evaluates the weights that would be kept.
    pub fn validate(&self, task: &str) -> Result<Evaluation, TrainError> {
        self.evaluate(self.weights_to_keep().clone(), task)
    }

    /// The average over training where there is one, else the weights themselves.
    pub fn weights_to_keep(&self) -> &Parameters {
        let average = self.state.training.average.as_ref().filter(|average| average.count > 0);
        average.map_or(&self.state.model.parameters, |average| &average.parameters)
    }

    /// Evaluates any parameters on the validation images.
    pub(super) fn evaluate(&self, parameters: Parameters, task: &str) -> Result<Evaluation, TrainError> {
        let entered = self.entered_validation(&parameters)?;
        let model = self.state.model.with_parameters(parameters);
        let loader = &self.loaders.validation.loader;
        if let Some(activations) = entered
            && let Some(evaluation) =
                activations.evaluate(&model, loader, (self.trainer.options.batch_size, self.select()))?
        {
            return Ok(evaluation);
        }
        inference::evaluate_for(self.select(), &model, loader, task, self.monitor).map_err(TrainError::from)
    }

    /// Measures the running statistics of some blocks anew on the training images.
    pub fn recalibrate(&mut self, blocks: &[bool]) -> Result<(), TrainError> {
        let (images, seed) = (&self.loaders.plain.loader, self.trainer.options.seed);
        self.state.model.parameters =
            running_statistics::measure(&self.state.model, images, blocks, seed, self.monitor)?;
        Ok(())
    }

    /// Weights made of several others, such as an average, with running statistics of their own; blocks that are the
    /// same in `reference`, one of those others, keep theirs.
    pub fn renewed(&self, mixed: Parameters, reference: &Parameters) -> Result<Parameters, TrainError> {
        let TrainOptions { batch_norm, seed, .. } = self.trainer.options;
        let images = || Ok(self.loaders.plain.loader.clone());
        let mixed = self.state.model.with_parameters(mixed);
        Ok(running_statistics::renew(mixed, reference, batch_norm, images, seed, self.monitor)?.parameters)
    }
}
