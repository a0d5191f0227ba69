//! A plan says what trains, how fast and for how long; it is plain data.
//!
//! Every method of this library only makes a [`Plan`], and the trainer runs any plan. It prints as
//! a table, is saved as TOML, and can be written by hand:
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
//! rates = { "layer4.1" = 0.5, head = 1.0 }
//! "#;
//! let plan = retune::plan::Plan::from_toml(text)?;
//! assert_eq!(plan.phases.len(), 2);
//! # Ok::<(), retune::plan::PlanError>(())
//! ```

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::models::Block;

/// Why a plan cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The text is not a plan.
    #[error("not a plan: {0}")]
    Syntax(String),
    /// A plan without phases.
    #[error("the plan has no phase; give it at least one [[phase]]")]
    Empty,
    /// A phase names a block that the model does not have.
    #[error("phase '{phase}' sets a rate for '{block}', which is no block of this model; `retune layers` lists them")]
    UnknownBlock {
        /// The phase.
        phase: String,
        /// The name.
        block: String,
    },
    /// A phase trains nothing.
    #[error("phase '{0}' trains no block: give at least one a rate above 0")]
    NothingTrains(String),
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
pub enum Solver {
    /// The head alone, as multinomial logistic regression over fixed features, with the penalty's
    /// strength chosen on validation.
    LogisticRegression(LogisticRegression),
    /// Minibatch gradient descent.
    Gradient(Gradient),
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

/// Settings of gradient descent in a phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gradient {
    /// Passes over the training images.
    pub epochs: usize,
    /// Base learning rates to try; with several, validation chooses.
    pub learning_rates: Vec<f64>,
    /// How the rate changes over the phase.
    #[serde(default)]
    pub schedule: Schedule,
    /// Epochs in which the rate climbs linearly from 0, step by step; fractions count.
    #[serde(default)]
    pub warmup_epochs: f64,
    /// Factor on the base rate for each block that trains; blocks that are not named are frozen.
    pub rates: IndexMap<String, f64>,
}

/// How a learning rate changes over a phase, after its warm-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// It stays.
    Constant,
    /// It falls to 0 along a line.
    Linear,
    /// It falls to 0 along half a cosine (Loshchilov & Hutter 2017, arXiv 1608.03983).
    #[default]
    Cosine,
    /// Slanted triangle (Howard & Ruder 2018, arXiv 1801.06146, section 3.2): up for a tenth of
    /// the steps, then down to 1/32.
    Slanted,
}

impl std::str::FromStr for Schedule {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "constant" => Self::Constant,
            "linear" => Self::Linear,
            "cosine" => Self::Cosine,
            "slanted" => Self::Slanted,
            _ => return Err("expected constant, linear, cosine or slanted".into()),
        })
    }
}

impl Schedule {
    /// Factor on the learning rate at `step` (from 0) of `steps`, of which the first
    /// `warmup_steps` climb from 0.
    pub fn factor(self, step: usize, steps: usize, warmup_steps: f64) -> f64 {
        let position = step as f64;
        if position < warmup_steps {
            return position / warmup_steps;
        }
        let length = (steps as f64 - warmup_steps).max(1.0);
        let progress = ((position - warmup_steps) / length).min(1.0);
        match self {
            Self::Constant => 1.0,
            Self::Linear => 1.0 - progress,
            Self::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Self::Slanted => slanted_triangle(position - warmup_steps, length),
        }
    }
}

/// ULMFiT's equation 3 with `cut_frac` 0.1 and `ratio` 32, relative to the largest rate.
fn slanted_triangle(step: f64, steps: f64) -> f64 {
    const CUT_FRACTION: f64 = 0.1;
    const RATIO: f64 = 32.0;
    let cut = (steps * CUT_FRACTION).floor().max(1.0);
    let p = if step < cut { step / cut } else { 1.0 - (step - cut) / (cut * (1.0 / CUT_FRACTION - 1.0)) };
    (1.0 + p.max(0.0) * (RATIO - 1.0)) / RATIO
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

    /// Checks the plan against a model's blocks.
    ///
    /// # Errors
    /// The first phase, block or number that does not fit.
    pub fn check(&self, blocks: &[Block]) -> Result<(), PlanError> {
        if self.phases.is_empty() {
            return Err(PlanError::Empty);
        }
        self.phases.iter().try_for_each(|phase| phase.check(blocks))
    }

    /// For each block, whether any phase trains it.
    pub fn trained_blocks(&self, blocks: &[Block]) -> Vec<bool> {
        let mut trained = vec![false; blocks.len()];
        for phase in &self.phases {
            for (block, rate) in phase.block_rates(blocks).into_iter().enumerate() {
                trained[block] |= rate > 0.0;
            }
        }
        trained
    }
}

impl Phase {
    /// Factor on the base rate for each block, 0 where it is frozen.
    pub fn block_rates(&self, blocks: &[Block]) -> Vec<f64> {
        match &self.solver {
            Solver::LogisticRegression(_) => {
                let head = blocks.len().saturating_sub(1);
                (0..blocks.len()).map(|block| if block == head { 1.0 } else { 0.0 }).collect()
            }
            Solver::Gradient(gradient) => {
                blocks.iter().map(|block| gradient.rates.get(&block.name).copied().unwrap_or(0.0)).collect()
            }
        }
    }

    fn check(&self, blocks: &[Block]) -> Result<(), PlanError> {
        let in_range = |what: &str, found: f64, fits: bool, expected: &'static str| {
            if fits && found.is_finite() {
                return Ok(());
            }
            let (phase, what) = (self.name.clone(), what.to_owned());
            Err(PlanError::OutOfRange { phase, what, expected, found })
        };
        match &self.solver {
            Solver::LogisticRegression(LogisticRegression { strengths }) => {
                in_range("the number of strengths", strengths.len() as f64, !strengths.is_empty(), "above 0")?;
                strengths.iter().try_for_each(|&value| in_range("a strength", value, value > 0.0, "above 0"))
            }
            Solver::Gradient(gradient) => {
                let Gradient { epochs, learning_rates, warmup_epochs, rates, .. } = gradient;
                in_range("epochs", *epochs as f64, *epochs > 0, "at least 1")?;
                let count = learning_rates.len() as f64;
                in_range("the number of learning rates", count, !learning_rates.is_empty(), "above 0")?;
                for &rate in learning_rates {
                    in_range("the learning rate", rate, rate > 0.0, "above 0")?;
                }
                let fits = (0.0..=*epochs as f64).contains(warmup_epochs);
                in_range("warm-up epochs", *warmup_epochs, fits, "between 0 and the epochs")?;
                for (block, &rate) in rates {
                    in_range(&format!("the rate of '{block}'"), rate, rate >= 0.0, "at least 0")?;
                    if !blocks.iter().any(|known| known.name == *block) {
                        let (phase, block) = (self.name.clone(), block.clone());
                        return Err(PlanError::UnknownBlock { phase, block });
                    }
                }
                if rates.values().all(|&rate| rate == 0.0) {
                    return Err(PlanError::NothingTrains(self.name.clone()));
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn blocks() -> Vec<Block> {
        ["stem", "layer1.0", "head"].map(Block::alone).into()
    }

    fn gradient(rates: &[(&str, f64)]) -> Plan {
        let rates = rates.iter().map(|&(block, rate)| (block.to_owned(), rate)).collect();
        let solver = Solver::Gradient(Gradient {
            epochs: 2,
            learning_rates: vec![0.1],
            schedule: Schedule::Cosine,
            warmup_epochs: 0.5,
            rates,
        });
        Plan { method: "test".into(), phases: vec![Phase { name: "one".into(), solver }] }
    }

    #[test]
    fn toml_keeps_everything() {
        let mut plan = gradient(&[("stem", 0.25), ("head", 1.0)]);
        let probe = Solver::LogisticRegression(LogisticRegression::default());
        plan.phases.push(Phase { name: "probe".into(), solver: probe });
        assert_eq!(Plan::from_toml(&plan.to_toml().unwrap()).unwrap(), plan);
    }

    #[test]
    fn a_misspelt_key_is_refused() {
        let text = gradient(&[("head", 1.0)]).to_toml().unwrap().replace("warmup_epochs", "warm_up_epochs");
        assert!(Plan::from_toml(&text).unwrap_err().to_string().contains("warm_up_epochs"));
    }

    #[test]
    fn mistakes_are_named() {
        let message = |plan: Plan| plan.check(&blocks()).unwrap_err().to_string();
        assert!(message(gradient(&[("layer9", 1.0)])).contains("layer9"));
        assert!(message(gradient(&[("head", 0.0)])).contains("trains no block"));
        assert!(message(gradient(&[("head", -1.0)])).contains("the rate of 'head' must be at least 0"));
        assert!(message(gradient(&[("head", f64::NAN)])).contains("NaN"));
    }

    #[test]
    fn slanted_triangle_follows_ulmfit() {
        // Equation 3 by hand for T = 100: cut = 10; p(5) = 0.5, p(10) = 1, p(55) = 1 − 45/90.
        let at = |step| Schedule::Slanted.factor(step, 100, 0.0);
        for (step, expected) in [(0, 1.0 / 32.0), (5, 16.5 / 32.0), (10, 1.0), (55, 16.5 / 32.0)] {
            assert!((at(step) - expected).abs() < 1e-12, "{step}: {}", at(step));
        }
    }

    #[test]
    fn warmup_climbs_from_zero_step_by_step() {
        let factors: Vec<f64> = (0..5).map(|step| Schedule::Constant.factor(step, 8, 4.0)).collect();
        assert_eq!(factors, [0.0, 0.25, 0.5, 0.75, 1.0]);
    }

    proptest! {
        #[test]
        fn factors_stay_between_0_and_1(step in 0usize..500, extra in 1usize..500, warmup in 0.0..400.0f64) {
            for schedule in [Schedule::Constant, Schedule::Linear, Schedule::Cosine, Schedule::Slanted] {
                let factor = schedule.factor(step, step + extra, warmup);
                prop_assert!((0.0..=1.0).contains(&factor), "{schedule:?}: {factor}");
            }
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,200}") {
            let _ = Plan::from_toml(&text);
        }
    }
}
