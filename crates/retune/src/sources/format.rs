//! The formats that data comes in. A format is a file of this room and two lines in `mod.rs`.

use std::path::Path;

use super::DataError;
use super::manifest::Reading;
use super::source::DataSource;

/// A format that data may be kept in.
pub(super) trait Format: Sync {
    /// Lists the images of a folder; `None` if the folder holds none in this format.
    ///
    /// # Errors
    /// What is wrong with a folder of this format.
    fn open_folder(&self, _path: &Path, _reading: Reading) -> Result<Option<DataSource>, DataError> {
        Ok(None)
    }

    /// The same for a file.
    ///
    /// # Errors
    /// What is wrong with a file of this format.
    fn open_file(&self, _path: &Path, _reading: Reading) -> Result<Option<DataSource>, DataError> {
        Ok(None)
    }
}
