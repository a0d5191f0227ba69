//! Classes whose names look like several labels in one, as data with several labels for each image has them.

use std::collections::{HashMap, HashSet};

use super::DataNote;
use super::label_sets::parts;
use super::source::DataSource;

/// What stands between labels.
const SEPARATORS: [char; 3] = [';', '|', ','];

/// Fewer names than this without a label of their own among their parts prove nothing.
const FEW: usize = 3;

/// A note where labels are made of parts that are labels of their own (`cat;dog` beside `cat` and `dog`), or where most
/// labels are made of parts that occur in others too.
pub(super) fn note(source: &DataSource) -> Option<DataNote> {
    let joint = SEPARATORS
        .into_iter()
        .map(|separator| joint_labels(&source.classes, separator))
        .find(|joint| !joint.is_empty())?;
    let is_joint: HashSet<usize> = joint.iter().copied().collect();
    let samples = source.splits.values().flatten();
    let images = samples.filter(|sample| sample.label.is_some_and(|label| is_joint.contains(&label))).count();
    (images > 0).then(|| DataNote::ManyLabels { images, example: source.classes[joint[0]].clone() })
}

/// The classes that are several labels in one.
fn joint_labels(classes: &[String], separator: char) -> Vec<usize> {
    let parts: Vec<Vec<&str>> = classes.iter().map(|class| parts(class, separator)).collect();
    let own: HashSet<&str> = parts.iter().filter(|parts| parts.len() == 1).map(|parts| parts[0]).collect();
    let several = || parts.iter().enumerate().filter(|(_, parts)| parts.len() > 1);
    let of_own: Vec<usize> =
        several().filter(|(_, parts)| parts.iter().all(|part| own.contains(part))).map(|(class, _)| class).collect();
    if !of_own.is_empty() {
        return of_own;
    }
    let mut occurrences: HashMap<&str, usize> = HashMap::new();
    several().flat_map(|(_, parts)| parts).for_each(|part| *occurrences.entry(part).or_default() += 1);
    let shared: Vec<usize> = several()
        .filter(|(_, parts)| parts.iter().all(|part| own.contains(part) || occurrences[part] > 1))
        .map(|(class, _)| class)
        .collect();
    if shared.len() >= FEW && 2 * shared.len() > classes.len() { shared } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joint(classes: &[&str], separator: char) -> Vec<usize> {
        joint_labels(&classes.iter().map(|class| (*class).to_owned()).collect::<Vec<_>>(), separator)
    }

    #[test]
    fn parts_that_are_labels_of_their_own_tell() {
        assert_eq!(joint(&["cat", "cat;dog", "dog"], ';'), [1]);
        assert_eq!(joint(&["['cat', 'dog']", "cat", "dog"], ','), [0]);
        assert_eq!(joint(&["bird|cat", "bird|dog", "cat|dog"], '|'), [0, 1, 2]);
    }

    /// Names of ImageNet's classes are lists of synonyms, and `maillot` is one of them.
    #[test]
    fn names_with_commas_are_names() {
        assert!(
            joint(&["maillot", "maillot, tank suit", "tench, Tinca tinca", "tailed frog, bell toad"], ',').is_empty()
        );
        assert!(joint(&["cat;dog", "ant;bee"], ';').is_empty());
        assert!(joint(&["a;", ";", "", "a"], ';').is_empty());
    }

    #[test]
    fn a_list_with_such_labels_has_a_note() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.csv");
        let text = "path,label\na.png,cat\nb.png,dog\nc.png,cat;dog\nd.png,cat;dog\n";
        ["a", "b", "c", "d"]
            .into_iter()
            .for_each(|name| std::fs::write(folder.path().join(format!("{name}.png")), "").unwrap());
        std::fs::write(&path, text).unwrap();
        let notes = DataSource::open(&path).unwrap().notes;
        assert_eq!(notes, [DataNote::ManyLabels { images: 2, example: "cat;dog".into() }]);
    }
}
