//! A page of views in one HTML file that needs no network.
//!
//! A [`Page`] is plain data: facts, then sections, each with one or more views to choose from. It is
//! embedded as JSON in a template, and small scripts (`assets/*.js`, one for each kind of view) draw it.

mod map;
mod sheet;
mod template;
mod views;

use std::path::Path;

use serde::Serialize;

pub use self::map::{ColorBy, LabelSetsOfPoints, Map};
pub use self::sheet::PageSheet;
pub use self::views::{
    Cell, Column, Confusions, Gallery, GalleryItem, LabelMistakes, Mark, Overlay, PageFigure, Pair, Table, Text, View,
};
use super::findings::NextStep;
use crate::files::{self, FileError};

/// Maximum number of bytes of thumbnails that a page embeds. A single run takes less, but several runs add up.
const MAX_SHEET_BYTES: usize = 7 << 20;

/// One HTML file.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Page {
    /// The heading.
    pub title: String,
    /// The main findings, a sentence each.
    pub verdict: Vec<String>,
    /// What to run next.
    pub next: Vec<NextStep>,
    /// Names and values under the heading.
    pub facts: Vec<(String, String)>,
    /// The sections.
    pub sections: Vec<Section>,
    /// Thumbnails that views refer to by position.
    pub sheets: Vec<PageSheet>,
    /// What made the page.
    pub generator: String,
}

/// A part of a page under a heading of its own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Section {
    /// What a link to it ends with; made of the heading where it is empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// The heading.
    pub title: String,
    /// What the views show and how to read them.
    pub note: String,
    /// How to use them, which paper does not have.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hint: String,
    /// Whether it takes the page's whole width.
    pub wide: bool,
    /// One, or several of which one is shown at a time.
    pub views: Vec<NamedView>,
    /// The position of the view that is shown first.
    pub open: usize,
    /// Whether only the heading is shown until it is clicked, because there is little to see.
    pub folded: bool,
}

/// A view and its name among those of a section.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NamedView {
    /// The name.
    pub name: String,
    /// The view.
    #[serde(flatten)]
    pub view: View,
}

impl Page {
    /// A page that says which program made it.
    pub fn new(title: impl Into<String>) -> Self {
        let generator = concat!("retune ", env!("CARGO_PKG_VERSION")).to_owned();
        Self { title: title.into(), generator, ..Self::default() }
    }

    /// Adds a sheet of thumbnails unless the page already has it, and returns the number by which views refer to it.
    /// `None` if the page would become too large.
    pub fn add_sheet(&mut self, sheet: PageSheet) -> Option<usize> {
        if let Some(known) = self.sheets.iter().position(|known| *known == sheet) {
            return Some(known);
        }
        let held: usize = self.sheets.iter().map(|sheet| sheet.jpeg.len()).sum();
        if held + sheet.jpeg.len() > MAX_SHEET_BYTES {
            return None;
        }
        self.sheets.push(sheet);
        Some(self.sheets.len() - 1)
    }

    /// The page as HTML.
    ///
    /// # Errors
    /// None in practice: numbers that are not finite become `null`.
    pub fn html(&self) -> Result<String, serde_json::Error> {
        template::render(self)
    }

    /// Writes the page.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        let html = self.html().map_err(|error| FileError::new("write", path, std::io::Error::other(error)))?;
        files::write_atomically(path, |file| file.write_all(html.as_bytes()))
    }
}

impl Section {
    /// A section without any view yet.
    pub fn new(title: impl Into<String>, note: impl Into<String>) -> Self {
        let (title, note) = (title.into(), note.into());
        Self {
            id: String::new(),
            title,
            note,
            hint: String::new(),
            wide: false,
            views: Vec::new(),
            open: 0,
            folded: false,
        }
    }

    /// The same across the page's whole width.
    #[must_use]
    pub fn wide(mut self) -> Self {
        let widened = |NamedView { name, view }| NamedView { name, view: view.wide() };
        self.views = self.views.into_iter().map(widened).collect();
        Self { wide: true, ..self }
    }

    /// The same with a word on how to use its views.
    #[must_use]
    pub fn hinted(self, hint: impl Into<String>) -> Self {
        Self { hint: hint.into(), ..self }
    }

    /// The same with the view of this name shown first, if there is one.
    #[must_use]
    pub fn opened_at(self, name: Option<&String>) -> Self {
        let open = self.views.iter().position(|view| Some(&view.name) == name).unwrap_or(self.open);
        Self { open, ..self }
    }

    /// The same, folded if there is little to see.
    #[must_use]
    pub fn folded_if(self, folded: bool) -> Self {
        Self { folded, ..self }
    }

    /// The same with one more view.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, view: impl Into<View>) -> Self {
        let view: View = view.into();
        let view = if self.wide { view.wide() } else { view };
        self.views.push(NamedView { name: name.into(), view });
        self
    }
}
