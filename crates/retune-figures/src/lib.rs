#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod canvas;
mod color;
mod draw;
mod drawing;
mod embedded;
pub mod figure;
mod font;
mod frame;
mod labels;
mod legend;
mod looks;
pub mod names;
pub mod scale;

pub use self::color::{OTHERS, SERIES, value as value_color};
pub use self::drawing::{Drawing, DrawingError, FileFormat};
pub use self::figure::Figure;
pub use self::legend::SHAPES;
pub use self::looks::{Look, looks};
pub use self::scale::{Axis, Format};

/// How a figure is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Style {
    /// Width in pixels of CSS; figures with many cells or names may take more.
    pub width: f64,
    /// Its colors.
    pub theme: Theme,
}

impl Default for Style {
    fn default() -> Self {
        Self { width: 640.0, theme: Theme::Light }
    }
}

impl Style {
    /// The style of a page: its colors, and what marks say at the pointer, as attributes `data-tip`.
    pub fn page(width: f64) -> Self {
        Self { width, theme: Theme::Page }
    }
}

/// Colors of what is not data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// Dark on white, for files.
    #[default]
    Light,
    /// The CSS variables `--ink`, `--muted`, `--line` and `--surface` of the page around the figure.
    Page,
}
