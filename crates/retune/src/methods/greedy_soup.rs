//! A greedy model soup (Wortsman et al. 2022, arXiv 2203.05482, recipe 1): as
//! [`super::uniform_soup`], of the weights that help on validation alone.

use super::{Method, Paper, uniform_soup};
use crate::plan::Combine;

pub const METHOD: Method = Method {
    name: "greedy-soup",
    summary: "lp-ft at every learning rate, then the average of the weights that help",
    paper: Some(Paper { authors: "Wortsman et al.", year: 2022, arxiv: "2203.05482" }),
    averages_rates: true,
    phases: |blocks, options| Ok(uniform_soup::phases(Combine::GreedySoup, blocks, options)),
    ..Method::PLAIN
};
