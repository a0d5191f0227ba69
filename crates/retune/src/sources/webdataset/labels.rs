//! Labels of samples, numbers or names, and the class list that several archives share.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::archive::Archive;
use crate::sources::folder::sorted_classes;
use crate::sources::{DataError, DataNote};

/// Fewer images than this are too few to tell captions from names.
const FEW: usize = 20;

/// A label as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Unknown,
    Number(u32),
    Name(Arc<str>),
    /// The line of a `.txt`: the name of a class, or a caption.
    Text(Arc<str>),
}

/// The classes of all archives together.
pub(super) enum Classes {
    /// Names of the numbers 0, 1, … in that order, so that published label numbers keep their meaning.
    Named(Vec<String>),
    /// The numbers that occur, ascending.
    Numbered(Vec<u32>),
    /// The names that occur, sorted; numbers among them are names too.
    Names(Vec<String>),
    /// The lines of `.txt` members, sorted.
    Texts(Vec<String>),
}

impl Classes {
    /// The classes, and a note where `.txt` members are captions.
    pub fn of(root: &Path, archives: &[Archive]) -> Result<(Self, Option<DataNote>), DataError> {
        let (mut numbers, mut names, mut texts) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut images = 0;
        for member in archives.iter().flat_map(|archive| &archive.members) {
            images += 1;
            match &member.label {
                Label::Unknown => false,
                Label::Number(number) => numbers.insert(*number),
                Label::Name(name) => names.insert(&**name),
                Label::Text(text) => texts.insert(&**text),
            };
        }
        Ok(match (numbers.is_empty(), names.is_empty()) {
            (true, true) if images > FEW && 2 * texts.len() > images => {
                let note = DataNote::Captions { path: root.to_owned(), texts: texts.len(), images };
                (Self::Texts(Vec::new()), Some(note))
            }
            (true, true) => (Self::Texts(sorted_classes(texts.into_iter())), None),
            (false, true) => (Self::numbered(root, numbers)?, None),
            _ => {
                let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
                (Self::Names(sorted_classes(names.into_iter().chain(numbers.iter().map(String::as_str)))), None)
            }
        })
    }

    fn numbered(root: &Path, numbers: BTreeSet<u32>) -> Result<Self, DataError> {
        let Some((path, names)) = class_names(root)? else { return Ok(Self::Numbered(numbers.into_iter().collect())) };
        let problem = |problem| DataError::Tar { path, problem };
        if sorted_classes(names.iter().map(String::as_str)).len() < names.len() {
            return Err(problem("a class name is listed twice".to_owned()));
        }
        match numbers.last().filter(|&&number| number as usize >= names.len()) {
            Some(number) => Err(problem(format!("the label {number} is none of the {} class names", names.len()))),
            None => Ok(Self::Named(names)),
        }
    }

    /// A label as a position in the class list.
    pub fn label(&self, label: &Label) -> Option<usize> {
        let position = |names: &[String], name: &str| names.binary_search_by(|known| known.as_str().cmp(name)).ok();
        match (self, label) {
            (Self::Named(_), Label::Number(number)) => Some(*number as usize),
            (Self::Numbered(known), Label::Number(number)) => known.binary_search(number).ok(),
            (Self::Names(known), Label::Number(number)) => position(known, &number.to_string()),
            (Self::Names(known), Label::Name(name)) => position(known, name),
            (Self::Texts(known), Label::Text(text)) => position(known, text),
            _ => None,
        }
    }

    pub fn into_names(self) -> Vec<String> {
        match self {
            Self::Named(names) | Self::Names(names) | Self::Texts(names) => names,
            Self::Numbered(numbers) => numbers.iter().map(u32::to_string).collect(),
        }
    }
}

/// The names of the numbers 0, 1, …, and the file that has them, if there is one beside the archives.
fn class_names(root: &Path) -> Result<Option<(PathBuf, Vec<String>)>, DataError> {
    for name in ["classnames.txt", "classes.txt"] {
        let path = root.join(name);
        if let Some(text) = text_of_file(&path)? {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            return Ok(Some((path, lines.map(str::to_owned).collect())));
        }
    }
    let path = root.join("dataset_info.json");
    let Some(text) = text_of_file(&path)? else { return Ok(None) };
    let document: Value = serde_json::from_str(&text)
        .map_err(|error| DataError::Tar { path: path.clone(), problem: format!("it is not JSON: {error}") })?;
    let features = document.get("features").and_then(Value::as_object);
    let names = features.and_then(|features| features.values().find_map(|feature| feature.get("names")?.as_array()));
    let names = names.and_then(|names| names.iter().map(|name| name.as_str().map(str::to_owned)).collect());
    Ok(names.map(|names| (path, names)))
}

fn text_of_file(path: &Path) -> Result<Option<String>, DataError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DataError::Io { path: path.to_owned(), source }),
    }
}
