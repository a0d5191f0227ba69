//! Deterministic stratified splits and balanced subsets.
//!
//! Samples are ranked within their class by a hash of the seed and their *name*, not their position
//! and not a stream of random numbers. So the outcome does not depend on the order in which samples
//! are listed, and adding or removing a file moves at most a sample or two of its own class across a
//! boundary: a validation accuracy stays comparable after the data has grown, and an image that a
//! model was trained on does not become one it is tested on.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use retune_random::{combine, keyed_hash};
use serde::{Deserialize, Serialize};

use super::image::ImageSource;
use super::source::{DataSource, Dataset, Sample, SplitName};
use super::{DataError, DataNote, LabelSets, NameKind, groups};

/// Keeps splits and subsets under one seed independent of each other.
const SPLIT_KEY: u64 = 0x7370_6c69_7400_0001;
const SUBSET_KEY: u64 = 0x7375_6273_6574_0002;

/// What is never divided between training and validation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SplitBy {
    /// An image.
    #[default]
    Image,
    /// A group of images, such as those of one patient.
    Group,
}

impl std::str::FromStr for SplitBy {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "image" => Ok(Self::Image),
            "group" => Ok(Self::Group),
            _ => Err("expected image or group".to_owned()),
        }
    }
}

/// What parts of the data are held out, each a fraction of every class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SplitFractions {
    /// Held out for validation, from 0 to 1.
    pub validation: f64,
    /// Held out for testing, from 0 to 1.
    pub test: f64,
}

impl SplitFractions {
    fn check(self) -> Result<(), DataError> {
        let Self { validation, test } = self;
        // Comparisons with NaN are false, so NaN is refused as well.
        if validation >= 0.0 && test >= 0.0 && validation + test < 1.0 {
            return Ok(());
        }
        Err(DataError::BadFractions { validation, test })
    }

    /// How many of a class's `count` samples go to validation and to testing.
    ///
    /// Counts are rounded; a class then gives at least one sample to each part that is wanted, but
    /// training is served first, then validation, then testing.
    fn counts(self, count: usize) -> (usize, usize) {
        let wanted = |fraction: f64, available: usize| {
            let least = usize::from(fraction > 0.0);
            ((count as f64 * fraction).round() as usize).max(least).min(available)
        };
        let for_test = usize::from(self.test > 0.0 && count >= 3);
        let validation = wanted(self.validation, count.saturating_sub(1 + for_test));
        let test = wanted(self.test, count.saturating_sub(1 + validation));
        (validation, test)
    }
}

/// The positions of samples in each part of a split, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SplitIndices {
    /// Samples to train on.
    pub train: Vec<usize>,
    /// Samples held out for validation.
    pub validation: Vec<usize>,
    /// Samples held out for testing.
    pub test: Vec<usize>,
}

/// Splits samples so that each class is divided in the same proportions.
///
/// Every class with at least two samples has at least one in training and, when `validation` is
/// above zero, one in validation; with at least three, one in testing as well when `test` is above
/// zero. The single sample of a class goes to training. Samples without a label count as one class.
///
/// # Errors
/// [`DataError::BadFractions`] for a negative fraction or a sum of 1 or more.
pub fn stratified_split(samples: &[Sample], fractions: SplitFractions, seed: u64) -> Result<SplitIndices, DataError> {
    fractions.check()?;
    let mut split = SplitIndices::default();
    for ranked in ranked_by_class(samples, combine(SPLIT_KEY, seed)).into_values() {
        let (validation, test) = fractions.counts(ranked.len());
        let (held_out, train) = ranked.split_at(validation + test);
        split.validation.extend(&held_out[..validation]);
        split.test.extend(&held_out[validation..]);
        split.train.extend(train);
    }
    for part in [&mut split.train, &mut split.validation, &mut split.test] {
        part.sort_unstable();
    }
    Ok(split)
}

/// The samples with the rarest of their labels as their class, and a class behind all labels for those that have none of
/// them. `counts` are the images of each label.
pub(crate) fn by_rarest_label(samples: &[Sample], sets: &LabelSets, counts: &[usize]) -> Vec<Sample> {
    let rarest = |class: usize| sets.of_class(class).iter().copied().min_by_key(|&label| (counts[label], label));
    let class = |class: usize| rarest(class).unwrap_or(counts.len());
    samples.iter().map(|sample| Sample { label: sample.label.map(class), ..sample.clone() }).collect()
}

/// The positions of each class's samples, in the order of the hashes of their names.
fn ranked_by_class(samples: &[Sample], key: u64) -> BTreeMap<Option<usize>, Vec<usize>> {
    let mut classes: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
    for (index, sample) in samples.iter().enumerate() {
        classes.entry(sample.label).or_default().push(index);
    }
    for indices in classes.values_mut() {
        // The name settles the order of equal hashes; samples that share a name keep theirs.
        indices.sort_by_cached_key(|&index| rank(&samples[index], key));
    }
    classes
}

fn rank(sample: &Sample, key: u64) -> (u64, &str) {
    (keyed_hash(key, sample.name.as_bytes()), &sample.name)
}

impl Dataset {
    /// `count` samples (or all, where there are fewer) with the classes as even as the data allows.
    ///
    /// A larger count keeps every sample that a smaller one keeps.
    #[must_use]
    pub fn subset(&self, count: usize, seed: u64) -> Self {
        let key = combine(SUBSET_KEY, seed);
        let ranked = ranked_by_class(&self.samples, key);
        // One sample of every class, then a second of every class, and so on; within one such round
        // the hashes decide, so that no class is favored for its name.
        let mut rounds: Vec<(usize, usize)> =
            ranked.into_values().flat_map(|class| class.into_iter().enumerate()).collect();
        rounds.sort_by_cached_key(|&(round, index)| (round, rank(&self.samples[index], key)));
        let mut kept: Vec<usize> = rounds.into_iter().take(count).map(|(_, index)| index).collect();
        kept.sort_unstable();
        self.select(&kept)
    }
}

/// What a fit trains and validates on.
#[derive(Clone, Debug)]
pub struct TrainingSets {
    /// Images to train on.
    pub train: Dataset,
    /// Images held out for validation.
    pub validation: Dataset,
    /// What a user should hear about how they were divided.
    pub notes: Vec<DataNote>,
}

impl DataSource {
    /// What to train on and what to validate on.
    ///
    /// A source with a validation split is taken as it is. Otherwise `validation_fraction` of every
    /// class of the training split (or of everything, where nothing is split) is held out, image by image or, as near to
    /// the fraction as that gets, in whole groups.
    ///
    /// # Errors
    /// What [`DataSource::check_for_training`] finds, or a fraction that is none; with [`SplitBy::Group`],
    /// [`DataError::NoGroups`] and [`DataError::SingleGroup`].
    pub fn train_and_validation(
        &self,
        validation_fraction: f64,
        by: SplitBy,
        seed: u64,
    ) -> Result<TrainingSets, DataError> {
        self.check_for_training().map_err(|error| self.naming_columns(error))?;
        let (_, samples) = self.training_split()?;
        let strata = Strata { samples: Cow::Borrowed(samples), names: Cow::Borrowed(&self.classes) };
        self.sets(validation_fraction, by, seed, &self.classes, || strata)
    }

    /// The same for images with several labels, whose classes are combinations of labels. Each image counts as one of its
    /// rarest label, so that every label is held out in about the same proportion.
    ///
    /// # Errors
    /// No training split; an image of which nothing is known; no label at all; a label that only another split has; what
    /// can be wrong with a fraction or groups.
    pub fn train_and_validation_of_labels(
        &self,
        validation_fraction: f64,
        by: SplitBy,
        seed: u64,
    ) -> Result<TrainingSets, DataError> {
        let (_, samples) = self.training_split()?;
        let training = self.dataset(samples.clone());
        training.labels().map_err(|error| self.naming_columns(error))?;
        let sets = LabelSets::of(&self.classes);
        let counts = sets.counts(&training.class_counts());
        if counts.iter().all(|&count| count == 0) {
            return Err(DataError::NoLabels(self.root.clone()));
        }
        for (split, samples) in &self.splits {
            let of_split = sets.counts(&self.dataset(samples.clone()).class_counts());
            if let Some(label) = (0..counts.len()).find(|&label| of_split[label] > 0 && counts[label] == 0) {
                let class = sets.names()[label].clone();
                return Err(DataError::ClassNotInTraining { split: split.clone(), class });
            }
        }
        self.sets(validation_fraction, by, seed, sets.names(), || Strata {
            samples: Cow::Owned(by_rarest_label(samples, &sets, &counts)),
            names: sets.names().iter().cloned().chain(["none of them".to_owned()]).collect(),
        })
    }

    /// The training split and the validation split or, where there is none, a part of the training split, by its `strata`;
    /// with notes. `labels` are the names of the classes, or those that they are combinations of.
    fn sets<'a>(
        &self,
        fraction: f64,
        by: SplitBy,
        seed: u64,
        labels: &[String],
        strata: impl FnOnce() -> Strata<'a>,
    ) -> Result<TrainingSets, DataError> {
        let (name, samples) = self.training_split()?;
        let val = SplitName::Validation;
        let is_made = !self.splits.contains_key(&val);
        let mut sets = match is_made {
            true => {
                let divided = self.divided(samples, &strata(), fraction, by, seed);
                divided.map_err(|error| self.naming_columns(error))?
            }
            false => {
                let notes = (by == SplitBy::Group).then(|| DataNote::SplitAlready { root: self.root.clone() });
                TrainingSets {
                    train: self.split(name)?,
                    validation: self.split(&val)?,
                    notes: notes.into_iter().collect(),
                }
            }
        };
        let notes = self.notes_on(&sets, (name, is_made), labels);
        sets.notes.extend(notes);
        Ok(sets)
    }

    /// What is to be said of groups, files, and names that are on two sides or twice. The sets were made of the split
    /// `name`, and validation of a part of it if `is_made`.
    fn notes_on(&self, sets: &TrainingSets, (name, is_made): (&SplitName, bool), labels: &[String]) -> Vec<DataNote> {
        let (val, train) = (SplitName::Validation, &sets.train.samples);
        let others = self.splits.iter().filter(|(split, _)| *split != name && **split != val);
        let shared = std::iter::once((&val, &sets.validation.samples, is_made))
            .chain(others.map(|(split, samples)| (split, samples, false)))
            .filter_map(|(split, samples, is_made)| groups::shared(train, split, samples, is_made));
        let mut notes: Vec<DataNote> = shared.collect();
        notes.extend(repeated(&sets.train, &sets.validation));
        notes.extend(alike(NameKind::Class, labels.iter().map(String::as_str)));
        let samples = train.iter().chain(sets.validation.samples.iter());
        notes.extend(alike(NameKind::Group, samples.filter_map(|sample| sample.group.as_deref())));
        notes
    }

    /// An error of what the data does not say, with the columns that may have been meant to say it.
    fn naming_columns(&self, error: DataError) -> DataError {
        let unused = self.notes.iter().find_map(|note| match note {
            DataNote::UnusedColumns { path, columns } => Some((path.clone(), columns.clone())),
            _ => None,
        });
        match (error, unused) {
            (DataError::Unlabeled { name, count, of, .. }, Some((_, columns))) => {
                DataError::Unlabeled { name, count, of, columns }
            }
            (DataError::NoGroups { .. }, Some((path, columns))) => DataError::NoGroups { path, columns },
            (error, _) => error,
        }
    }

    fn divided(
        &self,
        samples: &[Sample],
        strata: &Strata,
        fraction: f64,
        by: SplitBy,
        seed: u64,
    ) -> Result<TrainingSets, DataError> {
        let fractions = SplitFractions { validation: fraction, test: 0.0 };
        let (split, notes) = match by {
            SplitBy::Image => (stratified_split(&strata.samples, fractions, seed)?, Vec::new()),
            SplitBy::Group => {
                fractions.check()?;
                let split = groups::split(&strata.samples, &strata.names, &self.root, fraction, seed)?;
                let notes = split.notes(&strata.samples, &strata.names);
                (split.indices, notes)
            }
        };
        // Of a million samples, a copy to select from would be too much.
        let select = |indices: &[usize]| self.dataset(indices.iter().map(|&index| samples[index].clone()).collect());
        Ok(TrainingSets { train: select(&split.train), validation: select(&split.validation), notes })
    }
}

/// The training samples with what is held out in proportion as their classes.
struct Strata<'a> {
    samples: Cow<'a, [Sample]>,
    names: Cow<'a, [String]>,
}

/// What is to be said of files that are listed more than once.
fn repeated(train: &Dataset, validation: &Dataset) -> Option<DataNote> {
    let mut first: HashMap<&Path, &Sample> = HashMap::with_capacity(train.len());
    let mut twice: BTreeMap<&str, bool> = BTreeMap::new();
    for sample in train.samples.iter().chain(validation.samples.iter()) {
        let ImageSource::File(path) = &sample.image else { continue };
        if let Some(other) = first.get(&**path) {
            *twice.entry(&sample.name).or_default() |= other.label != sample.label;
        } else {
            first.insert(path, sample);
        }
    }
    let contradictory = twice.values().filter(|differ| **differ).count();
    let example = twice.iter().find(|(_, differ)| **differ).or(twice.iter().next())?.0;
    Some(DataNote::Repeated { images: twice.len(), example: (*example).to_owned(), contradictory })
}

/// What is to be said of two names that capitals or spaces alone tell apart.
fn alike<'a>(kind: NameKind, names: impl Iterator<Item = &'a str>) -> Option<DataNote> {
    let names: BTreeSet<&str> = names.collect();
    let mut seen = HashMap::new();
    let folded = |name: &str| name.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ");
    names.into_iter().find_map(|name| {
        let one = seen.insert(folded(name), name)?;
        Some(DataNote::Alike { kind, one: one.to_owned(), other: name.to_owned() })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::super::source::tests::memory_dataset;
    use super::*;

    const FIFTH: SplitFractions = SplitFractions { validation: 0.2, test: 0.0 };

    fn names(dataset: &Dataset, indices: &[usize]) -> BTreeSet<String> {
        indices.iter().map(|&index| dataset.samples[index].name.to_string()).collect()
    }

    #[test]
    fn each_class_is_divided_in_proportion() {
        let labels: Vec<usize> = (0..150).map(|index| usize::from(index >= 100)).collect();
        let dataset = memory_dataset(&labels, 1, 1);
        let fractions = SplitFractions { validation: 0.2, test: 0.1 };
        let split = stratified_split(&dataset.samples, fractions, 0).unwrap();
        assert_eq!(dataset.select(&split.validation).class_counts(), [20, 10]);
        assert_eq!(dataset.select(&split.test).class_counts(), [10, 5]);
        assert_eq!(dataset.select(&split.train).class_counts(), [70, 35]);
    }

    #[test]
    fn names_that_capitals_or_spaces_alone_tell_apart_are_noted() {
        let found = |names: [&'static str; 3]| alike(NameKind::Class, names.into_iter()).map(|note| note.to_string());
        assert_eq!(found(["bag", "Bags", "dress"]), None);
        assert_eq!(found(["bag", "bag", "dress"]), None, "groups name the same one often");
        let expected = "`Bag` and `bag` are two classes, though capitals or spaces alone tell them apart";
        assert_eq!(found(["bag", "Bag", "dress"]).unwrap(), expected);
        assert!(found(["polar bear", "Polar  bear ", "dress"]).is_some());
    }

    #[test]
    fn another_seed_gives_another_split() {
        let dataset = memory_dataset(&[0; 100], 1, 1);
        let split = |seed| stratified_split(&dataset.samples, FIFTH, seed).unwrap().validation;
        assert_eq!(split(1), split(1));
        assert_ne!(split(1), split(2));
    }

    #[test]
    fn the_order_of_the_samples_does_not_matter() {
        let dataset = memory_dataset(&[0, 1, 0, 1, 0, 1, 0, 1, 0, 1], 1, 1);
        let mut reversed = dataset.clone();
        reversed.samples.reverse();
        let validation =
            |dataset: &Dataset| names(dataset, &stratified_split(&dataset.samples, FIFTH, 3).unwrap().validation);
        assert_eq!(validation(&dataset), validation(&reversed));
    }

    #[test]
    fn adding_a_file_moves_at_most_one_other_across_the_boundary() {
        let grown = memory_dataset(&[0; 101], 1, 1);
        let mut dataset = grown.clone();
        for removed in 0..101 {
            dataset.samples = grown.samples.clone();
            let added = dataset.samples.remove(removed).name;
            let before = names(&dataset, &stratified_split(&dataset.samples, FIFTH, 9).unwrap().validation);
            let mut after = names(&grown, &stratified_split(&grown.samples, FIFTH, 9).unwrap().validation);
            after.remove(&*added);
            assert!(before.symmetric_difference(&after).count() <= 1);
        }
    }

    #[test]
    fn fractions_that_leave_no_training_data_are_refused() {
        let dataset = memory_dataset(&[0, 1], 1, 1);
        for (validation, test) in [(1.0, 0.0), (0.5, 0.5), (-0.1, 0.0), (f64::NAN, 0.0)] {
            let result = stratified_split(&dataset.samples, SplitFractions { validation, test }, 0);
            assert!(matches!(result, Err(DataError::BadFractions { .. })), "{validation} {test}");
        }
    }

    #[test]
    fn subsets_are_balanced_and_nested() {
        let labels: Vec<usize> = (0..60).map(|index| [0, 0, 0, 0, 0, 0, 0, 1, 1, 2][index % 10]).collect();
        let dataset = memory_dataset(&labels, 1, 1);
        assert_eq!(dataset.subset(15, 0).class_counts(), [5, 5, 5]);
        assert_eq!(dataset.subset(24, 0).class_counts(), [9, 9, 6]);
        assert_eq!(dataset.subset(1000, 0).len(), 60);
        let (small, large) = (dataset.subset(7, 4), dataset.subset(20, 4));
        let large: BTreeSet<&str> = large.samples.iter().map(|sample| &*sample.name).collect();
        assert!(small.samples.iter().all(|sample| large.contains(&*sample.name)));
    }

    #[test]
    fn an_existing_validation_split_is_kept_and_a_missing_one_is_made() {
        let dataset = memory_dataset(&[0, 1, 0, 1, 0, 1, 0, 1, 0, 1], 1, 1);
        let source = |splits: Vec<(SplitName, &[Sample])>| DataSource {
            root: "data".into(),
            classes: dataset.classes.clone(),
            splits: splits.into_iter().map(|(name, samples)| (name, samples.to_vec().into())).collect(),
            empty_class_folders: Vec::new(),
            notes: Vec::new(),
            corruptions: Vec::new(),
        };
        let unsplit = source(vec![(SplitName::All, &dataset.samples)]);
        let lengths = |source: &DataSource| {
            let sets = source.train_and_validation(0.2, SplitBy::Image, 0).unwrap();
            (sets.train.len(), sets.validation.len())
        };
        assert_eq!(lengths(&unsplit), (8, 2));
        let split =
            source(vec![(SplitName::Train, &dataset.samples[..6]), (SplitName::Validation, &dataset.samples[6..])]);
        assert_eq!(lengths(&split), (6, 4));
    }

    proptest! {
        #[test]
        fn a_split_is_a_stratified_partition(
            labels in proptest::collection::vec(0usize..4, 0..80),
            validation in 0.0..0.6f64,
            test in 0.0..0.39f64,
            seed: u64,
        ) {
            let dataset = memory_dataset(&labels, 1, 1);
            let fractions = SplitFractions { validation, test };
            let split = stratified_split(&dataset.samples, fractions, seed).unwrap();
            let mut all = [split.train.clone(), split.validation.clone(), split.test.clone()].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());

            let (totals, train) = (dataset.class_counts(), dataset.select(&split.train).class_counts());
            let held_out = [(validation, &split.validation), (test, &split.test)];
            for class in 0..totals.len() {
                prop_assert!(totals[class] == 0 || train[class] > 0);
                for (part, (fraction, indices)) in held_out.into_iter().enumerate() {
                    let count = dataset.select(indices).class_counts()[class];
                    prop_assert!(fraction == 0.0 || count > 0 || totals[class] < part + 2);
                    // Rounding moves a count by at most a half, the guaranteed sample by at most one.
                    prop_assert!((count as f64 - fraction * totals[class] as f64).abs() <= 1.5);
                }
            }
        }
    }
}
