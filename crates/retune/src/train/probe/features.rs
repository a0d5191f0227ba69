//! The features that a probe is fitted to: in memory, or in a file that is read a few rows at a time.

use std::fs::File;
use std::ops::Range;

use super::ProbeError;
use crate::files::from_little_endian;
use crate::sources::positional::read_exact_at;

/// Bytes of features that are looked at together where no sum depends on it.
const CHUNK_BYTES: usize = 1 << 20;

/// Features of one set of images: row-major, one row an image.
#[derive(Clone, Copy, Debug)]
pub struct FeatureMatrix<'a> {
    storage: Storage<'a>,
    rows: usize,
    columns: usize,
}

#[derive(Clone, Copy, Debug)]
enum Storage<'a> {
    Memory(&'a [f32]),
    /// Little-endian, from the file's start.
    File(&'a File),
}

impl<'a> FeatureMatrix<'a> {
    /// A view of `values` as rows of `columns` features.
    ///
    /// # Errors
    /// [`ProbeError::Shape`] when `columns` is zero or does not divide the number of values.
    pub fn new(values: &'a [f32], columns: usize) -> Result<Self, ProbeError> {
        Self::shaped(Storage::Memory(values), values.len(), columns)
    }

    /// A view of a file of little-endian single-precision numbers as rows of `columns` features. It is read at every pass
    /// over the features, and must not change meanwhile.
    ///
    /// # Errors
    /// [`ProbeError::Shape`] as [`new`](Self::new); [`ProbeError::Unreadable`] when the file is cut or its length cannot be told.
    pub fn in_file(file: &'a File, columns: usize) -> Result<Self, ProbeError> {
        let bytes = file.metadata().map_err(unreadable)?.len() as usize;
        if !bytes.is_multiple_of(size_of::<f32>()) {
            return Err(ProbeError::Unreadable { reason: "its last number is cut".to_owned() });
        }
        Self::shaped(Storage::File(file), bytes / size_of::<f32>(), columns)
    }

    fn shaped(storage: Storage<'a>, values: usize, columns: usize) -> Result<Self, ProbeError> {
        if columns == 0 || !values.is_multiple_of(columns) {
            return Err(ProbeError::Shape { values, columns });
        }
        Ok(Self { storage, rows: values / columns, columns })
    }

    /// Number of images.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Features of each image.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The features of some rows, which `buffer` holds if they had to be read.
    pub(super) fn row_range<'b>(&self, rows: Range<usize>, buffer: &'b mut RowBuffer) -> Result<&'b [f32], ProbeError>
    where
        'a: 'b,
    {
        let values = rows.start * self.columns..rows.end * self.columns;
        match self.storage {
            Storage::Memory(all) => Ok(&all[values]),
            Storage::File(file) => {
                buffer.bytes.resize(values.len() * size_of::<f32>(), 0);
                let offset = (values.start * size_of::<f32>()) as u64;
                read_exact_at(file, &mut buffer.bytes, offset).map_err(unreadable)?;
                buffer.values.clear();
                buffer.values.extend(from_little_endian(&buffer.bytes));
                Ok(&buffer.values)
            }
        }
    }

    /// All rows in order, a few at a time.
    pub(super) fn chunks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let rows = self.rows;
        let chunk_rows = (CHUNK_BYTES / (self.columns * size_of::<f32>())).max(1);
        (0..rows).step_by(chunk_rows).map(move |start| start..(start + chunk_rows).min(rows))
    }

    /// Shows all features in order, some whole rows at a time.
    ///
    /// # Errors
    /// [`ProbeError::Unreadable`].
    pub fn for_each_rows(&self, mut see: impl FnMut(&[f32])) -> Result<(), ProbeError> {
        let mut buffer = RowBuffer::default();
        for rows in self.chunks() {
            see(self.row_range(rows, &mut buffer)?);
        }
        Ok(())
    }
}

/// Where rows are read to.
#[derive(Default)]
pub(super) struct RowBuffer {
    bytes: Vec<u8>,
    values: Vec<f32>,
}

fn unreadable(error: std::io::Error) -> ProbeError {
    ProbeError::Unreadable { reason: error.to_string() }
}
