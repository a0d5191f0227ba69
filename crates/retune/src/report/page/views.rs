//! What a section shows, as plain data.
//!
//! Shares are from 0 to 1; pages show accuracies in percent. Numbers that are not finite are left out.

use retune_figures::{Figure, Style, figure};
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::map::Map;

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
    /// A figure, the same as in a file.
    Figure(PageFigure),
    /// Confusion of classes.
    Confusion(Confusions),
    /// Thumbnails.
    Gallery(Gallery),
    /// Images as points in a plane.
    Map(Map),
    /// Text in a monospaced font.
    Text(Text),
}

impl<F: Into<Figure>> From<F> for View {
    fn from(figure: F) -> Self {
        Self::Figure(PageFigure { figure: figure.into(), width: WIDTH })
    }
}

/// Width of a figure on a phone, where a wide one would have letters too small to read.
const NARROW_WIDTH: f64 = 330.0;
/// Width of the confusion matrix beside its list of pairs.
const MATRIX_WIDTH: f64 = 540.0;
/// Bytes up to which a figure is also drawn for a phone; a larger one scrolls there.
const MAX_TWICE: usize = 150_000;

/// Width of a figure in a section of half the page, and in one of the whole page, in pixels of CSS.
const WIDTH: f64 = 520.0;
const WHOLE_WIDTH: f64 = 860.0;

/// A figure in a page.
#[derive(Clone, Debug, PartialEq)]
pub struct PageFigure {
    /// What it shows.
    pub figure: Figure,
    /// Its width in pixels of CSS; narrow windows shrink it.
    pub width: f64,
}

impl Serialize for PageFigure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let drawing = self.figure.draw(&Style::page(self.width));
        let svg = drawing.svg();
        let narrow = (svg.len() <= MAX_TWICE && self.width > NARROW_WIDTH)
            .then(|| self.figure.draw(&Style::page(NARROW_WIDTH)).svg().to_owned());
        let mut view = serializer.serialize_struct("PageFigure", 2)?;
        view.serialize_field("svg", svg)?;
        view.serialize_field("narrow", &narrow)?;
        view.end()
    }
}

impl View {
    /// The same across the whole page.
    pub(super) fn wide(mut self) -> Self {
        if let Self::Figure(figure) = &mut self {
            figure.width = WHOLE_WIDTH;
        }
        self
    }
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

/// Confusion of classes: a matrix, and examples of the pairs confused most often.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Confusions {
    /// The matrix, the same as in a file.
    pub figure: PageFigure,
    /// The pairs confused most often.
    pub pairs: Vec<Pair>,
    /// Thumbnails of the pairs' examples.
    pub sheet: Option<usize>,
}

impl Confusions {
    /// A matrix without examples.
    pub fn new(matrix: figure::Confusion) -> Self {
        let figure = PageFigure { figure: matrix.into(), width: MATRIX_WIDTH };
        Self { figure, pairs: Vec::new(), sheet: None }
    }
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
    /// Other pictures of the same images, to switch to.
    pub overlays: Vec<Overlay>,
    /// Whether images have several labels.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub of_labels: bool,
}

/// Other pictures of a gallery's images, with values painted over them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Overlay {
    /// What is painted, in a word or two.
    pub name: String,
    /// How to read it.
    pub note: String,
    /// The thumbnails.
    pub sheet: usize,
}

/// An image with a model's prediction.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GalleryItem {
    /// Its place in the sheet.
    pub tile: usize,
    /// Its class; its labels, where images have several.
    pub label: String,
    /// What the model says wrongly of its labels, in the place of classes and their probabilities.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mistakes: Option<LabelMistakes>,
    /// The most likely class.
    pub predicted: String,
    /// The probability of the most likely class.
    pub probability: f64,
    /// The probability of its class.
    pub label_probability: f64,
    /// Cross-entropy; of several labels, the sum of their binary cross-entropies.
    pub loss: f64,
    /// Its path.
    pub path: String,
}

/// Labels about which a model is wrong, with their probabilities.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct LabelMistakes {
    /// Labels that the image has and the model does not give it.
    pub missed: Vec<(String, f64)>,
    /// Labels that the model gives the image and it does not have.
    pub wrong: Vec<(String, f64)>,
}

/// Text in a monospaced font.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Text {
    /// The text.
    pub text: String,
    /// Whether it is a command, whose line may break between words.
    pub words: bool,
}

impl Text {
    /// A view of some text.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), words: false }
    }

    /// A view of a command.
    pub fn command(command: impl Into<String>) -> Self {
        Self { text: command.into(), words: true }
    }
}
