//! `retune fit`: trains a model, or resumes an interrupted run.

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use retune::files::lock::DirectoryLock;
use retune::models::ModelError;
use retune::models::weights::WeightsError;
use retune::monitor::Monitor;
use retune::report::run_page::RunRecord;
use retune::report::tensorboard::Logging;
use retune::run::{self, Continuation, FitError, FitOptions, PlanSource, Summary};
use retune::train::TrainError;
use retune::train::budget::Budget;

use super::report::{after_results, began_without_report};
use crate::arguments::continuing;
use crate::arguments::data::{EvaluationArguments, IMAGES};
use crate::arguments::given::GivenOptions;
use crate::arguments::method::MethodArguments;
use crate::arguments::model::{ModelArguments, PreprocessingArguments};
use crate::arguments::run::RunArguments;
use crate::arguments::training::TrainingArguments;
use crate::failure::{Failure, resuming};
use crate::output::{Console, results};
use crate::processes;

/// Options of `retune fit`.
#[derive(Args)]
pub struct FitArguments {
    /// Which options were given, and where.
    #[arg(skip)]
    pub given: GivenOptions,
    #[command(flatten)]
    model: ModelArguments,
    #[arg(short, long, value_name = "PATH", help = IMAGES, help_heading = "Data")]
    data: Option<PathBuf>,
    #[command(flatten)]
    evaluations: EvaluationArguments,
    /// Take the options from this run.toml, as another run recorded them; what is typed counts more, and what the run of
    /// --from had counts less
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    config: Option<PathBuf>,
    /// Run directory to write
    #[arg(short, long, value_name = "RUN", help_heading = "Data")]
    out: Option<PathBuf>,
    /// Resume this interrupted run with its original options
    #[arg(long, value_name = "RUN", help_heading = "Data")]
    resume: Option<PathBuf>,
    /// Go on from the final model of this run, its head included, for --epochs more, in a new directory: data, method, and
    /// options are that run's, with what is typed on top, at the learning rate chosen there
    #[arg(long, value_name = "RUN", help_heading = "Data", conflicts_with_all = ["model", "arch", "from_scratch", "classes"])]
    from: Option<PathBuf>,
    /// Show the plan and an estimate of time and memory, and train nothing
    #[arg(long, help_heading = "Data", conflicts_with = "resume")]
    dry_run: bool,
    /// Also log each epoch and what is found as this program shows it, in the run directory
    #[arg(long, value_name = "PROGRAM", help_heading = "Data")]
    log_to: Option<LogFormat>,
    /// Do not write report.html and pictures; `retune report RUN` writes them later
    #[arg(long, help_heading = "Data")]
    no_report: bool,
    #[command(flatten)]
    method: MethodArguments,
    #[command(flatten)]
    training: TrainingArguments,
    /// Bound on the time of training, such as 90s, 10m, or 1h30m: the search among learning rates and the epochs are cut to
    /// fit, so results depend on the speed of the machine [default: no bound]
    #[arg(long, value_name = "TIME", help_heading = "Training", allow_hyphen_values = true)]
    budget: Option<Budget>,
    #[command(flatten)]
    preprocessing: PreprocessingArguments,
}

/// A program that shows how training goes.
#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    /// Event files in RUN/tensorboard
    Tensorboard,
}

impl FitArguments {
    fn groups<'a>(&'a self, data: &'a Path) -> RunArguments<'a> {
        RunArguments {
            data,
            model: &self.model,
            evaluations: &self.evaluations,
            training: &self.training,
            preprocessing: &self.preprocessing,
        }
    }
}

/// Trains and prints the results.
pub fn run(arguments: &FitArguments, console: &Console) -> Result<(), Failure> {
    if arguments.dry_run {
        arguments.out.as_deref().map_or(Ok(()), run::check_free)?;
        let (options, plan) = chosen(arguments, console)?;
        let (model, plan, estimate) = run::dry_run(&options, &plan)?;
        return super::plan::print(&model, &plan, Some(&estimate), console);
    }
    let out = arguments.out.as_deref().ok_or_else(|| missing("--out", "a run directory to write"));
    let run = arguments.resume.as_deref().map_or(out, Ok)?;
    let is_root = console.processes.is_root();
    let logging = match (&arguments.resume, arguments.log_to) {
        _ if !is_root => None,
        (None, None) => None,
        (None, Some(LogFormat::Tensorboard)) => Some(Logging::start(run, &console.progress)),
        // An interrupted run goes on as it began.
        (Some(_), format) => (format.is_some() || Logging::is_of(run)).then(|| Logging::resume(run, &console.progress)),
    };
    let monitor = logging.as_ref().map_or(&console.progress as &dyn Monitor, |logging| logging);
    let fitted = match arguments.resume {
        Some(_) => {
            processes::begin_together();
            run::resume_among(&console.processes, run, None, monitor)
        }
        None => start(arguments, run, console, monitor)?,
    };
    let summary = fitted.map_err(|error| failure(error, run))?;
    if !is_root {
        return Ok(());
    }
    if let Some(logging) = logging {
        logging.finish(&summary);
    }
    // What is found is part of the text, and of no number.
    let findings = RunRecord::read(run).map(|record| record.findings()).unwrap_or_default();
    if let Some(hint) = results::hint(&summary, run).filter(|_| console.is_json()) {
        console.progress.message(&hint);
    }
    let printed = console.print(&summary, || results::summary(&summary, run, &findings));
    if arguments.no_report || began_without_report(arguments.resume.as_deref()) {
        super::report::tell_of_earlier_page(run, std::iter::once(run), console);
        return printed;
    }
    after_results(printed, super::report::after_run(run, &summary, console), console)
}

#[cfg(test)]
impl FitArguments {
    /// What a run with these options would record.
    pub fn recorded(&self) -> Result<String, Failure> {
        let plan = self.method.source(&self.training.head, &self.given)?;
        let console = Console::silent();
        let groups = self.groups(self.data.as_deref().unwrap_or(Path::new("")));
        let mut options = groups.options(&console)?;
        options.train.budget = self.budget;
        Ok(run::recorded(&options, &plan).map_err(|error| error.to_string())?)
    }
}

fn start(
    arguments: &FitArguments,
    out: &Path,
    console: &Console,
    monitor: &dyn Monitor,
) -> Result<Result<Summary, FitError>, Failure> {
    let (mut options, plan) = chosen(arguments, console)?;
    options.train.processes = console.processes.clone();
    console.detail(|| toml::to_string(&options).unwrap_or_default());
    let traces = Traces::before(out);
    processes::begin_together();
    let fitted = run::start(&options, &plan, out, Some(&console.command_line.to_string()), None, monitor);
    if console.processes.is_root() && fitted.as_ref().is_err_and(|error| !error.is_interruption()) {
        traces.remove_unless_resumable(out);
    }
    Ok(fitted)
}

/// The options and the plan of a new run.
fn chosen(arguments: &FitArguments, console: &Console) -> Result<(FitOptions, PlanSource), Failure> {
    let (mut options, plan) = match &arguments.from {
        Some(run) => going_on(arguments, run, console)?,
        None => {
            let data = arguments.data.as_deref().ok_or_else(|| missing("--data", "the images to train on"))?;
            let plan = arguments.method.source(&arguments.training.head, &arguments.given)?;
            (arguments.groups(data).options(console)?, plan)
        }
    };
    options.train.budget = arguments.budget;
    Ok((options, plan))
}

/// The options and the plan of a run that goes on from another.
fn going_on(arguments: &FitArguments, run: &Path, console: &Console) -> Result<(FitOptions, PlanSource), Failure> {
    let continuation = Continuation::of(run)?;
    let data = arguments.data.as_deref().unwrap_or(&continuation.options.data).to_owned();
    let (given, groups) = (&arguments.given, arguments.groups(&data));
    let options = continuing::options(&continuation, given, &groups, console)?;
    let splits_anew = continuing::splits_anew(&continuation.options, &options);
    let epochs_before = continuation.epochs_before;
    let plan = continuing::plan(continuation, given, &arguments.method, &groups)?;
    console.progress.message(&continuing::told(run, epochs_before, &plan));
    if splits_anew {
        let told = "note: images are held out anew, so validation may hold some that the run before was trained on";
        console.progress.message(told);
    }
    Ok((options, plan))
}

fn missing(option: &str, what: &str) -> Failure {
    Failure::Mistake(format!("{option} is missing; name {what}, or resume a run with --resume"))
}

fn failure(error: FitError, run: &Path) -> Failure {
    if error.is_interruption() {
        // While images are read, nothing is written yet.
        let has_begun = run::read_options(run).is_ok();
        Failure::Interrupted(has_begun.then(|| format!("to continue, run `{}`", resuming("fit", run))))
    } else if could_not_write(&error) && run::is_resumable(run) {
        let advice = format!("the last checkpoint is intact: make room, then run `{}`", resuming("fit", run));
        Failure::Mistake(format!("{error}; {advice}"))
    } else if error.is_of_image() && run::is_resumable(run) {
        Failure::Mistake(format!("{error}; repair it, then run `{}`", resuming("fit", run)))
    } else {
        error.into()
    }
}

/// Whether a file of the run could not be written, as on a full disk.
fn could_not_write(error: &FitError) -> bool {
    let of_weights = |error: &WeightsError| matches!(error, WeightsError::File(error) if error.is_of_writing());
    match error {
        FitError::File(error) | FitError::Train(TrainError::File(error)) => error.is_of_writing(),
        FitError::Train(TrainError::Weights(error)) => of_weights(error),
        FitError::Model(ModelError::Weights(error)) => of_weights(error),
        FitError::Model(ModelError::File(error)) => error.is_of_writing(),
        _ => false,
    }
}

/// What a failed run leaves behind.
struct Traces {
    /// The outermost folder that the run creates; `None` if `out` already exists.
    outermost: Option<PathBuf>,
    /// Whether `out` was an empty folder.
    was_empty: bool,
}

impl Traces {
    fn before(out: &Path) -> Self {
        let absent = out.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists());
        let was_empty = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_none());
        Self { outermost: absent.last().map(Path::to_owned), was_empty }
    }

    /// A run that failed before its first checkpoint cannot be resumed, and its directory would only block its name.
    fn remove_unless_resumable(&self, out: &Path) {
        // Another run holds the directory.
        if run::is_resumable(out) || DirectoryLock::check(out).is_err() {
            return;
        }
        // The user must see the failure itself, not that the cleanup failed too.
        if let Some(folder) = &self.outermost {
            let _ = fs::remove_dir_all(folder);
        } else if self.was_empty {
            let _ = fs::remove_dir_all(out).and_then(|()| fs::create_dir(out));
        }
    }
}
