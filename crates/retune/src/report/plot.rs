//! Figures as files: SVG, PNG, JPEG or PDF by the file's ending.

use std::path::{Path, PathBuf};

use retune_figures::figure::PointMap;
use retune_figures::{DrawingError, Figure, FileFormat, Style};

use super::figures;
use crate::files::{self, FileError};

/// Why a plot could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlotError {
    /// The file could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The ending is that of no picture.
    #[error("{path} must end with {endings}", path = .0.display(), endings = FileFormat::ENDINGS)]
    UnknownFormat(PathBuf),
    /// The picture could not be drawn.
    #[error("cannot draw {path}: {source}", path = path.display())]
    Drawing {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: DrawingError,
    },
}

/// A figure that can be saved.
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    /// What it shows.
    pub figure: Figure,
}

impl<F: Into<Figure>> From<F> for Plot {
    fn from(figure: F) -> Self {
        Self { figure: figure.into() }
    }
}

/// Points on a map, colored by the group that each belongs to: positions in `names`.
pub fn point_map(title: &str, points: &[[f32; 2]], groups: &[usize], names: &[String]) -> Plot {
    PointMap { title: title.to_owned(), points: points.to_vec(), groups: groups.to_vec(), names: names.to_vec() }.into()
}

/// A table of values from 0 to 1, each cell colored and with its number in it; the first row on top. `value_label` says
/// what they are. A cell without a value (NaN) is pale gray.
pub fn table_map(title: &str, value_label: &str, rows: &[String], columns: &[String], values: &[Vec<f64>]) -> Plot {
    let finite = |row: &Vec<f64>| row.iter().map(|value| value.is_finite().then_some(*value)).collect();
    figures::shares(title, value_label, [rows, columns], values.iter().map(finite).collect()).into()
}

impl Plot {
    /// The figure as SVG.
    pub fn svg(&self) -> String {
        self.figure.draw(&Style::default()).svg().to_owned()
    }

    /// The bytes of a file in a format.
    pub(super) fn encode(&self, format: FileFormat) -> Result<Vec<u8>, DrawingError> {
        self.figure.draw(&Style::default()).encode(format)
    }

    /// Writes the figure in the format of the file's ending.
    ///
    /// # Errors
    /// Another ending; a file that cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), PlotError> {
        let format = FileFormat::of(path).ok_or_else(|| PlotError::UnknownFormat(path.to_owned()))?;
        let bytes = self.encode(format).map_err(|source| PlotError::Drawing { path: path.to_owned(), source })?;
        Ok(files::write_atomically(path, |file| file.write_all(&bytes))?)
    }

    /// Writes the figure beside each other as `name.svg` and `name.png`.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save_both(&self, folder: &Path, name: &str) -> Result<(), PlotError> {
        self.save(&folder.join(format!("{name}.svg")))?;
        self.save(&folder.join(format!("{name}.png")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("class {number}")).collect()
    }

    #[test]
    fn both_formats_are_written_and_others_refused() {
        let folder = tempfile::tempdir().unwrap();
        let plot = table_map("CKA", "CKA", &names(2), &names(2), &[vec![1.0, 0.25], vec![0.25, f64::NAN]]);
        assert!(plot.svg().contains("0.25") && plot.svg().contains("class 1"));
        plot.save_both(folder.path(), "plot").unwrap();
        let png = image::open(folder.path().join("plot.png")).unwrap();
        assert!(png.width() >= 600);
        let error = plot.save(Path::new("plot.gif")).unwrap_err().to_string();
        assert!(error.contains("plot.gif") && error.contains(".svg, .png"), "{error}");
        let error = plot.save(&folder.path().join("absent/plot.svg")).unwrap_err().to_string();
        assert!(error.contains("absent"), "{error}");
    }

    #[test]
    fn every_group_is_named_until_there_are_too_many() {
        let points: Vec<[f32; 2]> = (0..300).map(|at| [(at % 17) as f32, (at / 17) as f32]).collect();
        let groups = |count: usize| (0..300).map(|at| at % count).collect::<Vec<_>>();
        let svg = point_map("map", &points, &groups(12), &names(12)).svg();
        assert!((0..12).all(|group| svg.contains(&format!("class {group}<"))));
        let svg = point_map("map", &points, &groups(30), &names(30)).svg();
        assert!(svg.contains("11 others") && svg.contains("class 0<") && !svg.contains("class 29<"));
    }

    #[test]
    fn points_without_a_place_or_a_group_are_left_out() {
        let points = [[0.0, 1.0], [f32::NAN, 0.0], [2.0, 2.0]];
        let svg = point_map("", &points, &[0, 1, 7], &names(2)).svg();
        assert!(svg.contains("class 0<") && !svg.contains("class 1<"));
        assert!(point_map("", &[], &[], &[]).svg().starts_with("<svg"));
    }
}
