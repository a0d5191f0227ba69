//! Only normalization layers train, and the head (Frankle et al. 2021, arXiv 2003.00152).

use super::{Method, Paper, ft};
use crate::plan::{Gradient, Selection};

pub const METHOD: Method = Method {
    name: "norms",
    summary: "scales and shifts of normalization layers, and the head",
    paper: Some(Paper { authors: "Frankle et al.", year: 2021, arxiv: "2003.00152" }),
    phases: |blocks, options| {
        let gradient = Gradient { parameters: Selection::Norms, ..ft::gradient(blocks, options) };
        Ok(vec![gradient.into_phase("normalization layers")])
    },
    ..Method::PLAIN
};
