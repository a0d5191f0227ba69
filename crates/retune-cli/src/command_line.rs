//! The command line as it was typed, for reports.

use std::ffi::OsString;
use std::fmt;

use retune::report::findings::quoted;

/// The arguments of a command, without the program's name.
pub struct CommandLine(Vec<String>);

impl CommandLine {
    /// What was typed: the program's name, then its arguments.
    pub fn new(typed: &[OsString]) -> Self {
        Self(typed.iter().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect())
    }

    /// The command line with another subcommand. Leaves out the options in `own` (long names, each with a value; `-o` is
    /// `--out`) and those that only affect messages, and appends `added`.
    pub fn turned_into(&self, from: &str, to: &str, own: &[&str], added: &[String]) -> String {
        let kept = turned(self.0.iter().cloned(), from, to, own);
        Self(kept.into_iter().chain(added.iter().cloned()).collect()).to_string()
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("retune")?;
        self.0.iter().try_for_each(|argument| write!(formatter, " {}", quoted(argument)))
    }
}

fn turned(mut typed: impl Iterator<Item = String>, from: &str, to: &str, own: &[&str]) -> Vec<String> {
    const TALK: [&str; 5] = ["--json", "--quiet", "--verbose", "-q", "-v"];
    let mut kept = Vec::new();
    let mut turned = false;
    while let Some(argument) = typed.next() {
        if argument == from && !turned {
            turned = true;
            // The subcommand comes first, even if options were typed before it.
            kept.insert(0, to.to_owned());
            continue;
        }
        if TALK.contains(&argument.as_str()) {
            continue;
        }
        let long = argument
            .strip_prefix("--")
            .map(|name| name.split_once('=').map_or((name, false), |(name, _)| (name, true)));
        if let Some((_, has_value)) = long.filter(|(name, _)| own.contains(name)) {
            if !has_value {
                typed.next();
            }
            continue;
        }
        if own.contains(&"out") && argument.starts_with("-o") {
            if argument == "-o" {
                typed.next();
            }
            continue;
        }
        kept.push(argument);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_turned_into_another() {
        let typed = "-q --threads 2 advise --model M --data advise --source S --trial-lr=1e-3 --json -o e.json --head-init keep";
        let turned = turned(typed.split(' ').map(str::to_owned), "advise", "fit", &["source", "trial-lr", "out"]);
        assert_eq!(turned.join(" "), "fit --threads 2 --model M --data advise --head-init keep");
    }

    #[test]
    fn a_shell_reads_the_arguments_back() {
        let arguments = ["fit", "--eval", "a=b c", "it's", "", "$HOME", "x@fog:3"];
        let line = arguments.map(quoted).join(" ");
        let shell = std::process::Command::new("sh").args(["-c", &format!("printf '%s\\n' {line}")]).output().unwrap();
        assert_eq!(
            String::from_utf8(shell.stdout).unwrap(),
            arguments.map(|argument| format!("{argument}\n")).concat()
        );
    }
}
