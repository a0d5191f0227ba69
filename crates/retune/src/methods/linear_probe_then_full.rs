//! LP-FT (Kumar et al. 2022, arXiv 2202.10054, section 3.4): with a head that already fits, full
//! fine-tuning changes the pretrained features less, and what they know about shifted data is kept.

use super::{MethodOptions, full, linear_probe};
use crate::models::Block;
use crate::plan::Phase;

pub(super) fn phases(blocks: &[Block], options: &MethodOptions) -> Vec<Phase> {
    let mut phases = linear_probe::phases();
    phases.extend(full::phases(blocks, options));
    phases
}
