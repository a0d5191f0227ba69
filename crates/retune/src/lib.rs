//! Fine-tune pretrained image models so that they stay good when the data shifts.
//!
//! Every method is a [`plan`] over a model's ordered list of blocks, and one trainer runs any plan:
//!
//! ```text
//! sources ─► samples ─ loading ─► batches ─ models ─► features, logits ─ train ─► run
//!                         ▲                     ▲
//!                       pixels                plan ◄─ methods
//! ```
//!
//! [`sources`] and [`loading`] know no model, [`models`] know no method, [`methods`] know only lists of blocks, and
//! [`train`] knows a plan and not who made it. [`run`] does the whole job, from paths to a run directory; the pieces are
//! there for everything else:
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
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub use retune_analysis as analysis;
#[cfg(feature = "report")]
pub use retune_figures as figures;
pub use retune_pixels as pixels;
pub use retune_random as random;

pub mod advise;
pub mod audit;
pub mod collective;
#[cfg(feature = "report")]
pub mod compare;
#[cfg(feature = "demo")]
pub mod demo;
pub mod device;
pub mod export;
pub mod features;
pub mod files;
#[cfg(feature = "hub")]
pub mod hub;
pub mod inference;
pub mod loading;
pub mod merge;
pub mod methods;
pub mod models;
pub mod monitor;
pub mod names;
pub mod plan;
#[cfg(feature = "report")]
pub mod report;
pub mod run;
pub mod similarity;
pub mod sources;
pub mod train;
pub mod wording;
