//! The encoded images of a Parquet file, read when they are needed.
//!
//! Parquet is read forwards: an image in the middle of a row group costs the pages before it. So images are read by
//! blocks of neighboring rows, and the latest blocks stay in memory up to a budget that all files of a source share.
//! In order, each block is read once. In random order a block is needed again when it is gone: the second time, its
//! images go to an unnamed temporary file, where each is found by position from then on.
//!
//! An image whose bytes are null may lie in a file of its own, whose path is beside them; it is read from there.

use std::collections::VecDeque;
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use ::parquet::data_type::{ByteArray, ByteArrayType};
use retune_pixels::decode::DecodeError;

use super::file::ParquetFile;
use crate::sources::DataError;
use crate::sources::image::{ImageStore, StoredImage, read_limited};
use crate::sources::positional::{read_exact_at, write_all_at};
use crate::wording::counted;

/// Encoded images that stay in memory, in bytes.
const MEMORY_BYTES: u64 = 256 << 20;

/// The most that the temporary file may take, in bytes.
const SPILL_BYTES: u64 = 64 << 30;

/// How many bytes and how many rows a block has at most. Arrow writes pages of a multiple of 1024 rows.
const BLOCK_BYTES: u64 = 32 << 20;
const BLOCK_ROWS: usize = 1024;

/// The columns that images are read from.
#[derive(Debug)]
pub(super) struct EncodedColumns {
    /// The leaf column that holds their bytes.
    pub bytes: usize,
    /// The one that holds the paths of those whose bytes are null.
    pub path: Option<usize>,
    /// What a user calls the column.
    pub name: String,
}

/// The images of one Parquet file, read by row from any number of threads.
#[derive(Debug)]
pub struct ParquetImages {
    path: PathBuf,
    file: ParquetFile,
    columns: EncodedColumns,
    blocks: Vec<Block>,
    rows: usize,
    store: Arc<BlockStore>,
}

/// Neighboring rows of a row group.
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
    spilled: Option<(u64, Vec<Place>)>,
}

/// The images of a block, one after the other.
#[derive(Debug, Default)]
struct EncodedImages {
    bytes: Vec<u8>,
    places: Vec<Place>,
    /// Bytes of memory, those of paths included.
    weight: u64,
}

/// Where an image is.
#[derive(Clone, Debug)]
enum Place {
    /// Within the bytes of its block.
    Within(Range<usize>),
    /// In a file of its own.
    File(Arc<Path>),
    /// There is none, only a null.
    Nowhere,
}

/// An image as it was found.
enum Found {
    Bytes(Vec<u8>),
    File(Arc<Path>),
    Nothing,
}

impl ParquetImages {
    /// The images in these columns of a file.
    pub(super) fn new(path: &Path, file: ParquetFile, columns: EncodedColumns, store: Arc<BlockStore>) -> Self {
        let mut blocks = Vec::new();
        let mut start = 0;
        for group in 0..file.groups() {
            let rows = file.rows(group);
            let bytes_of_row = file.column_bytes(group, columns.bytes) / rows.max(1) as u64;
            let block_rows = usize::try_from(BLOCK_BYTES / bytes_of_row.max(1)).unwrap_or(1).clamp(1, BLOCK_ROWS);
            for first_in_group in (0..rows).step_by(block_rows) {
                let rows = block_rows.min(rows - first_in_group);
                blocks.push(Block { start, group, first_in_group, rows, state: Mutex::default() });
                start += rows;
            }
        }
        Self { path: path.to_owned(), file, columns, blocks, rows: start, store }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// The encoded image of a row, as JPEG or PNG.
    ///
    /// # Errors
    /// Names file, row and column: a row past the last, a null, a damaged file, a path at which there is no image.
    pub fn encoded(&self, row: usize) -> Result<Vec<u8>, DataError> {
        let block = match self.blocks.partition_point(|block| block.start <= row) {
            0 => None,
            after => self.blocks.get(after - 1).filter(|block| row - block.start < block.rows),
        };
        let problem = |problem| self.problem(row, problem);
        let block = block.ok_or_else(|| problem(format!("there are only {} rows", self.rows)))?;
        match self.read(block, row - block.start).map_err(problem)? {
            Found::Bytes(bytes) => Ok(bytes),
            Found::File(path) => read_limited(&path).map_err(|error| problem(error.to_string())),
            Found::Nothing => Err(problem("there is no image, only a null".to_owned())),
        }
    }

    fn problem(&self, row: usize, problem: String) -> DataError {
        let problem = format!("row {row}, column `{}`: {problem}", self.columns.name);
        DataError::Parquet { path: self.path.clone(), problem }
    }

    fn read(&self, block: &Block, row: usize) -> Result<Found, String> {
        let mut state = lock(&block.state);
        if let Some(images) = state.kept.upgrade() {
            drop(state);
            self.store.used(&images);
            return Ok(images.get(row));
        }
        if let Some((offset, places)) = &state.spilled {
            match &places[row] {
                Place::Nowhere => return Ok(Found::Nothing),
                Place::File(path) => return Ok(Found::File(Arc::clone(path))),
                Place::Within(range) => {
                    if let Some(bytes) = self.store.read(offset + range.start as u64, range.len()) {
                        return Ok(Found::Bytes(bytes));
                    }
                }
            }
        }
        let images = Arc::new(self.read_block(block)?);
        if state.was_read && state.spilled.is_none() {
            state.spilled = self.store.spill(&images.bytes).map(|offset| (offset, images.places.clone()));
        }
        state.was_read = true;
        state.kept = Arc::downgrade(&images);
        drop(state);
        let found = images.get(row);
        self.store.keep(images);
        Ok(found)
    }

    fn read_block(&self, block: &Block) -> Result<EncodedImages, String> {
        let column = |column| self.file.values::<ByteArrayType>(block.group, column, block.first_in_group, block.rows);
        let mut images = EncodedImages::of(&column(self.columns.bytes)?, self.file.most_values())?;
        if let Some(path) = self.columns.path.filter(|_| images.lacks_some()) {
            let folder = self.path.parent().unwrap_or(Path::new(""));
            images.look_beside(folder, &column(path)?, self.file.most_values())?;
        }
        Ok(images)
    }
}

impl ImageStore for ParquetImages {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read(&self, row: usize) -> Result<StoredImage, DataError> {
        self.encoded(row).map(StoredImage::Encoded)
    }

    fn encoded_bytes(&self, row: usize) -> Option<u64> {
        self.encoded(row).ok().map(|bytes| bytes.len() as u64)
    }

    fn holds_pixels(&self) -> bool {
        false
    }

    fn reads_in_order(&self) -> bool {
        true
    }

    fn undecodable(&self, row: usize, source: DecodeError) -> DataError {
        self.problem(row, source.to_string())
    }
}

impl EncodedImages {
    /// Copies the values, which share the memory of whole pages, if they have no more than `most` bytes together.
    fn of(values: &[Option<ByteArray>], most: u64) -> Result<Self, String> {
        let bytes = values.iter().flatten().fold(0u64, |sum, value| sum.saturating_add(value.len() as u64));
        if bytes > most {
            return Err(format!(
                "the file is damaged: it announces {bytes} bytes in {}",
                counted(values.len(), "image")
            ));
        }
        let mut images = Self { weight: bytes, ..Self::default() };
        for value in values {
            images.places.push(value.as_ref().map_or(Place::Nowhere, |value| {
                let start = images.bytes.len();
                images.bytes.extend_from_slice(value.data());
                Place::Within(start..images.bytes.len())
            }));
        }
        Ok(images)
    }

    fn lacks_some(&self) -> bool {
        self.places.iter().any(|place| matches!(place, Place::Nowhere))
    }

    /// Takes the images that are nowhere else from their paths, relative to `folder` or absolute, if these have no more
    /// than `most` bytes together.
    fn look_beside(&mut self, folder: &Path, paths: &[Option<ByteArray>], most: u64) -> Result<(), String> {
        for (place, path) in self.places.iter_mut().zip(paths) {
            let (Place::Nowhere, Some(path)) = (&place, path) else { continue };
            let path = path.as_utf8().map_err(|_| "a path is not UTF-8".to_owned())?;
            let path = image_beside(folder, path)?;
            self.weight += path.as_os_str().len() as u64;
            if self.weight > most {
                return Err("the file is damaged: it announces more paths than it can hold".to_owned());
            }
            *place = Place::File(path.into());
        }
        Ok(())
    }

    fn get(&self, row: usize) -> Found {
        match &self.places[row] {
            Place::Within(range) => Found::Bytes(self.bytes[range.clone()].to_vec()),
            Place::File(path) => Found::File(Arc::clone(path)),
            Place::Nowhere => Found::Nothing,
        }
    }
}

/// The file that a path in a Parquet file in `folder` names.
///
/// # Errors
/// An address, which is no path.
pub(super) fn image_beside(folder: &Path, path: &str) -> Result<PathBuf, String> {
    if path.contains("://") {
        return Err(format!("`{path}` is an address, and images are read from files alone: download them first"));
    }
    Ok(folder.join(path))
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
        let mut bytes: u64 = recent.iter().map(|images| images.weight).sum();
        while bytes > self.memory_bytes && recent.len() > 1 {
            bytes -= recent.pop_front().map_or(0, |images| images.weight);
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
