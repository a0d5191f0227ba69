//! L2-SP (Li, Grandvalet & Davoine 2018, arXiv 1802.01483): full fine-tuning with a penalty on the
//! squared distance from the pretrained weights.

use super::{MethodOptions, full, phase};
use crate::models::Block;
use crate::plan::{Gradient, Phase};

pub(super) fn phases(blocks: &[Block], options: &MethodOptions) -> Vec<Phase> {
    let gradient = Gradient { anchor: Some(options.anchor), ..full::gradient(blocks, options) };
    vec![phase("fine-tuning with L2-SP", gradient)]
}
