//! Only biases train, and the head (BitFit: Ben Zaken et al. 2022, arXiv 2106.10199).

use super::{Method, Paper, ft};
use crate::plan::{Gradient, Selection};

pub const METHOD: Method = Method {
    name: "biases",
    summary: "every bias and shift, and the head",
    paper: Some(Paper { authors: "Ben Zaken et al.", year: 2022, arxiv: "2106.10199" }),
    phases: |blocks, options| {
        let gradient = Gradient { parameters: Selection::Biases, ..ft::gradient(blocks, options) };
        Ok(vec![gradient.into_phase("biases")])
    },
    ..Method::PLAIN
};
