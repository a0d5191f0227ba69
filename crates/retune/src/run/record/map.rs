//! `samples/map.json`: places of a run's samples in a plane.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::SAMPLES_FOLDER;
use crate::files::{self, FileError};

/// Places of the samples of a run in a plane, in their order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SampleMap {
    /// How they were computed, in words.
    pub method: String,
    /// The places.
    pub points: Vec<[f32; 2]>,
}

impl SampleMap {
    fn path(run: &Path) -> PathBuf {
        run.join(SAMPLES_FOLDER).join("map.json")
    }

    /// Writes the map into a run directory.
    ///
    /// # Errors
    /// Names the path and the reason.
    pub fn write(&self, run: &Path) -> Result<(), FileError> {
        files::write_atomically(&Self::path(run), |file| Ok(serde_json::to_writer(file, self)?))
    }

    /// Reads a run's map; `None` of a run that has none.
    ///
    /// # Errors
    /// A file that cannot be read or is no map.
    pub fn read(run: &Path) -> Result<Option<Self>, FileError> {
        let path = Self::path(run);
        if !path.is_file() {
            return Ok(None);
        }
        let read = serde_json::from_str(&files::read_text(&path)?);
        read.map(Some).map_err(|error| FileError::new("understand", &path, error.into()))
    }
}
