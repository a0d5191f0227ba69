//! The folder of a checkpoint, which is swapped in whole: a new one is written beside it, then renamed.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::files::{self, FileError};
use crate::train::TrainError;

/// Makes a folder of what `write` puts into it, and lets it take the place of `directory` in one rename.
///
/// # Errors
/// What `write` fails in; what cannot be created, renamed, or removed. The folder that was there stays.
pub(super) fn replace(directory: &Path, write: impl FnOnce(&Path) -> Result<(), TrainError>) -> Result<(), TrainError> {
    let beside = with_suffix(directory, ".partial");
    clear(&beside)?;
    fs::create_dir(&beside).map_err(|error| FileError::new("create the folder", &beside, error))?;
    let written = write(&beside);
    if written.is_err() {
        // A full disk must not be left full of a checkpoint that nobody can use.
        let _ = fs::remove_dir_all(&beside);
        return written;
    }
    let parent = directory.parent().unwrap_or(directory);
    let rename = |from: &Path, to: &Path| {
        let renamed = fs::rename(from, to).and_then(|()| files::sync_folder(parent));
        renamed.map_err(|error| FileError::new("rename", from, error))
    };
    let before = with_suffix(directory, ".before");
    // Where there is none under its own name, the one before is all that there is, and stays.
    if directory.exists() {
        let _ = fs::remove_dir_all(&before);
        rename(directory, &before)?;
    }
    rename(&beside, directory)?;
    let _ = fs::remove_dir_all(&before);
    Ok(())
}

/// Where the checkpoint is: an interruption between the two renames leaves it under its old name.
pub(super) fn present(directory: &Path) -> PathBuf {
    if directory.exists() { directory.to_owned() } else { with_suffix(directory, ".before") }
}

/// Whether there is a checkpoint to resume from.
pub(in crate::train) fn exists(directory: &Path) -> bool {
    present(directory).exists()
}

/// Removes a run's checkpoint and what was left of others.
pub(in crate::train) fn remove(directory: &Path) {
    // The run is complete; what cannot be removed does no harm but take room.
    for suffix in [".partial", ".before", ""] {
        let _ = fs::remove_dir_all(with_suffix(directory, suffix));
    }
}

/// Removes what a killed process left half-written: what stayed of it would become part of the next checkpoint.
fn clear(directory: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(FileError::new("remove", directory, error)),
        _ => Ok(()),
    }
}

fn with_suffix(directory: &Path, suffix: &str) -> PathBuf {
    let mut name = directory.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
