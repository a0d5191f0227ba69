//! `retune reference`: tables of a manual, in Markdown. It is for whoever writes the manual, and not in the help.

use std::fmt::Write;

use clap::{Args, ValueEnum};
use retune::methods::{ALL, Layers, Method, declared_options, names};

use crate::failure::Failure;
use crate::output;

/// Options of `retune reference`.
#[derive(Args)]
pub struct ReferenceArguments {
    /// What to print
    #[arg(value_enum)]
    subject: Subject,
}

#[derive(Clone, Copy, ValueEnum)]
enum Subject {
    /// The methods and their options
    Methods,
}

/// Prints the tables.
pub fn run(arguments: &ReferenceArguments) -> Result<(), Failure> {
    match arguments.subject {
        Subject::Methods => output::write(methods().trim_end()),
    }
}

/// The methods and their options as two tables.
fn methods() -> String {
    let mut page = "| method | what it does | layers | options | paper |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for method in ALL {
        // Writing to a string cannot fail.
        let _ = writeln!(page, "{}", row(method));
    }
    page.push_str("\n| option | what it does | takes | methods |\n| --- | --- | --- | --- |\n");
    for option in declared_options() {
        let declaration = option.declaration;
        let (name, value, help) = (flag(declaration.name), declaration.value_name, declaration.help);
        let _ = writeln!(page, "| `{name} {value}` | {help} | {} | {} |", declaration.kind, option.usage());
    }
    let taking = |needed: bool| {
        let is_one =
            move |method: &&Method| method.layers != Layers::Whole && (!needed || method.layers == Layers::Needed);
        names(ALL.iter().filter(is_one), ", ")
    };
    let _ = writeln!(page, "\nLayers can be picked in {}; {} needs them.", taking(false), taking(true));
    page
}

fn row(method: &Method) -> String {
    let layers = match method.layers {
        Layers::Whole => "all",
        Layers::Taken => "all, or those picked",
        Layers::Needed => "those picked",
    };
    let options: Vec<String> =
        method.options.iter().map(|option| format!("`{}`", flag(option.declaration().name))).collect();
    let paper = method.paper.map_or_else(String::new, |paper| {
        format!("[{} {}](https://arxiv.org/abs/{})", paper.authors, paper.year, paper.arxiv)
    });
    format!("| `{}` | {} | {layers} | {} | {paper} |", method.name, method.summary, options.join(", "))
}

/// An option as the command line has it.
fn flag(name: &str) -> String {
    format!("--{}", name.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_have_a_row_for_each_method_and_option_and_no_empty_cell_but_a_missing_paper() {
        let page = methods();
        for method in ALL {
            assert!(page.contains(&format!("| `{}` | {} |", method.name, method.summary)), "{page}");
        }
        for option in declared_options() {
            assert!(page.contains(&format!("| `{} ", flag(option.declaration.name))), "{page}");
        }
        assert!(
            page.contains(
                "| `--rgn-batches N` | Number of batches to measure rates on before each epoch | a whole number above 0 | \
                               auto-rgn, auto-snr; default: 5 |"
            ),
            "{page}"
        );
    }
}
