//! WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903): the model lies on the line between the weights
//! before and after fine-tuning. The line needs a head that fits at both ends, so it starts at a
//! linear probe, as the paper starts at a zero-shot head. Halfway is the paper's advice where nothing
//! of the shifted data is known.

use super::{MethodOptions, linear_probe_then_full};
use crate::models::Block;
use crate::plan::{Interpolation, Phase, Solver};

pub(super) fn phases(blocks: &[Block], options: &MethodOptions) -> Vec<Phase> {
    let mut phases = linear_probe_then_full::phases(blocks, options);
    let solver = Solver::Interpolation(Interpolation { alphas: options.alphas.clone() });
    phases.push(Phase { name: "interpolation".into(), solver });
    phases
}
