//! What a section shows, as plain data.
//!
//! Shares are from 0 to 1; pages show accuracies in percent. Numbers that are not finite are left out.

use serde::Serialize;

use crate::report::calibration::Calibration;

/// Makes [`View`] of the structs that can be one.
macro_rules! views {
    ($($(#[$doc:meta])* $kind:ident($data:ident),)+) => {
        /// What a section shows.
        #[derive(Clone, Debug, PartialEq, Serialize)]
        #[serde(tag = "kind", rename_all = "kebab-case")]
        pub enum View {
            $($(#[$doc])* $kind($data),)+
        }

        $(impl From<$data> for View {
            fn from(data: $data) -> Self {
                Self::$kind(data)
            }
        })+
    };
}

views! {
    /// Rows and columns that can be sorted.
    Table(Table),
    /// Points with intervals.
    Scatter(Scatter),
    /// Lines over one axis.
    Lines(Lines),
    /// Values in cells.
    HeatMap(HeatMap),
    /// Confusion of classes.
    Confusion(Confusions),
    /// Thumbnails.
    Gallery(Gallery),
    /// Confidence against accuracy.
    Reliability(Reliability),
    /// Images as points in a plane.
    Map(Map),
    /// Text in a monospaced font.
    Text(Text),
}

/// Rows and columns that can be sorted.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Table {
    /// The columns.
    pub columns: Vec<Column>,
    /// A cell for each column.
    pub rows: Vec<Vec<Cell>>,
    /// The text below the table.
    pub caption: String,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Column {
    /// Its heading.
    pub heading: String,
    /// Whether it holds numbers, which are aligned to the right.
    pub number: bool,
}

/// A cell of a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Cell {
    /// What it says.
    pub text: String,
    /// What it is sorted by; its text if `None`.
    pub value: Option<f64>,
    /// A share's interval, drawn as a bar.
    pub interval: Option<[f64; 2]>,
    /// Its rank among the cells of its column.
    pub mark: Option<Mark>,
}

impl Cell {
    /// A cell of text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// A cell with a number, sorted by its value.
    pub fn number(text: impl Into<String>, value: f64) -> Self {
        Self { text: text.into(), value: Some(value), ..Self::default() }
    }
}

/// The rank of a cell in its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// The best.
    Best,
    /// Not significantly worse than the best.
    Tied,
}

/// Points with intervals.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Scatter {
    /// Name of the horizontal axis.
    pub x_label: String,
    /// Name of the vertical axis.
    pub y_label: String,
    /// The points.
    pub points: Vec<Point>,
    /// Whether they are joined in order, as along a curve.
    pub joined: bool,
}

/// A named point, in shares.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
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

/// Lines over one axis.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Lines {
    /// Name of the horizontal axis.
    pub x_label: String,
    /// Name of the vertical axis.
    pub y_label: String,
    /// Whether the horizontal axis is logarithmic.
    pub log_x: bool,
    /// Whether the vertical axis is logarithmic.
    pub log_y: bool,
    /// Whether vertical values are shares to show in percent.
    pub percent: bool,
    /// Whether the lines have an order, such as that of blocks from input to output, so that their colors form a scale.
    pub ordered: bool,
    /// The lines.
    pub lines: Vec<Line>,
    /// Places on the horizontal axis to mark.
    pub marks: Vec<(f64, String)>,
}

/// A named line.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// Its points, in order.
    pub points: Vec<(f64, f64)>,
    /// Whether it is drawn lightly, as something not chosen.
    pub faint: bool,
}

/// Values in cells.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HeatMap {
    /// Name of the columns.
    pub x_label: String,
    /// Name of the rows.
    pub y_label: String,
    /// What the values are.
    pub value_label: String,
    /// Names of the rows, from the top.
    pub rows: Vec<String>,
    /// Names of the columns.
    pub columns: Vec<String>,
    /// Values, a list for each row; `None` where there is none.
    pub values: Vec<Vec<Option<f64>>>,
    /// The values at the ends of the color scale; the smallest and the largest if `None`.
    pub range: Option<[f64; 2]>,
    /// Whether colors follow the values' logarithm.
    pub log: bool,
    /// From and to where a value may lie, as `values`; empty where nothing is known.
    pub intervals: Vec<Vec<Option<[f64; 2]>>>,
    /// Why a value is missing: its row, its column, the reason.
    pub reasons: Vec<(usize, usize, String)>,
}

/// Confusion of classes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Confusions {
    /// The classes, or groups of them where they are very many.
    pub classes: Vec<String>,
    /// Classes in each group; 1 where each has a row of its own.
    pub group: usize,
    /// True class or group, predicted one, images; those above 0.
    pub counts: Vec<(usize, usize, usize)>,
    /// The pairs confused most often.
    pub pairs: Vec<Pair>,
    /// Thumbnails of the pairs' examples.
    pub sheet: Option<usize>,
}

/// Two classes that the model confuses.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Pair {
    /// The true class.
    pub label: String,
    /// The predicted class.
    pub predicted: String,
    /// Images of the true class predicted as the other.
    pub n: usize,
    /// Images of the true class.
    pub of: usize,
    /// Tiles with examples.
    pub examples: Vec<usize>,
}

/// Thumbnails with a model's predictions.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Gallery {
    /// The thumbnails.
    pub sheet: usize,
    /// The images.
    pub items: Vec<GalleryItem>,
}

/// An image with a model's prediction.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GalleryItem {
    /// Its place in the sheet.
    pub tile: usize,
    /// Its class.
    pub label: String,
    /// The most likely class.
    pub predicted: String,
    /// The probability of the most likely class.
    pub probability: f64,
    /// The probability of its class.
    pub label_probability: f64,
    /// Cross-entropy.
    pub loss: f64,
    /// Its path.
    pub path: String,
}

/// Confidence against accuracy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reliability {
    /// What was measured.
    #[serde(flatten)]
    pub calibration: Calibration,
}

/// Images as points in a plane. Lists have an entry for each point, or are empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Map {
    /// How the places were computed.
    pub method: String,
    /// The classes that labels and predictions index.
    pub classes: Vec<String>,
    /// The sets that `set` indexes.
    pub sets: Vec<String>,
    /// Horizontal places.
    pub x: Vec<f32>,
    /// Vertical places.
    pub y: Vec<f32>,
    /// Classes; −1 where unknown.
    pub label: Vec<i64>,
    /// Sets.
    pub set: Vec<usize>,
    /// Most likely classes.
    pub predicted: Vec<usize>,
    /// Probabilities of the most likely classes.
    pub probability: Vec<f32>,
    /// Paths.
    pub path: Vec<String>,
    /// The thumbnails, where there are any.
    pub sheet: Option<usize>,
    /// Tiles; the point's own position if empty, −1 without one.
    pub tile: Vec<i64>,
    /// The initial coloring: `Class`, `Set`, `Prediction`, or `Correctness`; if empty, the first that is available.
    pub coloured_by: String,
}

/// Text in a monospaced font.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Text {
    /// The text.
    pub text: String,
}

impl Text {
    /// A view of some text.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }
}
