//! A heat map of what `retune cka` wrote.

use std::path::Path;

use serde::Deserialize;

use super::page::{HeatMap, Section};
use crate::files::{self, FileError};

/// The parts of `cka --out C.json` that a heat map shows.
#[derive(Clone, Debug, Deserialize)]
struct Similarities {
    names: Vec<String>,
    matrix: Vec<Vec<Option<f64>>>,
    layer: String,
    estimator: String,
    n: usize,
}

/// The section of a file that `retune cka --out C.json` wrote: one matrix, or a list of them.
///
/// # Errors
/// A file that cannot be read or holds something else.
pub fn section(path: &Path) -> Result<Section, FileError> {
    let text = files::read_text(path)?;
    let invalid = |reason: String| FileError::new("understand", path, std::io::Error::other(reason));
    let several = |error: serde_json::Error| serde_json::from_str::<Vec<Similarities>>(&text).map_err(|_| error);
    let found = serde_json::from_str(&text).map(|only| vec![only]).or_else(several);
    let found = found.map_err(|error| invalid(error.to_string()))?;
    let note = "Centred kernel alignment of features (Kornblith et al. 2019): 1 where they hold the same structure, near 0 \
                where they have nothing in common.";
    let mut section = Section::new("Similarity of features", note);
    for Similarities { names, matrix, layer, estimator, n } in found {
        if matrix.len() != names.len() || matrix.iter().any(|row| row.len() != names.len()) {
            return Err(invalid("the matrix has not a row and a column for each name".into()));
        }
        let map = HeatMap {
            value_label: format!("CKA, {estimator}, n = {n}"),
            rows: names.clone(),
            columns: names,
            values: matrix,
            range: Some([0.0, 1.0]),
            ..HeatMap::default()
        };
        section = section.with(layer, map);
    }
    Ok(section)
}
