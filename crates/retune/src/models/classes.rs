//! What a model calls its classes.

use std::collections::BTreeSet;

use super::class_file::{ClassFileError, ClassNames};
use super::imagenet::{self, LabelSet};
use super::{LoadNote, Model, ModelConfig, ModelError};
use crate::sources::ClassList;

impl ModelConfig {
    /// The classes, in the order of the logits: of the names that the file has, or else of the ImageNet set that has as
    /// many classes, unless the weights' tag says that they were trained on something else.
    pub fn classes(&self) -> ClassList {
        let count = self.num_classes();
        if let Some(names) = self.label_names() {
            let synonyms: Vec<String> = names.iter().map(|name| self.synonyms(name)).collect();
            let all_known = !names.is_empty() && synonyms.iter().all(|synonyms| !synonyms.is_empty());
            return if all_known { ClassList::of_wordnet(names, synonyms) } else { ClassList::named(names) };
        }
        let tag = self.pretrained_tag();
        let of_imagenet = tag.is_none_or(|tag| ["in1k", "in12k", "in21k", "in22k"].iter().any(|set| tag.contains(set)));
        match LabelSet::of_count(count).filter(|_| of_imagenet) {
            Some(set) => {
                let (ids, synonyms) = set.synsets();
                ClassList::of_wordnet(ids, synonyms).presumed(set.name, tag.is_none())
            }
            None => ClassList::unnamed(count),
        }
    }

    /// What a WordNet id means, by the file's own descriptions or else by ImageNet's table; empty for other names.
    fn synonyms(&self, name: &str) -> String {
        let is_id = name.len() == 9 && name.starts_with('n') && name.bytes().skip(1).all(|byte| byte.is_ascii_digit());
        let own = || self.label_description(name);
        imagenet::names_of(name).or_else(|| own().filter(|_| is_id)).unwrap_or_default().to_owned()
    }

    /// The classes' names as people know them; `None` where nothing is known of them.
    pub fn shown_classes(&self) -> Option<Vec<String>> {
        self.classes().names().map(imagenet::shown)
    }
}

impl ModelConfig {
    /// The rows of the classifier for `classes`, by the names that the file has; `None` where it has none of them.
    pub(super) fn known_rows(&self, classes: &[String]) -> Option<KnownRows> {
        let own = self.label_names()?;
        let of_class = |class: &String| own.iter().position(|name| name == class);
        let rows: Vec<Option<usize>> = classes.iter().map(of_class).collect();
        rows.iter().any(Option::is_some).then_some(KnownRows { rows, own: own.len() })
    }
}

/// Where a model's classifier has the classes of data.
pub(super) struct KnownRows {
    /// For each class of the data its row.
    rows: Vec<Option<usize>>,
    /// The rows that there are.
    own: usize,
}

impl KnownRows {
    /// The rows of a classifier's weight or bias for the classes of the data, with zeros for those that are new.
    pub fn take(&self, values: &[f32]) -> Vec<f32> {
        let width = values.len() / self.own;
        let mut taken = vec![0.0; self.rows.len() * width];
        for (row, known) in taken.chunks_exact_mut(width.max(1)).zip(&self.rows) {
            if let Some(known) = *known {
                row.copy_from_slice(&values[known * width..(known + 1) * width]);
            }
        }
        taken
    }

    /// Whether they are worth keeping. Between few trained rows and many of zeros, every image would seem to be of a known class,
    /// which training would have to unlearn first.
    pub fn are_most(&self) -> bool {
        2 * self.rows.iter().flatten().count() > self.rows.len()
    }

    /// What a user should hear of it.
    pub fn note(&self) -> LoadNote {
        let known: BTreeSet<usize> = self.rows.iter().copied().flatten().collect();
        let (known, classes, dropped) = (known.len(), self.rows.len(), self.own - known.len());
        match self.are_most() {
            true => LoadNote::KnownClasses { known, classes, dropped },
            false => LoadNote::FewKnownClasses { known, classes },
        }
    }
}

impl Model {
    /// The same model under other names of its classes.
    ///
    /// # Errors
    /// More or fewer names than classes.
    pub fn with_class_names(mut self, names: &ClassNames) -> Result<Self, ModelError> {
        let (found, classes) = (names.names.len(), self.config.num_classes());
        if found != classes {
            return Err(ClassFileError::Count { path: names.file.clone(), names: found, classes }.into());
        }
        self.config = self.config.with_label_names(names);
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config(keys: &str) -> ModelConfig {
        ModelConfig::parse(&format!(r#"{{"architecture": "resnet18", {keys}}}"#), "config.json").unwrap()
    }

    #[test]
    fn names_come_from_the_file_or_from_the_number_of_classes() {
        let named = config(r#""num_classes": 2, "label_names": ["cat", "dog"]"#);
        assert_eq!(named.classes(), ClassList::named(vec!["cat".into(), "dog".into()]));
        // timm's CustomDatasetInfo takes an object with numbers as keys, too.
        let numbered = config(r#""num_classes": 2, "label_names": {"1": "dog", "0": "cat"}"#);
        assert_eq!(numbered.classes(), named.classes());
        assert_eq!(config(r#""num_classes": 7"#).classes(), ClassList::unnamed(7));
        // Names of another number of classes name nothing.
        assert_eq!(config(r#""num_classes": 7, "label_names": ["cat", "dog"]"#).classes(), ClassList::unnamed(7));

        let presumed = config(r#""num_classes": 1000"#).classes();
        assert_eq!(presumed.presumed_by_count(), Some("ImageNet-1k"));
        assert_eq!(presumed.names().unwrap()[1], "n01443537");
        let tagged = config(r#""num_classes": 21841, "pretrained_cfg": {"tag": "fb_in22k"}"#).classes();
        assert_eq!((tagged.presumed_by_count(), tagged.len()), (None, 21_841));
        assert!(tagged.names().is_some());
        let other = config(r#""num_classes": 1000, "pretrained_cfg": {"tag": "laion2b"}"#).classes();
        assert_eq!(other, ClassList::unnamed(1000));
    }

    #[test]
    fn wordnet_ids_are_known_by_the_table_or_the_files_own_descriptions() {
        let keys = r#""num_classes": 2, "label_names": ["n01440764", "n99999999"]"#;
        let described = config(&format!(r#"{keys}, "label_descriptions": {{"n99999999": "unicorn"}}"#));
        let ids = vec!["n01440764".to_owned(), "n99999999".to_owned()];
        let synonyms = vec!["tench, Tinca tinca".to_owned(), "unicorn".to_owned()];
        assert_eq!(described.classes(), ClassList::of_wordnet(ids.clone(), synonyms));
        assert_eq!(config(keys).classes(), ClassList::named(ids));
        assert_eq!(described.shown_classes().unwrap(), ["tench", "n99999999"]);
        // A head that is kept keeps them.
        let kept = described.clone().with_classes(described.classes().names().unwrap());
        assert_eq!(kept.classes(), described.classes());
        assert_eq!(described.with_classes(&["cat".to_owned()]).classes(), ClassList::named(vec!["cat".to_owned()]));
    }

    #[test]
    fn a_head_keeps_the_rows_of_classes_that_it_knows() {
        use crate::models::HeadInitialization::{Known, Zeros};

        let cpu = crate::device::by_name("cpu").unwrap();
        let keys = r#""num_classes": 3, "label_names": ["cat", "dog", "eel"],
                      "model_args": {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8]}"#;
        let model = Model::initialize(config(keys), 0, &cpu).unwrap();
        let (weight, bias) = model.head_parameters().unwrap();
        let values = |model: &Model| [weight, bias].map(|index| model.parameters.values(index));
        let classes = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();

        let changed = model.with_classes(&classes(&["bee", "dog", "cat"]), Known, 0).unwrap();
        let [old, new] = [&model, &changed].map(values);
        let width = old[0].len() / 3;
        assert!(old[0].iter().all(|&value| value != 0.0));
        let expected = [vec![0.0; width], old[0][width..2 * width].to_vec(), old[0][..width].to_vec()].concat();
        assert_eq!(new[0], expected);
        assert_eq!(new[1], [0.0, old[1][1], old[1][0]]);
        let note = changed.notes.last().unwrap().to_string();
        assert_eq!(note, "head: 2 of 3 classes known by name keep their rows, 1 new, 1 dropped");

        // A model that knows half of them or fewer starts anew.
        let names = classes(&["bee", "dog"]);
        let [known, zeros] = [Known, Zeros].map(|head| model.with_classes(&names, head, 0).unwrap());
        assert!(known.parameters.equal(&zeros.parameters).unwrap());
        let note = known.notes.last().unwrap().to_string();
        assert_eq!(note, "head: starts at zero, because the model knows only 1 of 2 classes by name");

        // Nothing in common is nothing to keep, and nothing to say.
        let names = classes(&["ant", "bee"]);
        let [known, zeros] = [Known, Zeros].map(|head| model.with_classes(&names, head, 0).unwrap());
        assert!(known.parameters.equal(&zeros.parameters).unwrap() && known.notes.is_empty());
    }

    #[test]
    fn a_file_names_as_many_classes_as_the_model_has() {
        let cpu = crate::device::by_name("cpu").unwrap();
        let config = config(r#""num_classes": 2, "model_args": {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8]}"#);
        let model = Model::initialize(config, 0, &cpu).unwrap();
        let names = |text: &str| ClassNames::parse(text, Path::new("names.txt")).unwrap();
        let named = model.clone().with_class_names(&names("n01440764 tench\nn01443537 goldfish")).unwrap();
        assert_eq!(named.config().shown_classes().unwrap(), ["tench", "goldfish"]);
        assert_eq!(named.config().label_description("n01440764"), Some("tench"));
        let error = model.with_class_names(&names("cat\ndog\neel")).unwrap_err().to_string();
        assert_eq!(error, "names.txt names 3 classes, and the model has 2");
    }
}
