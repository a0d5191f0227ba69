//! `.parquet`: a row an image, in the columns `features` (a list of float32), `label` and `path`, with the class names
//! as a JSON list in the metadata and as the Hugging Face `datasets` library keeps them.

mod read;

use std::fs::File;
use std::io;
use std::sync::Arc;

use ::parquet::basic::Compression;
use ::parquet::column::writer::ColumnWriter;
use ::parquet::data_type::{ByteArray, ByteArrayType, FloatType, Int64Type};
use ::parquet::errors::{ParquetError, Result as ParquetResult};
use ::parquet::file::metadata::KeyValue;
use ::parquet::file::properties::{EnabledStatistics, WriterProperties};
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use ::parquet::schema::types::ColumnPath;
use serde_json::json;

use super::listing::Listing;
use super::{FeatureFormat, Target};

/// Labels and paths may be null as far as the schema goes, though none is: where they may not, `datasets` passes over
/// the class names.
const SCHEMA: &str = "
    message features {
        REQUIRED GROUP features (LIST) { REPEATED GROUP list { REQUIRED FLOAT element; } }
        OPTIONAL INT64 label;
        OPTIONAL BYTE_ARRAY path (STRING);
    }";

/// Bytes of features in a row group: what waits in memory until it is written.
const GROUP_BYTES: usize = 16 << 20;

/// Values that are handed to the encoder at once, if a row is not longer.
const VALUES_AT_ONCE: usize = 1 << 16;

pub(super) const FORMAT: FeatureFormat = FeatureFormat {
    extension: "parquet",
    begin: |file, listing| Ok(Box::new(ParquetFeatures::new(file, listing)?)),
    read: read::read,
};

/// A file whose rows are under way.
struct ParquetFeatures<'a> {
    writer: SerializedFileWriter<&'a File>,
    listing: &'a Listing,
    /// Rows of the next row group.
    pending: Vec<f32>,
    width: usize,
    /// Rows in the row groups before it.
    written: usize,
}

impl<'a> ParquetFeatures<'a> {
    fn new(file: &'a File, listing: &'a Listing) -> io::Result<Self> {
        let features = ColumnPath::from(["features", "list", "element"].map(String::from).to_vec());
        let path = ColumnPath::from("path");
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            // Floating-point numbers hardly get smaller, and paths do not repeat.
            .set_column_compression(features.clone(), Compression::UNCOMPRESSED)
            .set_column_dictionary_enabled(features.clone(), false)
            .set_column_statistics_enabled(features, EnabledStatistics::None)
            .set_column_dictionary_enabled(path, false)
            .set_key_value_metadata(Some(metadata(listing)?));
        let begun = parse_message_type(SCHEMA)
            .and_then(|schema| SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties.build())));
        let writer = begun.map_err(into_io)?;
        Ok(Self { writer, listing, pending: Vec::new(), width: 0, written: 0 })
    }
}

impl Target for ParquetFeatures<'_> {
    fn append(&mut self, rows: &[f32], width: usize) -> io::Result<()> {
        self.width = width;
        let values_of_group = (GROUP_BYTES / size_of::<f32>() / width).max(1) * width;
        let mut rows = rows;
        while !rows.is_empty() {
            let (now, later) = rows.split_at(rows.len().min(values_of_group - self.pending.len()));
            self.pending.extend_from_slice(now);
            if self.pending.len() == values_of_group {
                self.write_group().map_err(into_io)?;
            }
            rows = later;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        if !self.pending.is_empty() {
            self.write_group().map_err(into_io)?;
        }
        self.writer.close().map_err(into_io).map(drop)
    }
}

impl ParquetFeatures<'_> {
    fn write_group(&mut self) -> ParquetResult<()> {
        let rows = self.pending.len() / self.width;
        let group_rows = self.written..self.written + rows;
        let present = vec![1; rows];
        let mut group = self.writer.next_row_group()?;
        while let Some(mut column) = group.next_column()? {
            match column.untyped() {
                ColumnWriter::FloatColumnWriter(_) => {
                    let column = column.typed::<FloatType>();
                    write_lists(&self.pending, self.width, |values, definitions, repetitions| {
                        column.write_batch(values, Some(definitions), Some(repetitions)).map(drop)
                    })?;
                }
                ColumnWriter::Int64ColumnWriter(_) => {
                    let labels = &self.listing.labels[group_rows.clone()];
                    column.typed::<Int64Type>().write_batch(labels, Some(&present), None)?;
                }
                _ => {
                    let paths = self.listing.paths[group_rows.clone()].iter();
                    let paths: Vec<ByteArray> = paths.map(|path| ByteArray::from(&**path)).collect();
                    column.typed::<ByteArrayType>().write_batch(&paths, Some(&present), None)?;
                }
            }
            column.close()?;
        }
        group.close()?;
        self.written += rows;
        self.pending.clear();
        Ok(())
    }
}

/// Hands rows on as lists, some at a time: values, definition levels and repetition levels.
fn write_lists(
    rows: &[f32],
    width: usize,
    mut write: impl FnMut(&[f32], &[i16], &[i16]) -> ParquetResult<()>,
) -> ParquetResult<()> {
    let values_at_once = (VALUES_AT_ONCE / width).max(1) * width;
    let definitions = vec![1; values_at_once.min(rows.len())];
    // A list begins where the level is 0.
    let repetitions: Vec<i16> = (0..definitions.len()).map(|at| i16::from(at % width != 0)).collect();
    rows.chunks(values_at_once)
        .try_for_each(|values| write(values, &definitions[..values.len()], &repetitions[..values.len()]))
}

fn metadata(listing: &Listing) -> io::Result<Vec<KeyValue>> {
    let value = |dtype: &str| json!({ "dtype": dtype, "_type": "Value" });
    let label = match &listing.classes[..] {
        [] => value("int64"),
        names => json!({ "names": names, "_type": "ClassLabel" }),
    };
    let features = json!({ "feature": value("float32"), "_type": "Sequence" });
    let columns = json!({ "features": features, "label": label, "path": value("string") });
    let huggingface = json!({ "info": { "features": columns } });
    let mut entries = vec![
        KeyValue::new("classes".to_owned(), serde_json::to_string(&listing.classes)?),
        KeyValue::new("huggingface".to_owned(), huggingface.to_string()),
    ];
    entries.extend(listing.precision.map(|name| KeyValue::new("precision".to_owned(), name.to_owned())));
    entries.extend(listing.origin.clone().map(|origin| KeyValue::new("origin".to_owned(), origin)));
    Ok(entries)
}

/// The operating system's own error where there is one: a full disk is told by its kind.
fn into_io(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        },
        error => io::Error::other(error),
    }
}
