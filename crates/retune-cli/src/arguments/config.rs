//! `fit --config FILE`: the options of a run, as its `run.toml` records them, added to what was typed.
//!
//! Each key stands for an option of the command line, so its value is checked and explained as the option's is. What is typed
//! beside `--config` wins: over the same option, and over what cannot go beside it.

use std::ffi::OsString;
use std::path::Path;

use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Command, Error};
use retune::files;
use retune::methods::options::Kind;
use retune::methods::{self, Layers, Method};
use retune::names::closest;
use retune::run::keys::{self, KEYS, Meaning};
use toml::{Table, Value};

use super::given::GivenOptions;
use super::usage;
use crate::failure::one_line;

/// The name of the option.
const CONFIG: &str = "config";
/// The table with the method and its options.
const METHOD: &str = "method";
/// What describes layers, in the table of the method.
const LAYERS: [&str; 3] = ["first", "last", "layers"];

/// What says more about a model's weights than its path, and means nothing for another path.
const OF_THE_MODEL: [&str; 3] = ["arch", "from_scratch", "classes"];

/// The matches of a command line with the options of the file that `--config` names, and which options are given.
///
/// # Errors
/// A file that cannot be read; a key or a value that no run has.
pub fn completed(
    command: &mut Command,
    matches: ArgMatches,
    line: Vec<OsString>,
) -> Result<(ArgMatches, GivenOptions), Error> {
    let Some((name, found)) = matches.subcommand() else { return Ok((matches, GivenOptions::default())) };
    let given = GivenOptions::typed_in(found);
    if !given.is_typed(CONFIG) || given.is_typed("resume") {
        return Ok((matches, given));
    }
    let Ok(Some(path)) = found.try_get_one::<std::path::PathBuf>(CONFIG) else { return Ok((matches, given)) };
    let refused = |reason: String| Error::raw(ErrorKind::ValueValidation, reason);
    let text = files::read_text(path).map_err(|error| refused(error.to_string()))?;
    let in_file = |reason: String| refused(format!("{}: {reason}", path.display()));
    let table: Table = toml::from_str(&text).map_err(|error| in_file(one_line(&error.to_string())))?;
    let Some(subcommand) = command.find_subcommand(name) else { return Ok((matches, given)) };
    let method = found.try_get_one::<Method>(METHOD).ok().flatten().copied();
    let file = File { path, table: &table, command: subcommand, given: &given, method };
    let options = file.options().map_err(in_file)?;
    let place = line.iter().position(|argument| argument == name).map_or(line.len(), |place| place + 1);
    let line = [&line[..place], &options, &line[place..]].concat();
    // What was typed has been understood by itself.
    let matches = command.try_get_matches_from_mut(line).map_err(|error| in_file(usage::reason(&error)))?;
    let given = match matches.subcommand() {
        Some((_, completed)) => given.with_file(completed),
        None => given,
    };
    Ok((matches, given))
}

/// A file of options beside what was typed.
struct File<'a> {
    path: &'a Path,
    table: &'a Table,
    command: &'a Command,
    given: &'a GivenOptions,
    /// The method that was typed or is the default.
    method: Option<Method>,
}

impl File<'_> {
    /// What would be typed for the file.
    fn options(&self) -> Result<Vec<OsString>, String> {
        let entries = keys::flattened(self.table);
        let mut options = Vec::new();
        for (key, value) in entries.iter().filter(|(key, _)| !key.starts_with("method.")) {
            let Some((_, meaning)) = KEYS.iter().find(|(known, _)| known == key) else {
                return Err(unknown(key, KEYS.iter().map(|(known, _)| *known)));
            };
            self.add(meaning, key, value, &mut options)?;
        }
        options.extend(self.head()?);
        options.extend(self.method()?);
        Ok(options)
    }

    fn add(&self, meaning: &Meaning, key: &str, value: &Value, options: &mut Vec<OsString>) -> Result<(), String> {
        let wrong = || format!("`{key}` cannot be {value}");
        match *meaning {
            Meaning::Option(id) => options.extend(self.option(id, &written(value).ok_or_else(wrong)?)),
            Meaning::Switch { id, on } => {
                if value.as_bool().ok_or_else(wrong)? == on {
                    options.extend(self.switch(id));
                }
            }
            Meaning::Balanced(id) => {
                let name = if value.as_bool().ok_or_else(wrong)? { "balanced" } else { "none" };
                options.extend(self.option(id, name));
            }
            Meaning::Bytes(id) => {
                let bytes = value.as_integer().filter(|bytes| *bytes >= 0).ok_or_else(wrong)?;
                options.extend(self.option(id, &(bytes >> 20).to_string()));
            }
            Meaning::Sets(id) => {
                for set in value.as_array().ok_or_else(wrong)? {
                    let part = |name: &str| set.get(name).and_then(Value::as_str).ok_or_else(wrong);
                    options.extend(self.option(id, &format!("{}={}", part("name")?, part("path")?)));
                }
            }
            Meaning::Elsewhere => {}
            Meaning::Fixed(default) => {
                if *value != default() {
                    return Err(format!("`{key}` is always {} on the command line, not {value}", default()));
                }
            }
            Meaning::Within(id) => options.extend(self.option(id, &self.path.display().to_string())),
        }
        Ok(())
    }

    /// The option that starts the head. A run without `--head-init` says so by its method's probe.
    fn head(&self) -> Result<Option<OsString>, String> {
        let probe = self.table.get(METHOD).and_then(|method| method.get("probe")).and_then(Value::as_str);
        let start = self.table.get("head_initialization").and_then(Value::as_str);
        Ok(match (probe, start) {
            (Some("always"), _) => self.option("head_init", "probe"),
            // The default, by its name of today and by that of earlier runs.
            (Some("by-method") | None, Some("known" | "zeros")) | (_, None) => None,
            (_, Some(start)) => self.option("head_init", start),
        })
    }

    /// The method with its options; of a run by hand, its plan.
    fn method(&self) -> Result<Vec<OsString>, String> {
        if self.given.is_typed("plan") {
            return Ok(Vec::new());
        }
        let Some(value) = self.table.get(METHOD) else {
            let plan = self.path.with_file_name("plan.toml");
            let wanted = Some(plan).filter(|plan| plan.is_file() && !self.given.is_typed(METHOD));
            let option = wanted.and_then(|plan| self.option("plan", &plan.display().to_string()));
            return Ok(option.into_iter().collect());
        };
        let table = value.as_table().ok_or("`method` must be a table, with `name`")?;
        let own = table.get("name").and_then(Value::as_str).unwrap_or(methods::DEFAULT.name);
        let method: Method = match self.method.filter(|_| self.given.is_typed(METHOD)) {
            Some(typed) => typed,
            None => own.parse().map_err(|error: methods::UnknownMethod| error.to_string())?,
        };
        let mut options: Vec<OsString> = self.option(METHOD, method.name).into_iter().collect();
        let declared = methods::declared_options();
        for (key, value) in table {
            let wrong = || format!("`method.{key}` cannot be {value}");
            let text = || written(value).ok_or_else(wrong);
            match key.as_str() {
                "name" | "new_head" | "probe" => {}
                "learning_rates" if value.as_array().is_some_and(Vec::is_empty) => {}
                "learning_rates" => options.extend(self.option("lr", &text()?)),
                "epochs" | "search" | "patience" | "schedule" | "warmup_epochs" | "warmup" => {
                    options.extend(self.option(key, &text()?));
                }
                "average" => options.extend(self.average(value).ok_or_else(wrong)?),
                "layers" if method.layers == Layers::Whole => {}
                "layers" => options.extend(self.layers(value).ok_or_else(wrong)?),
                name => match declared.iter().find(|option| option.declaration.name == name) {
                    // What the method of the file takes may be nothing to the method that was typed.
                    Some(option) if option.methods.iter().any(|(taker, _)| *taker == method) => {
                        let text = match option.declaration.kind {
                            Kind::Range(_) => text()?.replace(',', ".."),
                            _ => text()?,
                        };
                        options.extend(self.option(name, &text));
                    }
                    Some(_) => {}
                    None => {
                        let shared = keys::OF_METHODS.iter().copied();
                        let known = shared.chain(declared.iter().map(|option| option.declaration.name));
                        return Err(unknown(name, known));
                    }
                },
            }
        }
        Ok(options)
    }

    fn average(&self, value: &Value) -> Option<Option<OsString>> {
        let part = |kind: &str, name: &str| value.get(kind).and_then(|kind| kind.get(name)).and_then(written);
        match (part("exponential", "decay"), part("epochs", "from")) {
            (Some(decay), None) => Some(self.option("ema", &decay)),
            (None, Some(from)) => Some(self.option("swa_from", &from)),
            _ => None,
        }
    }

    fn layers(&self, value: &Value) -> Option<Vec<OsString>> {
        if LAYERS.iter().any(|id| self.given.is_typed(id)) {
            return Some(Vec::new());
        }
        if value.as_str() == Some("all") {
            return Some(Vec::new());
        }
        if let Some(range) = value.get("range") {
            let end = |name: &str| range.get(name).and_then(written).and_then(|layer| self.option(name, &layer));
            return Some(["first", "last"].into_iter().filter_map(end).collect());
        }
        Some(self.option("layers", &written(value.get("set")?)?).into_iter().collect())
    }

    /// An option as it would be typed, unless what was typed takes its place.
    fn option(&self, id: &str, value: &str) -> Option<OsString> {
        Some(format!("--{}={value}", self.long(id)?).into())
    }

    fn switch(&self, id: &str) -> Option<OsString> {
        Some(format!("--{}", self.long(id)?).into())
    }

    /// The name of an option; `None` if that was typed, or something that excludes it.
    fn long(&self, id: &str) -> Option<&str> {
        let argument = self.command.get_arguments().find(|argument| argument.get_id() == id)?;
        let excludes = |one: &Arg, other: &Arg| self.command.get_arg_conflicts_with(one).contains(&other);
        let takes_its_place = |typed: &&Arg| {
            let typed_id = typed.get_id().as_str();
            self.given.is_typed(typed_id)
                && (typed_id == id
                    || (typed_id == "model" && OF_THE_MODEL.contains(&id))
                    || excludes(typed, argument)
                    || excludes(argument, typed))
        };
        match self.command.get_arguments().find(takes_its_place) {
            Some(_) => None,
            None => argument.get_long(),
        }
    }
}

/// A value as it is typed: lists with commas.
fn written(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Array(list) => list.iter().map(written).collect::<Option<Vec<_>>>().map(|parts| parts.join(",")),
        _ => None,
    }
}

fn unknown<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> String {
    match closest(key, known) {
        Some(close) => format!("unknown key `{key}`; did you mean `{close}`?"),
        None => format!("unknown key `{key}`; the run.toml of any run shows the keys"),
    }
}

#[cfg(test)]
mod tests;
