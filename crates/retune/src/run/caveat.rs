//! What makes a set's numbers say less than they seem to.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{FitData, FitError};
use crate::monitor::Monitor;
use crate::sources::leak::{Contents, SharedImage};
use crate::sources::{DataNote, Dataset};
use crate::train::TrainError;
use crate::wording::{counted, first_of, grouped};

/// Something about a set that a reader of its numbers should know. It stands in `summary.json`, beside the results, and in
/// the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Caveat {
    /// Some of its images are training images, too.
    TrainingImages {
        /// The set.
        set: String,
        /// How many of its images.
        shared: usize,
        /// How many images it has.
        images: usize,
        /// The name of one of them among the training images.
        training_example: String,
        /// Its name in the set.
        example: String,
    },
    /// Some of its groups have training images, too.
    TrainingGroups {
        /// The set.
        set: String,
        /// How many of its groups.
        shared: usize,
        /// How many groups it has.
        groups: usize,
        /// One of them.
        example: String,
    },
    /// It has no images of classes that validation has images of.
    MissingClasses {
        /// The set.
        set: String,
        /// The classes.
        classes: Vec<String>,
    },
}

impl Caveat {
    /// The set that it is about.
    pub fn set(&self) -> &str {
        match self {
            Self::TrainingImages { set, .. } | Self::TrainingGroups { set, .. } | Self::MissingClasses { set, .. } => {
                set
            }
        }
    }

    fn of_images(set: &str, dataset: &Dataset, shared: &[SharedImage]) -> Option<Self> {
        let SharedImage { first, second } = shared.first()?.clone();
        let (set, images) = (set.to_owned(), dataset.len());
        Some(Self::TrainingImages { set, shared: shared.len(), images, training_example: first, example: second })
    }

    fn of_groups(note: &DataNote) -> Option<Self> {
        let DataNote::SharedGroups { split, groups, shared, example, .. } = note else { return None };
        Some(Self::TrainingGroups {
            set: split.to_string(),
            shared: *shared,
            groups: *groups,
            example: example.clone(),
        })
    }

    fn of_classes(set: &str, dataset: &Dataset, validation: &Dataset) -> Option<Self> {
        let (own, counts) = (dataset.class_counts(), validation.class_counts());
        let is_missing = |&class: &usize| counts[class] > 0 && own.get(class).is_none_or(|&count| count == 0);
        let missing = (0..counts.len()).filter(is_missing);
        let classes: Vec<String> = missing.map(|class| validation.classes[class].clone()).collect();
        (!classes.is_empty()).then(|| Self::MissingClasses { set: set.to_owned(), classes })
    }
}

impl fmt::Display for Caveat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TrainingImages { set, shared, images, training_example, example } => write!(
                f,
                "{} of the {} of '{set}' {}, such as {training_example} ({example} there): what it says about new \
                 images is too good",
                grouped(*shared),
                counted(*images, "image"),
                if *shared == 1 { "is also a training image" } else { "are also training images" },
            ),
            Self::TrainingGroups { set, shared, groups, example } => write!(
                f,
                "{} of the {} in '{set}' {} training images, too, such as `{example}`: if the images of a group are \
                 alike, what it says about new groups is too good",
                grouped(*shared),
                counted(*groups, "group"),
                if *shared == 1 { "has" } else { "have" },
            ),
            Self::MissingClasses { set, classes } => {
                write!(f, "'{set}' has no images of {}, so its accuracy is over fewer classes", first_of(classes))
            }
        }
    }
}

impl FitData {
    /// What makes the numbers of validation and the further sets say less than they seem to. With several labels, a class
    /// is a combination of them, and may be missing.
    ///
    /// # Errors
    /// An interruption.
    pub(crate) fn caveats(&self, several_labels: bool, monitor: &dyn Monitor) -> Result<Vec<Caveat>, FitError> {
        let further = self.evaluations.iter().map(|(name, dataset)| (name.as_str(), dataset));
        let sets = std::iter::once(("val", &self.validation)).chain(further);
        let mut found = training_images(&self.train, sets, monitor)?;
        found.extend(self.notes.iter().filter_map(Caveat::of_groups));
        if !several_labels {
            let missing = |(name, dataset): &(String, Dataset)| Caveat::of_classes(name, dataset, &self.validation);
            found.extend(self.evaluations.iter().filter_map(missing));
        }
        Ok(found)
    }
}

/// Which of these sets hold training images.
///
/// # Errors
/// An interruption.
pub(super) fn training_images<'a>(
    train: &Dataset,
    sets: impl Iterator<Item = (&'a str, &'a Dataset)>,
    monitor: &dyn Monitor,
) -> Result<Vec<Caveat>, FitError> {
    let training = Contents::of(train);
    let mut found = Vec::new();
    for (name, dataset) in sets {
        if !training.compares_contents(dataset) {
            monitor.message(&format!(
                "note: too many images to look into for copies in '{name}'; only names were compared"
            ));
        }
        let shared = training.shared_with(dataset, &|| monitor.canceled());
        let shared = shared.ok_or(FitError::Train(TrainError::Interrupted))?;
        found.extend(Caveat::of_images(name, dataset, &shared));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::monitor::Silent;
    use crate::sources::source::tests::memory_dataset;

    #[test]
    fn sets_with_training_images_and_without_some_classes_have_a_caveat() {
        let all = memory_dataset(&[0, 1, 2, 0, 1, 2, 0, 1], 3, 4);
        let (train, validation) = (all.select(&[0, 1, 2]), all.select(&[3, 4, 5]));
        let evaluations = vec![("fog".to_owned(), all.select(&[6, 7, 0]))];
        let data = FitData { train, validation, evaluations, notes: Vec::new() };
        let found = data.caveats(false, &Silent).unwrap();
        let texts: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(texts[0].starts_with("1 of the 3 images of 'fog' is also a training image, such as "), "{texts:?}");
        let missing = format!("'fog' has no images of {}, so its accuracy", all.classes[2]);
        assert!(texts[1].starts_with(&missing), "{texts:?}");
        assert!(found.iter().all(|caveat| caveat.set() == "fog"));
        assert_eq!(data.caveats(true, &Silent).unwrap(), found[..1], "combinations of labels may be missing");
        let text = serde_json::to_string(&found).unwrap();
        assert!(text.contains(r#""kind":"missing-classes""#), "{text}");
        assert_eq!(serde_json::from_str::<Vec<Caveat>>(&text).unwrap(), found);
    }
}
