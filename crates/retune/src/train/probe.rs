//! The linear probe: multinomial logistic regression on fixed features, over a path of L2 strengths.
//!
//! This is how LP-FT fits its head (Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform
//! Out-of-Distribution", arXiv 2202.10054, appendix on training details; reference implementation
//! `unlabeled_extrapolation/log_reg_sk.py` of github.com/AnanyaKumar/transfer_learning): 50 values of scikit-learn's `C`
//! log-spaced from 1e-7 to 1e2, each fit started from the one before, the most accurate on validation kept.
//!
//! For one `C` the objective is exactly that of scikit-learn's `LogisticRegression(solver="lbfgs")`,
//!
//! ```text
//! C · Σᵢ cᵢ · crossentropy(W zᵢ + b, yᵢ) + ½ ‖W‖²      (the bias b is not penalized)
//! ```
//!
//! where `cᵢ` is the weight of row i's class (1 without class weights) and `z` are the features that the penalty sees.
//! [`fit_one`] takes the features as they are, `z = x`. [`fit_path`] divides them by one number, the standard deviation
//! of all entries of the training matrix, as the reference implementation does, so that the grid of strengths means the
//! same for every network; the probe it returns acts on the features as they are. (Centring changes nothing: the free
//! bias absorbs it. It is done inside for the sake of conditioning.)
//!
//! Features are single precision and are read in place, from memory or a file. Losses and gradients are summed in double
//! precision, in an order that depends on the sizes alone: the result has the same bits on any number of threads, wherever
//! the features are, and by any number of processes, each of which holds some of the rows.

use std::ops::ControlFlow;

use rayon::prelude::*;

use crate::inference::{Evaluation, Metric};

mod choice;
mod curvature;
mod division;
mod error;
mod features;
mod kernel;
mod lbfgs;
mod objective;
mod of_features;
mod tridiagonal;

pub use error::ProbeError;
pub use features::FeatureMatrix;
pub use of_features::LabeledFeatures;

use choice::{evaluate, has_turned};
pub(super) use choice::{for_each_logits, logits};
use features::RowBuffer;

use lbfgs::{Limits, Objective, Outcome, Stop};
use objective::{Classifier, Coordinates, PenalizedLoss, score};

/// How one logistic regression is solved.
#[derive(Clone, Debug, PartialEq)]
pub struct SolverOptions {
    /// L-BFGS iterations at most, for each strength.
    pub max_iterations: usize,
    /// The fit has converged when the gradient's norm is at most this share of its norm at zero weights. Single-precision
    /// features resolve about 1e-6.
    pub tolerance: f64,
    /// A factor on the loss of each class's rows, one a class.
    pub class_weights: Option<Vec<f64>>,
}

impl Default for SolverOptions {
    fn default() -> Self {
        Self { max_iterations: 100, tolerance: 1e-4, class_weights: None }
    }
}

/// Options of [`fit_path`].
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeOptions {
    /// Values of scikit-learn's `C`, the *inverse* of the strength of the L2 penalty, all positive. They are fitted from
    /// the smallest (strongest penalty) to the largest, whatever their order here.
    pub inverse_strengths: Vec<f64>,
    /// The number on validation by which the strength is chosen.
    pub select: Metric,
    /// How each of them is solved.
    pub solver: SolverOptions,
}

impl Default for ProbeOptions {
    /// The grid of Kumar et al.: 50 values log-spaced from 1e-7 to 1e2.
    fn default() -> Self {
        let inverse_strengths = (0..50).map(|i| 10_f64.powf(-7.0 + 9.0 * f64::from(i) / 49.0));
        Self {
            inverse_strengths: inverse_strengths.collect(),
            select: Metric::default(),
            solver: SolverOptions::default(),
        }
    }
}

/// A fitted linear classifier, `logits = weight · features + bias`.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearClassifier {
    /// k×d, row-major: one row a class.
    pub weight: Vec<f32>,
    /// k biases.
    pub bias: Vec<f32>,
    /// How the fit ended.
    pub diagnostics: Diagnostics,
}

/// How a fit ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Diagnostics {
    /// L-BFGS iterations.
    pub iterations: usize,
    /// The objective at the end, on scikit-learn's scale: `C · Σ loss + ½ ‖W‖²`.
    pub objective: f64,
    /// Norm of the gradient of objective / (C · Σ class weights), the mean loss with its penalty.
    pub gradient_norm: f64,
    /// Whether the gradient fell below the tolerance; otherwise the iterations ran out or rounding stopped the descent.
    pub converged: bool,
}

/// The probe that was the best on validation, for the features as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// k×d, row-major: one row a class.
    pub weight: Vec<f32>,
    /// k biases.
    pub bias: Vec<f32>,
    /// The chosen `C` (inverse of the penalty's strength).
    pub inverse_strength: f64,
    /// What the features are divided by before the penalty sees them: for the features as they are, scikit-learn's `C` is
    /// the inverse strength divided by the square of this.
    pub scale: f64,
    /// Every fit, from the strongest penalty to the weakest, or until validation had clearly turned.
    pub path: Vec<PathPoint>,
}

impl Probe {
    /// Logits of features, row-major: one row of features, and of logits, an image.
    pub fn logits(&self, features: &[f32]) -> Vec<f32> {
        logits(features, &self.weight, &self.bias)
    }
}

/// One fit of the path.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PathPoint {
    /// scikit-learn's `C`.
    pub inverse_strength: f64,
    /// Mean cross-entropy on the training rows, without penalty or class weights.
    pub train_loss: f64,
    /// From 0 to 1.
    pub train_accuracy: f64,
    /// Mean cross-entropy on the validation rows, without class weights.
    pub validation_loss: f64,
    /// From 0 to 1.
    pub validation_accuracy: f64,
    /// How the fit ended.
    pub diagnostics: Diagnostics,
}

/// How far [`fit_path`] has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeProgress {
    /// Strengths already fitted.
    pub fitted: usize,
    /// Strengths in all.
    pub strengths: usize,
    /// Iterations spent on the present strength.
    pub iteration: usize,
}

/// Fits one logistic regression with the penalty on the weights of the features as they are: the optimum of
/// scikit-learn's `LogisticRegression(C=inverse_strength)` on the same data.
///
/// # Errors
/// [`ProbeError`] for inputs that do not fit together, are not finite, or overflow.
pub fn fit_one(
    features: FeatureMatrix<'_>,
    labels: &[usize],
    classes: usize,
    inverse_strength: f64,
    options: &SolverOptions,
) -> Result<LinearClassifier, ProbeError> {
    check_set("training", features, labels, classes)?;
    check_solver(options, classes)?;
    check_inverse_strength(inverse_strength)?;
    let (center, deviation) = column_means_and_deviation(features)?;
    let coordinates = Coordinates { center, scale: 1.0 };
    let mut solver = PathSolver::new(features, labels, classes, &coordinates, options)?;
    let diagnostics =
        solver.fit(inverse_strength, |_| ControlFlow::Continue(())).map_err(|failure| failure.into_error(deviation))?;
    let Classifier { weight, bias } = solver.classifier();
    Ok(LinearClassifier { weight, bias, diagnostics })
}

/// Fits a probe for every strength and keeps the best on validation, the most accurate unless another metric is asked for;
/// of equally good ones that with the lower validation loss, and of those the more strongly penalized. The path ends early
/// once accuracy and loss on validation have clearly turned: weaker penalties take the longest, and none of them would be
/// chosen. Where another metric than these two chooses, the path goes on to its end. `on_progress` is called after every iteration and
/// can stop the fit by returning [`ControlFlow::Break`].
///
/// # Errors
/// [`ProbeError`] for inputs that do not fit together, are not finite, or overflow, and when `on_progress` stops the fit.
pub fn fit_path(
    train: FeatureMatrix<'_>,
    labels: &[usize],
    validation: FeatureMatrix<'_>,
    validation_labels: &[usize],
    classes: usize,
    options: &ProbeOptions,
    mut on_progress: impl FnMut(ProbeProgress) -> ControlFlow<()>,
) -> Result<Probe, ProbeError> {
    check_set("training", train, labels, classes)?;
    check_set("validation", validation, validation_labels, classes)?;
    let (training, validating) = (train.columns(), validation.columns());
    if training != validating {
        return Err(ProbeError::ColumnMismatch { training, validation: validating });
    }
    check_solver(&options.solver, classes)?;
    let inverse_strengths = ascending(&options.inverse_strengths)?;
    let strengths = inverse_strengths.len();

    let (center, deviation) = column_means_and_deviation(train)?;
    // Features that are all equal have no scale; any will do, since no weight can help.
    let scale = if deviation > 0.0 { deviation } else { 1.0 };
    let coordinates = Coordinates { center, scale };
    let mut solver = PathSolver::new(train, labels, classes, &coordinates, &options.solver)?;
    let mut path: Vec<PathPoint> = Vec::with_capacity(strengths);
    let mut best: Option<(PathPoint, Option<Evaluation>, Classifier)> = None;
    for (fitted, inverse_strength) in inverse_strengths.into_iter().enumerate() {
        let diagnostics = solver
            .fit(inverse_strength, |iteration| on_progress(ProbeProgress { fitted, strengths, iteration }))
            .map_err(|failure| failure.into_error(deviation))?;
        if !train.all_have(&solver.parameters) {
            return Err(ProbeError::HoldersDiffer);
        }
        let classifier = solver.classifier();
        let on_train = score(train, labels, &classifier)?;
        let on_validation = score(validation, validation_labels, &classifier)?;
        let point = PathPoint {
            inverse_strength,
            train_loss: on_train.loss,
            train_accuracy: on_train.accuracy,
            validation_loss: on_validation.loss,
            validation_accuracy: on_validation.accuracy,
            diagnostics,
        };
        path.push(point);
        let metric = options.select;
        let evaluation = match metric {
            Metric::Accuracy | Metric::Loss => None,
            _ => Some(evaluate(validation, validation_labels, &classifier, metric)?),
        };
        let is_better = best.as_ref().is_none_or(|(best, known, _)| match evaluation.as_ref().zip(known.as_ref()) {
            Some((evaluation, known)) => metric.is_better(evaluation, known),
            None => point.is_better_than(best, metric),
        });
        let goes_by_point = evaluation.is_none();
        if is_better {
            best = Some((point, evaluation, classifier));
        }
        if goes_by_point && has_turned(&path, validation.rows()) {
            break;
        }
    }
    let (chosen, _, Classifier { weight, bias }) = best.ok_or(ProbeError::NoStrengths)?;
    Ok(Probe { weight, bias, inverse_strength: chosen.inverse_strength, scale, path })
}

/// Fits one strength after another, each from the solution of the one before.
struct PathSolver<'a> {
    loss: PenalizedLoss<'a>,
    coordinates: &'a Coordinates,
    classes: usize,
    limits: Limits,
    parameters: Vec<f64>,
}

/// Why a fit gave no result.
enum FitFailure {
    NotFinite,
    Interrupted,
    Other(ProbeError),
}

impl FitFailure {
    fn into_error(self, scale: f64) -> ProbeError {
        match self {
            Self::NotFinite => ProbeError::Overflow { scale },
            Self::Interrupted => ProbeError::Interrupted,
            Self::Other(error) => error,
        }
    }
}

impl<'a> PathSolver<'a> {
    fn new(
        features: FeatureMatrix<'a>,
        labels: &'a [usize],
        classes: usize,
        coordinates: &'a Coordinates,
        options: &'a SolverOptions,
    ) -> Result<Self, ProbeError> {
        let class_weights = options.class_weights.as_deref();
        let mut loss = PenalizedLoss::new(features, labels, classes, class_weights, coordinates)?;
        let parameters = vec![0.0; loss.parameters()];
        let mut gradient = parameters.clone();
        loss.evaluate(&parameters, &mut gradient)?;
        let limits = Limits {
            max_iterations: options.max_iterations,
            gradient_norm: options.tolerance * lbfgs::norm(&gradient),
        };
        if features.holders().is_some() {
            // Who goes another way would wait for the others at other places, so differences must show before the first step.
            loss.precondition(&mut gradient);
            if !features.all_have(&gradient) {
                return Err(ProbeError::HoldersDiffer);
            }
        }
        Ok(Self { loss, coordinates, classes, limits, parameters })
    }

    fn fit(
        &mut self,
        inverse_strength: f64,
        observe: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Diagnostics, FitFailure> {
        self.loss.set_inverse_strength(inverse_strength);
        let Outcome { stop, value, gradient_norm, iterations } =
            lbfgs::minimize(&mut self.loss, &mut self.parameters, self.limits, observe).map_err(FitFailure::Other)?;
        match stop {
            Stop::NotFinite => Err(FitFailure::NotFinite),
            Stop::Interrupted => Err(FitFailure::Interrupted),
            Stop::Converged | Stop::IterationLimit | Stop::Stalled => Ok(Diagnostics {
                iterations,
                objective: value * inverse_strength * self.loss.total_weight(),
                gradient_norm,
                converged: stop == Stop::Converged,
            }),
        }
    }

    fn classifier(&self) -> Classifier {
        self.coordinates.unscaled(&self.parameters, self.classes)
    }
}

fn ascending(inverse_strengths: &[f64]) -> Result<Vec<f64>, ProbeError> {
    if inverse_strengths.is_empty() {
        return Err(ProbeError::NoStrengths);
    }
    inverse_strengths.iter().try_for_each(|value| check_inverse_strength(*value))?;
    let mut ascending = inverse_strengths.to_vec();
    ascending.sort_by(f64::total_cmp);
    Ok(ascending)
}

fn check_inverse_strength(value: f64) -> Result<(), ProbeError> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(ProbeError::Option { option: "inverse strength", expected: "a positive number", value })
}

fn check_solver(options: &SolverOptions, classes: usize) -> Result<(), ProbeError> {
    if !(options.tolerance > 0.0 && options.tolerance < 1.0) {
        return Err(ProbeError::Option { option: "tolerance", expected: "between 0 and 1", value: options.tolerance });
    }
    let Some(weights) = &options.class_weights else { return Ok(()) };
    if weights.len() != classes {
        return Err(ProbeError::ClassWeightCount { weights: weights.len(), classes });
    }
    match weights.iter().find(|weight| !(weight.is_finite() && **weight > 0.0)) {
        None => Ok(()),
        Some(value) => Err(ProbeError::Option { option: "class weight", expected: "a positive number", value: *value }),
    }
}

fn check_set(
    set: &'static str,
    features: FeatureMatrix<'_>,
    labels: &[usize],
    classes: usize,
) -> Result<(), ProbeError> {
    let rows = features.rows();
    if classes < 2 {
        return Err(ProbeError::TooFewClasses { classes });
    }
    if rows == 0 {
        return Err(ProbeError::Empty { set });
    }
    if rows != labels.len() {
        return Err(ProbeError::LabelCount { set, rows, labels: labels.len() });
    }
    if let Some(row) = labels.iter().position(|label| *label >= classes) {
        return Err(ProbeError::LabelOutOfRange { set, row, label: labels[row], classes });
    }
    let columns = features.columns();
    let chunks: Vec<_> = features.chunks().collect();
    let found = chunks.into_par_iter().find_map_first(|rows| {
        let first_row = rows.start;
        let mut buffer = RowBuffer::default();
        let values = match features.row_range(rows, &mut buffer) {
            Ok(values) => values,
            Err(error) => return Some(error),
        };
        let index = values.iter().position(|value| !value.is_finite())?;
        let (row, column) = (first_row + index / columns, index % columns);
        Some(ProbeError::NonFinite { set, row, column, value: values[index] })
    });
    found.map_or(Ok(()), Err)
}

/// The mean of every column, and the standard deviation of all entries around their common mean.
fn column_means_and_deviation(features: FeatureMatrix<'_>) -> Result<(Vec<f64>, f64), ProbeError> {
    let sums = features.sum(features.columns(), |rows, sums| {
        features.for_each_of(rows, |values| {
            for row in values.chunks_exact(sums.len()) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += f64::from(*value);
                }
            }
        })
    })?;
    let rows = features.rows() as f64;
    let entries = rows * features.columns() as f64;
    let mean = sums.iter().sum::<f64>() / entries;
    let squares = features.sum(1, |rows, squares| {
        features.for_each_of(rows, |values| {
            values.iter().for_each(|value| squares[0] += (f64::from(*value) - mean).powi(2));
        })
    })?;
    Ok((sums.into_iter().map(|sum| sum / rows).collect(), (squares[0] / entries).sqrt()))
}

#[cfg(test)]
mod tests;
