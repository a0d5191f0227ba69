//! The folder of a checkpoint, which is swapped in whole: a new one is written beside it, and two renames put it in its place.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::files::{self, FileError};
use crate::train::TrainError;

/// What the name of a folder has behind it while it is written.
const PARTIAL: &str = ".partial";
/// The same for the previous one between the two renames.
const BEFORE: &str = ".before";

/// Makes a folder of what `write` puts into it, and lets it take the place of `directory`. An interruption between the two renames
/// leaves the old one under [another name](present).
///
/// # Errors
/// What `write` fails in; what cannot be created, renamed, or removed. The old folder stays, under either name.
pub(super) fn replace(directory: &Path, write: impl FnOnce(&Path) -> Result<(), TrainError>) -> Result<(), TrainError> {
    let beside = with_suffix(directory, PARTIAL);
    let replaced = make(&beside, write).and_then(|()| Ok(swap(&beside, directory)?));
    if replaced.is_err() {
        // A full disk must not be left full of a checkpoint that nobody can use.
        let _ = fs::remove_dir_all(&beside);
    }
    replaced
}

fn make(folder: &Path, write: impl FnOnce(&Path) -> Result<(), TrainError>) -> Result<(), TrainError> {
    clear(folder)?;
    fs::create_dir(folder).map_err(|error| FileError::new("create the folder", folder, error))?;
    write(folder)
}

/// Renames `beside` to `directory`, and removes what was there.
fn swap(beside: &Path, directory: &Path) -> Result<(), FileError> {
    let parent = directory.parent().unwrap_or(directory);
    let rename = |from: &Path, to: &Path| {
        let renamed = fs::rename(from, to).and_then(|()| files::sync_folder(parent));
        renamed.map_err(|error| FileError::new("rename", from, error))
    };
    let before = with_suffix(directory, BEFORE);
    // Where there is none under its own name, the one before is all that there is, and stays.
    if directory.exists() {
        let _ = fs::remove_dir_all(&before);
        rename(directory, &before)?;
    }
    rename(beside, directory)?;
    let _ = fs::remove_dir_all(&before);
    Ok(())
}

/// Where the checkpoint is: an interruption between the two renames leaves it under its old name.
pub(super) fn present(directory: &Path) -> PathBuf {
    if directory.exists() { directory.to_owned() } else { with_suffix(directory, BEFORE) }
}

/// Whether there is a checkpoint to resume from.
pub(in crate::train) fn exists(directory: &Path) -> bool {
    present(directory).exists()
}

/// Removes a run's checkpoint and what was left of others.
pub(in crate::train) fn remove(directory: &Path) {
    // The run is complete; what cannot be removed does no harm but take room.
    for suffix in [PARTIAL, BEFORE, ""] {
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
