//! Auto-RGN (Lee et al. 2023, arXiv 2210.11466, section 4): before every epoch, each layer's rate is
//! set by its relative gradient norm. As in the authors' code, normalization layers are left out and
//! the optimizer starts afresh each time.
//!
//! A new head begins as a linear probe and trains at the full rate. Under a head of zeros no gradient reaches the body,
//! and the relative gradient norm of a head with small weights is hundreds of times that of any other layer: with either,
//! the body would hardly train.

use serde::{Deserialize, Serialize};

use super::options::{Interval, Kind, MethodOption};
use super::{Layers, Method, MethodOptions, Paper, equal_rate_factors};
use crate::models::Block;
use crate::plan::{Adaptive, Criterion, Gradient, HeadMeasure, LayerKind, Phase, PlanError, Selection};

pub const METHOD: Method = Method {
    name: "auto-rgn",
    summary: "every layer's rate follows its relative gradient norm, measured before each epoch",
    paper: Some(Paper { authors: "Lee et al.", year: 2023, arxiv: "2210.11466" }),
    layers: Layers::Taken,
    probes_new_head: true,
    options: &[&BATCHES, &GRANULARITY, &MODE],
    phases,
    ..Method::PLAIN
};

const MODE: MethodOption<RelativeGradientNorm> = MethodOption::new(
    "rgn_mode",
    "NAME",
    Kind::Choice(&["paper", "notebook"]),
    RelativeGradientNorm::Paper,
    "How rates follow the norms: measured from scratch before each epoch (paper), or lowered after each epoch, to 0.55 at least, by the ratios of its last batch (notebook)",
);

/// How rates follow the relative gradient norm.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RelativeGradientNorm {
    /// The paper's: [`Criterion::RelativeGradientNorm`].
    Paper,
    /// That of public notebooks: [`Criterion::CumulativeGradientNorm`], of all tensors, by one optimizer.
    Notebook,
}

fn phases(blocks: &[Block], options: &MethodOptions) -> Result<Vec<Phase>, PlanError> {
    let gradient = match options.get(&MODE) {
        RelativeGradientNorm::Paper => measured(blocks, options, Criterion::RelativeGradientNorm, None)?,
        RelativeGradientNorm::Notebook => cumulative(blocks, options)?,
    };
    Ok(vec![gradient.into_phase("auto-RGN")])
}

/// Gradient descent at rates that the last batch of each epoch lowers.
fn cumulative(blocks: &[Block], options: &MethodOptions) -> Result<Gradient, PlanError> {
    let adaptive = Adaptive {
        criterion: Criterion::CumulativeGradientNorm,
        layer: options.get(&GRANULARITY),
        batches: 1,
        threshold: None,
        restart_optimizer: false,
        head: HeadMeasure::WithBody,
    };
    Ok(Gradient {
        rate_factors: equal_rate_factors(blocks, &options.selected(blocks)?),
        adaptive: Some(adaptive),
        ..options.gradient()
    })
}

pub(super) const BATCHES: MethodOption<usize> = MethodOption::new(
    "rgn_batches",
    "N",
    Kind::Whole(Interval::above(0.0)),
    5,
    "Number of batches to measure rates on before each epoch",
)
.formerly("adaptive_batches");

pub(super) const GRANULARITY: MethodOption<LayerKind> = MethodOption::new(
    "rgn_granularity",
    "NAME",
    Kind::Choice(&["tensor", "block", "stage"]),
    LayerKind::Tensor,
    "Granularity of the measured rates",
)
.formerly("adaptive_layer");

/// Gradient descent at rates that a measure of the gradients sets before every epoch.
pub(super) fn measured(
    blocks: &[Block],
    options: &MethodOptions,
    criterion: Criterion,
    threshold: Option<f64>,
) -> Result<Gradient, PlanError> {
    let adaptive = Adaptive {
        criterion,
        layer: options.get(&GRANULARITY),
        batches: options.get(&BATCHES),
        threshold,
        restart_optimizer: true,
        head: if options.new_head { HeadMeasure::Apart } else { HeadMeasure::WithBody },
    };
    Ok(Gradient {
        parameters: Selection::NotNorms,
        rate_factors: equal_rate_factors(blocks, &options.selected(blocks)?),
        adaptive: Some(adaptive),
        ..options.gradient()
    })
}
