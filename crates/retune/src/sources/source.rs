//! What there is to load: samples, datasets, and the recognition of a data source at a path.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::RgbImage;
use retune_pixels::corruption::Corruption;

use super::format::{Labels, Missing, Reading};
use super::image::ImageSource;
use super::manifest;
use super::shift::{self, Shift};
use super::{DataError, DataNote, FORMATS, many_labels, memory};

/// One image and what is known about it.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Where its pixels come from.
    pub image: ImageSource,
    /// Its class, a position in the class list of its dataset; `None` where unknown.
    pub label: Option<usize>,
    /// The group it belongs to (for accuracy by group), where the source names one.
    pub group: Option<Arc<str>>,
    /// Its path relative to the data's root, with `/` between the parts.
    pub name: Arc<str>,
}

/// Samples in their order. Clones share them until one is changed, since a list of a million takes hundreds of megabytes.
#[derive(Clone, Debug, Default)]
pub struct SampleList(Arc<Vec<Sample>>);

impl Deref for SampleList {
    type Target = Vec<Sample>;

    fn deref(&self) -> &Vec<Sample> {
        &self.0
    }
}

impl DerefMut for SampleList {
    fn deref_mut(&mut self) -> &mut Vec<Sample> {
        Arc::make_mut(&mut self.0)
    }
}

impl From<Vec<Sample>> for SampleList {
    fn from(samples: Vec<Sample>) -> Self {
        Self(Arc::new(samples))
    }
}

impl FromIterator<Sample> for SampleList {
    fn from_iter<I: IntoIterator<Item = Sample>>(samples: I) -> Self {
        samples.into_iter().collect::<Vec<_>>().into()
    }
}

impl<'a> IntoIterator for &'a SampleList {
    type Item = &'a Sample;
    type IntoIter = std::slice::Iter<'a, Sample>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// An ordered list of samples with one class list.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Where the data lies; names of samples are relative to it.
    pub root: PathBuf,
    /// The class names that labels index.
    pub classes: Vec<String>,
    /// The samples. A sample's position here is its index everywhere else.
    pub samples: SampleList,
    /// What is done to every image at the model's input size, one after the other.
    pub corruptions: Vec<Corruption>,
}

impl Dataset {
    /// Unlabeled images at the given paths, in the given order.
    ///
    /// Nothing is read; a missing file is an error of loading, which names it.
    pub fn from_files<P: AsRef<Path>>(paths: &[P]) -> Self {
        let sample = |path: &P| Sample {
            image: ImageSource::File(path.as_ref().into()),
            label: None,
            group: None,
            name: slashed(path.as_ref()).into(),
        };
        let samples = paths.iter().map(sample).collect();
        Self { root: PathBuf::new(), classes: Vec::new(), samples, corruptions: Vec::new() }
    }

    /// Images in memory with their labels, positions in `classes`; `None` where the class is unknown.
    ///
    /// ```
    /// use image::RgbImage;
    /// use retune::sources::Dataset;
    ///
    /// let classes = ["cat", "dog"].map(str::to_owned).to_vec();
    /// let images = [(RgbImage::new(8, 8), Some(0)), (RgbImage::new(9, 7), Some(1))];
    /// assert_eq!(Dataset::from_images(images, classes)?.labels()?, [0, 1]);
    /// # Ok::<(), retune::sources::DataError>(())
    /// ```
    ///
    /// # Errors
    /// [`DataError::NoSuchClass`] for a label that is no position in `classes`.
    pub fn from_images(
        images: impl IntoIterator<Item = (RgbImage, Option<usize>)>,
        classes: Vec<String>,
    ) -> Result<Self, DataError> {
        let sample = |(number, (image, label)): (usize, (RgbImage, Option<usize>))| {
            let name = format!("image {number}");
            match label {
                Some(label) if label >= classes.len() => {
                    Err(DataError::NoSuchClass { name, label, classes: classes.len() })
                }
                _ => Ok(Sample { image: ImageSource::Memory(Arc::new(image)), label, group: None, name: name.into() }),
            }
        };
        let samples = images.into_iter().enumerate().map(sample).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { root: PathBuf::new(), classes, samples: samples.into(), corruptions: Vec::new() })
    }

    /// The same images under shifts.
    #[must_use]
    pub fn shifted(&self, shifts: &[Shift]) -> Self {
        let (mut shifted, classes) = (self.clone(), self.classes.len());
        for shift in shifts {
            match shift {
                Shift::Corruption(corruption) => shifted.corruptions.push(*corruption),
                Shift::LabelFlip => shift::flip_labels(&mut shifted.samples, classes),
            }
        }
        shifted
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The labels of all samples, in their order.
    ///
    /// # Errors
    /// [`DataError::Unlabeled`], with the first sample that has no label.
    pub fn labels(&self) -> Result<Vec<usize>, DataError> {
        let label = |sample: &Sample| sample.label.ok_or_else(|| self.unlabeled(sample));
        self.samples.iter().map(label).collect()
    }

    fn unlabeled(&self, first: &Sample) -> DataError {
        DataError::Unlabeled {
            name: first.name.to_string(),
            count: self.samples.iter().filter(|sample| sample.label.is_none()).count(),
            of: self.len(),
            columns: Vec::new(),
        }
    }

    /// The number of samples of each class, in the order of [`Dataset::classes`].
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        for count in self.samples.iter().filter_map(|sample| sample.label) {
            counts[count] += 1;
        }
        counts
    }

    /// The distinct group names, sorted; empty where the source names no groups.
    pub fn groups(&self) -> Vec<String> {
        let groups: BTreeSet<&str> = self.samples.iter().filter_map(|sample| sample.group.as_deref()).collect();
        groups.into_iter().map(str::to_owned).collect()
    }

    /// The samples at `indices`, in that order.
    ///
    /// # Panics
    /// If an index is not below [`Dataset::len`].
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        let samples = indices.iter().map(|&index| self.samples[index].clone()).collect();
        Self { samples, ..self.without_samples() }
    }

    fn without_samples(&self) -> Self {
        let (root, classes, corruptions) = (self.root.clone(), self.classes.clone(), self.corruptions.clone());
        Self { root, classes, samples: SampleList::default(), corruptions }
    }
}

/// The name of a split.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SplitName {
    /// The data is not split.
    All,
    /// What a model is trained on.
    Train,
    /// What chooses rates, epochs and checkpoints (`val`, `valid`, `validation` or `dev`).
    Validation,
    /// Anything else, such as `test` or `test_ood`.
    Other(String),
}

impl From<&str> for SplitName {
    fn from(name: &str) -> Self {
        match name.to_ascii_lowercase().as_str() {
            "all" => SplitName::All,
            "train" | "training" => SplitName::Train,
            "val" | "valid" | "validation" | "dev" => SplitName::Validation,
            _ => SplitName::Other(name.to_owned()),
        }
    }
}

impl fmt::Display for SplitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SplitName::All => "all",
            SplitName::Train => "train",
            SplitName::Validation => "val",
            SplitName::Other(name) => name,
        })
    }
}

/// The images that lie at a path, by split, before anything is decoded.
#[derive(Clone, Debug)]
pub struct DataSource {
    /// Where the data lies: the folder, or a manifest's folder.
    pub root: PathBuf,
    /// All class names that occur in any split. Sorted by code point, as torchvision's `ImageFolder`
    /// sorts them; where labels are numbers (IDX and some Parquet files), in the order of the numbers.
    pub classes: Vec<String>,
    /// The samples of each split; [`SplitName::All`] alone where the data is not split.
    pub splits: BTreeMap<SplitName, SampleList>,
    /// Class folders that hold no image, relative to the root. Training refuses them in its split.
    pub empty_class_folders: Vec<String>,
    /// What a user should hear about the data.
    pub notes: Vec<DataNote>,
    /// What is done to every image on its way.
    pub corruptions: Vec<Corruption>,
}

impl DataSource {
    /// Recognizes the data at `path` and lists its samples.
    ///
    /// A folder may hold IDX files, CIFAR files, Parquet files, tar archives (WebDataset), `train/` with
    /// `val|valid|validation/` and `test*/`, class folders, or plain images; a file may be a `.csv` or `.jsonl` manifest, a
    /// `.parquet` or `.tar` file or one image. Shifts may follow, as in `photos@fog:3` (see [`shift`]).
    ///
    /// # Errors
    /// [`DataError::NotFound`], [`DataError::Unrecognized`], [`DataError::NoImages`],
    /// [`DataError::UnknownShift`], and what can be wrong with a manifest, an IDX, CIFAR, Parquet or tar file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataError> {
        Self::open_with(path.as_ref(), Reading { missing: Missing::Refused, labels: Labels::One })
    }

    /// The same, but files that a manifest lists need not exist: for who leaves out what cannot be loaded, as
    /// [`Dataset::leave_out_unreadable`] does.
    ///
    /// # Errors
    /// As [`DataSource::open`], but for a manifest's missing files.
    pub fn open_with_missing_files(path: impl AsRef<Path>) -> Result<Self, DataError> {
        Self::open_with(path.as_ref(), Reading { missing: Missing::LeftToLoading, labels: Labels::One })
    }

    /// The same for images that may have several labels: [`DataSource::classes`] are then the combinations of labels that
    /// occur, of which [`LabelSets`](super::LabelSets) makes labels.
    ///
    /// # Errors
    /// As [`DataSource::open`].
    pub fn open_multi_label(path: impl AsRef<Path>) -> Result<Self, DataError> {
        Self::open_with(path.as_ref(), Reading { missing: Missing::Refused, labels: Labels::Several })
    }

    /// As [`DataSource::open_multi_label`], but files that a manifest lists need not exist.
    ///
    /// # Errors
    /// As [`DataSource::open_with_missing_files`].
    pub fn open_multi_label_with_missing_files(path: impl AsRef<Path>) -> Result<Self, DataError> {
        Self::open_with(path.as_ref(), Reading { missing: Missing::LeftToLoading, labels: Labels::Several })
    }

    fn open_with(path: &Path, reading: Reading) -> Result<Self, DataError> {
        let (path, shifts) = shift::split_location(path)?;
        let mut source = Self::open_unshifted(&path, reading)?;
        if reading.labels == Labels::One {
            source.notes.extend(many_labels::note(&source));
        }
        for shift in shifts {
            match shift {
                Shift::Corruption(corruption) => source.corruptions.push(corruption),
                Shift::LabelFlip => {
                    let classes = source.classes.len();
                    source.splits.values_mut().for_each(|samples| shift::flip_labels(samples, classes));
                }
            }
        }
        Ok(source)
    }

    fn open_unshifted(path: &Path, reading: Reading) -> Result<Self, DataError> {
        if memory::is_location(path) {
            return memory::at(path);
        }
        let kind = fs::metadata(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => DataError::NotFound { path: path.to_owned() },
            _ => DataError::Io { path: path.to_owned(), source },
        })?;
        for format in FORMATS {
            let source =
                if kind.is_dir() { format.open_folder(path, reading) } else { format.open_file(path, reading) };
            if let Some(source) = source? {
                return Ok(source);
            }
        }
        Err(DataError::Unrecognized { path: path.to_owned() })
    }

    /// The content of a `.csv` or `.jsonl` manifest, as if it lay at `path`.
    ///
    /// # Errors
    /// [`DataError::Unrecognized`] for another extension; [`DataError::Manifest`], with the line.
    pub fn from_manifest(path: &Path, text: &[u8]) -> Result<Self, DataError> {
        let format = manifest::Syntax::of(path).ok_or_else(|| DataError::Unrecognized { path: path.to_owned() })?;
        manifest::parse(path, format, text, Reading { missing: Missing::Refused, labels: Labels::One })
    }

    /// One image file, without a label.
    pub(super) fn single_image(path: &Path) -> Self {
        let mut dataset = Dataset::from_files(&[path]);
        dataset.root = path.parent().unwrap_or(Path::new("")).to_owned();
        for sample in dataset.samples.iter_mut() {
            sample.name = path.file_name().map(Path::new).map(slashed).unwrap_or_default().into();
        }
        Self {
            root: dataset.root,
            classes: Vec::new(),
            splits: BTreeMap::from([(SplitName::All, dataset.samples)]),
            empty_class_folders: Vec::new(),
            notes: Vec::new(),
            corruptions: Vec::new(),
        }
    }

    /// The samples of one split. [`SplitName::All`] names every sample, split or not.
    ///
    /// # Errors
    /// [`DataError::NoSuchSplit`], listing the splits there are.
    pub fn split(&self, name: &SplitName) -> Result<Dataset, DataError> {
        if *name == SplitName::All {
            return Ok(self.all());
        }
        let samples = self.splits.get(name).ok_or_else(|| DataError::NoSuchSplit {
            path: self.root.clone(),
            split: name.clone(),
            available: self.splits.keys().map(SplitName::to_string).collect(),
        })?;
        Ok(self.dataset(samples.clone()))
    }

    /// Every sample of every split, in the order train, validation, others by name.
    pub fn all(&self) -> Dataset {
        self.dataset(self.splits.values().flatten().cloned().collect())
    }

    pub(super) fn dataset(&self, samples: SampleList) -> Dataset {
        let (root, classes, corruptions) = (self.root.clone(), self.classes.clone(), self.corruptions.clone());
        Dataset { root, classes, samples, corruptions }
    }

    /// What training would draw from: the training split, or everything where nothing is split.
    pub(super) fn training_split(&self) -> Result<(&SplitName, &SampleList), DataError> {
        [SplitName::Train, SplitName::All].iter().find_map(|name| self.splits.get_key_value(name)).ok_or_else(|| {
            DataError::NoSuchSplit {
                path: self.root.clone(),
                split: SplitName::Train,
                available: self.splits.keys().map(SplitName::to_string).collect(),
            }
        })
    }

    /// Checks that a classifier can be trained on this data.
    ///
    /// # Errors
    /// No training split; an image without a label in it; a class folder without images; fewer than
    /// two classes; or a class that only another split has.
    pub fn check_for_training(&self) -> Result<(), DataError> {
        let (name, samples) = self.training_split()?;
        let in_training_split = |folder: &&String| match name {
            SplitName::All => true,
            _ => folder.split('/').next().is_some_and(|first| SplitName::from(first) == *name),
        };
        let folders: Vec<String> = self.empty_class_folders.iter().filter(in_training_split).cloned().collect();
        if !folders.is_empty() {
            let found = self.notes.iter().find(|note| matches!(note, DataNote::NotImages { .. })).cloned();
            return Err(DataError::EmptyClasses { folders, found: found.map(Box::new) });
        }
        let training = self.dataset(samples.clone());
        training.labels()?;
        let counts = training.class_counts();
        let has_images = |label: &usize| counts[*label] > 0;
        if (0..counts.len()).filter(has_images).count() < 2 {
            let classes = (0..counts.len()).filter(has_images).map(|label| self.classes[label].clone()).collect();
            return Err(DataError::TooFewClasses { path: self.root.clone(), classes });
        }
        for (split, samples) in &self.splits {
            if let Some(label) = samples.iter().filter_map(|sample| sample.label).find(|label| !has_images(label)) {
                return Err(DataError::ClassNotInTraining { split: split.clone(), class: self.classes[label].clone() });
            }
        }
        Ok(())
    }
}

/// A path with `/` between its parts, whatever the platform writes.
pub(super) fn slashed(path: &Path) -> String {
    let text = path.to_string_lossy();
    if std::path::MAIN_SEPARATOR == '/' { text.into_owned() } else { text.replace(std::path::MAIN_SEPARATOR, "/") }
}

#[cfg(test)]
pub(crate) mod tests {
    use retune_pixels::decode::DecodeLimits;

    use super::*;

    /// A labeled dataset of tiny in-memory images, all of them different.
    pub(crate) fn memory_dataset(labels: &[usize], width: u32, height: u32) -> Dataset {
        let class_count = labels.iter().max().map_or(0, |largest| largest + 1);
        let sample = |(index, &label): (usize, &usize)| {
            let image = RgbImage::from_fn(width, height, |x, y| {
                image::Rgb([(index * 7) as u8, (x * 5 + index as u32) as u8, (y * 11) as u8])
            });
            Sample {
                image: ImageSource::Memory(Arc::new(image)),
                label: Some(label),
                group: None,
                name: format!("{label}/{index:05}.png").into(),
            }
        };
        Dataset {
            root: PathBuf::new(),
            classes: (0..class_count).map(|class| format!("class{class}")).collect(),
            samples: labels.iter().enumerate().map(sample).collect(),
            corruptions: Vec::new(),
        }
    }

    #[test]
    fn split_names_have_their_usual_spellings() {
        for name in ["val", "valid", "Validation", "dev"] {
            assert_eq!(SplitName::from(name), SplitName::Validation);
        }
        assert_eq!(SplitName::from("test_ood"), SplitName::Other("test_ood".into()));
        assert_eq!(SplitName::from("train").to_string(), "train");
    }

    #[test]
    fn an_unlabeled_sample_is_named() {
        let dataset = Dataset::from_files(&["some/picture.png"]);
        assert!(dataset.labels().unwrap_err().to_string().contains("some/picture.png"));
    }

    #[test]
    fn a_label_of_no_class_is_refused() {
        let error = Dataset::from_images([(RgbImage::new(2, 2), Some(1))], vec!["cat".into()]).unwrap_err();
        assert_eq!(error.to_string(), "image 0 has the label 1, and there is 1 class");
    }

    #[test]
    fn a_missing_path_and_an_unknown_file_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("absent");
        assert!(matches!(DataSource::open(&missing), Err(DataError::NotFound { .. })));
        let text = folder.path().join("notes.txt");
        fs::write(&text, "x").unwrap();
        assert!(matches!(DataSource::open(&text), Err(DataError::Unrecognized { .. })));
    }

    #[test]
    fn a_single_image_is_an_unlabeled_source() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.png");
        RgbImage::new(2, 2).save(&path).unwrap();
        let source = DataSource::open(&path).unwrap();
        assert_eq!(&*source.all().samples[0].name, "one.png");
        assert!(source.all().samples[0].image.load(&DecodeLimits::default()).is_ok());
    }
}
