//! Help of two lengths: `-h` shows what most people need on one screen, and `--help` shows everything.
//!
//! clap's own help lists every option of a command, which for `fit` is several screens. The brief help of each command is
//! plain data in `guides`.

mod guides;

use clap::builder::StyledStr;
use clap::builder::styling::{AnsiColor, Effects, Style, Styles};
use clap::{Command, CommandFactory};

pub use self::guides::{GUIDES, Guide};
use crate::arguments::Arguments;

/// How help and clap's errors look on a terminal.
pub const STYLES: Styles = Styles::styled()
    .header(Style::new().effects(Effects::BOLD))
    .usage(Style::new().effects(Effects::BOLD))
    .literal(AnsiColor::Cyan.on_default())
    .placeholder(Style::new().effects(Effects::DIMMED))
    .error(AnsiColor::Red.on_default().effects(Effects::BOLD));

/// The guide of a command, if it has one.
pub fn guide(command: &str) -> Option<&'static Guide> {
    GUIDES.iter().find(|guide| guide.command == command)
}

/// The whole command line, with the examples of each command at the end of its `--help`.
pub fn with_examples(command: Command) -> Command {
    let command = command.styles(STYLES).after_help(examples(&guides::FIRST_STEPS));
    GUIDES.iter().fold(command, |command, guide| {
        command.mut_subcommand(guide.command, |command| command.after_help(examples(guide.examples)))
    })
}

fn examples(lines: &[(&str, &str)]) -> StyledStr {
    let (bold, dim) = (Style::new().effects(Effects::BOLD), Style::new().effects(Effects::DIMMED));
    let example = |(line, what): &(&str, &str)| {
        let comment = if what.is_empty() { String::new() } else { format!("  {dim}# {what}{dim:#}\n") };
        format!("{comment}  {line}\n")
    };
    let lines: String = lines.iter().map(example).collect();
    StyledStr::from(format!("{bold}Examples:{bold:#}\n{}", lines.trim_end()))
}

/// The help on one screen: of a command, or of the program.
pub fn brief(command: Option<&str>) -> StyledStr {
    match command.and_then(guide) {
        Some(guide) => of_command(guide),
        None => of_program(),
    }
}

fn of_command(guide: &Guide) -> StyledStr {
    let whole = Arguments::command();
    let Some(command) = whole.find_subcommand(guide.command) else { return of_program() };
    let place = |id: &str| guide.options.iter().position(|(name, _)| *name == id);
    let arranged = command.clone().bin_name(format!("retune {}", guide.command)).override_usage(guide.usage);
    let arranged = arranged.disable_help_flag(true).styles(STYLES).mut_args(|argument| {
        let Some(place) = place(argument.get_id().as_str()) else { return argument.hide(true) };
        let argument = argument.help(guide.options[place].1).display_order(place).hide_default_value(true);
        let positional = argument.is_positional();
        let argument = argument.hide_possible_values(true);
        if positional { argument } else { argument.help_heading("Options") }
    });
    let (dim, count) = (Style::new().effects(Effects::DIMMED), options(command));
    let more = format!("{dim}--help shows all {count} options and their values.{dim:#}");
    let examples = examples(guide.examples).ansi().to_string();
    arranged.after_help(format!("{examples}\n\n{more}")).render_help()
}

/// Options of a command besides those that every command takes.
fn options(command: &Command) -> usize {
    command.get_arguments().filter(|argument| !argument.is_hide_set()).count()
}

fn of_program() -> StyledStr {
    let whole = Arguments::command();
    let (bold, dim, name_style) =
        (Style::new().effects(Effects::BOLD), Style::new().effects(Effects::DIMMED), AnsiColor::Cyan.on_default());
    let about = whole.get_about().map(ToString::to_string).unwrap_or_default();
    let mut text = format!("{about}\n\n{bold}Usage:{bold:#} retune <COMMAND> [OPTIONS]\n");
    for (heading, names) in guides::GROUPS {
        text.push_str(&format!("\n{bold}{heading}:{bold:#}\n"));
        for name in *names {
            let about = guide(name).map_or("", |guide| guide.about);
            text.push_str(&format!("  {name_style}{name:<10}{name_style:#} {about}\n"));
        }
    }
    text.push_str(&format!("  {dim}also: {}{dim:#}\n", guides::OTHERS.join(", ")));
    text.push_str(&format!("\n{dim}retune COMMAND -h shows the main options, --help all of them.{dim:#}\n"));
    StyledStr::from(text)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    /// What a screen of 80 by 24 holds, without the line of the prompt.
    const SCREEN: [usize; 2] = [79, 24];

    #[test]
    fn every_command_has_a_guide_of_one_screen() {
        for command in Arguments::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let name = command.get_name();
            assert!(guide(name).is_some(), "{name} has no guide");
            let text = brief(Some(name)).to_string();
            assert!(text.trim_end().lines().count() <= SCREEN[1], "{name}:\n{text}");
            for line in text.lines() {
                assert!(line.chars().count() <= SCREEN[0], "{name}: '{line}'");
            }
            assert!(text.contains("Examples:") && text.contains("--help shows all"), "{name}: {text}");
        }
        let text = brief(None).to_string();
        assert!(text.trim_end().lines().count() <= SCREEN[1], "{}:\n{text}", text.lines().count());
    }

    #[test]
    fn guides_name_options_that_there_are() {
        let whole = Arguments::command();
        for guide in GUIDES {
            let command = whole.find_subcommand(guide.command).unwrap_or_else(|| panic!("{}", guide.command));
            for (id, _) in guide.options {
                assert!(command.get_arguments().any(|argument| argument.get_id() == id), "{}: {id}", guide.command);
            }
        }
        let named: Vec<&str> =
            guides::GROUPS.iter().flat_map(|(_, names)| names.iter()).chain(guides::OTHERS).copied().collect();
        for command in whole.get_subcommands().filter(|command| !command.is_hide_set()) {
            assert!(named.contains(&command.get_name()), "{} is in no group", command.get_name());
        }
    }

    #[test]
    fn every_example_is_a_command_line_that_is_accepted() {
        let lines = GUIDES.iter().flat_map(|guide| guide.examples).chain(&guides::FIRST_STEPS);
        for (line, _) in lines.filter(|(line, _)| !line.contains(['>', '|', '<', '('])) {
            assert!(line.starts_with("retune "), "{line}");
            if let Err(error) = Arguments::try_parse_from(line.split_whitespace()) {
                panic!("{line}: {error}");
            }
        }
    }
}
