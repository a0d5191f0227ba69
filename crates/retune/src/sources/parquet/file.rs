//! One Parquet file: its columns, read a stretch of rows at a time from any number of threads.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ::parquet::basic::{Compression, ConvertedType, LogicalType, Type as PhysicalType};
use ::parquet::column::reader::ColumnReaderImpl;
use ::parquet::data_type::DataType;
use ::parquet::errors::{ParquetError, Result as ParquetResult};
use ::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use ::parquet::file::reader::{ChunkReader, Length};
use ::parquet::file::serialized_reader::SerializedPageReader;
use ::parquet::schema::types::ColumnDescriptor;
use bytes::Bytes;
use retune_pixels::decode::catching_panics;

use super::bounds::{self, BoundedPages};
use super::{decompress, structure};
use crate::sources::positional::{read_at, read_exact_at};

/// An open file. Problems are told in words; the caller knows the file's name.
#[derive(Debug)]
pub(crate) struct ParquetFile {
    input: Arc<SharedFile>,
    metadata: ParquetMetaData,
    /// Row groups and columns whose pages are as long as the file says.
    sound: Mutex<HashSet<(usize, usize)>>,
}

impl ParquetFile {
    /// Opens a file and reads what it says of itself.
    pub fn open(path: &Path) -> io::Result<Result<Self, String>> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let input = Arc::new(SharedFile { file: Arc::new(file), length });
        if !input.has_sound_footer()? {
            return Ok(Err("not a Parquet file, or a damaged one: its last part is not sound".to_owned()));
        }
        let parsed = guarded(|| ParquetMetaDataReader::new().parse_and_finish(&*input));
        Ok(parsed.and_then(|metadata| Self::checked(input, metadata)))
    }

    /// Refuses positions and sizes that no file can have.
    fn checked(input: Arc<SharedFile>, metadata: ParquetMetaData) -> Result<Self, String> {
        let is_size = |value: i64| u64::try_from(value).is_ok_and(|value| value <= input.length);
        let mut rows = 0u64;
        for group in metadata.row_groups() {
            let columns_are_inside = group.columns().iter().all(|column| {
                let start = column.dictionary_page_offset().unwrap_or(column.data_page_offset());
                is_size(start) && is_size(column.compressed_size()) && is_size(column.data_page_offset())
            });
            rows = rows.saturating_add(u64::try_from(group.num_rows()).unwrap_or(u64::MAX));
            if !columns_are_inside {
                return Err("the file is damaged: a column lies outside of it".to_owned());
            }
        }
        if rows > bounds::most_rows(input.length) {
            return Err(format!("the file is damaged: it announces {rows} rows in {} bytes", input.length));
        }
        Ok(Self { input, metadata, sound: Mutex::default() })
    }

    /// The most values of a column, or bytes of text or of neighboring images, that it may hold.
    pub fn most_values(&self) -> u64 {
        bounds::most_values(self.input.length)
    }

    /// The number of row groups.
    pub fn groups(&self) -> usize {
        self.metadata.num_row_groups()
    }

    /// The number of rows of a row group.
    pub fn rows(&self, group: usize) -> usize {
        usize::try_from(self.metadata.row_group(group).num_rows()).unwrap_or(0)
    }

    /// Bytes that a column of a row group has once it is decompressed, as the file says.
    pub fn column_bytes(&self, group: usize, column: usize) -> u64 {
        u64::try_from(self.metadata.row_group(group).column(column).uncompressed_size()).unwrap_or(0)
    }

    /// The leaf columns. A leaf's position here is its number everywhere else.
    pub fn columns(&self) -> impl ExactSizeIterator<Item = Column<'_>> {
        let columns = self.metadata.file_metadata().schema_descr().columns().iter().enumerate();
        columns.map(|(number, description)| Column { number, description })
    }

    /// The names of the columns as a user knows them, a struct or a list being one column.
    pub fn column_names(&self) -> Vec<&str> {
        self.metadata.file_metadata().schema().get_fields().iter().map(|field| field.name()).collect()
    }

    /// What the file says of itself under a key.
    pub fn key_value(&self, key: &str) -> Option<&str> {
        let entries = self.metadata.file_metadata().key_value_metadata()?;
        entries.iter().find(|entry| entry.key == key)?.value.as_deref()
    }

    /// The definition level of a value of a column that is there.
    pub fn full_definition(&self, column: usize) -> i16 {
        self.metadata.file_metadata().schema_descr().column(column).max_def_level()
    }

    /// A reader of one column of a row group.
    ///
    /// The column's physical type must be that of `T`.
    pub fn reader<T: DataType>(&self, group: usize, column: usize) -> Result<ColumnReaderImpl<T>, String> {
        let description = self.metadata.file_metadata().schema_descr().column(column);
        if description.physical_type() != T::get_physical_type() {
            return Err(format!("the column `{}` is of another type", description.path().string()));
        }
        let level_kinds = usize::from(description.max_def_level() > 0) + usize::from(description.max_rep_level() > 0);
        let chunk = self.metadata.row_group(group).column(column);
        let is_known = |known: &HashSet<_>| known.contains(&(group, column));
        if !is_known(&self.sound.lock().unwrap_or_else(PoisonError::into_inner)) {
            let (start, length) = chunk.byte_range();
            if !self.input.has_sound_pages(start, length).map_err(|error| error.to_string())? {
                return Err("the file is damaged: a page's header is not sound".to_owned());
            }
            self.sound.lock().unwrap_or_else(PoisonError::into_inner).insert((group, column));
        }
        let codec = chunk.compression();
        if let Some(codec) = decompress::unsupported(codec) {
            return Err(format!("{codec} compression is not read: write the file with zstd, snappy or none"));
        }
        guarded(|| {
            // The reader hands pages over as they are, and `BoundedPages` decompresses them.
            let chunk = chunk.clone().into_builder().set_compression(Compression::UNCOMPRESSED).build()?;
            let pages = SerializedPageReader::new(Arc::clone(&self.input), &chunk, self.rows(group), None)?;
            let pages = BoundedPages::new(pages, codec, self.most_values(), level_kinds);
            Ok(ColumnReaderImpl::new(description, Box::new(pages)))
        })
    }

    /// The values of `count` rows from `first` on, of a column that is no list; `None` where a value is null.
    pub fn values<T: DataType>(
        &self,
        group: usize,
        column: usize,
        first: usize,
        count: usize,
    ) -> Result<Vec<Option<T::T>>, String> {
        let mut reader = self.reader::<T>(group, column)?;
        let (mut definitions, mut values) = (Vec::new(), Vec::new());
        let (records, ..) = guarded(|| {
            reader.skip_records(first)?;
            reader.read_records(count, Some(&mut definitions), None, &mut values)
        })?;
        if records != count {
            return Err(format!("the file is damaged: row group {group} has {records} of {count} rows"));
        }
        let most = self.metadata.file_metadata().schema_descr().column(column).max_def_level();
        if most == 0 {
            return Ok(values.into_iter().map(Some).collect());
        }
        let mut values = values.into_iter();
        Ok(definitions.into_iter().map(|level| if level == most { values.next() } else { None }).collect())
    }

    /// Reads a column of lists, some rows at a time.
    pub fn for_each_lists<T: DataType>(
        &self,
        column: usize,
        mut visit: impl FnMut(&mut ListRows<T::T>) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut rows = ListRows { count: 0, definitions: Vec::new(), repetitions: Vec::new(), values: Vec::new() };
        for group in 0..self.groups() {
            let mut reader = self.reader::<T>(group, column)?;
            let mut left = self.rows(group);
            while left > 0 {
                rows.count = left.min(ROWS_AT_ONCE);
                rows.definitions.clear();
                rows.repetitions.clear();
                rows.values.clear();
                let ListRows { count, definitions, repetitions, values } = &mut rows;
                let (records, ..) =
                    guarded(|| reader.read_records(*count, Some(definitions), Some(repetitions), values))?;
                if records != *count || repetitions.first().is_some_and(|level| *level != 0) {
                    return Err(format!("the file is damaged: row group {group} has no list for each of its rows"));
                }
                visit(&mut rows)?;
                left -= rows.count;
            }
        }
        Ok(())
    }
}

/// Rows of lists that are decoded at once.
const ROWS_AT_ONCE: usize = 256;

/// Some rows of a column of lists, as Parquet keeps them.
pub(crate) struct ListRows<V> {
    /// Rows.
    pub count: usize,
    /// How far each entry, or list without entries, is defined: [`ParquetFile::full_definition`] where it has a value.
    pub definitions: Vec<i16>,
    /// 0 where a row begins.
    pub repetitions: Vec<i16>,
    /// The values of entries that have one.
    pub values: Vec<V>,
}

/// A leaf column of a file.
#[derive(Clone, Copy)]
pub(crate) struct Column<'a> {
    /// Its position among the leaves.
    pub number: usize,
    description: &'a ColumnDescriptor,
}

impl<'a> Column<'a> {
    /// The names from the outermost struct or list down to the leaf.
    pub fn path(self) -> &'a [String] {
        self.description.path().parts()
    }

    /// The type its values are stored in.
    pub fn physical_type(self) -> PhysicalType {
        self.description.physical_type()
    }

    /// The type that its values have for a user, with an article.
    pub fn type_name(self) -> String {
        match (self.description.converted_type(), self.description.logical_type_ref()) {
            (ConvertedType::DECIMAL, _) | (_, Some(LogicalType::Decimal(_))) => "of decimals".to_owned(),
            (ConvertedType::NONE, None) => format!("of the type {}", self.physical_type()),
            (ConvertedType::NONE, Some(logical)) => format!("of the type {logical:?}"),
            (converted, _) => format!("of the type {converted}"),
        }
    }

    /// Whether its bytes are text.
    pub fn is_text(self) -> bool {
        self.physical_type() == PhysicalType::BYTE_ARRAY
            && (matches!(self.description.converted_type(), ConvertedType::UTF8 | ConvertedType::ENUM)
                || matches!(self.description.logical_type_ref(), Some(LogicalType::String | LogicalType::Enum)))
    }

    /// Whether nothing says what its bytes are.
    pub fn is_plain_bytes(self) -> bool {
        self.physical_type() == PhysicalType::BYTE_ARRAY
            && self.description.converted_type() == ConvertedType::NONE
            && self.description.logical_type_ref().is_none()
    }

    /// Whether its integers are numbers, and no dates, times or digits of decimals.
    pub fn is_plain_integer(self) -> bool {
        use ConvertedType as Converted;
        let logical = self.description.logical_type_ref();
        let is_number = matches!(
            self.description.converted_type(),
            Converted::NONE
                | Converted::INT_8
                | Converted::INT_16
                | Converted::INT_32
                | Converted::INT_64
                | Converted::UINT_8
                | Converted::UINT_16
                | Converted::UINT_32
                | Converted::UINT_64
        );
        is_number && matches!(logical, None | Some(LogicalType::Integer(_) | LogicalType::Unknown))
    }

    /// Whether its integers have no sign.
    pub fn is_unsigned(self) -> bool {
        use ConvertedType as Converted;
        let converted = self.description.converted_type();
        matches!(converted, Converted::UINT_8 | Converted::UINT_16 | Converted::UINT_32 | Converted::UINT_64)
            || matches!(self.description.logical_type_ref(), Some(LogicalType::Integer(kind)) if !kind.is_signed)
    }

    /// Whether it holds a list of single values for each row, and no list of lists.
    pub fn is_list(self) -> bool {
        let path = self.path();
        // `NAME.list.element` and its kind, or `NAME.array` of older writers; a struct has other names there.
        let is_of_lists = matches!(path, [_] | [_, _] | [_, _, _]);
        is_of_lists && self.description.max_rep_level() == 1
    }

    /// Whether it is within a list.
    pub fn is_repeated(self) -> bool {
        self.description.max_rep_level() > 0
    }

    /// The level of a value that is there, where nulls have lower ones.
    pub fn full_definition(self) -> i16 {
        self.description.max_def_level()
    }
}

/// Runs the decoder. It is meant to return errors for damaged files, and a defect of it must not end the program.
pub(crate) fn guarded<T>(decode: impl FnOnce() -> ParquetResult<T>) -> Result<T, String> {
    match catching_panics(decode) {
        Some(result) => result.map_err(|error| describe(&error)),
        None => Err("the file is damaged: it cannot be decoded".to_owned()),
    }
}

fn describe(error: &ParquetError) -> String {
    match error {
        ParquetError::NYI(reason) => format!("the file needs what is not supported: {reason}"),
        error => format!("not a Parquet file, or a damaged one: {error}"),
    }
}

/// The length of the last part and four letters.
const FOOTER_END: u64 = 8;

/// A file that is read by position, so that threads do not move each other's cursor.
#[derive(Debug)]
struct SharedFile {
    file: Arc<File>,
    length: u64,
}

impl SharedFile {
    /// The bytes from `start` on, at most `most` of them.
    fn bytes(&self, start: u64, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; most.min(self.length.saturating_sub(start)) as usize];
        read_exact_at(&self.file, &mut bytes, start)?;
        Ok(bytes)
    }

    /// Whether what the file says of itself is whole. A file that ends otherwise is left to its reader to refuse.
    fn has_sound_footer(&self) -> io::Result<bool> {
        let end = self.bytes(self.length.saturating_sub(FOOTER_END), FOOTER_END)?;
        let Some((length, b"PAR1")) = end.split_first_chunk().map(|(length, magic)| (*length, magic)) else {
            return Ok(true);
        };
        let footer = FOOTER_END + u64::from(u32::from_le_bytes(length));
        let Some(start) = self.length.checked_sub(footer) else { return Ok(true) };
        Ok(structure::is_sound(&self.bytes(start, footer - FOOTER_END)?))
    }

    /// Whether the headers of all pages in this part of the file are whole.
    fn has_sound_pages(&self, start: u64, length: u64) -> io::Result<bool> {
        // Most headers have some fifty bytes; one with the extremes of long texts may be of any length.
        const FIRST_LOOK: u64 = 1 << 10;
        let end = start.saturating_add(length);
        let mut at = start;
        while at < end {
            let mut look = FIRST_LOOK;
            let (header, page) = loop {
                let bytes = self.bytes(at, look)?;
                match structure::page_lengths(&bytes) {
                    Some(lengths) => break lengths,
                    None if (bytes.len() as u64) < look => return Ok(false),
                    None => look *= 8,
                }
            };
            at = at.saturating_add(header as u64).saturating_add(page);
        }
        Ok(true)
    }
}

impl Length for SharedFile {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for SharedFile {
    type T = BufReader<Cursor>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(BufReader::new(Cursor { file: Arc::clone(&self.file), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        if start.checked_add(length as u64).is_none_or(|end| end > self.length) {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} are past the end")));
        }
        let mut bytes = vec![0; length];
        read_exact_at(&self.file, &mut bytes, start)?;
        Ok(bytes.into())
    }
}

/// A place in a shared file.
struct Cursor {
    file: Arc<File>,
    at: u64,
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = read_at(&self.file, buffer, self.at)?;
        // After the last page there are eight bytes at least. Where a page is sought past the end, its reader would
        // pass over lists of any length there, a missing byte at a time.
        if read == 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        Ok(read)
    }
}
