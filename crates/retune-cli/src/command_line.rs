//! The command line as it was typed, for reports, and other commands with the same options.

use std::ffi::OsString;
use std::fmt;

use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory};
use retune::report::findings::{Command, quoted};

use crate::arguments::Arguments;

/// The arguments of a command, without the program's name.
pub struct CommandLine(Vec<String>);

impl CommandLine {
    /// What was typed: the program's name, then its arguments.
    pub fn new(typed: &[OsString]) -> Self {
        Self(typed.iter().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect())
    }

    /// The command `to` with what was typed for this one, as far as it takes the same options. A file that is written is
    /// this command's own, and options of every command change no result.
    pub fn turned_into(&self, to: &str) -> Command {
        let program = Arguments::command();
        let line = std::iter::once("retune").chain(self.0.iter().map(String::as_str));
        let matches = program.clone().try_get_matches_from(line).ok();
        let typed = matches.as_ref().and_then(ArgMatches::subcommand);
        let (Some((from, typed)), Some(to_command)) = (typed, program.find_subcommand(to)) else {
            return Command::new(to);
        };
        let taken = |argument: &&clap::Arg| {
            to_command.get_arguments().any(|other| other.get_id() == argument.get_id()) && argument.get_id() != "out"
        };
        let arguments = program.find_subcommand(from).into_iter().flat_map(clap::Command::get_arguments);
        let is_typed =
            |argument: &&clap::Arg| typed.value_source(argument.get_id().as_str()) == Some(ValueSource::CommandLine);
        arguments.filter(taken).filter(is_typed).fold(Command::new(to), |command, argument| {
            let Some(name) = argument.get_long() else { return command };
            if !argument.get_action().takes_values() {
                return command.switch(name);
            }
            let values = typed.get_raw(argument.get_id().as_str()).into_iter().flatten();
            let values: Vec<String> = values.map(|value| value.to_string_lossy().into_owned()).collect();
            match argument.get_value_delimiter() {
                Some(delimiter) => command.with(name, values.join(&delimiter.to_string())),
                None => values.into_iter().fold(command, |command, value| command.also(name, value)),
            }
        })
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("retune")?;
        self.0.iter().try_for_each(|argument| write!(formatter, " {}", quoted(argument)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turned(typed: &str, to: &str) -> String {
        let typed: Vec<OsString> = shlex::split(typed).unwrap().into_iter().map(OsString::from).collect();
        let command = CommandLine::new(&typed).turned_into(to).to_string();
        // What is suggested can be typed.
        let words: Vec<OsString> = shlex::split(&command).unwrap().into_iter().map(OsString::from).collect();
        Arguments::parse(&words).unwrap_or_else(|error| panic!("{command}: {error}"));
        command
    }

    #[test]
    fn another_command_has_the_options_that_it_takes() {
        let typed = "retune -q --threads 2 advise --model M --data advise --source S --trial-lr=1e-3 --json -o e.json --head-init keep \
                     --size 96 --mean 0.5,0.4,0.3";
        assert_eq!(
            turned(typed, "fit"),
            "retune fit --model M --data advise --head-init keep --size 96 --mean 0.5,0.4,0.3"
        );
        let typed = "retune eval -m run --data 'my images' --eval a=x --eval 'b=y z' --size 64x96 --crop-pct 0.9 --skip-bad --batch-size 8";
        assert_eq!(
            turned(typed, "audit"),
            "retune audit --model run --data 'my images' --skip-bad --batch-size 8 --size 64x96 --crop-pct 0.9"
        );
        assert!(turned(typed, "eval").contains(" --eval a=x --eval 'b=y z' "));
        let typed = "retune cka --model run --data d --interpolations nearest,lanczos --crop-mode squash --out c.html";
        assert_eq!(
            turned(typed, "audit"),
            "retune audit --model run --data d --interpolations nearest,lanczos --crop-mode squash"
        );
        assert_eq!(turned(typed, "advise"), "retune advise --model run --data d --crop-mode squash");
        // The precision of a model that runs forward is not that of training.
        let typed = "retune cka --model run --data d --precision bfloat16 --out c.html";
        assert_eq!(turned(typed, "eval"), "retune eval --model run --data d --precision bfloat16");
        assert_eq!(turned(typed, "advise"), "retune advise --model run --data d");
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
