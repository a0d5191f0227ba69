//! Data that a program holds in memory, under a location that options, runs and evaluation sets can name like a path.
//!
//! A location is `memory:` and a hash of all that is in it, so that a run that goes on later, perhaps in another process,
//! finds the same images under the same name or none.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use sha2::{Digest, Sha256};

use super::image::{ImageSource, StoredImage};
use super::source::{DataSource, SampleList, SplitName};
use super::{DataError, Dataset};

/// What locations in memory begin with.
const PREFIX: &str = "memory:";

/// What is lent, by its location, and how often.
static LENT: LazyLock<Mutex<HashMap<PathBuf, (DataSource, usize)>>> = LazyLock::new(Mutex::default);

fn lent() -> MutexGuard<'static, HashMap<PathBuf, (DataSource, usize)>> {
    LENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a path is a location in memory.
pub fn is_location(path: &Path) -> bool {
    path.to_str().is_some_and(|text| text.starts_with(PREFIX))
}

/// Data that is found at its location for as long as this exists.
#[derive(Debug)]
pub struct Lent {
    location: PathBuf,
}

impl Lent {
    /// The location.
    pub fn location(&self) -> &Path {
        &self.location
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut lent = lent();
        if let Some((_, times)) = lent.get_mut(&self.location) {
            *times -= 1;
            if *times == 0 {
                lent.remove(&self.location);
            }
        }
    }
}

/// Lends splits of images, all with the classes of the first; one split called [`SplitName::All`] is data that is not split.
/// Every image is read once, for the location.
///
/// ```
/// use image::RgbImage;
/// use retune::sources::{DataSource, Dataset, SplitName, memory};
///
/// let classes = ["cat", "dog"].map(str::to_owned).to_vec();
/// let images = [(RgbImage::new(8, 8), Some(0)), (RgbImage::new(9, 7), Some(1))];
/// let lent = memory::lend([(SplitName::All, Dataset::from_images(images, classes)?)])?;
/// assert_eq!(DataSource::open(lent.location())?.all().labels()?, [0, 1]);
/// # Ok::<(), retune::sources::DataError>(())
/// ```
///
/// # Errors
/// An image that cannot be read.
pub fn lend(splits: impl IntoIterator<Item = (SplitName, Dataset)>) -> Result<Lent, DataError> {
    let splits: Vec<(SplitName, Dataset)> = splits.into_iter().collect();
    let location = PathBuf::from(format!("{PREFIX}{}", content_hash(&splits)?));
    let mut lent = lent();
    let (_, times) = lent.entry(location.clone()).or_insert_with(|| (source(&location, splits), 0));
    *times += 1;
    Ok(Lent { location })
}

fn source(location: &Path, splits: Vec<(SplitName, Dataset)>) -> DataSource {
    let classes = splits.first().map(|(_, dataset)| dataset.classes.clone()).unwrap_or_default();
    let splits: BTreeMap<SplitName, SampleList> =
        splits.into_iter().map(|(name, dataset)| (name, dataset.samples)).collect();
    DataSource {
        root: location.to_owned(),
        classes,
        splits,
        empty_class_folders: Vec::new(),
        notes: Vec::new(),
        corruptions: Vec::new(),
    }
}

/// The data at a location.
pub(super) fn at(location: &Path) -> Result<DataSource, DataError> {
    let found = lent().get(location).map(|(source, _)| source.clone());
    found.ok_or_else(|| DataError::NotInMemory { location: location.display().to_string() })
}

/// A hash of all pixels, files' paths, labels, groups, names and classes.
fn content_hash(splits: &[(SplitName, Dataset)]) -> Result<String, DataError> {
    let mut hash = Sha256::new();
    // Lengths go before what they are of, so that no two lists run into each other.
    let text = |hash: &mut Sha256, text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    for (name, dataset) in splits {
        text(&mut hash, &name.to_string());
        hash.update((dataset.classes.len() as u64).to_le_bytes());
        dataset.classes.iter().for_each(|class| text(&mut hash, class));
        hash.update((dataset.len() as u64).to_le_bytes());
        for sample in &dataset.samples {
            text(&mut hash, &sample.name);
            text(&mut hash, sample.group.as_deref().unwrap_or_default());
            hash.update(sample.label.map_or(u64::MAX, |label| label as u64).to_le_bytes());
            match &sample.image {
                ImageSource::File(path) => text(&mut hash, &path.to_string_lossy()),
                ImageSource::Memory(image) => pixels(&mut hash, image),
                stored @ ImageSource::Stored { .. } => match stored.read()? {
                    StoredImage::Pixels(image) => pixels(&mut hash, &image),
                    StoredImage::Encoded(bytes) => hash.update(&bytes),
                },
            }
        }
    }
    Ok(hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect())
}

fn pixels(hash: &mut Sha256, image: &image::RgbImage) {
    hash.update(image.width().to_le_bytes());
    hash.update(image.height().to_le_bytes());
    hash.update(image.as_raw());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::source::tests::memory_dataset;

    #[test]
    fn what_is_lent_is_found_until_it_is_taken_back() {
        let data = || [(SplitName::All, memory_dataset(&[0, 1, 1], 5, 4))];
        let (first, second) = (lend(data()).unwrap(), lend(data()).unwrap());
        let location = first.location().to_owned();
        assert_eq!(location, second.location());
        drop(first);
        assert_eq!(DataSource::open(&location).unwrap().all().labels().unwrap(), [0, 1, 1]);
        drop(second);
        let error = DataSource::open(&location).unwrap_err().to_string();
        assert!(error.contains("hand the same images over again"), "{error}");
    }

    #[test]
    fn another_pixel_or_label_is_another_location() {
        let of = |dataset: Dataset| lend([(SplitName::All, dataset)]).unwrap();
        let own = of(memory_dataset(&[0, 1, 2], 6, 4));
        assert_ne!(own.location(), of(memory_dataset(&[0, 1, 2], 4, 6)).location());
        let mut other = memory_dataset(&[0, 1, 2], 6, 4);
        other.samples[0].label = Some(2);
        assert_ne!(own.location(), of(other).location());
    }

    #[test]
    fn shifts_follow_a_location_as_they_follow_a_path() {
        let lent = lend([(SplitName::All, memory_dataset(&[0, 1, 2], 7, 7))]).unwrap();
        let shifted = DataSource::open(format!("{}@label_flip@fog:2", lent.location().display())).unwrap();
        assert_eq!(shifted.all().labels().unwrap(), [2, 1, 0]);
        assert_eq!(shifted.corruptions.len(), 1);
    }
}
