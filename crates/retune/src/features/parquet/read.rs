//! Features out of a `.parquet` file.

use std::path::Path;

use ::parquet::basic::Type as PhysicalType;
use ::parquet::data_type::{ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type};

use super::super::table::Arrays;
use crate::sources::parquet::file::{Column, ParquetFile};

/// Reads the columns `features`, `label` (or `labels`) and `path` (or `paths`).
pub(super) fn read(path: &Path) -> std::io::Result<Result<Arrays, String>> {
    Ok(ParquetFile::open(path)?.and_then(|file| arrays(&file)))
}

fn arrays(file: &ParquetFile) -> Result<Arrays, String> {
    let features = file
        .columns()
        .find(|column| column.path()[0] == "features")
        .ok_or_else(|| format!("there is no column `features`: the columns are {}", file.column_names().join(", ")))?;
    let (features, width) = match features.physical_type() {
        PhysicalType::FLOAT => lists::<FloatType>(file, features, |value| value),
        PhysicalType::DOUBLE => lists::<DoubleType>(file, features, |value| value as f32),
        other => Err(format!("the column `features` is of the type {other}, not lists of floating-point numbers")),
    }?;
    let column_of = |names: [&str; 2]| file.columns().find(|column| names.iter().any(|name| column.path() == [*name]));
    let classes = match file.key_value("classes") {
        Some(text) => {
            let parsed = serde_json::from_str(text);
            Some(parsed.map_err(|error| format!("`classes` in the metadata is not a JSON list of text: {error}"))?)
        }
        None => None,
    };
    Ok(Arrays {
        shape: [(0..file.groups()).map(|group| file.rows(group)).sum(), width],
        features,
        labels: column_of(["label", "labels"]).map(|column| labels(file, column)).transpose()?,
        paths: column_of(["path", "paths"]).map(|column| paths(file, column)).transpose()?,
        classes,
        origin: file.key_value("origin").map(str::to_owned),
    })
}

/// All rows of a column of lists of equal length, and that length.
fn lists<T: DataType>(
    file: &ParquetFile,
    column: Column<'_>,
    value: impl Fn(T::T) -> f32,
) -> Result<(Vec<f32>, usize), String> {
    if !column.is_repeated() {
        return Err("the column `features` holds single numbers where lists are expected".to_owned());
    }
    let (mut all, mut width, mut row) = (Vec::new(), None, 0);
    file.for_each_lists::<T>(column.number, |read| {
        if read.definitions.iter().any(|&level| level != column.full_definition()) {
            let count = read.count;
            return Err(format!("`features` has an empty list or a null within the {count} rows from {row} on"));
        }
        let starts = read.repetitions.iter().enumerate().filter(|(_, level)| **level == 0).map(|(at, _)| at);
        let starts: Vec<usize> = starts.chain([read.repetitions.len()]).collect();
        for bounds in starts.windows(2) {
            let length = bounds[1] - bounds[0];
            if *width.get_or_insert(length) != length {
                let expected = width.unwrap_or_default();
                return Err(format!("`features` has {length} values in row {row} and {expected} in those before"));
            }
            row += 1;
        }
        all.extend(read.values.drain(..).map(&value));
        if all.len() as u64 > file.most_values() {
            return Err("the file is damaged: `features` has more values than it can hold".to_owned());
        }
        Ok(())
    })?;
    Ok((all, width.unwrap_or(0)))
}

fn labels(file: &ParquetFile, column: Column<'_>) -> Result<Vec<i64>, String> {
    let mut labels = Vec::new();
    for group in 0..file.groups() {
        let rows = file.rows(group);
        match column.physical_type() {
            PhysicalType::INT64 => {
                let values = file.values::<Int64Type>(group, column.number, 0, rows)?;
                labels.extend(values.into_iter().map(|label| label.unwrap_or(-1)));
            }
            PhysicalType::INT32 => {
                let values = file.values::<Int32Type>(group, column.number, 0, rows)?;
                labels.extend(values.into_iter().map(|label| label.map_or(-1, i64::from)));
            }
            other => return Err(format!("the column `{}` is of the type {other}, not integers", column.path()[0])),
        }
    }
    Ok(labels)
}

fn paths(file: &ParquetFile, column: Column<'_>) -> Result<Vec<String>, String> {
    if column.physical_type() != PhysicalType::BYTE_ARRAY {
        return Err(format!("the column `{}` is not text", column.path()[0]));
    }
    let mut paths = Vec::new();
    let mut bytes = 0;
    for group in 0..file.groups() {
        for value in file.values::<ByteArrayType>(group, column.number, 0, file.rows(group))? {
            let text = value.as_ref().map_or(Ok(""), |value| value.as_utf8());
            let text = text.map_err(|_| "`path` holds text that is not UTF-8")?;
            bytes += text.len() as u64;
            if bytes > file.most_values() {
                return Err("the file is damaged: `path` has more text than it can hold".to_owned());
            }
            paths.push(text.to_owned());
        }
    }
    Ok(paths)
}
