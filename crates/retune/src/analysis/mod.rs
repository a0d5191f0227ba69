//! What models make of data: features written out for other tools.

pub mod features;
