//! What users type, and the library's values that it stands for.
//!
//! Options that several commands share are groups here, each in a file with its conversion; what only one command
//! takes is beside that command.

pub mod cka;
pub mod data;
mod declared;
pub mod location;
pub mod method;
pub mod model;
pub mod output_file;
pub mod parse;
pub mod run;
pub mod training;
mod typed;
pub mod usage;

use clap::{Args, CommandFactory, FromArgMatches, Parser};

use crate::commands::Command;
use crate::output::tell;

/// Fine-tune pretrained image models so that they stay good when the data shifts.
#[derive(Parser)]
#[command(name = "retune", version, arg_required_else_help = true, max_term_width = 120)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How to talk and how hard to work.
    #[command(flatten)]
    pub global: GlobalArguments,
}

impl Arguments {
    /// What was typed.
    ///
    /// # Errors
    /// What is wrong with it, or help that was asked for.
    pub fn typed() -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let matches = command.try_get_matches_from_mut(std::env::args_os())?;
        let notes = typed::check(&command, &matches)?;
        let arguments = Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        for note in notes.iter().filter(|_| !arguments.global.quiet) {
            tell(&format!("note: {note}"));
        }
        Ok(arguments)
    }
}

/// Options of every command.
#[derive(Args)]
#[command(next_help_heading = "General options")]
pub struct GlobalArguments {
    /// Print results as JSON on standard output, and nothing else there
    #[arg(long, global = true)]
    pub json: bool,
    /// Show no progress and no messages
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more about what is done
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Threads that compute, and as many that decode images [default: one for each processor]
    #[arg(long, global = true, value_name = "N", value_parser = parse::count, allow_hyphen_values = true)]
    pub threads: Option<usize>,
    /// Operators on the CPU: this program's own, fused and fast; those with AVX2 where there is AVX-512, or the plain ones
    /// of its tensor library, to compare
    #[arg(long, global = true, value_name = "NAME", default_value = "fused", value_parser = ["fused", "avx2", "plain"])]
    pub kernels: String,
}

impl GlobalArguments {
    /// The number of threads wanted, or one for each processor.
    pub fn thread_count(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
