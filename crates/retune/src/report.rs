//! Pictures and pages of runs and comparisons.
//!
//! ```text
//! run directory ─ run ─► plots/*.svg, *.png
//!       └──────── run_page ─► Page ─ page ─► report.html
//! ```
//!
//! This module only reads run directories and plain results.

pub mod confusion;
mod figures;
pub mod findings;
mod layer_rates;
pub mod page;
pub mod pictures;
pub mod plot;
pub mod range_test;
pub mod run_page;
pub mod similarity;
pub mod tensorboard;
mod verdict;
