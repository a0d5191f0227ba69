//! Input as a file, in a folder that lives as long as the process: making one anew each time costs more than reading it.
#![allow(dead_code)]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use retune::pixels::decode::catches_panics;
use tempfile::TempDir;

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

/// Writes `bytes` to the file `name`, over what it held.
pub fn write(name: &str, bytes: &[u8]) -> PathBuf {
    let path = FOLDER.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

/// Removes the file `name` if there is one.
pub fn remove(name: &str) {
    let _ = fs::remove_file(FOLDER.path().join(name));
}

/// The folder.
pub fn folder() -> PathBuf {
    FOLDER.path().to_owned()
}

/// Panics of decoders that are caught are no findings.
pub fn report_uncaught_only() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| if !catches_panics() { report(panic) }));
}
