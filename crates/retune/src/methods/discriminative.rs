//! Discriminative fine-tuning: the rate is highest in the last layer and falls by a factor for each
//! layer before it (Howard & Ruder 2018, arXiv 1801.06146, section 3.2; layer-wise decay as timm
//! counts layers), or by even steps in logarithm over a range, as fastai's slices do. The last
//! layers before the head can be drawn anew first (Zhang et al. 2021, arXiv 2006.05987).

use indexmap::IndexMap;

use super::layers::{Granularity, Selected};
use super::{MethodOptions, phase};
use crate::models::Block;
use crate::plan::{Gradient, Phase, PlanError};

/// For each layer back from the last.
pub(super) const DECAY: f64 = 0.9;

pub(super) fn phases(blocks: &[Block], options: &MethodOptions) -> Result<Vec<Phase>, PlanError> {
    let granularity = options.granularity.unwrap_or(Granularity::Block);
    let selected = options.selected(blocks)?;
    let learning_rates = match options.rate_range {
        Some([_, highest]) => vec![highest],
        None => options.learning_rates.clone(),
    };
    let gradient = Gradient {
        learning_rates,
        rates: falling_rates(blocks, &selected, granularity, |layers_back, layers| {
            factor(options, layers_back, layers)
        }),
        reinitialize: last_before_head(blocks, options.reinitialize),
        ..options.gradient()
    };
    Ok(vec![phase("discriminative fine-tuning", gradient)])
}

/// Factor of the layer that is `layers_back` before the last of `layers`.
fn factor(options: &MethodOptions, layers_back: usize, layers: usize) -> f64 {
    let back = layers_back as f64;
    match options.rate_range {
        Some([lowest, highest]) => (lowest / highest).powf(back / (layers.max(2) - 1) as f64),
        None => options.decay.unwrap_or(DECAY).powf(back).max(options.lowest_factor),
    }
}

/// A rate for all that is selected, by `factor` of its layer's distance from the last selected layer
/// and the number of selected layers.
pub(super) fn falling_rates(
    blocks: &[Block],
    selected: &[Selected],
    granularity: Granularity,
    factor: impl Fn(usize, usize) -> f64,
) -> IndexMap<String, f64> {
    let layers = granularity.selected(blocks, selected);
    let count = layers.len();
    let rate = |index: usize| factor(count - 1 - index, count);
    let layers = layers.into_iter().enumerate();
    layers
        .flat_map(|(index, names)| names.into_iter().map(move |name| (index, name)))
        .map(|(index, name)| (name, rate(index)))
        .collect()
}

/// The blocks of the last `count` layers before the head.
fn last_before_head(blocks: &[Block], count: usize) -> Vec<String> {
    let mut layers = Granularity::Block.layers(&blocks[..blocks.len().saturating_sub(1)]);
    let last = layers.split_off(layers.len().saturating_sub(count));
    last.into_iter().flatten().map(|block| blocks[block].name.clone()).collect()
}
