//! The options of methods that are set.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{AnyOption, Kind, MethodOption, OptionValue, shown};
use crate::methods::{DeclaredOption, declared_options};

/// Why an option cannot be set.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionError {
    /// No method declares it.
    #[error("no method has an option '{0}'")]
    Unknown(String),
    /// Its value does not fit.
    #[error("the option '{name}' must be {expected}, not {found}")]
    Value {
        /// The option.
        name: &'static str,
        /// What it takes.
        expected: Kind,
        /// The value.
        found: String,
    },
}

/// The options that methods declare, where they are set: values by name, each checked against its declaration. What has
/// the default of every method that takes it counts as not set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "IndexMap<String, Value>")]
pub struct OptionValues(IndexMap<String, Value>);

impl OptionValues {
    /// Sets an option.
    ///
    /// # Errors
    /// A name that no method declares; a value that the option does not take.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) -> Result<(), OptionError> {
        let option = declared_options().into_iter().find(|option| option.declaration.name == name);
        self.store(&option.ok_or_else(|| OptionError::Unknown(name.to_owned()))?, value.into())
    }

    fn store(&mut self, option: &DeclaredOption, value: Value) -> Result<(), OptionError> {
        let (name, expected) = (option.declaration.name, option.declaration.kind);
        let Some(value) = expected.accept(&value) else {
            return Err(OptionError::Value { name, expected, found: shown(&value) });
        };
        if option.methods.iter().all(|(_, own)| own.default().as_ref() == Some(&value)) {
            self.0.shift_remove(name);
        } else {
            self.0.insert(name.to_owned(), value);
        }
        Ok(())
    }

    /// The value of an option, its default if it is not set.
    pub fn get<T: OptionValue>(&self, option: &MethodOption<T>) -> T {
        option.read(self.0.get(option.declaration().name))
    }
}

impl TryFrom<IndexMap<String, Value>> for OptionValues {
    type Error = OptionError;

    fn try_from(file: IndexMap<String, Value>) -> Result<Self, OptionError> {
        // Earlier versions kept some options in tables.
        let values = file.into_iter().flat_map(|(name, value)| match value {
            Value::Object(table) => table.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)).collect(),
            value => vec![(name, value)],
        });
        let options = declared_options();
        let mut found = Self::default();
        for (name, value) in values {
            let is_it = |option: &&DeclaredOption| {
                option.declaration.name == name || option.declaration.former_name == Some(name.as_str())
            };
            let option = options.iter().find(is_it).ok_or(OptionError::Unknown(name.clone()))?;
            found.store(option, value)?;
        }
        Ok(found)
    }
}
