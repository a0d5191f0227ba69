//! Decodes JPEG files to the pixels that libjpeg-turbo gives with its default settings, and so to the
//! pixels that Pillow gives: the accurate integer inverse transform, chroma interpolated between its
//! neighbors ("fancy upsampling"), and the same rounding in every step.
//!
//! It reads sequential and progressive files of 8 bits, Huffman or arithmetic coded, with restart
//! markers, any legal order of scans and any whole sampling ratios; gray, YCbCr, RGB, CMYK and YCCK.
//! Lossless, hierarchical and 12-bit files are refused by name.
//!
//! A file that is damaged in the middle is decoded as far as it goes, to the pixels that libjpeg makes up, and
//! [`Decoded::damages`] tells so: codes that no table has, data that is missing or left over, restart markers
//! out of turn, scans that are missing. As Pillow does, this refuses a file that ends before its image does, and
//! one with broken segments. It forgives what costs no pixel: stray bytes between segments, and a missing end
//! marker.
//!
//! ```no_run
//! let bytes = std::fs::read("photo.jpg")?;
//! let jpeg = retune_jpeg::Jpeg::parse(&bytes)?;
//! let (width, height) = (jpeg.width(), jpeg.height());
//! let decoded = jpeg.decode()?;
//! assert_eq!(decoded.pixels.len(), width * height * 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod arithmetic;
mod bits;
mod color;
mod error;
mod frame;
mod huffman;
mod huffman_scan;
mod output;
mod progressive;
mod restarts;
mod scan;
mod segments;
mod sequential;
mod smoothing;
mod tables;
mod trailer;
mod transform;
mod upsample;
mod vectors;

pub use color::ColorSpace;
pub use error::JpegError;
pub use segments::{Decoded, Jpeg};
