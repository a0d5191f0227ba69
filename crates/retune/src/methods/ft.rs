//! Full fine-tuning: every block trains at the same rate.

use super::layers::Selected;
use super::{Method, MethodOptions, equal_rate_factors};
use crate::models::Block;
use crate::plan::{Gradient, Phase};

pub const METHOD: Method = Method {
    name: "ft",
    summary: "full fine-tuning: every block at one rate",
    phases: |blocks, options| Ok(vec![phase(blocks, options)]),
    ..Method::PLAIN
};

pub(super) fn phase(blocks: &[Block], options: &MethodOptions) -> Phase {
    gradient(blocks, options).into_phase("fine-tuning")
}

pub(super) fn gradient(blocks: &[Block], options: &MethodOptions) -> Gradient {
    let everything = vec![Selected::Whole; blocks.len()];
    Gradient { rate_factors: equal_rate_factors(blocks, &everything), ..options.gradient() }
}
