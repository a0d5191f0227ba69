//! `checkpoint/`: everything that a run needs to go on as if it had never stopped.
//!
//! A checkpoint is a folder that is swapped in whole: a new one is written beside it, then renamed.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::average::WeightAverage;
use super::low_rank::{Adapters, TrainedAdapters};
use super::optimizer::{Optimizer, ParameterState};
use super::{PhaseOutcome, TrainError};
use crate::files::{self, FileError};
use crate::inference::Evaluation;
use crate::models::weights::{self, NamedTensor};
use crate::models::{Model, ParameterSpec, Parameters};
use crate::plan::{Plan, Solver};
use crate::sources::ClassChange;

/// How far a run has come.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Index of the phase.
    pub phase: usize,
    /// Index of the learning rate that is being tried.
    pub candidate: usize,
    /// Epochs done with it.
    pub epoch: usize,
    /// Batches done in the present epoch.
    pub batch: usize,
    /// Whether the last of the epochs done is still to be validated.
    #[serde(default)]
    pub validation_due: bool,
    /// Sum of losses, right answers and images seen in the present epoch.
    pub running: RunningTotals,
    /// The best epoch of the present learning rate.
    pub best: Option<BestEpoch>,
    /// The best epochs of the learning rates that were tried and are kept.
    pub finished: Vec<BestEpoch>,
    /// Factor on the rate of each layer in the present epoch, where rates are adaptive, and of each
    /// parameter.
    pub multipliers: Option<(IndexMap<String, f64>, Vec<f64>)>,
    /// The phases that are done.
    pub outcomes: Vec<PhaseOutcome>,
    /// What the images were: see [`Trainer::images_key`](super::Trainer).
    pub images: u64,
    /// What the classes were called.
    #[serde(default)]
    pub classes: Vec<String>,
    /// What the plan and the options were: see [`Trainer::recipe_key`](super::Trainer).
    pub recipe: u64,
    /// Length of `metrics.jsonl` at this point.
    pub metrics_bytes: u64,
    /// Seconds of work up to this point.
    pub seconds: f64,
}

impl Progress {
    /// Whether a run of `plan` with so many parameters can have come here.
    pub fn fits(&self, plan: &Plan, parameters: usize) -> bool {
        let Some(phase) = plan.phases.get(self.phase) else { return self.phase == plan.phases.len() };
        let Solver::Gradient(settings) = &phase.solver else { return true };
        let is_tried =
            |best: &BestEpoch| best.candidate < settings.learning_rates.len() && best.epoch <= settings.epochs;
        self.candidate <= settings.learning_rates.len()
            && self.epoch <= settings.epochs
            && self.best.iter().chain(&self.finished).all(is_tried)
            && self.multipliers.as_ref().is_none_or(|(_, factors)| factors.len() == parameters)
    }
}

/// What an epoch has added up so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct RunningTotals {
    pub loss: f64,
    pub correct: usize,
    pub images: usize,
}

/// The epoch whose parameters a phase will hand on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct BestEpoch {
    pub candidate: usize,
    pub epoch: usize,
    pub validation: Evaluation,
}

/// A model at the end of an epoch.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub parameters: Parameters,
    /// The low-rank changes that are merged into the parameters.
    pub adapters: Option<Adapters>,
}

/// The state of a run between two steps.
pub(super) struct State {
    pub progress: Progress,
    /// The model as it is now.
    pub model: Model,
    /// Parameters at the start of the run, to check that frozen ones stay.
    pub initial: Parameters,
    /// Whether the run's checkpoint holds them already.
    pub initial_is_saved: bool,
    /// Parameters at the start of the present phase.
    pub phase_start: Parameters,
    /// Parameters at the start of the phase before, where the present one goes back to them.
    pub previous_start: Option<Parameters>,
    /// The best epoch of the present learning rate.
    pub best: Option<Snapshot>,
    /// The models that go with [`Progress::finished`].
    pub finished: Vec<Snapshot>,
    pub optimizer: Optimizer,
    pub average: Option<WeightAverage>,
    pub adapters: Option<TrainedAdapters>,
    /// Low-rank changes in the model that the phases so far made.
    pub final_adapters: Option<Adapters>,
}

/// Raised whenever checkpoints of the version before would be misread.
const FORMAT: u32 = 1;
const PROGRESS_FILE: &str = "progress.json";
const CURRENT: &str = "current.safetensors";
const INITIAL: &str = "initial.safetensors";
const PHASE_START: &str = "phase_start.safetensors";
const PREVIOUS_START: &str = "previous_start.safetensors";
const BEST: &str = "best.safetensors";
const AVERAGE: &str = "average.safetensors";
const FINAL: &str = "final.safetensors";
const ADAPTERS: &str = "adapters.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";

/// Writes the state to `directory`, replacing what was there in one rename.
pub(super) fn save(directory: &Path, state: &mut State) -> Result<(), TrainError> {
    let beside = with_suffix(directory, ".partial");
    clear(&beside)?;
    let written = write_initial(directory, &beside, state).and_then(|()| write_changing(&beside, state));
    if written.is_err() {
        // A full disk must not be left full of a checkpoint that nobody can use.
        let _ = fs::remove_dir_all(&beside);
        return written;
    }
    let parent = directory.parent().unwrap_or(directory);
    let rename = |from: &Path, to: &Path| {
        let renamed = fs::rename(from, to).and_then(|()| files::sync_folder(parent));
        renamed.map_err(|error| FileError::new("rename", from, error))
    };
    let before = with_suffix(directory, ".before");
    // Where there is none under its own name, the one before is all that there is, and stays.
    if directory.exists() {
        let _ = fs::remove_dir_all(&before);
        rename(directory, &before)?;
    }
    rename(&beside, directory)?;
    state.initial_is_saved = true;
    let _ = fs::remove_dir_all(&before);
    Ok(())
}

/// Removes what a killed process left half-written: what stayed of it would become part of the next checkpoint.
fn clear(directory: &Path) -> Result<(), TrainError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(FileError::new("remove", directory, error).into()),
        _ => Ok(()),
    }
}

/// Removes a run's checkpoint and what was left of others.
pub(super) fn remove(directory: &Path) {
    // The run is complete; what cannot be removed does no harm but take room.
    for suffix in [".partial", ".before", ""] {
        let _ = fs::remove_dir_all(with_suffix(directory, suffix));
    }
}

fn with_suffix(directory: &Path, suffix: &str) -> PathBuf {
    let mut name = directory.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The parameters that the run began with never change: the new checkpoint gets a link to the file that the one before
/// has, where the file system knows links.
fn write_initial(before: &Path, directory: &Path, state: &State) -> Result<(), TrainError> {
    fs::create_dir(directory).map_err(|error| FileError::new("create the folder", directory, error))?;
    let path = directory.join(INITIAL);
    if state.initial_is_saved && fs::hard_link(before.join(INITIAL), &path).is_ok() {
        return Ok(());
    }
    Ok(weights::write_safetensors(&path, &state.initial)?)
}

fn write_changing(directory: &Path, state: &State) -> Result<(), TrainError> {
    let write = |name: &str, parameters: &Parameters| write_changed(directory, name, parameters, &state.initial);
    write(CURRENT, &state.model.parameters)?;
    // At the end of a phase, the next one starts from here.
    if !state.phase_start.equal(&state.model.parameters) {
        write(PHASE_START, &state.phase_start)?;
    }
    let average = state.average.as_ref().map(|average| &average.parameters);
    for (name, parameters) in [(PREVIOUS_START, state.previous_start.as_ref()), (AVERAGE, average)] {
        if let Some(parameters) = parameters {
            write(name, parameters)?;
        }
    }
    if let Some(best) = &state.best {
        write_snapshot(directory, BEST, best, &state.initial)?;
    }
    for (number, snapshot) in state.finished.iter().enumerate() {
        write_snapshot(directory, &finished_file(number), snapshot, &state.initial)?;
    }
    weights::write_tensors(&directory.join(OPTIMIZER), optimizer_tensors(state))?;
    if let Some(adapters) = &state.final_adapters {
        let tensors = adapters.tensors(&state.model.network().specs);
        weights::write_tensors(&directory.join(low_rank_file(FINAL)), tensors)?;
    }
    let mut adapter_updates = Vec::new();
    if let Some(adapters) = &state.adapters {
        let (tensors, updates) = adapters.tensors(&state.model.network().specs);
        weights::write_tensors(&directory.join(ADAPTERS), tensors)?;
        adapter_updates = updates;
    }
    let text = serde_json::to_string_pretty(&Saved {
        format: FORMAT,
        progress: state.progress.clone(),
        updates: state.optimizer.states().iter().map(|state| state.steps).collect(),
        averaged: state.average.as_ref().map_or(0, |average| average.count),
        adapter_updates,
    })
    .map_err(|error| TrainError::Checkpoint { path: directory.to_owned(), reason: error.to_string() })?;
    files::write_atomically(&directory.join(PROGRESS_FILE), |out| out.write_all(text.as_bytes()))?;
    Ok(())
}

/// Writes the tensors that are no longer, to the bit, what they were at the start of the run.
fn write_changed(
    directory: &Path,
    name: &str,
    parameters: &Parameters,
    initial: &Parameters,
) -> Result<(), TrainError> {
    let changed = (0..parameters.specs().len()).filter(|index| !parameters.equal_at(initial, *index));
    let tensors = changed.map(|index| weights::named_tensor(parameters, index)).collect();
    Ok(weights::write_tensors(&directory.join(name), tensors)?)
}

/// Reads what [`write_changed`] wrote.
fn read_changed(directory: &Path, name: &str, initial: &Parameters) -> Result<Parameters, TrainError> {
    let path = directory.join(name);
    let mut tensors = weights::read_tensors(&path)?;
    for (index, spec) in initial.specs().iter().enumerate() {
        if !tensors.contains_key(&spec.name) {
            tensors.extend([weights::named_tensor(initial, index)]);
        }
    }
    let mut parameters = initial.clone();
    weights::assign(&mut parameters, tensors, None, &path)?;
    Ok(parameters)
}

fn write_snapshot(directory: &Path, name: &str, snapshot: &Snapshot, initial: &Parameters) -> Result<(), TrainError> {
    write_changed(directory, name, &snapshot.parameters, initial)?;
    if let Some(adapters) = &snapshot.adapters {
        let tensors = adapters.tensors(snapshot.parameters.specs());
        weights::write_tensors(&directory.join(low_rank_file(name)), tensors)?;
    }
    Ok(())
}

fn low_rank_file(name: &str) -> String {
    format!("low_rank-{name}")
}

#[derive(Serialize, Deserialize)]
struct Saved {
    /// Which files there are and what they mean.
    #[serde(default)]
    format: u32,
    progress: Progress,
    /// Optimizer updates of each parameter; integers do not fit a float tensor.
    updates: Vec<u64>,
    /// Steps or epochs that the average of weights holds.
    averaged: u64,
    /// Optimizer updates of each factor of low-rank changes.
    adapter_updates: Vec<u64>,
}

fn finished_file(number: usize) -> String {
    format!("finished-{number}.safetensors")
}

fn optimizer_tensors(state: &State) -> BTreeMap<String, NamedTensor> {
    let specs = state.model.network().specs.clone();
    let mut tensors = BTreeMap::new();
    for (spec, moments) in specs.iter().zip(state.optimizer.states()) {
        for (kind, values) in [("first", &moments.first), ("second", &moments.second)] {
            if !values.is_empty() {
                let tensor = NamedTensor { shape: vec![values.len()], values: values.clone() };
                tensors.insert(format!("{kind}.{}", spec.name), tensor);
            }
        }
    }
    tensors
}

/// Whether there is a checkpoint to resume from.
pub(super) fn exists(directory: &Path) -> bool {
    directory.exists() || with_suffix(directory, ".before").exists()
}

/// Reads what [`save`] wrote into `fresh`, the state of the same run before its first step, on the
/// images and with the plan and options of these keys; `adapters` makes the low-rank changes of the phase that the progress is in.
pub(super) fn load(
    directory: &Path,
    fresh: State,
    [images, recipe]: [u64; 2],
    adapters: impl FnOnce(&Progress) -> Option<TrainedAdapters>,
) -> Result<State, TrainError> {
    // An interruption between the two renames leaves the checkpoint under its old name.
    let before = with_suffix(directory, ".before");
    let directory = if directory.exists() { directory } else { &before };
    let path = directory.join(PROGRESS_FILE);
    let saved: Saved = serde_json::from_str(&files::read_text(&path)?)
        .map_err(|error| TrainError::Checkpoint { path, reason: error.to_string() })?;
    if saved.format != FORMAT {
        let reason = "another version of retune wrote it; go on with that one, or begin a new run".to_owned();
        return Err(TrainError::Checkpoint { path: directory.to_owned(), reason });
    }
    if saved.progress.recipe != recipe {
        let reason =
            "plan.toml, run.toml or --kernels is not as it was when the run began; put it back, or begin a new run";
        return Err(TrainError::Checkpoint { path: directory.to_owned(), reason: reason.to_owned() });
    }
    let classes = fresh.model.config().label_names().unwrap_or_default();
    let change = ClassChange::between(&saved.progress.classes, &classes);
    if let Some(change) = change.filter(|_| !saved.progress.classes.is_empty()) {
        let reason = format!("the data {change}; put it back, or begin a new run");
        return Err(TrainError::Checkpoint { path: directory.to_owned(), reason });
    }
    if saved.progress.images != images {
        let reason = "the images are no longer those that the run began with; put them back, or begin a new run";
        return Err(TrainError::Checkpoint { path: directory.to_owned(), reason: reason.to_owned() });
    }
    let foreign = || {
        let reason = "it belongs to another model or plan".to_owned();
        TrainError::Checkpoint { path: directory.to_owned(), reason }
    };

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
    (state.initial, state.initial_is_saved) = (initial.clone(), true);
    state.phase_start = read_if_there(PHASE_START)?.unwrap_or_else(|| state.model.parameters.clone());
    state.previous_start = read_if_there(PREVIOUS_START)?;
    let average = read_if_there(AVERAGE)?;
    state.average = average.map(|parameters| WeightAverage { parameters, count: saved.averaged });

    let specs = state.model.network().specs.clone();
    let fresh_adapters = adapters(&saved.progress);
    if directory.join(ADAPTERS).is_file() {
        let mut adapters = fresh_adapters.clone().ok_or_else(foreign)?;
        let tensors = weights::read_tensors(&directory.join(ADAPTERS))?;
        if !adapters.restore(&specs, tensors, &saved.adapter_updates) {
            return Err(foreign());
        }
        state.adapters = Some(adapters);
    }
    let read_adapters = |name: &str| -> Result<Option<Adapters>, TrainError> {
        let path = directory.join(low_rank_file(name));
        if !path.is_file() {
            return Ok(None);
        }
        let mut adapters = fresh_adapters.clone().ok_or_else(foreign)?.adapters;
        let fits = adapters.restore(&specs, &mut weights::read_tensors(&path)?);
        if fits { Ok(Some(adapters)) } else { Err(foreign()) }
    };
    let read_snapshot = |name: &str| -> Result<Snapshot, TrainError> {
        Ok(Snapshot { parameters: read(name)?, adapters: read_adapters(name)? })
    };
    state.final_adapters = read_adapters(FINAL)?;
    state.best = directory.join(BEST).is_file().then(|| read_snapshot(BEST)).transpose()?;
    let finished = 0..saved.progress.finished.len();
    state.finished = finished.map(|number| read_snapshot(&finished_file(number))).collect::<Result<_, _>>()?;
    let mut moments = weights::read_tensors(&directory.join(OPTIMIZER))?;
    if saved.updates.len() != specs.len() {
        return Err(foreign());
    }
    for (index, (spec, steps)) in specs.iter().zip(saved.updates).enumerate() {
        state.optimizer.restore(index, parameter_state(spec, steps, &mut moments));
    }
    state.progress = saved.progress;
    Ok(state)
}

fn parameter_state(spec: &ParameterSpec, steps: u64, moments: &mut BTreeMap<String, NamedTensor>) -> ParameterState {
    let mut take = |kind: &str| {
        let tensor = moments.remove(&format!("{kind}.{}", spec.name));
        tensor.filter(|tensor| tensor.values.len() == spec.len()).map(|tensor| tensor.values).unwrap_or_default()
    };
    ParameterState { steps, first: take("first"), second: take("second") }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn a_checkpoint_holds_the_tensors_that_changed_and_reads_them_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/resnet_basic");
        let initial = Model::load(&path, None, Clone::clone, &Device::default()).unwrap().parameters;
        let head = initial.specs().len() - 1;
        let mut changed = initial.clone();
        // 0 and -0 are equal as numbers, and different tensors.
        let signed: Vec<f32> = initial.values(head).iter().map(|_| -0.0).collect();
        let unsigned: Vec<f32> = signed.iter().map(|value| value.abs()).collect();
        let mut base = initial.clone();
        base.set_values(head, unsigned);
        changed.set_values(head, signed);

        write_changed(folder.path(), "some.safetensors", &changed, &base).unwrap();
        let kept = weights::read_tensors(&folder.path().join("some.safetensors"))
            .map(|tensors| tensors.into_keys().collect::<Vec<_>>());
        assert_eq!(kept.unwrap(), [initial.specs()[head].name.clone()]);
        assert!(read_changed(folder.path(), "some.safetensors", &base).unwrap().equal(&changed));

        write_changed(folder.path(), "none.safetensors", &base, &base).unwrap();
        assert!(read_changed(folder.path(), "none.safetensors", &base).unwrap().equal(&base));
    }
}
