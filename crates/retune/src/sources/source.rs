//! What there is to load: samples, datasets, and the recognition of a data source at a path.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::io;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::RgbImage;
use retune_pixels::corruption::Corruption;
use retune_pixels::decode::{DecodeLimits, decode, decode_with_alpha};
use retune_pixels::picture::Picture;

use super::cifar::{self, CifarImages};
use super::idx::IdxImages;
use super::manifest::Missing;
use super::parquet::{self, ParquetImages};
use super::shift::{self, Shift};
use super::webdataset::{self, TarImages};
use super::{DataError, DataNote};
use super::{folder, idx, manifest, many_labels};

/// The largest image file that is read, in bytes. No photograph comes near it; a mistaken path might.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 30;

/// Where the pixels of a sample come from.
#[derive(Clone, Debug)]
pub enum ImageSource {
    /// An image file.
    File(Arc<Path>),
    /// One image of an IDX file.
    Idx {
        /// The file's images, shared by all its samples.
        images: Arc<IdxImages>,
        /// The position within the file, from 0.
        item: usize,
    },
    /// One image of a Parquet file.
    Parquet {
        /// The file's images, shared by all its samples.
        images: Arc<ParquetImages>,
        /// The row within the file, from 0.
        row: usize,
    },
    /// One image of a CIFAR file.
    Cifar {
        /// The file's images, shared by all its samples.
        images: Arc<CifarImages>,
        /// The position within the file, from 0.
        item: usize,
    },
    /// One image of a tar archive.
    Tar {
        /// The archive's images, shared by all its samples.
        images: Arc<TarImages>,
        /// The position among them, from 0.
        item: usize,
    },
    /// Pixels already in memory.
    Memory(Arc<RgbImage>),
}

impl ImageSource {
    /// Reads and decodes the image.
    ///
    /// # Errors
    /// An unreadable, oversized or corrupt file; the error names it.
    pub fn load(&self, limits: &DecodeLimits) -> Result<RgbImage, DataError> {
        match self {
            ImageSource::File(path) => {
                let bytes = read_limited(path)?;
                decode(&bytes, limits).map_err(|source| DataError::Decode { path: path.to_path_buf(), source })
            }
            ImageSource::Idx { images, item } => images.image(*item),
            ImageSource::Parquet { images, row } => images.image(*row, limits),
            ImageSource::Cifar { images, item } => images.image(*item),
            ImageSource::Tar { images, item } => images.image(*item, limits),
            ImageSource::Memory(image) => Ok(RgbImage::clone(image)),
        }
    }

    /// As [`ImageSource::load`] with the opacity of each pixel, where it is otherwise laid over white.
    ///
    /// # Errors
    /// As [`ImageSource::load`].
    pub fn load_with_alpha(&self, limits: &DecodeLimits) -> Result<Picture, DataError> {
        match self {
            ImageSource::File(path) => {
                let bytes = read_limited(path)?;
                let decoded = decode_with_alpha(&bytes, limits);
                decoded.map_err(|source| DataError::Decode { path: path.to_path_buf(), source })
            }
            ImageSource::Parquet { images, row } => images.image_with_alpha(*row, limits),
            ImageSource::Tar { images, item } => images.image_with_alpha(*item, limits),
            opaque => opaque.load(limits).map(Picture::from),
        }
    }

    /// Whether loading costs next to nothing, because there is no file format to decode.
    pub fn is_raw(&self) -> bool {
        !matches!(self, ImageSource::File(_) | ImageSource::Parquet { .. } | ImageSource::Tar { .. })
    }
}

/// The bytes of a file no larger than [`MAX_FILE_BYTES`]. What is no regular file may never end, and is refused.
pub(super) fn read_limited(path: &Path) -> Result<Vec<u8>, DataError> {
    let unreadable = |source| DataError::Io { path: path.to_owned(), source };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")));
    }
    let bytes = metadata.len();
    if bytes > MAX_FILE_BYTES {
        return Err(DataError::FileTooLarge { path: path.to_owned(), bytes, limit: MAX_FILE_BYTES });
    }
    fs::read(path).map_err(unreadable)
}

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
    /// Unlabelled images at the given paths, in the given order.
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
    /// [`DataError::Unlabelled`], with the first sample that has no label.
    pub fn labels(&self) -> Result<Vec<usize>, DataError> {
        let label =
            |sample: &Sample| sample.label.ok_or_else(|| DataError::Unlabelled { name: sample.name.to_string() });
        self.samples.iter().map(label).collect()
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
    /// Recognises the data at `path` and lists its samples.
    ///
    /// A folder may hold IDX files, CIFAR files, Parquet files, tar archives (WebDataset), `train/` with
    /// `val|valid|validation/` and `test*/`, class folders, or plain images; a file may be a `.csv` or `.jsonl` manifest, a
    /// `.parquet` or `.tar` file or one image. Shifts may follow, as in `photos@fog:3` (see [`shift`]).
    ///
    /// # Errors
    /// [`DataError::NotFound`], [`DataError::Unrecognized`], [`DataError::NoImages`],
    /// [`DataError::UnknownShift`], and what can be wrong with a manifest, an IDX, CIFAR, Parquet or tar file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, DataError> {
        Self::open_with(path.as_ref(), Missing::Refused)
    }

    /// The same, but files that a manifest lists need not exist: for who leaves out what cannot be loaded, as
    /// [`Dataset::leave_out_unreadable`] does.
    ///
    /// # Errors
    /// As [`DataSource::open`], but for a manifest's missing files.
    pub fn open_with_missing_files(path: impl AsRef<Path>) -> Result<Self, DataError> {
        Self::open_with(path.as_ref(), Missing::LeftToLoading)
    }

    fn open_with(path: &Path, missing: Missing) -> Result<Self, DataError> {
        let (path, shifts) = shift::split_location(path)?;
        let mut source = Self::open_unshifted(&path, missing)?;
        source.notes.extend(many_labels::note(&source));
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

    /// Recognizes a folder by the first of these that it holds: IDX files, CIFAR files (or torchvision's folder of them),
    /// Parquet files, tar archives, folders or images; a file by its ending. Parquet files and archives count only where no
    /// image file lies beside or below them, since a folder of images may hold them too.
    fn open_unshifted(path: &Path, missing: Missing) -> Result<Self, DataError> {
        let kind = fs::metadata(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => DataError::NotFound { path: path.to_owned() },
            _ => DataError::Io { path: path.to_owned(), source },
        })?;
        if kind.is_dir() {
            if let Some(source) = idx::open(path)? {
                return Ok(source);
            }
            if let Some(source) = cifar::open(path)? {
                return Ok(source);
            }
            if let Some(source) = parquet::open_folder(path, missing)? {
                return Ok(source);
            }
            return match webdataset::open_folder(path)? {
                Some(source) => Ok(source),
                None => folder::open(path),
            };
        }
        match manifest::Format::of(path) {
            Some(format) => manifest::open(path, format, missing),
            None if parquet::is_parquet(path) => parquet::open_file(path, missing),
            None if webdataset::is_archive(path) => webdataset::open_file(path),
            None if folder::is_image(path) || folder::begins_as_image(path) => Ok(Self::single_image(path)),
            None => Err(DataError::Unrecognized { path: path.to_owned() }),
        }
    }

    /// The content of a `.csv` or `.jsonl` manifest, as if it lay at `path`.
    ///
    /// # Errors
    /// [`DataError::Unrecognized`] for another extension; [`DataError::Manifest`], with the line.
    pub fn from_manifest(path: &Path, text: &[u8]) -> Result<Self, DataError> {
        let format = manifest::Format::of(path).ok_or_else(|| DataError::Unrecognized { path: path.to_owned() })?;
        manifest::parse(path, format, text, Missing::Refused)
    }

    fn single_image(path: &Path) -> Self {
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
    use super::*;

    /// A labelled dataset of tiny in-memory images, all of them different.
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
    fn an_unlabelled_sample_is_named() {
        let dataset = Dataset::from_files(&["some/picture.png"]);
        assert!(dataset.labels().unwrap_err().to_string().contains("some/picture.png"));
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
    fn a_single_image_is_an_unlabelled_source() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.png");
        RgbImage::new(2, 2).save(&path).unwrap();
        let source = DataSource::open(&path).unwrap();
        assert_eq!(&*source.all().samples[0].name, "one.png");
        assert!(source.all().samples[0].image.load(&DecodeLimits::default()).is_ok());
    }
}
