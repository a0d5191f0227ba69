//! Surgical fine-tuning (Lee et al. 2023, arXiv 2210.11466): the layers from a first to a last one
//! train, the others stay. The paper keeps the pretrained head; a new head has to be learned, so it
//! trains too.

use super::{Layers, Method, MethodOptions, Paper, equal_rate_factors};
use crate::models::Block;
use crate::plan::{Gradient, Phase, PlanError};

pub const METHOD: Method = Method {
    name: "surgical",
    summary: "only the layers that you name, from a first to a last",
    paper: Some(Paper { authors: "Lee et al.", year: 2023, arxiv: "2210.11466" }),
    layers: Layers::Needed,
    phases,
    ..Method::PLAIN
};

fn phases(blocks: &[Block], options: &MethodOptions) -> Result<Vec<Phase>, PlanError> {
    let rate_factors = equal_rate_factors(blocks, &options.selected(blocks)?);
    Ok(vec![Gradient { rate_factors, ..options.gradient() }.into_phase("surgical fine-tuning")])
}
