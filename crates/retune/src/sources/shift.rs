//! Shifts that are made on the way: what may follow a data location after `@`.
//!
//! `photos@fog:3` is the images of `photos` in fog; `photos@label_flip` has every label exchanged for
//! its opposite. Several may follow one another. Beside other data, `@fog:3` is the same images in fog.

use std::fs;
use std::path::{Path, PathBuf};

use retune_pixels::corruption::{self, Corruption, CorruptionKind, UnknownCorruption};

use super::source::Sample;
use super::{DataError, memory};

/// Name of [`Shift::LabelFlip`].
const LABEL_FLIP: &str = "label_flip";

/// A change of data on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shift {
    /// The images are corrupted, at the model's input size.
    Corruption(Corruption),
    /// Of K classes, label y becomes K − 1 − y: a shift of the output alone, as CIFAR-Flip in Lee
    /// et al. 2023 (arXiv 2210.11466).
    LabelFlip,
}

impl Shift {
    fn parse(text: &str) -> Result<Self, UnknownCorruption> {
        if text == LABEL_FLIP { Ok(Self::LabelFlip) } else { text.parse().map(Self::Corruption) }
    }
}

/// Whether a location is made of shifts alone, as `@fog:3`. Beside data that is named otherwise, this stands for the same
/// images under the shift.
pub fn is_of_same_images(location: &Path) -> bool {
    location.to_str().is_some_and(|text| text.starts_with('@')) && fs::symlink_metadata(location).is_err()
}

/// The shifts of a location that is made of them alone.
///
/// # Errors
/// [`DataError::UnknownShift`] for something that is no shift.
pub fn of_same_images(location: &Path) -> Result<Vec<Shift>, DataError> {
    let text = location.to_string_lossy();
    parsed(text.strip_prefix('@').unwrap_or(&text), Path::new("@"))
}

/// The shifts that a text names, with an `@` between them; `path` is what they follow.
fn parsed(text: &str, path: &Path) -> Result<Vec<Shift>, DataError> {
    let parse = |name: &str| {
        Shift::parse(name).map_err(|error| DataError::UnknownShift { path: path.to_owned(), reason: explain(&error) })
    };
    text.split('@').map(parse).collect()
}

/// A data location as a path and what follows it. A path that exists as it stands is one, whatever
/// it is called.
///
/// # Errors
/// [`DataError::UnknownShift`] where something that is no shift follows an existing path.
pub fn split_location(location: &Path) -> Result<(PathBuf, Vec<Shift>), DataError> {
    let whole = || Ok((location.to_owned(), Vec::new()));
    let Some(text) = location.to_str().filter(|text| text.contains('@')) else { return whole() };
    if fs::symlink_metadata(location).is_ok() {
        return whole();
    }
    let ends = text.match_indices('@').map(|(at, _)| at);
    // Folders may have an @ in their names: the path is the longest part that exists.
    let Some(end) = ends.rev().find(|&end| exists(&text[..end])) else { return whole() };
    let path = PathBuf::from(&text[..end]);
    let shifts = parsed(&text[end + 1..], &path)?;
    Ok((path, shifts))
}

fn exists(path: &str) -> bool {
    // No location in memory has an @ in its name.
    memory::is_location(Path::new(path)) && !path.contains('@') || fs::symlink_metadata(path).is_ok()
}

fn explain(error: &UnknownCorruption) -> String {
    match error {
        UnknownCorruption::Kind(name) => {
            let known = corruption::ALL.map(CorruptionKind::name).join(", ");
            format!("'{name}' is neither {LABEL_FLIP} nor one of the corruptions {known}")
        }
        other => other.to_string(),
    }
}

/// Exchanges every label for its opposite.
pub(super) fn flip_labels(samples: &mut [Sample], classes: usize) {
    for sample in samples {
        sample.label = sample.label.map(|label| classes - 1 - label);
    }
}

#[cfg(test)]
mod tests {
    use retune_pixels::channels::Channels;
    use retune_pixels::preprocess::{CropMode, Preprocessing};
    use retune_pixels::resize::Interpolation;

    use super::*;
    use crate::loading::{Loader, LoaderOptions, Order};
    use crate::sources::DataSource;
    use image::RgbImage;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (number, class) in ["ant", "bee", "cat"].iter().enumerate() {
            let path = folder.path().join("photos").join(class);
            fs::create_dir_all(&path).unwrap();
            let image =
                RgbImage::from_fn(24, 20, |x, y| image::Rgb([(x * 9) as u8, (y * 11) as u8, number as u8 * 80]));
            image.save(path.join("one.png")).unwrap();
        }
        folder
    }

    fn location(folder: &tempfile::TempDir, text: &str) -> PathBuf {
        folder.path().join(text)
    }

    #[test]
    fn what_follows_a_path_is_read_and_mistakes_are_told() {
        let folder = folder();
        let (path, shifts) = split_location(&location(&folder, "photos@fog:2@label_flip")).unwrap();
        assert_eq!(path, location(&folder, "photos"));
        assert_eq!(shifts, [Shift::Corruption(Corruption::new(CorruptionKind::Fog, 2)), Shift::LabelFlip]);
        let error = split_location(&location(&folder, "photos@frog:2")).unwrap_err().to_string();
        assert!(error.contains("'frog'") && error.contains("label_flip") && error.contains("frost"), "{error}");
        let error = split_location(&location(&folder, "photos@fog:9")).unwrap_err().to_string();
        assert!(error.contains("from 1 to 5"), "{error}");
        // What does not exist at all is reported as missing data, under its whole name.
        assert!(
            DataSource::open(location(&folder, "pictures@fog:2")).unwrap_err().to_string().contains("pictures@fog:2")
        );
        fs::create_dir(location(&folder, "mine@home")).unwrap();
        assert_eq!(split_location(&location(&folder, "mine@home")).unwrap().1, []);
        assert_eq!(split_location(&location(&folder, "mine@home@snow:1")).unwrap().1.len(), 1);
    }

    #[test]
    fn shifts_alone_stand_for_the_same_images() {
        assert!(is_of_same_images(Path::new("@fog:2@label_flip")) && !is_of_same_images(Path::new("photos@fog")));
        let folder = folder();
        let (location, plain) = (location(&folder, "photos"), location(&folder, "photos@fog:2@label_flip"));
        let shifts = of_same_images(Path::new("@fog:2@label_flip")).unwrap();
        let (same, expected) = (DataSource::open(location).unwrap().all(), DataSource::open(plain).unwrap().all());
        let shifted = same.shifted(&shifts);
        assert_eq!(shifted.corruptions, expected.corruptions);
        assert_eq!(shifted.labels().unwrap(), expected.labels().unwrap());
        let error = of_same_images(Path::new("@frog:2")).unwrap_err().to_string();
        assert!(error.starts_with("@ is followed by something unknown: 'frog' is neither"), "{error}");
    }

    #[test]
    fn flipped_labels_are_the_opposite_ones() {
        let folder = folder();
        let labels = |text: &str| DataSource::open(location(&folder, text)).unwrap().all().labels().unwrap();
        assert_eq!(labels("photos"), [0, 1, 2]);
        assert_eq!(labels("photos@label_flip"), [2, 1, 0]);
        assert_eq!(labels("photos@label_flip@label_flip"), [0, 1, 2]);
    }

    #[test]
    fn images_are_corrupted_at_the_models_input_size() {
        let folder = folder();
        let preprocessing = Preprocessing {
            width: 12,
            height: 12,
            interpolation: Interpolation::Bilinear,
            crop_pct: 1.0,
            crop_mode: CropMode::Squash,
            channels: Channels::Rgb,
            mean: vec![0.0; 3],
            std: vec![1.0; 3],
            white: None,
        };
        let batch = |text: &str| {
            let dataset = DataSource::open(location(&folder, text)).unwrap().all();
            let options = LoaderOptions { threads: 1, ..LoaderOptions::deterministic(preprocessing.clone(), 3) };
            let loader = Loader::new(dataset, options).unwrap();
            // The second epoch comes from the cache.
            loader.epoch(0, Order::Sequential, 0).for_each(drop);
            loader.epoch(1, Order::Sequential, 0).next().unwrap().unwrap().images
        };
        let plain = batch("photos");
        let corrupted = batch("photos@contrast:5");
        // A twentieth of the contrast is left in each channel of each image of 144 pixels.
        let spread = |values: &[f32]| {
            let mean = values.iter().sum::<f32>() / values.len() as f32;
            (values.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / values.len() as f32).sqrt()
        };
        let red = |batch: &[f32]| batch[..3 * 144].iter().copied().step_by(3).collect::<Vec<f32>>();
        let (before, after) = (spread(&red(&plain)), spread(&red(&corrupted)));
        assert!((after / before - 0.05).abs() < 0.02, "{before} {after}");
    }
}
