//! The formats that data comes in. A format is a file of this room and a line in [`FORMATS`].

use std::path::Path;

use super::manifest::Missing;
use super::source::DataSource;
use super::{DataError, cifar, folder, idx, manifest, parquet, webdataset};

/// A format that data may be kept in.
pub(super) trait Format: Sync {
    /// Lists the images of a folder; `None` if the folder holds none in this format.
    ///
    /// # Errors
    /// What is wrong with a folder of this format.
    fn open_folder(&self, _path: &Path, _missing: Missing) -> Result<Option<DataSource>, DataError> {
        Ok(None)
    }

    /// The same for a file.
    ///
    /// # Errors
    /// What is wrong with a file of this format.
    fn open_file(&self, _path: &Path, _missing: Missing) -> Result<Option<DataSource>, DataError> {
        Ok(None)
    }
}

/// Every format, in the order in which they are asked; the first that knows the data takes it. A folder of images may hold
/// Parquet files and archives too, so those say no where an image file lies beside or below them. Any folder is one of
/// images in the end.
pub(super) const FORMATS: &[&dyn Format] =
    &[&idx::Idx, &cifar::Cifar, &manifest::Manifest, &parquet::Parquet, &webdataset::WebDataset, &folder::ImageFolder];
