//! Full fine-tuning: every block trains at the same rate.

use super::layers::Selected;
use super::{MethodOptions, equal_rates, phase};
use crate::models::Block;
use crate::plan::{Gradient, Phase};

pub(super) fn gradient(blocks: &[Block], options: &MethodOptions) -> Gradient {
    Gradient { rates: equal_rates(blocks, &vec![Selected::Whole; blocks.len()]), ..options.gradient() }
}

pub(super) fn phases(blocks: &[Block], options: &MethodOptions) -> Vec<Phase> {
    vec![phase("fine-tuning", gradient(blocks, options))]
}
