//! The encoded images of a Parquet file, read when they are needed.
//!
//! Parquet is read forwards: an image in the middle of a row group costs the pages before it. So images are read by
//! blocks of neighbouring rows, and the latest blocks stay in memory up to a budget that all files of a source share.
//! In order, each block is read once. In random order a block is needed again when it is gone: the second time, its
//! images go to an unnamed temporary file, where each is found by position from then on.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use ::parquet::data_type::{ByteArray, ByteArrayType};
use image::RgbImage;

use super::file::ParquetFile;
use crate::data::DataError;
use crate::data::decode::{DecodeLimits, decode};
use crate::data::positional::{read_exact_at, write_all_at};

/// Encoded images that stay in memory, in bytes.
const MEMORY_BYTES: u64 = 256 << 20;

/// The most that the temporary file may take, in bytes.
const SPILL_BYTES: u64 = 64 << 30;

/// How many bytes and how many rows a block has at most. Arrow writes pages of a multiple of 1024 rows.
const BLOCK_BYTES: u64 = 32 << 20;
const BLOCK_ROWS: usize = 1024;

/// The images of one Parquet file, read by row from any number of threads.
#[derive(Debug)]
pub struct ParquetImages {
    path: PathBuf,
    file: ParquetFile,
    column: usize,
    column_name: String,
    blocks: Vec<Block>,
    rows: usize,
    store: Arc<BlockStore>,
}

/// Neighbouring rows of a row group.
#[derive(Debug)]
struct Block {
    /// The position of its first row in the file.
    start: usize,
    group: usize,
    first_in_group: usize,
    rows: usize,
    /// Locked while the block is read: a second thread that wants it waits and does not read it again.
    state: Mutex<BlockState>,
}

#[derive(Debug, Default)]
struct BlockState {
    kept: Weak<EncodedImages>,
    was_read: bool,
    /// Where its images begin in the temporary file, and where each lies from there.
    spilled: Option<(u64, Vec<Option<Range<usize>>>)>,
}

/// The images of a block, one after the other.
#[derive(Debug, Default)]
struct EncodedImages {
    bytes: Vec<u8>,
    /// Where each lies; `None` for a null.
    ranges: Vec<Option<Range<usize>>>,
}

impl ParquetImages {
    /// The images in the leaf column numbered `column`, which holds bytes.
    pub(super) fn new(path: &Path, file: ParquetFile, column: usize, name: &str, store: Arc<BlockStore>) -> Self {
        let mut blocks = Vec::new();
        let mut start = 0;
        for group in 0..file.groups() {
            let rows = file.rows(group);
            let bytes_of_row = file.column_bytes(group, column) / rows.max(1) as u64;
            let block_rows = usize::try_from(BLOCK_BYTES / bytes_of_row.max(1)).unwrap_or(1).clamp(1, BLOCK_ROWS);
            for first_in_group in (0..rows).step_by(block_rows) {
                let rows = block_rows.min(rows - first_in_group);
                blocks.push(Block { start, group, first_in_group, rows, state: Mutex::default() });
                start += rows;
            }
        }
        Self { path: path.to_owned(), file, column, column_name: name.to_owned(), blocks, rows: start, store }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads and decodes the image of a row.
    ///
    /// # Errors
    /// Names file, row and column: a row past the last, a null, a damaged file, a damaged image.
    pub fn image(&self, row: usize, limits: &DecodeLimits) -> Result<RgbImage, DataError> {
        let bytes = self.encoded(row)?;
        decode(&bytes, limits).map_err(|error| self.problem(row, error.to_string()))
    }

    /// The encoded image of a row, as JPEG or PNG.
    ///
    /// # Errors
    /// As [`ParquetImages::image`], but for what lies within the image.
    pub fn encoded(&self, row: usize) -> Result<Vec<u8>, DataError> {
        let block = match self.blocks.partition_point(|block| block.start <= row) {
            0 => None,
            after => self.blocks.get(after - 1).filter(|block| row - block.start < block.rows),
        };
        let problem = |problem| self.problem(row, problem);
        let block = block.ok_or_else(|| problem(format!("there are only {} rows", self.rows)))?;
        let bytes = self.read(block, row - block.start).map_err(problem)?;
        bytes.ok_or_else(|| problem("there is no image, only a null".to_owned()))
    }

    fn problem(&self, row: usize, problem: String) -> DataError {
        let problem = format!("row {row}, column `{}`: {problem}", self.column_name);
        DataError::Parquet { path: self.path.clone(), problem }
    }

    fn read(&self, block: &Block, row: usize) -> Result<Option<Vec<u8>>, String> {
        let mut state = lock(&block.state);
        if let Some(images) = state.kept.upgrade() {
            drop(state);
            self.store.used(&images);
            return Ok(images.get(row));
        }
        if let Some((offset, ranges)) = &state.spilled {
            let Some(range) = &ranges[row] else { return Ok(None) };
            if let Some(bytes) = self.store.read(offset + range.start as u64, range.len()) {
                return Ok(Some(bytes));
            }
        }
        let values = self.file.values::<ByteArrayType>(block.group, self.column, block.first_in_group, block.rows)?;
        let images = Arc::new(EncodedImages::of(&values, self.file.most_values())?);
        if state.was_read && state.spilled.is_none() {
            state.spilled = self.store.spill(&images.bytes).map(|offset| (offset, images.ranges.clone()));
        }
        state.was_read = true;
        state.kept = Arc::downgrade(&images);
        drop(state);
        let bytes = images.get(row);
        self.store.keep(images);
        Ok(bytes)
    }
}

impl EncodedImages {
    /// Copies the values, which share the memory of whole pages, if they have no more than `most` bytes together.
    fn of(values: &[Option<ByteArray>], most: u64) -> Result<Self, String> {
        let bytes = values.iter().flatten().fold(0u64, |sum, value| sum.saturating_add(value.len() as u64));
        if bytes > most {
            return Err(format!("the file is damaged: it announces {bytes} bytes in {} images", values.len()));
        }
        let mut images = Self::default();
        for value in values {
            images.ranges.push(value.as_ref().map(|value| {
                let start = images.bytes.len();
                images.bytes.extend_from_slice(value.data());
                start..images.bytes.len()
            }));
        }
        Ok(images)
    }

    fn get(&self, row: usize) -> Option<Vec<u8>> {
        Some(self.bytes[self.ranges[row].clone()?].to_vec())
    }
}

/// Blocks in memory and the temporary file, shared by the files of a source.
#[derive(Debug)]
pub(super) struct BlockStore {
    /// The latest last.
    recent: Mutex<VecDeque<Arc<EncodedImages>>>,
    memory_bytes: u64,
    spill: OnceLock<Option<File>>,
    spilled: AtomicU64,
}

impl Default for BlockStore {
    fn default() -> Self {
        Self::with_memory(MEMORY_BYTES)
    }
}

impl BlockStore {
    pub(super) fn with_memory(memory_bytes: u64) -> Self {
        Self { recent: Mutex::default(), memory_bytes, spill: OnceLock::new(), spilled: AtomicU64::new(0) }
    }

    #[cfg(test)]
    pub(super) fn spilled_bytes(&self) -> u64 {
        self.spilled.load(Ordering::Relaxed)
    }

    /// Keeps a block, and lets go of those that were not used for longest. One block stays in any case.
    fn keep(&self, images: Arc<EncodedImages>) {
        let mut recent = lock(&self.recent);
        recent.push_back(images);
        let mut bytes: u64 = recent.iter().map(|images| images.bytes.len() as u64).sum();
        while bytes > self.memory_bytes && recent.len() > 1 {
            bytes -= recent.pop_front().map_or(0, |images| images.bytes.len() as u64);
        }
    }

    fn used(&self, images: &Arc<EncodedImages>) {
        let mut recent = lock(&self.recent);
        if let Some(at) = recent.iter().position(|other| Arc::ptr_eq(other, images))
            && let Some(images) = recent.remove(at)
        {
            recent.push_back(images);
        }
    }

    /// Writes a block to the temporary file and says where; `None` where there is no room, which only costs time.
    fn spill(&self, bytes: &[u8]) -> Option<u64> {
        let file = self.spill.get_or_init(|| tempfile::tempfile().ok()).as_ref()?;
        let fits = |used: u64| used.checked_add(bytes.len() as u64).filter(|&total| total <= SPILL_BYTES);
        let offset = self.spilled.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        write_all_at(file, bytes, offset).ok()?;
        Some(offset)
    }

    fn read(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        read_exact_at(self.spill.get()?.as_ref()?, &mut bytes, offset).ok()?;
        Some(bytes)
    }
}

/// What the locks guard is only ever changed whole, so it is sound even where a thread panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
