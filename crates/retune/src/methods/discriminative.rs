//! Discriminative fine-tuning: the rate is highest in the last layer and falls by a factor for each
//! layer before it (Howard & Ruder 2018, arXiv 1801.06146, section 3.2; layer-wise decay as timm
//! counts layers), or by even steps in logarithm over a range, as fastai's slices do. The last
//! layers before the head can be drawn anew first (Zhang et al. 2021, arXiv 2006.05987).

use indexmap::IndexMap;

use super::layers::{Granularity, Selected};
use super::options::{Interval, Kind, MethodOption};
use super::{Layers, Method, MethodOptions, Paper};
use crate::models::Block;
use crate::plan::{Gradient, Phase, PlanError};

pub const METHOD: Method = Method {
    name: "discriminative",
    summary: "rates that fall by a factor for each layer back from the head",
    paper: Some(Paper { authors: "Howard & Ruder", year: 2018, arxiv: "1801.06146" }),
    layers: Layers::Taken,
    options: &[&GRANULARITY, &DECAY, &DECAY_MIN, &LR_RANGE, &REINIT],
    phases,
    ..Method::PLAIN
};

pub(super) const GRANULARITY: MethodOption<Granularity> = MethodOption::new(
    "granularity",
    "NAME",
    Kind::Choice(&["stage", "block", "tensor"]),
    Granularity::Block,
    "Unit that counts as one layer",
);

/// For each layer back from the last.
pub(super) const DECAY: MethodOption<f64> = MethodOption::new(
    "decay",
    "X",
    Kind::Number(Interval::above(0.0).up_to(1.0)),
    0.9,
    "Factor on the rate for each layer back from the last",
);

const DECAY_MIN: MethodOption<f64> =
    MethodOption::new("decay_min", "X", Kind::Number(Interval::between(0.0, 1.0)), 0.0, "Lower bound of the factor")
        .excludes(&["lr_range"])
        .formerly("lowest_factor");

const LR_RANGE: MethodOption<Option<[f64; 2]>> = MethodOption::new(
    "lr_range",
    "LOW..HIGH",
    Kind::Range(Interval::above(0.0)),
    None,
    "Rates of the first and the last layer, evenly spaced on a logarithmic scale in between; replaces the decay",
)
.excludes(&["lr", "decay"])
.formerly("rate_range");

const REINIT: MethodOption<usize> = MethodOption::new(
    "reinit",
    "K",
    Kind::Whole(Interval::at_least(0.0)),
    0,
    "Reinitialize this many layers before the head",
)
.formerly("reinitialize");

fn phases(blocks: &[Block], options: &MethodOptions) -> Result<Vec<Phase>, PlanError> {
    let selected = options.selected(blocks)?;
    let gradient = Gradient {
        rate_factors: falling_rate_factors(blocks, &selected, options.get(&GRANULARITY), |layers_back, layers| {
            factor(options, layers_back, layers)
        }),
        reinitialize: last_before_head(blocks, options.get(&REINIT)),
        ..options.gradient()
    };
    let gradient = match options.get(&LR_RANGE) {
        Some([_, highest]) => Gradient { learning_rates: vec![highest], ..gradient },
        None => gradient,
    };
    Ok(vec![gradient.into_phase("discriminative fine-tuning")])
}

/// Factor of the layer that is `layers_back` before the last of `layers`.
fn factor(options: &MethodOptions, layers_back: usize, layers: usize) -> f64 {
    let back = layers_back as f64;
    match options.get(&LR_RANGE) {
        Some([lowest, highest]) => (lowest / highest).powf(back / (layers.max(2) - 1) as f64),
        None => options.get(&DECAY).powf(back).max(options.get(&DECAY_MIN)),
    }
}

/// A rate factor for all that is selected, by `factor` of its layer's distance from the last selected
/// layer and the number of selected layers.
pub(super) fn falling_rate_factors(
    blocks: &[Block],
    selected: &[Selected],
    granularity: Granularity,
    factor: impl Fn(usize, usize) -> f64,
) -> IndexMap<String, f64> {
    let layers = granularity.selected(blocks, selected);
    let count = layers.len();
    let factor = |index: usize| factor(count - 1 - index, count);
    let layers = layers.into_iter().enumerate();
    layers
        .flat_map(|(index, names)| names.into_iter().map(move |name| (index, name)))
        .map(|(index, name)| (name, factor(index)))
        .collect()
}

/// The blocks of the last `count` layers before the head.
fn last_before_head(blocks: &[Block], count: usize) -> Vec<String> {
    let mut layers = Granularity::Block.layers(&blocks[..blocks.len().saturating_sub(1)]);
    let last = layers.split_off(layers.len().saturating_sub(count));
    last.into_iter().flatten().map(|block| blocks[block].name.clone()).collect()
}
