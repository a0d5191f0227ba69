//! A plan says what trains, how fast and for how long; it is plain data.
//!
//! Every method of this library only makes a [`Plan`], and the trainer runs any plan. It prints as
//! a table, is saved as TOML, and can be written by hand. Rates are set by the names of blocks and of
//! tensors; a tensor's goes before its block's:
//!
//! ```
//! let text = r#"
//! method = "by hand"
//!
//! [[phase]]
//! name = "head"
//! solver = "logistic-regression"
//!
//! [[phase]]
//! name = "last blocks"
//! solver = "gradient"
//! epochs = 5
//! learning_rates = [1e-4]
//! schedule = "cosine"
//! rates = { "layer4.1" = 0.5, "layer4.1.bn2.weight" = 0.0, head = 1.0 }
//! "#;
//! let plan = retune::plan::Plan::from_toml(text)?;
//! assert_eq!(plan.phases.len(), 2);
//! # Ok::<(), retune::plan::PlanError>(())
//! ```

mod gradient;
mod rung;
mod schedule;

use serde::{Deserialize, Serialize};

pub use self::gradient::{
    Adaptive, Anchor, Averaging, Combine, Criterion, Gradient, HeadMeasure, LayerKind, LowRank, Selection,
};
pub use self::rung::{Rung, Search};
pub use self::schedule::{Schedule, Warmup};
use crate::models::{Block, ParameterSpec, UnknownLayer};

/// Why a plan cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The text is not a plan.
    #[error("not a plan: {0}")]
    Syntax(String),
    /// A plan without phases.
    #[error("the plan has no phase; give it at least one [[phase]]")]
    Empty,
    /// A phase names a block or tensor that the model does not have.
    #[error(
        "phase '{phase}' sets a rate for '{name}', which is no block and no trainable tensor of this model; \
         `retune layers` lists them"
    )]
    UnknownName {
        /// The phase.
        phase: String,
        /// The name.
        name: String,
    },
    /// A phase draws anew what is no block of the model.
    #[error("phase '{phase}' draws '{name}' anew, which is no block of this model; `retune layers` lists them")]
    UnknownBlock {
        /// The phase.
        phase: String,
        /// The name.
        name: String,
    },
    /// A layer that a method was asked to tune is none of the model's.
    #[error(transparent)]
    UnknownLayer(#[from] UnknownLayer),
    /// A range of layers that ends before it begins.
    #[error("'{last}' comes before '{first}' in the model; `retune layers` shows the order")]
    ReversedRange {
        /// The first layer asked for.
        first: String,
        /// The last layer asked for.
        last: String,
    },
    /// An interpolation without a phase to interpolate over.
    #[error("phase '{0}' interpolates over the phase before it, but it is the first")]
    NothingToInterpolate(String),
    /// A phase trains nothing.
    #[error("phase '{0}' trains no block: give at least one a rate above 0")]
    NothingTrains(String),
    /// What a phase has rates for is none of the parameters that it selects.
    #[error("phase '{0}' trains nothing: no tensor that has a rate above 0 is of the kind that the phase trains")]
    NothingSelected(String),
    /// A number out of its range.
    #[error("phase '{phase}': {what} must be {expected}, not {found}")]
    OutOfRange {
        /// The phase.
        phase: String,
        /// What is out of range.
        what: String,
        /// Its range.
        expected: &'static str,
        /// Its value.
        found: f64,
    },
}

/// What trains, how fast and for how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Name of the method that made it.
    pub method: String,
    /// One after the other; each starts from the best of the one before.
    #[serde(rename = "phase")]
    pub phases: Vec<Phase>,
}

/// A stretch of training.
// Unknown keys are refused by the solver that this is flattened with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Its name in tables and metrics.
    pub name: String,
    /// How it trains.
    #[serde(flatten)]
    pub solver: Solver,
}

/// How a phase trains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "solver", rename_all = "kebab-case")]
#[expect(clippy::large_enum_variant, reason = "a plan has a handful")]
pub enum Solver {
    /// The head alone, as multinomial logistic regression over fixed features, with the penalty's
    /// strength chosen on validation.
    LogisticRegression(LogisticRegression),
    /// Minibatch gradient descent.
    Gradient(Gradient),
    /// A point on the line from the weights with which the phase before began to those with which
    /// it ended (WiSE-FT: Wortsman et al. 2022, arXiv 2109.01903).
    Interpolation(Interpolation),
}

/// Settings of a linear probe.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogisticRegression {
    /// Inverse strengths of the L2 penalty to try (scikit-learn's `C`).
    pub strengths: Vec<f64>,
}

impl Default for LogisticRegression {
    /// Kumar et al. 2022, appendix: 50 values, evenly spaced in logarithm from 1e-7 to 1e2.
    fn default() -> Self {
        let exponent = |index: i32| -7.0 + 9.0 * f64::from(index) / 49.0;
        Self { strengths: (0..50).map(|index| 10f64.powf(exponent(index))).collect() }
    }
}

/// Settings of an interpolation of weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interpolation {
    /// Shares of the end to try, 0 to 1; with several, validation chooses.
    pub alphas: Vec<f64>,
}

impl Plan {
    /// Parses TOML.
    ///
    /// # Errors
    /// Says where the text is not a plan.
    pub fn from_toml(text: &str) -> Result<Self, PlanError> {
        toml::from_str(text).map_err(|error| PlanError::Syntax(error.to_string()))
    }

    /// Writes TOML that [`Plan::from_toml`] reads back.
    ///
    /// # Errors
    /// None that a plan with finite numbers meets.
    pub fn to_toml(&self) -> Result<String, PlanError> {
        toml::to_string(self).map_err(|error| PlanError::Syntax(error.to_string()))
    }

    /// The plan with a linear probe before its phases, unless it has one already: they start from a head that fits, as
    /// LP-FT does (Kumar et al. 2022, arXiv 2202.10054).
    #[must_use]
    pub fn from_probe(mut self) -> Self {
        let has_probe = self.phases.iter().any(|phase| matches!(phase.solver, Solver::LogisticRegression(_)));
        if !has_probe {
            self.phases.insert(0, Phase::linear_probe());
        }
        self
    }

    /// Whether a linear probe trains the head before anything else does.
    pub fn begins_with_probe(&self) -> bool {
        matches!(self.phases.first(), Some(Phase { solver: Solver::LogisticRegression(_), .. }))
    }

    /// Checks the plan against a model's blocks.
    ///
    /// # Errors
    /// The first phase, block or number that does not fit.
    pub fn check(&self, blocks: &[Block]) -> Result<(), PlanError> {
        if self.phases.is_empty() {
            return Err(PlanError::Empty);
        }
        if let Some(first @ Phase { solver: Solver::Interpolation(_), .. }) = self.phases.first() {
            return Err(PlanError::NothingToInterpolate(first.name.clone()));
        }
        self.phases.iter().try_for_each(|phase| phase.check(blocks))
    }

    /// Whether it draws nothing at random: a linear probe finds the one optimum of a convex problem.
    pub fn is_deterministic(&self) -> bool {
        self.phases.iter().all(|phase| matches!(phase.solver, Solver::LogisticRegression(_)))
    }

    /// Whether a phase leaves the first block frozen, if only for some epochs, so that it trains on what frozen blocks give.
    pub fn trains_on_frozen_blocks(&self, blocks: &[Block], specs: &[ParameterSpec]) -> bool {
        let head = blocks.len().saturating_sub(1);
        self.phases.iter().any(|phase| {
            let factors = phase.parameter_rate_factors(blocks, specs);
            let mut first = specs.iter().zip(factors).filter(|(spec, _)| spec.block == 0);
            let trains_first = first.any(|(spec, factor)| factor > 0.0 && phase.selects(spec, head));
            match &phase.solver {
                Solver::LogisticRegression(_) => true,
                // Measured rates may be 0.
                Solver::Gradient(descent) => {
                    !trains_first || !descent.frozen_epochs.is_empty() || descent.adaptive.is_some()
                }
                Solver::Interpolation(_) => false,
            }
        })
    }

    /// For each block, whether any phase trains it.
    pub fn trained_blocks(&self, blocks: &[Block]) -> Vec<bool> {
        let mut trained = vec![false; blocks.len()];
        for phase in &self.phases {
            for (block, factor) in phase.block_rate_factors(blocks).into_iter().enumerate() {
                trained[block] |= factor > 0.0;
            }
        }
        trained
    }

    /// For each parameter, whether any phase trains it.
    pub fn trained_parameters(&self, blocks: &[Block], specs: &[ParameterSpec]) -> Vec<bool> {
        let head = blocks.len().saturating_sub(1);
        let mut trained = vec![false; specs.len()];
        for phase in &self.phases {
            let factors = phase.parameter_rate_factors(blocks, specs);
            for ((trained, spec), factor) in trained.iter_mut().zip(specs).zip(factors) {
                *trained |= factor > 0.0 && phase.selects(spec, head);
            }
        }
        trained
    }

    /// For each parameter, whether any phase may change it by gradients or by drawing it anew;
    /// running statistics of blocks of which anything trains count as theirs.
    pub fn changed_parameters(&self, blocks: &[Block], specs: &[ParameterSpec]) -> Vec<bool> {
        let mut changed = self.trained_parameters(blocks, specs);
        for phase in &self.phases {
            let Solver::Gradient(gradient) = &phase.solver else { continue };
            let factors = phase.block_rate_factors(blocks);
            for (changed, spec) in changed.iter_mut().zip(specs) {
                let follows = factors[spec.block] > 0.0 && !spec.role.is_trainable();
                *changed |= follows || gradient.reinitialize.contains(&blocks[spec.block].name);
            }
        }
        changed
    }

    /// Scalars that the plan learns: of each parameter, the most that any phase learns for it.
    pub fn learned_scalars(&self, blocks: &[Block], specs: &[ParameterSpec]) -> usize {
        let head = blocks.len().saturating_sub(1);
        let mut learned = vec![0; specs.len()];
        for phase in &self.phases {
            let factors = phase.parameter_rate_factors(blocks, specs);
            for ((learned, spec), factor) in learned.iter_mut().zip(specs).zip(factors) {
                let scalars = match &phase.solver {
                    _ if factor == 0.0 || !phase.selects(spec, head) => 0,
                    Solver::Gradient(gradient) => gradient.learned_scalars(spec, head),
                    Solver::LogisticRegression(_) | Solver::Interpolation(_) => spec.len(),
                };
                *learned = scalars.max(*learned);
            }
        }
        learned.into_iter().sum()
    }
}

impl Phase {
    /// The head alone, to the optimum.
    pub fn linear_probe() -> Self {
        Self { name: "linear probe".into(), solver: Solver::LogisticRegression(LogisticRegression::default()) }
    }

    /// Factor on the base rate for each block, 0 where it is frozen; where its tensors have rates of their own, the
    /// largest.
    pub fn block_rate_factors(&self, blocks: &[Block]) -> Vec<f64> {
        match &self.solver {
            Solver::LogisticRegression(_) => {
                let head = blocks.len().saturating_sub(1);
                (0..blocks.len()).map(|block| if block == head { 1.0 } else { 0.0 }).collect()
            }
            Solver::Gradient(gradient) => blocks.iter().map(|block| gradient.block_rate_factor(block)).collect(),
            Solver::Interpolation(_) => vec![0.0; blocks.len()],
        }
    }

    /// Factor on the base rate for each parameter, 0 where it is frozen: its own if it has one, else its block's. Which
    /// kinds of parameters the phase trains at all is not looked at ([`Phase::selects`]). A running statistic has the
    /// factor of its block.
    pub fn parameter_rate_factors(&self, blocks: &[Block], specs: &[ParameterSpec]) -> Vec<f64> {
        let of_blocks = self.block_rate_factors(blocks);
        let factor = |spec: &ParameterSpec| match &self.solver {
            Solver::Gradient(gradient) if spec.role.is_trainable() => {
                gradient.rate_factor(&blocks[spec.block], &spec.name)
            }
            _ => of_blocks[spec.block],
        };
        specs.iter().map(factor).collect()
    }

    /// Whether the phase trains a parameter that has a factor above 0; `head` is the classifier's block.
    pub fn selects(&self, spec: &ParameterSpec, head: usize) -> bool {
        match &self.solver {
            Solver::LogisticRegression(_) => spec.block == head && spec.role.is_trainable(),
            Solver::Gradient(gradient) => gradient.trains(spec, head),
            Solver::Interpolation(_) => false,
        }
    }

    fn check(&self, blocks: &[Block]) -> Result<(), PlanError> {
        match &self.solver {
            Solver::LogisticRegression(LogisticRegression { strengths }) => {
                self.in_range("the number of strengths", strengths.len() as f64, !strengths.is_empty(), "above 0")?;
                strengths.iter().try_for_each(|&value| self.in_range("a strength", value, value > 0.0, "above 0"))
            }
            Solver::Gradient(gradient) => self.check_gradient(gradient, blocks),
            Solver::Interpolation(Interpolation { alphas }) => {
                self.in_range("the number of alphas", alphas.len() as f64, !alphas.is_empty(), "above 0")?;
                let between = |&alpha: &f64| self.in_range("alpha", alpha, (0.0..=1.0).contains(&alpha), "from 0 to 1");
                alphas.iter().try_for_each(between)
            }
        }
    }

    fn check_gradient(&self, gradient: &Gradient, blocks: &[Block]) -> Result<(), PlanError> {
        let Gradient { epochs, learning_rates, warmup_epochs, rate_factors, .. } = gradient;
        self.in_range("epochs", *epochs as f64, *epochs > 0, "at least 1")?;
        let count = learning_rates.len() as f64;
        self.in_range("the number of learning rates", count, !learning_rates.is_empty(), "above 0")?;
        for &rate in learning_rates {
            self.in_range("the learning rate", rate, rate > 0.0, "above 0")?;
        }
        for Rung { epochs: short, keep, .. } in &gradient.rungs {
            let fits = (1..=*epochs).contains(short);
            self.in_range("a rung's epochs", *short as f64, fits, "between 1 and the phase's epochs")?;
            self.in_range("the rates that a rung keeps", *keep as f64, *keep > 0, "at least 1")?;
        }
        if let Some(patience) = gradient.patience {
            self.in_range("the patience", patience as f64, patience > 0, "at least 1")?;
        }
        let fits = (0.0..=*epochs as f64).contains(warmup_epochs);
        self.in_range("warm-up epochs", *warmup_epochs, fits, "between 0 and the epochs")?;
        for (name, &factor) in rate_factors {
            self.in_range(&format!("the rate of '{name}'"), factor, factor >= 0.0, "at least 0")?;
        }
        let is_block = |name: &String| blocks.iter().any(|block| block.name == *name);
        let is_known = |name: &String| is_block(name) || blocks.iter().any(|block| block.parameter(name).is_some());
        let phase = || self.name.clone();
        if let Some(name) = rate_factors.keys().chain(gradient.frozen_epochs.keys()).find(|name| !is_known(name)) {
            return Err(PlanError::UnknownName { phase: phase(), name: name.clone() });
        }
        if let Some(name) = gradient.reinitialize.iter().find(|name| !is_block(name)) {
            return Err(PlanError::UnknownBlock { phase: phase(), name: name.clone() });
        }
        let head = blocks.len().saturating_sub(1);
        let parts = || blocks.iter().flat_map(Gradient::parts);
        let trains = |block: &Block, name: &str| {
            gradient.rate_factor(block, name) > 0.0 && gradient.frozen_epochs_of(block, name) < *epochs
        };
        if !parts().any(|(block, name, _)| trains(block, name)) {
            return Err(PlanError::NothingTrains(phase()));
        }
        let selects = |spec: Option<&ParameterSpec>| spec.is_none_or(|spec| gradient.trains(spec, head));
        if !parts().any(|(block, name, spec)| trains(block, name) && selects(spec)) {
            return Err(PlanError::NothingSelected(phase()));
        }
        self.check_extras(gradient)
    }

    fn check_extras(&self, gradient: &Gradient) -> Result<(), PlanError> {
        if let Some(Adaptive { criterion, batches, threshold, .. }) = &gradient.adaptive {
            // A variance needs two values.
            let least = if *criterion == Criterion::SignalToNoise { 2 } else { 1 };
            let expected = if least == 2 { "at least 2" } else { "at least 1" };
            self.in_range("the number of batches to measure", *batches as f64, *batches >= least, expected)?;
            if let Some(threshold) = *threshold {
                self.in_range("the threshold", threshold, threshold >= 0.0, "at least 0")?;
            }
        }
        if let Some(Anchor { strength, head_strength }) = gradient.anchor {
            for value in [strength, head_strength] {
                self.in_range("the anchor's strength", value, value >= 0.0, "at least 0")?;
            }
        }
        match gradient.average {
            Some(Averaging::Exponential { decay }) => {
                self.in_range("the average's decay", decay, (0.0..1.0).contains(&decay), "from 0 to below 1")?;
            }
            Some(Averaging::Epochs { from }) => {
                let fits = (1..=gradient.epochs).contains(&from);
                self.in_range("the first epoch to average", from as f64, fits, "between 1 and the epochs")?;
            }
            None => {}
        }
        if let Some(LowRank { rank, alpha }) = gradient.low_rank {
            self.in_range("the rank", rank as f64, (1..=LowRank::MAX_RANK).contains(&rank), "between 1 and 1024")?;
            self.in_range("alpha", alpha, alpha > 0.0, "above 0")?;
        }
        Ok(())
    }

    fn in_range(&self, what: &str, found: f64, fits: bool, expected: &'static str) -> Result<(), PlanError> {
        if fits && found.is_finite() {
            return Ok(());
        }
        Err(PlanError::OutOfRange { phase: self.name.clone(), what: what.to_owned(), expected, found })
    }
}

#[cfg(test)]
mod tests;
