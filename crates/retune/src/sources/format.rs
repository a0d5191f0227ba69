//! The formats that data comes in. A format is a file of this room and two lines in `mod.rs`.

use std::path::Path;

use super::DataError;
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

/// How data is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub missing: Missing,
    pub labels: Labels,
}

/// How many labels an image may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Labels {
    /// One, its class.
    One,
    /// Several, or none.
    Several,
}

/// What becomes of a listed image whose file does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// The manifest is in error.
    Refused,
    /// Loading it is an error.
    LeftToLoading,
}
