//! From files to batches of numbers.
//!
//! ```text
//! path ─ source ─► DataSource ─ split ─► Dataset ─ loader ─► Batch
//!         folder                             │
//!         manifest                        decode ─► augment or preprocess ─► corrupt ─► normalise ─► mix
//!         idx, cifar, parquet, webdataset    └──────────── cache ───────────┘
//! ```
//!
//! [`DataSource::open`] recognises what lies at a path and lists its images; nothing is decoded yet.
//! A [`Dataset`] is one ordered list of [`Sample`]s with one class list: a split of the source, or a
//! part of one ([`split`]). A [`Loader`] decodes, preprocesses and normalises its images on
//! background threads and yields [`Batch`]es in an order that depends on the seed alone, never on
//! the number of threads. Decoded images are kept by [`cache`], so that each is decoded once in a run.
//!
//! This module knows no model: the input size, mean and standard deviation come in as
//! [`preprocess::Preprocessing`].

pub mod augment;
pub mod cache;
pub mod channels;
mod cifar;
pub mod classes;
pub mod corruption;
pub mod decode;
mod distinct;
mod error;
pub(crate) mod folder;
mod groups;
mod idx;
pub mod input_size;
pub mod leak;
pub mod loader;
mod manifest;
mod many_labels;
mod metadata;
pub mod mix;
mod note;
pub mod order;
pub(crate) mod parquet;
mod pickle;
pub mod picture;
pub(crate) mod positional;
pub mod preprocess;
pub mod randaugment;
pub mod resize;
pub mod shift;
pub mod source;
pub mod split;
mod unreadable;
mod webdataset;
pub mod white_level;

pub use cache::{CacheOptions, ImageCache, MemoryBudget};
pub use channels::Channels;
pub use cifar::CifarImages;
pub use classes::{ClassChange, ClassList, ClassMapping, ClassMatch};
pub use error::DataError;
pub use idx::IdxImages;
pub use loader::{Batch, Batches, ImageTransform, Loader, LoaderOptions};
pub use note::DataNote;
pub use order::Order;
pub use parquet::ParquetImages;
pub use picture::Picture;
pub use source::{DataSource, Dataset, ImageSource, Sample, SampleList, SplitName};
pub use split::{SplitBy, SplitFractions, TrainingSets};
pub use unreadable::{LeftOut, ReadImages};
pub use webdataset::TarImages;
