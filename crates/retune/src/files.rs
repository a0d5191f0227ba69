//! Files that are whole or not there: written beside, synced, renamed.

pub mod lock;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::wording::refusal;

/// A file or folder could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}: {reason}", path = path.display(), reason = refusal(source))]
pub struct FileError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    /// Says what was being done (`read`, `write`, …) to which path.
    pub fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self { action, path: path.to_owned(), source }
    }

    /// Whether what was to be read is not there.
    pub fn is_of_missing(&self) -> bool {
        self.action == "read" && self.source.kind() == io::ErrorKind::NotFound
    }

    /// Whether something could not be written, rather than read.
    pub fn is_of_writing(&self) -> bool {
        self.action != "read"
    }
}

/// Reads a whole file.
///
/// # Errors
/// Names the path and the reason.
pub fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    fs::read(path).map_err(|error| FileError::new("read", path, error))
}

/// Reads a text file.
///
/// # Errors
/// Names the path and the reason, also where the bytes are not UTF-8.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(|error| FileError::new("read", path, error))
}

/// Whether a folder holds a file of this name.
///
/// # Errors
/// Names the folder if it is not there, and what may not be looked at.
pub fn holds(folder: &Path, name: &str) -> Result<bool, FileError> {
    fs::metadata(folder).map_err(|error| FileError::new("read", folder, error))?;
    let path = folder.join(name);
    path.try_exists().map_err(|error| FileError::new("read", &path, error))
}

/// Whether two paths lead to the same file or folder; paths to nothing do not.
pub fn are_same(one: &Path, other: &Path) -> bool {
    fs::canonicalize(one).is_ok_and(|one| fs::canonicalize(other).is_ok_and(|other| one == other))
}

/// Checks that a file can be written, so that nothing is computed in vain. Leaves nothing behind.
///
/// # Errors
/// A folder in its place, or a folder around it that is missing or may not be written to.
pub fn check_writable(path: &Path) -> Result<(), FileError> {
    let beside = beside(path);
    let made = match path.is_dir() {
        true => Err(io::ErrorKind::IsADirectory.into()),
        false => File::create(&beside).and_then(|_| fs::remove_file(&beside)),
    };
    made.map_err(|error| FileError::new("write", path, error))
}

/// Makes a folder and those above it.
///
/// # Errors
/// Names the path and the reason.
pub fn create_folder(path: &Path) -> Result<(), FileError> {
    fs::create_dir_all(path).map_err(|error| FileError::new("create the folder", path, error))
}

/// Writes a file so that a reader finds the old content or the whole new one, whatever happens
/// in between.
///
/// # Errors
/// Names the path and the reason (a full disk, say). What was there before is left as it was, unless nothing but the
/// folder's own entry could not be synced.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), FileError> {
    let beside = beside(path);
    let written = File::create(&beside).and_then(|file| {
        let mut buffered = io::BufWriter::with_capacity(1 << 20, file);
        write(&mut buffered)?;
        buffered.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
        fs::rename(&beside, path)?;
        sync_folder(path.parent().unwrap_or(path))
    });
    written.map_err(|error| {
        // Nothing half-written stays behind; if even removing fails, the first error says why.
        let _ = fs::remove_file(&beside);
        FileError::new("write", path, error)
    })
}

/// Single-precision numbers as files keep them, the lowest byte first.
pub(crate) fn little_endian(values: &[f32]) -> Vec<u8> {
    values.iter().map(|value| value.to_le_bytes()).collect::<Vec<_>>().into_flattened()
}

/// The numbers that [`little_endian`] made these bytes of; bytes at the end that are no whole number are left out.
pub(crate) fn from_little_endian(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes))
}

/// What the name of a file that is being written has after its own.
const PARTIAL: &str = ".partial-";

/// Where a file is written before it takes its place: no other process or thread writes there.
fn beside(path: &Path) -> PathBuf {
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let mut name = path.as_os_str().to_owned();
    name.push(format!("{PARTIAL}{}-{number}", std::process::id()));
    PathBuf::from(name)
}

/// Whether a name is that of a file that was being written.
pub fn is_partial(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().contains(PARTIAL))
}

/// Removes what a killed process left half-written directly in `folder`. Nobody else may be writing
/// there.
pub fn remove_partials(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten().filter(|entry| is_partial(&entry.path())) {
        // What cannot be removed does no harm but take room.
        let _ = fs::remove_file(entry.path());
    }
}

/// Makes the names in a folder last through a loss of power: a renamed file is on the disk, and so
/// is its new name.
///
/// # Errors
/// The disk's.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    // Elsewhere a folder cannot be opened as a file, and renaming syncs by itself.
    if cfg!(not(unix)) {
        return Ok(());
    }
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    match File::open(folder)?.sync_all() {
        // Some network file systems have no such call.
        Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
        synced => synced,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_content_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        write_atomically(&path, |out| out.write_all(b"old")).unwrap();
        let failed = write_atomically(&path, |out| {
            out.write_all(b"half")?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        });
        assert!(failed.unwrap_err().to_string().ends_with("no space left on the disk"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_is_known_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("head.safetensors");
        check_writable(&path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        for (wrong, reason) in [(folder.path().join("no/head"), "no such file"), (folder.path().to_owned(), "a folder")]
        {
            let error = check_writable(&wrong).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        let other = folder.path().join("./head.safetensors");
        assert!(!are_same(&path, &other));
        fs::write(&path, "x").unwrap();
        assert!(are_same(&path, &other) && !are_same(&path, folder.path()));
    }

    #[test]
    fn threads_that_write_one_file_leave_one_whole_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("summary.json");
        std::thread::scope(|scope| {
            for thread in 0..4u8 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..20 {
                        write_atomically(path, |out| (0..100).try_for_each(|_| out.write_all(&[thread; 100]))).unwrap();
                    }
                });
            }
        });
        let content = fs::read(&path).unwrap();
        assert!(content.len() == 10_000 && content.iter().all(|&byte| byte == content[0]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_killed_process_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["summary.json", "summary.json.partial-12-0", "model.safetensors.partial-3-17"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        remove_partials(folder.path());
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["summary.json"]);
    }
}
