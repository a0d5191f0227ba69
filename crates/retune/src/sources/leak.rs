//! Images that are in two datasets.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::OnceLock;

use rayon::prelude::*;

use super::image::{ImageSource, StoredImage};
use super::source::{Dataset, Sample};

/// An image of one dataset that is in another too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedImage {
    /// Its name in the first dataset.
    pub first: String,
    /// Its name in the second.
    pub second: String,
}

/// The contents of a dataset's images: the bytes of files, the pixels of others. What happens to
/// images on the way (a corruption, say) plays no part: a corrupted copy is still the same image.
pub struct Contents<'a> {
    dataset: &'a Dataset,
    /// The first sample of each file.
    paths: HashMap<&'a Path, usize>,
    lengths: OnceLock<Vec<Option<u64>>>,
    /// Known once something has the same length.
    hashes: Vec<OnceLock<Option<u64>>>,
}

impl<'a> Contents<'a> {
    /// Reads nothing yet. Files that cannot be read will be passed over; loading them will say so.
    pub fn of(dataset: &'a Dataset) -> Self {
        let mut paths = HashMap::new();
        for (index, sample) in dataset.samples.iter().enumerate() {
            if let ImageSource::File(path) = &sample.image {
                paths.entry(&**path).or_insert(index);
            }
        }
        let hashes = dataset.samples.iter().map(|_| OnceLock::new()).collect();
        Self { dataset, paths, lengths: OnceLock::new(), hashes }
    }

    fn lengths(&self) -> &[Option<u64>] {
        let look_up = || distinct(self.dataset, &self.paths).map(|sample| sample.and_then(length)).collect();
        self.lengths.get_or_init(look_up)
    }

    /// Whether the two sets are small enough for their contents to be compared; of larger ones only
    /// files that both list are found, because looking into a million files takes minutes.
    pub fn compares_contents(&self, other: &Dataset) -> bool {
        const MAX: usize = 200_000;
        self.dataset.len() + other.len() <= MAX
    }

    /// The images of `other` that are here too; `None` if `stop`, which is asked before each image, said so. Only what has
    /// the length of something in the other set is read, and no file twice.
    pub fn shared_with(&self, other: &Dataset, stop: &(dyn Fn() -> bool + Sync)) -> Option<Vec<SharedImage>> {
        let named = |first: usize, second: usize| SharedImage {
            first: self.dataset.samples[first].name.to_string(),
            second: other.samples[second].name.to_string(),
        };
        if !self.compares_contents(other) {
            let same_file = |(index, sample): (usize, &Sample)| match &sample.image {
                ImageSource::File(path) => self.paths.get(&**path).map(|&first| named(first, index)),
                _ => None,
            };
            return Some(other.samples.iter().enumerate().filter_map(same_file).collect());
        }
        let theirs = Contents::of(other);
        let of_lengths = |lengths: &[Option<u64>]| lengths.iter().flatten().copied().collect::<HashSet<u64>>();
        let (own_lengths, their_lengths) = (of_lengths(self.lengths()), of_lengths(theirs.lengths()));
        let go_on = || (!stop()).then_some(());
        let own: Option<Vec<Option<(u64, u64)>>> = (0..self.hashes.len())
            .into_par_iter()
            .map(|index| go_on().map(|()| self.fingerprint(index, &their_lengths)))
            .collect();
        let own: HashMap<(u64, u64), usize> =
            own?.into_iter().enumerate().filter_map(|(index, key)| Some((key?, index))).collect();
        let found: Option<Vec<Option<usize>>> = (0..other.len())
            .into_par_iter()
            .map(|index| {
                go_on()?;
                let (representative, same_file) = match &other.samples[index].image {
                    ImageSource::File(path) => (theirs.paths[&**path], self.paths.get(&**path)),
                    _ => (index, None),
                };
                let same_bytes = || own.get(&theirs.fingerprint(representative, &own_lengths)?).copied();
                Some(same_file.copied().or_else(same_bytes))
            })
            .collect();
        let shared = found?.into_iter().enumerate().filter_map(|(second, first)| Some(named(first?, second)));
        Some(shared.collect())
    }

    /// Length and hash of an image whose length is among `lengths`.
    fn fingerprint(&self, index: usize, lengths: &HashSet<u64>) -> Option<(u64, u64)> {
        let length = self.lengths()[index].filter(|length| lengths.contains(length))?;
        let hash = self.hashes[index].get_or_init(|| hash(&self.dataset.samples[index]));
        hash.map(|hash| (length, hash))
    }
}

/// Each sample, or nothing in place of one whose file an earlier sample has.
fn distinct<'a>(
    dataset: &'a Dataset,
    paths: &HashMap<&Path, usize>,
) -> impl IndexedParallelIterator<Item = Option<&'a Sample>> {
    dataset.samples.par_iter().enumerate().map(|(index, sample)| match &sample.image {
        ImageSource::File(path) => (paths[&**path] == index).then_some(sample),
        _ => Some(sample),
    })
}

fn length(sample: &Sample) -> Option<u64> {
    // Sets of pixels have one size; a constant makes all of them candidates.
    if sample.image.holds_pixels() { Some(0) } else { sample.image.encoded_bytes() }
}

fn hash(sample: &Sample) -> Option<u64> {
    Some(match sample.image.read().ok()? {
        StoredImage::Encoded(bytes) => retune_random::hash(&bytes),
        StoredImage::Pixels(image) => retune_random::hash(image.as_raw()) ^ image.as_raw().len() as u64,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::sources::source::tests::memory_dataset;

    #[test]
    fn the_same_content_is_found_under_another_name() {
        let first = memory_dataset(&[0, 1, 0, 1], 5, 4);
        let mut second = first.select(&[2, 0]);
        second.samples[0].name = "copy.png".into();
        let mut other = memory_dataset(&[0, 1], 6, 4);
        other.samples.append(&mut second.samples);
        let shared = Contents::of(&first).shared_with(&other, &|| false).unwrap();
        assert!(Contents::of(&first).shared_with(&other, &|| true).is_none());
        let names: Vec<(&str, &str)> =
            shared.iter().map(|image| (image.first.as_str(), image.second.as_str())).collect();
        assert_eq!(names, [(&*first.samples[2].name, "copy.png"), (&*first.samples[0].name, &*other.samples[3].name)]);
    }

    #[test]
    fn files_are_told_by_their_bytes_and_missing_ones_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let first = Dataset::from_files(&[write("a.png", b"one"), write("b.png", b"two")]);
        let second =
            Dataset::from_files(&[write("c.png", b"two"), folder.path().join("missing.png"), write("d.png", b"three")]);
        let shared = Contents::of(&first).shared_with(&second, &|| false).unwrap();
        assert_eq!(shared.len(), 1);
        assert!(shared[0].first.ends_with("b.png") && shared[0].second.ends_with("c.png"));
    }
}
