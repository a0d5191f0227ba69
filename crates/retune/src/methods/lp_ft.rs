//! LP-FT (Kumar et al. 2022, arXiv 2202.10054, section 3.4): with a head that already fits, full
//! fine-tuning changes the pretrained features less, and what they know about shifted data is kept.

use super::{Method, Paper, ft, lp};

pub const METHOD: Method = Method {
    name: "lp-ft",
    summary: "linear probe first, then every block from that head",
    paper: Some(Paper { authors: "Kumar et al.", year: 2022, arxiv: "2202.10054" }),
    phases: |blocks, options| Ok(vec![lp::phase(), ft::phase(blocks, options)]),
    ..Method::PLAIN
};
