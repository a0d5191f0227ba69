//! How a learning rate changes over a phase.

use serde::{Deserialize, Serialize};

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
        let known = Self::ALL.into_iter().find(|schedule| schedule.name() == name);
        known.ok_or_else(|| "expected constant, linear, cosine, or slanted".into())
    }
}

impl Schedule {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Constant, Self::Linear, Self::Cosine, Self::Slanted];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Linear => "linear",
            Self::Cosine => "cosine",
            Self::Slanted => "slanted",
        }
    }

    /// Factor on the learning rate at `position` of `steps`, of which the first `warmup_steps` climb linearly from 0. Steps
    /// count from 0; a position lies between two of them where training goes through its plan faster.
    pub fn factor(self, position: f64, steps: usize, warmup_steps: f64) -> f64 {
        if position < warmup_steps {
            return Warmup::Linear.factor(position, warmup_steps, 1);
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

/// How the learning rate climbs at the start of a phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Warmup {
    /// Along a line from 0, step by step.
    #[default]
    Linear,
    /// By a factor of 10 each epoch: 10⁻ⁿ of the rate in the first of n epochs, a tenth of it in the last.
    Exponential,
}

impl std::str::FromStr for Warmup {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|warmup| warmup.name() == name);
        known.ok_or_else(|| "expected linear or exponential".into())
    }
}

impl Warmup {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Linear, Self::Exponential];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Exponential => "exponential",
        }
    }

    /// Factor on the learning rate at `position` in the first `warmup_steps` of a phase.
    pub fn factor(self, position: f64, warmup_steps: f64, steps_per_epoch: usize) -> f64 {
        match self {
            Self::Linear => position / warmup_steps,
            Self::Exponential => {
                let epochs_left = ((warmup_steps - position) / steps_per_epoch.max(1) as f64).ceil();
                10f64.powi(-(epochs_left as i32))
            }
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
