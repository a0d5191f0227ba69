//! `retune man`: the manual as man pages.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_mangen::Man;
use retune::files;

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::help;
use crate::output;

/// Options of `retune man`.
#[derive(Args)]
pub struct ManArguments {
    /// Write retune.1 and a page for each command to this folder instead of printing one page
    #[arg(short, long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

/// Prints the page of the program, or writes every page.
pub fn run(arguments: &ManArguments) -> Result<(), Failure> {
    let program = help::with_examples(Arguments::command()).disable_help_subcommand(true);
    let Some(folder) = &arguments.out else {
        return output::write(page(program)?.trim_end());
    };
    files::create_folder(folder)?;
    let pages: Vec<(String, clap::Command)> = program
        .get_subcommands()
        .filter(|command| !command.is_hide_set())
        .map(|command| {
            let name = format!("retune-{}", command.get_name());
            let bin = format!("retune {}", command.get_name());
            (name.clone(), command.clone().display_name(name).bin_name(bin))
        })
        .collect();
    for (name, command) in pages.into_iter().chain([("retune".to_owned(), program)]) {
        let text = page(command)?;
        files::write_atomically(&folder.join(format!("{name}.1")), |file| file.write_all(text.as_bytes()))?;
    }
    Ok(())
}

/// A command's page in roff.
fn page(command: clap::Command) -> Result<String, Failure> {
    let mut text = Vec::new();
    Man::new(command).render(&mut text).map_err(|error| Failure::of_output(&error))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_command() {
        let text = page(help::with_examples(Arguments::command())).unwrap();
        for name in ["retune\\-fit", "retune\\-cka", ".SH SYNOPSIS"] {
            assert!(text.contains(name), "{name}: {text}");
        }
    }
}
