//! Where samples come from.
//!
//! ```text
//! path ─ source ─► DataSource ─ split ─► Dataset
//!         folder, manifest, metadata, idx, cifar, parquet, webdataset, memory
//! ```
//!
//! [`DataSource::open`] recognizes what lies at a path and lists its images; it decodes nothing. Each format has a file
//! of its own. A [`Dataset`] is one ordered list of [`Sample`]s with one list of classes: a split of the source, or a
//! part of one ([`split`]).

mod cifar;
pub mod classes;
mod distinct;
mod error;
pub(crate) mod folder;
mod format;
mod groups;
mod idx;
mod image;
mod label_sets;
pub mod leak;
mod manifest;
mod many_labels;
pub mod memory;
mod metadata;
mod note;
#[cfg(feature = "parquet")]
pub(crate) mod parquet;
mod pickle;
pub(crate) mod positional;
pub(crate) mod shards;
pub mod shift;
pub mod source;
pub mod split;
mod unreadable;
mod webdataset;
pub mod white_level;
#[cfg(not(feature = "parquet"))]
mod without_parquet;

pub use classes::{ClassChange, ClassList, ClassMapping, ClassMatch};
pub use error::DataError;
pub use image::{ImageSource, ImageStore, StoredImage};
pub use label_sets::LabelSets;
pub use note::{DataNote, NameKind};
pub use source::{DataSource, Dataset, Sample, SampleList, SplitName};
pub use split::{SplitBy, SplitFractions, TrainingSets, stratified_split};
pub use unreadable::{LeftOut, ReadImages};

/// Every format, in the order in which they are asked; the first that knows the data takes it. A folder of images may hold
/// Parquet files and archives too, so those say no where an image file lies beside or below them. Any folder is one of
/// images in the end.
const FORMATS: &[&dyn format::Format] = &[
    &idx::Idx,
    &cifar::Cifar,
    &manifest::Manifest,
    #[cfg(feature = "parquet")]
    &parquet::Parquet,
    #[cfg(not(feature = "parquet"))]
    &without_parquet::WithoutParquet,
    &webdataset::WebDataset,
    &folder::ImageFolder,
];
