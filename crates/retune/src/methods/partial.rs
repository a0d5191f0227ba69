//! Few parameters of every layer: only normalization layers (Frankle et al. 2021, arXiv 2003.00152),
//! or only biases (BitFit: Ben Zaken et al. 2022, arXiv 2106.10199).

use super::{MethodOptions, full, phase};
use crate::models::Block;
use crate::plan::{Gradient, Phase, Selection};

pub(super) fn norms(blocks: &[Block], options: &MethodOptions) -> Vec<Phase> {
    let gradient = Gradient { parameters: Selection::Norms, ..full::gradient(blocks, options) };
    vec![phase("normalization layers", gradient)]
}

pub(super) fn biases(blocks: &[Block], options: &MethodOptions) -> Vec<Phase> {
    let gradient = Gradient { parameters: Selection::Biases, ..full::gradient(blocks, options) };
    vec![phase("biases", gradient)]
}
