//! What commands print on standard output.

pub mod color;
pub mod estimate;
pub mod plan;
pub mod results;
pub mod table;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::arguments::GlobalArguments;
use crate::command_line::CommandLine;
use crate::failure::Failure;
use crate::progress::Progress;
use retune::collective::Processes;
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
    /// What was typed.
    pub command_line: CommandLine,
    /// The processes that train together.
    pub processes: Processes,
    results: Results,
    verbose: bool,
    /// Notes on models that have been shown; some commands load a model several times.
    told: Mutex<BTreeSet<String>>,
}

/// What a command found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// As `--json` prints it; null where there is no such form.
    pub json: String,
    /// As text.
    pub text: String,
}

/// Where results go.
enum Results {
    /// Text on standard output.
    Text,
    /// JSON on standard output.
    Json,
    /// To the program that runs the command.
    Kept(Mutex<Option<Found>>),
}

impl Console {
    /// The console of the program, as its options ask for. Of several processes, only the first one has a terminal.
    pub fn of_terminal(options: &GlobalArguments, typed: &[OsString], processes: &Processes) -> Self {
        let results = match (processes.is_root(), options.json) {
            (false, _) => Results::Kept(Mutex::default()),
            (true, true) => Results::Json,
            (true, false) => Results::Text,
        };
        let progress = Progress::on_standard_error(options.quiet || !processes.is_root(), options.verbose);
        Self { processes: processes.clone(), ..Self::new(progress, results, options, typed) }
    }

    /// The console of a command inside another program, which sees its progress and takes its results.
    pub fn of_program(monitor: Arc<dyn Monitor + Send + Sync>, options: &GlobalArguments, typed: &[OsString]) -> Self {
        let progress = Progress::seen_by(monitor, options.quiet, options.verbose);
        Self::new(progress, Results::Kept(Mutex::default()), options, typed)
    }

    fn new(progress: Progress, results: Results, options: &GlobalArguments, typed: &[OsString]) -> Self {
        Self {
            progress,
            threads: options.thread_count(),
            command_line: CommandLine::new(typed),
            processes: Processes::default(),
            results,
            verbose: options.verbose,
            told: Mutex::default(),
        }
    }

    /// A console that shows nothing.
    #[cfg(test)]
    pub fn silent() -> Self {
        let (verbose, results) = (false, Results::Text);
        let (progress, command_line) = (Progress::on_standard_error(true, verbose), CommandLine::new(&[]));
        let processes = Processes::default();
        Self { progress, threads: 1, command_line, processes, results, verbose, told: Mutex::default() }
    }

    /// Prints a result: as JSON with `--json`, else as text.
    pub fn print(&self, document: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let json = || serde_json::to_string_pretty(document).map_err(|error| Failure::Mistake(error.to_string()));
        match &self.results {
            Results::Text => write_to(&mut anstream::stdout().lock(), text().trim_end_matches('\n')),
            Results::Json => write(&json()?),
            Results::Kept(found) => {
                let (json, text) = (json()?, text());
                *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(Found { json, text });
                Ok(())
            }
        }
    }

    /// Prints another line of a result's text, which JSON does without. It comes after [`Console::print`].
    ///
    /// # Errors
    /// Standard output that cannot be written to.
    pub fn add_line(&self, line: &str) -> Result<(), Failure> {
        match &self.results {
            Results::Text => write_to(&mut anstream::stdout().lock(), line),
            Results::Json => Ok(()),
            Results::Kept(found) => {
                if let Some(found) = found.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                    found.text.push_str(&format!("{line}\n"));
                }
                Ok(())
            }
        }
    }

    /// Prints text that has no other form.
    pub fn write(&self, text: &str) -> Result<(), Failure> {
        match &self.results {
            Results::Text | Results::Json => write(text),
            Results::Kept(found) => {
                let whole = Found { json: "null".to_owned(), text: text.to_owned() };
                *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(whole);
                Ok(())
            }
        }
    }

    /// What the command found, where another program takes it.
    pub fn found(self) -> Option<Found> {
        match self.results {
            Results::Text | Results::Json => None,
            Results::Kept(found) => found.into_inner().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Shows what must not be missed, even with `--quiet`.
    pub fn warn(&self, text: &str) {
        match self.results {
            Results::Text | Results::Json => tell(text),
            Results::Kept(_) => self.progress.message(text),
        }
    }

    /// Shows what is to be said of options without effect.
    pub fn tell_notes_on_options(&self, notes: &[String]) {
        notes.iter().for_each(|note| self.progress.message(&format!("note: {note}")));
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
        matches!(self.results, Results::Json)
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
