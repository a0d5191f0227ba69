//! Rows of an extraction that is not finished, in a hidden folder beside the file that they are for.
//!
//! The folder holds `rows` (float32, batch after batch), `hashes` (one for each batch, written after it) and
//! `origin.json`. A batch counts when its hash is right, so that nothing torn or lost by a crash is taken for features,
//! whenever the crash was.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::FeaturesError;
use super::origin::Origin;
use crate::files::lock;
use crate::files::{self, FileError};
use crate::monitor::Monitor;
use crate::sources::positional::{read_exact_at, write_all_at};
use crate::wording::counted;

const HASH_BYTES: u64 = size_of::<u64>() as u64;

/// An extraction under way.
pub(super) struct Partial {
    folder: PathBuf,
    /// The file that the rows are for.
    target: PathBuf,
    rows: File,
    hashes: File,
    layout: Layout,
    /// Batches that are complete.
    batches: usize,
}

/// How many rows there will be, and how they come.
#[derive(Clone, Copy)]
struct Layout {
    images: usize,
    batch_size: usize,
    /// Values in each row; known from the first batch on.
    width: usize,
}

impl Layout {
    fn batches(self) -> usize {
        self.images.div_ceil(self.batch_size)
    }

    /// Images before a batch.
    fn images_before(self, batch: usize) -> usize {
        (batch * self.batch_size).min(self.images)
    }

    /// Where a batch begins in the file of rows.
    fn offset(self, batch: usize) -> u64 {
        (self.images_before(batch) as u64).saturating_mul(self.width as u64).saturating_mul(size_of::<f32>() as u64)
    }
}

/// What `origin.json` holds.
#[derive(Serialize, Deserialize)]
struct State {
    origin: Origin,
    width: usize,
}

impl Partial {
    /// The folder for `target`: what an interrupted extraction of the same origin left, or an empty one.
    ///
    /// # Errors
    /// A folder that cannot be written; another process that writes the same file.
    pub fn open(
        target: &Path,
        origin: &Origin,
        images: usize,
        batch_size: usize,
        monitor: &dyn Monitor,
    ) -> Result<Self, FeaturesError> {
        let folder = folder_of(target);
        let unwritable = |error| FileError::new("write", target, error);
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(unwritable(error).into()),
            _ => {}
        }
        let file =
            |name: &str| OpenOptions::new().read(true).write(true).create(true).truncate(false).open(folder.join(name));
        let rows = file("rows").map_err(unwritable)?;
        match rows.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(FeaturesError::InUse(target.to_owned())),
            // Where files cannot be locked at all, nothing is lost but this check.
            Err(TryLockError::Error(error)) => lock::warn_that_nothing_locks(&folder, &error, monitor),
            Ok(()) => {}
        }
        let hashes = file("hashes").map_err(unwritable)?;
        let layout = Layout { images, batch_size, width: 0 };
        let mut partial = Self { target: target.to_owned(), rows, hashes, layout, batches: 0, folder };
        if let Some(difference) = partial.take_up(origin) {
            monitor.message(&format!(
                "starting anew: what an interrupted run left in {} is of {difference}",
                partial.folder.display()
            ));
        }
        if partial.batches > 0 {
            monitor.message(&format!("going on after {} of {}", partial.images(), counted(images, "image")));
        }
        partial.forget_incomplete().map_err(unwritable)?;
        Ok(partial)
    }

    /// Takes up the complete batches of an earlier run, unless they are of another origin, which is returned.
    fn take_up(&mut self, origin: &Origin) -> Option<&'static str> {
        let text = fs::read(self.folder.join("origin.json")).ok()?;
        let state: State = serde_json::from_slice(&text).ok()?;
        let difference = origin.difference(&state.origin);
        if difference.is_none() {
            self.layout.width = state.width;
            self.batches = self.count_complete();
        }
        difference
    }

    /// The number of batches, from the first on, whose hashes are right.
    fn count_complete(&self) -> usize {
        let complete = |batch: &usize| {
            let mut hash = [0; HASH_BYTES as usize];
            read_exact_at(&self.hashes, &mut hash, *batch as u64 * HASH_BYTES).ok()?;
            let (start, end) = (self.layout.offset(*batch), self.layout.offset(batch + 1));
            // A wrong width in the state must not claim more memory than there are rows.
            let rows = self.rows.metadata().ok()?.len();
            let mut bytes = vec![0; usize::try_from((end - start).min(rows)).ok()?];
            read_exact_at(&self.rows, &mut bytes, start).ok()?;
            (u64::from_le_bytes(hash) == retune_random::hash(&bytes)).then_some(())
        };
        if self.layout.width == 0 {
            0
        } else {
            (0..self.layout.batches()).take_while(|at| complete(at).is_some()).count()
        }
    }

    /// Cuts off what follows the complete batches.
    fn forget_incomplete(&self) -> io::Result<()> {
        self.rows.set_len(self.layout.offset(self.batches))?;
        self.hashes.set_len(self.batches as u64 * HASH_BYTES)
    }

    /// Batches that are complete.
    pub fn batches(&self) -> usize {
        self.batches
    }

    /// Images in them.
    fn images(&self) -> usize {
        self.layout.images_before(self.batches)
    }

    /// Values in each row.
    pub fn width(&self) -> usize {
        self.layout.width
    }

    /// Adds the next batch.
    ///
    /// # Errors
    /// A full disk; the batches before it stay.
    pub fn append(&mut self, origin: &Origin, rows: &[f32], width: usize) -> Result<(), FeaturesError> {
        if self.batches == 0 {
            self.layout.width = width;
            let state = State { origin: origin.clone(), width };
            files::write_atomically(&self.folder.join("origin.json"), |out| {
                serde_json::to_writer_pretty(out, &state).map_err(io::Error::from)
            })?;
        }
        let bytes = files::little_endian(rows);
        let hash = retune_random::hash(&bytes).to_le_bytes();
        write_all_at(&self.rows, &bytes, self.layout.offset(self.batches))
            .and_then(|()| write_all_at(&self.hashes, &hash, self.batches as u64 * HASH_BYTES))
            .map_err(|error| FileError::new("write", &self.target, error))?;
        self.batches += 1;
        Ok(())
    }

    /// Makes the whole file of the rows, which `write` is handed some at a time, and removes the folder.
    ///
    /// # Errors
    /// A full disk; the rows stay.
    pub fn finish(self, write: impl FnOnce(&File, &mut Rows) -> io::Result<()>) -> Result<(), FeaturesError> {
        let whole = self.folder.join("whole");
        let written = File::create(&whole).and_then(|file| {
            let input = BufReader::with_capacity(1 << 20, File::open(self.folder.join("rows"))?);
            write(&file, &mut Rows { input, left: self.images(), width: self.width() })?;
            file.sync_all()?;
            fs::rename(&whole, &self.target)
        });
        if let Err(error) = written {
            // If even this fails, the first error says why; the next run overwrites it.
            let _ = fs::remove_file(&whole);
            return Err(FileError::new("write", &self.target, error).into());
        }
        self.discard();
        Ok(())
    }

    /// Removes the folder. What cannot be removed is only in the way of nobody.
    pub fn discard(self) {
        let Self { folder, rows, hashes, .. } = self;
        // Some systems do not remove what is open.
        drop((rows, hashes));
        let _ = fs::remove_dir_all(folder);
    }
}

/// `.NAME.partial` beside the file `NAME`.
fn folder_of(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.partial"))
}

/// Rows that are read back.
pub(super) struct Rows {
    input: BufReader<File>,
    left: usize,
    width: usize,
}

impl Rows {
    /// The next rows, one or more; `None` after the last.
    pub fn next(&mut self) -> io::Result<Option<Vec<f32>>> {
        const BYTES_AT_ONCE: usize = 1 << 20;
        let row_bytes = self.width * size_of::<f32>();
        let rows = (BYTES_AT_ONCE / row_bytes).max(1).min(self.left);
        if rows == 0 {
            return Ok(None);
        }
        let mut bytes = vec![0; rows * row_bytes];
        self.input.read_exact(&mut bytes)?;
        self.left -= rows;
        Ok(Some(bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
    }
}

#[cfg(test)]
mod tests;
