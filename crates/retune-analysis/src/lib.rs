#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod calibration;
pub mod cka;
pub mod classification;
pub mod holm;
pub mod intervals;
pub mod knn;
pub mod label_resampling;
pub mod multilabel;
pub mod neighbors;
pub mod overlap;
pub mod resampling;
pub mod student;
pub mod temperature;
pub mod trustworthiness;
pub mod two_way;
pub mod umap;
