//! Features and thumbnails of images that are kept as the images go by.

use std::collections::BTreeMap;
use std::path::Path;

use half::f16;
use image::RgbImage;

use super::samples::write_features;
use super::tiles::{SHEET_BYTES, Tiles, side_for};
use super::{HARDEST, HARDEST_FILE, HARDEST_SIDE, MAX_SAMPLES, SAMPLES_FOLDER, THUMBNAILS_FILE};
use crate::files::{self, FileError};
use crate::run::FitData;

/// Features and thumbnails of a run's images.
pub(super) struct KeptImages {
    /// Images of all sets together.
    images: usize,
    features: Vec<f16>,
    thumbnails: Tiles,
    side: u32,
    hardest: Tiles,
}

impl KeptImages {
    /// None yet, of the sets that a run is evaluated on.
    pub fn of(data: &FitData) -> Self {
        let further: usize = data.evaluations.iter().map(|(_, dataset)| dataset.len()).sum();
        let images = data.validation.len() + further;
        let side = side_for(images.min(MAX_SAMPLES));
        let hardest = Tiles::new(HARDEST_SIDE);
        Self { images, features: Vec::new(), thumbnails: Tiles::new(side), side, hardest }
    }

    /// Which images of a set of so many are kept.
    pub fn share(&self, images: usize) -> Share {
        Share::of(images, self.images)
    }

    /// Keeps an image by what the head sees of it, and returns its place.
    pub fn add(&mut self, features: &[f32], image: &RgbImage) -> usize {
        // Values beyond float16 are kept as its largest: a map tells no difference.
        let narrow = |&value: &f32| f16::from_f32(value.clamp(f16::MIN.to_f32(), f16::MAX.to_f32()));
        self.features.extend(features.iter().map(narrow));
        self.thumbnails.push(&Tiles::tile(image, self.side));
        self.thumbnails.len() - 1
    }

    /// Keeps an image of high loss, as a tile of [`HARDEST_SIDE`].
    pub fn add_hardest(&mut self, tile: &[u8]) {
        self.hardest.push(tile);
    }

    /// Writes what was kept into a run directory.
    ///
    /// # Errors
    /// Names the path and the reason.
    pub fn write(&self, run: &Path) -> Result<(), FileError> {
        let folder = run.join(SAMPLES_FOLDER);
        files::create_folder(&folder)?;
        let count = self.thumbnails.len();
        write_features(&folder, &self.features, self.features.len() / count.max(1))?;
        for (name, tiles) in [(THUMBNAILS_FILE, &self.thumbnails), (HARDEST_FILE, &self.hardest)] {
            let path = folder.join(name);
            let jpeg = tiles.jpeg(SHEET_BYTES).map_err(|error| FileError::new("write", &path, error))?;
            files::write_atomically(&path, |file| file.write_all(&jpeg))?;
        }
        Ok(())
    }
}

/// Which images of a set are kept: every one, or evenly spread ones where there are too many.
#[derive(Clone, Copy)]
pub(super) struct Share {
    images: usize,
    kept: usize,
}

impl Share {
    pub fn of(images: usize, all: usize) -> Self {
        let kept = if all <= MAX_SAMPLES { images } else { images * MAX_SAMPLES / all };
        Self { images, kept }
    }

    pub fn takes(self, index: usize) -> bool {
        index * self.kept / self.images < (index + 1) * self.kept / self.images
    }
}

/// The images of highest loss that went by, of equal ones the first.
pub(super) struct Hardest<T> {
    /// By order of loss; a loss is not negative, so that its bits are in order too.
    images: BTreeMap<(u64, std::cmp::Reverse<usize>), T>,
}

impl<T> Default for Hardest<T> {
    fn default() -> Self {
        Self { images: BTreeMap::new() }
    }
}

impl<T> Hardest<T> {
    pub fn offer(&mut self, loss: f64, index: usize, image: impl FnOnce() -> T) {
        let key = (loss.max(0.0).to_bits(), std::cmp::Reverse(index));
        let full = self.images.len() == HARDEST;
        if full && self.images.first_key_value().is_some_and(|(least, _)| *least > key) {
            return;
        }
        self.images.insert(key, image());
        if full {
            self.images.pop_first();
        }
    }

    pub fn into_images(self) -> impl Iterator<Item = T> {
        self.images.into_values().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_images_are_sampled_evenly() {
        for (images, all) in [(7, 10_000), (6_000, 30_000), (24_001, 30_000), (1, 1_000_000)] {
            let share = Share::of(images, all);
            let taken: Vec<usize> = (0..images).filter(|&index| share.takes(index)).collect();
            assert_eq!(taken.len(), share.kept);
            let gaps = taken.windows(2).map(|pair| pair[1] - pair[0]);
            let (least, most) = (gaps.clone().min().unwrap_or(1), gaps.max().unwrap_or(1));
            assert!(most - least <= 1, "{images} of {all}: {least} to {most}");
        }
    }

    #[test]
    fn the_hardest_are_kept_in_order() {
        let mut hardest = Hardest::default();
        for index in 0..100usize {
            let loss = (index * 37 % 50) as f64 / 10.0;
            hardest.offer(loss, index, || index);
        }
        let kept: Vec<usize> = hardest.into_images().collect();
        let mut expected: Vec<usize> = (0..100).collect();
        expected.sort_by_key(|&index| (std::cmp::Reverse(index * 37 % 50), index));
        assert_eq!(kept, expected[..HARDEST]);
    }
}
