//! One process at a time in a directory, by a lock that ends with the process, however it ends.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::files::FileError;
use crate::monitor::Monitor;

/// Name of the file that is locked, in the directory.
pub const LOCK_FILE: &str = ".lock";

/// Why a directory cannot be worked in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another run works there.
    #[error(
        "{path} is in use by {holder}; wait until it ends, or name another directory",
        path = path.display(), holder = holder.map_or("another process".to_owned(), |id| format!("process {id}"))
    )]
    Held {
        /// The directory.
        path: PathBuf,
        /// The process, where it can be told.
        holder: Option<u32>,
    },
    /// The lock's file cannot be made.
    #[error(transparent)]
    File(#[from] FileError),
}

/// The right to write into a directory, until it is dropped or the process ends.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
    path: PathBuf,
    /// Why the file cannot be locked; then nothing keeps a second process out.
    without_lock: Option<io::Error>,
}

impl DirectoryLock {
    /// Takes the lock of a directory that exists. Its file stays behind: a file that were removed
    /// could be locked by one process under the name that another makes anew. Where the file system has no locks, the
    /// right is given all the same, and [`DirectoryLock::warn_without_lock`] says so.
    ///
    /// # Errors
    /// Another process, or another part of this one, holds it; its file cannot be written.
    pub fn acquire(directory: &Path) -> Result<Self, LockError> {
        let path = directory.join(LOCK_FILE);
        let failed = |error: io::Error| FileError::new("lock", &path, error);
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = options.map_err(failed)?;
        let without_lock = match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { path: directory.to_owned(), holder: holder(&mut file) });
            }
            Ok(()) => None,
            // NFS, Lustre and some FUSE file systems fail in ways of their own (ENOLCK, EBADF, EINVAL, ENOSYS, …). A run
            // there is better than none.
            Err(TryLockError::Error(error)) => Some(error),
        };
        let written = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
        // On a full disk the lock holds all the same; only its holder's number is not known.
        if let Err(error) = written
            && error.kind() != io::ErrorKind::StorageFull
        {
            return Err(failed(error).into());
        }
        Ok(Self { _file: file, path: directory.to_owned(), without_lock })
    }

    /// Tells `monitor` where the file system has no locks, once in the life of the process: a command that locks many
    /// directories says it of the first.
    pub fn warn_without_lock(&self, monitor: &dyn Monitor) {
        if let Some(error) = &self.without_lock {
            warn_that_nothing_locks(&self.path, error, monitor);
        }
    }

    /// Refuses a directory that is locked now; makes and holds nothing.
    ///
    /// # Errors
    /// [`LockError::Held`].
    pub fn check(directory: &Path) -> Result<(), LockError> {
        let Ok(mut file) = OpenOptions::new().read(true).write(true).open(directory.join(LOCK_FILE)) else {
            return Ok(());
        };
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                Err(LockError::Held { path: directory.to_owned(), holder: holder(&mut file) })
            }
            _ => Ok(()),
        }
    }
}

/// Tells `monitor`, once in the life of the process, that files in `directory` cannot be locked.
pub(crate) fn warn_that_nothing_locks(directory: &Path, error: &io::Error, monitor: &dyn Monitor) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    if !TOLD.swap(true, Ordering::Relaxed) {
        monitor.message(&format!(
            "note: the file system of {} has no locks ({error}), so nothing keeps a second process out of this directory",
            directory.display()
        ));
    }
}

/// The process that wrote its number into a lock's file.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.rewind().and_then(|()| file.read_to_string(&mut text)).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_holder_at_a_time_who_is_named() {
        let folder = tempfile::tempdir().unwrap();
        DirectoryLock::check(folder.path()).unwrap();
        let lock = DirectoryLock::acquire(folder.path()).unwrap();
        let own = format!("process {}", std::process::id());
        for refused in [DirectoryLock::acquire(folder.path()).map(drop), DirectoryLock::check(folder.path())] {
            let message = refused.unwrap_err().to_string();
            assert!(message.contains(&own), "{message}");
        }
        drop(lock);
        DirectoryLock::check(folder.path()).unwrap();
        DirectoryLock::acquire(folder.path()).unwrap();
    }
}
