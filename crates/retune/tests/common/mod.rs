//! The fixture models and the images that they were trained on, for every test that compares with PyTorch.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Device;
use image::RgbImage;
use retune::models::Model;
use retune::monitor::Monitor;
use retune::sources::{Dataset, ImageSource, Sample};

/// Where the fixture models are.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models")
}

/// Names of the fixture models.
pub fn models() -> Vec<String> {
    let entries = std::fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<String> = entries
        .filter(|path| path.join("expected.safetensors").is_file())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    assert!(names.len() > 25, "the fixtures are there");
    names
}

/// Loads a fixture model, for images of another size if one is given.
pub fn load(name: &str, size: Option<[usize; 2]>) -> Model {
    let resize = |own: &retune::pixels::preprocess::Preprocessing| {
        let mut changed = own.clone();
        if let Some([height, width]) = size {
            (changed.width, changed.height) = (width as u32, height as u32);
            // The pixels as they are, scaled as the generator scales them.
            (changed.crop_pct, changed.mean, changed.std) = (1.0, vec![0.5; 3], vec![0.5; 3]);
        }
        changed
    };
    Model::load(&fixtures().join(name), None, resize, &Device::flex()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The 24 images that PyTorch was trained on, as a dataset in memory.
pub fn training_images() -> Dataset {
    // Bytes and labels are integers, which the library's reader of weights rightly refuses.
    let bytes = std::fs::read(fixtures().join("sgd_epoch/images.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let images = file.tensor("images").unwrap();
    let labels = file.tensor("labels").unwrap();
    let &[count, channels, height, width] = images.shape() else { panic!("four dimensions") };
    let samples = (0..count).map(|index| {
        let pixels = &images.data()[index * channels * height * width..][..channels * height * width];
        let at = |x: u32, y: u32| {
            let offset = y as usize * width + x as usize;
            image::Rgb([0, 1, 2].map(|channel| pixels[channel * height * width + offset]))
        };
        let image = RgbImage::from_fn(width as u32, height as u32, at);
        Sample {
            image: ImageSource::Memory(Arc::new(image)),
            label: Some(labels.data()[index * 8] as usize),
            group: None,
            name: index.to_string().into(),
        }
    });
    let classes = (0..5).map(|class| format!("{class}")).collect();
    Dataset { root: PathBuf::new(), classes, samples: samples.collect(), corruptions: Vec::new() }
}

/// Asks to stop after so many images.
pub struct StopAfter {
    /// How many.
    pub images: usize,
    /// Images so far.
    pub seen: AtomicUsize,
}

impl Monitor for StopAfter {
    fn start(&self, _: &str, _: usize) {}
    fn advance(&self, units: usize) {
        self.seen.fetch_add(units, Ordering::Relaxed);
    }
    fn finish(&self) {}
    fn message(&self, _: &str) {}
    fn canceled(&self) -> bool {
        self.seen.load(Ordering::Relaxed) >= self.images
    }
}
