//! WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903): the model lies on the line between the weights
//! before and after fine-tuning. The line needs a head that fits at both ends, so it starts at a
//! linear probe, as the paper starts at a zero-shot head. Halfway is the paper's advice where nothing
//! of the shifted data is known.

use std::borrow::Cow;

use super::options::{Interval, Kind, MethodOption};
use super::{Method, MethodOptions, Paper, ft};
use crate::models::Block;
use crate::plan::{Interpolation, Phase, Solver};

pub const METHOD: Method = Method {
    name: "wise-ft",
    summary: "lp-ft, then halfway back in weights to the linear probe",
    paper: Some(Paper { authors: "Wortsman et al.", year: 2022, arxiv: "2109.01903" }),
    options: &[&ALPHA],
    phases: |blocks, options| Ok(phases(blocks, options)),
    ..Method::PLAIN
};

const ALPHA: MethodOption<Cow<'static, [f64]>> = MethodOption::new(
    "alpha",
    "X",
    Kind::Numbers(Interval::between(0.0, 1.0)),
    Cow::Borrowed([0.5].as_slice()),
    "Share of the fine-tuned weights in the average; of several, separated by commas, validation chooses one",
)
.formerly("alphas");

fn phases(blocks: &[Block], options: &MethodOptions) -> Vec<Phase> {
    let solver = Solver::Interpolation(Interpolation { alphas: options.get(&ALPHA).into_owned() });
    vec![Phase::linear_probe(), ft::phase(blocks, options), Phase { name: "interpolation".into(), solver }]
}
