//! The options of every command as data, from the declarations that parse the command line.

use clap::builder::ValueRange;
use clap::{Arg, ArgAction, CommandFactory};
use serde::Serialize;

use crate::arguments::Arguments;

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CommandDeclaration {
    /// What is typed, such as `lr-find`.
    pub name: String,
    /// What it does, in a line.
    pub about: String,
    /// Its options and positional arguments, in the order of its help.
    pub options: Vec<OptionDeclaration>,
}

/// An option or a positional argument of a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OptionDeclaration {
    /// What is typed after `--`; of a positional argument, its name.
    pub name: String,
    /// Whether it has no `--`.
    pub positional: bool,
    /// What its value is called in the help, such as `N`; none of a switch.
    pub value: Option<String>,
    /// Whether it takes several values.
    pub several: bool,
    /// What joins several values; without it, the option is repeated.
    pub delimiter: Option<char>,
    /// Its default, where it has one.
    pub default: Option<String>,
    /// The values to choose from, where there are few.
    pub choices: Vec<String>,
    /// Its line of help.
    pub help: String,
    /// Its heading in the help.
    pub group: Option<String>,
}

/// Every command with its options.
pub fn declarations() -> Vec<CommandDeclaration> {
    let mut program = Arguments::command();
    program.build();
    let visible = program.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help");
    visible
        .map(|command| CommandDeclaration {
            name: command.get_name().to_owned(),
            about: command.get_about().map(ToString::to_string).unwrap_or_default(),
            options: command.get_arguments().filter(|argument| is_own(argument)).map(declaration).collect(),
        })
        .collect()
}

/// Whether an option is retune's, and not `--help` or `--json`, which concern standard output.
fn is_own(argument: &Arg) -> bool {
    !matches!(argument.get_id().as_str(), "help" | "version" | "json")
}

fn declaration(argument: &Arg) -> OptionDeclaration {
    let takes_values = argument.get_action().takes_values();
    let name = |name: &clap::builder::Str| name.to_string();
    let value = argument.get_value_names().and_then(|names| names.first()).map(name);
    let default = argument.get_default_values().iter().map(|text| text.to_string_lossy()).collect::<Vec<_>>();
    let several = argument.get_num_args().is_some_and(|range: ValueRange| range.max_values() > 1);
    let appends = matches!(argument.get_action(), ArgAction::Append);
    OptionDeclaration {
        name: argument.get_long().unwrap_or(argument.get_id().as_str()).to_owned(),
        positional: argument.is_positional(),
        value: value.filter(|_| takes_values),
        several: takes_values && (several || appends),
        delimiter: argument.get_value_delimiter(),
        default: Some(default.join(",")).filter(|default| takes_values && !default.is_empty()),
        choices: choices(argument),
        help: argument.get_help().map(ToString::to_string).unwrap_or_default(),
        group: argument.get_help_heading().map(str::to_owned),
    }
}

/// Switches would list true and false.
fn choices(argument: &Arg) -> Vec<String> {
    let values = if argument.get_action().takes_values() { argument.get_possible_values() } else { Vec::new() };
    values.iter().map(|value| value.get_name().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_declared_as_they_parse() {
        let commands = declarations();
        let option = |command: &str, name: &str| {
            let command = commands.iter().find(|declared| declared.name == command).unwrap();
            command.options.iter().find(|option| option.name == name).unwrap_or_else(|| panic!("{name}")).clone()
        };
        let rates = option("fit", "lr");
        assert_eq!((rates.several, rates.delimiter, rates.default), (true, Some(','), None));
        let epochs = option("compare", "epochs");
        assert_eq!(
            (epochs.several, epochs.value.as_deref(), epochs.default.as_deref()),
            (false, Some("N"), Some("10"))
        );
        let sets = option("fit", "eval");
        assert_eq!((sets.several, sets.delimiter), (true, None));
        let switch = option("fit", "no-shuffle");
        assert_eq!((switch.value, switch.several, switch.choices.len()), (None, false, 0));
        assert!(option("fit", "method").choices.contains(&"lp-ft".to_owned()));
        let images = option("predict", "images");
        assert!(images.positional && images.several);
        assert!(commands.iter().all(|command| command.name != "reference"), "hidden commands are not declared");
    }
}
