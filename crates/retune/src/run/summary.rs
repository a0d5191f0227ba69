//! `summary.json`: what a run found, and the evaluations that it is made of.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::caveat::Caveat;
use super::{FitData, TemperatureScaling};
use crate::inference::{self, Evaluation, InferenceError};
use crate::loading::{CacheOptions, Loader, LoaderOptions, MemoryBudget};
use crate::models::{Model, Parameters};
use crate::monitor::Monitor;
use crate::plan::Plan;
use crate::sources::{DataError, Dataset};
use crate::train::average::interpolate;
use crate::train::options::TrainOptions;
use crate::train::running_statistics;
use crate::train::{Line, PhaseOutcome, Trained};

/// The shares at which WiSE-FT's authors draw their curve.
const CURVE_ALPHAS: [f64; 11] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0];

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
    /// What makes the numbers of some sets say less than they seem to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caveats: Vec<Caveat>,
    /// `splits` of models along the line of weights that an interpolation was taken from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interpolation: Option<Vec<CurvePoint>>,
    /// The temperature of the model's probabilities. `None` of older runs, and where validation has no best one, as without
    /// a mistake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<TemperatureScaling>,
    /// The probability of each label from which on an image is taken to have it, where images have several labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thresholds: Option<Vec<f64>>,
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

pub(super) type EvaluateSet<'a> = dyn FnMut(&str, &Dataset) -> Result<Evaluation, InferenceError> + 'a;

pub(super) fn summarize_by(
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
        caveats: Vec::new(),
        interpolation,
        temperature: None,
        thresholds: None,
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
    let loader = loader.among(&options.processes);
    inference::evaluate_each(model, &loader, &format!("evaluating {name}"), monitor, |_, _| ())
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
            let model = on_line(model, line, alpha, options, data, monitor)?;
            let splits = evaluate_everywhere(&model, &format!("alpha {alpha}"), options, data, monitor)?;
            Ok(CurvePoint { alpha, splits })
        })
        .collect()
}

/// The model at a share of a line's end. Between the ends, running statistics that may follow the data are measured on
/// the training images.
///
/// # Errors
/// An image that cannot be loaded; an interruption.
pub(crate) fn on_line(
    model: &Model,
    line: &Line,
    alpha: f64,
    options: &TrainOptions,
    data: &FitData,
    monitor: &dyn Monitor,
) -> Result<Model, InferenceError> {
    let between = model.with_parameters(interpolate(&line.start, &line.end, alpha));
    if alpha <= 0.0 || alpha >= 1.0 {
        return Ok(between);
    }
    renewed(between, &line.start, options, data, monitor)
}

/// A model made of several others' weights, with running statistics of its own where the options let them follow the
/// data; blocks that are the same in `reference`, one of those others, keep theirs.
///
/// # Errors
/// An image that cannot be loaded; an interruption.
pub(crate) fn renewed(
    mixed: Model,
    reference: &Parameters,
    options: &TrainOptions,
    data: &FitData,
    monitor: &dyn Monitor,
) -> Result<Model, InferenceError> {
    let TrainOptions { batch_size, threads, batch_norm, seed, .. } = *options;
    let copy = mixed.clone();
    let images = || evaluation_loader(data.train.clone(), &copy, batch_size, threads);
    running_statistics::renew(mixed, reference, batch_norm, images, seed, monitor)
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
