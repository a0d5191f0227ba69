//! From paths to a run directory: what `retune fit` does.
//!
//! A run directory holds `run.toml` (every resolved option), `plan.toml`, `metrics.jsonl`,
//! `summary.json`, `model/` (loadable by timm, with a model card), `adapter/` after low-rank training (loadable by PEFT), what the model said of
//! each image ([`record`]) and, while it is under way, `checkpoint/`.

pub mod card;
mod caveat;
pub mod command;
pub mod keys;
pub mod map;
pub mod record;
pub mod verify;

mod continuation;
mod data;
mod directory;
mod error;
mod hashes;
mod hint;
mod multi_label;
mod options;
mod summary;
mod temperature;

use std::path::Path;

use indexmap::IndexMap;

use self::card::ModelCard;
pub use self::caveat::Caveat;
pub use self::continuation::Continuation;
pub use self::data::{FitData, caveats_of_sets, evaluation_split};
pub(crate) use self::directory::open_of_run;
pub use self::directory::{COMMAND_FILE, check_free, clear_unless_begun, is_resumable, read_command, record_command};
pub use self::error::FitError;
pub use self::hint::Hint;
use self::multi_label::class_names;
pub use self::options::{EvaluationSource, FitOptions, ModelSource, PlanSource, PreprocessingChange, recorded};
pub use self::summary::{CurvePoint, Summary, curve, evaluation_loader, summarize};
pub(crate) use self::summary::{evaluate_everywhere, evaluate_set, on_line, renewed};
pub use self::temperature::{CalibrationErrors, TemperatureScaling};
use crate::collective::Processes;
use crate::device;
use crate::files;
use crate::files::lock::DirectoryLock;
use crate::inference::{self, Metric};
use crate::methods::{Method, MethodOptions};
use crate::models::{CONFIG_FILE, HeadInitialization, LoadNote, Model, ModelError, Precision, WITHOUT_INSTRUCTIONS};
use crate::monitor::Monitor;
use crate::plan::Plan;
use crate::sources::white_level::unused_range;
use crate::sources::{Dataset, LeftOut, ReadImages};
use crate::train::estimate::{Estimate, estimate};
use crate::train::options::BatchNormPolicy;
use crate::train::together::{ByItself, Together};
use crate::train::{self, Shared, TrainError, Trained, Trainer};

pub(crate) const RUN_FILE: &str = "run.toml";
pub(crate) const PLAN_FILE: &str = "plan.toml";
/// The file of a run directory that holds its results.
pub const SUMMARY_FILE: &str = "summary.json";
pub(crate) const MODEL_FOLDER: &str = "model";
pub(crate) const ADAPTER_FOLDER: &str = "adapter";
/// The folder with the pictures of a run or comparison.
pub const PLOTS_FOLDER: &str = "plots";

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
    let processes = &options.train.processes;
    // The directory is the business of the first process alone.
    let check_free = || if processes.is_root() { check_free(out) } else { Ok(()) };
    check_free()?;
    let (mut model, mut data) = open(options)?;
    let source = plan;
    let plan = settled_plan(options, source, &model)?;
    if plan.begins_with_probe() {
        // The probe takes the place of whatever rows the head has kept.
        let is_of_head =
            |note: &LoadNote| matches!(note, LoadNote::KnownClasses { .. } | LoadNote::FewKnownClasses { .. });
        model.notes.retain(|note| !is_of_head(note));
    }
    let left_out = match options.skip_bad {
        true => Some(leave_out(&mut data, options, shared, monitor)?),
        false => {
            check_evaluations(&data, options, shared, monitor)?;
            None
        }
    };

    model.tell_notes(monitor);
    data.tell_notes(monitor);
    let caveats = data.caveats(options.multi_label, &ByItself { processes, monitor })?;
    // Groups have a note of the data's, and missing classes are no fault.
    for caveat in caveats.iter().filter(|caveat| matches!(caveat, Caveat::TrainingImages { .. })) {
        monitor.message(&format!("warning: {caveat}"));
    }
    if options.train.select == Metric::Auroc && !options.multi_label && data.validation.class_counts().contains(&0) {
        monitor.message(
            "note: some classes have no validation image, so there is no AUROC to choose by: the loss chooses",
        );
    }
    if rounds(options) && options.device == "cpu" {
        monitor.message(&note_on_bfloat16());
    }
    if options.train.frozen_precision != Precision::Float32
        && !plan.trains_on_frozen_blocks(model.blocks(), &model.network().specs)
    {
        monitor.message("note: every phase trains the first block: no frozen block computes in a precision of its own");
    }
    let has_statistics = model.network().specs.iter().any(|spec| !spec.role.is_trainable());
    if options.train.batch_norm != BatchNormPolicy::Frozen && !has_statistics {
        monitor.message("note: the model has no BatchNorm: nothing follows the batches or is measured anew");
    }

    // Another run may have begun there meanwhile.
    check_free()?;
    let _lock = match processes.is_root() {
        true => {
            files::create_folder(out)?;
            let lock = DirectoryLock::acquire(out)?;
            lock.warn_without_lock(monitor);
            directory::tidy(out);
            directory::record_command(out, command)?;
            if let Some(left_out) = left_out {
                directory::write_left_out(out, &left_out)?;
            }
            write_recipe(options, source, &plan, out)?;
            Some(lock)
        }
        false => None,
    };
    let run = RunDirectory { options, plan: &plan, data: &data, caveats: &caveats, out, shared, monitor };
    run.train_and_evaluate(model, false)
}

/// Reads the images of further sets. Only the first process reads; the others wait for it.
fn check_evaluations(
    data: &FitData,
    options: &FitOptions,
    shared: Option<&Shared>,
    monitor: &dyn Monitor,
) -> Result<(), FitError> {
    let processes = &options.train.processes;
    let unknown = ReadImages::default();
    let read = shared.map_or(&unknown, Shared::read_images);
    let checked = match processes.is_root() {
        true => Some(data.check_evaluations(read, &ByItself { processes, monitor })?),
        false => None,
    };
    Ok(processes.of_root(checked).map_err(TrainError::from)?)
}

/// Leaves out what cannot be read; the first process reads every image, and tells the others.
fn leave_out(
    data: &mut FitData,
    options: &FitOptions,
    shared: Option<&Shared>,
    monitor: &dyn Monitor,
) -> Result<IndexMap<String, Vec<LeftOut>>, FitError> {
    let processes = &options.train.processes;
    if !processes.is_root() {
        let left_out = processes.of_root(None).map_err(TrainError::from)?;
        data.leave_out(&left_out, &options.data)?;
        return Ok(left_out);
    }
    let unknown = ReadImages::default();
    let read = shared.map_or(&unknown, Shared::read_images);
    let monitor = &ByItself { processes, monitor };
    let left_out = data.leave_out_unreadable(&options.data, read, monitor)?;
    Ok(processes.of_root(Some(left_out)).map_err(TrainError::from)?)
}

/// Writes the plan and the options of a run.
fn write_recipe(options: &FitOptions, source: &PlanSource, plan: &Plan, out: &Path) -> Result<(), FitError> {
    let run_text = recorded(options, source)
        .map_err(|error| FitError::RunFile { path: out.join(RUN_FILE), reason: error.to_string() })?;
    let plan_text = plan.to_toml()?;
    files::write_atomically(&out.join(PLAN_FILE), |file| file.write_all(plan_text.as_bytes()))?;
    files::write_atomically(&out.join(RUN_FILE), |file| file.write_all(run_text.as_bytes()))?;
    Ok(())
}

/// What a run would do and take: its model before training, its plan, and an estimate from a step of each phase.
///
/// # Errors
/// The user's mistakes, as those of [`start`], except for images that cannot be read.
pub fn dry_run(options: &FitOptions, plan: &PlanSource) -> Result<(Model, Plan, Estimate), FitError> {
    let (model, data) = open(options)?;
    let plan = settled_plan(options, plan, &model)?;
    let estimate = estimate(&plan, &model, data.image_counts(), &options.train);
    Ok((model, plan, estimate))
}

/// The plan for a model, after every check that can be made before training.
///
/// # Errors
/// A block or number that does not fit; a new head that nothing would train.
pub(crate) fn settled_plan(options: &FitOptions, plan: &PlanSource, model: &Model) -> Result<Plan, FitError> {
    let plan = plan.resolve(model)?;
    let specs = &model.network().specs;
    let trained = plan.trained_parameters(model.blocks(), specs);
    let mut of_head = specs.iter().zip(trained).filter(|(spec, _)| spec.block == model.head());
    let trains_head = of_head.all(|(spec, trained)| trained || !spec.role.is_trainable());
    if !trains_head && options.head_initialization != HeadInitialization::Keep {
        return Err(FitError::NewHeadFrozen);
    }
    Ok(plan)
}

/// Goes on with an interrupted run, or reports a finished one again.
///
/// # Errors
/// As [`start`]; a directory that is no run.
pub fn resume(out: &Path, shared: Option<&Shared>, monitor: &dyn Monitor) -> Result<Summary, FitError> {
    resume_among(&Processes::default(), out, shared, monitor)
}

/// As [`resume`], by several processes, however many the run has had so far. All of them see the directory.
///
/// # Errors
/// As [`resume`].
pub fn resume_among(
    processes: &Processes,
    out: &Path,
    shared: Option<&Shared>,
    monitor: &dyn Monitor,
) -> Result<Summary, FitError> {
    let mut options = read_options(out)?;
    options.train.processes = processes.clone();
    if let Some(summary) = finished(out)? {
        // It may have been killed between its summary and its pictures. Who holds the lock tidies by itself.
        if processes.is_root()
            && let Ok(_lock) = DirectoryLock::acquire(out)
        {
            directory::tidy(out);
            train::remove_checkpoint(out);
        }
        return Ok(summary);
    }
    let _lock = match processes.is_root() {
        true => {
            let lock = DirectoryLock::acquire(out)?;
            lock.warn_without_lock(monitor);
            directory::tidy(out);
            Some(lock)
        }
        false => None,
    };
    // Who held the lock may have finished the run before giving it up.
    let finished_by_other = processes.is_root().then(|| finished(out)).transpose()?;
    if let Some(summary) = processes.of_root(finished_by_other).map_err(TrainError::from)? {
        return Ok(summary);
    }
    let plan = read_plan(out)?;
    let (model, data) = open_of_run(&options, out)?;
    let caveats = data.caveats(options.multi_label, &ByItself { processes, monitor })?;
    let run = RunDirectory { options: &options, plan: &plan, data: &data, caveats: &caveats, out, shared, monitor };
    run.train_and_evaluate(model, true)
}

/// Reads a run's options.
///
/// # Errors
/// A directory that is no run, or a `run.toml` that cannot be understood.
pub fn read_options(run: &Path) -> Result<FitOptions, FitError> {
    let path = run.join(RUN_FILE);
    if !files::holds(run, RUN_FILE)? {
        return Err(FitError::NotARun(run.to_owned()));
    }
    let text = files::read_text(&path)?;
    FitOptions::from_toml(&text).map_err(|error| FitError::RunFile { path, reason: error.to_string() })
}

/// Reads a run's method and its options; `None` of a run by a plan that was written by hand, and of older runs.
///
/// # Errors
/// A file that cannot be read.
pub fn read_method(run: &Path) -> Result<Option<(Method, MethodOptions)>, FitError> {
    let text = files::read_text(&run.join(RUN_FILE))?;
    let recorded: Option<toml::Table> = toml::from_str(&text).ok();
    let method = recorded.and_then(|recorded| recorded.get("method")?.as_table().cloned());
    Ok(method.and_then(|mut method| {
        let name = method.remove("name")?.as_str()?.parse().ok()?;
        Some((name, method.try_into().ok()?))
    }))
}

/// Reads a run's plan.
///
/// # Errors
/// A file that is not there or cannot be understood.
pub fn read_plan(run: &Path) -> Result<Plan, FitError> {
    Ok(Plan::from_toml(&files::read_text(&run.join(PLAN_FILE))?)?)
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

/// Whether any part of a run computes in bfloat16.
fn rounds(options: &FitOptions) -> bool {
    [options.train.precision, options.train.frozen_precision].contains(&Precision::Bfloat16)
}

/// What bfloat16 saves on this processor, or costs.
fn note_on_bfloat16() -> String {
    if !retune_kernels::multiplies_bfloat16() {
        return WITHOUT_INSTRUCTIONS.to_owned();
    }
    match retune_kernels::bfloat16_share_of_time() {
        share if share < 1.0 => {
            format!("bfloat16: matrix products take {:.0} % of the time of float32's", 100.0 * share)
        }
        share => format!("note: on this CPU, matrix products in bfloat16 take {share:.1} times as long as in float32"),
    }
}

/// The pretrained model with a head for the data's classes, and the data. A head that is kept keeps
/// its classes in its own order, and the data's follow it by name.
pub(crate) fn open(options: &FitOptions) -> Result<(Model, FitData), FitError> {
    options.train.check_device(&device::by_name(&options.device)?)?;
    multi_label::check(options)?;
    let mut data = FitData::open(options)?;
    let model = options.model.load(&options.preprocessing, options.train.seed, &options.device)?;
    if model.config().preprocessing().white.is_none() {
        data.notes.extend(unused_range(&data.train));
    }
    if options.head_initialization == HeadInitialization::Keep {
        if model.config().num_classes() == 0 {
            return Err(FitError::NoHeadToKeep);
        }
        if !options.multi_label {
            data = data.match_classes(&model.config().classes())?;
        }
    }
    let classes = class_names(options, &data, &model)?;
    let model = with_head(&model, options, &classes)?;
    // A label that the model does not know is better found before training than after it.
    for dataset in [&data.train, &data.validation].into_iter().chain(data.evaluations.iter().map(|(_, set)| set)) {
        inference::label_sets(&model, dataset)?;
    }
    Ok((model, data))
}

/// The model that a run of these classes began with, whatever its data is now.
pub(crate) fn starting_model(options: &FitOptions, classes: &[String]) -> Result<Model, FitError> {
    let model = options.model.load(&options.preprocessing, options.train.seed, &options.device)?;
    with_head(&model, options, classes)
}

/// The same body with the head that the options ask for.
fn with_head(model: &Model, options: &FitOptions, classes: &[String]) -> Result<Model, FitError> {
    let model = model.with_classes(classes, options.head_initialization, options.train.seed)?;
    Ok(if options.multi_label { model.for_several_labels() } else { model })
}

/// A run that is being made.
struct RunDirectory<'a> {
    options: &'a FitOptions,
    plan: &'a Plan,
    data: &'a FitData,
    caveats: &'a [Caveat],
    out: &'a Path,
    shared: Option<&'a Shared>,
    monitor: &'a dyn Monitor,
}

impl RunDirectory<'_> {
    fn train_and_evaluate(&self, model: Model, resume: bool) -> Result<Summary, FitError> {
        let Self { options, plan, data, caveats, out, shared, monitor } = *self;
        let processes = &options.train.processes;
        let monitor: &dyn Monitor = &Together { processes, monitor };
        let this = RunDirectory { monitor, ..*self };
        let mut trainer = Trainer::new(&data.train, &data.validation).options(options.train.clone()).directory(out);
        if let Some(shared) = shared {
            trainer = trainer.sharing(shared);
        }
        let trained = if resume { trainer.resume(plan, model, monitor)? } else { trainer.run(plan, model, monitor)? };
        if !processes.is_root() {
            return this.evaluate_for_root(&trained);
        }
        trained.model.save(&out.join(MODEL_FOLDER))?;
        if let Some(adapters) = &trained.low_rank {
            adapters.save_for_peft(&trained.model, &out.join(ADAPTER_FOLDER)).map_err(TrainError::from)?;
        }
        let mut summary = match options.multi_label {
            true => this.evaluate_labels(&trained)?,
            false => this.evaluate_and_record(&trained)?,
        };
        summary.caveats = caveats.to_vec();
        let temperature = summary.temperature.as_ref().map(|scaling| scaling.temperature);
        let config = trained.model.config().clone().with_temperature(temperature);
        let config = config.with_thresholds(summary.thresholds.clone());
        config.write(&out.join(MODEL_FOLDER).join(CONFIG_FILE)).map_err(ModelError::from)?;
        ModelCard::of_run(&config, options, &summary).write(&out.join(MODEL_FOLDER))?;
        let text = serde_json::to_string_pretty(&summary)
            .map_err(|error| FitError::RunFile { path: out.join(SUMMARY_FILE), reason: error.to_string() })?;
        // First, because a run with a summary is a finished one.
        hashes::record(out, &text)?;
        files::write_atomically(&out.join(SUMMARY_FILE), |file| file.write_all(text.as_bytes()))?;
        // What only resuming needs would triple the run's size.
        train::remove_checkpoint(out);
        Ok(summary)
    }

    /// Takes part in the evaluation, of which the first process keeps the results.
    fn evaluate_for_root(&self, trained: &Trained) -> Result<Summary, FitError> {
        let Self { options, plan, data, monitor, .. } = *self;
        if options.multi_label {
            return self.evaluate_labels(trained);
        }
        let (model, train) = (&trained.model, &options.train);
        let mut evaluate = |name: &str, dataset: &Dataset| {
            let loader = evaluation_loader(dataset.clone(), model, train.batch_size, train.threads)?;
            let loader = loader.among(&train.processes);
            inference::evaluate_observed(model, &loader, &format!("evaluating {name}"), monitor, |_, _| ())
        };
        evaluate("val", &data.validation)?;
        Ok(summary::summarize_by(plan, train, trained, data, monitor, &mut evaluate)?)
    }

    /// Evaluates the model, and keeps what it said of each image for the report.
    fn evaluate_and_record(&self, trained: &Trained) -> Result<Summary, FitError> {
        let Self { options, plan, data, out, monitor, .. } = *self;
        let mut recorder = record::Recorder::new(&trained.model, &options.train, data, monitor);
        let validation = recorder.evaluate("val", &data.validation)?;
        let mut evaluate = |name: &str, dataset: &Dataset| recorder.evaluate(name, dataset);
        let mut summary = summary::summarize_by(plan, &options.train, trained, data, monitor, &mut evaluate)?;
        if let Some(of_training) = summary.splits.get_mut("val") {
            // Training does not rank images.
            of_training.auroc = validation.auroc;
        }
        summary.temperature = recorder.temperature();
        recorder.write(out)?;
        Ok(summary)
    }
}
