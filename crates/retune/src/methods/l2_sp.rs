//! L2-SP (Li, Grandvalet & Davoine 2018, arXiv 1802.01483): full fine-tuning with a penalty on the
//! squared distance from the pretrained weights.

use super::options::{Interval, Kind, MethodOption};
use super::{Method, MethodOptions, Paper, ft};
use crate::models::Block;
use crate::plan::{Anchor, Gradient, Phase};

pub const METHOD: Method = Method {
    name: "l2-sp",
    summary: "full fine-tuning with a penalty on the distance from the pretrained weights",
    paper: Some(Paper { authors: "Li, Grandvalet & Davoine", year: 2018, arxiv: "1802.01483" }),
    options: &[&STRENGTH, &HEAD_STRENGTH],
    phases: |blocks, options| Ok(vec![phase(blocks, options)]),
    ..Method::PLAIN
};

// The paper's usual values (section 4.1) are the defaults.
const STRENGTH: MethodOption<f64> = MethodOption::new(
    "anchor",
    "X",
    Kind::Number(Interval::at_least(0.0)),
    Anchor::DEFAULT.strength,
    "Strength of the pull toward the pretrained weights",
)
.formerly("anchor.strength");

const HEAD_STRENGTH: MethodOption<f64> = MethodOption::new(
    "anchor_head",
    "X",
    Kind::Number(Interval::at_least(0.0)),
    Anchor::DEFAULT.head_strength,
    "Strength of the pull of the head toward zero",
)
.formerly("anchor.head_strength");

fn phase(blocks: &[Block], options: &MethodOptions) -> Phase {
    let anchor = Anchor { strength: options.get(&STRENGTH), head_strength: options.get(&HEAD_STRENGTH) };
    Gradient { anchor: Some(anchor), ..ft::gradient(blocks, options) }.into_phase("fine-tuning with L2-SP")
}
