//! What extracted features depend on.

use std::fs;
use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::shard::Shard;
use crate::device::DeviceError;
use crate::inference::Layer;
use crate::loading::Loader;
use crate::models::{Model, Precision};
use crate::sources::{ImageSource, Sample};

/// What the rows of an extraction depend on, down to the last bit. Rows of equal origin can be put together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    version: String,
    model: String,
    device: String,
    layer: String,
    preprocessing: String,
    data: String,
    images: usize,
    /// How many images go through the model together may change the last bits of its output.
    batch_size: usize,
    /// A transform is a function, which cannot be told from another: such rows are never put together.
    transformed: bool,
    /// Of matrix products.
    #[serde(default, skip_serializing_if = "is_float32")]
    precision: Precision,
    /// Which part of the images the rows are of, if not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
}

impl Origin {
    pub fn of(model: &Model, loader: &Loader, layer: Layer, shard: Option<Shard>) -> Result<Self, DeviceError> {
        let options = loader.options();
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            model: format!("{:016x}", model_hash(model)?),
            device: model.parameters.tensors().first().map_or(String::new(), |tensor| format!("{:?}", tensor.device())),
            layer: format!("{layer:?}"),
            preprocessing: format!("{:?} {:?}", options.preprocessing, options.augmentation),
            data: format!("{:016x}", data_hash(loader)),
            images: loader.dataset().len(),
            batch_size: options.batch_size,
            transformed: options.transform.is_some(),
            precision: model.precision(),
            shard,
        })
    }

    /// That of all shards together.
    pub fn whole(self) -> Self {
        Self { shard: None, ..self }
    }

    /// The number of images of the whole dataset.
    pub fn images(&self) -> usize {
        self.images
    }

    /// The number of images in a batch.
    pub fn batch_size(&self) -> usize {
        self.batch_size.max(1)
    }

    /// The precision, where it is another than float32.
    pub fn reduced_precision(&self) -> Option<Precision> {
        Some(self.precision).filter(|precision| !is_float32(precision))
    }

    /// The images that the rows are of.
    pub fn range(&self) -> Range<usize> {
        let Some(shard) = self.shard else { return 0..self.images };
        let size = self.batch_size();
        let batches = shard.batches(self.images.div_ceil(size));
        // A damaged file may claim anything.
        let before = |batch: usize| batch.saturating_mul(size).min(self.images);
        before(batches.start)..before(batches.end)
    }

    /// What keeps rows of another origin from being used; `None` if nothing does.
    pub fn difference(&self, other: &Self) -> Option<&'static str> {
        let parts = [
            (self.version == other.version, "another version of this program"),
            (self.model == other.model, "another model"),
            (self.device == other.device, "another device"),
            (self.precision == other.precision, "another precision"),
            (self.layer == other.layer, "another layer"),
            (self.preprocessing == other.preprocessing, "another preprocessing"),
            (self.data == other.data && self.images == other.images, "other data"),
            (self.batch_size == other.batch_size, "another batch size"),
            (!self.transformed && !other.transformed, "transformed images"),
            (self.shard == other.shard, "another part of the images"),
        ];
        parts.iter().find(|(is_equal, _)| !is_equal).map(|(_, difference)| *difference)
    }
}

fn is_float32(precision: &Precision) -> bool {
    *precision == Precision::Float32
}

/// Architecture and parameters.
fn model_hash(model: &Model) -> Result<u64, DeviceError> {
    let start = retune_random::hash(format!("{:?}", model.config()).as_bytes());
    let combine = |hash: u64, index: usize| Ok(combined_hashes(hash, model.parameters.hash(index)?));
    (0..model.parameters.tensors().len()).try_fold(start, combine)
}

/// Names, labels and corruptions, and of each file its length and when it was changed.
fn data_hash(loader: &Loader) -> u64 {
    let dataset = loader.dataset();
    let start = retune_random::hash(format!("{:?} {:?}", dataset.classes, dataset.corruptions).as_bytes());
    let mut of_file = FileState::default();
    dataset.samples.iter().fold(start, |hash, sample| {
        let Sample { image, label, name, .. } = sample;
        let state = match image {
            ImageSource::File(path) => of_file.of(path),
            ImageSource::Stored { images, .. } => of_file.of(images.path()),
            ImageSource::Memory(image) => retune_random::hash(image.as_raw()),
        };
        combined(hash, format!("{name:?} {label:?} {state}").as_bytes())
    })
}

fn combined(hash: u64, bytes: &[u8]) -> u64 {
    combined_hashes(hash, retune_random::hash(bytes))
}

fn combined_hashes(one: u64, other: u64) -> u64 {
    retune_random::hash(&[one.to_le_bytes(), other.to_le_bytes()].concat())
}

/// The state of the file that was asked for last, since many images lie in one.
#[derive(Default)]
struct FileState {
    path: std::path::PathBuf,
    state: u64,
}

impl FileState {
    /// Length and time of change; a file that is missing has neither, and loading it will say so.
    fn of(&mut self, path: &Path) -> u64 {
        if self.path != path {
            self.path = path.to_owned();
            let metadata = fs::metadata(path).map(|metadata| (metadata.len(), metadata.modified().ok()));
            self.state = retune_random::hash(format!("{:?}", metadata.ok()).as_bytes());
        }
        self.state
    }
}
