//! Python pickles of plain values and NumPy arrays, read without running anything that they name.
//!
//! A pickle is a program for a small stack machine (Python's `pickletools` documents each instruction). Known here are the
//! instructions that protocols 2 to 5 use for dictionaries, lists, tuples, texts, bytes and numbers, and the few functions
//! that NumPy (1 and 2) names in order to rebuild an array; any other is an error. Bytes and texts stay where they lie in
//! the file, so that an array of pixels is found by its place and not copied.
//!
//! Nothing is recursive, every instruction makes at most one value, and what is copied is at most as long as the file, so
//! memory is bounded by the file's size.

mod machine;
mod numpy;

use std::ops::Range;

use self::machine::Machine;
pub(super) use self::numpy::Array;

/// What a pickle holds, and the file that its parts lie in.
pub(super) struct Pickle<'a> {
    machine: Machine<'a>,
    top: Value,
}

/// Bytes of the file, or such that were made of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bytes {
    /// Where they lie in the file.
    InFile(Range<usize>),
    /// Bytes that the file holds in an encoded form.
    Decoded(Vec<u8>),
}

/// A value, or where it is.
#[derive(Clone, Debug)]
enum Value {
    None,
    Bool(bool),
    Integer(i64),
    /// A number that is no integer, and other values that no data set needs.
    Other,
    /// Bytes or text, by their place in the file.
    Text(Range<usize>),
    /// Bytes that were decoded, by their number.
    Decoded(usize),
    Function(numpy::Function),
    /// A container, by its number.
    Node(usize),
}

/// A container.
#[derive(Clone, Debug)]
enum Node {
    List(Vec<Value>),
    Tuple(Vec<Value>),
    Dictionary(Vec<(Value, Value)>),
    ElementType(numpy::ElementType),
    Array(Option<Array>),
}

impl<'a> Pickle<'a> {
    /// Reads a file whose outermost value is a dictionary.
    ///
    /// # Errors
    /// What is wrong with the file, in words.
    pub fn read(file: &'a [u8]) -> Result<Self, String> {
        let mut machine = Machine::new(file);
        let top = machine.run()?;
        match machine.node(&top) {
            Some(Node::Dictionary(_)) => Ok(Self { machine, top }),
            _ => Err("it holds no dictionary".to_owned()),
        }
    }

    /// The value of a key, if the dictionary has it. Where it is there twice, the last one counts.
    fn get(&self, key: &str) -> Option<&Value> {
        let Some(Node::Dictionary(pairs)) = self.machine.node(&self.top) else { return None };
        let is_key = |value: &Value| self.machine.bytes(value).is_some_and(|bytes| bytes == key.as_bytes());
        pairs.iter().rev().find_map(|(name, value)| is_key(name).then_some(value))
    }

    /// The first of `keys` that the dictionary has.
    pub fn first_of<'k>(&self, keys: &[&'k str]) -> Option<&'k str> {
        keys.iter().copied().find(|key| self.get(key).is_some())
    }

    /// The array under a key.
    ///
    /// # Errors
    /// There is none.
    pub fn array(&self, key: &str) -> Result<&Array, String> {
        match self.get(key).and_then(|value| self.machine.node(value)) {
            Some(Node::Array(Some(array))) => Ok(array),
            Some(_) => Err(format!("`{key}` is no array")),
            None => Err(format!("it has no array `{key}`")),
        }
    }

    /// The integers of a list or array under a key.
    ///
    /// # Errors
    /// There are none, or other values as well.
    pub fn integers(&self, key: &str) -> Result<Vec<i64>, String> {
        let wrong = || format!("`{key}` is no list of integers");
        match self.get(key).and_then(|value| self.machine.node(value)) {
            Some(Node::List(values) | Node::Tuple(values)) => {
                let integer = |value: &Value| if let Value::Integer(number) = value { Some(*number) } else { None };
                values.iter().map(integer).collect::<Option<_>>().ok_or_else(wrong)
            }
            Some(Node::Array(Some(array))) => array.integers(&self.machine).ok_or_else(wrong),
            _ => Err(wrong()),
        }
    }

    /// The texts of a list under a key.
    ///
    /// # Errors
    /// There are none, or other values as well.
    pub fn texts(&self, key: &str) -> Result<Vec<String>, String> {
        let wrong = || format!("`{key}` is no list of texts");
        let Some(Node::List(values) | Node::Tuple(values)) = self.get(key).and_then(|value| self.machine.node(value))
        else {
            return Err(wrong());
        };
        let text = |value: &Value| Some(str::from_utf8(self.machine.bytes(value)?).ok()?.to_owned());
        values.iter().map(text).collect::<Option<_>>().ok_or_else(wrong)
    }

    /// The bytes of an array's elements.
    pub fn elements(&self, array: &Array) -> Bytes {
        self.machine.taken(array.elements())
    }
}

#[cfg(test)]
mod tests;
