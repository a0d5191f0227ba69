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
//! [`train`] knows a plan and not who made it. [`fit`] does the whole job, from paths to a run
//! directory; the pieces are there for everything else:
//!
//! ```
//! use retune::methods::{Method, MethodOptions};
//! use retune::models::Model;
//!
//! let cpu = retune::device::by_name("cpu")?;
//! let model = Model::from_scratch(None, Some("test_resnet"), Clone::clone, 0, &cpu)?;
//! let plan = Method::LP_FT.plan(model.blocks(), &MethodOptions::default())?;
//! plan.check(model.blocks())?;
//! assert_eq!(plan.phases[0].block_rate_factors(model.blocks()).last(), Some(&1.0));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![warn(missing_docs)]

pub mod analysis;
pub mod compare;
pub mod data;
pub mod demo;
pub mod device;
pub mod files;
pub mod fit;
#[cfg(feature = "hub")]
pub mod hub;
pub mod inference;
pub mod lock;
pub mod methods;
pub mod models;
pub mod monitor;
pub mod plan;
pub mod random;
pub mod report;
pub mod statistics;
pub mod train;
pub mod verify;
