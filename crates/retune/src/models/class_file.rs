//! Files that name a model's classes, in the forms in which people keep them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::imagenet;
use crate::files::{self, FileError};
use crate::wording::counted;

/// Why a file does not name a model's classes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClassFileError {
    /// It cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is neither lines nor JSON of a known form.
    #[error("{path}: {problem}", path = path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// It names more or fewer classes than the model has.
    #[error("{path} names {names}, and the model has {classes}", path = path.display(), names = counted(*names, "class"))]
    Count {
        /// The file.
        path: PathBuf,
        /// Names in the file.
        names: usize,
        /// Classes of the model.
        classes: usize,
    },
}

/// Names of a model's classes and where they are from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassNames {
    /// The file.
    pub file: PathBuf,
    /// A name for each class, in the order of the logits.
    pub names: Vec<String>,
    /// What each WordNet id among the names means, where the file says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub descriptions: Option<Vec<String>>,
}

/// A class as a file has it.
struct Entry {
    name: String,
    description: Option<String>,
}

impl ClassNames {
    /// Reads a file: a name a line, in the order of the logits (`tench`, or a WordNet id and what it means, as in
    /// `n01440764 tench, Tinca tinca`); a JSON list of names; or a JSON object from numbers to names
    /// (`{"0": "tench"}`), from names to numbers (`{"tench": 0}`) or from numbers to ids and names
    /// (`{"0": ["n01440764", "tench"]}`, as in `imagenet_class_index.json`). Of a model's configuration, its `label_names`
    /// or `id2label` are taken; of a `run.toml`, the names that the run's model was given.
    ///
    /// # Errors
    /// A file that cannot be read or has another form; an empty line between others; numbers that are not 0, 1, … .
    pub fn read(path: &Path) -> Result<Self, ClassFileError> {
        Self::parse(&files::read_text(path)?, path)
    }

    /// Understands the content of the file at `path`.
    ///
    /// # Errors
    /// As [`ClassNames::read`].
    pub fn parse(text: &str, path: &Path) -> Result<Self, ClassFileError> {
        let text = text.trim_start_matches('\u{feff}');
        if let Some(names) = of_run(text) {
            return Ok(names);
        }
        let form = |problem: String| ClassFileError::Form { path: path.to_owned(), problem };
        let entries = if text.trim_start().starts_with(['[', '{']) {
            let value = serde_json::from_str(text).map_err(|error| form(format!("not JSON: {error}")))?;
            of_json(value)
        } else {
            of_lines(text)
        };
        let entries = entries.map_err(form)?;
        if entries.is_empty() {
            return Err(form("it names no class".to_owned()));
        }
        let descriptions: Option<Vec<String>> = entries.iter().map(|entry| entry.description.clone()).collect();
        let names = entries.into_iter().map(|entry| entry.name).collect();
        Ok(Self { file: path.to_owned(), names, descriptions })
    }
}

/// The names in the options of a run; `None` of any other text.
fn of_run(text: &str) -> Option<ClassNames> {
    let mut options: toml::Table = text.parse().ok()?;
    options.get_mut("model")?.as_table_mut()?.remove("classes")?.try_into().ok()
}

fn of_lines(text: &str) -> Result<Vec<Entry>, String> {
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim).collect();
    if let Some(empty) = lines.iter().position(|line| line.is_empty()) {
        return Err(format!("line {} is empty; every line names a class, in the order of the model's", empty + 1));
    }
    let entry = |line: &&str| match line.split_once(char::is_whitespace) {
        Some((id, names)) if imagenet::names_of(id).is_some() => {
            Entry { name: id.to_owned(), description: Some(names.trim().to_owned()) }
        }
        _ => Entry { name: (*line).to_owned(), description: None },
    };
    Ok(lines.iter().map(entry).collect())
}

fn of_json(value: Value) -> Result<Vec<Entry>, String> {
    match value {
        Value::Array(names) => names.into_iter().enumerate().map(|(class, name)| entry(class, name)).collect(),
        Value::Object(mut object) => match ["label_names", "id2label"].iter().find_map(|key| object.remove(*key)) {
            Some(names) => of_json(names),
            None if !object.is_empty() && object.values().all(Value::is_number) => {
                in_order(object.into_iter().map(|(name, number)| (number.to_string(), Value::String(name))))
            }
            None => in_order(object.into_iter()),
        },
        _ => Err("it is neither a list of names nor an object of names and numbers".to_owned()),
    }
}

/// Classes that carry their numbers, which must be 0, 1, … .
fn in_order(numbered: impl Iterator<Item = (String, Value)>) -> Result<Vec<Entry>, String> {
    let mut classes = Vec::new();
    for (number, name) in numbered {
        let position: usize = number.parse().map_err(|_| format!("'{number}' is not the number of a class"))?;
        classes.push((position, entry(position, name)?));
    }
    classes.sort_by_key(|(position, _)| *position);
    for (expected, (position, _)) in classes.iter().enumerate() {
        if *position > expected {
            return Err(format!("class number {expected} has no name"));
        }
        if *position < expected {
            return Err(format!("class number {position} has two names"));
        }
    }
    Ok(classes.into_iter().map(|(_, entry)| entry).collect())
}

fn entry(class: usize, value: Value) -> Result<Entry, String> {
    let wrong = || format!("class number {class} has no name that is text");
    match value {
        Value::String(name) => Ok(Entry { name, description: None }),
        Value::Array(pair) => match pair.as_slice() {
            [Value::String(id), Value::String(name)] if imagenet::names_of(id).is_some() => {
                Ok(Entry { name: id.clone(), description: Some(name.clone()) })
            }
            // Ids that mean nothing to others name folders less often than names do.
            [Value::String(_), Value::String(name)] => Ok(Entry { name: name.clone(), description: None }),
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<String>, String> {
        ClassNames::parse(text, Path::new("classes")).map(|found| found.names).map_err(|error| error.to_string())
    }

    #[test]
    fn every_form_gives_the_names_in_the_order_of_the_logits() {
        for text in [
            "cat\ndog\n",
            "\u{feff}cat\r\ndog\r\n\r\n",
            r#"["cat", "dog"]"#,
            r#"{"1": "dog", "0": "cat"}"#,
            r#"{"dog": 1, "cat": 0}"#,
            r#"{"1": ["b", "dog"], "0": ["a", "cat"]}"#,
            r#"{"architecture": "resnet18", "label_names": ["cat", "dog"]}"#,
            r#"{"id2label": {"0": "cat", "1": "dog"}, "label2id": {"cat": 0, "dog": 1}}"#,
        ] {
            assert_eq!(names(text).unwrap(), ["cat", "dog"], "{text}");
        }
        // Ten numbers would come in another order as text.
        let many: String = (0..12).rev().map(|class| format!(r#""{class}": "c{class}","#)).collect();
        let found = names(&format!("{{{}}}", many.trim_end_matches(','))).unwrap();
        assert_eq!(found, (0..12).map(|class| format!("c{class}")).collect::<Vec<_>>());
    }

    #[test]
    fn wordnet_ids_are_names_and_what_follows_describes_them() {
        for text in [
            "n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius auratus\n",
            r#"{"0": ["n01440764", "tench, Tinca tinca"], "1": ["n01443537", "goldfish, Carassius auratus"]}"#,
        ] {
            let found = ClassNames::parse(text, Path::new("classes")).unwrap();
            assert_eq!(found.names, ["n01440764", "n01443537"]);
            assert_eq!(found.descriptions.unwrap()[1], "goldfish, Carassius auratus");
        }
        assert_eq!(names("great white shark\ntench\n").unwrap(), ["great white shark", "tench"]);
    }

    #[test]
    fn what_does_not_name_every_class_is_told() {
        for (text, expected) in [
            ("", "names no class"),
            ("{}", "names no class"),
            ("cat\n\ndog\n", "line 2 is empty"),
            (r#"["cat", 3]"#, "class number 1 has no name"),
            (r#"{"0": "cat", "2": "dog"}"#, "class number 1 has no name"),
            (r#"{"cat": 0, "dog": 0}"#, "class number 0 has two names"),
            (r#"{"cat": 0.5, "dog": 1}"#, "'0.5' is not the number"),
            (r#"{"cat": "dog"}"#, "'cat' is not the number"),
            (r#"["cat""#, "not JSON"),
        ] {
            let message = names(text).unwrap_err();
            assert!(message.starts_with("classes: ") && message.contains(expected), "{text}: {message}");
        }
    }
}
