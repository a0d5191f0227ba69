#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod augment;
pub mod channels;
pub mod corruption;
pub mod decode;
pub mod input_size;
pub mod picture;
pub mod preprocess;
pub mod randaugment;
pub mod resize;
