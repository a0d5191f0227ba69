//! A uniform model soup (Wortsman et al. 2022, arXiv 2203.05482): the weights that several learning
//! rates gave are averaged. They all start from the same linear probe, as the paper's do, because
//! weights can only be averaged where they lie in one basin.

use super::{Method, MethodOptions, Paper, ft, lp};
use crate::models::Block;
use crate::plan::{Combine, Gradient, Phase};

pub const METHOD: Method = Method {
    name: "uniform-soup",
    summary: "lp-ft at every learning rate, then the average of all the weights",
    paper: Some(Paper { authors: "Wortsman et al.", year: 2022, arxiv: "2203.05482" }),
    averages_rates: true,
    phases: |blocks, options| Ok(phases(Combine::UniformSoup, blocks, options)),
    ..Method::PLAIN
};

pub(super) fn phases(combine: Combine, blocks: &[Block], options: &MethodOptions) -> Vec<Phase> {
    vec![lp::phase(), Gradient { combine, ..ft::gradient(blocks, options) }.into_phase("fine-tuning")]
}
