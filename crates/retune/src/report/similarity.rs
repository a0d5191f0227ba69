//! A heat map of the result of `retune cka`.

use std::path::Path;

use retune_figures::figure::HeatMap;
use serde::Deserialize;

use super::figures;
use super::page::Section;
use crate::files::{self, FileError};
use crate::wording;

/// The parts of a matrix of `retune cka` that a heat map shows.
#[derive(Clone, Debug, Deserialize)]
pub struct Similarities {
    /// Names of the rows.
    pub names: Vec<String>,
    /// Names of the columns, where they differ from the rows'.
    #[serde(default)]
    pub columns: Option<Vec<String>>,
    /// What the rows and the columns are, where their names do not say it.
    #[serde(default)]
    pub axes: Option<[String; 2]>,
    /// Values from 0 to 1; `None` where there is none.
    pub matrix: Vec<Vec<Option<f64>>>,
    /// The layer, where there is one.
    #[serde(default)]
    pub layer: Option<String>,
    /// Images.
    pub n: usize,
    /// 95 % intervals, where they were computed.
    #[serde(default)]
    pub intervals: Vec<Vec<Option<[f64; 2]>>>,
    /// Why values are missing.
    #[serde(default)]
    pub undefined: Vec<Missing>,
}

/// A value that does not exist.
#[derive(Clone, Debug, Deserialize)]
pub struct Missing {
    /// Its row's name.
    pub row: String,
    /// Its column's name.
    pub column: String,
    /// Why.
    pub reason: String,
}

/// What a file may hold: one matrix, or several under `matrices`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Several { matrices: Vec<Similarities> },
    One(Similarities),
}

/// The section of a file that `retune cka --out C.json` wrote.
///
/// # Errors
/// A file that cannot be read or holds something else.
pub fn section(path: &Path) -> Result<Section, FileError> {
    let text = files::read_text(path)?;
    let invalid = |reason: String| FileError::new("understand", path, std::io::Error::other(reason));
    let unknown = |_| invalid("it is not what `retune cka --out FILE.json` writes".to_owned());
    let matrices = match serde_json::from_str(&text).map_err(unknown)? {
        Document::Several { matrices } => matrices,
        Document::One(only) => vec![only],
    };
    for Similarities { names, columns, matrix, intervals, .. } in &matrices {
        let width = columns.as_ref().unwrap_or(names).len();
        let fits = |lengths: Vec<usize>| lengths == vec![width; names.len()];
        let intervals_fit = intervals.is_empty() || fits(intervals.iter().map(Vec::len).collect());
        if !fits(matrix.iter().map(Vec::len).collect()) || !intervals_fit {
            return Err(invalid("the matrix has not a row and a column for each name".into()));
        }
    }
    Ok(section_of(matrices))
}

/// Columns up to which a map takes half of the page.
const FEW_COLUMNS: usize = 8;

/// A heat map of each matrix.
pub fn section_of(matrices: impl IntoIterator<Item = Similarities>) -> Section {
    let matrices: Vec<Similarities> = matrices.into_iter().collect();
    let columns = |matrix: &Similarities| matrix.columns.as_ref().unwrap_or(&matrix.names).len();
    let is_wide = matrices.iter().any(|matrix| columns(matrix) > FEW_COLUMNS);
    let note = "Centered kernel alignment of features (Kornblith et al. 2019): 1 for the same structure, near 0 for unrelated \
                features.";
    let mut section = Section::new("Similarity of features", note);
    for Similarities { names, columns, axes, matrix, layer, n, intervals, undefined } in matrices {
        let columns = columns.unwrap_or_else(|| names.clone());
        let place = |cell: Missing| {
            let row = names.iter().position(|name| *name == cell.row)?;
            let column = columns.iter().position(|name| *name == cell.column)?;
            Some((row, column, cell.reason))
        };
        let mut notes: Vec<(usize, usize, String)> = undefined.into_iter().filter_map(place).collect();
        for (row, intervals) in intervals.iter().enumerate() {
            for (column, interval) in intervals.iter().enumerate() {
                notes.extend(
                    interval.map(|ends| (row, column, format!("95 % interval {}", wording::interval(ends, 3)))),
                );
            }
        }
        let [y_label, x_label] = axes.unwrap_or_default();
        let map = HeatMap {
            notes,
            x_label,
            y_label,
            ..figures::shares("", &format!("CKA, n = {n}"), [&names, &columns], matrix)
        };
        section = section.with(layer.unwrap_or_default(), map);
    }
    if is_wide { section.wide() } else { section }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::page::{PageFigure, View};
    use retune_figures::Figure;

    fn map_of(view: &View) -> &HeatMap {
        let View::Figure(PageFigure { figure: Figure::HeatMap(map), .. }) = view else { panic!("no heat map") };
        map
    }

    #[test]
    fn one_matrix_or_several_are_read_and_others_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.json");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        let one = r#"{"names": ["a", "b"], "matrix": [[1, null], [null, 1]], "layer": "pooled", "estimator": "debiased", "n": 9}"#;
        write(one);
        let found = section(&path).unwrap();
        let map = map_of(&found.views[0].view);
        assert_eq!((found.views[0].name.as_str(), map.values[0].as_slice()), ("pooled", &[Some(1.0), None][..]));
        write(&format!(r#"{{"own": "bilinear", "matrices": [{one}, {one}]}}"#));
        assert_eq!(section(&path).unwrap().views.len(), 2);
        let bounded = one.replace(
            r#""layer""#,
            r#""intervals": [[[1, 1], null], [null, [0.5, 1]]], "undefined": [{"row": "a", "column": "b", "reason": "too few"}], "layer""#,
        );
        write(&bounded);
        let found = section(&path).unwrap();
        let notes = &map_of(&found.views[0].view).notes;
        assert!(
            notes.contains(&(0, 1, "too few".to_owned()))
                && notes.contains(&(1, 1, "95 % interval 0.500–1.000".to_owned()))
        );
        write(&bounded.replace("[[1, 1], null]", "[[1, 1]]"));
        assert!(section(&path).is_err());
        write(&one.replace(r#""a", "b""#, r#""a""#));
        assert!(section(&path).unwrap_err().to_string().contains("a row and a column for each name"));
    }
}
