//! Evaluation that keeps what the model said of each image.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use half::f16;
use indexmap::IndexMap;
use retune_analysis::calibration::Calibration;
use retune_analysis::temperature;
use retune_pixels::decode::catching_panics;

use super::heat_maps::HeatMaps;
use super::samples::write_features;
use super::tiles::{SHEET_BYTES, Tiles, image_of, side_for};
use super::{
    HARDEST, HARDEST_FILE, HARDEST_SIDE, MAX_SAMPLES, Prediction, Predictions, SAMPLES_FOLDER, THUMBNAILS_FILE,
};
use crate::files::{self, FileError};
use crate::inference::{
    Evaluation, GradCam, InferenceError, Outputs, cross_entropy, evaluate_observed, grad_cam, most_likely, softmax,
    softmax_at,
};
use crate::loading::Batch;
use crate::models::Model;
use crate::monitor::Monitor;
use crate::run::{CalibrationErrors, FitData, TemperatureScaling, evaluation_loader};
use crate::sources::Dataset;
use crate::train::options::TrainOptions;

/// Evaluates a model on one set after the other and keeps what it said.
pub(in crate::run) struct Recorder<'a> {
    model: &'a Model,
    options: &'a TrainOptions,
    monitor: &'a dyn Monitor,
    /// Images of all sets together.
    images: usize,
    predictions: Predictions,
    features: Vec<f16>,
    thumbnails: Tiles,
    thumbnail_side: u32,
    hardest: Tiles,
    /// Those of the hardest images; `None` once a set has none.
    heat_maps: Option<HeatMaps>,
    /// That of the first set, which is the one for validation; `None` before, and if there is none.
    temperature: Option<f64>,
    calibration_errors: IndexMap<String, CalibrationErrors>,
}

/// Logits of the validation images that are kept to fit a temperature, 256 MiB of them: enough of any set's.
const MAX_LOGITS: usize = 1 << 26;

impl<'a> Recorder<'a> {
    pub fn new(model: &'a Model, options: &'a TrainOptions, data: &FitData, monitor: &'a dyn Monitor) -> Self {
        let further: usize = data.evaluations.iter().map(|(_, dataset)| dataset.len()).sum();
        let images = data.validation.len() + further;
        let thumbnail_side = side_for(images.min(MAX_SAMPLES));
        Self {
            model,
            options,
            monitor,
            images,
            predictions: Predictions::default(),
            features: Vec::new(),
            thumbnails: Tiles::new(thumbnail_side),
            thumbnail_side,
            hardest: Tiles::new(HARDEST_SIDE),
            heat_maps: Some(HeatMaps::default()),
            temperature: None,
            calibration_errors: IndexMap::new(),
        }
    }

    /// The temperature of the first set, and what it does to the calibration of every set.
    pub fn temperature(&self) -> Option<TemperatureScaling> {
        let calibration_errors = self.calibration_errors.clone();
        self.temperature.map(|temperature| TemperatureScaling { temperature, calibration_errors })
    }

    /// Evaluates a set.
    ///
    /// # Errors
    /// As [`crate::inference::evaluate`].
    pub fn evaluate(&mut self, name: &str, dataset: &Dataset) -> Result<Evaluation, InferenceError> {
        let set = self.predictions.sets.len();
        self.predictions.sets.push(name.to_owned());
        let loader = evaluation_loader(dataset.clone(), self.model, self.options.batch_size, self.options.threads)?;
        let loader = loader.among(&self.options.processes);
        let mut hardest = Hardest::default();
        let (mut confidences, mut logits) = (Confidences::default(), Vec::new());
        let share = Share::of(dataset.len(), self.images);
        let (model, monitor) = (self.model, self.monitor);
        let evaluation =
            evaluate_observed(model, &loader, &format!("evaluating {name}"), monitor, |batch, outputs| {
                if set == 0 && logits.len() < MAX_LOGITS {
                    logits.extend_from_slice(outputs.logits);
                } else if let Some(temperature) = self.temperature {
                    confidences.add(
                        outputs.logits.chunks_exact(model.config().num_classes()),
                        &batch.labels,
                        temperature,
                    );
                }
                self.observe(set, dataset, share, batch, outputs, &mut hardest);
            })?;
        if set == 0 {
            let (classes, labels) = (model.config().num_classes(), dataset.labels()?);
            let kept = &labels[..logits.len() / classes];
            self.temperature = temperature::fit(&logits, classes, kept);
            self.temperature.inspect(|&found| confidences.add(logits.chunks_exact(classes), kept, found));
        }
        self.calibration_errors.extend(confidences.errors().map(|errors| (name.to_owned(), errors)));
        let hardest: Vec<HardImage> = hardest.into_images().collect();
        hardest.iter().for_each(|image| self.hardest.push(&image.tile));
        let of_set = self.heat_maps.as_ref().and_then(|_| heat_maps(model, &hardest));
        self.heat_maps = self.heat_maps.take().zip(of_set).map(|(maps, of_set)| maps.followed_by(of_set));
        Ok(evaluation)
    }

    fn observe(
        &mut self,
        set: usize,
        dataset: &Dataset,
        share: Share,
        batch: &Batch,
        outputs: Outputs,
        hardest: &mut Hardest<HardImage>,
    ) {
        let classes = self.model.config().num_classes();
        let preprocessing = self.model.config().preprocessing();
        let width = outputs.pooled.len() / batch.n;
        let pixels = batch.images.len() / batch.n;
        for (row, logits) in outputs.logits.chunks_exact(classes).enumerate() {
            let (index, label) = (batch.indices[row], batch.labels[row]);
            let (predicted, loss) = (most_likely(logits), cross_entropy(logits, label));
            let probabilities = softmax(logits);
            let normalized = &batch.images[row * pixels..(row + 1) * pixels];
            let image = || image_of(normalized, preprocessing);
            let sample = share.takes(index).then(|| {
                let features = &outputs.pooled[row * width..(row + 1) * width];
                // Values beyond float16 are kept as its largest: a map tells no difference.
                let narrow = |&value: &f32| f16::from_f32(value.clamp(f16::MIN.to_f32(), f16::MAX.to_f32()));
                self.features.extend(features.iter().map(narrow));
                self.thumbnails.push(&Tiles::tile(&image(), self.thumbnail_side));
                self.thumbnails.len() - 1
            });
            hardest.offer(loss, index, || {
                let tile = Tiles::tile(&image(), HARDEST_SIDE);
                HardImage { tile, normalized: normalized.to_vec(), predicted, label }
            });
            self.predictions.rows.push(Prediction {
                set,
                path: dataset.samples[index].name.to_string(),
                label,
                predicted,
                probability: probabilities[predicted],
                label_probability: probabilities[label],
                loss,
                sample,
                group: dataset.samples[index].group.as_deref().map(str::to_owned),
            });
        }
    }

    /// Writes what was kept into the run directory.
    ///
    /// # Errors
    /// Names the path and the reason.
    pub fn write(self, run: &Path) -> Result<(), FileError> {
        let classes = self.model.config().label_names().unwrap_or_default();
        self.predictions.write(run, &classes)?;
        let folder = run.join(SAMPLES_FOLDER);
        files::create_folder(&folder)?;
        let count = self.thumbnails.len();
        write_features(&folder, &self.features, self.features.len() / count.max(1))?;
        for (name, tiles) in [(THUMBNAILS_FILE, &self.thumbnails), (HARDEST_FILE, &self.hardest)] {
            let path = folder.join(name);
            let jpeg = tiles.jpeg(SHEET_BYTES).map_err(|error| FileError::new("write", &path, error))?;
            files::write_atomically(&path, |file| file.write_all(&jpeg))?;
        }
        self.heat_maps.map_or(Ok(()), |maps| maps.write(run))
    }
}

/// How confident a model is of each image without and with a temperature, and whether it is right.
#[derive(Default)]
struct Confidences {
    before: Vec<(f64, bool)>,
    after: Vec<(f64, bool)>,
}

impl Confidences {
    fn add<'a>(&mut self, rows: impl Iterator<Item = &'a [f32]>, labels: &[usize], temperature: f64) {
        for (row, &label) in rows.zip(labels) {
            let class = most_likely(row);
            self.before.push((softmax(row)[class], class == label));
            self.after.push((softmax_at(temperature, row)[class], class == label));
        }
    }

    fn errors(self) -> Option<CalibrationErrors> {
        let error = |confidences| Some(Calibration::measure(confidences)?.expected_error);
        Some(CalibrationErrors { before: error(self.before)?, after: error(self.after)? })
    }
}

/// Which images of a set are kept: every one, or evenly spread ones where there are too many.
#[derive(Clone, Copy)]
struct Share {
    images: usize,
    kept: usize,
}

impl Share {
    fn of(images: usize, all: usize) -> Self {
        let kept = if all <= MAX_SAMPLES { images } else { images * MAX_SAMPLES / all };
        Self { images, kept }
    }

    fn takes(self, index: usize) -> bool {
        index * self.kept / self.images < (index + 1) * self.kept / self.images
    }
}

/// What the model looked at in some images; `None` if that cannot be said. A report can do without, so that nothing here
/// fails a run.
fn heat_maps(model: &Model, images: &[HardImage]) -> Option<HeatMaps> {
    if images.is_empty() {
        return Some(HeatMaps::default());
    }
    let preprocessing = model.config().preprocessing();
    let (height, width) = (preprocessing.height as usize, preprocessing.width as usize);
    let values = images.iter().flat_map(|image| image.normalized.iter().copied()).collect::<Vec<f32>>();
    let shape = [images.len(), height, width, preprocessing.channels.count()];
    let pixels = Tensor::from_data(TensorData::new(values, shape), &model.parameters.tensors()[0].device());
    let of = |class: fn(&HardImage) -> usize| {
        let classes: Vec<usize> = images.iter().map(class).collect();
        let maps = catching_panics(|| grad_cam(model, &pixels, &classes)).flatten()?;
        // A single place says nothing about where a model looks.
        let maps = Some(maps).filter(|maps| maps.iter().any(|map| map.values.len() > 1))?;
        Some(maps.into_iter().map(GradCam::scaled).collect())
    };
    Some(HeatMaps { predicted: of(|image| image.predicted)?, label: of(|image| image.label)? })
}

/// An image of high loss.
struct HardImage {
    tile: Vec<u8>,
    /// Its pixels, as the model sees them.
    normalized: Vec<f32>,
    predicted: usize,
    label: usize,
}

/// The images of highest loss that went by, of equal ones the first.
struct Hardest<T> {
    /// By order of loss; a loss is not negative, so that its bits are in order too.
    images: BTreeMap<(u64, std::cmp::Reverse<usize>), T>,
}

impl<T> Default for Hardest<T> {
    fn default() -> Self {
        Self { images: BTreeMap::new() }
    }
}

impl<T> Hardest<T> {
    fn offer(&mut self, loss: f64, index: usize, image: impl FnOnce() -> T) {
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

    fn into_images(self) -> impl Iterator<Item = T> {
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
