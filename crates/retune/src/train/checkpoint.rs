//! `checkpoint/`: everything that a run needs to go on as if it had never stopped.
//!
//! A checkpoint is a folder that is swapped in whole: a new one is written beside it, then renamed.

mod progress;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

pub(super) use self::progress::WorkDone;
use self::progress::{Origin, Saved, SavedEpoch, SavedFormat};
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
    /// Whether the checkpoint that is there holds the parameters that the run began with.
    has_initial: bool,
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
        Some(Self { directory, origin, has_initial: false })
    }

    /// Whether there is a checkpoint to resume from.
    pub fn exist(&self) -> bool {
        exists(&self.directory)
    }

    /// Writes the state, replacing the checkpoint before in one rename.
    pub fn save(&mut self, state: &State, done: WorkDone) -> Result<(), TrainError> {
        let directory = &self.directory;
        let beside = with_suffix(directory, ".partial");
        clear(&beside)?;
        let written = self.write_initial(&beside, state).and_then(|()| self.write_changing(&beside, state, done));
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
        self.has_initial = true;
        let _ = fs::remove_dir_all(&before);
        Ok(())
    }

    /// The parameters that the run began with never change: the new checkpoint gets a link to the file that the one before
    /// has, where the file system knows links.
    fn write_initial(&self, directory: &Path, state: &State) -> Result<(), TrainError> {
        fs::create_dir(directory).map_err(|error| FileError::new("create the folder", directory, error))?;
        let path = directory.join(INITIAL);
        if self.has_initial && fs::hard_link(self.directory.join(INITIAL), &path).is_ok() {
            return Ok(());
        }
        Ok(weights::write_safetensors(&path, &state.initial)?)
    }

    fn write_changing(&self, directory: &Path, state: &State, done: WorkDone) -> Result<(), TrainError> {
        let training = &state.training;
        let specs = &state.model.network().specs;
        let write = |name: &str, parameters: &Parameters| write_changed(directory, name, parameters, &state.initial);
        write(CURRENT, &state.model.parameters)?;
        // At the end of a phase, the next one starts from here.
        if !state.phase_start.equal(&state.model.parameters)? {
            write(PHASE_START, &state.phase_start)?;
        }
        let average = training.average.as_ref().map(|average| &average.parameters);
        for (name, parameters) in [(PREVIOUS_START, state.previous_start.as_ref()), (AVERAGE, average)] {
            if let Some(parameters) = parameters {
                write(name, parameters)?;
            }
        }
        if let Some(best) = &training.best {
            write_epoch(directory, BEST, best, &state.initial)?;
        }
        for (number, candidate) in state.candidates.iter().enumerate() {
            write_epoch(directory, &candidate_file(number), candidate, &state.initial)?;
        }
        let names = specs.iter().map(|spec| spec.name.clone());
        weights::write_tensors(&directory.join(OPTIMIZER), training.optimizer.tensors(names)?)?;
        if let Some(adapters) = &state.merged_adapters {
            weights::write_tensors(&directory.join(low_rank_file(MERGED)), adapters.tensors(specs)?)?;
        }
        let mut adapter_updates = Vec::new();
        if let Some(adapters) = &training.adapters {
            let (tensors, updates) = adapters.tensors(specs)?;
            weights::write_tensors(&directory.join(ADAPTERS), tensors)?;
            adapter_updates = updates;
        }
        let text = serde_json::to_string_pretty(&Saved {
            format: FORMAT,
            origin: self.origin.clone(),
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
        })
        .map_err(|error| self.misfit(error.to_string()))?;
        files::write_atomically(&directory.join(PROGRESS_FILE), |out| out.write_all(text.as_bytes()))?;
        Ok(())
    }

    fn misfit(&self, reason: String) -> TrainError {
        TrainError::Checkpoint { path: self.directory.clone(), reason }
    }

    /// Reads what [`Checkpoints::save`] wrote into `fresh`, the state of the same run before its first step.
    pub fn load(&mut self, fresh: State, plan: &Plan, options: &TrainOptions) -> Result<(State, WorkDone), TrainError> {
        // An interruption between the two renames leaves the checkpoint under its old name.
        let before = with_suffix(&self.directory, ".before");
        let directory = if self.directory.exists() { &self.directory } else { &before };
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

/// Writes the tensors that are no longer, to the bit, what they were at the start of the run.
fn write_changed(
    directory: &Path,
    name: &str,
    parameters: &Parameters,
    initial: &Parameters,
) -> Result<(), TrainError> {
    let differing = parameters.differing(initial)?.into_iter().enumerate();
    let changed = differing.filter(|(_, differs)| *differs).map(|(index, _)| index);
    Ok(weights::write_tensors(&directory.join(name), weights::named_tensors(parameters, changed)?)?)
}

/// Reads what [`write_changed`] wrote.
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

fn write_epoch(directory: &Path, name: &str, epoch: &BestEpoch, initial: &Parameters) -> Result<(), TrainError> {
    write_changed(directory, name, &epoch.parameters, initial)?;
    if let Some(adapters) = &epoch.adapters {
        let tensors = adapters.tensors(epoch.parameters.specs())?;
        weights::write_tensors(&directory.join(low_rank_file(name)), tensors)?;
    }
    Ok(())
}

fn low_rank_file(name: &str) -> String {
    format!("low_rank-{name}")
}

fn candidate_file(number: usize) -> String {
    format!("candidate-{number}.safetensors")
}

/// Whether there is a checkpoint to resume from.
pub(super) fn exists(directory: &Path) -> bool {
    directory.exists() || with_suffix(directory, ".before").exists()
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
        assert!(read_changed(folder.path(), "some.safetensors", &base).unwrap().equal(&changed).unwrap());

        write_changed(folder.path(), "none.safetensors", &base, &base).unwrap();
        assert!(read_changed(folder.path(), "none.safetensors", &base).unwrap().equal(&base).unwrap());
    }
}
