//! Options of methods as data: what each is called, takes and does, and what it is where it is not set.

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::panic::RefUnwindSafe;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::wording::alternatives;

/// What is known of an option, whatever the type of its value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OptionDeclaration {
    /// Its name, with `_` between words.
    pub name: &'static str,
    /// What stands for its value in help, such as `N`.
    pub value_name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What it does, in one line.
    pub help: &'static str,
    /// The default in words, where it depends on other options.
    pub default_in_words: Option<&'static str>,
    /// Names of options that cannot be set beside it, the shared ones (`lr`) among them.
    pub excludes: &'static [&'static str],
    /// What earlier versions called it in a comparison's file, `table.key` for what was in a table.
    pub former_name: Option<&'static str>,
}

/// An option that a method declares; its default has the type in which the method reads it.
#[derive(Clone, Copy, Debug)]
pub struct MethodOption<T> {
    declaration: OptionDeclaration,
    default: T,
}

impl<T> MethodOption<T> {
    /// An option with its default.
    pub const fn new(name: &'static str, value_name: &'static str, kind: Kind, default: T, help: &'static str) -> Self {
        let (default_in_words, excludes, former_name): (_, &[&str], _) = (None, &[], None);
        let declaration = OptionDeclaration { name, value_name, kind, help, default_in_words, excludes, former_name };
        Self { declaration, default }
    }

    /// The same option for a method in which it has another default.
    pub const fn or<U>(self, default: U) -> MethodOption<U>
    where
        T: Copy,
    {
        MethodOption { declaration: self.declaration, default }
    }

    /// What the default is in words, where it depends on other options.
    pub const fn by_default(mut self, words: &'static str) -> Self {
        self.declaration.default_in_words = Some(words);
        self
    }

    /// Options that cannot be set beside this one.
    pub const fn excludes(mut self, names: &'static [&'static str]) -> Self {
        self.declaration.excludes = names;
        self
    }

    /// What earlier versions called it in a comparison's file.
    pub const fn formerly(mut self, name: &'static str) -> Self {
        self.declaration.former_name = Some(name);
        self
    }

    /// Its value where it is set to `value`, or not set.
    pub(super) fn read(&self, value: Option<&Value>) -> T
    where
        T: OptionValue,
    {
        // What is set was checked as it was set, so what does not fit is not there.
        value.and_then(|value| T::deserialize(value).ok()).unwrap_or_else(|| self.default.clone())
    }
}

/// A type in which a method reads an option; `None` stands for a default that depends on other options.
pub trait OptionValue: Clone + Serialize + DeserializeOwned + Send + Sync + RefUnwindSafe {}

impl<T: Clone + Serialize + DeserializeOwned + Send + Sync + RefUnwindSafe> OptionValue for T {}

/// An option of any type, as lists of options have it.
pub trait AnyOption: Send + Sync + RefUnwindSafe {
    /// What is known of it.
    fn declaration(&self) -> &OptionDeclaration;

    /// Its default, where that depends on nothing else.
    fn default(&self) -> Option<Value>;
}

impl<T: OptionValue> AnyOption for MethodOption<T> {
    fn declaration(&self) -> &OptionDeclaration {
        &self.declaration
    }

    fn default(&self) -> Option<Value> {
        serde_json::to_value(&self.default).ok().filter(|default| !default.is_null())
    }
}

/// What an option takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A whole number in an interval.
    Whole(Interval),
    /// A number in an interval.
    Number(Interval),
    /// One or more numbers in an interval, with commas.
    Numbers(Interval),
    /// Two numbers in an interval, the first not larger than the second, as `LOW..HIGH`.
    Range(Interval),
    /// One of these names.
    Choice(&'static [&'static str]),
}

impl Kind {
    /// Reads a value as it is typed.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(self, text: &str) -> Result<Value, String> {
        let number = |text: &str| text.trim().parse::<f64>().ok();
        let value = match self {
            Self::Whole(_) => text.parse::<u64>().ok().map(Value::from),
            Self::Number(_) => number(text).map(Value::from),
            Self::Numbers(_) => text.split(',').map(number).collect::<Option<Vec<f64>>>().map(Value::from),
            Self::Range(_) => {
                text.split_once("..").and_then(|(low, high)| Some(Value::from([number(low)?, number(high)?])))
            }
            Self::Choice(_) => Some(Value::from(text)),
        };
        value.and_then(|value| self.accept(&value)).ok_or_else(|| format!("must be {self}"))
    }

    /// The value if the option takes it, in the form of its kind: a whole number is a number, and a number is a list of
    /// one.
    pub fn accept(self, value: &Value) -> Option<Value> {
        let number = |interval: Interval, value: &Value| value.as_f64().filter(|&number| interval.contains(number));
        let numbers = |interval: Interval| -> Option<Vec<f64>> {
            let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
            values.iter().map(|value| number(interval, value)).collect()
        };
        match self {
            Self::Whole(interval) => number(interval, value).and(value.as_u64()).map(Value::from),
            Self::Number(interval) => number(interval, value).map(Value::from),
            Self::Numbers(interval) => numbers(interval).filter(|numbers| !numbers.is_empty()).map(Value::from),
            Self::Range(interval) => {
                numbers(interval).filter(|ends| matches!(ends[..], [low, high] if low <= high)).map(Value::from)
            }
            Self::Choice(names) => {
                names.iter().find(|name| value.as_str() == Some(name)).map(|&name| Value::from(name))
            }
        }
    }
}

/// A value as people type it.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(name) => name.clone(),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(","),
        value => value.as_f64().map_or_else(|| value.to_string(), |number| number.to_string()),
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(interval) => write!(formatter, "a whole number {interval}"),
            Self::Number(interval) => write!(formatter, "a number {interval}"),
            Self::Numbers(interval) => write!(formatter, "numbers {interval}, with commas"),
            Self::Range(interval) => write!(formatter, "two numbers {interval}, LOW..HIGH"),
            Self::Choice(names) => {
                let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
                formatter.write_str(&alternatives(&names))
            }
        }
    }
}

/// The numbers that an option takes; all of them are finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Where it begins.
    pub low: Bound<f64>,
    /// Where it ends.
    pub high: Bound<f64>,
}

impl Interval {
    /// All above a number.
    pub const fn above(low: f64) -> Self {
        Self { low: Bound::Excluded(low), high: Bound::Unbounded }
    }

    /// A number and all above it.
    pub const fn at_least(low: f64) -> Self {
        Self { low: Bound::Included(low), high: Bound::Unbounded }
    }

    /// All between two numbers, which are included.
    pub const fn between(low: f64, high: f64) -> Self {
        Self::at_least(low).up_to(high)
    }

    /// Of this interval, a number and all below it.
    pub const fn up_to(self, high: f64) -> Self {
        Self { high: Bound::Included(high), ..self }
    }

    fn contains(self, number: f64) -> bool {
        number.is_finite() && (self.low, self.high).contains(&number)
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.low, self.high) {
            (Bound::Included(low), Bound::Included(high)) => write!(formatter, "from {low} to {high}"),
            (low, high) => {
                match low {
                    Bound::Included(low) => write!(formatter, "of at least {low}")?,
                    Bound::Excluded(low) => write!(formatter, "above {low}")?,
                    Bound::Unbounded => {}
                }
                match high {
                    Bound::Included(high) => write!(formatter, " and at most {high}"),
                    Bound::Excluded(high) => write!(formatter, " and below {high}"),
                    Bound::Unbounded => Ok(()),
                }
            }
        }
    }
}
