//! SHA-256 of a run's files, kept in the run so that a change is noticed.

use std::fs;
use std::io::Read;
use std::path::Path;

use indexmap::IndexMap;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use super::record::SAMPLES_FOLDER;
use crate::files::{self, FileError};

/// Name of the file with the hashes of a run's other files.
pub const HASHES_FILE: &str = "hashes.json";

#[derive(Default, Serialize, Deserialize)]
pub(super) struct Hashes {
    /// SHA-256 of each file, in hexadecimal, by its path in the run.
    pub(super) sha256: IndexMap<String, String>,
}

/// Writes the hashes of a run's files: `model/`, `adapter/`, `samples/` and what lies directly in the directory,
/// but for what is drawn from these; `summary` is the summary that is about to be written.
pub(super) fn record(run: &Path, summary: &str) -> Result<(), FileError> {
    let mut hashes = Hashes::default();
    for folder in ["", super::MODEL_FOLDER, super::ADAPTER_FOLDER, SAMPLES_FOLDER] {
        for name in result_files(&run.join(folder)) {
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            let hash = sha256(&run.join(&path)).map_err(|error| FileError::new("read", &run.join(&path), error))?;
            hashes.sha256.insert(path, hash);
        }
    }
    hashes.sha256.insert(super::SUMMARY_FILE.to_owned(), sha256_of(summary.as_bytes()));
    files::write_atomically(&run.join(HASHES_FILE), |out| Ok(serde_json::to_writer_pretty(out, &hashes)?))
}

/// Names of the files directly in a folder that a run's results consist of, sorted.
fn result_files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.path().is_file() && !files::is_partial(&entry.path()));
    let names = files.filter_map(|entry| entry.file_name().into_string().ok());
    let is_result = |name: &String| {
        !name.starts_with('.') && !name.ends_with(".html") && name != HASHES_FILE && name != super::SUMMARY_FILE
    };
    let mut names: Vec<String> = names.filter(is_result).collect();
    names.sort();
    names
}

pub(super) fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hexadecimal(context)),
            count => context.update(&buffer[..count]),
        }
    }
}

fn sha256_of(bytes: &[u8]) -> String {
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    hexadecimal(context)
}

fn hexadecimal(context: Context) -> String {
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
