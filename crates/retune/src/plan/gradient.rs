//! Gradient descent in a phase: what trains, how fast, and what becomes of the candidates.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::rung::Rung;
use super::{Phase, Schedule, Solver, Warmup};
use crate::models::{Block, ParameterSpec, Role};

/// Settings of gradient descent in a phase.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gradient {
    /// Passes over the training images.
    pub epochs: usize,
    /// Base learning rates to try; with several, validation chooses.
    pub learning_rates: Vec<f64>,
    /// Short trainings after which only the best rates go on, one rung after the other. What they leave trains for all the
    /// epochs; without any, every rate does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rungs: Vec<Rung>,
    /// Epochs in a row without a better one that end a training early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// How the rate changes over the phase.
    #[serde(default)]
    pub schedule: Schedule,
    /// Number of warm-up epochs; may be a fraction.
    #[serde(default)]
    pub warmup_epochs: f64,
    /// How it climbs in them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub warmup: Warmup,
    /// Which parameters of the blocks that train do so.
    #[serde(default, skip_serializing_if = "is_default")]
    pub parameters: Selection,
    /// What is made of the models that the learning rates gave.
    #[serde(default, skip_serializing_if = "is_default")]
    pub combine: Combine,
    /// Blocks whose parameters are drawn anew when the phase begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reinitialize: Vec<String>,
    /// Factor on the base rate for each block that trains, and for tensors (by timm's names) that have one of their own,
    /// which goes before their block's. What is not named is frozen. A plan's file calls them `rates`.
    #[serde(rename = "rates", alias = "rate_factors")]
    pub rate_factors: IndexMap<String, f64>,
    /// Whole epochs for which a block, or a tensor with a number of its own, stays frozen before it trains too (gradual
    /// unfreezing).
    #[serde(default, skip_serializing_if = "IndexMap::is_empty")]
    pub frozen_epochs: IndexMap<String, usize>,
    /// Rates measured anew before every epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptive: Option<Adaptive>,
    /// A pull back to the pretrained weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Anchor>,
    /// An average over training, evaluated and kept in place of the weights themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<Averaging>,
    /// Train low-rank changes of the weights instead of the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low_rank: Option<LowRank>,
}

impl Default for Gradient {
    /// Ten epochs at 1e-4 with a cosine schedule, and nothing that trains yet.
    fn default() -> Self {
        Self {
            epochs: 10,
            learning_rates: vec![1e-4],
            rungs: Vec::new(),
            patience: None,
            schedule: Schedule::default(),
            warmup_epochs: 0.0,
            warmup: Warmup::default(),
            parameters: Selection::default(),
            combine: Combine::default(),
            reinitialize: Vec::new(),
            rate_factors: IndexMap::new(),
            frozen_epochs: IndexMap::new(),
            adaptive: None,
            anchor: None,
            average: None,
            low_rank: None,
        }
    }
}

impl Gradient {
    /// A phase of this descent.
    pub fn into_phase(self, name: &str) -> Phase {
        Phase { name: name.to_owned(), solver: Solver::Gradient(self) }
    }

    /// Factor on the base rate for the parameter `name` of `block`, 0 where it is frozen.
    pub fn rate_factor(&self, block: &Block, name: &str) -> f64 {
        self.rate_factors.get(name).or_else(|| self.rate_factors.get(&block.name)).copied().unwrap_or(0.0)
    }

    /// The largest factor in a block, 0 where all of it is frozen.
    pub fn block_rate_factor(&self, block: &Block) -> f64 {
        Self::parts(block).map(|(block, name, _)| self.rate_factor(block, name)).fold(0.0, f64::max)
    }

    /// Whole epochs for which the parameter `name` of `block` stays frozen.
    pub fn frozen_epochs_of(&self, block: &Block, name: &str) -> usize {
        let epochs = &self.frozen_epochs;
        epochs.get(name).or_else(|| epochs.get(&block.name)).copied().unwrap_or(0)
    }

    /// Whether tensors of a block have rates, or epochs for which they stay frozen, of their own.
    pub fn splits(&self, block: &Block) -> bool {
        let mut treatments = block
            .parameters
            .iter()
            .map(|spec| (self.rate_factor(block, &spec.name), self.frozen_epochs_of(block, &spec.name)));
        let first = treatments.next();
        treatments.any(|treatment| Some(treatment) != first)
    }

    /// What of a block can have a rate: its parameters, by name, or the whole block if it has none.
    pub(super) fn parts(block: &Block) -> impl Iterator<Item = (&Block, &str, Option<&ParameterSpec>)> {
        let whole = block.parameters.is_empty().then_some((block, block.name.as_str(), None));
        whole.into_iter().chain(block.parameters.iter().map(move |spec| (block, spec.name.as_str(), Some(spec))))
    }

    /// Whether the phase ever changes a parameter of a block that trains; `head` is the
    /// classifier's block, which trains whole whatever else is selected.
    pub fn trains(&self, spec: &ParameterSpec, head: usize) -> bool {
        if !spec.role.is_trainable() {
            return false;
        }
        if spec.block == head {
            return true;
        }
        match &self.low_rank {
            Some(_) => LowRank::fits(spec),
            None => self.parameters.contains(spec.role),
        }
    }

    /// This descent in fewer epochs: what happens at an epoch happens at the same share of them.
    pub fn shortened(&self, epochs: usize) -> Self {
        let share = epochs as f64 / self.epochs as f64;
        let scaled = |epoch: usize| (epoch as f64 * share) as usize;
        Self {
            epochs,
            warmup_epochs: self.warmup_epochs * share,
            frozen_epochs: self.frozen_epochs.iter().map(|(name, epoch)| (name.clone(), scaled(*epoch))).collect(),
            average: self.average.map(|average| match average {
                Averaging::Epochs { from } => Averaging::Epochs { from: scaled(from).max(1) },
                exponential @ Averaging::Exponential { .. } => exponential,
            }),
            ..self.clone()
        }
    }

    /// Scalars that the phase learns for a parameter that it trains.
    pub fn learned_scalars(&self, spec: &ParameterSpec, head: usize) -> usize {
        match &self.low_rank {
            Some(low_rank) if spec.block != head => low_rank.scalars(spec),
            _ => spec.len(),
        }
    }
}

/// Which parameters of a block train. Those of the head always do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Selection {
    /// All of them.
    #[default]
    All,
    /// All but those of normalization layers.
    NotNorms,
    /// Scales and shifts of normalization layers (Frankle et al. 2021, arXiv 2003.00152).
    Norms,
    /// Every bias and shift (BitFit: Ben Zaken et al. 2022, arXiv 2106.10199).
    Biases,
}

impl Selection {
    fn contains(self, role: Role) -> bool {
        let norm = matches!(role, Role::NormWeight | Role::NormBias);
        match self {
            Self::All => true,
            Self::NotNorms => !norm,
            Self::Norms => norm,
            Self::Biases => matches!(role, Role::Bias | Role::NormBias),
        }
    }
}

/// What is made of the models that a phase's learning rates gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Combine {
    /// The one that is best on validation.
    #[default]
    Best,
    /// The average of all (Wortsman et al. 2022, arXiv 2203.05482).
    UniformSoup,
    /// An average to which each is added, best first, if validation does not lose by it (the same
    /// paper, recipe 1).
    GreedySoup,
}

/// Rates that are measured before every epoch: factors on those of the plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adaptive {
    /// What is measured.
    pub criterion: Criterion,
    /// Unit that counts as one layer.
    #[serde(default)]
    pub layer: LayerKind,
    /// Training batches whose gradients are measured.
    #[serde(default = "default_batches")]
    pub batches: usize,
    /// Layers under it stay frozen for the epoch, the others train at the full rate; without one,
    /// the factor is the measure itself, divided by the largest layer's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
    /// Whether the optimizer forgets its moments before every epoch.
    #[serde(default)]
    pub restart_optimizer: bool,
    /// What the classifier's layers are compared with. Plans written before this key existed compare all layers with
    /// each other.
    #[serde(default, skip_serializing_if = "is_default")]
    pub head: HeadMeasure,
}

/// What the measures of the classifier's layers are compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadMeasure {
    /// The largest of all layers, as for every other layer.
    #[default]
    WithBody,
    /// Nothing: the classifier trains at the full rate, and the other layers are compared among themselves. A new
    /// classifier has small weights, so its relative gradient norm would make those of all pretrained layers vanish.
    Apart,
}

fn default_batches() -> usize {
    5
}

/// What an adaptive rate follows. In all formulas, g is the gradient of a batch's loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Criterion {
    /// ‖g‖ / ‖w‖, averaged over the batches (Lee et al. 2023, arXiv 2210.11466, section 4).
    RelativeGradientNorm,
    /// mean(g)² / variance(g) over the batches for each scalar, averaged over the layer and divided
    /// by the largest layer's: the signal-to-noise ratio as the same section describes it.
    SignalToNoise,
    /// The ratio as the authors' code has it: g² / variance of g along a tensor's first axis,
    /// averaged over scalars and batches, not normalized.
    SignalToNoiseOfficial,
    /// ‖g‖ / ‖w‖ in the last step of each epoch, with the weights after it, mapped linearly so that the smallest becomes
    /// [`Criterion::MIN_SHARE`] and the largest 1, and multiplied onto the factors of the epochs before: rates only
    /// fall. The first epoch trains at the planned rates. Needs no batches of its own.
    CumulativeGradientNorm,
}

impl Criterion {
    /// What the smallest of cumulative gradient norms becomes.
    pub const MIN_SHARE: f64 = 0.55;
}

/// Unit that counts as one layer where rates are measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LayerKind {
    /// Every parameter tensor by itself, as the authors' code has it.
    #[default]
    Tensor,
    /// All selected tensors of a block together.
    Block,
    /// All selected tensors of a stage together.
    Stage,
}

/// L2-SP (Li, Grandvalet & Davoine 2018, arXiv 1802.01483): a penalty of
/// `strength / 2 · ‖w − w₀‖²` on pretrained parameters, where w₀ are those that the run began with,
/// and of `head_strength / 2 · ‖w‖²` on the head's. It takes the place of weight decay.
///
/// SGD adds the penalty's gradient to that of the loss. Adam and AdamW would divide it by the size of the gradients, so
/// they step along it before their own update instead, as AdamW does with weight decay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// The paper's α.
    pub strength: f64,
    /// The paper's β.
    pub head_strength: f64,
}

impl Anchor {
    /// The paper's usual values (section 4.1).
    pub const DEFAULT: Self = Self { strength: 0.1, head_strength: 0.01 };
}

impl Default for Anchor {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// An average of the weights over training; running statistics are averaged with them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Averaging {
    /// Exponential moving average, updated after every step t = 0, 1, …: the old average counts by
    /// min(decay, (1 + t) / (10 + t)), so that a short run is not tied to its start.
    Exponential {
        /// Largest weight of the old average.
        decay: f64,
    },
    /// The equal average of the weights after each epoch from this one (counted from 1) on
    /// (stochastic weight averaging: Izmailov et al. 2018, arXiv 1803.05407).
    Epochs {
        /// First epoch that counts.
        from: usize,
    },
}

/// LoRA (Hu et al. 2022, arXiv 2106.09685): a weight becomes `W + alpha / rank · B A`, of which only
/// `A` (`rank × inputs`, small random values) and `B` (`outputs × rank`, zeros) are trained. A
/// convolution counts as the matrix `outputs × (inputs · height · width)`, as in PEFT.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LowRank {
    /// Rank of the change.
    pub rank: usize,
    /// The change is scaled by `alpha / rank`.
    pub alpha: f64,
}

impl Default for LowRank {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl LowRank {
    /// Rank 8, scaled by 2.
    pub const DEFAULT: Self = Self { rank: 8, alpha: 16.0 };
    /// Past this, "low" has no meaning: the factors of most layers would be larger than their weights.
    pub const MAX_RANK: usize = 1024;

    /// Whether a parameter can have a low-rank change: a matrix, or a convolution that mixes all
    /// channels. One in groups is left out, as PEFT cannot merge its adapters either.
    pub fn fits(spec: &ParameterSpec) -> bool {
        spec.role == Role::Weight && spec.shape.len() >= 2
    }

    /// Scalars of `A` and `B` together.
    pub fn scalars(&self, spec: &ParameterSpec) -> usize {
        let outputs = spec.shape.first().copied().unwrap_or(1).max(1);
        self.rank * (outputs + spec.len() / outputs)
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
