//! Figures as plain data.
//!
//! Shares are from 0 to 1. Numbers that are not finite are left out of the drawing.

use serde::{Deserialize, Serialize};

use crate::scale::{Axis, Format};

/// A figure of any kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Figure {
    /// Lines over one axis.
    Lines(Lines),
    /// Named points with intervals.
    Scatter(Scatter),
    /// Many points in a plane, colored by their group.
    PointMap(PointMap),
    /// Values in cells.
    HeatMap(HeatMap),
    /// Which classes are taken for which.
    Confusion(Confusion),
    /// Confidence against accuracy.
    Reliability(Reliability),
    /// Bars, one below the other.
    Bars(Bars),
    /// Images with captions.
    ContactSheet(ContactSheet),
}

macro_rules! figures {
    ($($kind:ident),*) => {
        $(impl From<$kind> for Figure {
            fn from(figure: $kind) -> Self {
                Self::$kind(figure)
            }
        })*
    };
}
figures!(Lines, Scatter, PointMap, HeatMap, Confusion, Reliability, Bars, ContactSheet);

/// Lines over one axis. Equal lines are drawn once, and named together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lines {
    /// The heading.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The lines.
    pub lines: Vec<Line>,
    /// Places on the horizontal axis to mark, with what they are.
    pub marks: Vec<(f64, String)>,
    /// Points to mark on the lines.
    pub points: Vec<Marked>,
    /// Whether the lines have an order, such as that of layers from input to output, so that their colors are a scale.
    pub ordered: bool,
    /// What several lines are called, such as `layers`.
    pub noun: String,
    /// Whether the diagonal is drawn, where both axes measure the same.
    pub diagonal: bool,
}

/// A named line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// Its points, in order; it is broken where one is not finite.
    pub points: Vec<(f64, f64)>,
    /// From and to where each point may lie; empty if unknown.
    pub band: Vec<[f64; 2]>,
    /// Whether it is drawn lightly, as something not chosen.
    pub faint: bool,
}

impl Line {
    /// A line by its name and points.
    pub fn new(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, ..Self::default() }
    }
}

/// A point of a line with what it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Marked {
    /// The position of its line.
    pub line: usize,
    /// Its place.
    pub x: f64,
    /// Its place.
    pub y: f64,
    /// What it is, beside it.
    pub label: String,
}

/// Named points with intervals, such as accuracy in distribution against accuracy under shift.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scatter {
    /// The heading.
    pub title: String,
    /// The horizontal axis.
    pub x: Axis,
    /// The vertical axis.
    pub y: Axis,
    /// The points.
    pub points: Vec<Point>,
    /// Whether the diagonal is drawn, where both axes measure the same.
    pub diagonal: bool,
    /// Whether points are joined in order, as along a curve.
    pub joined: bool,
    /// The points along a curve that are drawn larger and named beside them; all points if empty.
    pub named: Vec<usize>,
}

impl Scatter {
    /// Whether the diagonal is drawn: where it is asked for and the axes share some values.
    pub fn shows_diagonal(&self) -> bool {
        self.diagonal && crate::draw::scatter::has_diagonal(self)
    }
}

/// A named point.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Point {
    /// Its name.
    pub label: String,
    /// Its place.
    pub x: f64,
    /// Its place.
    pub y: f64,
    /// From and to where it may lie.
    pub x_interval: Option<[f64; 2]>,
    /// From and to where it may lie.
    pub y_interval: Option<[f64; 2]>,
}

/// Many points in a plane, both axes at the same scale.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PointMap {
    /// The heading.
    pub title: String,
    /// Places.
    pub points: Vec<[f32; 2]>,
    /// The position in `names` for each point; others are left out.
    pub groups: Vec<usize>,
    /// Names of the groups. Of more than twenty, the smallest share a gray.
    pub names: Vec<String>,
}

/// Values in cells, the first row on top.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeatMap {
    /// The heading.
    pub title: String,
    /// What the columns are.
    pub x_label: String,
    /// What the rows are.
    pub y_label: String,
    /// What the values are.
    pub value_label: String,
    /// Names of the rows, from the top.
    pub rows: Vec<String>,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Values, a list for each row; `None` where there is none.
    pub values: Vec<Vec<Option<f64>>>,
    /// The values at the ends of the colors; the least and the largest if `None`.
    pub range: Option<[f64; 2]>,
    /// Whether columns hold unlike measures, so that the colors of each are from 0 to its own largest value, and `range`
    /// counts for nothing.
    pub by_column: bool,
    /// How values are written.
    pub format: Format,
    /// Decimals of the values in cells; colors follow the number that is written.
    pub decimals: usize,
    /// What a page says of a cell besides its value: row, column, words.
    pub notes: Vec<(usize, usize, String)>,
}

/// Which classes are taken for which.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Confusion {
    /// The heading.
    pub title: String,
    /// The classes, or groups of them.
    pub classes: Vec<String>,
    /// Classes in each group; 1 where each has a row of its own.
    pub group: usize,
    /// True class or group, predicted one, images; those above 0.
    pub counts: Vec<(usize, usize, usize)>,
    /// What stands beside a matrix that is too large to read.
    pub rankings: Vec<Ranking>,
}

/// A list with shares as bars.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ranking {
    /// The heading.
    pub title: String,
    /// The entries, first on top.
    pub entries: Vec<Ranked>,
}

/// An entry of a list.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ranked {
    /// A name, or several with an arrow between them.
    pub names: Vec<String>,
    /// What is counted.
    pub numbers: String,
    /// The share.
    pub share: f64,
}

/// Confidence against accuracy in bins of equal width from 0 to 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reliability {
    /// The heading.
    pub title: String,
    /// The bins.
    pub bins: Vec<Bin>,
    /// Expected calibration error; 0 to 1.
    pub expected_error: f64,
    /// Mean confidence.
    pub confidence: f64,
    /// Share of images that is right.
    pub accuracy: f64,
}

/// Images whose confidence lies in an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bin {
    /// Images.
    pub n: usize,
    /// Their mean confidence.
    pub confidence: f64,
    /// The share of them that is right.
    pub accuracy: f64,
}

/// Bars, one below the other.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bars {
    /// The heading.
    pub title: String,
    /// The axis of the values.
    pub x: Axis,
    /// The bars, first on top.
    pub bars: Vec<Bar>,
}

/// A bar.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bar {
    /// Its name.
    pub name: String,
    /// How long it is.
    pub value: f64,
    /// From and to where its end may lie.
    pub interval: Option<[f64; 2]>,
}

/// Images with captions, row by row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContactSheet {
    /// The heading.
    pub title: String,
    /// The images.
    pub tiles: Vec<Tile>,
    /// Side of an image in the drawing.
    pub side: f64,
    /// What the colors that are painted over the images stand for.
    pub key: Option<ColorKey>,
}

/// What colors stand for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ColorKey {
    /// What the first color stands for.
    pub low: String,
    /// What the last color stands for.
    pub high: String,
    /// Colors from low to high, at equal steps.
    pub colors: Vec<[u8; 3]>,
}

/// An image with its caption.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tile {
    /// A PNG or JPEG file.
    #[serde(with = "crate::embedded")]
    pub image: Vec<u8>,
    /// Lines below it; the first is drawn strongly.
    pub caption: Vec<String>,
    /// Whether a colored edge says that the model is right or wrong; none if `None`.
    pub right: Option<bool>,
}
