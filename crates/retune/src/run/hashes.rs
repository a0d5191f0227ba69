//! SHA-256 of a run's files, kept in the run so that a change is noticed.

use std::fs;
use std::io::Read;
use std::path::Path;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::card::CARD_FILE;
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
/// but for what is drawn from these and for the model card, which is there to be edited; `summary` is the summary that is about to be written.
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
        let others = [HASHES_FILE, super::SUMMARY_FILE, CARD_FILE];
        !name.starts_with('.') && !name.ends_with(".html") && !others.contains(&name.as_str())
    };
    let mut names: Vec<String> = names.filter(is_result).collect();
    names.sort();
    names
}

pub(super) fn sha256(path: &Path) -> std::io::Result<String> {
    let mut file = fs::File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hexadecimal(hasher)),
            count => hasher.update(&buffer[..count]),
        }
    }
}

fn sha256_of(bytes: &[u8]) -> String {
    hexadecimal(Sha256::new_with_prefix(bytes))
}

fn hexadecimal(hasher: Sha256) -> String {
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_the_standard() {
        // FIPS 180-4's example "abc".
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256_of(b"abc"), expected);
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), b"abc").unwrap();
        assert_eq!(sha256(file.path()).unwrap(), expected);
    }
}
