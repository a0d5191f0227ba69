//! What commands print on standard output.

pub mod color;
pub mod estimate;
pub mod plan;
pub mod results;
pub mod table;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use crate::arguments::GlobalArguments;
use crate::failure::Failure;
use crate::progress::Progress;
use retune::models::{LoadNote, Model};
use retune::monitor::Monitor;
use retune::sources::white_level::unused_range;
use retune::sources::{DataNote, DataSource, Dataset};

/// Where a command's results and progress go.
pub struct Console {
    /// Bars or lines on standard error.
    pub progress: Progress,
    /// Threads that decode images.
    pub threads: usize,
    json: bool,
    verbose: bool,
    /// Notes on models that have been shown; some commands load a model several times.
    told: Mutex<BTreeSet<String>>,
}

impl Console {
    /// The console that the options of every command ask for.
    pub fn new(options: &GlobalArguments) -> Self {
        Self {
            progress: Progress::new(options.quiet, options.verbose),
            threads: options.thread_count(),
            json: options.json,
            verbose: options.verbose,
            told: Mutex::default(),
        }
    }

    /// A console that shows nothing.
    #[cfg(test)]
    pub fn silent() -> Self {
        let (json, verbose) = (false, false);
        Self { progress: Progress::new(true, verbose), threads: 1, json, verbose, told: Mutex::default() }
    }

    /// Prints a result: as JSON with `--json`, else as text.
    pub fn print(&self, document: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if self.json {
            return write(
                &serde_json::to_string_pretty(document).map_err(|error| Failure::Mistake(error.to_string()))?,
            );
        }
        write_to(&mut anstream::stdout().lock(), text().trim_end_matches('\n'))
    }

    /// Shows a note, if there is one.
    pub fn tell(&self, note: Option<DataNote>) {
        if let Some(note) = note {
            self.progress.message(&format!("note: {note}"));
        }
    }

    /// Shows the notes of a data source.
    pub fn tell_notes(&self, source: &DataSource) {
        for note in &source.notes {
            self.progress.note(note);
        }
    }

    /// Shows a note if the model would see 16-bit images nearly black.
    pub fn tell_unused_range(&self, dataset: &Dataset, model: &Model) {
        if model.config().preprocessing().white.is_none()
            && let Some(note) = unused_range(dataset)
        {
            self.progress.note(&note);
        }
    }

    /// Whether results are printed as JSON.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// Whether `--verbose` asks for more.
    pub fn is_verbose(&self) -> bool {
        self.verbose
    }

    /// Shows, once, the notes on how a model was loaded.
    pub fn tell_load_notes(&self, model: &Model) {
        let notes = model.notes.iter().map(LoadNote::to_string).collect::<Vec<_>>().join("\n");
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(notes) {
            model.tell_notes(&self.progress);
        }
    }

    /// Shows details that `--verbose` asks for.
    pub fn detail(&self, text: impl FnOnce() -> String) {
        if self.verbose {
            self.progress.message(&text());
        }
    }
}

/// The model and the data that a result is of.
pub struct Subject {
    /// As it was typed.
    pub model: String,
    /// As it was typed.
    pub data: String,
}

impl Subject {
    /// A model and data as they were typed.
    pub fn new(model: &str, data: &Path) -> Self {
        Self { model: model.to_owned(), data: data.display().to_string() }
    }

    /// Both by their last names, such as `resnet18 on pets`.
    pub fn names(&self) -> String {
        let last = |text: &str| text.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
        format!("{} on {}", last(&self.model), last(&self.data))
    }

    /// Both in full, for the head of a page.
    pub fn facts(&self) -> Vec<(String, String)> {
        vec![("Model".into(), self.model.clone()), ("Data".into(), self.data.clone())]
    }
}

/// Prints a line on standard error. If that fails, as with a log on a full disk, the line is lost and the work continues.
pub fn tell(text: &str) {
    let _ = writeln!(anstream::stderr(), "{}", color::with_kind(text));
}

/// Prints text as it is, and a line break.
pub fn write(text: &str) -> Result<(), Failure> {
    write_to(&mut std::io::stdout().lock(), text)
}

fn write_to(out: &mut impl Write, text: &str) -> Result<(), Failure> {
    writeln!(out, "{text}").and_then(|()| out.flush()).map_err(|error| Failure::of_output(&error))
}
