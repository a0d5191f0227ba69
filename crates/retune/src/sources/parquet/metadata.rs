//! The rows of a `metadata.parquet`, which describes the image files beside it.

use std::path::Path;
use std::sync::Arc;

use super::DataError;
use super::file::ParquetFile;
use super::labels::Labels;
use super::layout::label_column;
use super::scalars::{ScalarKind, Scalars, texts};
use crate::sources::manifest::is_file_name;

/// Columns of labels, as in `metadata.csv`; other names may hold anything about an image.
const LABEL_NAMES: [&str; 2] = ["label", "labels"];

/// What a row says of an image.
pub(in crate::sources) struct MetadataRow {
    pub file_name: Arc<str>,
    pub label: Option<Arc<str>>,
    pub split: Option<Arc<str>>,
    pub group: Option<Arc<str>>,
}

/// Reads all rows; `None` where no column names files.
///
/// # Errors
/// [`DataError::Io`] and [`DataError::Parquet`] for a file or a column that cannot be read.
pub(in crate::sources) fn read(path: &Path) -> Result<Option<Vec<MetadataRow>>, DataError> {
    let file = ParquetFile::open(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    file.and_then(|file| rows(&file)).map_err(|problem| DataError::Parquet { path: path.to_owned(), problem })
}

fn rows(file: &ParquetFile) -> Result<Option<Vec<MetadataRow>>, String> {
    let names_files = |path: &[String]| matches!(path, [name] if is_file_name(name));
    let Some(names) = file.columns().find(|column| column.is_text() && names_files(column.path())) else {
        return Ok(None);
    };
    let file_names = texts(file, names.number)?;
    let label = label_column(file)?.filter(|column| LABEL_NAMES.contains(&column.name.as_str()));
    let labels = label_texts(Labels::read(file, label.as_ref())?)?;
    let (splits, groups) = (column(file, "split")?, column(file, "group")?);
    let at =
        |values: &Option<Vec<Option<Arc<str>>>>, row: usize| values.as_ref().and_then(|values| values[row].clone());
    let rows = file_names.into_iter().enumerate().map(|(row, file_name)| {
        let file_name = file_name.ok_or_else(|| format!("row {row}: the file name is missing"))?;
        Ok(MetadataRow { file_name, label: at(&labels, row), split: at(&splits, row), group: at(&groups, row) })
    });
    rows.collect::<Result<_, String>>().map(Some)
}

/// The texts of a column, numbers by their digits; `None` where there is no such column of text or numbers.
fn column(file: &ParquetFile, name: &str) -> Result<Option<Vec<Option<Arc<str>>>>, String> {
    let column = file.columns().find(|column| column.path() == [name]);
    let Some((number, kind)) = column.and_then(|column| Some((column.number, ScalarKind::of(column)?))) else {
        return Ok(None);
    };
    let values = Scalars::read(file, number, kind).map_err(|reason| format!("column `{name}`, {reason}"))?;
    Ok(Some(values.into_texts()))
}

/// Labels by their names; numbers without names by their digits.
fn label_texts(labels: Labels) -> Result<Option<Vec<Option<Arc<str>>>>, String> {
    let (numbers, names) = match labels {
        Labels::Unknown => return Ok(None),
        Labels::Names(names) => return Ok(Some(names)),
        Labels::Numbers(numbers, None) => return Ok(Some(Scalars::Numbers(numbers).into_texts())),
        Labels::Numbers(numbers, Some(names)) => (numbers, names),
    };
    let names: Vec<Arc<str>> = names.into_iter().map(Arc::from).collect();
    let named = numbers.into_iter().enumerate().map(|(row, number)| {
        let Some(number) = number else { return Ok(None) };
        let name = usize::try_from(number).ok().and_then(|number| names.get(number));
        let problem = || format!("row {row}: the label {number} is none of the {} class names", names.len());
        name.map(|name| Some(Arc::clone(name))).ok_or_else(problem)
    });
    named.collect::<Result<_, String>>().map(Some)
}
