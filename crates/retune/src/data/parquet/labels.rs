//! Labels of Parquet files, numbers or text, and the class list that several files share.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::parquet::basic::Type as PhysicalType;
use ::parquet::data_type::{ByteArrayType, Int32Type, Int64Type};

use super::file::ParquetFile;
use super::layout::LabelColumn;
use crate::data::DataError;
use crate::data::distinct::Distinct;
use crate::data::folder::sorted_classes;

/// The labels of a file's rows, as they are written.
pub(super) enum Labels {
    Unknown,
    /// Numbers, with the names of 0, 1, … where the file gives them.
    Numbers(Vec<Option<i64>>, Option<Vec<String>>),
    Names(Vec<Option<Arc<str>>>),
}

impl Labels {
    pub fn read(file: &ParquetFile, column: Option<&LabelColumn>) -> Result<Self, String> {
        let Some(LabelColumn { number, physical_type, names }) = column else { return Ok(Self::Unknown) };
        if *physical_type == PhysicalType::BYTE_ARRAY {
            return texts(file, *number).map(Self::Names);
        }
        let mut labels = Vec::new();
        for group in 0..file.groups() {
            let rows = file.rows(group);
            match physical_type {
                PhysicalType::INT32 => {
                    let values = file.values::<Int32Type>(group, *number, 0, rows)?;
                    labels.extend(values.into_iter().map(|label| label.map(i64::from)));
                }
                _ => labels.extend(file.values::<Int64Type>(group, *number, 0, rows)?),
            }
        }
        // A negative number stands for an unknown label in the sets whose labels are held back.
        let labels = labels.into_iter().map(|label| label.filter(|&label| label >= 0)).collect();
        Ok(Self::Numbers(labels, names.clone()))
    }
}

/// All rows of a column of text, equal ones shared; the empty text counts as missing.
pub(super) fn texts(file: &ParquetFile, column: usize) -> Result<Vec<Option<Arc<str>>>, String> {
    let mut distinct = Distinct::default();
    let mut texts = Vec::new();
    for group in 0..file.groups() {
        for value in file.values::<ByteArrayType>(group, column, 0, file.rows(group))? {
            let text = value.as_ref().map(|value| value.as_utf8()).transpose();
            let text = text.map_err(|_| format!("row {}: text that is not UTF-8", texts.len()))?;
            texts.push(text.filter(|text| !text.is_empty()).map(|text| distinct.shared(text)));
        }
    }
    Ok(texts)
}

/// The classes of all files together.
pub(super) enum Classes {
    /// Names of the numbers 0, 1, … in that order, so that published label numbers keep their meaning.
    Named(Vec<String>),
    /// The numbers that occur, ascending.
    Numbered(Vec<i64>),
    /// The names that occur, sorted.
    Text(Vec<String>),
}

impl Classes {
    pub fn of<'a>(files: impl Iterator<Item = (&'a Path, &'a Labels)> + Clone) -> Result<Self, DataError> {
        let mut named: Option<(&Path, &Vec<String>)> = None;
        let (mut numbers, mut texts) = (BTreeSet::new(), BTreeSet::new());
        let problem = |path: &Path, problem: String| DataError::Parquet { path: PathBuf::from(path), problem };
        for (path, labels) in files {
            match labels {
                Labels::Unknown => {}
                Labels::Names(names) => texts.extend(names.iter().flatten().map(|name| &**name)),
                Labels::Numbers(labels, names) => {
                    numbers.extend(labels.iter().flatten().copied());
                    match (names, named) {
                        (Some(names), Some((first, known))) if names != known => {
                            let other = format!("the class names are not those of {}", first.display());
                            return Err(problem(path, other));
                        }
                        (Some(names), None) => named = Some((path, names)),
                        _ => {}
                    }
                }
            }
            if !texts.is_empty() && !numbers.is_empty() {
                return Err(problem(path, "labels are text in some files and numbers in others".to_owned()));
            }
        }
        Ok(match named {
            Some((path, names)) if texts.is_empty() => {
                if sorted_classes(names.iter().map(String::as_str)).len() < names.len() {
                    return Err(problem(path, "a class name is listed twice".to_owned()));
                }
                Self::Named(names.clone())
            }
            _ if texts.is_empty() => Self::Numbered(numbers.into_iter().collect()),
            _ => Self::Text(sorted_classes(texts.into_iter())),
        })
    }

    /// The label of a row as a position in the class list.
    pub fn label(&self, labels: &Labels, row: usize) -> Result<Option<usize>, String> {
        match (self, labels) {
            (Self::Named(names), Labels::Numbers(numbers, _)) => {
                let Some(number) = numbers[row] else { return Ok(None) };
                let label = usize::try_from(number).ok().filter(|&label| label < names.len());
                label.map(Some).ok_or_else(|| format!("the label {number} is none of the {} class names", names.len()))
            }
            (Self::Numbered(known), Labels::Numbers(numbers, _)) => {
                Ok(numbers[row].and_then(|number| known.binary_search(&number).ok()))
            }
            (Self::Text(known), Labels::Names(names)) => {
                Ok(names[row].as_ref().and_then(|name| known.binary_search_by(|known| (**known).cmp(name)).ok()))
            }
            _ => Ok(None),
        }
    }

    pub fn into_names(self) -> Vec<String> {
        match self {
            Self::Named(names) | Self::Text(names) => names,
            Self::Numbered(numbers) => numbers.iter().map(i64::to_string).collect(),
        }
    }
}
