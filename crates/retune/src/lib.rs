//! Fine-tune pretrained image models so that they stay good when the data shifts.
//!
//! Every method is a [`plan`] over a model's ordered list of blocks, and one trainer runs any plan:
//!
//! ```text
//! files ─ data ─► images ─ models ─► features, logits ─ train ─► run directory
//!                    ▲                    ▲
//!                resize, augment        plan ◄─ methods
//! ```
//!
//! [`data`] knows no model, [`models`] know no method, [`methods`] know only block lists, and
//! [`train`] knows a plan and not who made it.
#![warn(missing_docs)]

pub mod analysis;
pub mod data;
pub mod device;
pub mod files;
pub mod fit;
#[cfg(feature = "hub")]
pub mod hub;
pub mod inference;
pub mod methods;
pub mod models;
pub mod monitor;
pub mod plan;
pub mod random;
pub mod train;
