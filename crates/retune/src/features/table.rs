//! Feature files read back, whoever wrote them.

use std::path::Path;

use super::{FeatureFormat, FeaturesError};
use crate::files::FileError;

/// The features of a set of images, with what is known about each image.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureTable {
    /// Row-major, `n × width`, every value finite.
    pub features: Vec<f32>,
    /// Values in each row, at least 1.
    pub width: usize,
    /// The `n` labels, `None` where unknown. Where there are [`FeatureTable::classes`], each is a position in them.
    pub labels: Vec<Option<usize>>,
    /// The `n` paths of the images; empty where the file names none.
    pub paths: Vec<String>,
    /// The names of the classes; empty where the file names none.
    pub classes: Vec<String>,
}

impl FeatureTable {
    /// The number of rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// Reads a feature file in the format of its extension: what [`super::write`] writes, or the same arrays from NumPy,
/// the safetensors library or Arrow.
///
/// `features` is a matrix of float16, float32 or float64 (in Parquet, lists of float32 or float64, all of one length);
/// `labels` are integers, unknown where negative. All but `features` may be missing.
///
/// # Errors
/// A file that cannot be read, is damaged, or whose arrays do not fit each other; a value that is not finite. The
/// error names the file and the array.
pub fn read(path: &Path) -> Result<FeatureTable, FeaturesError> {
    let format = FeatureFormat::of(path)?;
    let arrays = (format.read)(path).map_err(|error| FileError::new("read", path, error))?;
    arrays.and_then(Arrays::into_table).map_err(|problem| FeaturesError::Unusable { path: path.to_owned(), problem })
}

/// What a file holds, each array whole in itself but not yet checked against the others.
pub(super) struct Arrays {
    pub features: Vec<f32>,
    pub shape: [usize; 2],
    pub labels: Option<Vec<i64>>,
    pub paths: Option<Vec<String>>,
    pub classes: Option<Vec<String>>,
    /// What the rows depend on, in a shard.
    pub origin: Option<String>,
}

impl Arrays {
    fn into_table(self) -> Result<FeatureTable, String> {
        let Self { features, shape: [n, width], labels, paths, classes, .. } = self;
        if n > 0 && width == 0 {
            return Err("the rows of `features` are empty".to_owned());
        }
        if let Some(at) = features.iter().position(|value| !value.is_finite()) {
            let (row, column) = (at / width, at % width);
            return Err(format!("`features` has a value that is not finite in row {row}, column {column}"));
        }
        let as_many = |name: &str, length: usize| {
            if length == n { Ok(()) } else { Err(format!("`{name}` has {length} entries for {n} rows of `features`")) }
        };
        labels.as_ref().map_or(Ok(()), |labels| as_many("labels", labels.len()))?;
        paths.as_ref().map_or(Ok(()), |paths| as_many("paths", paths.len()))?;
        let classes = classes.unwrap_or_default();
        let known = |label: i64| -> Result<Option<usize>, String> {
            let label = usize::try_from(label).ok();
            match label.filter(|&label| !classes.is_empty() && label >= classes.len()) {
                Some(label) => Err(format!("the label {label} is none of the {} `classes`", classes.len())),
                None => Ok(label),
            }
        };
        let labels = match labels {
            Some(labels) => labels.into_iter().map(known).collect::<Result<_, _>>()?,
            None => vec![None; n],
        };
        // Without a row there is nothing that a width of 0 could contradict.
        Ok(FeatureTable { features, width: width.max(1), labels, paths: paths.unwrap_or_default(), classes })
    }
}

#[cfg(test)]
mod tests;
