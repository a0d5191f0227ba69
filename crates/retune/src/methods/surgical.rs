//! Surgical fine-tuning (Lee et al. 2023, arXiv 2210.11466): the layers from a first to a last one
//! train, the others stay. The paper keeps the pretrained head; a new head has to be learned, so it
//! trains too.

use super::{MethodOptions, equal_rates, phase};
use crate::models::Block;
use crate::plan::{Gradient, Phase, PlanError};

pub(super) fn phases(blocks: &[Block], options: &MethodOptions) -> Result<Vec<Phase>, PlanError> {
    let rates = equal_rates(blocks, &options.selected(blocks)?);
    Ok(vec![phase("surgical fine-tuning", Gradient { rates, ..options.gradient() })])
}
