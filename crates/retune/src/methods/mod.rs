//! Fine-tuning methods. Each is a small file that turns a list of blocks and a few options into a
//! [`Plan`]; the trainer runs the plan and does not know who made it.

mod adaptive;
mod anchored;
mod discriminative;
mod full;
pub mod layers;
mod linear_probe;
mod linear_probe_then_full;
mod low_rank;
mod partial;
mod soup;
mod surgical;
mod ulmfit;
mod weight_interpolation;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use self::layers::{Granularity, LayerSelection, Selected};
use crate::models::Block;
use crate::plan::{Anchor, Averaging, Criterion, Gradient, LayerKind, LowRank, Phase, Plan, PlanError, Schedule};

/// Learning rates that validation chooses from when the user names none.
///
/// They span what fine-tuning with Adam needs from a large transformer (1e-5) to a small
/// convolutional network (1e-3).
pub const DEFAULT_LEARNING_RATES: [f64; 3] = [1e-5, 1e-4, 1e-3];

/// The methods by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The head alone.
    Lp,
    /// Every block at one rate.
    Ft,
    /// The head alone, then every block from there.
    LpFt,
    /// The layers that the user picks.
    Surgical,
    /// Rates by relative gradient norm.
    AutoRgn,
    /// Rates by signal-to-noise ratio.
    AutoSnr,
    /// Rates that fall from the last layer to the first.
    Discriminative,
    /// Gradual unfreezing, discriminative rates and a slanted triangle.
    Ulmfit,
    /// Halfway between a linear probe and full fine-tuning, in weights.
    WiseFt,
    /// The average of what all learning rates gave.
    UniformSoup,
    /// The average of those that help.
    GreedySoup,
    /// Full fine-tuning, pulled back to the pretrained weights.
    L2Sp,
    /// Normalization layers and the head.
    Norms,
    /// Biases and the head.
    Biases,
    /// Low-rank changes of the weights, and the head.
    Lora,
}

/// All methods, in the order in which tables show them.
pub const ALL: [Method; 15] = [
    Method::Lp,
    Method::Ft,
    Method::LpFt,
    Method::Surgical,
    Method::AutoRgn,
    Method::AutoSnr,
    Method::Discriminative,
    Method::Ulmfit,
    Method::WiseFt,
    Method::UniformSoup,
    Method::GreedySoup,
    Method::L2Sp,
    Method::Norms,
    Method::Biases,
    Method::Lora,
];

impl Method {
    /// The name that users type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lp => "lp",
            Self::Ft => "ft",
            Self::LpFt => "lp-ft",
            Self::Surgical => "surgical",
            Self::AutoRgn => "auto-rgn",
            Self::AutoSnr => "auto-snr",
            Self::Discriminative => "discriminative",
            Self::Ulmfit => "ulmfit",
            Self::WiseFt => "wise-ft",
            Self::UniformSoup => "uniform-soup",
            Self::GreedySoup => "greedy-soup",
            Self::L2Sp => "l2-sp",
            Self::Norms => "norms",
            Self::Biases => "biases",
            Self::Lora => "lora",
        }
    }

    /// What it does, in one line.
    pub fn summary(self) -> &'static str {
        match self {
            Self::Lp => "linear probe: the head alone, by logistic regression on fixed features",
            Self::Ft => "full fine-tuning: every block at one rate",
            Self::LpFt => "linear probe first, then every block from that head",
            Self::Surgical => "the layers from --first to --last alone",
            Self::AutoRgn => "every layer's rate follows its relative gradient norm, measured before each epoch",
            Self::AutoSnr => "each epoch, the layers whose gradients agree between batches",
            Self::Discriminative => "rates that fall by a factor for each layer back from the head",
            Self::Ulmfit => "one more layer unfrozen each epoch, rates ÷ 2.6, slanted triangle",
            Self::WiseFt => "lp-ft, then halfway back in weights to the linear probe",
            Self::UniformSoup => "lp-ft at every learning rate, then the average of all the weights",
            Self::GreedySoup => "lp-ft at every learning rate, then the average of the weights that help",
            Self::L2Sp => "full fine-tuning with a penalty on the distance from the pretrained weights",
            Self::Norms => "scales and shifts of normalization layers, and the head",
            Self::Biases => "every bias and shift, and the head",
            Self::Lora => "low-rank changes of linear layers and convolutions, and the head",
        }
    }

    /// The method's plan for a model with these blocks.
    ///
    /// # Errors
    /// A layer that the model does not have, or a range of layers that ends before it begins.
    pub fn plan(self, blocks: &[Block], options: &MethodOptions) -> Result<Plan, PlanError> {
        let phases = match self {
            Self::Lp => linear_probe::phases(),
            Self::Ft => full::phases(blocks, options),
            Self::LpFt => linear_probe_then_full::phases(blocks, options),
            Self::Surgical => surgical::phases(blocks, options)?,
            Self::AutoRgn => adaptive::relative_gradient_norm(blocks, options)?,
            Self::AutoSnr => adaptive::signal_to_noise(blocks, options)?,
            Self::Discriminative => discriminative::phases(blocks, options)?,
            Self::Ulmfit => ulmfit::phases(blocks, options),
            Self::WiseFt => weight_interpolation::phases(blocks, options),
            Self::UniformSoup => soup::uniform(blocks, options),
            Self::GreedySoup => soup::greedy(blocks, options),
            Self::L2Sp => anchored::phases(blocks, options),
            Self::Norms => partial::norms(blocks, options),
            Self::Biases => partial::biases(blocks, options),
            Self::Lora => low_rank::phases(blocks, options)?,
        };
        Ok(Plan { method: self.name().to_owned(), phases })
    }

    /// Whether the method tunes the layers that the user picks.
    pub fn takes_layers(self) -> bool {
        matches!(self, Self::Surgical | Self::AutoRgn | Self::AutoSnr | Self::Discriminative | Self::Lora)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// No method has this name.
#[derive(Debug, thiserror::Error)]
#[error("unknown method '{name}'; choose one of {known}", known = ALL.map(Method::name).join(", "))]
pub struct UnknownMethod {
    name: String,
}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(name: &str) -> Result<Self, UnknownMethod> {
        ALL.into_iter().find(|method| method.name() == name).ok_or_else(|| UnknownMethod { name: name.to_owned() })
    }
}

/// A method with the layers that it tunes, as `surgical:layer1..layer2` or `surgical:stem+head`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MethodSpec {
    /// The method.
    pub method: Method,
    /// Its layers, where it takes any.
    #[serde(default)]
    pub layers: LayerSelection,
}

impl MethodSpec {
    /// A short name of its own, such as `surgical:layer1..layer2`.
    pub fn label(&self) -> String {
        match self.layers {
            LayerSelection::All => self.method.name().to_owned(),
            _ => format!("{}:{}", self.method, self.layers),
        }
    }

    /// `options` with this method's layers.
    pub fn options(&self, options: &MethodOptions) -> MethodOptions {
        match self.layers {
            LayerSelection::All => options.clone(),
            _ => MethodOptions { layers: self.layers.clone(), ..options.clone() },
        }
    }
}

impl FromStr for MethodSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, layers) = text.split_once(':').map_or((text, None), |(name, layers)| (name, Some(layers)));
        let method: Method = name.parse().map_err(|error: UnknownMethod| error.to_string())?;
        let Some(layers) = layers else { return Ok(Self { method, layers: LayerSelection::All }) };
        if !method.takes_layers() {
            return Err(format!("method '{method}' takes no layers"));
        }
        Ok(Self { method, layers: layers.parse()? })
    }
}

/// What a user can set about a method's plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MethodOptions {
    /// Passes over the training images in a gradient phase.
    pub epochs: usize,
    /// Base learning rates; validation chooses among several.
    pub learning_rates: Vec<f64>,
    /// How the rate changes over a phase; `None` takes the method's own (a slanted triangle for
    /// `ulmfit`, a cosine for all others).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Epochs of linear climb from 0.
    pub warmup_epochs: f64,
    /// An average of the weights over each gradient phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<Averaging>,
    /// Whether the head is new: then methods that tune some layers only train it as well.
    pub new_head: bool,
    /// The layers that `surgical`, `auto-rgn`, `auto-snr`, `discriminative` and `lora` tune.
    pub layers: LayerSelection,
    /// What counts as one layer in `discriminative` and `ulmfit`; `None` takes the method's own (stages for `ulmfit`,
    /// blocks for `discriminative`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub granularity: Option<Granularity>,
    /// `discriminative` and `ulmfit`: factor on the rate for each layer back from the last; `None`
    /// takes 0.9 and 1 / 2.6, and 0.9 in both where every tensor is a layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay: Option<f64>,
    /// `discriminative`: factors are not lower than this.
    pub lowest_factor: f64,
    /// `discriminative`: rates from this to the largest one, evenly spaced in logarithm, in place
    /// of a decay; the pair is (rate of the first layer, rate of the last).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_range: Option<[f64; 2]>,
    /// `discriminative`: so many layers before the head are drawn anew first.
    pub reinitialize: usize,
    /// `ulmfit`: in which order layers are unfrozen.
    pub unfreeze: UnfreezeOrder,
    /// `auto-rgn` and `auto-snr`: what counts as one layer.
    pub adaptive_layer: LayerKind,
    /// `auto-rgn` and `auto-snr`: batches to measure before each epoch.
    pub adaptive_batches: usize,
    /// `auto-snr`: which definition.
    pub snr: SignalToNoise,
    /// `auto-snr`: layers under it are frozen; `None` takes the definition's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snr_threshold: Option<f64>,
    /// `l2-sp`: strengths of the penalty.
    pub anchor: Anchor,
    /// `lora`: rank and scale of the changes.
    pub low_rank: LowRank,
    /// `wise-ft`: shares of the fine-tuned weights; validation chooses among several.
    pub alphas: Vec<f64>,
}

impl Default for MethodOptions {
    fn default() -> Self {
        Self {
            epochs: 10,
            learning_rates: DEFAULT_LEARNING_RATES.into(),
            schedule: None,
            warmup_epochs: 0.0,
            average: None,
            new_head: true,
            layers: LayerSelection::All,
            granularity: None,
            decay: None,
            lowest_factor: 0.0,
            rate_range: None,
            reinitialize: 0,
            unfreeze: UnfreezeOrder::default(),
            adaptive_layer: LayerKind::default(),
            adaptive_batches: 5,
            snr: SignalToNoise::default(),
            snr_threshold: None,
            anchor: Anchor::default(),
            low_rank: LowRank::default(),
            alphas: vec![0.5],
        }
    }
}

impl MethodOptions {
    /// What every gradient phase has from the user, and nothing that trains yet.
    fn gradient(&self) -> Gradient {
        Gradient {
            epochs: self.epochs,
            learning_rates: self.learning_rates.clone(),
            schedule: self.schedule.unwrap_or_default(),
            warmup_epochs: self.warmup_epochs,
            average: self.average,
            ..Gradient::default()
        }
    }

    /// How much of each block the user picked; of a head that must be learned, all.
    fn selected(&self, blocks: &[Block]) -> Result<Vec<Selected>, PlanError> {
        let mut selected = self.layers.resolve(blocks)?;
        if let Some(head) = selected.last_mut().filter(|_| self.new_head) {
            *head = Selected::Whole;
        }
        Ok(selected)
    }
}

/// In which order gradual unfreezing goes; both are in the literature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnfreezeOrder {
    /// From the head down (ULMFiT).
    #[default]
    LastToFirst,
    /// From the stem up (a baseline of Lee et al. 2023).
    FirstToLast,
}

impl FromStr for UnfreezeOrder {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "last-to-first" => Self::LastToFirst,
            "first-to-last" => Self::FirstToLast,
            _ => return Err("expected last-to-first or first-to-last".into()),
        })
    }
}

/// Which definition of the signal-to-noise ratio `auto-snr` takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SignalToNoise {
    /// The paper's: [`Criterion::SignalToNoise`].
    #[default]
    Paper,
    /// The authors' code's: [`Criterion::SignalToNoiseOfficial`].
    Official,
}

impl FromStr for SignalToNoise {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "paper" => Self::Paper,
            "official" => Self::Official,
            _ => return Err("expected paper or official".into()),
        })
    }
}

impl SignalToNoise {
    fn criterion(self) -> Criterion {
        match self {
            Self::Paper => Criterion::SignalToNoise,
            Self::Official => Criterion::SignalToNoiseOfficial,
        }
    }

    /// The authors' code has 0.95 for its ratio; the paper tunes its threshold and names no value,
    /// so the middle of its 0 to 1 is taken.
    fn default_threshold(self) -> f64 {
        match self {
            Self::Paper => 0.5,
            Self::Official => 0.95,
        }
    }
}

/// A phase of gradient descent.
fn phase(name: &str, gradient: Gradient) -> Phase {
    Phase { name: name.to_owned(), solver: crate::plan::Solver::Gradient(gradient) }
}

/// The rate factor 1 for everything selected.
fn equal_rates(blocks: &[Block], selected: &[Selected]) -> indexmap::IndexMap<String, f64> {
    let names = blocks.iter().zip(selected).flat_map(|(block, selected)| selected.names(block, false));
    names.map(|name| (name, 1.0)).collect()
}

#[cfg(test)]
mod tests;
