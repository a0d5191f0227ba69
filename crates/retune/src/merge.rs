//! Models made of the weights of others: along a line between two (WiSE-FT), or the average of
//! several (model soups).

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use retune_pixels::preprocess::Preprocessing;

use crate::files::are_same;
use crate::inference::{Evaluation, InferenceError, Metric};
use crate::methods::{Method, MethodOptions};
use crate::models::{HeadInitialization, Model, ModelError};
use crate::monitor::Monitor;
use crate::run::card::ModelCard;
use crate::run::{self, CurvePoint, EvaluationSource, FitData, FitError, FitOptions};
use crate::sources::SplitName;
use crate::train::average::average;
use crate::train::options::TrainOptions;
use crate::train::{Line, TrainError, Trainer};
use crate::wording::counted;

/// Why models could not be mixed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MixError {
    /// A run cannot be read or its data not opened.
    #[error(transparent)]
    Fit(#[from] FitError),
    /// A model cannot be loaded or saved.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The probe at the line's start failed.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A model could not be evaluated.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// A run is not finished.
    #[error("{run} is not finished", run = .0.display())]
    Unfinished(PathBuf),
    /// Two models cannot be mixed.
    #[error("{one} and {other} cannot be mixed: {reason}", one = one.display(), other = other.display())]
    Different {
        /// A model.
        one: PathBuf,
        /// The other.
        other: PathBuf,
        /// How they differ.
        reason: String,
    },
    /// No run to average.
    #[error("there is no run to average")]
    NoRuns,
    /// The same run twice, which would count double.
    #[error("{run} is named twice", run = .0.display())]
    SameRun(PathBuf),
    /// A greedy soup chooses by images that some of its runs have trained on.
    #[error(
        "{one} and {other} held out different images for validation (their seeds differ and the data has no validation \
         split), so no image is left to choose by; make a uniform soup, or give the data a val/ folder",
        one = one.display(), other = other.display()
    )]
    NoCommonValidation {
        /// A run.
        one: PathBuf,
        /// Another.
        other: PathBuf,
    },
}

impl MixError {
    /// Whether the user stopped it.
    pub fn is_interruption(&self) -> bool {
        match self {
            Self::Fit(error) => error.is_interruption(),
            Self::Train(error) => matches!(error, TrainError::Interrupted),
            Self::Inference(error) => matches!(error, InferenceError::Interrupted),
            _ => false,
        }
    }
}

/// A finished run: its options and its model.
struct FinishedRun {
    path: PathBuf,
    options: FitOptions,
    model: Model,
}

impl FinishedRun {
    fn open(path: &Path) -> Result<Self, MixError> {
        let options = run::read_options(path)?;
        if run::finished(path)?.is_none() {
            return Err(MixError::Unfinished(path.to_owned()));
        }
        Ok(Self { path: path.to_owned(), model: load(path, &options.device, Clone::clone)?, options })
    }
}

fn load(path: &Path, device: &str, change: impl FnOnce(&Preprocessing) -> Preprocessing) -> Result<Model, MixError> {
    let device = crate::device::by_name(device).map_err(FitError::from)?;
    Ok(Model::load(path, None, change, &device)?)
}

/// Whether two models' weights can be averaged: the same tensors, classes in the same order, images seen alike.
fn check_alike(one: (&Path, &Model), other: (&Path, &Model)) -> Result<(), MixError> {
    let different =
        |reason: String| Err(MixError::Different { one: one.0.to_owned(), other: other.0.to_owned(), reason });
    let (first, second) = (one.1.config(), other.1.config());
    if first.architecture() != second.architecture() {
        return different(format!("{} is not {}", first.architecture(), second.architecture()));
    }
    if first.num_classes() != second.num_classes() {
        return different(format!("{} are not {}", counted(first.num_classes(), "class"), second.num_classes()));
    }
    // A model that names no classes leaves it to the other's.
    if let Some((first, second)) = first.label_names().zip(second.label_names())
        && let Some(reason) = classes_differ(&first, &second)
    {
        return different(reason);
    }
    if let Some(difference) = first.preprocessing().difference(second.preprocessing()) {
        return different(difference);
    }
    let specs = one.1.network().specs.iter().zip(other.1.network().specs.iter());
    let differs = |(one, other): &(&crate::models::ParameterSpec, &crate::models::ParameterSpec)| {
        one.name != other.name || one.shape != other.shape
    };
    match specs.into_iter().find(differs) {
        Some((spec, _)) => different(format!("the tensor '{}' has another shape", spec.name)),
        None => Ok(()),
    }
}

/// How two lists of classes differ, if they do.
fn classes_differ(first: &[String], second: &[String]) -> Option<String> {
    let lacks = |one: &[String], other: &[String]| {
        let known: HashSet<&String> = other.iter().collect();
        one.iter().find(|class| !known.contains(class)).cloned()
    };
    if let Some(class) = lacks(first, second) {
        return Some(format!("the first has the class `{class}`, which the second does not know"));
    }
    if let Some(class) = lacks(second, first) {
        return Some(format!("the second has the class `{class}`, which the first does not know"));
    }
    let at = (0..first.len()).find(|&class| first[class] != second[class])?;
    let there = second.iter().position(|class| *class == first[at])?;
    let class = &first[at];
    Some(format!("their classes are in another order: `{class}` is number {at} of the first and {there} of the second"))
}

/// Models between the start and the end of a run.
pub struct RunCurve {
    end: Model,
    line: Line,
    options: FitOptions,
    data: FitData,
    /// What each model on the line does on validation, the run's own further sets and others.
    pub points: Vec<CurvePoint>,
}

impl RunCurve {
    /// Evaluates models on the line to a finished run's model. The line starts at `start`, another
    /// run or model of the same classes; or else at the run's pretrained model with the head of a
    /// linear probe on the run's own training images (its own head, if the run kept that).
    ///
    /// # Errors
    /// A run that is not finished, models that differ, images that cannot be read; an interruption.
    pub fn measure(
        run: &Path,
        start: Option<&Path>,
        alphas: &[f64],
        further: &[EvaluationSource],
        monitor: &dyn Monitor,
    ) -> Result<Self, MixError> {
        let FinishedRun { path, mut options, model: end } = FinishedRun::open(run)?;
        options.evaluations.extend_from_slice(further);
        let (pretrained, data) = run::open_of_run(&options, &path)?;
        let (from, start) = match start {
            Some(start) => {
                let seen = end.config().preprocessing();
                let told = |own: &Preprocessing| {
                    if let Some(difference) = own.difference(seen) {
                        monitor.message(&format!("note: {difference}; both ends see images as the run: {seen}"));
                    }
                    seen.clone()
                };
                (start.to_owned(), load(start, &options.device, told)?)
            }
            // Only the data can have changed since the run.
            None => (options.data.clone(), probed(pretrained, &options, &data, monitor)?),
        };
        check_alike((&from, &start), (&path, &end))?;
        if start.config().label_names().is_none() {
            let (from, path) = (from.display(), path.display());
            monitor.message(&format!("note: {from} names no classes; they are taken in the order of those of {path}"));
        }
        let line = Line { start: start.parameters, end: end.parameters.clone() };
        let points = run::curve(&end, &line, alphas, &options.train, &data, monitor)?;
        Ok(Self { end, line, options, data, points })
    }

    /// The model at a share of the end's weights.
    ///
    /// # Errors
    /// A training image that can no longer be loaded, where running statistics have to be measured; an interruption.
    pub fn model(&self, alpha: f64, monitor: &dyn Monitor) -> Result<Model, MixError> {
        Ok(run::on_line(&self.end, &self.line, alpha, &self.options.train, &self.data, monitor)?)
    }

    /// Saves the model at a share of the end's weights, with its card.
    ///
    /// # Errors
    /// As [`RunCurve::model`]; a file that cannot be written.
    pub fn save(&self, alpha: f64, directory: &Path, monitor: &dyn Monitor) -> Result<(), MixError> {
        let model = self.model(alpha, monitor)?;
        model.save(directory)?;
        let at_share = self.points.iter().find(|point| point.alpha == alpha);
        let splits = at_share.map(|point| point.splits.clone()).unwrap_or_default();
        let (start, alpha) = (1.0 - alpha, alpha);
        let making = format!(
            "The weights are {start:.2} × those before and {alpha:.2} × those after fine-tuning (WiSE-FT: Wortsman et al. 2022, \
             [arXiv 2109.01903](https://arxiv.org/abs/2109.01903))"
        );
        Ok(ModelCard::of_mixture(model.config(), &self.options, making, &splits)
            .write(directory)
            .map_err(FitError::from)?)
    }

    /// The share that is best on validation by the number that chose within the run, the first of equal ones.
    pub fn best_on_validation(&self) -> Option<f64> {
        best_share(&self.points, self.options.train.select)
    }
}

fn best_share(points: &[CurvePoint], metric: Metric) -> Option<f64> {
    let validated = points.iter().filter_map(|point| Some((point.alpha, point.splits.get("val")?)));
    let best = validated.reduce(|best, next| if metric.is_better(next.1, best.1) { next } else { best });
    best.map(|(alpha, _)| alpha)
}

/// The pretrained model with a head that fits.
fn probed(pretrained: Model, options: &FitOptions, data: &FitData, monitor: &dyn Monitor) -> Result<Model, MixError> {
    if options.head_initialization == HeadInitialization::Keep {
        return Ok(pretrained);
    }
    let plan = Method::LP.plan(pretrained.blocks(), &MethodOptions::default()).map_err(FitError::from)?;
    let trainer = Trainer::new(&data.train, &data.validation).options(options.train.clone());
    Ok(trainer.run(&plan, pretrained, monitor)?.model)
}

/// An average of runs, and how it and they do.
pub struct Soup {
    /// The averaged model.
    pub model: Model,
    /// The runs that went in.
    pub chosen: Vec<PathBuf>,
    /// Accuracy and loss of each run and of the soup, by name, on each set: `val`, then the first
    /// run's further sets and others.
    pub results: IndexMap<String, IndexMap<String, Evaluation>>,
    /// The first run's options.
    options: FitOptions,
}

/// Name of the soup's own row in [`Soup::results`].
pub const SOUP: &str = "soup";

/// Name of a run's row: its path, told apart from the soup's own row.
fn row_name(run: &Path) -> String {
    match run.display().to_string() {
        name if name == SOUP => format!("./{name}"),
        name => name,
    }
}

impl Soup {
    /// Averages the models of finished runs (Wortsman et al. 2022, arXiv 2203.05482): all of them,
    /// or, `greedy`, each that does not make the soup worse on validation, the best first, by the number that chose within
    /// the first run. Runs should have started from the same weights, or their average is no model of use.
    ///
    /// # Errors
    /// No run, one that is not finished or named twice, models that differ, no common validation images for a greedy
    /// soup; an interruption.
    pub fn make(
        runs: &[PathBuf],
        greedy: bool,
        further: &[EvaluationSource],
        monitor: &dyn Monitor,
    ) -> Result<Self, MixError> {
        if let Some(twice) = (1..runs.len()).find(|&run| runs[..run].iter().any(|other| are_same(other, &runs[run]))) {
            return Err(MixError::SameRun(runs[twice].clone()));
        }
        let mut opened = runs.iter().map(|run| FinishedRun::open(run)).collect::<Result<Vec<_>, _>>()?;
        let Some((first, others)) = opened.split_first() else { return Err(MixError::NoRuns) };
        for other in others {
            check_alike((&first.path, &first.model), (&other.path, &other.model))?;
        }
        if greedy {
            check_common_validation(&opened)?;
        }
        let mut options = first.options.clone();
        options.evaluations.extend_from_slice(further);
        let (_, data) = run::open_of_run(&options, &first.path)?;
        let train = &options.train;
        let all = |model: &Model, name: &str| run::evaluate_everywhere(model, name, train, &data, monitor);

        let mut results = IndexMap::new();
        for run in &opened {
            let name = row_name(&run.path);
            let found = all(&run.model, &name)?;
            results.insert(name, found);
        }
        let found = |run: &FinishedRun| &results[&row_name(&run.path)]["val"];
        opened.sort_by(|one, other| train.select.order(found(other), found(one)));
        let chosen = if greedy { greedy_choice(opened, train, &data, monitor)? } else { opened };

        let parameters = average(chosen.iter().map(|run| &run.model.parameters));
        let base = &chosen[0].model;
        let model = match parameters {
            Some(parameters) if chosen.len() > 1 => {
                run::renewed(base.with_parameters(parameters), &base.parameters, train, &data, monitor)?
            }
            _ => base.clone(),
        };
        results.insert(SOUP.to_owned(), all(&model, SOUP)?);
        Ok(Self { model, chosen: chosen.into_iter().map(|run| run.path).collect(), results, options })
    }

    /// Saves the averaged model, with its card.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, directory: &Path) -> Result<(), MixError> {
        self.model.save(directory)?;
        let count = self.chosen.len();
        let making = format!(
            "The weights are the average of those of {count} fine-tuned models (model soups: Wortsman et al. 2022, \
             [arXiv 2203.05482](https://arxiv.org/abs/2203.05482))"
        );
        let splits = &self.results[SOUP];
        let card = ModelCard::of_mixture(self.model.config(), &self.options, making, splits);
        Ok(card.write(directory).map_err(FitError::from)?)
    }
}

fn check_common_validation(runs: &[FinishedRun]) -> Result<(), MixError> {
    let first = &runs[0];
    let source = first.options.open_source(&first.options.data).map_err(FitError::from)?;
    let split = source.splits.contains_key(&SplitName::Validation);
    let same = |run: &&FinishedRun| {
        let (one, other) = (&first.options, &run.options);
        one.data == other.data
            && (split
                || (one.train.seed == other.train.seed
                    && one.validation_fraction == other.validation_fraction
                    && one.split_by == other.split_by))
    };
    match runs.iter().find(|run| !same(run)) {
        Some(other) => Err(MixError::NoCommonValidation { one: first.path.clone(), other: other.path.clone() }),
        None => Ok(()),
    }
}

/// Of runs sorted from the best on validation, those of the greedy soup.
fn greedy_choice(
    runs: Vec<FinishedRun>,
    options: &TrainOptions,
    data: &FitData,
    monitor: &dyn Monitor,
) -> Result<Vec<FinishedRun>, MixError> {
    let mut chosen: Vec<FinishedRun> = Vec::new();
    let mut best: Option<Evaluation> = None;
    for run in runs {
        let tried = average(chosen.iter().map(|run| &run.model.parameters).chain([&run.model.parameters]));
        let mixed = run.model.with_parameters(tried.unwrap_or_else(|| run.model.parameters.clone()));
        let model = run::renewed(mixed, &run.model.parameters, options, data, monitor)?;
        let found = run::evaluate_set(&model, "val with one more", &data.validation, options, monitor)?;
        if best.as_ref().is_none_or(|best| options.select.is_as_good(&found, best)) {
            best = Some(found);
            chosen.push(run);
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_share_is_best_by_the_number_that_chose_within_the_run() {
        let point = |alpha: f64, accuracy: f64, precision: f64| {
            let found = Evaluation { accuracy, mean_average_precision: Some(precision), ..Evaluation::default() };
            CurvePoint { alpha, splits: IndexMap::from([("val".to_owned(), found)]) }
        };
        // Few images have all labels right where the mean average precision is best.
        let points = [point(0.0, 0.6, 0.5), point(0.5, 0.4, 0.8), point(1.0, 0.4, 0.8)];
        assert_eq!(best_share(&points, Metric::Accuracy), Some(0.0));
        assert_eq!(best_share(&points, Metric::MeanAveragePrecision), Some(0.5));
        assert_eq!(best_share(&[], Metric::Accuracy), None);
    }

    #[test]
    fn a_run_called_soup_has_a_row_of_its_own() {
        assert_eq!(["soup", "runs/soup", "a"].map(|run| row_name(Path::new(run))), ["./soup", "runs/soup", "a"]);
    }

    #[test]
    fn other_classes_and_another_order_are_told_apart() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let differ = |one: &[&str], other: &[&str]| classes_differ(&names(one), &names(other));
        assert_eq!(differ(&["cat", "dog"], &["cat", "dog"]), None);
        assert_eq!(
            differ(&["cat", "dog"], &["cat", "eel"]).unwrap(),
            "the first has the class `dog`, which the second does not know"
        );
        assert_eq!(
            differ(&["0", "10", "2"], &["0", "2", "10"]).unwrap(),
            "their classes are in another order: `10` is number 1 of the first and 2 of the second"
        );
    }
}
