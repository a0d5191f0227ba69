//! The `retune` command as a library: fine-tunes pretrained image models so that they stay good when the data shifts.
//!
//! `arguments` turn the command line into values of the library, `commands` call the library, and `output` and `progress`
//! show results. [`main`] is the whole program; [`embedded`] runs commands inside another program, which the Python package
//! does.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod arguments;
mod command_line;
mod commands;
pub mod embedded;
mod failure;
mod help;
mod interrupt;
mod output;
mod processes;
mod progress;

use std::ffi::OsString;
use std::panic::{self, AssertUnwindSafe};

use retune::collective::Processes;
use retune::pixels::decode;

use crate::arguments::{Arguments, usage};
pub use crate::failure::Failure;
use crate::output::{Console, color, tell};

/// Runs the program: parses `typed` (the program's name, then its arguments), does what it says, prints results on standard
/// output and everything else on standard error, and returns the exit status. To be called once in a process.
pub fn main(typed: &[OsString]) -> u8 {
    panic::set_hook(Box::new(|defect| {
        // A decoder's panic on a damaged image is caught and reported as an error of that image.
        if !decode::catches_panics() {
            tell(&format!("error: {defect}; please report this as a defect of retune"));
        }
    }));
    interrupt::refuse_large_files();
    color::decide(typed);
    let (arguments, notes) = match Arguments::parse(typed) {
        Ok(parsed) => parsed,
        Err(error) => return usage::report(&error),
    };
    let processes = processes::join(&arguments.command);
    // Nothing that a panic may have left half-done is used after it.
    let done = panic::catch_unwind(AssertUnwindSafe(|| run(arguments, &notes, typed, &processes)));
    let status = match done {
        Ok(Ok(())) => 0,
        Ok(Err(failure)) => processes::report(&failure, &processes),
        // The hook has printed what happened.
        Err(_) => Failure::DEFECT,
    };
    processes::end(status, &processes)
}

fn run(arguments: Arguments, notes: &[String], typed: &[OsString], processes: &Processes) -> Result<(), Failure> {
    arguments.global.choose_kernels()?;
    if let Some(threads) = arguments.global.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        pool.map_err(|error| Failure::of_threads(threads, &error))?;
    }
    interrupt::listen(!arguments.global.quiet && processes.is_root())?;
    let console = Console::of_terminal(&arguments.global, typed, processes);
    console.tell_notes_on_options(notes);
    commands::run(arguments.command, &console)
}
