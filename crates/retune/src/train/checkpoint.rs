//! `checkpoint/`: everything that a run needs to go on as if it had never stopped.
//!
//! A checkpoint is a folder that is swapped in whole: a new one is written beside it, then renamed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::optimizer::{Optimizer, ParameterState};
use super::{PhaseOutcome, TrainError};
use crate::files::{self, FileError};
use crate::inference::Evaluation;
use crate::models::weights::{self, NamedTensor};
use crate::models::{Model, ParameterSpec, Parameters};

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
    /// Sum of losses, right answers and images seen in the present epoch.
    pub running: RunningTotals,
    /// The best epoch of the present phase.
    pub best: Option<BestEpoch>,
    /// The phases that are done.
    pub outcomes: Vec<PhaseOutcome>,
    /// Length of `metrics.jsonl` at this point.
    pub metrics_bytes: u64,
    /// Seconds of work up to this point.
    pub seconds: f64,
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

/// The state of a run between two steps.
pub(super) struct State {
    pub progress: Progress,
    /// The model as it is now.
    pub model: Model,
    /// Parameters at the start of the run, to check that frozen ones stay.
    pub initial: Parameters,
    /// Parameters at the start of the present phase.
    pub phase_start: Parameters,
    /// Parameters of the best epoch of the present phase.
    pub best: Option<Parameters>,
    pub optimizer: Optimizer,
}

const PROGRESS_FILE: &str = "progress.json";
const CURRENT: &str = "current.safetensors";
const INITIAL: &str = "initial.safetensors";
const PHASE_START: &str = "phase_start.safetensors";
const BEST: &str = "best.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";

/// Writes the state to `directory`, replacing what was there in one rename.
pub(super) fn save(directory: &Path, state: &State) -> Result<(), TrainError> {
    let beside = with_suffix(directory, ".partial");
    let _ = fs::remove_dir_all(&beside);
    let written = write_all(&beside, state);
    if written.is_err() {
        // A full disk must not be left full of a checkpoint that nobody can use.
        let _ = fs::remove_dir_all(&beside);
        return written;
    }
    let before = with_suffix(directory, ".before");
    let _ = fs::remove_dir_all(&before);
    let rename = |from: &Path, to: &Path| fs::rename(from, to).map_err(|error| FileError::new("rename", from, error));
    if directory.exists() {
        rename(directory, &before)?;
    }
    rename(&beside, directory)?;
    let _ = fs::remove_dir_all(&before);
    Ok(())
}

fn with_suffix(directory: &Path, suffix: &str) -> PathBuf {
    let mut name = directory.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn write_all(directory: &Path, state: &State) -> Result<(), TrainError> {
    files::create_folder(directory)?;
    weights::write_safetensors(&directory.join(CURRENT), &state.model.parameters)?;
    weights::write_safetensors(&directory.join(INITIAL), &state.initial)?;
    weights::write_safetensors(&directory.join(PHASE_START), &state.phase_start)?;
    if let Some(best) = &state.best {
        weights::write_safetensors(&directory.join(BEST), best)?;
    }
    weights::write_tensors(&directory.join(OPTIMIZER), optimizer_tensors(state))?;
    let text = serde_json::to_string_pretty(&Saved {
        progress: state.progress.clone(),
        updates: state.optimizer.states().iter().map(|state| state.steps).collect(),
    })
    .map_err(|error| TrainError::Checkpoint { path: directory.to_owned(), reason: error.to_string() })?;
    files::write_atomically(&directory.join(PROGRESS_FILE), |out| out.write_all(text.as_bytes()))?;
    Ok(())
}

#[derive(Serialize, Deserialize)]
struct Saved {
    progress: Progress,
    /// Optimizer updates of each parameter; integers do not fit a float tensor.
    updates: Vec<u64>,
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

/// Reads what [`save`] wrote into a model of the same network and a new optimizer.
pub(super) fn load(directory: &Path, mut model: Model, mut optimizer: Optimizer) -> Result<State, TrainError> {
    // An interruption between the two renames leaves the checkpoint under its old name.
    let before = with_suffix(directory, ".before");
    let directory = if directory.exists() { directory } else { &before };
    let path = directory.join(PROGRESS_FILE);
    let saved: Saved = serde_json::from_str(&files::read_text(&path)?)
        .map_err(|error| TrainError::Checkpoint { path, reason: error.to_string() })?;

    let read = |name: &str, into: &mut Parameters| -> Result<(), TrainError> {
        let path = directory.join(name);
        Ok(weights::assign(into, weights::read_tensors(&path)?, None, &path)?)
    };
    let mut initial = model.parameters.clone();
    let mut phase_start = model.parameters.clone();
    read(CURRENT, &mut model.parameters)?;
    read(INITIAL, &mut initial)?;
    read(PHASE_START, &mut phase_start)?;
    let best = if directory.join(BEST).is_file() {
        let mut best = model.parameters.clone();
        read(BEST, &mut best)?;
        Some(best)
    } else {
        None
    };
    let mut moments = weights::read_tensors(&directory.join(OPTIMIZER))?;
    let specs = model.network().specs.clone();
    if saved.updates.len() != specs.len() {
        let reason = "it belongs to another model".to_owned();
        return Err(TrainError::Checkpoint { path: directory.to_owned(), reason });
    }
    for (index, (spec, steps)) in specs.iter().zip(saved.updates).enumerate() {
        optimizer.restore(index, parameter_state(spec, steps, &mut moments));
    }
    Ok(State { progress: saved.progress, model, initial, phase_start, best, optimizer })
}

fn parameter_state(spec: &ParameterSpec, steps: u64, moments: &mut BTreeMap<String, NamedTensor>) -> ParameterState {
    let mut take = |kind: &str| {
        let tensor = moments.remove(&format!("{kind}.{}", spec.name));
        tensor.filter(|tensor| tensor.values.len() == spec.len()).map(|tensor| tensor.values).unwrap_or_default()
    };
    ParameterState { steps, first: take("first"), second: take("second") }
}
