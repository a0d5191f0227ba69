//! Auto-RGN (Lee et al. 2023, arXiv 2210.11466, section 4): before every epoch, each layer's rate is
//! set by its relative gradient norm. As in the authors' code, normalization layers are left out and
//! the optimizer starts afresh each time.

use super::options::{Interval, Kind, MethodOption};
use super::{Layers, Method, MethodOptions, Paper, equal_rate_factors};
use crate::models::Block;
use crate::plan::{Adaptive, Criterion, Gradient, LayerKind, PlanError, Selection};

pub const METHOD: Method = Method {
    name: "auto-rgn",
    summary: "every layer's rate follows its relative gradient norm, measured before each epoch",
    paper: Some(Paper { authors: "Lee et al.", year: 2023, arxiv: "2210.11466" }),
    layers: Layers::Taken,
    options: &[&BATCHES, &GRANULARITY],
    phases: |blocks, options| {
        let gradient = measured(blocks, options, Criterion::RelativeGradientNorm, None)?;
        Ok(vec![gradient.into_phase("auto-RGN")])
    },
    ..Method::PLAIN
};

pub(super) const BATCHES: MethodOption<usize> = MethodOption::new(
    "rgn_batches",
    "N",
    Kind::Whole(Interval::above(0.0)),
    5,
    "Batches that rates are measured on before each epoch",
)
.formerly("adaptive_batches");

pub(super) const GRANULARITY: MethodOption<LayerKind> = MethodOption::new(
    "rgn_granularity",
    "NAME",
    Kind::Choice(&["tensor", "block", "stage"]),
    LayerKind::Tensor,
    "What has a rate of its own",
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
    };
    Ok(Gradient {
        parameters: Selection::NotNorms,
        rate_factors: equal_rate_factors(blocks, &options.selected(blocks)?),
        adaptive: Some(adaptive),
        ..options.gradient()
    })
}
