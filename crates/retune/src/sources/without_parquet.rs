//! Stands for Parquet where the feature `parquet` is off: such files are named, not passed over.

use std::path::Path;

use super::format::{Format, Reading};
use super::shards::is_parquet;
use super::source::DataSource;
use super::{DataError, folder};

/// Refuses Parquet files.
pub(super) struct WithoutParquet;

impl Format for WithoutParquet {
    fn open_folder(&self, path: &Path, _reading: Reading) -> Result<Option<DataSource>, DataError> {
        let entries = std::fs::read_dir(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
        let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
        files.sort();
        match files.iter().find(|path| is_parquet(path)) {
            Some(file) if !files.iter().any(|path| folder::is_image(path)) => Err(refused(file)),
            _ => Ok(None),
        }
    }

    fn open_file(&self, path: &Path, _reading: Reading) -> Result<Option<DataSource>, DataError> {
        if is_parquet(path) { Err(refused(path)) } else { Ok(None) }
    }
}

/// The error for a Parquet file.
pub(super) fn refused(path: &Path) -> DataError {
    DataError::WithoutParquet { path: path.to_owned() }
}
