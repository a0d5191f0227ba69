//! Colors on terminals.
//!
//! Text carries its colors, and the stream drops them where they are not wanted: not on a terminal, with `NO_COLOR`, or with
//! `--color never`.

use std::ffi::OsStr;

use anstream::ColorChoice;
use clap::ValueEnum;
use clap::builder::styling::{AnsiColor, Effects, Style};

/// Headings, and what is best.
pub const BOLD: Style = Style::new().effects(Effects::BOLD);
const ERROR: Style = AnsiColor::Red.on_default().effects(Effects::BOLD);
const NOTE: Style = AnsiColor::Yellow.on_default().effects(Effects::BOLD);

/// When output is colored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Even into a file
    Always,
    /// Nowhere
    Never,
}

/// Decides on colors by `--color` as it was typed, before anything else is parsed: mistakes in the command line are colored,
/// too.
pub fn decide<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) {
    let choice = match typed(arguments) {
        When::Auto => ColorChoice::Auto,
        When::Always => ColorChoice::Always,
        When::Never => ColorChoice::Never,
    };
    choice.write_global();
}

fn typed<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> When {
    let (mut found, mut is_next) = (When::default(), false);
    for argument in arguments {
        let Some(text) = argument.as_ref().to_str() else { continue };
        let value = text.strip_prefix("--color=").or(is_next.then_some(text));
        if let Some(when) = value.and_then(|value| When::from_str(value, false).ok()) {
            found = when;
        }
        is_next = text == "--color";
    }
    found
}

/// Text in bold.
pub fn bold(text: &str) -> String {
    format!("{BOLD}{text}{BOLD:#}")
}

/// A message with its kind in color: `error:`, `note:` and the like.
pub fn with_kind(message: &str) -> String {
    for (kind, style) in [("error:", ERROR), ("interrupted", NOTE), ("note:", NOTE)] {
        if let Some(rest) = message.strip_prefix(kind) {
            return format!("{style}{kind}{style:#}{rest}");
        }
    }
    message.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_color_that_is_typed_counts() {
        assert_eq!(typed(["fit", "--color", "never"]), When::Never);
        assert_eq!(typed(["--color=always", "fit", "--color=never"]), When::Never);
        assert_eq!(typed(["fit", "--color", "--color=always"]), When::Always);
        assert_eq!(typed(["fit", "--color", "blue"]), When::Auto);
    }

    #[test]
    fn kinds_of_messages_are_colored_and_nothing_else() {
        assert_eq!(with_kind("error: no"), "\u{1b}[1m\u{1b}[31merror:\u{1b}[0m no");
        assert_eq!(with_kind("3 errors: no"), "3 errors: no");
    }
}
