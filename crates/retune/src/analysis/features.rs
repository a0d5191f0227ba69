//! Writes the features of a dataset to a file that NumPy or PyTorch opens, and reads such files back.
//!
//! Both formats hold `features` (images × values, float32), `labels` (int64, −1 where unknown), `paths` (relative to
//! the data's root) and `classes`. Rows are written as they are computed, so memory does not grow with the number of
//! images, and the file appears under its name only when it is whole.

mod elements;
mod npz;
mod safetensors;
mod table;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use self::npz::NpzFile;
use self::safetensors::SafetensorsFile;
pub use self::table::{FeatureTable, read};
use crate::data::{Dataset, Loader};
use crate::files::FileError;
use crate::inference::{self, InferenceError, Layer};
use crate::models::Model;
use crate::monitor::Monitor;

/// Why features could not be written or read.
#[derive(Debug, thiserror::Error)]
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
    /// The file's name ends in nothing that is known.
    #[error("cannot tell the format of {path}: name a file that ends in .npz or .safetensors", path = .0.display())]
    UnknownFormat(PathBuf),
    /// Parquet was asked for.
    #[error("{path}: features cannot be written as Parquet yet; name a .npz or .safetensors file", path = .0.display())]
    Parquet(PathBuf),
}

/// A format of feature files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureFormat {
    /// An uncompressed zip archive of arrays, as `numpy.savez` writes it.
    Npz,
    /// Tensors, with paths and classes as JSON lists in the metadata.
    Safetensors,
}

impl FeatureFormat {
    /// The format that a file's name asks for by its extension.
    ///
    /// # Errors
    /// Any other extension, or none.
    pub fn of(path: &Path) -> Result<Self, FeaturesError> {
        let extension = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
        match extension.as_deref() {
            Some("npz") => Ok(Self::Npz),
            Some("safetensors") => Ok(Self::Safetensors),
            Some("parquet") => Err(FeaturesError::Parquet(path.to_owned())),
            _ => Err(FeaturesError::UnknownFormat(path.to_owned())),
        }
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
/// # Errors
/// An unknown extension, before anything is computed; an image that cannot be loaded; a full disk; an interruption.
pub fn write(
    model: &Model,
    loader: &Loader,
    layer: Layer,
    path: &Path,
    monitor: &dyn Monitor,
) -> Result<FeatureShape, FeaturesError> {
    let format = FeatureFormat::of(path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unwritable = |error| FileError::new("write", path, error);
    // Removed when it is dropped, whatever happens before it gets its name.
    let beside = tempfile::NamedTempFile::new_in(folder).map_err(unwritable)?;

    let mut target = Target::new(format, beside.as_file(), loader.dataset());
    let monitor = StoppedByFailure { monitor, failed: AtomicBool::new(false) };
    let mut failure = None;
    let mut width = 0;
    let passed = inference::for_each_batch(model, loader, layer, "features", &monitor, |batch, rows| {
        if failure.is_some() {
            return;
        }
        width = rows.len() / batch.n;
        if let Err(error) = target.append(&rows, width) {
            failure = Some(error);
            monitor.failed.store(true, Ordering::Relaxed);
        }
    });
    if let Some(error) = failure {
        return Err(unwritable(error).into());
    }
    passed?;
    target.finish().and_then(|()| readable_by_all(beside.as_file())).map_err(unwritable)?;
    beside.as_file().sync_all().map_err(unwritable)?;
    beside.persist(path).map_err(|error| unwritable(error.error))?;
    Ok(FeatureShape { images: loader.dataset().len(), width })
}

/// Temporary files are private to their owner; a result is a file like any other.
#[cfg(unix)]
fn readable_by_all(file: &File) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable_by_all(_: &File) -> io::Result<()> {
    Ok(())
}

/// Passes everything on, and stops the work as well when the file cannot be written.
struct StoppedByFailure<'a> {
    monitor: &'a dyn Monitor,
    failed: AtomicBool,
}

impl Monitor for StoppedByFailure<'_> {
    fn start(&self, task: &str, total: usize) {
        self.monitor.start(task, total);
    }

    fn advance(&self, units: usize) {
        self.monitor.advance(units);
    }

    fn finish(&self) {
        self.monitor.finish();
    }

    fn message(&self, text: &str) {
        self.monitor.message(text);
    }

    fn cancelled(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.monitor.cancelled()
    }
}

/// A file under way.
enum Target<'a> {
    Npz(Box<NpzFile<'a>>),
    Safetensors(SafetensorsFile<'a>),
}

impl<'a> Target<'a> {
    fn new(format: FeatureFormat, file: &'a File, dataset: &'a Dataset) -> Self {
        match format {
            FeatureFormat::Npz => Self::Npz(Box::new(NpzFile::new(file, dataset))),
            FeatureFormat::Safetensors => Self::Safetensors(SafetensorsFile::new(file, dataset)),
        }
    }

    /// Adds rows of `width` values each.
    fn append(&mut self, rows: &[f32], width: usize) -> io::Result<()> {
        match self {
            Self::Npz(file) => file.append(rows, width),
            Self::Safetensors(file) => file.append(rows, width),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Npz(file) => file.finish(),
            Self::Safetensors(file) => file.finish(),
        }
    }
}

/// The label as files hold it: −1 where it is unknown.
fn stored_label(label: Option<usize>) -> i64 {
    label.and_then(|label| i64::try_from(label).ok()).unwrap_or(-1)
}

fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests;
