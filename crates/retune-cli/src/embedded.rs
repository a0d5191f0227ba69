//! Commands inside another program, which the Python package does: the same options, defaults, checks and results as on the
//! command line, but progress goes to the program's [`Monitor`], results come back as values, and the monitor alone says
//! when to stop.

use std::ffi::OsString;
use std::sync::Arc;

use retune::features::FeatureTable;
use retune::models::Model;
use retune::monitor::Monitor;

use crate::arguments::{Arguments, GlobalArguments, usage};
use crate::commands::{self, Command};
use crate::failure::Failure;
use crate::output::Console;
pub use crate::output::Found;

mod declarations;

pub use self::declarations::{CommandDeclaration, OptionDeclaration, declarations};

/// Who sees progress, and says when to stop.
pub type Program = Arc<dyn Monitor + Send + Sync>;

/// Runs a command: `typed` are the program's name and its arguments. Returns what it found.
///
/// # Errors
/// As the command on the command line.
pub fn run(typed: &[OsString], program: Program) -> Result<Found, Failure> {
    let Arguments { command, global } = parse(typed, &program)?;
    on_threads(&global, || {
        let console = Console::of_program(program, &global, typed);
        commands::run(command, &console)?;
        let found = console.found().unwrap_or_default();
        // Colors are for terminals.
        Ok(Found { text: anstream::adapter::strip_str(&found.text).to_string(), ..found })
    })
}

/// Loads the model that the options of `retune layers` name.
///
/// # Errors
/// As that command.
pub fn load_model(typed: &[OsString], program: Program) -> Result<Model, Failure> {
    let Arguments { command, global } = parse(typed, &program)?;
    let Command::Layers(arguments) = command else { return Err(other_command("layers")) };
    on_threads(&global, || arguments.load(&Console::of_program(program, &global, typed)))
}

/// What `retune features` writes to a file, in memory; of `model`, where it is loaded already.
///
/// # Errors
/// As that command.
pub fn features(typed: &[OsString], model: Option<&Model>, program: Program) -> Result<FeatureTable, Failure> {
    let Arguments { command, global } = parse(typed, &program)?;
    let Command::Features(arguments) = command else { return Err(other_command("features")) };
    on_threads(&global, || arguments.extract(model, &Console::of_program(program, &global, typed)))
}

fn other_command(expected: &str) -> Failure {
    Failure::Mistake(format!("these are not the arguments of `retune {expected}`"))
}

fn parse(typed: &[OsString], program: &Program) -> Result<Arguments, Failure> {
    let (arguments, notes) = Arguments::parse(typed).map_err(|error| usage::failure(&error))?;
    arguments.global.choose_kernels()?;
    for note in notes.iter().filter(|_| !arguments.global.quiet) {
        program.message(&format!("note: {note}"));
    }
    Ok(arguments)
}

/// Does something on the threads that `--threads` asks for: those of the process, or some of its own.
fn on_threads<T: Send>(
    options: &GlobalArguments,
    work: impl FnOnce() -> Result<T, Failure> + Send,
) -> Result<T, Failure> {
    let Some(threads) = options.threads else { return work() };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.map_err(|error| Failure::of_threads(threads, &error))?.install(work)
}
