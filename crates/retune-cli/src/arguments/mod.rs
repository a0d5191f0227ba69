//! The command line, and its conversion to values of the library.
//!
//! Options that several commands share are groups here, each in a file with its conversion. Options of a single command
//! are in that command's file.

pub mod cka;
mod config;
pub mod continuing;
pub mod data;
mod declared;
pub mod feature_file;
pub mod given;
pub mod location;
pub mod method;
pub mod model;
pub mod output_file;
pub mod parse;
pub mod precision;
pub mod run;
pub mod training;
pub mod typed;
pub mod usage;

use std::ffi::OsString;

use clap::{Args, CommandFactory, FromArgMatches, Parser};
use retune_kernels::Instructions;

use crate::commands::Command;
use crate::failure::Failure;
use crate::help;

/// Fine-tune pretrained image models so that they stay good when the data shifts.
#[derive(Parser)]
#[command(name = "retune", version, arg_required_else_help = true, max_term_width = 120)]
pub struct Arguments {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
    /// Options of every command.
    #[command(flatten)]
    pub global: GlobalArguments,
}

impl Arguments {
    /// Parses a command line: the program's name, then its arguments. Also what is to be said of options without effect.
    ///
    /// # Errors
    /// A mistake in it, or a request for help.
    pub fn parse(line: &[OsString]) -> Result<(Self, Vec<String>), clap::Error> {
        let mut command = help::with_examples(Self::command());
        let matches = command.try_get_matches_from_mut(line)?;
        let (matches, given) = config::completed(&mut command, matches, line.to_vec())?;
        let notes = typed::check(&command, &matches, &given)?;
        let mut arguments = Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        if let Command::Fit(fit) = &mut arguments.command {
            fit.given = given;
        }
        Ok((arguments, notes))
    }
}

/// Options of every command.
#[derive(Args)]
#[command(next_help_heading = "General options")]
pub struct GlobalArguments {
    /// Color output; auto colors it on a terminal, unless NO_COLOR is set. `umap` has a --color of its own: write
    /// `retune --color WHEN umap …`
    // Decided before this is parsed; of the same type as that of `umap`, which takes its place there.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", value_parser = ["auto", "always", "never"])]
    pub color: String,
    /// Print results as JSON on standard output, and nothing else
    #[arg(long, global = true)]
    pub json: bool,
    /// Hide progress and messages
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Print more details
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// Number of compute threads, and of threads that decode images [default: number of processors]
    #[arg(long, global = true, value_name = "N", value_parser = parse::count, allow_hyphen_values = true)]
    pub threads: Option<usize>,
    /// CPU operators: retune's own (fused), the same without the matrix unit AMX (avx512) or without AVX-512 (avx2), or
    /// the tensor library's (plain), for comparison and for the bits that another processor computes
    #[arg(long, global = true, value_name = "NAME", default_value = "fused", value_parser = ["fused", "avx512", "avx2", "plain"])]
    pub kernels: String,
}

impl GlobalArguments {
    /// Turns to the operators that `--kernels` names, for all of the process.
    pub fn choose_kernels(&self) -> Result<(), Failure> {
        retune_kernels::operators::set_enabled(self.kernels != "plain");
        let kept = match self.kernels.as_str() {
            "avx2" => Some((Instructions::Avx2, "AVX2")),
            "avx512" => Some((Instructions::Avx512, "AVX-512")),
            _ => None,
        };
        if let Some((instructions, name)) = kept
            && !retune_kernels::keep_to(instructions)
        {
            return Err(Failure::Mistake(format!("--kernels {} needs a processor with {name}", self.kernels)));
        }
        Ok(())
    }

    /// The requested number of threads, or one for each processor.
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
