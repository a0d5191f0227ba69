//! Model soups (Wortsman et al. 2022, arXiv 2203.05482): the weights that several learning rates
//! gave are averaged. They all start from the same linear probe, as the paper's do, because weights
//! can only be averaged where they lie in one basin.

use super::{MethodOptions, full, linear_probe, phase};
use crate::models::Block;
use crate::plan::{Combine, Gradient, Phase};

pub(super) fn uniform(blocks: &[Block], options: &MethodOptions) -> Vec<Phase> {
    phases(Combine::UniformSoup, blocks, options)
}

pub(super) fn greedy(blocks: &[Block], options: &MethodOptions) -> Vec<Phase> {
    phases(Combine::GreedySoup, blocks, options)
}

fn phases(combine: Combine, blocks: &[Block], options: &MethodOptions) -> Vec<Phase> {
    let mut phases = linear_probe::phases();
    phases.push(phase("fine-tuning", Gradient { combine, ..full::gradient(blocks, options) }));
    phases
}
