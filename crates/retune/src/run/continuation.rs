//! Going on after the end of a run: what a new run begins with that trains its model further.

use std::path::Path;

use super::{FitError, FitOptions, ModelSource, PreprocessingChange, finished, read_options, read_plan};
use crate::models::HeadInitialization;
use crate::plan::{Gradient, Phase, Plan, Solver};

/// The options and the plan of a run that goes on from another's final model, its head included.
#[derive(Clone, Debug, PartialEq)]
pub struct Continuation {
    /// Those of the run, on its model. A budget is spent, and the images are prepared as the model says.
    pub options: FitOptions,
    /// The last descent and what follows it, at the learning rate that was chosen. The schedule begins anew.
    pub plan: Plan,
    /// Epochs of the descent after which the run's model was kept.
    pub epochs_before: usize,
}

impl Continuation {
    /// Of a finished run.
    ///
    /// # Errors
    /// A directory that is no run, or is not finished; a run without gradient descent.
    pub fn of(run: &Path) -> Result<Self, FitError> {
        let options = read_options(run)?;
        let summary = finished(run)?.ok_or_else(|| FitError::Unfinished(run.to_owned()))?;
        let mut plan = read_plan(run)?;
        let descends = |phase: &Phase| matches!(phase.solver, Solver::Gradient(_));
        let last = plan.phases.iter().rposition(descends).ok_or_else(|| FitError::NoDescent(run.to_owned()))?;
        plan.phases.drain(..last);

        let outcome = summary.phases.get(last);
        if let Solver::Gradient(settings) = &mut plan.phases[0].solver {
            let chosen = outcome.and_then(|outcome| Some(vec![outcome.learning_rate?]));
            let averaged = outcome.and_then(|outcome| outcome.soup.clone());
            *settings = Gradient {
                learning_rates: chosen.or(averaged).unwrap_or_else(|| settings.learning_rates.clone()),
                rungs: Vec::new(),
                // What has been drawn anew and unfrozen is trained now.
                reinitialize: Vec::new(),
                frozen_epochs: Default::default(),
                warmup_epochs: 0.0,
                ..settings.clone()
            };
        }
        let path = std::path::absolute(run).unwrap_or_else(|_| run.to_owned());
        let mut options = FitOptions {
            model: ModelSource { path: Some(path), architecture: None, from_scratch: false, classes: None },
            head_initialization: HeadInitialization::Keep,
            preprocessing: PreprocessingChange::default(),
            ..options
        };
        options.train.budget = None;
        Ok(Self { options, plan, epochs_before: outcome.map_or(0, |outcome| outcome.epoch) })
    }

    /// The settings of the descent.
    pub fn descent(&self) -> &Gradient {
        let Solver::Gradient(settings) = &self.plan.phases[0].solver else {
            unreachable!("the first phase is the descent that the run ended with")
        };
        settings
    }

    /// The same with other settings of the descent.
    #[must_use]
    pub fn with_descent(mut self, settings: Gradient) -> Self {
        self.plan.phases[0].solver = Solver::Gradient(settings);
        self
    }
}
