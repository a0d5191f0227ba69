//! `checkpoint/`: everything that a run needs to go on as if it had never stopped.
//!
//! The state is captured (`snapshot.rs`, `progress.rs`) and written by a thread while training goes on. The folder is swapped
//! in whole (`folder.rs`).

mod folder;
mod progress;
mod snapshot;

use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

pub(super) use self::folder::{exists, remove};
pub(super) use self::progress::WorkDone;
use self::progress::{Origin, Saved, SavedEpoch, SavedFormat};
use self::snapshot::Snapshot;
use super::average::WeightAverage;
use super::low_rank::{Adapters, TrainedAdapters};
use super::optimizer::ParameterState;
use super::options::TrainOptions;
use super::pacing::Pacing;
use super::state::{BestEpoch, State, Training};
use super::trainer::checkpoint_directory;
use super::{TrainError, Trainer, keys};
use crate::files::{self, FileError};
use crate::models::weights;
use crate::models::{Model, Parameters};
use crate::plan::{Plan, Solver};
use crate::sources::ClassChange;

/// Raised whenever checkpoints of the version before would be misread, or their keys are made of something else.
pub(super) const FORMAT: u32 = 2;
const PROGRESS_FILE: &str = "progress.json";
const CURRENT: &str = "current.safetensors";
const INITIAL: &str = "initial.safetensors";
const PHASE_START: &str = "phase_start.safetensors";
const PREVIOUS_START: &str = "previous_start.safetensors";
const BEST: &str = "best.safetensors";
const AVERAGE: &str = "average.safetensors";
const MERGED: &str = "merged.safetensors";
const ADAPTERS: &str = "adapters.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";

/// Where a run keeps its checkpoint.
pub(super) struct Checkpoints {
    directory: PathBuf,
    origin: Origin,
    /// The parameters that the run began with, on the CPU, since the first checkpoint of this process.
    initial: Option<Parameters>,
    /// Whether the checkpoint that is there, or being written, has a file of them.
    has_initial: bool,
    /// The thread that writes the last checkpoint, until somebody waits for it.
    writing: Option<JoinHandle<Result<(), TrainError>>>,
}

impl Checkpoints {
    /// Those of a run of `plan` that begins with `model`; `None` if the trainer keeps nothing on disk.
    pub fn new(trainer: &Trainer, plan: &Plan, model: &Model) -> Option<Self> {
        let directory = checkpoint_directory(trainer.directory.as_ref()?);
        let device = model.parameters.tensors()[0].device();
        let fused_kernels = retune_kernels::operators::are_enabled();
        let preprocessing = model.config().preprocessing();
        let origin = Origin {
            recipe: keys::recipe_key(plan, &trainer.options, preprocessing, &device, fused_kernels),
            images: keys::images_key(&trainer.train, &trainer.validation),
            classes: model.config().label_names().unwrap_or_default(),
        };
        Some(Self { directory, origin, initial: None, has_initial: false, writing: None })
    }

    /// Whether there is a checkpoint to resume from.
    pub fn exist(&self) -> bool {
        exists(&self.directory)
    }

    /// Begins to write the state, in place of the previous checkpoint. Training may go on meanwhile: a thread writes the files
    /// and waits for the disk.
    ///
    /// # Errors
    /// What the previous checkpoint failed in; what the device failed in; no thread for the writing.
    pub fn save(&mut self, state: &State, done: WorkDone) -> Result<(), TrainError> {
        self.wait()?;
        let initial = self.initial.take().map_or_else(|| state.initial.on_cpu(), Ok)?;
        self.initial = Some(initial.clone());
        let snapshot = Snapshot::of(state, initial, done, &self.origin)?;
        let directory = self.directory.clone();
        let unchanged = self.has_initial.then(|| directory.join(INITIAL));
        let write = move || folder::replace(&directory, |folder| snapshot.write(folder, unchanged.as_deref()));
        let begun = thread::Builder::new().name("checkpoint".to_owned()).spawn(write);
        self.writing = Some(begun.map_err(|error| FileError::new("write", &self.directory, error))?);
        self.has_initial = true;
        Ok(())
    }

    /// Waits until the last checkpoint is on the disk.
    ///
    /// # Errors
    /// What it failed in.
    pub fn wait(&mut self) -> Result<(), TrainError> {
        let written = self.writing.take().map(JoinHandle::join);
        written.unwrap_or(Ok(Ok(()))).unwrap_or_else(|panicked| resume_unwind(panicked))
    }

    /// The same, if the thread has ended: a full disk is no reason to go on until the next checkpoint.
    ///
    /// # Errors
    /// As [`Checkpoints::wait`].
    pub fn check(&mut self) -> Result<(), TrainError> {
        if self.writing.as_ref().is_some_and(JoinHandle::is_finished) { self.wait() } else { Ok(()) }
    }

    fn misfit(&self, reason: String) -> TrainError {
        TrainError::Checkpoint { path: self.directory.clone(), reason }
    }

    /// Reads what [`Checkpoints::save`] wrote into `fresh`, the state of the same run before its first step.
    ///
    /// # Errors
    /// A file that cannot be read, is damaged, or is of another run or version.
    pub fn load(&mut self, fresh: State, plan: &Plan, options: &TrainOptions) -> Result<(State, WorkDone), TrainError> {
        let directory = &folder::present(&self.directory);
        let saved = self.read_progress(directory)?;
        if !saved.fits(plan) {
            return Err(self.misfit("it is damaged, or of another plan".to_owned()));
        }
        let foreign = || self.misfit("it belongs to another model or plan".to_owned());

        let mut initial = fresh.model.parameters.clone();
        let initial_path = directory.join(INITIAL);
        weights::assign(&mut initial, weights::read_tensors(&initial_path)?, None, &initial_path)?;
        let read = |name: &str| read_changed(directory, name, &initial);
        let read_if_there = |name: &str| match directory.join(name).is_file() {
            true => read(name).map(Some),
            false => Ok(None),
        };
        let mut state = fresh;
        state.model.parameters = read(CURRENT)?;
        state.phase_start = read_if_there(PHASE_START)?.unwrap_or_else(|| state.model.parameters.clone());
        state.previous_start = read_if_there(PREVIOUS_START)?;

        let specs = state.model.network().specs.clone();
        // Those of the present phase or, where it has none, of the last one that had.
        let phases = plan.phases.iter().take(saved.outcomes.len() + 1).rev();
        let fresh_adapters = phases.into_iter().find_map(|phase| match &phase.solver {
            Solver::Gradient(settings) => {
                TrainedAdapters::of_phase(&state.model, settings, options.seed, options.optimizer)
            }
            _ => None,
        });
        let read_adapters = |name: &str| -> Result<Option<Adapters>, TrainError> {
            let path = directory.join(low_rank_file(name));
            if !path.is_file() {
                return Ok(None);
            }
            let mut adapters = fresh_adapters.clone().ok_or_else(foreign)?.adapters;
            let fits = adapters.restore(&specs, &mut weights::read_tensors(&path)?);
            if fits { Ok(Some(adapters)) } else { Err(foreign()) }
        };
        let read_epoch = |name: &str, saved: SavedEpoch| -> Result<BestEpoch, TrainError> {
            Ok(saved.with(read(name)?, read_adapters(name)?))
        };
        state.merged_adapters = read_adapters(MERGED)?;
        (state.candidate, state.tried) = (saved.candidate, saved.tried);
        let candidates = saved.candidates.into_iter().enumerate();
        state.candidates =
            candidates.map(|(number, saved)| read_epoch(&candidate_file(number), saved)).collect::<Result<_, _>>()?;

        state.training = Training::new(&state.model, options.optimizer, plan.phases.get(saved.outcomes.len()));
        let training = &mut state.training;
        training.best = saved.best.map(|saved| read_epoch(BEST, saved)).transpose()?;
        let average = read_if_there(AVERAGE)?;
        training.average = average.map(|parameters| WeightAverage { parameters, count: saved.averaged });
        if directory.join(ADAPTERS).is_file() {
            let mut adapters = fresh_adapters.clone().ok_or_else(foreign)?;
            let tensors = weights::read_tensors(&directory.join(ADAPTERS))?;
            if !adapters.restore(&specs, tensors, &saved.adapter_updates) {
                return Err(foreign());
            }
            training.adapters = Some(adapters);
        }
        let mut moments = weights::read_tensors(&directory.join(OPTIMIZER))?;
        if saved.updates.len() != specs.len() {
            return Err(foreign());
        }
        for (index, (spec, steps)) in specs.iter().zip(saved.updates).enumerate() {
            let values = &state.model.parameters.tensors()[index];
            training.optimizer.restore(index, ParameterState::of_tensors(&spec.name, steps, values, &mut moments));
        }
        (training.epoch, training.batch) = (saved.epoch, saved.batch);
        training.pacing = saved.pacing.unwrap_or_else(|| Pacing::after(saved.epoch));
        (training.validation_due, training.totals) = (saved.validation_due, saved.totals);
        training.measured = saved.measured;
        (state.outcomes, state.initial, state.time) = (saved.outcomes, initial, saved.time);
        self.has_initial = true;
        Ok((state, saved.done))
    }

    /// Reads what of the state is no tensor, and checks that it is of this run.
    fn read_progress(&self, directory: &Path) -> Result<Saved, TrainError> {
        let path = directory.join(PROGRESS_FILE);
        let text = files::read_text(&path)?;
        let unreadable =
            |error: serde_json::Error| TrainError::Checkpoint { path: path.clone(), reason: error.to_string() };
        let SavedFormat { format } = serde_json::from_str(&text).map_err(unreadable)?;
        if format != FORMAT {
            return Err(TrainError::CheckpointFormat { path: self.directory.clone() });
        }
        let saved: Saved = serde_json::from_str(&text).map_err(unreadable)?;
        if saved.origin.recipe != self.origin.recipe {
            let reason = "plan.toml, run.toml, or the choice of kernels has changed since the run began; put it back, or \
                          begin a new run";
            return Err(self.misfit(reason.to_owned()));
        }
        let change = ClassChange::between(&saved.origin.classes, &self.origin.classes);
        if let Some(change) = change.filter(|_| !saved.origin.classes.is_empty()) {
            return Err(self.misfit(format!("the data {change}; put it back, or begin a new run")));
        }
        if saved.origin.images != self.origin.images {
            let reason = "the images are no longer those that the run began with; put them back, or begin a new run";
            return Err(self.misfit(reason.to_owned()));
        }
        Ok(saved)
    }
}

impl Drop for Checkpoints {
    /// Whatever ends a run, the checkpoint that was begun is there afterward.
    fn drop(&mut self) {
        // Runs that end well or are interrupted have waited; others have an error of their own to tell.
        let _ = self.writing.take().map(JoinHandle::join);
    }
}

/// Reads what [`snapshot::Changed`] wrote.
///
/// # Errors
/// A file that cannot be read, or is of another model.
fn read_changed(directory: &Path, name: &str, initial: &Parameters) -> Result<Parameters, TrainError> {
    let path = directory.join(name);
    let mut tensors = weights::read_tensors(&path)?;
    let specs = initial.specs().iter().enumerate();
    let unchanged: Vec<usize> =
        specs.filter(|(_, spec)| !tensors.contains_key(&spec.name)).map(|(index, _)| index).collect();
    tensors.extend(weights::named_tensors(initial, unchanged)?);
    let mut parameters = initial.clone();
    weights::assign(&mut parameters, tensors, None, &path)?;
    Ok(parameters)
}

fn low_rank_file(name: &str) -> String {
    format!("low_rank-{name}")
}

fn candidate_file(number: usize) -> String {
    format!("candidate-{number}.safetensors")
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::snapshot::Changed;
    use super::*;
    use crate::train::optimizer::OptimizerOptions;

    #[test]
    fn a_checkpoint_holds_the_tensors_that_changed_and_reads_them_all() {
        let folder = tempfile::tempdir().unwrap();
        let initial = model().parameters;
        let head = initial.specs().len() - 1;
        let mut changed = initial.clone();
        // 0 and -0 are equal as numbers, and different tensors.
        let signed: Vec<f32> = initial.values(head).iter().map(|_| -0.0).collect();
        let unsigned: Vec<f32> = signed.iter().map(|value| value.abs()).collect();
        let mut base = initial.clone();
        base.set_values(head, unsigned);
        changed.set_values(head, signed);

        Changed::since(&base, &changed).unwrap().write(&folder.path().join("some.safetensors")).unwrap();
        let kept = weights::read_tensors(&folder.path().join("some.safetensors"))
            .map(|tensors| tensors.into_keys().collect::<Vec<_>>());
        assert_eq!(kept.unwrap(), [initial.specs()[head].name.clone()]);
        assert!(read_changed(folder.path(), "some.safetensors", &base).unwrap().equal(&changed).unwrap());

        Changed::since(&base, &base).unwrap().write(&folder.path().join("none.safetensors")).unwrap();
        assert!(read_changed(folder.path(), "none.safetensors", &base).unwrap().equal(&base).unwrap());
    }

    /// Training goes on while a checkpoint is written, and changes parameters and moments in place.
    #[test]
    fn what_is_written_is_the_state_at_the_moment_of_saving() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = State::new(model(), OptimizerOptions::default(), None);
        let step = |state: &mut State| {
            let gradients: Vec<_> =
                state.model.parameters.tensors().iter().map(|tensor| Some(tensor.ones_like())).collect();
            let rates = vec![1e-2; gradients.len()];
            state.training.optimizer.step(&mut state.model.parameters, gradients, &rates);
        };
        step(&mut state);
        let origin = Origin { recipe: 0, images: 0, classes: Vec::new() };
        let snapshot = || Snapshot::of(&state, state.initial.clone(), WorkDone::default(), &origin).unwrap();
        let [written_at_once, written_later] = [snapshot(), snapshot()];
        let [at_once, later] = ["at_once", "later"].map(|name| folder.path().join(name));
        folder::replace(&at_once, |folder| written_at_once.write(folder, None)).unwrap();
        step(&mut state);
        folder::replace(&later, |folder| written_later.write(folder, Some(&at_once.join(INITIAL)))).unwrap();
        for file in [CURRENT, INITIAL, PHASE_START, OPTIMIZER, PROGRESS_FILE] {
            let [at_once, later] = [&at_once, &later].map(|folder| files::read(&folder.join(file)).unwrap());
            assert!(at_once == later, "{file}");
        }
    }

    #[test]
    fn what_a_checkpoint_fails_in_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing/checkpoint");
        let origin = Origin { recipe: 0, images: 0, classes: Vec::new() };
        let mut checkpoints =
            Checkpoints { directory: missing, origin, initial: None, has_initial: false, writing: None };
        let state = State::new(model(), OptimizerOptions::default(), None);
        checkpoints.save(&state, WorkDone::default()).unwrap();
        let error = checkpoints.save(&state, WorkDone::default()).unwrap_err().to_string();
        assert!(error.contains("missing"), "{error}");
        checkpoints.wait().unwrap();
    }

    fn model() -> Model {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/resnet_basic");
        Model::load(&path, None, Clone::clone, &Device::default()).unwrap()
    }
}
