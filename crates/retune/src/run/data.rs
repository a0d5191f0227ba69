//! The images of a fit: what it trains, validates and evaluates on.

use std::ops::ControlFlow;
use std::path::Path;

use indexmap::IndexMap;
use retune_pixels::decode::DecodeLimits;

use super::caveat::{self, Caveat};
use super::{FitError, FitOptions};
use crate::monitor::Monitor;
use crate::sources::{
    ClassList, ClassMapping, DataError, DataNote, DataSource, Dataset, LeftOut, ReadImages, SplitName, TrainingSets,
    shift,
};
use crate::train::TrainError;
use crate::train::estimate::ImageCounts;

/// Datasets of a fit, their labels in the order of the model's classes.
#[derive(Clone, Debug)]
pub struct FitData {
    /// Images to train on.
    pub train: Dataset,
    /// Images that choose rates, strengths and epochs.
    pub validation: Dataset,
    /// Sets that only the final model is evaluated on.
    pub evaluations: Vec<(String, Dataset)>,
    /// What a user should hear about the data.
    pub notes: Vec<DataNote>,
}

impl FitData {
    /// Opens and checks all sources of a fit.
    ///
    /// # Errors
    /// What is wrong with the data, by path and class; two sets of one name.
    pub fn open(options: &FitOptions) -> Result<Self, FitError> {
        let source = options.open_source(&options.data)?;
        let (fraction, by, seed) = (options.validation_fraction, options.split_by, options.train.seed);
        let TrainingSets { train, validation, notes: of_split } = match options.multi_label {
            true => source.train_and_validation_of_labels(fraction, by, seed)?,
            false => source.train_and_validation(fraction, by, seed)?,
        };
        if validation.is_empty() {
            return Err(FitError::NothingToValidate(options.data.clone()));
        }
        let mut evaluations = Vec::new();
        let mut notes = source.notes.clone();
        notes.extend(of_split);
        for name in source.splits.keys().filter(|name| matches!(name, SplitName::Other(_))) {
            let dataset = source.split(name)?;
            // Many published sets hold the labels of their test split back; there is nothing to evaluate then.
            if dataset.samples.iter().any(|sample| sample.label.is_some()) {
                evaluations.push((name.to_string(), dataset));
            }
        }
        let held_out = together(&evaluations).unwrap_or_else(|| validation.clone());
        for (index, evaluation) in options.evaluations.iter().enumerate() {
            // A set that a run has already may be named again beside it.
            if options.evaluations[..index].iter().any(|other| other.is_same(evaluation)) {
                continue;
            }
            if shift::is_of_same_images(&evaluation.path) {
                let shifts = shift::of_same_images(&evaluation.path)?;
                evaluations.push((evaluation.name.clone(), held_out.shifted(&shifts)));
                continue;
            }
            let further = options.open_source(&evaluation.path)?;
            let dataset = evaluation_split(&further)?;
            notes.extend(further.notes);
            // Combinations of labels need no match: their labels get one where they are evaluated.
            let dataset = match options.multi_label {
                true => dataset,
                false => {
                    let (dataset, how) = dataset.match_classes(&ClassList::named(train.classes.clone()))?;
                    notes.extend(how.note());
                    dataset
                }
            };
            evaluations.push((evaluation.name.clone(), dataset));
        }
        let mut names = std::collections::BTreeSet::from(["val"]);
        for (name, dataset) in &evaluations {
            dataset.labels()?;
            if !names.insert(name) {
                return Err(FitError::DuplicateName(name.clone()));
            }
        }
        Ok(Self { train, validation, evaluations, notes })
    }
}

impl FitData {
    /// How many images there are of each kind.
    pub fn image_counts(&self) -> ImageCounts {
        let evaluation = self.evaluations.iter().map(|(_, dataset)| dataset.len()).sum();
        ImageCounts { train: self.train.len(), validation: self.validation.len(), evaluation }
    }

    /// Says what a user should hear about the data.
    pub(crate) fn tell_notes(&self, monitor: &dyn Monitor) {
        for note in &self.notes {
            monitor.note(note);
        }
    }

    /// All sets with their names.
    fn sets(&mut self) -> impl Iterator<Item = (&str, &mut Dataset)> {
        let further = self.evaluations.iter_mut().map(|(name, dataset)| (name.as_str(), dataset));
        [("train", &mut self.train), ("val", &mut self.validation)].into_iter().chain(further)
    }

    /// Reads every image that is not among those `read` and leaves out those that cannot be; what was left out of each set.
    ///
    /// # Errors
    /// A set of which nothing is left; an interruption.
    pub(crate) fn leave_out_unreadable(
        &mut self,
        data: &Path,
        read: &ReadImages,
        monitor: &dyn Monitor,
    ) -> Result<IndexMap<String, Vec<LeftOut>>, FitError> {
        let mut found = IndexMap::new();
        for (name, dataset) in self.sets() {
            let left_out = watched(name, dataset.len(), monitor, |watch| {
                dataset.leave_out_unreadable(&DecodeLimits::default(), read, watch)
            })?;
            if let Some(first) = left_out.first().filter(|_| dataset.is_empty()) {
                let (set, first) = (name.to_owned(), first.reason.clone());
                return Err(FitError::NothingReadable { set, path: data.to_owned(), first });
            }
            for image in &left_out {
                monitor.message(&format!("left out of {name}: {}", image.reason));
            }
            found.insert(name.to_owned(), left_out);
        }
        Ok(found)
    }

    /// Reads every image of the further sets that was not `read` before. They are evaluated after training, when it is late
    /// to learn of one that cannot be read.
    ///
    /// # Errors
    /// The first image that cannot be read; an interruption.
    pub(crate) fn check_evaluations(&self, read: &ReadImages, monitor: &dyn Monitor) -> Result<(), FitError> {
        for (name, dataset) in &self.evaluations {
            let checked = watched(name, dataset.len(), monitor, |watch| {
                dataset.check_readable(&DecodeLimits::default(), read, watch)
            });
            checked?.map_err(FitError::Data)?;
        }
        Ok(())
    }

    /// Leaves out what an earlier start of the same run left out.
    pub(super) fn leave_out(&mut self, left_out: &IndexMap<String, Vec<LeftOut>>, data: &Path) -> Result<(), FitError> {
        for (name, dataset) in self.sets() {
            if !left_out.get(name).is_none_or(|images| dataset.leave_out(images)) {
                return Err(FitError::DataChanged(data.to_owned()));
            }
        }
        Ok(())
    }

    /// The same images with labels that index a model's classes.
    ///
    /// # Errors
    /// As [`ClassMapping::new`].
    pub(super) fn match_classes(mut self, known: &ClassList) -> Result<Self, DataError> {
        let mut images = self.train.class_counts();
        for dataset in std::iter::once(&self.validation).chain(self.evaluations.iter().map(|(_, dataset)| dataset)) {
            images.iter_mut().zip(dataset.class_counts()).for_each(|(sum, count)| *sum += count);
        }
        let mapping = ClassMapping::new(&self.train.root, &self.train.classes, &images, known)?;
        self.sets().for_each(|(_, dataset)| *dataset = mapping.apply(dataset));
        self.notes.extend(mapping.how().note());
        Ok(self)
    }
}

/// The images of a further evaluation set: its test splits, else its validation split beside a training split, else all of
/// it. What someone else trained on is no evidence of anything.
///
/// # Errors
/// None for a source that was opened.
pub fn evaluation_split(source: &DataSource) -> Result<Dataset, DataError> {
    let tests: Vec<&SplitName> = source.splits.keys().filter(|name| matches!(name, SplitName::Other(_))).collect();
    let Some((first, others)) = tests.split_first() else {
        let both = [SplitName::Train, SplitName::Validation].map(|name| source.splits.contains_key(&name));
        return if both == [true, true] { source.split(&SplitName::Validation) } else { Ok(source.all()) };
    };
    let mut dataset = source.split(first)?;
    for name in others {
        dataset.samples.extend(source.split(name)?.samples.iter().cloned());
    }
    Ok(dataset)
}

/// The images of all sets; `None` without a set.
fn together(sets: &[(String, Dataset)]) -> Option<Dataset> {
    let ((_, first), others) = sets.split_first()?;
    let mut all = first.clone();
    for (_, dataset) in others {
        all.samples.extend(dataset.samples.iter().cloned());
    }
    Some(all)
}

/// Which of these sets hold images that a run was trained on, as far as its data is still where it was.
///
/// # Errors
/// An interruption.
pub fn caveats_of_sets(run: &Path, sets: &[(String, Dataset)], monitor: &dyn Monitor) -> Result<Vec<Caveat>, FitError> {
    let data = super::read_options(run).and_then(|options| FitData::open(&options));
    let sets = sets.iter().map(|(name, dataset)| (name.as_str(), dataset));
    data.map_or_else(|_| Ok(Vec::new()), |data| caveat::training_images(&data.train, sets, monitor))
}

/// Runs `work`, which reads the images of a set and calls `watch` for each; returns what it finds.
///
/// # Errors
/// An interruption.
fn watched<T>(
    name: &str,
    images: usize,
    monitor: &dyn Monitor,
    work: impl FnOnce(&(dyn Fn() -> ControlFlow<()> + Sync)) -> Option<T>,
) -> Result<T, FitError> {
    monitor.start(&format!("reading every image of {name}"), images);
    let watch = || {
        monitor.advance(1);
        if monitor.canceled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let found = work(&watch).ok_or(FitError::Train(TrainError::Interrupted))?;
    monitor.finish();
    Ok(found)
}
