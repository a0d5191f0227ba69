//! The features that a probe is fitted to: in memory, or in a file that is read a few rows at a time. Several processes can
//! each hold some of the rows.

use std::fs::File;
use std::ops::Range;

use super::ProbeError;
use super::division::Division;
use crate::collective::Processes;
use crate::files::from_little_endian;
use crate::sources::positional::read_exact_at;

/// Bytes of features that are looked at together where no sum depends on it.
const CHUNK_BYTES: usize = 1 << 20;

/// Features of one set of images: row-major, one row an image.
#[derive(Clone, Copy, Debug)]
pub struct FeatureMatrix<'a> {
    storage: Storage<'a>,
    /// Of all holders.
    rows: usize,
    columns: usize,
    /// The number of the first row in the storage, and of how many are there.
    first_held: usize,
    rows_held: usize,
    /// The processes that hold all rows together, if they are several.
    holders: Option<&'a Processes>,
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
        let rows = values / columns;
        Ok(Self { storage, rows, columns, first_held: 0, rows_held: rows, holders: None })
    }

    /// The rows that this process holds where several hold `rows` in all.
    pub(in crate::train) fn rows_held_by(processes: &Processes, rows: usize, columns: usize) -> Range<usize> {
        let division = Division::of(rows, columns);
        division.rows_of(division.held_by(processes.rank(), processes.size()))
    }

    /// These rows as those that this process [holds](Self::rows_held_by) of `rows` in all.
    ///
    /// # Errors
    /// [`ProbeError::Shape`] if they are not as many.
    pub(in crate::train) fn of_all(self, rows: usize, processes: &'a Processes) -> Result<Self, ProbeError> {
        let held = Self::rows_held_by(processes, rows, self.columns);
        if held.len() != self.rows_held {
            return Err(ProbeError::Shape { values: self.rows_held * self.columns, columns: self.columns });
        }
        let holders = processes.are_several().then_some(processes);
        Ok(Self { rows, first_held: held.start, holders, ..self })
    }

    /// Number of images, those of other holders included.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Features of each image.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The processes that hold all rows together, if they are several.
    pub(super) fn holders(&self) -> Option<&'a Processes> {
        self.holders
    }

    /// How the rows are divided.
    pub(super) fn division(&self) -> Division {
        Division::of(self.rows, self.columns)
    }

    /// The features of some rows that are here, which `buffer` holds if they had to be read.
    pub(super) fn row_range<'b>(&self, rows: Range<usize>, buffer: &'b mut RowBuffer) -> Result<&'b [f32], ProbeError>
    where
        'a: 'b,
    {
        let values = (rows.start - self.first_held) * self.columns..(rows.end - self.first_held) * self.columns;
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

    /// The rows that are here, in order, a few at a time.
    pub(super) fn chunks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        self.chunks_of(self.first_held..self.first_held + self.rows_held)
    }

    fn chunks_of(&self, rows: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        let chunk_rows = (CHUNK_BYTES / (self.columns * size_of::<f32>())).max(1);
        rows.clone().step_by(chunk_rows).map(move |start| start..(start + chunk_rows).min(rows.end))
    }

    /// Shows the features that are here in order, some whole rows at a time.
    ///
    /// # Errors
    /// [`ProbeError::Unreadable`].
    pub fn for_each_rows(&self, see: impl FnMut(&[f32])) -> Result<(), ProbeError> {
        self.for_each_of(self.first_held..self.first_held + self.rows_held, see)
    }

    /// The same of some of the rows.
    pub(super) fn for_each_of(&self, rows: Range<usize>, mut see: impl FnMut(&[f32])) -> Result<(), ProbeError> {
        let mut buffer = RowBuffer::default();
        for rows in self.chunks_of(rows) {
            see(self.row_range(rows, &mut buffer)?);
        }
        Ok(())
    }

    /// Whether all holders have the same numbers.
    pub(super) fn all_have(&self, numbers: &[f64]) -> bool {
        self.holders.is_none_or(|holders| {
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
            holders.agree_on(retune_random::keyed_hash(0, &bytes))
        })
    }
}

#[cfg(test)]
impl<'a> FeatureMatrix<'a> {
    /// The rows that this process holds, which are taken out of all.
    pub(super) fn held(all: &'a [f32], columns: usize, processes: &'a Processes) -> Self {
        let rows = all.len() / columns;
        let held = Self::rows_held_by(processes, rows, columns);
        let own = Self::new(&all[held.start * columns..held.end * columns], columns).unwrap();
        own.of_all(rows, processes).unwrap()
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
