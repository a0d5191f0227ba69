//! What a model calls its classes.

use super::class_file::{ClassFileError, ClassNames};
use super::imagenet::{self, LabelSet};
use super::{Model, ModelConfig, ModelError};
use crate::data::ClassList;

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
