#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod cka;
pub mod intervals;
pub mod neighbors;
pub mod trustworthiness;
pub mod umap;
