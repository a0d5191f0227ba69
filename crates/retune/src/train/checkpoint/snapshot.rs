//! What a checkpoint holds of a state, in the memory of the host, so that training can go on while it is written.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Tensor;

use super::progress::{Origin, Saved, SavedEpoch, WorkDone};
use super::{ADAPTERS, AVERAGE, BEST, CURRENT, FORMAT, INITIAL, MERGED, OPTIMIZER, PHASE_START, PREVIOUS_START};
use super::{PROGRESS_FILE, candidate_file, low_rank_file};
use crate::device::{self, DeviceError};
use crate::files;
use crate::models::weights::{self, NamedTensor, WeightsError};
use crate::models::{ParameterSpec, Parameters};
use crate::train::TrainError;
use crate::train::state::{BestEpoch, State};

/// A state at one moment, on the CPU. Parameters of the CPU share their memory with training until training changes them.
pub(super) struct Snapshot {
    /// The parameters that the run began with.
    initial: Parameters,
    /// Other parameters of the model, by file.
    parameters: Vec<(String, Changed)>,
    /// Moments and low-rank changes, by file.
    tensors: Vec<(String, BTreeMap<String, NamedTensor>)>,
    progress: Saved,
}

impl Snapshot {
    /// That of a run now. `initial` is on the CPU what the state began with.
    ///
    /// # Errors
    /// What the device failed in.
    pub fn of(state: &State, initial: Parameters, done: WorkDone, origin: &Origin) -> Result<Self, DeviceError> {
        let training = &state.training;
        let specs = &state.model.network().specs;
        let changed = |parameters: &Parameters| Changed::since(&state.initial, parameters);
        let (mut parameters, mut tensors) = (Vec::new(), Vec::new());

        parameters.push((CURRENT.to_owned(), changed(&state.model.parameters)?));
        // At the end of a phase, the next one starts from here.
        if !state.phase_start.equal(&state.model.parameters)? {
            parameters.push((PHASE_START.to_owned(), changed(&state.phase_start)?));
        }
        let average = training.average.as_ref().map(|average| &average.parameters);
        for (file, others) in [(PREVIOUS_START, state.previous_start.as_ref()), (AVERAGE, average)] {
            if let Some(others) = others {
                parameters.push((file.to_owned(), changed(others)?));
            }
        }
        let candidates = state.candidates.iter().enumerate();
        let candidates = candidates.map(|(number, candidate)| (candidate_file(number), candidate));
        let best = training.best.iter().map(|best| (BEST.to_owned(), best));
        for (file, BestEpoch { parameters: others, adapters, .. }) in best.chain(candidates) {
            if let Some(adapters) = adapters {
                tensors.push((low_rank_file(&file), adapters.tensors(specs)?));
            }
            parameters.push((file, changed(others)?));
        }
        let names = specs.iter().map(|spec| spec.name.clone());
        tensors.push((OPTIMIZER.to_owned(), training.optimizer.tensors(names)?));
        if let Some(adapters) = &state.merged_adapters {
            tensors.push((low_rank_file(MERGED), adapters.tensors(specs)?));
        }
        let mut adapter_updates = Vec::new();
        if let Some(adapters) = &training.adapters {
            let (factors, updates) = adapters.tensors(specs)?;
            tensors.push((ADAPTERS.to_owned(), factors));
            adapter_updates = updates;
        }
        let progress = Saved {
            format: FORMAT,
            origin: origin.clone(),
            done,
            outcomes: state.outcomes.clone(),
            candidate: state.candidate,
            tried: state.tried.clone(),
            candidates: state.candidates.iter().map(SavedEpoch::of).collect(),
            epoch: training.epoch,
            batch: training.batch,
            pacing: Some(training.pacing),
            time: state.time.clone(),
            validation_due: training.validation_due,
            totals: training.totals,
            measured: training.measured.clone(),
            best: training.best.as_ref().map(SavedEpoch::of),
            updates: training.optimizer.states().iter().map(|state| state.steps).collect(),
            averaged: training.average.as_ref().map_or(0, |average| average.count),
            adapter_updates,
        };
        Ok(Self { initial, parameters, tensors, progress })
    }

    /// Writes the files of a checkpoint into an empty folder. The parameters that the run began with never change: the
    /// folder gets a link to the file `initial`, if there is one, where the file system knows links.
    ///
    /// # Errors
    /// What cannot be written, such as on a full disk.
    pub fn write(self, folder: &Path, initial: Option<&Path>) -> Result<(), TrainError> {
        let path = folder.join(INITIAL);
        let is_linked = initial.is_some_and(|initial| fs::hard_link(initial, &path).is_ok());
        if !is_linked {
            weights::write_safetensors(&path, &self.initial)?;
        }
        for (file, changed) in self.parameters {
            changed.write(&folder.join(file))?;
        }
        for (file, tensors) in self.tensors {
            weights::write_tensors(&folder.join(file), tensors)?;
        }
        let path = folder.join(PROGRESS_FILE);
        let text = serde_json::to_string_pretty(&self.progress)
            .map_err(|error| TrainError::Checkpoint { path: path.clone(), reason: error.to_string() })?;
        files::write_atomically(&path, |out| out.write_all(text.as_bytes()))?;
        Ok(())
    }
}

/// The parameters that are no longer, to the bit, what they were at the start of the run.
pub(super) struct Changed {
    specs: Arc<[ParameterSpec]>,
    /// On the CPU, with their places in the model.
    tensors: Vec<(usize, Tensor<1>)>,
}

impl Changed {
    /// Those of `parameters`, which are on one device with `initial`.
    ///
    /// # Errors
    /// What the device failed in.
    pub fn since(initial: &Parameters, parameters: &Parameters) -> Result<Self, DeviceError> {
        let differing = parameters.differing(initial)?.into_iter().enumerate();
        let places: Vec<usize> = differing.filter(|(_, differs)| *differs).map(|(place, _)| place).collect();
        let tensors = places.iter().map(|&place| parameters.tensors()[place].clone()).collect();
        let tensors = places.into_iter().zip(device::on_cpu(tensors)?).collect();
        Ok(Self { specs: parameters.specs().clone(), tensors })
    }

    /// Writes them as `.safetensors`.
    ///
    /// # Errors
    /// Names the path and the reason, such as a full disk.
    pub fn write(&self, path: &Path) -> Result<(), WeightsError> {
        weights::write_parameters(path, self.tensors.iter().map(|(place, tensor)| (&self.specs[*place], tensor)))
    }
}
