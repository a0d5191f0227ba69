//! Evaluation that keeps what the model said of each image.

use std::path::Path;

use indexmap::IndexMap;
use retune_analysis::calibration::Calibration;
use retune_analysis::temperature;
use retune_pixels::decode::catching_panics;

use super::heat_maps::HeatMaps;
use super::kept::{Hardest, KeptImages, Share};
use super::tiles::{Tiles, image_of};
use super::{HARDEST_SIDE, Prediction, Predictions};
use crate::device;
use crate::files::FileError;
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
    predictions: Predictions,
    kept: KeptImages,
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
        Self {
            model,
            options,
            monitor,
            predictions: Predictions::default(),
            kept: KeptImages::of(data),
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
        let share = self.kept.share(dataset.len());
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
        hardest.iter().for_each(|image| self.kept.add_hardest(&image.tile));
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
            let features = &outputs.pooled[row * width..(row + 1) * width];
            let sample = share.takes(index).then(|| self.kept.add(features, &image()));
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
        self.kept.write(run)?;
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
    let pixels = device::tensor(values, shape, &model.parameters.tensors()[0].device());
    let classes = |of: fn(&HardImage) -> usize| images.iter().map(of).collect::<Vec<usize>>();
    let (predicted, label) = (classes(|image| image.predicted), classes(|image| image.label));
    let [predicted, label] = catching_panics(|| grad_cam(model, &pixels, [&predicted, &label])).flatten()?;
    // A single place says nothing about where a model looks.
    if predicted.iter().all(|map| map.values.len() <= 1) {
        return None;
    }
    let scaled = |maps: Vec<GradCam>| maps.into_iter().map(GradCam::scaled).collect();
    Some(HeatMaps { predicted: scaled(predicted), label: scaled(label) })
}

/// An image of high loss.
struct HardImage {
    tile: Vec<u8>,
    /// Its pixels, as the model sees them.
    normalized: Vec<f32>,
    predicted: usize,
    label: usize,
}
