//! The format of an output file, from its extension.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Serialize;

use crate::failure::Failure;
use retune::figures::FileFormat;
use retune::files;
use retune::report::page::Page;
use retune::report::plot::Plot;

/// A format of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A picture in a format of figures.
    Picture,
    /// Everything that was computed.
    Json,
    /// A table.
    Csv,
    /// An interactive page.
    Html,
}

/// A file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputFile {
    /// Its path.
    pub path: PathBuf,
    /// Its format.
    pub format: Format,
}

impl FromStr for OutputFile {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path = PathBuf::from(text);
        let ending = path.extension().and_then(OsStr::to_str).map(str::to_lowercase);
        let format = match ending.as_deref() {
            Some("json") => Format::Json,
            Some("csv") => Format::Csv,
            Some("html") => Format::Html,
            _ if FileFormat::of(&path).is_some() => Format::Picture,
            _ => return Err(format!("must end with .html, .json, .csv, {}", FileFormat::ENDINGS)),
        };
        Ok(Self { path, format })
    }
}

impl OutputFile {
    /// Checks that the file's folder exists and can be written into.
    pub fn check(&self) -> Result<(), Failure> {
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !folder.is_dir() {
            return Err(Failure::in_file(folder, "this folder does not exist"));
        }
        Ok(files::check_writable(&self.path)?)
    }

    /// Writes the result in the file's format.
    pub fn write(
        &self,
        plot: impl FnOnce() -> Plot,
        document: &impl Serialize,
        table: impl FnOnce() -> String,
        page: impl FnOnce() -> Page,
    ) -> Result<(), Failure> {
        let text = match self.format {
            Format::Picture => return Ok(plot().save(&self.path)?),
            Format::Json => return self.write_json(document),
            Format::Csv => table(),
            Format::Html => return Ok(page().save(&self.path)?),
        };
        Ok(files::write_atomically(&self.path, |file| file.write_all(text.as_bytes()))?)
    }
}

impl OutputFile {
    /// Writes everything that was computed as JSON.
    pub fn write_json(&self, document: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(document).map_err(|error| Failure::Mistake(error.to_string()))?;
        Ok(files::write_atomically(&self.path, |file| file.write_all(text.as_bytes()))?)
    }
}

/// Checks that a folder to write a model into is empty.
pub fn check_vacant(folder: &Path) -> Result<(), Failure> {
    if folder.is_file() || std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::Mistake(format!("{} is not empty; choose another --out", folder.display())));
    }
    Ok(())
}

/// A cell of a CSV file, quoted where it must be (RFC 4180).
pub fn csv_cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_says_the_form() {
        assert_eq!("a/U.PNG".parse::<OutputFile>().unwrap().format, Format::Picture);
        assert_eq!("c.json".parse::<OutputFile>().unwrap().format, Format::Json);
        assert_eq!("c.html".parse::<OutputFile>().unwrap().format, Format::Html);
        for text in ["umap", "umap.gif", ".csv"] {
            assert!(text.parse::<OutputFile>().is_err(), "{text}");
        }
    }

    #[test]
    fn cells_are_quoted_where_they_must_be() {
        assert_eq!(csv_cell("plain"), "plain");
        assert_eq!(csv_cell("a \"b\", c"), "\"a \"\"b\"\", c\"");
    }
}
