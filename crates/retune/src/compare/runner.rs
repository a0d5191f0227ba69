//! The runs of a comparison: made once, and resumed after an interruption.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::judgments::Judgments;
use super::run_monitor::RunMonitor;
use super::{Comparison, MethodRow, table};
use crate::features::Shard;
use crate::files::lock::{DirectoryLock, LOCK_FILE, LockError};
use crate::files::{self, FileError};
use crate::methods::{MethodOptions, MethodSpec};
use crate::models::Model;
use crate::monitor::Monitor;
use crate::plan::Plan;
use crate::report::pictures::{self, MissingPicture, Pictures};
use crate::run::{self, FitData, FitError, FitOptions, PLOTS_FOLDER, PlanSource, Summary};
use crate::sources::{ReadImages, SplitName};
use crate::train::{Shared, TrainError};

const OPTIONS_FILE: &str = "compare.toml";
/// The table that is written last.
const TABLE_FILE: &str = "comparison.json";
const RUNS_FOLDER: &str = "runs";
/// Maximum length of a folder's name in bytes; file systems allow 255.
const LONGEST_NAME: usize = 160;

/// Why a comparison ended without a table.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// A problem with the data, the model, or a method.
    #[error(transparent)]
    Fit(Box<FitError>),
    /// A run failed.
    #[error("{run}: {source}")]
    Run {
        /// The run.
        run: String,
        /// Why.
        source: Box<FitError>,
    },
    /// The directory holds a comparison with other options.
    #[error("{path} holds a comparison with other options ({differs})", path = path.display())]
    OtherOptions {
        /// The directory.
        path: PathBuf,
        /// Which option differs.
        differs: String,
    },
    /// The directory holds something else.
    #[error("{path} already exists and is not a comparison", path = .0.display())]
    OutputTaken(PathBuf),
    /// The comparison has no tables yet.
    #[error("{path} is not finished", path = .0.display())]
    NotFinished(PathBuf),
    /// The directory is not a comparison.
    #[error("{path} is not a comparison: it lacks {OPTIONS_FILE}", path = .0.display())]
    NotAComparison(PathBuf),
    /// Another process works in the directory.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// `compare.toml` or a table cannot be read or written.
    #[error("{path}: {reason}", path = path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl CompareError {
    /// Whether the user stopped it.
    pub fn is_interruption(&self) -> bool {
        matches!(self, Self::Run { source, .. } | Self::Fit(source) if source.is_interruption())
    }

    fn is_divergence(&self) -> bool {
        let Self::Run { source, .. } = self else { return false };
        matches!(**source, FitError::Train(TrainError::Diverged { .. }))
    }
}

/// Every resolved option of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CompareOptions {
    /// The methods, in the order of the table.
    pub methods: Vec<MethodSpec>,
    /// The seeds; each makes a run of every method.
    pub seeds: Vec<u64>,
    /// The options that all methods share.
    pub method_options: MethodOptions,
    /// The options that all runs share; the seed is set for each.
    pub fit: FitOptions,
}

impl CompareOptions {
    /// The options that a comparison was started with.
    ///
    /// # Errors
    /// A directory that is not a comparison, or a file that cannot be understood.
    pub fn read(out: &Path) -> Result<Self, CompareError> {
        let path = out.join(OPTIONS_FILE);
        if !files::holds(out, OPTIONS_FILE)? {
            return Err(CompareError::NotAComparison(out.to_owned()));
        }
        let reason = |error: toml::de::Error| CompareError::Text { path: path.clone(), reason: error.to_string() };
        toml::from_str(&files::read_text(&path)?).map_err(reason)
    }

    /// Finds mistakes early that would otherwise show only when a later run starts.
    pub(super) fn planned(&self) -> Result<Planned, CompareError> {
        let planned = || -> Result<Planned, FitError> {
            let (model, data) = run::open(&self.fit)?;
            let source = self.fit.open_source(&self.fit.data)?;
            let plans = self.methods.iter().map(|spec| run::settled_plan(&self.fit, &self.plan(spec), &model));
            let plans = plans.collect::<Result<_, _>>()?;
            let draws = self.fit.model.from_scratch || !source.splits.contains_key(&SplitName::Validation);
            Ok(Planned { model, data, plans, draws })
        };
        planned().map_err(|error| CompareError::Fit(Box::new(error)))
    }

    /// The methods in whose runs nothing depends on the seed.
    fn without_seed(&self) -> Result<BTreeSet<String>, CompareError> {
        let planned = self.planned()?;
        let repeated = self.methods.iter().zip(&planned.plans).filter(|(_, plan)| !planned.follows_seed(plan));
        Ok(repeated.map(|(spec, _)| spec.label()).collect())
    }

    fn plan(&self, spec: &MethodSpec) -> PlanSource {
        PlanSource::Method(spec.method, spec.options(&self.method_options))
    }

    /// Checks that the directory holds a comparison with these options, or nothing. Methods and seeds may differ.
    ///
    /// # Errors
    /// What else is there.
    pub fn check_directory(&self, out: &Path) -> Result<(), CompareError> {
        if out.join(OPTIONS_FILE).is_file() {
            let before = Self::read(out)?;
            if let Some(differs) = self.difference(&before) {
                return Err(CompareError::OtherOptions { path: out.to_owned(), differs });
            }
        } else if out.is_file() || holds_something(out) {
            return Err(CompareError::OutputTaken(out.to_owned()));
        }
        Ok(())
    }

    /// Writes the options. Runs that are no longer asked for stay on the disk.
    fn claim(&self, out: &Path) -> Result<(), CompareError> {
        self.check_directory(out)?;
        let path = out.join(OPTIONS_FILE);
        files::create_folder(out)?;
        let text = toml::to_string(self)
            .map_err(|error| CompareError::Text { path: path.clone(), reason: error.to_string() })?;
        Ok(files::write_atomically(&path, |file| file.write_all(text.as_bytes()))?)
    }

    /// The first option in which the runs of two comparisons differ.
    fn difference(&self, before: &Self) -> Option<String> {
        let flat = |options: &Self| {
            let mut values = IndexMap::new();
            let common = (&options.method_options, FitOptions { train: options.train_for(0), ..options.fit.clone() });
            if let Ok(value) = serde_json::to_value(common) {
                flatten(String::new(), &value, &mut values);
            }
            values
        };
        let (now, then) = (flat(self), flat(before));
        let keys = now.keys().chain(then.keys());
        keys.into_iter().find(|key| now.get(*key) != then.get(*key)).map(|key| {
            let shown =
                |values: &IndexMap<String, String>| values.get(key).cloned().unwrap_or_else(|| "nothing".into());
            format!("{}: {} there, {} here", key.trim_start_matches(['.', '0', '1']), shown(&then), shown(&now))
        })
    }

    fn train_for(&self, seed: u64) -> crate::train::options::TrainOptions {
        // The number of threads changes no result.
        crate::train::options::TrainOptions { seed, threads: 1, ..self.fit.train.clone() }
    }
}

/// What the runs of a comparison start from.
pub(super) struct Planned {
    pub model: Model,
    pub data: FitData,
    /// One for each method.
    pub plans: Vec<Plan>,
    /// Whether the seed draws weights or the images of validation.
    draws: bool,
}

impl Planned {
    /// Whether the runs of a plan differ from seed to seed.
    pub fn follows_seed(&self, plan: &Plan) -> bool {
        self.draws || !plan.is_deterministic()
    }
}

/// Whether a folder holds anything besides what a comparison leaves if it is killed at its start.
fn holds_something(out: &Path) -> bool {
    let is_leftover = |path: &Path| files::is_partial(path) || path.file_name().is_some_and(|name| name == LOCK_FILE);
    fs::read_dir(out).is_ok_and(|entries| entries.flatten().any(|entry| !is_leftover(&entry.path())))
}

fn flatten(key: String, value: &serde_json::Value, into: &mut IndexMap<String, String>) {
    match value {
        serde_json::Value::Object(map) => {
            map.iter().for_each(|(name, value)| flatten(format!("{key}.{name}"), value, into));
        }
        serde_json::Value::Array(list) if key.is_empty() => {
            list.iter().enumerate().for_each(|(index, value)| flatten(format!("{key}.{index}"), value, into));
        }
        value => {
            into.insert(key, value.to_string());
        }
    }
}

/// Whether a directory holds a comparison.
pub fn is_comparison(directory: &Path) -> bool {
    directory.join(OPTIONS_FILE).is_file()
}

/// Checks that a comparison has its tables.
///
/// # Errors
/// [`CompareError::NotFinished`].
pub fn check_finished(out: &Path) -> Result<(), CompareError> {
    if out.join(TABLE_FILE).is_file() { Ok(()) } else { Err(CompareError::NotFinished(out.to_owned())) }
}

/// The results of a comparison's finished runs, with each run's method and directory.
///
/// # Errors
/// A directory that is not a comparison, or files that cannot be read.
pub fn read(out: &Path) -> Result<(Comparison, Vec<(String, PathBuf)>), CompareError> {
    let options = CompareOptions::read(out)?;
    let (mut found, mut runs) = (Vec::new(), Vec::new());
    for spec in &options.methods {
        for &seed in &options.seeds {
            let run = run_directory(out, spec, seed);
            let summary = run::finished(&run).map_err(|error| CompareError::Fit(Box::new(error)))?;
            if let Some(summary) = summary {
                found.push(Found { label: spec.label(), seed, summary, run: run.clone() });
                runs.push((spec.label(), run));
            }
        }
    }
    Ok((put_together(&options, &found)?, runs))
}

/// A finished run.
struct Found {
    label: String,
    seed: u64,
    summary: Summary,
    run: PathBuf,
}

/// One run to be made.
struct Job<'a> {
    spec: &'a MethodSpec,
    seed: u64,
    out: PathBuf,
}

impl Job<'_> {
    fn name(&self) -> String {
        format!("{}, seed {}", self.spec.label(), self.seed)
    }
}

/// How the runs of a comparison are made.
#[derive(Clone, Copy, Debug)]
pub struct Making {
    /// Runs at the same time.
    pub jobs: usize,
    /// Whether to draw pictures of each run and of the comparison; the monitor hears of those that cannot be drawn.
    pub pictures: bool,
}

/// Makes the missing runs and writes the tables. `command` is kept as the command that was typed.
///
/// # Errors
/// The first run that fails, or an interruption, after which the same call continues.
pub fn run(
    options: &CompareOptions,
    out: &Path,
    command: Option<&str>,
    making: Making,
    monitor: &dyn Monitor,
) -> Result<Comparison, CompareError> {
    DirectoryLock::check(out)?;
    let without_seed = options.without_seed()?;
    options.claim(out)?;
    let lock = DirectoryLock::acquire(out)?;
    lock.warn_without_lock(monitor);
    files::remove_partials(out);
    let found = Crew::new(options, out, command, making, monitor)?.make(jobs(options, &without_seed, out))?;
    let comparison = put_together(options, &found)?;
    write(&comparison, out)?;
    if making.pictures {
        tell_missing(&draw(&comparison, out), monitor);
    }
    Ok(comparison)
}

/// Makes the missing runs of one shard, for several processes that share the directory, and no tables: [`run`] makes these of
/// the finished runs. Returns the shard's runs.
///
/// # Errors
/// As [`run`].
pub fn run_shard(
    options: &CompareOptions,
    out: &Path,
    command: Option<&str>,
    shard: Shard,
    making: Making,
    monitor: &dyn Monitor,
) -> Result<Vec<PathBuf>, CompareError> {
    let without_seed = options.without_seed()?;
    // Others work in the directory too; each run has a lock of its own.
    options.claim(out)?;
    let jobs = jobs(options, &without_seed, out).into_iter().enumerate();
    let own: VecDeque<Job> = jobs.filter(|(index, _)| shard.deals(*index)).map(|(_, job)| job).collect();
    let found = Crew::new(options, out, command, making, monitor)?.make(own)?;
    Ok(found.into_iter().map(|found| found.run).collect())
}

/// All runs, seed by seed.
fn jobs<'a>(options: &'a CompareOptions, without_seed: &BTreeSet<String>, out: &Path) -> VecDeque<Job<'a>> {
    options
        .seeds
        .iter()
        .flat_map(|&seed| options.methods.iter().map(move |spec| (seed, spec)))
        .filter(|(seed, spec)| options.seeds.first() == Some(seed) || !without_seed.contains(&spec.label()))
        .map(|(seed, spec)| Job { spec, seed, out: run_directory(out, spec, seed) })
        .collect()
}

/// A run's directory. Its name is the label, changed into a name that every file system allows.
fn run_directory(out: &Path, spec: &MethodSpec, seed: u64) -> PathBuf {
    let safe =
        |character: char| if character.is_ascii_alphanumeric() || "-._+".contains(character) { character } else { '_' };
    let whole = spec.label();
    let mut label: String = whole.chars().map(safe).collect();
    // A long list of tensors is no file's name; a hash tells it from others that begin alike.
    if label.len() > LONGEST_NAME {
        label.truncate(LONGEST_NAME - 17);
        label.push_str(&format!("-{:016x}", retune_random::hash(whole.as_bytes())));
    }
    out.join(RUNS_FOLDER).join(label).join(format!("seed-{seed}"))
}

fn put_together(options: &CompareOptions, found: &[Found]) -> Result<Comparison, CompareError> {
    let failed = |error: FitError| CompareError::Fit(Box::new(error));
    let mut rows: Vec<MethodRow> = options.methods.iter().map(|spec| MethodRow::new(spec.label())).collect();
    for row in &mut rows {
        for seed in &options.seeds {
            let Some(found) = found.iter().find(|found| found.label == row.label && found.seed == *seed) else {
                continue;
            };
            let judgments = Judgments::read(&found.run, &found.summary.classes)?;
            row.add(*seed, found.summary.clone(), judgments);
        }
        let Some(first) = found.iter().find(|found| found.label == row.label) else { continue };
        let is_deterministic = run::read_plan(&first.run).map_err(failed)?.is_deterministic();
        row.without_seed = options.seeds.len() > 1 && is_deterministic && row.repeats_itself();
    }
    let further: Vec<String> = options.fit.evaluations.iter().map(|source| source.name.clone()).collect();
    Ok(Comparison::new(rows, &further))
}

/// Writes the tables of a comparison.
fn write(comparison: &Comparison, out: &Path) -> Result<(), CompareError> {
    let failed = |name: &str, reason: String| CompareError::Text { path: out.join(name), reason };
    let json =
        serde_json::to_string_pretty(&comparison.document()).map_err(|error| failed(TABLE_FILE, error.to_string()))?;
    let csv = table::csv(comparison).map_err(|error| failed("comparison.csv", error.to_string()))?;
    let texts = [
        ("comparison.md", table::markdown(comparison)),
        ("comparison.tex", table::latex(comparison)),
        ("comparison.csv", csv),
        (TABLE_FILE, json),
    ];
    for (name, text) in texts {
        files::write_atomically(&out.join(name), |file| file.write_all(text.as_bytes()))?;
    }
    Ok(())
}

/// Draws the pictures of a comparison.
fn draw(comparison: &Comparison, out: &Path) -> Vec<MissingPicture> {
    let mut pictures = Pictures::new(out.to_owned());
    let scatters = comparison.scatters();
    let only = scatters.len() == 1;
    let sets: Vec<String> = scatters.iter().map(|(set, _)| set.to_string()).collect();
    for ((_, figure), safe) in scatters.into_iter().zip(pictures::file_names(&sets)) {
        pictures.add(&if only { "id_ood".to_owned() } else { format!("id_ood_{safe}") }, || figure.into());
    }
    pictures.missing
}

fn tell_missing(missing: &[MissingPicture], monitor: &dyn Monitor) {
    missing.iter().for_each(|missing| monitor.message(&format!("note: {missing}")));
}

/// What runs share. Without a validation split in the data, each seed splits it differently, and keeping the images of
/// all seeds would only cost memory.
enum SharedBySeed {
    Always(Shared),
    Within {
        /// However it is split, it is the same images.
        read: Arc<ReadImages>,
        by_seed: Mutex<IndexMap<u64, Arc<Shared>>>,
    },
}

impl SharedBySeed {
    fn new(options: &CompareOptions) -> Self {
        // A source that cannot be opened fails in the first run, with its reason.
        let source = options.fit.open_source(&options.fit.data);
        let split = source.is_ok_and(|source| source.splits.contains_key(&SplitName::Validation));
        if split {
            Self::Always(Shared::default())
        } else {
            Self::Within { read: Arc::default(), by_seed: Mutex::default() }
        }
    }

    fn with<T>(&self, seed: u64, work: impl FnOnce(&Shared) -> T) -> T {
        match self {
            Self::Always(shared) => work(shared),
            Self::Within { read, by_seed } => {
                let shared = {
                    let mut by_seed = by_seed.lock().unwrap_or_else(PoisonError::into_inner);
                    // Jobs come seed by seed: what earlier seeds shared is done with, and lives on
                    // only in the runs that still use it.
                    by_seed.retain(|&known, _| known == seed);
                    by_seed.entry(seed).or_insert_with(|| Arc::new(Shared::knowing(Arc::clone(read)))).clone()
                };
                work(&shared)
            }
        }
    }
}

/// Threads that take jobs from one queue.
struct Crew<'a> {
    options: &'a CompareOptions,
    shared: SharedBySeed,
    queue: Mutex<VecDeque<Job<'a>>>,
    found: Mutex<Vec<Found>>,
    failure: Mutex<Option<CompareError>>,
    started: AtomicUsize,
    told: Mutex<BTreeSet<String>>,
    total: usize,
    jobs: usize,
    pictures: bool,
    monitor: &'a dyn Monitor,
}

impl<'a> Crew<'a> {
    fn new(
        options: &'a CompareOptions,
        out: &Path,
        command: Option<&str>,
        making: Making,
        monitor: &'a dyn Monitor,
    ) -> Result<Self, CompareError> {
        run::record_command(out, command)
            .map_err(FitError::from)
            .map_err(|error| CompareError::Fit(Box::new(error)))?;
        Ok(Self {
            options,
            shared: SharedBySeed::new(options),
            queue: Mutex::default(),
            found: Mutex::default(),
            failure: Mutex::default(),
            started: AtomicUsize::new(0),
            told: Mutex::default(),
            total: 0,
            jobs: making.jobs.max(1),
            pictures: making.pictures,
            monitor,
        })
    }

    /// Makes runs, resumes them, or reads their results.
    fn make(mut self, jobs: VecDeque<Job<'a>>) -> Result<Vec<Found>, CompareError> {
        self.total = jobs.len();
        self.queue = Mutex::new(jobs);
        std::thread::scope(|scope| {
            for _ in 1..self.jobs.min(self.total) {
                scope.spawn(|| self.work());
            }
            self.work();
        });
        match self.failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(failure) => Err(failure),
            None => Ok(self.found.into_inner().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    fn work(&self) {
        loop {
            let failed = self.failure.lock().unwrap_or_else(PoisonError::into_inner).is_some();
            let job = self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            let Some(job) = job.filter(|_| !failed) else { return };
            match self.shared.with(job.seed, |shared| self.make_run(&job, shared)) {
                Ok(summary) => {
                    let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
                    found.push(Found { label: job.spec.label(), seed: job.seed, summary, run: job.out.clone() });
                }
                Err(failure) if failure.is_divergence() => {
                    self.monitor.message(&format!("{failure}; the run is left out of the table"));
                }
                Err(failure) => {
                    let mut first = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                    first.get_or_insert(failure);
                }
            }
        }
    }

    /// Makes a run, resumes it, or reads its results.
    fn make_run(&self, job: &Job, shared: &Shared) -> Result<Summary, CompareError> {
        let number = self.started.fetch_add(1, Ordering::Relaxed) + 1;
        let of_run = |source: FitError| CompareError::Run { run: job.name(), source: Box::new(source) };
        if run::finished(&job.out).map_err(of_run)?.is_some() {
            // It may have been killed between its summary and its pictures.
            let summary = run::resume(&job.out, None, self.monitor).map_err(of_run)?;
            if self.pictures && !job.out.join(PLOTS_FOLDER).is_dir() {
                tell_missing(&pictures::draw(&job.out, &summary), self.monitor);
            }
            return Ok(summary);
        }
        self.monitor.message(&format!("run {number} of {}: {}", self.total, job.name()));
        let prefix = (self.jobs > 1).then(|| job.name());
        let (runs_before, seconds_before) = {
            let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            (found.len(), found.iter().map(|found| found.summary.seconds).sum())
        };
        let monitor = RunMonitor {
            inner: self.monitor,
            told: &self.told,
            prefix,
            begun: Instant::now(),
            runs_before,
            seconds_before,
            runs_after: self.queue.lock().unwrap_or_else(PoisonError::into_inner).len().div_ceil(self.jobs),
        };
        let summary = match run::clear_unless_begun(&job.out).map_err(of_run)? {
            true => run::resume(&job.out, Some(shared), &monitor),
            false => {
                let mut options = self.options.fit.clone();
                options.train.seed = job.seed;
                run::start(&options, &self.options.plan(job.spec), &job.out, None, Some(shared), &monitor)
            }
        }
        .map_err(of_run)?;
        if self.pictures {
            tell_missing(&pictures::draw(&job.out, &summary), &monitor);
        }
        Ok(summary)
    }
}
