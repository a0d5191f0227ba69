//! Linear probing: the pretrained body is a fixed feature extractor and only the head is trained,
//! to the optimum of a convex problem (Kumar et al. 2022, arXiv 2202.10054, section 2).

use super::{Method, Paper};
use crate::plan::{LogisticRegression, Phase, Solver};

pub const METHOD: Method = Method {
    name: "lp",
    summary: "linear probe: the head alone, by logistic regression on fixed features",
    paper: Some(Paper { authors: "Kumar et al.", year: 2022, arxiv: "2202.10054" }),
    descends: false,
    phases: |_, _| Ok(vec![phase()]),
    ..Method::PLAIN
};

pub(super) fn phase() -> Phase {
    let solver = Solver::LogisticRegression(LogisticRegression::default());
    Phase { name: "linear probe".into(), solver }
}
