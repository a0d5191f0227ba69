//! LoRA (Hu et al. 2022, arXiv 2106.09685), for linear layers and convolutions.

use super::options::{Interval, Kind, MethodOption};
use super::{Layers, Method, MethodOptions, Paper, equal_rate_factors};
use crate::models::Block;
use crate::plan::{Gradient, LowRank, Phase, PlanError};

pub const METHOD: Method = Method {
    name: "lora",
    summary: "low-rank changes of linear layers and convolutions, and the head",
    paper: Some(Paper { authors: "Hu et al.", year: 2022, arxiv: "2106.09685" }),
    layers: Layers::Taken,
    options: &[&RANK, &ALPHA],
    phases,
    ..Method::PLAIN
};

const RANK: MethodOption<usize> = MethodOption::new(
    "lora_rank",
    "N",
    Kind::Whole(Interval::between(1.0, LowRank::MAX_RANK as f64)),
    LowRank::DEFAULT.rank,
    "Rank of the low-rank changes",
)
.formerly("low_rank.rank");

const ALPHA: MethodOption<f64> = MethodOption::new(
    "lora_alpha",
    "X",
    Kind::Number(Interval::above(0.0)),
    LowRank::DEFAULT.alpha,
    "Scale of the changes, divided by the rank",
)
.formerly("low_rank.alpha");

fn phases(blocks: &[Block], options: &MethodOptions) -> Result<Vec<Phase>, PlanError> {
    let low_rank = LowRank { rank: options.get(&RANK), alpha: options.get(&ALPHA) };
    let rate_factors = equal_rate_factors(blocks, &options.selected(blocks)?);
    let gradient = Gradient { low_rank: Some(low_rank), rate_factors, ..options.gradient() };
    Ok(vec![gradient.into_phase("low-rank adaptation")])
}
