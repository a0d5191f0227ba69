//! Labels of Parquet files, numbers or text, and the class list that several files share.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::file::ParquetFile;
use super::layout::LabelColumn;
use super::scalars::Scalars;
use crate::sources::DataError;
use crate::sources::folder::sorted_classes;
use crate::sources::label_sets::joined;

/// The labels of a file's rows, as they are written.
pub(super) enum Labels {
    Unknown,
    /// Numbers, with the names of 0, 1, … where the file gives them.
    Numbers(Vec<Option<i64>>, Option<Vec<String>>),
    Names(Vec<Option<Arc<str>>>),
}

impl Labels {
    pub fn read(file: &ParquetFile, column: Option<&LabelColumn>) -> Result<Self, String> {
        let Some(LabelColumn { number, name, kind, names }) = column else { return Ok(Self::Unknown) };
        let labels = Scalars::read(file, *number, *kind)
            .map_err(|problem| format!("column `{name}`, {problem}: a label is a text or a whole number"))?;
        Ok(match labels {
            Scalars::Texts(texts) => Self::Names(texts),
            // A negative number stands for an unknown label in the sets whose labels are held back.
            Scalars::Numbers(numbers) => {
                let known = numbers.into_iter().map(|label| label.filter(|&label| label >= 0));
                Self::Numbers(known.collect(), names.clone())
            }
        })
    }
}

impl Labels {
    /// The same where an image may have several: a text may hold some, a missing one means none, and a named number is one
    /// whole label.
    pub fn of_several(self) -> Self {
        let none = || Some(Arc::from(""));
        match self {
            Self::Names(texts) => Self::Names(texts.into_iter().map(|text| text.or_else(none)).collect()),
            Self::Numbers(numbers, Some(names)) => {
                let names: Vec<String> = names.iter().map(|name| joined(&[name])).collect();
                Self::Numbers(numbers, Some(names))
            }
            other => other,
        }
    }
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
