//! A run in progress: phase after phase, candidate after candidate, epoch after epoch.

mod combining;
mod descending;
mod entering;
mod probing;

use std::sync::Arc;
use std::time::Instant;

pub(super) use self::descending::low_rank_changes;

use retune_pixels::augment::AugmentPolicy;

use super::checkpoint::{self, Progress, State};
use super::kept_features::KeptFeatures;
use super::metrics::MetricsFile;
use super::optimizer::Optimizer;
use super::shared::{Shared, loader_key};
use super::{Divergence, Line, PhaseOutcome, TrainError, Trained, Trainer};
use crate::loading::mix::Mix;
use crate::loading::{CacheOptions, Loader, LoaderOptions, MemoryBudget};
use crate::models::{Model, Parameters};
use crate::plan::{Phase, Solver};
use crate::sources::{DataError, Dataset};

/// A loader and what its batches depend on.
struct KeyedLoader {
    loader: Loader,
    key: u64,
}

impl KeyedLoader {
    fn new(dataset: &Dataset, options: &LoaderOptions, shared: Option<&Shared>) -> Result<Self, DataError> {
        let key = loader_key(dataset, options);
        let loader = match shared {
            Some(shared) => shared.loader(dataset, options)?,
            None => Loader::new(dataset.clone(), options.clone())?,
        };
        Ok(Self { loader, key })
    }
}

/// The training images as they are, the training images as the phases see them, and validation.
pub(super) struct Loaders {
    plain: KeyedLoader,
    training: KeyedLoader,
    validation: KeyedLoader,
}

impl Loaders {
    pub fn new(trainer: &Trainer, model: &Model) -> Result<Self, DataError> {
        let options = trainer.options;
        let plain_options = LoaderOptions {
            threads: options.threads,
            seed: options.seed,
            // One for all three, so that the memory of a run is what it was given.
            cache: CacheOptions { memory: MemoryBudget::of_bytes(options.cache_bytes), ..CacheOptions::default() },
            ..LoaderOptions::deterministic(model.config().preprocessing().clone(), options.batch_size)
        };
        let plain = KeyedLoader::new(trainer.train, &plain_options, trainer.shared)?;
        let changes_images = options.augmentation.policy != AugmentPolicy::None
            || options.mix != Mix::default()
            || options.label_smoothing > 0.0;
        let training = if changes_images {
            let options = LoaderOptions {
                augmentation: options.augmentation,
                mix: options.mix,
                label_smoothing: options.label_smoothing,
                ..plain_options.clone()
            };
            KeyedLoader::new(trainer.train, &options, trainer.shared)?
        } else {
            KeyedLoader { loader: plain.loader.clone(), key: plain.key }
        };
        let validation = KeyedLoader::new(trainer.validation, &plain_options, trainer.shared)?;
        Ok(Self { plain, training, validation })
    }

    /// The training images as the phases see them.
    pub fn into_training(self) -> Loader {
        self.training.loader
    }
}

/// How an epoch or a candidate ended.
enum Ending {
    Finished,
    Diverged(Divergence),
}

/// A run in progress.
pub(super) struct Run<'a> {
    trainer: &'a Trainer<'a>,
    state: State,
    metrics: MetricsFile,
    loaders: Loaders,
    started: Instant,
    seconds_before: f64,
    /// What a checkpoint's images and its recipe must be the same in.
    keys: [u64; 2],
    /// What enters the first trained block, as long as it is known to hold.
    entered: Option<entering::Entered>,
    /// Where that is kept if no other run is made together with this one.
    own: Shared,
}

impl<'a> Run<'a> {
    /// The run's first state, or the one in the directory's checkpoint.
    pub fn begin(trainer: &'a Trainer<'a>, model: Model, resume: bool) -> Result<Self, TrainError> {
        let fresh = State {
            progress: Progress::default(),
            initial: model.parameters.clone(),
            initial_is_saved: false,
            phase_start: model.parameters.clone(),
            previous_start: None,
            best: None,
            finished: Vec::new(),
            optimizer: Optimizer::new(trainer.options.optimizer, model.network().specs.len()),
            average: None,
            adapters: None,
            final_adapters: None,
            model: model.clone(),
        };
        let keys =
            if trainer.directory.is_some() { [trainer.images_key(), trainer.recipe_key(&model)] } else { [0; 2] };
        let state = match (resume, trainer.checkpoint_directory()) {
            (true, Some(directory)) if checkpoint::exists(&directory) => {
                let low_rank = |phase: &Phase| match &phase.solver {
                    Solver::Gradient(settings) => low_rank_changes(trainer, &model, settings),
                    _ => None,
                };
                checkpoint::load(&directory, fresh, keys, |progress| {
                    trainer.plan.phases.iter().take(progress.phase + 1).rev().find_map(low_rank)
                })?
            }
            _ => fresh,
        };
        if !state.progress.fits(trainer.plan, state.model.network().specs.len()) {
            let path = trainer.checkpoint_directory().unwrap_or_default();
            return Err(TrainError::Checkpoint { path, reason: "it is damaged, or of another plan".to_owned() });
        }
        let metrics_path = trainer.directory.map(|directory| directory.join("metrics.jsonl"));
        let metrics = MetricsFile::open(metrics_path.as_deref(), state.progress.metrics_bytes)?;
        let loaders = Loaders::new(trainer, &state.model)?;
        let seconds_before = state.progress.seconds;
        let started = Instant::now();
        let own = Shared::default();
        Ok(Self { trainer, state, metrics, loaders, started, seconds_before, keys, entered: None, own })
    }

    /// Runs what is left of the plan.
    pub fn finish(mut self) -> Result<Trained, TrainError> {
        let phases = &self.trainer.plan.phases;
        while let Some(phase) = phases.get(self.state.progress.phase) {
            let outcome = match &phase.solver {
                Solver::LogisticRegression(settings) => self.probe(phase, settings)?,
                Solver::Gradient(settings) => self.descend(phase, settings)?,
                Solver::Interpolation(settings) => self.interpolate(phase, settings)?,
            };
            self.end_phase(outcome)?;
        }
        self.check_frozen()?;
        self.check_low_rank();
        let seconds = self.seconds();
        let state = self.state;
        let line = match phases.last().map(|phase| &phase.solver) {
            Some(Solver::Interpolation(_)) => {
                state.previous_start.map(|start| Line { start, end: state.phase_start.clone() })
            }
            _ => None,
        };
        Ok(Trained {
            model: state.model,
            phases: state.progress.outcomes,
            line,
            low_rank: state.final_adapters,
            seconds,
        })
    }

    fn seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    fn end_phase(&mut self, outcome: PhaseOutcome) -> Result<(), TrainError> {
        let interpolates = |phase: usize| {
            let phase = self.trainer.plan.phases.get(phase);
            phase.is_some_and(|phase| matches!(phase.solver, Solver::Interpolation(_)))
        };
        let ended = self.state.progress.phase;
        let is_last = ended + 1 == self.trainer.plan.phases.len();
        let (ended_interpolates, next_interpolates) = (interpolates(ended), interpolates(ended + 1));
        let next = self.trainer.plan.phases.get(ended + 1).map(|phase| &phase.solver);

        let state = &mut self.state;
        // Whatever gradient descent gives takes the place of the low-rank changes so far.
        if matches!(next, Some(Solver::Gradient(_))) {
            state.final_adapters = None;
        }
        let mut outcomes = std::mem::take(&mut state.progress.outcomes);
        outcomes.push(outcome);
        state.progress = Progress { phase: ended + 1, outcomes, ..Progress::default() };
        // The ends of a last interpolation stay, for the curve between them.
        if !(is_last && ended_interpolates) {
            let start = std::mem::replace(&mut state.phase_start, state.model.parameters.clone());
            state.previous_start = next_interpolates.then_some(start);
        }
        (state.best, state.average, state.adapters) = (None, None, None);
        state.finished.clear();
        self.save_checkpoint()
    }

    fn save_checkpoint(&mut self) -> Result<(), TrainError> {
        if self.trainer.directory.is_none() {
            return Ok(());
        }
        self.metrics.sync()?;
        self.state.progress.metrics_bytes = self.metrics.bytes();
        [self.state.progress.images, self.state.progress.recipe] = self.keys;
        self.state.progress.classes = self.state.model.config().label_names().unwrap_or_default();
        self.state.progress.seconds = self.seconds();
        match self.trainer.checkpoint_directory() {
            Some(directory) => checkpoint::save(&directory, &mut self.state),
            None => Ok(()),
        }
    }

    /// The features that the head sees, shared with other runs where there are any; in memory as far as this suffices.
    fn features(&self, images: &KeyedLoader, memory_bytes: u64, task: &str) -> Result<Arc<KeptFeatures>, TrainError> {
        let (model, monitor) = (&self.state.model, self.trainer.monitor);
        match self.trainer.shared {
            Some(shared) => shared.features(model, &images.loader, images.key, memory_bytes, task, monitor),
            None => Ok(Arc::new(KeptFeatures::extract(model, &images.loader, memory_bytes, task, monitor)?)),
        }
    }

    /// Forgets low-rank changes that, with the head, do not make the model out of the one that the run began with.
    fn check_low_rank(&mut self) {
        let model = &self.state.model;
        let (initial, parameters) = (&self.state.initial, &model.parameters);
        let adapters = self.state.final_adapters.as_ref();
        let unexplained = adapters.and_then(|adapters| adapters.first_unexplained(initial, parameters, model.head()));
        if let Some(name) = unexplained {
            let told =
                format!("the low-rank changes do not make the whole model ('{name}' differs): no adapter of them");
            self.trainer.monitor.message(&told);
            self.state.final_adapters = None;
        }
    }

    /// Checks that every parameter that no phase changes is byte for byte as it was.
    fn check_frozen(&self) -> Result<(), TrainError> {
        let model = &self.state.model;
        let changed = self.trainer.plan.changed_parameters(model.blocks(), &model.network().specs);
        match first_difference(&self.state.initial, &model.parameters, &changed) {
            Some(name) => Err(TrainError::FrozenChanged(name)),
            None => Ok(()),
        }
    }
}

/// Name of the first parameter outside `changed` whose bits differ.
pub(crate) fn first_difference(before: &Parameters, after: &Parameters, changed: &[bool]) -> Option<String> {
    let bits = |parameters: &Parameters, index: usize| -> Vec<u32> {
        parameters.values(index).into_iter().map(f32::to_bits).collect()
    };
    let specs = before.specs().iter().enumerate().zip(changed);
    specs
        .filter(|(_, changed)| !**changed)
        .map(|(spec, _)| spec)
        .find(|(index, _)| bits(before, *index) != bits(after, *index))
        .map(|(_, spec)| spec.name.clone())
}
