//! Writes the features of a dataset to a file that NumPy, PyTorch or Arrow opens, and reads such files back.
//!
//! All formats hold `features` (images × values, float32), `labels` (int64, −1 where unknown), `paths` (relative to
//! the data's root) and `classes`. Rows are written as they are computed, so memory does not grow with the number of
//! images, and the file appears under its name only when it is whole.

mod elements;
mod npz;
mod origin;
#[cfg(feature = "parquet")]
mod parquet;
mod partial;
mod safetensors;
mod table;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use self::origin::Origin;
use self::partial::Partial;
use self::table::Arrays;
pub use self::table::{FeatureTable, read};
use crate::files::FileError;
use crate::inference::{self, Features, InferenceError, Layer};
use crate::loading::Loader;
use crate::models::Model;
use crate::monitor::Monitor;
use crate::sources::Dataset;

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

/// A format of feature files: a file in this folder each.
#[derive(Clone, Copy, Debug)]
pub struct FeatureFormat {
    /// What the names of its files end in.
    pub extension: &'static str,
    /// Begins to write.
    begin: for<'a> fn(&'a File, &'a Dataset) -> io::Result<Box<dyn Target + 'a>>,
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
    let (last, others) = endings.split_last().expect("npz and safetensors are built in");
    format!("{} or {last}", others.join(", "))
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
/// another model, layer, preprocessing, batch size or other data starts anew.
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
    let format = FeatureFormat::of(path)?;
    if path.is_dir() {
        return Err(FileError::new("write", path, io::ErrorKind::IsADirectory.into()).into());
    }
    let dataset = loader.dataset();
    let origin = Origin::of(model, loader, layer);
    let mut partial = Partial::open(path, &origin, dataset.len(), loader.options().batch_size, monitor)?;
    let start = partial.batches();
    let passed = inference::try_for_each_batch(model, loader, layer, start, "features", monitor, |batch, rows| {
        partial.append(&origin, &rows, rows.len() / batch.n)
    });
    if let Err(error) = passed {
        if !error.leaves_a_start() {
            partial.discard();
        }
        return Err(error);
    }
    let width = partial.width();
    partial.finish(|file, rows| {
        let mut target = (format.begin)(file, dataset)?;
        while let Some(rows) = rows.next()? {
            target.append(&rows, width)?;
        }
        target.finish()
    })?;
    Ok(FeatureShape { images: dataset.len(), width })
}

/// Extracts the features of every image at `layer` into memory: what [`write`] writes to a file.
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
        labels: dataset.samples.iter().map(|sample| sample.label).collect(),
        paths: dataset.samples.iter().map(|sample| sample.name.to_string()).collect(),
        classes: dataset.classes.clone(),
    })
}

/// The label as files hold it: −1 where it is unknown.
fn stored_label(label: Option<usize>) -> i64 {
    label.and_then(|label| i64::try_from(label).ok()).unwrap_or(-1)
}

#[cfg(test)]
mod tests;
