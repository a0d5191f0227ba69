//! Which options were given, and where.
//!
//! An option has the value that was typed on the command line; else that of the file that `--config` names; else that of the
//! run that `--from` goes on from; else its default. The first two are given, the others are not.

use std::collections::BTreeMap;

use clap::ArgMatches;
use clap::parser::ValueSource;

/// Where an option was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// On the command line.
    Typed,
    /// In the file that `--config` names.
    File,
}

/// The options that were given, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GivenOptions(BTreeMap<String, Origin>);

impl GivenOptions {
    /// Those of a command line without a file.
    pub fn typed_in(matches: &ArgMatches) -> Self {
        let ids = matches.ids().map(|id| id.as_str());
        let typed = ids.filter(|id| matches.value_source(id) == Some(ValueSource::CommandLine));
        Self(typed.map(|id| (id.to_owned(), Origin::Typed)).collect())
    }

    /// Adds the options of a file: the others that a command line with all of them has.
    pub fn with_file(mut self, matches: &ArgMatches) -> Self {
        for id in Self::typed_in(matches).0.into_keys() {
            self.0.entry(id).or_insert(Origin::File);
        }
        self
    }

    /// Whether an option was given anywhere, so that it counts more than what an earlier run had.
    pub fn has(&self, id: &str) -> bool {
        self.0.contains_key(id)
    }

    /// Whether an option was typed, so that it counts more than what a file says.
    pub fn is_typed(&self, id: &str) -> bool {
        self.0.get(id) == Some(&Origin::Typed)
    }
}
