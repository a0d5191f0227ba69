//! Images that are in two datasets.

use std::collections::HashMap;
use std::fs;

use rayon::prelude::*;

use super::decode::DecodeLimits;
use super::source::{Dataset, ImageSource, Sample};
use crate::random;

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
    names: HashMap<(u64, usize), &'a str>,
}

impl<'a> Contents<'a> {
    /// Reads every image once. Files that cannot be read are passed over here; loading them will
    /// say so.
    pub fn of(dataset: &'a Dataset) -> Self {
        let named = fingerprints(dataset).into_iter().zip(&dataset.samples);
        Self { names: named.filter_map(|(key, sample)| Some((key?, sample.name.as_str()))).collect() }
    }

    /// The images of `other` that are here too.
    pub fn shared_with(&self, other: &Dataset) -> Vec<SharedImage> {
        let shared = |(key, sample): (Option<(u64, usize)>, &Sample)| {
            let first = (*self.names.get(&key?)?).to_owned();
            Some(SharedImage { first, second: sample.name.clone() })
        };
        fingerprints(other).into_iter().zip(&other.samples).filter_map(shared).collect()
    }
}

/// A hash of each image's content, and its length.
fn fingerprints(dataset: &Dataset) -> Vec<Option<(u64, usize)>> {
    let of = |bytes: &[u8]| (random::hash(bytes), bytes.len());
    dataset
        .samples
        .par_iter()
        .map(|sample| match &sample.image {
            ImageSource::File(path) => fs::read(path).ok().map(|bytes| of(&bytes)),
            ImageSource::Parquet { images, row } => images.encoded(*row).ok().map(|bytes| of(&bytes)),
            raw => raw.load(&DecodeLimits::default()).ok().map(|image| of(image.as_raw())),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::source::tests::memory_dataset;

    #[test]
    fn the_same_content_is_found_under_another_name() {
        let first = memory_dataset(&[0, 1, 0, 1], 5, 4);
        let mut second = first.select(&[2, 0]);
        second.samples[0].name = "copy.png".into();
        let mut other = memory_dataset(&[0, 1], 6, 4);
        other.samples.append(&mut second.samples);
        let shared = Contents::of(&first).shared_with(&other);
        let names: Vec<(&str, &str)> =
            shared.iter().map(|image| (image.first.as_str(), image.second.as_str())).collect();
        assert_eq!(
            names,
            [
                (first.samples[2].name.as_str(), "copy.png"),
                (first.samples[0].name.as_str(), other.samples[3].name.as_str())
            ]
        );
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
        let shared = Contents::of(&first).shared_with(&second);
        assert_eq!(shared.len(), 1);
        assert!(shared[0].first.ends_with("b.png") && shared[0].second.ends_with("c.png"));
    }
}
