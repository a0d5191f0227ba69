//! LoRA (Hu et al. 2022, arXiv 2106.09685), for linear layers and convolutions.

use super::{MethodOptions, equal_rates, phase};
use crate::models::Block;
use crate::plan::{Gradient, Phase, PlanError};

pub(super) fn phases(blocks: &[Block], options: &MethodOptions) -> Result<Vec<Phase>, PlanError> {
    let rates = equal_rates(blocks, &options.selected(blocks)?);
    let gradient = Gradient { low_rank: Some(options.low_rank), rates, ..options.gradient() };
    Ok(vec![phase("low-rank adaptation", gradient)])
}
