//! Writes the features of a dataset to a file that NumPy, PyTorch or Arrow opens, and reads such files back.
//!
//! All formats hold `features` (images × values, float32), `labels` (int64, −1 where unknown), `paths` (relative to the data's
//! root) and `classes`, and `precision` if the model computed in another than float32. Of a model for images with several
//! labels, no label is known. Rows are written as they are computed, so
//! memory does not grow with the number of images, and the file appears under its name only when it is whole.

mod elements;
mod listing;
mod merge;
mod npz;
mod origin;
#[cfg(feature = "parquet")]
mod parquet;
mod partial;
mod safetensors;
mod shard;
mod table;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use self::listing::Listing;
pub use self::merge::merge;
use self::origin::Origin;
use self::partial::Partial;
pub use self::shard::{InvalidShard, Shard};
use self::table::Arrays;
pub use self::table::{FeatureTable, read};
use crate::files::FileError;
use crate::inference::{self, FeatureComparison, Features, InferenceError, Layer};
use crate::loading::Loader;
use crate::models::Model;
use crate::monitor::Monitor;
use crate::wording::{alternatives, counted};

/// Why features could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeaturesError {
    /// The images could not be run through the model.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// The file could not be written or read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is no feature file, or a damaged one.
    #[error("{}: {problem}", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// More shards than batches.
    #[error("{shards} shards are too many for {} in batches of {batch_size}: there can be {}",
            counted(*.images, "image"), .images.div_ceil(*.batch_size))]
    TooManyShards {
        /// The shards.
        shards: usize,
        /// The images.
        images: usize,
        /// Images in a batch.
        batch_size: usize,
    },
    /// A file that is no shard.
    #[error("{} is not a shard of an extraction: shards say which part of the images they hold", .0.display())]
    NotAShard(PathBuf),
    /// Shards of different extractions.
    #[error("{} and {} do not belong together: one is of {difference}", .first.display(), .other.display())]
    OtherShards {
        /// A shard.
        first: PathBuf,
        /// One that does not belong to it.
        other: PathBuf,
        /// In what they differ.
        difference: String,
    },
    /// The same shard twice.
    #[error("{} and {} both hold shard {shard}", .first.display(), .second.display())]
    SameShard {
        /// A file.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
        /// The shard.
        shard: Shard,
    },
    /// Shards that were not named.
    #[error("{}", missing(.shards, *.count))]
    MissingShards {
        /// The first of them.
        shards: Vec<Shard>,
        /// How many there are.
        count: usize,
    },
    /// A file to write that is one of those to read.
    #[error("{} is one of the shards: name another file to write", .0.display())]
    OverAShard(PathBuf),
    /// Nothing to put together.
    #[error("there are no shards to merge")]
    NoShards,
    /// Two extractions to one file.
    #[error("{}: another process is writing this file; wait for it or name another file", .0.display())]
    InUse(PathBuf),
    /// The file's name ends in nothing that is known.
    #[error("cannot tell the format of {path}: name a file that ends in {}", known_endings(), path = .0.display())]
    UnknownFormat(PathBuf),
}

impl FeaturesError {
    /// Whether the rows so far are worth keeping: the same call may go on with them.
    fn leaves_a_start(&self) -> bool {
        matches!(self, Self::Inference(InferenceError::Interrupted) | Self::File(_))
    }
}

/// A sentence about shards that are missing.
fn missing(shards: &[Shard], count: usize) -> String {
    let named = shards.iter().map(Shard::to_string).collect::<Vec<_>>().join(", ");
    match count - shards.len() {
        0 if count == 1 => format!("shard {named} is missing"),
        0 => format!("{count} shards are missing: {named}"),
        more => format!("{count} shards are missing: {named}, and {more} more"),
    }
}

/// A format of feature files: a file in this folder each.
#[derive(Clone, Copy, Debug)]
pub struct FeatureFormat {
    /// What the names of its files end in.
    pub extension: &'static str,
    /// Begins to write.
    begin: for<'a> fn(&'a File, &'a Listing) -> io::Result<Box<dyn Target + 'a>>,
    /// Reads what a file holds, or says what is wrong with it.
    read: fn(&Path) -> io::Result<Result<Arrays, String>>,
}

/// All formats.
const FORMATS: &[FeatureFormat] = &[
    npz::FORMAT,
    #[cfg(feature = "parquet")]
    parquet::FORMAT,
    safetensors::FORMAT,
];

/// The endings of files in these formats, for a sentence.
fn known_endings() -> String {
    let endings: Vec<String> = FORMATS.iter().map(|format| format!(".{}", format.extension)).collect();
    alternatives(&endings)
}

/// A file that takes rows in their order.
trait Target {
    /// Adds rows of `width` values each.
    fn append(&mut self, rows: &[f32], width: usize) -> io::Result<()>;

    /// Writes what belongs after the rows.
    fn finish(self: Box<Self>) -> io::Result<()>;
}

impl FeatureFormat {
    /// The format that a file's name asks for by its extension.
    ///
    /// # Errors
    /// Any other extension, or none.
    pub fn of(path: &Path) -> Result<Self, FeaturesError> {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        let known = FORMATS.iter().copied().find(|format| extension.as_deref() == Some(format.extension));
        known.ok_or_else(|| FeaturesError::UnknownFormat(path.to_owned()))
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeatureShape {
    /// Rows.
    pub images: usize,
    /// Values in each row.
    pub width: usize,
}

/// Extracts the features of every image at `layer` and writes them to `path`, in the format of its extension. A file
/// that is already there is replaced, once the new one is complete.
///
/// Rows are kept in a hidden folder `.NAME.partial` beside the file until then. After an interruption, of whatever
/// kind, the same call goes on with them and ends with the same bytes as one that was not interrupted; a call with
/// another model, precision, layer, preprocessing, batch size or other data starts anew. Of a model that computes in
/// bfloat16, the file says so, and `monitor` hears how far its features are from those in float32.
///
/// # Errors
/// An unknown extension, before anything is computed; an image that cannot be loaded; a full disk; another process
/// that writes the same file; an interruption.
pub fn write(
    model: &Model,
    loader: &Loader,
    layer: Layer,
    path: &Path,
    monitor: &dyn Monitor,
) -> Result<FeatureShape, FeaturesError> {
    write_rows(model, loader, layer, None, path, monitor)
}

/// As [`write`], for one shard of the images. [`merge`] makes of all shards the file that [`write`] writes.
///
/// # Errors
/// As [`write`]; more shards than batches.
pub fn write_shard(
    model: &Model,
    loader: &Loader,
    layer: Layer,
    shard: Shard,
    path: &Path,
    monitor: &dyn Monitor,
) -> Result<FeatureShape, FeaturesError> {
    let (shards, images, batch_size) = (shard.count(), loader.dataset().len(), loader.options().batch_size);
    if shards > images.div_ceil(batch_size) {
        return Err(FeaturesError::TooManyShards { shards, images, batch_size });
    }
    write_rows(model, loader, layer, Some(shard), path, monitor)
}

fn write_rows(
    model: &Model,
    loader: &Loader,
    layer: Layer,
    shard: Option<Shard>,
    path: &Path,
    monitor: &dyn Monitor,
) -> Result<FeatureShape, FeaturesError> {
    let format = FeatureFormat::of(path)?;
    check_is_no_folder(path)?;
    let (dataset, size) = (loader.dataset(), loader.options().batch_size);
    let origin = Origin::of(model, loader, layer, shard).map_err(InferenceError::from)?;
    let images = origin.range();
    let mut partial = Partial::open(path, &origin, images.len(), size, monitor)?;
    let left = images.start / size + partial.batches()..images.end.div_ceil(size);
    let mut comparison = FeatureComparison::of(model, layer, images.len());
    let passed = inference::try_for_each_batch(model, loader, layer, left, "features", monitor, |batch, rows| {
        if let Some(comparison) = &mut comparison {
            comparison.add(batch, &rows);
        }
        partial.append(&origin, &rows, rows.len() / batch.n)
    });
    if let Err(error) = passed {
        if !error.leaves_a_start() {
            partial.discard();
        }
        return Err(error);
    }
    if let Some(loss) = comparison.and_then(|comparison| comparison.found()) {
        monitor.message(&loss.to_string());
    }
    let listing = Listing::of(model, dataset, &dataset.samples[images], &origin)
        .map_err(|error| FileError::new("write", path, error.into()))?;
    finish(partial, format, &listing)
}

fn check_is_no_folder(path: &Path) -> Result<(), FileError> {
    if path.is_dir() { Err(FileError::new("write", path, io::ErrorKind::IsADirectory.into())) } else { Ok(()) }
}

/// Makes the file of all its rows.
fn finish(partial: Partial, format: FeatureFormat, listing: &Listing) -> Result<FeatureShape, FeaturesError> {
    let width = partial.width();
    partial.finish(|file, rows| {
        let mut target = (format.begin)(file, listing)?;
        while let Some(rows) = rows.next()? {
            target.append(&rows, width)?;
        }
        target.finish()
    })?;
    Ok(FeatureShape { images: listing.len(), width })
}

/// Extracts the features of every image at `layer` into memory: what [`write`] writes to a file. Nothing is compared with
/// float32, because there may be few images in each of many calls.
///
/// # Errors
/// An image that cannot be loaded; an interruption.
pub fn table(
    model: &Model,
    loader: &Loader,
    layer: Layer,
    monitor: &dyn Monitor,
) -> Result<FeatureTable, FeaturesError> {
    let Features { values, width } = inference::extract(model, loader, layer, "features", monitor)?;
    let dataset = loader.dataset();
    Ok(FeatureTable {
        features: values,
        width: width.max(1),
        labels: listing::labels(model, &dataset.samples).collect(),
        paths: dataset.samples.iter().map(|sample| sample.name.to_string()).collect(),
        classes: listing::classes(model, dataset),
    })
}

#[cfg(test)]
mod tests;
