//! From the bytes of an image file to the pixels that a model sees.
//!
//! ```text
//! bytes ─ decode ─► image ─ preprocess or augment ─► image of the input size ─ corrupt ─► image
//!                              └─ resize, randaugment
//! ```
//!
//! Pixels equal those of the programs that models were trained with: [`resize`] equals Pillow, OpenCV and PyTorch to
//! the bit, [`preprocess`] equals timm's evaluation transform, [`corruption`] follows `imagecorruptions`. The crate
//! knows no data set and no tensor library.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod augment;
pub mod corruption;
pub mod decode;
pub mod input_size;
pub mod preprocess;
pub mod randaugment;
pub mod resize;
