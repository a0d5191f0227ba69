//! From paths to a run directory: what `retune fit` does.
//!
//! A run directory holds `run.toml` (every resolved option), `plan.toml`, `metrics.jsonl`,
//! `summary.json`, `model/` (loadable by timm), `adapter/` after low-rank training (loadable by PEFT), what the model said of
//! each image ([`record`]) and, while it is under way, `checkpoint/`.

pub mod record;

mod directory;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use retune_kernels::operators;
use serde::{Deserialize, Serialize};

pub use self::directory::{COMMAND_FILE, is_resumable};
pub(crate) use self::directory::{open_of_run, record_command};
use crate::data::decode::DecodeLimits;
use crate::data::leak::Contents;
use crate::data::preprocess::{CropMode, Preprocessing};
use crate::data::resize::Interpolation;
use crate::data::{
    CacheOptions, DataError, DataSource, Dataset, LeftOut, Loader, LoaderOptions, MemoryBudget, ReadImages, SplitName,
};
use crate::device::{self, UnknownDevice};
use crate::files::{self, FileError};
use crate::inference::{self, Evaluation, InferenceError};
use crate::lock::{DirectoryLock, LockError};
use crate::methods::{Method, MethodOptions};
use crate::models::{HeadInitialization, Model, ModelError};
use crate::monitor::Monitor;
use crate::plan::{Plan, PlanError};
use crate::train::average::interpolate;
use crate::train::options::{Precision, TrainOptions};
use crate::train::{self, Line, PhaseOutcome, Shared, TrainError, Trained, Trainer};
use crate::verify;

pub(crate) const RUN_FILE: &str = "run.toml";
pub(crate) const PLAN_FILE: &str = "plan.toml";
pub(crate) const SUMMARY_FILE: &str = "summary.json";
pub(crate) const MODEL_FOLDER: &str = "model";
pub(crate) const ADAPTER_FOLDER: &str = "adapter";

/// The shares at which WiSE-FT's authors draw their curve.
const CURVE_ALPHAS: [f64; 11] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];

/// Why a fit ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum FitError {
    /// The data is at fault.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The model is at fault.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The plan is at fault.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Training failed, or was interrupted.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// The final evaluation failed, or was interrupted.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// No such device.
    #[error(transparent)]
    Device(#[from] UnknownDevice),
    /// The output directory holds something already.
    #[error(
        "{path} already holds something; name another --out, or go on with `retune fit --resume {path}`",
        path = .0.display()
    )]
    OutputTaken(PathBuf),
    /// The directory is no run.
    #[error("{path} is not a run directory: it lacks {RUN_FILE}", path = .0.display())]
    NotARun(PathBuf),
    /// `run.toml` cannot be understood.
    #[error("{path} cannot be understood: {reason}", path = path.display())]
    RunFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// Keeping the head needs the same classes.
    #[error("--head-init keep needs the model's own classes, but it has {model} without names and the data has {data}")]
    HeadCannotBeKept {
        /// Classes of the model.
        model: usize,
        /// Classes of the data.
        data: usize,
    },
    /// No image is left to validate on.
    #[error("{path} leaves no image for validation; give it more images of each class, a val/ folder, or a larger --val-fraction", path = .0.display())]
    NothingToValidate(PathBuf),
    /// The head is new, and nothing would train it.
    #[error(
        "the plan never trains the head, which starts anew; give it a rate, or take the model's own with --head-init keep"
    )]
    NewHeadFrozen,
    /// bfloat16 is multiplied by the CPU's fused operators alone.
    #[error("bfloat16 needs the CPU and its fused operators: leave out --device and --kernels, or train in float32")]
    NoBfloat16,
    /// Another run is at work in the directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Leaving out what cannot be read leaves nothing.
    #[error("no image of '{set}' in {path} can be read: check the first of them, {first}", path = path.display())]
    NothingReadable {
        /// The set.
        set: String,
        /// The data.
        path: PathBuf,
        /// The first image and what is wrong with it.
        first: String,
    },
    /// The images that a run left out are not where they were.
    #[error("{path} is no longer the data that the run began with: images that it left out are gone; put them back", path = .0.display())]
    DataChanged(PathBuf),
    /// Two evaluation sets of one name.
    #[error("two evaluation sets are called '{0}'; give each its own NAME=")]
    DuplicateName(String),
}

impl FitError {
    /// Whether the user stopped it.
    pub fn is_interruption(&self) -> bool {
        matches!(self, Self::Train(TrainError::Interrupted) | Self::Inference(InferenceError::Interrupted))
    }
}

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSource {
    /// A model directory, a run directory or a weights file.
    pub path: Option<PathBuf>,
    /// The architecture of a weights file, or of a model from scratch.
    pub architecture: Option<String>,
    /// Start from random weights instead of the file's.
    pub from_scratch: bool,
}

impl ModelSource {
    /// Loads the model, or draws it from `seed`.
    ///
    /// # Errors
    /// Anything missing, unreadable or inconsistent, by name.
    pub fn load(&self, change: &PreprocessingChange, seed: u64, device: &str) -> Result<Model, FitError> {
        let device = device::by_name(device)?;
        let change = |own: &Preprocessing| change.apply(own);
        let architecture = self.architecture.as_deref();
        Ok(match (&self.path, self.from_scratch) {
            (Some(path), false) => Model::load(path, architecture, change, &device)?,
            (path, _) => Model::from_scratch(path.as_deref(), architecture, change, seed, &device)?,
        })
    }
}

/// What a user changes of a model's own preprocessing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PreprocessingChange {
    /// Height and width in pixels.
    pub size: Option<u32>,
    /// How images are resized.
    pub interpolation: Option<Interpolation>,
    /// How images of another shape are fitted.
    pub crop_mode: Option<CropMode>,
    /// Share of the resized image's side that is kept.
    pub crop_pct: Option<f64>,
    /// Mean of each channel, in 0 to 1.
    pub mean: Option<[f32; 3]>,
    /// Standard deviation of each channel, in 0 to 1.
    pub std: Option<[f32; 3]>,
}

impl PreprocessingChange {
    /// The model's own preprocessing with the changes made.
    pub fn apply(&self, own: &Preprocessing) -> Preprocessing {
        Preprocessing {
            width: self.size.unwrap_or(own.width),
            height: self.size.unwrap_or(own.height),
            interpolation: self.interpolation.unwrap_or(own.interpolation),
            crop_pct: self.crop_pct.unwrap_or(own.crop_pct),
            crop_mode: self.crop_mode.unwrap_or(own.crop_mode),
            mean: self.mean.unwrap_or(own.mean),
            std: self.std.unwrap_or(own.std),
        }
    }
}

/// A further set to evaluate on; it never chooses anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluationSource {
    /// Its name in tables.
    pub name: String,
    /// Its images.
    pub path: PathBuf,
}

/// Every resolved option of a run but its plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitOptions {
    /// The images to train and validate on.
    pub data: PathBuf,
    /// Part of each class held out for validation where the data has no such split.
    pub validation_fraction: f64,
    /// How the head starts before gradients train it.
    pub head_initialization: HeadInitialization,
    /// `cpu`, `wgpu` or `cuda`.
    pub device: String,
    /// The pretrained model.
    pub model: ModelSource,
    /// Changes to its preprocessing.
    pub preprocessing: PreprocessingChange,
    /// How phases train.
    pub train: TrainOptions,
    /// Leave out images that cannot be read.
    #[serde(default)]
    pub skip_bad: bool,
    /// Further sets to evaluate on.
    #[serde(default)]
    pub evaluations: Vec<EvaluationSource>,
}

impl FitOptions {
    /// Parses the text of a `run.toml`.
    ///
    /// # Errors
    /// Says where the text is no such options.
    pub fn from_toml(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Lists the images at a path; with `skip_bad`, a manifest's missing files as well.
    ///
    /// # Errors
    /// As [`DataSource::open`].
    pub(crate) fn open_source(&self, path: &Path) -> Result<DataSource, DataError> {
        if self.skip_bad { DataSource::open_with_missing_files(path) } else { DataSource::open(path) }
    }
}

/// Where a run's plan comes from.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a run has one")]
pub enum PlanSource {
    /// A method makes it.
    Method(Method, MethodOptions),
    /// It was written by hand.
    Written(Plan),
}

impl PlanSource {
    /// The plan for a model, checked against its blocks.
    ///
    /// # Errors
    /// A block or number that does not fit.
    pub fn resolve(&self, model: &Model) -> Result<Plan, PlanError> {
        let plan = match self {
            Self::Method(method, options) => method.plan(model.blocks(), options)?,
            Self::Written(plan) => plan.clone(),
        };
        plan.check(model.blocks())?;
        Ok(plan)
    }
}

/// `summary.json`: what a run found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The method, as the plan names it.
    pub method: String,
    /// timm's name of the architecture.
    pub architecture: String,
    /// The run's seed.
    pub seed: u64,
    /// Epochs of the last phase after which its parameters were kept.
    pub best_epoch: usize,
    /// Seconds of training, without the final evaluation.
    pub seconds: f64,
    /// Images trained on.
    pub training_images: usize,
    /// Learnable scalars that the plan trained.
    pub trained_parameters: usize,
    /// Class names in the order of the logits.
    pub classes: Vec<String>,
    /// What each phase found.
    pub phases: Vec<PhaseOutcome>,
    /// Accuracy and loss on each set: `val`, the data's own test splits, then every `--eval`.
    pub splits: IndexMap<String, Evaluation>,
    /// The same for models along the line of weights that an interpolation was taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interpolation: Option<Vec<CurvePoint>>,
}

impl Summary {
    /// Parses the text of a `summary.json`.
    ///
    /// # Errors
    /// Says where the text is no summary.
    pub fn from_json(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }
}

/// A model on a line between two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// The share of the end's weights, 0 to 1.
    pub alpha: f64,
    /// Accuracy and loss on each set.
    pub splits: IndexMap<String, Evaluation>,
}

/// Datasets of a fit, their labels in the order of the model's classes.
#[derive(Clone, Debug)]
pub struct FitData {
    /// Images to train on.
    pub train: Dataset,
    /// Images that choose rates, strengths and epochs.
    pub validation: Dataset,
    /// Sets that only the final model is evaluated on.
    pub evaluations: Vec<(String, Dataset)>,
}

impl FitData {
    /// Opens and checks all sources of a fit.
    ///
    /// # Errors
    /// What is wrong with the data, by path and class; two sets of one name.
    pub fn open(options: &FitOptions) -> Result<Self, FitError> {
        let source = options.open_source(&options.data)?;
        let (train, validation) = source.train_and_validation(options.validation_fraction, options.train.seed)?;
        if validation.is_empty() {
            return Err(FitError::NothingToValidate(options.data.clone()));
        }
        let mut evaluations = Vec::new();
        for name in source.splits.keys().filter(|name| matches!(name, SplitName::Other(_))) {
            let dataset = source.split(name)?;
            // Many published sets hold the labels of their test split back; there is nothing to evaluate then.
            if dataset.samples.iter().any(|sample| sample.label.is_some()) {
                evaluations.push((name.to_string(), dataset));
            }
        }
        for evaluation in &options.evaluations {
            let dataset = evaluation_split(&options.open_source(&evaluation.path)?)?;
            evaluations.push((evaluation.name.clone(), dataset.align_classes(&train.classes)?));
        }
        let mut names = std::collections::BTreeSet::from(["val"]);
        for (name, dataset) in &evaluations {
            dataset.labels()?;
            if !names.insert(name) {
                return Err(FitError::DuplicateName(name.clone()));
            }
        }
        Ok(Self { train, validation, evaluations })
    }
}

impl FitData {
    /// All sets with their names.
    fn sets(&mut self) -> impl Iterator<Item = (&str, &mut Dataset)> {
        let further = self.evaluations.iter_mut().map(|(name, dataset)| (name.as_str(), dataset));
        [("train", &mut self.train), ("val", &mut self.validation)].into_iter().chain(further)
    }

    /// Reads every image that is not among those `read` and leaves out those that cannot be; what was left out of each set.
    ///
    /// # Errors
    /// A set of which nothing is left; an interruption.
    pub(crate) fn leave_out_unreadable(
        &mut self,
        data: &Path,
        read: &ReadImages,
        monitor: &dyn Monitor,
    ) -> Result<IndexMap<String, Vec<LeftOut>>, FitError> {
        let mut found = IndexMap::new();
        for (name, dataset) in self.sets() {
            monitor.start(&format!("reading every image of {name}"), dataset.len());
            let watch = || {
                monitor.advance(1);
                if monitor.cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            let left_out = dataset.leave_out_unreadable(&DecodeLimits::default(), read, watch);
            let left_out = left_out.ok_or(FitError::Train(TrainError::Interrupted))?;
            monitor.finish();
            if let Some(first) = left_out.first().filter(|_| dataset.is_empty()) {
                let (set, first) = (name.to_owned(), first.reason.clone());
                return Err(FitError::NothingReadable { set, path: data.to_owned(), first });
            }
            for image in &left_out {
                monitor.message(&format!("left out of {name}: {}", image.reason));
            }
            found.insert(name.to_owned(), left_out);
        }
        Ok(found)
    }

    /// Leaves out what an earlier start of the same run left out.
    fn leave_out(&mut self, left_out: &IndexMap<String, Vec<LeftOut>>, data: &Path) -> Result<(), FitError> {
        for (name, dataset) in self.sets() {
            if !left_out.get(name).is_none_or(|images| dataset.leave_out(images)) {
                return Err(FitError::DataChanged(data.to_owned()));
            }
        }
        Ok(())
    }

    /// The same images with labels that index `known`.
    fn align_classes(self, known: &[String]) -> Result<Self, DataError> {
        let further = self.evaluations.into_iter();
        Ok(Self {
            train: self.train.align_classes(known)?,
            validation: self.validation.align_classes(known)?,
            evaluations: further
                .map(|(name, dataset)| Ok((name, dataset.align_classes(known)?)))
                .collect::<Result<_, DataError>>()?,
        })
    }
}

/// The images of a further evaluation set: its test split if it has just one, else all of it.
///
/// # Errors
/// None for a source that was opened.
pub fn evaluation_split(source: &DataSource) -> Result<Dataset, DataError> {
    let mut tests = source.splits.keys().filter(|name| matches!(name, SplitName::Other(_)));
    match (tests.next(), tests.next()) {
        (Some(only), None) => source.split(only),
        _ => Ok(source.all()),
    }
}

/// Fits a model and writes the run directory `out`; `command` is kept as what was typed. Runs that
/// are made together can share decoded images and features.
///
/// # Errors
/// The user's mistakes before anything is written; what goes wrong later leaves a directory that
/// [`resume`] goes on from.
pub fn start(
    options: &FitOptions,
    plan: &PlanSource,
    out: &Path,
    command: Option<&str>,
    shared: Option<&Shared>,
    monitor: &dyn Monitor,
) -> Result<Summary, FitError> {
    let check_free = || -> Result<(), FitError> {
        DirectoryLock::check(out)?;
        if directory::is_taken(out) { Err(FitError::OutputTaken(out.to_owned())) } else { Ok(()) }
    };
    check_free()?;
    let (model, mut data) = open(options)?;
    let plan = settled_plan(options, plan, &model)?;
    let left_out = if options.skip_bad {
        let unknown = ReadImages::default();
        let read = shared.map_or(&unknown, Shared::read_images);
        Some(data.leave_out_unreadable(&options.data, read, monitor)?)
    } else {
        None
    };

    warn_of_leaks(&data, monitor);
    if options.train.precision == Precision::Bfloat16 && !retune_kernels::multiplies_bfloat16() {
        monitor.message("note: this CPU has no instructions for bfloat16 (AVX-512 BF16); rounding costs time here");
    }

    // Another run may have begun there meanwhile.
    check_free()?;
    files::create_folder(out)?;
    let _lock = DirectoryLock::acquire(out)?;
    directory::tidy(out);
    directory::record_command(out, command)?;
    if let Some(left_out) = left_out {
        directory::write_left_out(out, &left_out)?;
    }
    let run_text = toml::to_string(options)
        .map_err(|error| FitError::RunFile { path: out.join(RUN_FILE), reason: error.to_string() })?;
    let plan_text = plan.to_toml()?;
    files::write_atomically(&out.join(PLAN_FILE), |file| file.write_all(plan_text.as_bytes()))?;
    files::write_atomically(&out.join(RUN_FILE), |file| file.write_all(run_text.as_bytes()))?;
    RunDirectory { options, plan: &plan, data: &data, out, shared, monitor }.train_and_evaluate(model, false)
}

/// The plan for a model, after every check that can be made before training.
///
/// # Errors
/// A block or number that does not fit; a new head that nothing would train.
pub(crate) fn settled_plan(options: &FitOptions, plan: &PlanSource, model: &Model) -> Result<Plan, FitError> {
    let plan = plan.resolve(model)?;
    let trains_head = plan.trained_blocks(model.blocks())[model.head()];
    if !trains_head && options.head_initialization != HeadInitialization::Keep {
        return Err(FitError::NewHeadFrozen);
    }
    Ok(plan)
}

/// Says which of the other sets hold images that are trained on.
fn warn_of_leaks(data: &FitData, monitor: &dyn Monitor) {
    let training = Contents::of(&data.train);
    let further = data.evaluations.iter().map(|(name, dataset)| (name.as_str(), dataset));
    for (name, dataset) in std::iter::once(("val", &data.validation)).chain(further) {
        let shared = training.shared_with(dataset);
        if !training.compares_contents(dataset) {
            monitor.message(&format!(
                "note: too many images to look into for copies in '{name}'; only names were compared"
            ));
        }
        if let Some(example) = shared.first() {
            monitor.message(&format!(
                "warning: {} of the {} images of '{name}' are also training images, such as {} ({} there): what it says \
                 about new images is too good",
                shared.len(),
                dataset.len(),
                example.first,
                example.second,
            ));
        }
    }
}

/// Goes on with an interrupted run, or reports a finished one again.
///
/// # Errors
/// As [`start`]; a directory that is no run.
pub fn resume(out: &Path, shared: Option<&Shared>, monitor: &dyn Monitor) -> Result<Summary, FitError> {
    let options = read_options(out)?;
    if let Some(summary) = finished(out)? {
        // It may have been killed between its summary and its pictures.
        directory::tidy(out);
        train::remove_checkpoint(out);
        return Ok(summary);
    }
    let _lock = DirectoryLock::acquire(out)?;
    directory::tidy(out);
    let plan = Plan::from_toml(&files::read_text(&out.join(PLAN_FILE))?)?;
    let (model, data) = open_of_run(&options, out)?;
    let run = RunDirectory { options: &options, plan: &plan, data: &data, out, shared, monitor };
    run.train_and_evaluate(model, true)
}

/// Reads a run's options.
///
/// # Errors
/// A directory that is no run, or a `run.toml` that cannot be understood.
pub fn read_options(run: &Path) -> Result<FitOptions, FitError> {
    let path = run.join(RUN_FILE);
    if !path.is_file() {
        return Err(FitError::NotARun(run.to_owned()));
    }
    let text = files::read_text(&path)?;
    FitOptions::from_toml(&text).map_err(|error| FitError::RunFile { path, reason: error.to_string() })
}

/// A finished run's summary; `None` of a run that is not finished.
///
/// # Errors
/// A summary that cannot be read.
pub fn finished(run: &Path) -> Result<Option<Summary>, FitError> {
    let path = run.join(SUMMARY_FILE);
    if !path.is_file() {
        return Ok(None);
    }
    Summary::from_json(&files::read_text(&path)?)
        .map(Some)
        .map_err(|error| FitError::RunFile { path, reason: error.to_string() })
}

/// The pretrained model with a head for the data's classes, and the data. A head that is kept keeps
/// its classes in its own order, and the data's follow it by name.
pub(crate) fn open(options: &FitOptions) -> Result<(Model, FitData), FitError> {
    let fused = options.device == "cpu" && operators::are_enabled();
    if options.train.precision == Precision::Bfloat16 && !fused {
        return Err(FitError::NoBfloat16);
    }
    let mut data = FitData::open(options)?;
    let seed = options.train.seed;
    let model = options.model.load(&options.preprocessing, seed, &options.device)?;
    let head = options.head_initialization;
    if head == HeadInitialization::Keep {
        match model.config().label_names() {
            Some(names) => data = data.align_classes(&names)?,
            None if model.config().num_classes() == data.train.classes.len() => {}
            None => {
                let model = model.config().num_classes();
                return Err(FitError::HeadCannotBeKept { model, data: data.train.classes.len() });
            }
        }
    }
    Ok((model.with_classes(&data.train.classes, head, seed)?, data))
}

/// A run that is being made.
struct RunDirectory<'a> {
    options: &'a FitOptions,
    plan: &'a Plan,
    data: &'a FitData,
    out: &'a Path,
    shared: Option<&'a Shared>,
    monitor: &'a dyn Monitor,
}

impl RunDirectory<'_> {
    fn train_and_evaluate(&self, model: Model, resume: bool) -> Result<Summary, FitError> {
        let Self { options, plan, data, out, shared, monitor } = *self;
        let trainer = Trainer {
            plan,
            options: &options.train,
            train: &data.train,
            validation: &data.validation,
            directory: Some(out),
            shared,
            monitor,
        };
        let trained = trainer.run(model, resume)?;
        trained.model.save(&out.join(MODEL_FOLDER))?;
        if let Some(adapters) = &trained.low_rank {
            adapters.save_for_peft(&trained.model, &out.join(ADAPTER_FOLDER)).map_err(TrainError::from)?;
        }
        let summary = self.evaluate_and_record(&trained)?;
        let text = serde_json::to_string_pretty(&summary)
            .map_err(|error| FitError::RunFile { path: out.join(SUMMARY_FILE), reason: error.to_string() })?;
        // First, because a run with a summary is a finished one.
        verify::record(out, &text)?;
        files::write_atomically(&out.join(SUMMARY_FILE), |file| file.write_all(text.as_bytes()))?;
        // What only resuming needs would triple the run's size.
        train::remove_checkpoint(out);
        Ok(summary)
    }

    /// Evaluates the model, and keeps what it said of each image for the report.
    fn evaluate_and_record(&self, trained: &Trained) -> Result<Summary, FitError> {
        let Self { options, plan, data, out, monitor, .. } = *self;
        let mut recorder = record::Recorder::new(&trained.model, &options.train, data, monitor);
        recorder.evaluate("val", &data.validation)?;
        let mut evaluate = |name: &str, dataset: &Dataset| recorder.evaluate(name, dataset);
        let summary = summarize_by(plan, &options.train, trained, data, monitor, &mut evaluate)?;
        recorder.write(out)?;
        Ok(summary)
    }
}

/// Evaluates a trained model on every set and puts the summary together.
///
/// # Errors
/// An image that cannot be loaded; an interruption.
pub fn summarize(
    plan: &Plan,
    options: &TrainOptions,
    trained: &Trained,
    data: &FitData,
    monitor: &dyn Monitor,
) -> Result<Summary, InferenceError> {
    let mut evaluate = |name: &str, dataset: &Dataset| evaluate_set(&trained.model, name, dataset, options, monitor);
    summarize_by(plan, options, trained, data, monitor, &mut evaluate)
}

type EvaluateSet<'a> = dyn FnMut(&str, &Dataset) -> Result<Evaluation, InferenceError> + 'a;

fn summarize_by(
    plan: &Plan,
    options: &TrainOptions,
    trained: &Trained,
    data: &FitData,
    monitor: &dyn Monitor,
    evaluate: &mut EvaluateSet,
) -> Result<Summary, InferenceError> {
    let model = &trained.model;
    let last = trained.phases.last();
    let mut splits = IndexMap::new();
    if let Some(last) = last {
        splits.insert("val".to_owned(), last.validation.clone());
    }
    for (name, dataset) in &data.evaluations {
        splits.insert(name.clone(), evaluate(name, dataset)?);
    }
    let line = trained.line.as_ref();
    let interpolation = line.map(|line| curve(model, line, &CURVE_ALPHAS, options, data, monitor)).transpose()?;
    Ok(Summary {
        method: plan.method.clone(),
        architecture: model.config().architecture().to_owned(),
        seed: options.seed,
        best_epoch: last.map_or(0, |phase| phase.epoch),
        seconds: trained.seconds,
        training_images: data.train.len(),
        trained_parameters: plan.learned_scalars(model.blocks(), &model.network().specs),
        classes: data.train.classes.clone(),
        phases: trained.phases.clone(),
        splits,
        interpolation,
    })
}

pub(crate) fn evaluate_set(
    model: &Model,
    name: &str,
    dataset: &Dataset,
    options: &TrainOptions,
    monitor: &dyn Monitor,
) -> Result<Evaluation, InferenceError> {
    let loader = evaluation_loader(dataset.clone(), model, options.batch_size, options.threads)?;
    inference::evaluate(model, &loader, &format!("evaluating {name}"), monitor)
}

/// Evaluates models along a line on validation and every further set.
///
/// # Errors
/// An image that cannot be loaded; an interruption.
pub fn curve(
    model: &Model,
    line: &Line,
    alphas: &[f64],
    options: &TrainOptions,
    data: &FitData,
    monitor: &dyn Monitor,
) -> Result<Vec<CurvePoint>, InferenceError> {
    alphas
        .iter()
        .map(|&alpha| {
            let model = model.with_parameters(interpolate(&line.start, &line.end, alpha));
            let splits = evaluate_everywhere(&model, &format!("alpha {alpha}"), options, data, monitor)?;
            Ok(CurvePoint { alpha, splits })
        })
        .collect()
}

/// Evaluates a model on validation and every further set; `name` is the model's in messages.
pub(crate) fn evaluate_everywhere(
    model: &Model,
    name: &str,
    options: &TrainOptions,
    data: &FitData,
    monitor: &dyn Monitor,
) -> Result<IndexMap<String, Evaluation>, InferenceError> {
    let further = data.evaluations.iter().map(|(set, dataset)| (set.as_str(), dataset));
    let sets = std::iter::once(("val", &data.validation)).chain(further);
    sets.map(|(set, dataset)| {
        let evaluation = evaluate_set(model, &format!("{set}, {name}"), dataset, options, monitor)?;
        Ok((set.to_owned(), evaluation))
    })
    .collect()
}

/// A loader that goes through a dataset once, in order, keeping nothing.
///
/// # Errors
/// A dataset without images.
pub fn evaluation_loader(
    dataset: Dataset,
    model: &Model,
    batch_size: usize,
    threads: usize,
) -> Result<Loader, DataError> {
    let preprocessing = model.config().preprocessing().clone();
    let nothing = CacheOptions { memory: MemoryBudget::of_bytes(0), disk_bytes: 0, disk_folder: None };
    let options = LoaderOptions { threads, cache: nothing, ..LoaderOptions::deterministic(preprocessing, batch_size) };
    Loader::new(dataset, options)
}
