//! Mistakes on the command line, in one sentence each.

use std::io::Write;

use clap::error::ErrorKind;

use crate::failure::Failure;
use crate::help;
use crate::output::tell;

/// Prints help, the version, or an error, and returns the exit status.
pub fn report(error: &clap::Error) -> u8 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let line: Vec<String> = std::env::args().skip(1).collect();
            let text = match error.kind() {
                ErrorKind::DisplayVersion => error.render(),
                _ if asks_for_everything(&line) => error.render(),
                _ => help::brief(command_of(&line)),
            };
            // The reader may have closed standard output.
            let _ = writeln!(anstream::stdout(), "{}", text.ansi().to_string().trim_end());
            0
        }
        _ => {
            tell(&sentence(&error.render().to_string()));
            Failure::MISTAKE
        }
    }
}

/// A mistake as a failure, for another program.
pub fn failure(error: &clap::Error) -> Failure {
    Failure::Mistake(reason(error))
}

/// What is wrong, in one line.
pub fn reason(error: &clap::Error) -> String {
    let sentence = sentence(&error.render().to_string());
    sentence.strip_prefix("error: ").unwrap_or(&sentence).to_owned()
}

/// Whether help was asked for by its long name, which shows every option.
fn asks_for_everything(line: &[String]) -> bool {
    line.iter().any(|argument| argument == "--help" || argument == "help")
}

/// The command whose help was asked for.
fn command_of(line: &[String]) -> Option<&str> {
    line.iter().map(String::as_str).find(|argument| help::guide(argument).is_some())
}

/// clap's first paragraph and its tips in one line, without the usage that `--help` shows.
fn sentence(rendered: &str) -> String {
    let mut paragraphs = rendered.split("\n\n").map(|paragraph| {
        let lines: Vec<&str> = paragraph.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines.join(" ")
    });
    let mut sentence = paragraphs.next().unwrap_or_default();
    for tip in paragraphs.filter(|paragraph| paragraph.starts_with("tip:")) {
        sentence.push_str(&format!(" ({tip})"));
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Arguments;
    use clap::Parser;

    fn message(arguments: &[&str]) -> String {
        let all = ["retune"].iter().chain(arguments);
        sentence(&Arguments::try_parse_from(all).err().unwrap().render().to_string())
    }

    #[test]
    fn mistakes_are_one_line_that_names_the_option() {
        let unknown = message(&["fit", "--epoch", "3"]);
        assert!(unknown.contains("'--epoch'") && unknown.contains("'--epochs'"), "{unknown}");
        let choice = message(&["fit", "--optimizer", "lion"]);
        assert!(choice.contains("'--optimizer <NAME>'") && choice.contains("sgd, adam, or adamw"), "{choice}");
        for text in [unknown, choice, message(&["features"])] {
            assert_eq!(text.lines().count(), 1, "{text}");
        }
    }
}
