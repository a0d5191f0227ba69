//! Which class of a model each class of the data is.
//!
//! Positions in two lists of classes mean nothing to each other: folders `0` … `11` come in the order of text, and a list
//! that has gained a class has moved all that follow. So classes are matched by what they are called ([`ClassList`] is what
//! a model calls its own): by name; by WordNet id, then name, where a model's classes are WordNet's; by number where the
//! data's names are numbers and the model has no names. Only where nothing else can decide does position, and
//! [`ClassMatch`] says so.

mod matching;
mod wordnet;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::path::Path;

use super::{DataError, DataNote, Dataset, Sample};
use matching::Matched;

/// What is known of a classifier's classes, in the order of its logits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassList {
    count: usize,
    names: Option<Vec<String>>,
    wordnet: Option<WordNet>,
}

/// Classes whose names are WordNet ids.
#[derive(Clone, Debug, PartialEq, Eq)]
struct WordNet {
    /// For each class its names, the usual one first, with commas between.
    synonyms: Vec<String>,
    presumed: Option<Presumed>,
}

/// Whose classes those of a model without names are taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Presumed {
    set: &'static str,
    /// Whether the number of classes is all that says so.
    by_count: bool,
}

impl ClassList {
    /// So many classes without names.
    pub fn unnamed(count: usize) -> Self {
        Self { count, names: None, wordnet: None }
    }

    /// Classes of these names.
    pub fn named(names: Vec<String>) -> Self {
        Self { count: names.len(), names: Some(names), wordnet: None }
    }

    /// Classes of these WordNet ids (`n01440764`), with the names of each separated by commas (`tench, Tinca tinca`) or an
    /// empty text.
    pub fn of_wordnet(ids: Vec<String>, synonyms: Vec<String>) -> Self {
        Self { wordnet: Some(WordNet { synonyms, presumed: None }), ..Self::named(ids) }
    }

    /// The same, for a model that names no classes but has those of `set`; `by_count` where nothing but their number
    /// says so.
    #[must_use]
    pub fn presumed(mut self, set: &'static str, by_count: bool) -> Self {
        if let Some(wordnet) = &mut self.wordnet {
            wordnet.presumed = Some(Presumed { set, by_count });
        }
        self
    }

    /// The number of classes.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is no class.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Their names, WordNet ids where these are known; `None` of classes without names.
    pub fn names(&self) -> Option<&[String]> {
        self.names.as_deref()
    }

    /// The label set that a model without names is taken for, if its number of classes is all that says so.
    pub fn presumed_by_count(&self) -> Option<&'static str> {
        let presumed = self.wordnet.as_ref()?.presumed.as_ref()?;
        presumed.by_count.then_some(presumed.set)
    }
}

/// How a model's classes and the data's were matched.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClassMatch {
    /// By name.
    ByName,
    /// By name, where some names are the same number in another spelling.
    ByEqualNumber {
        /// Such a class of the data, as `07`.
        data: String,
        /// The model's class, as `7`.
        model: String,
    },
    /// By WordNet id.
    ByWordNetId {
        /// The label set that the model was taken for by the number of its classes alone.
        presumed: Option<&'static str>,
    },
    /// By what WordNet calls the classes.
    ByWordNetName {
        /// A class of the data.
        data: String,
        /// The WordNet id of the model's class.
        id: String,
        /// The label set that the model was taken for by the number of its classes alone.
        presumed: Option<&'static str>,
    },
    /// The data's names are positions in the model's output.
    ByNumber {
        /// The lowest.
        first: String,
        /// The highest.
        last: String,
        /// Whether the model has names, of another kind.
        named: bool,
    },
    /// The data's first class is the model's first, and so on: nothing else says which is which.
    ByPosition {
        /// The first class.
        first: String,
        /// The last class.
        last: String,
        /// Whether the data's names are numbers, and in the order of these.
        numbers: bool,
    },
}

impl ClassMatch {
    /// What a user should hear of it; nothing where names decided.
    pub fn note(&self) -> Option<DataNote> {
        let is_plain = matches!(self, Self::ByName | Self::ByWordNetId { presumed: None });
        (!is_plain).then(|| DataNote::Classes(self.clone()))
    }
}

impl fmt::Display for ClassMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NO_NAMES: &str = "the model names no classes";
        let taken_for = |set: &str| format!("{NO_NAMES}; they are taken for those of {set}, by their number");
        match self {
            Self::ByName => write!(f, "the classes are matched by name"),
            Self::ByEqualNumber { data, model } => {
                write!(f, "classes that are numbers are matched by value: `{data}` is the model's `{model}`")
            }
            Self::ByWordNetId { presumed: None } => write!(f, "the classes are matched by WordNet id"),
            Self::ByWordNetId { presumed: Some(set) } => {
                write!(f, "{}, and matched by WordNet id", taken_for(set))
            }
            Self::ByWordNetName { data, id, presumed } => {
                let whose = presumed.map(|set| format!("{}; ", taken_for(set))).unwrap_or_default();
                write!(f, "{whose}the classes are matched by WordNet's names: `{data}` is {id}")
            }
            Self::ByNumber { first, last, named } => {
                let why = if *named { "" } else { "the model names no classes; " };
                write!(f, "{why}the data's classes {first} … {last} are taken as class numbers")
            }
            Self::ByPosition { first, last, numbers: true } => write!(
                f,
                "{NO_NAMES}; the data's classes {first} … {last} are taken in the order of their numbers, {first} as class \
                 number 0"
            ),
            Self::ByPosition { first, last, numbers: false } => {
                write!(
                    f,
                    "{NO_NAMES}, so position decides: the data's classes are taken in their order, `{first}` … `{last}`"
                )
            }
        }
    }
}

/// The way from the data's classes to a model's.
#[derive(Clone, Debug)]
pub struct ClassMapping {
    matched: Matched,
    /// The data's classes that have images and that the model does not know, with the number of their images.
    unknown: Vec<(String, usize)>,
}

impl ClassMapping {
    /// Matches the classes of the data at `root`, of which each has so many `images`, with the model's `known` ones. A
    /// class without images need not be known.
    ///
    /// # Errors
    /// A class that the model does not know, or that may be several of its classes; two that are the same; numbers that go
    /// beyond the model's classes; different numbers of classes where the model has no names.
    pub fn new(root: &Path, data: &[String], images: &[usize], known: &ClassList) -> Result<Self, DataError> {
        let mapping = Self::leaving_out(root, data, images, known)?;
        match mapping.unknown.first() {
            None => Ok(mapping),
            Some((class, _)) => Err(matching::unknown(root, class, known)),
        }
    }

    /// The same, but classes that the model does not know are left out, as long as it knows another.
    ///
    /// # Errors
    /// As [`ClassMapping::new`], but for those.
    pub fn leaving_out(root: &Path, data: &[String], images: &[usize], known: &ClassList) -> Result<Self, DataError> {
        let matched = matching::matched(root, data, images, known)?;
        let classes = data.iter().zip(images).zip(&matched.positions);
        let unknown = classes.filter(|((_, images), position)| **images > 0 && position.is_none());
        let unknown: Vec<(String, usize)> = unknown.map(|((class, &images), _)| (class.clone(), images)).collect();
        let some_known =
            matched.positions.iter().zip(images).any(|(position, &images)| images > 0 && position.is_some());
        match unknown.first() {
            Some((class, _)) if !some_known => Err(matching::unknown(root, class, known)),
            _ => Ok(Self { matched, unknown }),
        }
    }

    /// What decided.
    pub fn how(&self) -> &ClassMatch {
        &self.matched.how
    }

    /// What was left out.
    pub fn left_out(&self) -> Option<DataNote> {
        (!self.unknown.is_empty()).then(|| DataNote::ClassesLeftOut(self.unknown.clone()))
    }

    /// The images of the model's classes, with labels that index these.
    pub fn apply(&self, dataset: &Dataset) -> Dataset {
        let Matched { positions, classes, .. } = &self.matched;
        let unchanged = positions.iter().enumerate().all(|(label, position)| *position == Some(label));
        let samples = if unchanged {
            dataset.samples.clone()
        } else {
            let relabeled = |sample: &Sample| match sample.label {
                None => Some(sample.clone()),
                Some(label) => {
                    let label = positions.get(label).copied().flatten()?;
                    Some(Sample { label: Some(label), ..sample.clone() })
                }
            };
            dataset.samples.iter().filter_map(relabeled).collect()
        };
        let (root, corruptions) = (dataset.root.clone(), dataset.corruptions.clone());
        Dataset { root, classes: classes.clone(), samples, corruptions }
    }
}

impl Dataset {
    /// The same images with labels that index a model's classes, and what decided which class is which. The data may have
    /// only some of the model's classes, as ImageNet-R and ImageNet-A do.
    ///
    /// # Errors
    /// As [`ClassMapping::new`].
    pub fn match_classes(&self, known: &ClassList) -> Result<(Self, ClassMatch), DataError> {
        let mapping = ClassMapping::new(&self.root, &self.classes, &self.class_counts(), known)?;
        Ok((mapping.apply(self), mapping.how().clone()))
    }
}

/// How a list of classes has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassChange {
    /// Classes that are new.
    pub added: Vec<String>,
    /// Classes that are gone.
    pub removed: Vec<String>,
}

impl ClassChange {
    /// What is new in `now`, and what of `before` is gone; `None` where the lists have the same names, in any order.
    pub fn between(before: &[String], now: &[String]) -> Option<Self> {
        let [old, new]: [BTreeSet<&String>; 2] = [before, now].map(|names| names.iter().collect());
        let added: Vec<String> = new.difference(&old).copied().cloned().collect();
        let removed: Vec<String> = old.difference(&new).copied().cloned().collect();
        (!added.is_empty() || !removed.is_empty()).then_some(Self { added, removed })
    }
}

impl fmt::Display for ClassChange {
    /// As the rest of a sentence about the data: "now has the class `bird`, which the run did not know".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = |names: &[String]| if names.len() == 1 { "class" } else { "classes" };
        let (added, removed) = (quoted(&self.added), quoted(&self.removed));
        let new = || format!("now has the {} {added}, which the run did not know", noun(&self.added));
        let gone = || format!("no longer has the {} {removed}", noun(&self.removed));
        match (self.added.is_empty(), self.removed.is_empty()) {
            (false, false) => write!(f, "{}, and {}", new(), gone()),
            (false, true) => f.write_str(&new()),
            _ => f.write_str(&gone()),
        }
    }
}

/// Names in a sentence: the first few, and how many more.
pub(super) fn quoted<T: AsRef<str>>(names: &[T]) -> String {
    const SHOWN: usize = 5;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{}`", name.as_ref())).collect();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The positions of each name.
fn positions_of<'a>(names: impl IntoIterator<Item = &'a String>) -> HashMap<&'a str, Vec<usize>> {
    let mut positions: HashMap<&str, Vec<usize>> = HashMap::new();
    for (position, name) in names.into_iter().enumerate() {
        positions.entry(name).or_default().push(position);
    }
    positions
}

#[cfg(test)]
mod tests;
