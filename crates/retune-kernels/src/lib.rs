//! Fused operators for training image models on a CPU.
#![warn(missing_docs)]

mod attention;
mod card;
mod convolution;
mod elementwise;
mod exponential;

mod instructions;
pub mod memory;
mod operator;
pub mod operators;
mod precision;
mod product;
mod row_products;
mod shared;
mod transpose;
mod vectors;
mod workspace;

pub use instructions::{Instructions, dispatch, keep_to};
pub use precision::{Precision, bfloat16_pays, bfloat16_share_of_time, multiplies_bfloat16, with_precision};
pub use row_products::row_products;
