//! A small pretrained model and two shifted tasks that the library carries: what `retune demo` and the examples run on.
//!
//! The model is a ResNet of 0.3 million parameters, pretrained with this library on Fashion-MNIST's 60,000 training images
//! (`scripts/demo_backbone.sh`); the tasks are cut from its 10,000 test images (`scripts/fashion_mnist_shifts.py`).

use std::path::PathBuf;
use std::sync::Arc;

use image::RgbImage;
use retune_pixels::decode::{DecodeLimits, decode};

use crate::device;
use crate::models::Model;
use crate::run::{FitData, FitError};
use crate::sources::split::{SplitFractions, stratified_split};
use crate::sources::{DataError, Dataset, ImageSource, Sample};

const BACKBONE_CONFIG: &str = include_str!("../assets/demo/backbone/config.json");
const BACKBONE_WEIGHTS: &[u8] = include_bytes!("../assets/demo/backbone/model.safetensors");
const IMAGES: &[u8] = include_bytes!("../assets/demo/images.png");
const CORRUPTED: &[u8] = include_bytes!("../assets/demo/corrupted.png");
const LABELS: &[u8] = include_bytes!("../assets/demo/labels.bin");

/// Side of an image in the columns of tiles.
const SIDE: u32 = 28;
/// Images before this one are for training and validation, the others for testing.
const FIRST_TEST_IMAGE: usize = 3_000;
/// Images to train and validate on; few, as in the shifted tasks that the papers study.
const TRAINING_IMAGES: usize = 1_000;
const VALIDATION_FRACTION: f64 = 0.25;

const GARMENTS: [&str; 10] =
    ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"];
const GROUPS: [&str; 3] = ["top", "shoe", "long"];

/// Fashion-MNIST's labels that belong to each group: seen in training, and only in the shifted set.
const SUBCLASSES: [(&[u8], &[u8]); 3] = [(&[0, 4], &[2, 6]), (&[5, 7], &[9]), (&[1], &[3])];

/// A task with a set like its training images and one that is shifted.
#[derive(Clone, Debug)]
pub struct Task {
    /// A short name.
    pub name: &'static str,
    /// What its images are.
    pub title: &'static str,
    /// Images to train and validate on.
    pub train: Dataset,
    /// Other images like them.
    pub test: Dataset,
    /// Images from after the shift.
    pub shifted: Dataset,
    /// First and last layer of surgical fine-tuning: those that Lee et al. 2023 (arXiv 2210.11466) found best for such
    /// a shift.
    pub surgical: [&'static str; 2],
}

impl Task {
    /// The images as a fit takes them, a quarter of each class held out for validation by the seed.
    ///
    /// # Errors
    /// None that the images at hand meet.
    pub fn data(&self, seed: u64) -> Result<FitData, DataError> {
        let fractions = SplitFractions { validation: VALIDATION_FRACTION, test: 0.0 };
        let split = stratified_split(&self.train.samples, fractions, seed)?;
        Ok(FitData {
            train: self.train.select(&split.train),
            validation: self.train.select(&split.validation),
            evaluations: vec![("test".into(), self.test.clone()), ("shifted".into(), self.shifted.clone())],
            notes: Vec::new(),
        })
    }
}

/// The pretrained model, on the CPU, with its head for ten kinds of garments.
///
/// # Errors
/// None that the weights at hand meet.
pub fn backbone() -> Result<Model, FitError> {
    Ok(Model::from_contents(BACKBONE_CONFIG, BACKBONE_WEIGHTS, &device::by_name("cpu")?)?)
}

/// Groups of garments; some of their subclasses are only in the shifted set.
///
/// # Errors
/// None that the images at hand meet.
pub fn subpopulation_shift() -> Result<Task, DataError> {
    let tiles = tiles("images.png", IMAGES)?;
    let group_of = |wanted_seen: bool| {
        move |label: u8| {
            SUBCLASSES.iter().position(|(seen, unseen)| if wanted_seen { seen } else { unseen }.contains(&label))
        }
    };
    Ok(Task {
        name: "subpopulation shift",
        title: "Groups of garments; the shifted images are of subclasses that training never showed",
        train: dataset(&tiles, 0, TRAINING_IMAGES, &GROUPS, group_of(true)),
        test: dataset(&tiles, FIRST_TEST_IMAGE, tiles.len(), &GROUPS, group_of(true)),
        shifted: dataset(&tiles, FIRST_TEST_IMAGE, tiles.len(), &GROUPS, group_of(false)),
        surgical: ["layer2", "layer3"],
    })
}

/// Ten garments; the shifted images are corrupted.
///
/// # Errors
/// None that the images at hand meet.
pub fn input_shift() -> Result<Task, DataError> {
    let tiles = tiles("images.png", IMAGES)?;
    let corrupted = self::tiles("corrupted.png", CORRUPTED)?;
    let own = |label: u8| Some(usize::from(label));
    let mut at_test = tiles[..FIRST_TEST_IMAGE].to_vec();
    at_test.extend(corrupted);
    Ok(Task {
        name: "input shift",
        title: "Ten garments; the shifted images are noisy, blurred, or of low contrast",
        train: dataset(&tiles, 0, TRAINING_IMAGES, &GARMENTS, own),
        test: dataset(&tiles, FIRST_TEST_IMAGE, tiles.len(), &GARMENTS, own),
        shifted: dataset(&at_test, FIRST_TEST_IMAGE, at_test.len(), &GARMENTS, own),
        surgical: ["stem", "layer1"],
    })
}

/// The images of a column of square tiles.
fn tiles(name: &str, png: &[u8]) -> Result<Vec<Arc<RgbImage>>, DataError> {
    let column = decode(png, &DecodeLimits::default())
        .map_err(|source| DataError::Decode { path: PathBuf::from(name), source })?;
    let tile = |top: u32| Arc::new(image::imageops::crop_imm(&column, 0, top, SIDE, SIDE).to_image());
    Ok((0..column.height() / SIDE).map(|index| tile(index * SIDE)).collect())
}

/// The tiles `first..end` whose label belongs to a class.
fn dataset(
    tiles: &[Arc<RgbImage>],
    first: usize,
    end: usize,
    classes: &[&str],
    class_of: impl Fn(u8) -> Option<usize>,
) -> Dataset {
    let samples = (first..end).filter_map(|index| {
        let label = class_of(*LABELS.get(index)?)?;
        Some(Sample {
            image: ImageSource::Memory(tiles[index].clone()),
            label: Some(label),
            group: None,
            name: format!("{index:04}").into(),
        })
    });
    let classes = classes.iter().map(|&name| name.to_owned()).collect();
    Dataset { root: PathBuf::from("demo"), classes, samples: samples.collect(), corruptions: Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tasks_share_no_image_between_training_and_testing() {
        for task in [subpopulation_shift().unwrap(), input_shift().unwrap()] {
            let names = |dataset: &Dataset| -> Vec<usize> {
                dataset.samples.iter().map(|sample| sample.name.parse().unwrap()).collect()
            };
            assert!(names(&task.train).iter().all(|&index| index < FIRST_TEST_IMAGE));
            assert!(names(&task.test).iter().chain(&names(&task.shifted)).all(|&index| index >= FIRST_TEST_IMAGE));
            assert!(task.train.class_counts().iter().all(|&count| count > 50), "{:?}", task.train.class_counts());
            assert!(task.shifted.class_counts().iter().all(|&count| count > 50));
        }
    }
}
