//! Whether a finished run still is what it says: its files, its frozen tensors, its accuracies.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::hashes::{HASHES_FILE, Hashes, sha256};

use crate::files::{self, FileError};
use crate::inference::{Evaluation, InferenceError};
use crate::models::{Model, ModelError};
use crate::monitor::Monitor;
use crate::plan::{Plan, PlanError};
use crate::run::{self, FitData, FitError, FitOptions, Summary};
use crate::train;

/// Why a run could not be verified at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The run cannot be read.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The plan cannot be understood.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The hashes cannot be understood.
    #[error("{path} cannot be understood: {reason}", path = path.display())]
    Hashes {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// There is nothing to verify yet.
    #[error("{run} is not finished", run = .0.display())]
    Unfinished(PathBuf),
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It holds.
    Holds,
    /// It does not.
    Broken,
    /// It could not be checked.
    Unchecked,
}

/// One check of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was checked.
    pub what: String,
    /// What came of it.
    pub outcome: Outcome,
    /// The particulars.
    pub detail: String,
}

impl Check {
    fn new(what: &str, outcome: Outcome, detail: String) -> Self {
        Self { what: what.to_owned(), outcome, detail }
    }
}

/// Checks a finished run: that its files are those that were written, that every tensor which the
/// plan freezes is the starting model's to the bit, and that the stored model has the stored
/// accuracies on data of the same classes. What cannot be checked because the model or the images are gone is said so.
///
/// # Errors
/// A directory that is no finished run; an interruption.
pub fn verify(run: &Path, monitor: &dyn Monitor) -> Result<Vec<Check>, VerifyError> {
    let options = run::read_options(run)?;
    let summary = run::finished(run)?.ok_or_else(|| VerifyError::Unfinished(run.to_owned()))?;
    let plan = Plan::from_toml(&files::read_text(&run.join(run::PLAN_FILE))?)?;
    let mut checks = check_files(run)?;
    let loaded = crate::device::by_name(&options.device)
        .map_err(FitError::from)
        .and_then(|device| Ok(Model::load(&run.join(run::MODEL_FOLDER), None, Clone::clone, &device)?));
    let model = match loaded {
        Ok(model) => model,
        Err(error) => {
            checks.push(Check::new("model", Outcome::Broken, error.to_string()));
            return Ok(checks);
        }
    };
    match run::open_of_run(&options, run) {
        Ok((start, data)) => {
            checks.push(check_frozen(&plan, &start, &model));
            check_accuracies(&summary, &options, &model, data, monitor, &mut checks)?;
        }
        // The images are there, but not those of the run.
        Err(error) if error.is_of_classes() => {
            match run::starting_model(&options, &summary.classes) {
                Ok(start) => checks.push(check_frozen(&plan, &start, &model)),
                Err(error) => checks.push(Check::new("frozen tensors", Outcome::Unchecked, error.to_string())),
            }
            checks.push(Check::new("accuracies", Outcome::Broken, error.to_string()));
        }
        Err(error) => {
            for what in ["frozen tensors", "accuracies"] {
                checks.push(Check::new(what, Outcome::Unchecked, error.to_string()));
            }
        }
    }
    Ok(checks)
}

fn check_files(run: &Path) -> Result<Vec<Check>, VerifyError> {
    let path = run.join(HASHES_FILE);
    if !path.is_file() {
        let detail = format!("{} is not there", path.display());
        return Ok(vec![Check::new("files", Outcome::Unchecked, detail)]);
    }
    let hashes: Hashes = serde_json::from_str(&files::read_text(&path)?)
        .map_err(|error| VerifyError::Hashes { path, reason: error.to_string() })?;
    let check = |(name, expected): (&String, &String)| match sha256(&run.join(name)) {
        Ok(found) if found == *expected => Check::new(name, Outcome::Holds, format!("SHA-256 {found}")),
        Ok(found) => Check::new(name, Outcome::Broken, format!("SHA-256 is {found}, and was {expected}")),
        Err(error) => Check::new(name, Outcome::Broken, format!("cannot be read: {error}")),
    };
    Ok(hashes.sha256.iter().map(check).collect())
}

fn check_frozen(plan: &Plan, start: &Model, end: &Model) -> Check {
    let what = "frozen tensors";
    let specs = &start.network().specs;
    if specs.len() != end.network().specs.len() {
        let detail = format!("the model has {} tensors, and began with {}", end.network().specs.len(), specs.len());
        return Check::new(what, Outcome::Broken, detail);
    }
    let changed = plan.changed_parameters(start.blocks(), specs);
    match train::first_difference(&start.parameters, &end.parameters, &changed) {
        Ok(Some(name)) => {
            let detail = format!("'{name}' is not as in the model that the run began with");
            Check::new(what, Outcome::Broken, detail)
        }
        Ok(None) => {
            let frozen = changed.iter().filter(|changed| !**changed).count();
            let detail = match frozen {
                0 => "none: the plan trains every block".to_owned(),
                _ => format!("{frozen} of {} are as they were, to the bit", specs.len()),
            };
            Check::new(what, Outcome::Holds, detail)
        }
        Err(error) => Check::new(what, Outcome::Unchecked, error.to_string()),
    }
}

fn check_accuracies(
    summary: &Summary,
    options: &FitOptions,
    model: &Model,
    data: FitData,
    monitor: &dyn Monitor,
    checks: &mut Vec<Check>,
) -> Result<(), VerifyError> {
    let sets = std::iter::once(("val".to_owned(), data.validation)).chain(data.evaluations);
    for (name, dataset) in sets {
        let what = format!("accuracy on {name}");
        let Some(stored) = summary.splits.get(&name) else { continue };
        checks.push(match run::evaluate_set(model, &name, &dataset, &options.train, monitor) {
            Ok(found) => compare(&what, stored, &found, options.train.activations.half),
            Err(InferenceError::Interrupted) => return Err(VerifyError::Interrupted),
            Err(InferenceError::Data(error)) => Check::new(&what, Outcome::Unchecked, error.to_string()),
            Err(error) => Check::new(&what, Outcome::Broken, error.to_string()),
        });
    }
    Ok(())
}

/// The same number of images; the same loss to rounding, and right answers that differ by no more than
/// ties: a linear probe adds its logits up in double precision, another processor in another order.
/// Activations that were kept in half precision round more.
fn compare(what: &str, stored: &Evaluation, found: &Evaluation, half: bool) -> Check {
    let (tolerance, ties) = if half { (2e-2, 100) } else { (1e-4, 1000) };
    let right = |evaluation: &Evaluation| evaluation.accuracy * evaluation.n as f64;
    let same = stored.n == found.n
        && (stored.loss - found.loss).abs() <= tolerance * (1.0 + stored.loss.abs())
        && (right(stored) - right(found)).abs() <= (stored.n / ties).max(1) as f64 + 1e-6;
    let outcome = if same { Outcome::Holds } else { Outcome::Broken };
    let shown = |evaluation: &Evaluation| {
        format!("{:.0} of {} right, loss {:.6}", right(evaluation), evaluation.n, evaluation.loss)
    };
    Check::new(what, outcome, format!("{} stored; {} found", shown(stored), shown(found)))
}

impl From<ModelError> for VerifyError {
    fn from(error: ModelError) -> Self {
        Self::Fit(error.into())
    }
}
