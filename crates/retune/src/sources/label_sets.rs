//! Images with several labels.
//!
//! Data that is opened for several labels has a class for every combination of labels that occurs, so that whatever goes by
//! one class for each image (splits, orders, caches) holds for it as well. [`LabelSets`] says which labels each of these
//! classes stands for.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::DataError;
use super::folder::sorted_classes;

/// Stands between the labels of a combination where the source has a list or a column for each label: no file's own labels
/// hold it.
pub(super) const SEPARATOR: char = '\u{1f}';

/// What may stand between labels in one field; the first of these that occurs in the classes counts.
const SEPARATORS: [char; 4] = [SEPARATOR, '|', ';', ','];

/// Which labels each class of a dataset stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelSets {
    names: Vec<String>,
    /// For each class the positions of its labels, ascending.
    of_class: Vec<Vec<usize>>,
}

impl LabelSets {
    /// The labels that occur in classes, in sorted order. A class without any, such as the empty text, is an image that has
    /// none of them.
    pub fn of(classes: &[String]) -> Self {
        let parts = parts_of_all(classes, &[]);
        let names = sorted_classes(parts.iter().flatten().copied());
        Self::with(names.clone(), &parts).unwrap_or(Self { names, of_class: Vec::new() })
    }

    /// The same where the labels are known, as those of a model.
    ///
    /// # Errors
    /// [`DataError::UnknownLabel`] for a label that is none of `names`.
    pub fn under(names: &[String], classes: &[String]) -> Result<Self, DataError> {
        let parts = parts_of_all(classes, names);
        Self::with(names.to_vec(), &parts).map_err(|label| DataError::UnknownLabel { label: label.to_owned() })
    }

    /// The label that is none of `names`, if there is one.
    fn with<'a>(names: Vec<String>, parts: &[Vec<&'a str>]) -> Result<Self, &'a str> {
        // A million combinations may be made of thousands of labels.
        let positions: HashMap<&str, usize> =
            names.iter().enumerate().rev().map(|(position, name)| (name.as_str(), position)).collect();
        let position = |part: &&'a str| positions.get(part).copied().ok_or(*part);
        let of_class = |parts: &Vec<&'a str>| -> Result<Vec<usize>, &'a str> {
            let labels: BTreeSet<usize> = parts.iter().map(position).collect::<Result<_, _>>()?;
            Ok(labels.into_iter().collect::<Vec<usize>>())
        };
        let of_class: Vec<Vec<usize>> = parts.iter().map(of_class).collect::<Result<_, &'a str>>()?;
        Ok(Self { names, of_class })
    }

    /// The labels' names, in the order of the logits.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The labels of a class, ascending.
    pub fn of_class(&self, class: usize) -> &[usize] {
        self.of_class.get(class).map_or(&[], Vec::as_slice)
    }

    /// Images that have each label, where `classes` has so many of each class.
    pub fn counts(&self, classes: &[usize]) -> Vec<usize> {
        let mut counts = vec![0; self.names.len()];
        for (&images, labels) in classes.iter().zip(&self.of_class) {
            labels.iter().for_each(|&label| counts[label] += images);
        }
        counts
    }

    /// Adds `share` of a class to a row of one target for each label.
    pub fn add_to(&self, row: &mut [f32], class: usize, share: f32) {
        self.of_class(class).iter().for_each(|&label| row[label] += share);
    }
}

/// The labels that each class is made of. A class that is one of the `known` labels is that label, whatever signs it has.
fn parts_of_all<'a>(classes: &'a [String], known: &[String]) -> Vec<Vec<&'a str>> {
    let separator = SEPARATORS.into_iter().find(|&separator| classes.iter().any(|class| class.contains(separator)));
    let known: HashSet<&String> = known.iter().collect();
    let parts = |class: &'a String| match separator {
        _ if known.contains(class) => vec![class.as_str()],
        // Labels that are wholes.
        Some(SEPARATOR) => class.split(SEPARATOR).map(str::trim).filter(|part| !part.is_empty()).collect(),
        Some(separator) => parts(class, separator),
        None => parts(class, SEPARATOR),
    };
    classes.iter().map(parts).collect()
}

/// Labels of an image, of which each is a whole, as one text.
pub(super) fn joined<T: AsRef<str>>(labels: &[T]) -> String {
    let labels: Vec<&str> = labels.iter().map(AsRef::as_ref).collect();
    let text = labels.join(&*SEPARATOR.encode_utf8(&mut [0; 4]));
    match labels[..] {
        // Where no image has two labels, a sign within a label would be taken for one between labels.
        [only] if only.contains(['|', ';', ',', '\'', '"', '[', ']']) => format!("{only}{SEPARATOR}"),
        _ => text,
    }
}

/// The parts of a class; those of a list in Python's or JSON's spelling without its brackets and quotes.
pub(super) fn parts(class: &str, separator: char) -> Vec<&str> {
    let list = class.strip_prefix('[').and_then(|class| class.strip_suffix(']'));
    let parts = list.unwrap_or(class).split(separator).map(str::trim);
    let unquoted = parts.map(|part| if list.is_some() { part.trim_matches(['\'', '"']) } else { part });
    unquoted.filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn combinations_become_labels_whatever_stands_between_them() {
        for classes in [
            ["", "cat", "cat;dog", "dog"],
            ["[]", "['cat']", "['cat', 'dog']", "['dog']"],
            ["", "cat", "dog\u{1f}cat", "dog"],
            [" ", "cat|", "cat | dog|cat", "dog"],
        ] {
            let sets = LabelSets::of(&names(&classes));
            assert_eq!(sets.names(), ["cat", "dog"], "{classes:?}");
            let found: Vec<&[usize]> = (0..4).map(|class| sets.of_class(class)).collect();
            assert_eq!(found, [&[][..], &[0], &[0, 1], &[1]], "{classes:?}");
            assert_eq!(sets.counts(&[5, 1, 2, 3]), [3, 5]);
        }
        // Labels of a list are wholes, with all their signs, even where no image has two.
        for lists in
            [vec![vec!["pet, \"small\""], vec![], vec!["[a]"]], vec![vec!["[a]", "pet, \"small\""], vec!["[a]"]]]
        {
            let classes: Vec<String> = lists.iter().map(|labels| joined(labels)).collect();
            assert_eq!(LabelSets::of(&classes).names(), ["[a]", "pet, \"small\""], "{lists:?}");
        }
        assert_eq!(LabelSets::of(&names(&["5\" pipe|'a'", "'a'"])).names(), ["'a'", "5\" pipe"]);
        // A sign that ranks before is the one that separates.
        assert_eq!(LabelSets::of(&names(&["cat, old|dog", "dog"])).names(), ["cat, old", "dog"]);
        let mut row = [0.0; 2];
        let sets = LabelSets::of(&names(&["cat", "cat;dog"]));
        sets.add_to(&mut row, 1, 0.25);
        sets.add_to(&mut row, 0, 0.75);
        assert_eq!(row, [1.0, 0.25]);
    }

    #[test]
    fn labels_of_a_model_keep_its_order_and_unknown_ones_are_refused() {
        let sets = LabelSets::under(&names(&["dog", "a, b", "cat"]), &names(&["cat,dog", "a, b"])).unwrap();
        assert_eq!((sets.of_class(0), sets.of_class(1)), ([0, 2].as_slice(), [1].as_slice()));
        let error = LabelSets::under(&names(&["dog"]), &names(&["cat,dog"])).unwrap_err();
        assert!(matches!(error, DataError::UnknownLabel { label } if label == "cat"));
    }
}
