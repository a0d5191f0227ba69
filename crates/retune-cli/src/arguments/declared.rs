//! The options that methods declare, as options of the command line.

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};
use retune::methods::options::{Kind, OptionValues};
use retune::methods::{DeclaredOption, declared_options};
use serde_json::Value;

use super::parse::Named;

/// The options that methods declare, where they were typed.
pub struct DeclaredOptionArguments(pub OptionValues);

impl Args for DeclaredOptionArguments {
    fn augment_args(command: Command) -> Command {
        declared_options().iter().fold(command, |command, option| command.arg(argument(option)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for DeclaredOptionArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut arguments = Self(OptionValues::default());
        arguments.update_from_arg_matches(matches)?;
        Ok(arguments)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        for option in declared_options() {
            let name = option.declaration.name;
            let values: Vec<Value> = matches.get_many(name).into_iter().flatten().cloned().collect();
            if let Some(value) = joined(values) {
                let unfit = |error| Error::raw(clap::error::ErrorKind::ValueValidation, error);
                self.0.set(name, value).map_err(unfit)?;
            }
        }
        Ok(())
    }
}

/// The value of an option that was typed once, or the list of one that takes several.
fn joined(values: Vec<Value>) -> Option<Value> {
    values.into_iter().reduce(|before, next| match (before, next) {
        (Value::Array(before), Value::Array(next)) => Value::Array([before, next].concat()),
        (_, last) => last,
    })
}

fn argument(option: &DeclaredOption) -> Arg {
    let declaration = option.declaration;
    let kind = declaration.kind;
    let parse = move |text: &str| kind.parse(text);
    let argument = Arg::new(declaration.name)
        .long(declaration.name.replace('_', "-"))
        .value_name(declaration.value_name)
        .help(format!("{} [{}]", declaration.help, option.usage()))
        .help_heading("Method")
        .conflicts_with_all(declaration.excludes);
    match kind {
        Kind::Choice(names) => argument.value_parser(Named::read_by(names.iter().copied(), parse)),
        Kind::Numbers(_) => argument
            .action(ArgAction::Append)
            .value_delimiter(',')
            .allow_hyphen_values(true)
            .value_parser(ValueParser::new(parse)),
        _ => argument.allow_hyphen_values(true).value_parser(ValueParser::new(parse)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(line: &[String]) -> OptionValues {
        let command = DeclaredOptionArguments::augment_args(Command::new("fit").arg(Arg::new("lr").long("lr")));
        let matches = command.try_get_matches_from([&["fit".to_owned()], line].concat());
        DeclaredOptionArguments::from_arg_matches(&matches.unwrap_or_else(|error| panic!("{error}"))).unwrap().0
    }

    #[test]
    fn every_declared_option_is_accepted_and_arrives() {
        for option in declared_options() {
            let name = option.declaration.name;
            let (text, value) = match option.declaration.kind {
                Kind::Whole(_) => ("7".to_owned(), Value::from(7)),
                Kind::Number(_) => ("0.5".to_owned(), Value::from(0.5)),
                Kind::Numbers(_) => ("0.25,1".to_owned(), Value::from([0.25, 1.0])),
                Kind::Range(_) => ("0.5..7".to_owned(), Value::from([0.5, 7.0])),
                Kind::Choice(names) => (names[1].to_owned(), names[1].into()),
            };
            let mut expected = OptionValues::default();
            expected.set(name, value).unwrap();
            assert_ne!(expected, OptionValues::default(), "{name}: the value must not be the default");
            assert_eq!(typed(&[format!("--{}", name.replace('_', "-")), text]), expected, "{name}");
        }
        assert_eq!(typed(&[]), OptionValues::default());
    }
}
