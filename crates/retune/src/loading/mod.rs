//! From samples to batches of numbers.
//!
//! ```text
//! Dataset ─ order ─► sample ─ decode ─► augment or preprocess ─► corrupt ─► normalize ─► mix ─► Batch
//!                       └──────────── cache ────────────┘
//! ```
//!
//! A [`Loader`] decodes, preprocesses and normalizes a [`Dataset`](crate::sources::Dataset)'s images on background
//! threads. It yields [`Batch`]es in an [`Order`] that depends on the seed alone, never on the number of threads.
//! [`cache`] keeps decoded images, so each is decoded once in a run.
//!
//! This room knows no model: input size, mean and standard deviation come in as
//! [`Preprocessing`](retune_pixels::preprocess::Preprocessing).

pub mod cache;
mod damaged;
mod loader;
pub mod mix;
mod order;

pub use cache::{CacheOptions, ImageCache, MemoryBudget};
pub use loader::{Batch, Batches, ImageTransform, Loader, LoaderOptions};
pub use order::Order;

#[cfg(all(test, feature = "parquet"))]
pub(crate) use loader::tests::small_preprocessing;
