//! A run in progress: the phases of a plan, one after the other.

mod combination;
mod epoch_batches;
mod label_probes;
mod logistic_regression;
mod validation;

use std::time::Instant;

use self::epoch_batches::Entered;
pub(super) use self::logistic_regression::fit_probe;
use super::checkpoint::{Checkpoints, WorkDone};
use super::loaders::Loaders;
use super::metrics::MetricsFile;
use super::pacing::PhaseTime;
use super::shared::Shared;
use super::state::{State, Training};
use super::{Line, PhaseOutcome, TrainError, Trained, Trainer, keys};
use crate::device::DeviceError;
use crate::inference::Metric;
use crate::models::{Model, Parameters};
use crate::monitor::{MetricsRow, Monitor};
use crate::plan::{Plan, Solver};

/// Least seconds between the checkpoints of two epochs, unless checkpoints are asked for. Where an epoch takes a second, another
/// thread writes for a third of that.
const SECONDS_BETWEEN_CHECKPOINTS: f64 = 30.0;

/// A run in progress.
pub(super) struct Run<'a> {
    pub trainer: &'a Trainer,
    pub plan: &'a Plan,
    pub monitor: &'a dyn Monitor,
    pub state: State,
    pub loaders: Loaders,
    metrics: MetricsFile,
    checkpoints: Option<Checkpoints>,
    /// How many seconds of work went before the last checkpoint that this process began to write.
    last_checkpoint: Option<f64>,
    shared: Shared,
    started: Instant,
    seconds_before: f64,
    /// What enters the first trained block, as long as it is known to hold.
    entered: Option<Entered>,
}

impl<'a> Run<'a> {
    /// A run before its first step.
    pub fn start(
        trainer: &'a Trainer,
        plan: &'a Plan,
        model: Model,
        monitor: &'a dyn Monitor,
    ) -> Result<Self, TrainError> {
        let checkpoints = Checkpoints::new(trainer, plan, &model);
        let state = State::new(model, trainer.options.optimizer, plan.phases.first());
        Self::with(trainer, plan, monitor, state, checkpoints, WorkDone::default())
    }

    /// The run that the directory's checkpoint is of, or one before its first step where there is none.
    pub fn resume(
        trainer: &'a Trainer,
        plan: &'a Plan,
        model: Model,
        monitor: &'a dyn Monitor,
    ) -> Result<Self, TrainError> {
        let mut checkpoints = Checkpoints::new(trainer, plan, &model);
        // All processes read the checkpoint; `with` waits for them before the first one writes another.
        let fresh = State::new(model, trainer.options.optimizer, plan.phases.first());
        let (state, done) = match &mut checkpoints {
            Some(checkpoints) if checkpoints.exist() => checkpoints.load(fresh, plan, &trainer.options)?,
            _ => (fresh, WorkDone::default()),
        };
        Self::with(trainer, plan, monitor, state, checkpoints, done)
    }

    fn with(
        trainer: &'a Trainer,
        plan: &'a Plan,
        monitor: &'a dyn Monitor,
        state: State,
        checkpoints: Option<Checkpoints>,
        done: WorkDone,
    ) -> Result<Self, TrainError> {
        let processes = &trainer.options.processes;
        trainer.options.check_device(&state.model.parameters.tensors()[0].device())?;
        trainer.options.check_processes(&state.model)?;
        if processes.are_several() && !processes.agree_on(keys::start_key(trainer, plan, &state)?) {
            return Err(TrainError::ProcessesDiffer);
        }
        let directory = trainer.directory.as_ref().filter(|_| processes.is_root());
        let metrics_path = directory.map(|directory| directory.join("metrics.jsonl"));
        let metrics = MetricsFile::open(metrics_path.as_deref(), done.metrics_bytes)?;
        let shared = trainer.shared();
        let loaders = Loaders::new(trainer, &state.model, &shared)?;
        let (started, seconds_before) = (Instant::now(), done.seconds);
        Ok(Self {
            trainer,
            plan,
            monitor,
            state,
            loaders,
            metrics,
            checkpoints,
            last_checkpoint: None,
            shared,
            started,
            seconds_before,
            entered: None,
        })
    }

    /// Writes down a row of metrics, and tells the monitor.
    pub(super) fn record(&mut self, row: &MetricsRow) -> Result<(), TrainError> {
        self.metrics.append(row)?;
        self.monitor.measured(row);
        Ok(())
    }

    /// Runs what is left of the plan. The last checkpoint is on the disk afterward, also where this is interrupted.
    pub fn finish(mut self) -> Result<Trained, TrainError> {
        let ended = self.run_phases();
        if matches!(ended, Ok(()) | Err(TrainError::Interrupted)) {
            self.finish_checkpoint()?;
        }
        ended?;
        let seconds = self.seconds();
        self.tell_time_together();
        let state = self.state;
        let line = match self.plan.phases.last().map(|phase| &phase.solver) {
            Some(Solver::Interpolation(_)) => {
                state.previous_start.map(|start| Line { start, end: state.phase_start.clone() })
            }
            _ => None,
        };
        Ok(Trained { model: state.model, phases: state.outcomes, line, low_rank: state.merged_adapters, seconds })
    }

    fn run_phases(&mut self) -> Result<(), TrainError> {
        let phases = &self.plan.phases;
        while let Some(phase) = phases.get(self.state.outcomes.len()) {
            let outcome = match &phase.solver {
                Solver::LogisticRegression(settings) => self.logistic_regression(phase, settings)?,
                Solver::Gradient(settings) => self.gradient_descent(phase, settings)?,
                Solver::Interpolation(settings) => self.interpolate(phase, settings)?,
            };
            self.end_phase(outcome)?;
        }
        self.check_frozen()?;
        self.check_adapters()?;
        Ok(())
    }

    /// Notes what a phase found, and makes its model the one that the next phase starts from.
    fn end_phase(&mut self, outcome: PhaseOutcome) -> Result<(), TrainError> {
        let solver = |phase: usize| self.plan.phases.get(phase).map(|phase| &phase.solver);
        let (ended, next) = (self.state.outcomes.len(), self.state.outcomes.len() + 1);
        let interpolates = |phase: usize| matches!(solver(phase), Some(Solver::Interpolation(_)));
        let ends_with_interpolation = solver(next).is_none() && interpolates(ended);
        let next_interpolates = interpolates(next);
        let next_descends = matches!(solver(next), Some(Solver::Gradient(_)));

        let state = &mut self.state;
        state.outcomes.push(outcome);
        // Whatever gradient descent gives takes the place of the low-rank changes so far.
        if next_descends {
            state.merged_adapters = None;
        }
        // The ends of a last interpolation stay, for the curve between them.
        if !ends_with_interpolation {
            let start = std::mem::replace(&mut state.phase_start, state.model.parameters.clone());
            state.previous_start = next_interpolates.then_some(start);
        }
        state.candidate = 0;
        state.tried.clear();
        state.candidates.clear();
        state.time = PhaseTime::default();
        self.state.training = self.fresh_training();
        self.save_checkpoint()
    }

    /// The number by which validation chooses.
    pub fn select(&self) -> Metric {
        self.trainer.options.select
    }

    /// Training in the present phase before its first step.
    pub fn fresh_training(&self) -> Training {
        let phase = self.plan.phases.get(self.state.outcomes.len());
        Training::new(&self.state.model, self.trainer.options.optimizer, phase)
    }

    /// Seconds of work, those before an interruption included.
    pub fn seconds(&self) -> f64 {
        self.trainer.options.processes.seconds_of_root(self.seconds_before + self.started.elapsed().as_secs_f64())
    }

    /// Writes a checkpoint at the end of an epoch, unless there is one that is almost as good.
    ///
    /// # Errors
    /// As [`Run::save_checkpoint`].
    pub fn save_checkpoint_of_epoch(&mut self) -> Result<(), TrainError> {
        self.checkpoints.as_mut().map_or(Ok(()), Checkpoints::check)?;
        let seconds = self.seconds();
        let is_old = self.last_checkpoint.is_none_or(|last| seconds - last >= SECONDS_BETWEEN_CHECKPOINTS);
        if is_old || self.trainer.options.checkpoint_every.is_some() { self.save_checkpoint() } else { Ok(()) }
    }

    /// Begins to write a checkpoint, if the run has a directory. An error shows at the next checkpoint, at the end of an epoch, or
    /// when the run ends.
    ///
    /// # Errors
    /// What the previous checkpoint failed in; what the device failed in.
    pub fn save_checkpoint(&mut self) -> Result<(), TrainError> {
        let seconds = self.seconds();
        self.last_checkpoint = Some(seconds);
        let Some(checkpoints) = &mut self.checkpoints else { return Ok(()) };
        if !self.trainer.options.processes.is_root() {
            return Ok(());
        }
        self.metrics.sync()?;
        checkpoints.save(&self.state, WorkDone { metrics_bytes: self.metrics.bytes(), seconds })
    }

    /// Waits until the last checkpoint is on the disk.
    fn finish_checkpoint(&mut self) -> Result<(), TrainError> {
        self.checkpoints.as_mut().map_or(Ok(()), Checkpoints::wait)
    }

    /// Says how much of the time the processes spent on each other.
    fn tell_time_together(&self) {
        let processes = &self.trainer.options.processes;
        if processes.are_several() {
            let (together, all) = (processes.seconds(), self.started.elapsed().as_secs_f64());
            let told =
                format!("{together:.1} of {all:.1} seconds went into exchange between processes, waiting included");
            self.monitor.detail(&told);
        }
    }

    /// Forgets low-rank changes that, with the head, do not make the model out of the one that the run began with.
    fn check_adapters(&mut self) -> Result<(), DeviceError> {
        let model = &self.state.model;
        let (initial, parameters) = (&self.state.initial, &model.parameters);
        let adapters = self.state.merged_adapters.as_ref();
        let unexplained = adapters.map(|adapters| adapters.first_unexplained(initial, parameters, model.head()));
        if let Some(name) = unexplained.transpose()?.flatten() {
            let told =
                format!("the low-rank changes do not make the whole model ('{name}' differs): no adapter of them");
            self.monitor.message(&told);
            self.state.merged_adapters = None;
        }
        Ok(())
    }

    /// Checks that every parameter that no phase changes is byte for byte as it was.
    fn check_frozen(&self) -> Result<(), TrainError> {
        let model = &self.state.model;
        let changed = self.plan.changed_parameters(model.blocks(), &model.network().specs);
        match first_difference(&self.state.initial, &model.parameters, &changed)? {
            Some(name) => Err(TrainError::FrozenChanged(name)),
            None => Ok(()),
        }
    }
}

/// Name of the first parameter outside `changed` whose bits differ.
///
/// # Errors
/// What the device failed in.
pub(crate) fn first_difference(
    before: &Parameters,
    after: &Parameters,
    changed: &[bool],
) -> Result<Option<String>, DeviceError> {
    let mut specs = before.specs().iter().zip(changed).zip(before.differing(after)?);
    Ok(specs.find(|((_, changed), differs)| !**changed && *differs).map(|((spec, _), _)| spec.name.clone()))
}
