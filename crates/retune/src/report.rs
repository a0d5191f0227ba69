//! Pictures of runs and comparisons.

pub mod plot;
pub mod run;
