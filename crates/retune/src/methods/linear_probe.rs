//! Linear probing: the pretrained body is a fixed feature extractor and only the head is trained,
//! to the optimum of a convex problem (Kumar et al. 2022, arXiv 2202.10054, section 2).

use crate::plan::{LogisticRegression, Phase, Solver};

pub(super) fn phases() -> Vec<Phase> {
    let solver = Solver::LogisticRegression(LogisticRegression::default());
    vec![Phase { name: "linear probe".into(), solver }]
}
