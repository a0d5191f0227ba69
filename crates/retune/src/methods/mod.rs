//! Fine-tuning methods. Each is a small file that turns a list of blocks and a few options into a
//! [`Plan`]; the trainer runs the plan and does not know who made it.

mod full;
mod linear_probe;
mod linear_probe_then_full;

use std::fmt;
use std::str::FromStr;

use crate::models::Block;
use crate::plan::{Plan, Schedule};

/// Learning rates that validation chooses from when the user names none.
///
/// They span what fine-tuning with Adam needs from a large transformer (1e-5) to a small
/// convolutional network (1e-3).
pub const DEFAULT_LEARNING_RATES: [f64; 3] = [1e-5, 1e-4, 1e-3];

/// The methods by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The head alone.
    Lp,
    /// Every block at one rate.
    Ft,
    /// The head alone, then every block from there.
    LpFt,
}

/// All methods, in the order in which tables show them.
pub const ALL: [Method; 3] = [Method::Lp, Method::Ft, Method::LpFt];

impl Method {
    /// The name that users type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lp => "lp",
            Self::Ft => "ft",
            Self::LpFt => "lp-ft",
        }
    }

    /// What it does, in one line.
    pub fn summary(self) -> &'static str {
        match self {
            Self::Lp => "linear probe: the head alone, by logistic regression on fixed features",
            Self::Ft => "full fine-tuning: every block at one rate",
            Self::LpFt => "linear probe first, then every block from that head",
        }
    }

    /// The method's plan for a model with these blocks.
    pub fn plan(self, blocks: &[Block], options: &MethodOptions) -> Plan {
        let phases = match self {
            Self::Lp => linear_probe::phases(),
            Self::Ft => full::phases(blocks, options),
            Self::LpFt => linear_probe_then_full::phases(blocks, options),
        };
        Plan { method: self.name().to_owned(), phases }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// No method has this name.
#[derive(Debug, thiserror::Error)]
#[error("unknown method '{0}'; choose one of lp, ft, lp-ft")]
pub struct UnknownMethod(String);

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(name: &str) -> Result<Self, UnknownMethod> {
        ALL.into_iter().find(|method| method.name() == name).ok_or_else(|| UnknownMethod(name.to_owned()))
    }
}

/// What a user can set about a method's plan.
#[derive(Clone, Debug, PartialEq)]
pub struct MethodOptions {
    /// Passes over the training images in a gradient phase.
    pub epochs: usize,
    /// Base learning rates; validation chooses among several.
    pub learning_rates: Vec<f64>,
    /// How the rate changes over a phase.
    pub schedule: Schedule,
    /// Epochs of linear climb from 0.
    pub warmup_epochs: f64,
}

impl Default for MethodOptions {
    fn default() -> Self {
        Self {
            epochs: 10,
            learning_rates: DEFAULT_LEARNING_RATES.into(),
            schedule: Schedule::default(),
            warmup_epochs: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_fits_its_blocks_and_every_name_parses() {
        let blocks: Vec<Block> = ["stem", "layer1.0", "head"].map(Block::alone).into();
        for method in ALL {
            assert_eq!(method.name().parse::<Method>().unwrap(), method);
            method.plan(&blocks, &MethodOptions::default()).check(&blocks).unwrap();
        }
    }

    #[test]
    fn lp_ft_is_lp_and_then_ft() {
        let blocks: Vec<Block> = ["stem", "head"].map(Block::alone).into();
        let phases = |method: Method| method.plan(&blocks, &MethodOptions::default()).phases;
        let joined = [phases(Method::Lp), phases(Method::Ft)].concat();
        assert_eq!(phases(Method::LpFt), joined);
    }
}
