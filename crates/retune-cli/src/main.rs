//! The `retune` command: fine-tunes pretrained image models so that they stay good when the data shifts.
//!
//! `arguments` turn the command line into values of the library, `commands` call the library, and `output` and `progress`
//! show results.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod arguments;
mod command_line;
mod commands;
mod failure;
mod help;
mod interrupt;
mod output;
mod progress;

use std::panic;
use std::process::ExitCode;

use retune::pixels::decode;

use crate::arguments::{Arguments, usage};
use crate::failure::Failure;
use crate::output::tell;

#[global_allocator]
static ALLOCATOR: retune_kernels::memory::KeepLargeBlocks = retune_kernels::memory::KeepLargeBlocks::new();

fn main() -> ExitCode {
    retune_kernels::memory::return_large_blocks();
    panic::set_hook(Box::new(|defect| {
        // A decoder's panic on a damaged image is caught and reported as an error of that image.
        if !decode::catches_panics() {
            tell(&format!("error: {defect}; please report this as a defect of retune"));
        }
    }));
    let arguments = match Arguments::typed() {
        Ok(arguments) => arguments,
        Err(error) => return usage::report(&error),
    };
    match panic::catch_unwind(|| commands::run(arguments)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => failure.report(),
        // The hook has printed what happened.
        Err(_) => ExitCode::from(Failure::DEFECT),
    }
}
