//! Auto-RGN and Auto-SNR (Lee et al. 2023, arXiv 2210.11466, section 4): before every epoch, each
//! layer's rate is set by a measure of its gradients. As in the authors' code, normalization layers
//! are left out and the optimizer starts afresh each time.

use super::{MethodOptions, equal_rates, phase};
use crate::models::Block;
use crate::plan::{Adaptive, Criterion, Gradient, Phase, PlanError, Selection};

pub(super) fn relative_gradient_norm(blocks: &[Block], options: &MethodOptions) -> Result<Vec<Phase>, PlanError> {
    phases("auto-RGN", Criterion::RelativeGradientNorm, None, blocks, options)
}

pub(super) fn signal_to_noise(blocks: &[Block], options: &MethodOptions) -> Result<Vec<Phase>, PlanError> {
    let threshold = options.snr_threshold.unwrap_or(options.snr.default_threshold());
    phases("auto-SNR", options.snr.criterion(), Some(threshold), blocks, options)
}

fn phases(
    name: &str,
    criterion: Criterion,
    threshold: Option<f64>,
    blocks: &[Block],
    options: &MethodOptions,
) -> Result<Vec<Phase>, PlanError> {
    let adaptive = Adaptive {
        criterion,
        layer: options.adaptive_layer,
        batches: options.adaptive_batches,
        threshold,
        restart_optimizer: true,
    };
    let gradient = Gradient {
        parameters: Selection::NotNorms,
        rates: equal_rates(blocks, &options.selected(blocks)?),
        adaptive: Some(adaptive),
        ..options.gradient()
    };
    Ok(vec![phase(name, gradient)])
}
