//! Arrays in, arrays out: what features look like and how sure a number is.
//!
//! - [`neighbors`]: the nearest rows of a matrix, exactly.
//! - [`umap`]: a map of rows in two dimensions; [`trustworthiness`] says how far to believe it.
//! - [`cka`]: how alike two representations of the same images are.
//! - [`intervals`]: intervals of accuracies and of their differences.
//!
//! The crate knows no image, no model and no file.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod cka;
pub mod intervals;
pub mod neighbors;
pub mod trustworthiness;
pub mod umap;
