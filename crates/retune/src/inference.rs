//! A model over a dataset, batch by batch: its output at any layer, and how good it is.

mod evaluation;
mod faster_precision;
mod grad_cam;
mod label_tally;
pub mod layers;
mod logits;
mod metric;
mod observed;
mod precision_loss;
mod predict;
mod together;

use std::ops::Range;

use burn::tensor::{Device, Tensor};

pub use self::evaluation::{
    Evaluation, GroupAccuracy, evaluate, evaluate_batches, evaluate_each, evaluate_for, evaluate_labeled_rows,
    evaluate_logits, evaluate_scores,
};
pub(crate) use self::evaluation::{Tally, evaluate_rows};
pub use self::faster_precision::faster_precision;
pub use self::grad_cam::{GradCam, grad_cam};
pub use self::label_tally::{best_thresholds, label_sets, sigmoid, thresholds};
pub use self::logits::{cross_entropy, most_likely, softmax, softmax_at};
pub use self::metric::Metric;
pub use self::observed::{Outputs, evaluate_observed};
pub use self::precision_loss::{FeatureComparison, FeatureLoss, LogitComparison, LogitLoss};
pub use self::predict::ClassProbability;
use crate::device::{self, DeviceError};
use crate::loading::{Batch, Loader, Order};
use crate::models::{Activation, Model, ModelError};
use crate::monitor::Monitor;
use crate::sources::DataError;
use crate::wording::counted;

/// Logits that are kept for the ranks of images, 256 MiB of them.
const MAX_LOGITS: usize = 1 << 26;

/// Why a pass over a dataset ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InferenceError {
    /// An image could not be loaded.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The layer is unknown.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The model gave NaN or infinity.
    #[error("the model's output for '{image}' is not finite; are its weights and the preprocessing right?")]
    NotFinite {
        /// The image.
        image: String,
    },
    /// The model has no classifier.
    #[error("the model has no classifier (num_classes is 0); fit it first, or use its features")]
    NoClassifier,
    /// A model for several labels that does not name them.
    #[error("the model is for images with several labels, and does not name them; add label_names to its config.json")]
    UnnamedLabels,
    /// A label that is none of the model's classes.
    #[error(
        "the image {image} has class number {label}, and the model has {}; is it a model of other classes?",
        counted(*classes, "class")
    )]
    LabelBeyond {
        /// The image.
        image: String,
        /// Its label.
        label: usize,
        /// Classes of the model.
        classes: usize,
    },
    /// Features of two models that cannot be compared.
    #[error("features of {before} values cannot be compared with features of {after}; are the models alike?")]
    FeatureLengths {
        /// Length before.
        before: usize,
        /// Length after.
        after: usize,
    },
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// A batch's images as a tensor `[n, height, width, channels]`.
pub fn images(batch: &Batch, device: &Device) -> Tensor<4> {
    images_of_all(std::slice::from_ref(batch), device)
}

/// Some images of a batch, as [`images`] gives all of them.
pub(crate) fn images_of(batch: &Batch, range: Range<usize>, device: &Device) -> Tensor<4> {
    let size = batch.images.len().checked_div(batch.n).unwrap_or_default();
    let (height, width) = (batch.height, batch.width);
    let channels = size.checked_div(height * width).unwrap_or_default();
    let values = batch.images[range.start * size..range.end * size].to_vec();
    device::tensor(values, [range.len(), height, width, channels], device)
}

/// The images of some batches of one size, at least one, in their order, as a tensor `[n, height, width, channels]`.
fn images_of_all(batches: &[Batch], device: &Device) -> Tensor<4> {
    let values = batches.iter().map(|batch| batch.images.as_slice()).collect::<Vec<_>>().concat();
    let n = batches.iter().map(|batch| batch.n).sum();
    let (height, width) = (batches[0].height, batches[0].width);
    let channels = values.len().checked_div(n * height * width).unwrap_or_default();
    device::tensor(values, [n, height, width, channels], device)
}

/// Pixels that are computed at once, as far as [`MAX_BATCHES_AT_ONCE`] allows: as many as 8 images at 224 have.
const PIXELS_AT_ONCE: usize = 8 * 224 * 224;
/// Batches that are computed at once, at most. Someone who chose a small batch may be short of memory.
const MAX_BATCHES_AT_ONCE: usize = 4;

/// The batches of a loader that go through the model together. The layers' weights are arranged for
/// the processor once each time, which with few small images is a good part of the work.
fn batches_at_once(loader: &Loader) -> usize {
    let options = loader.options();
    let pixels = options.preprocessing.width as usize * options.preprocessing.height as usize;
    (PIXELS_AT_ONCE / (pixels * options.batch_size).max(1)).clamp(1, MAX_BATCHES_AT_ONCE)
}

/// Runs the model over every image in order and hands each batch's output at `layer` on, row-major
/// with one row an image.
///
/// # Errors
/// The first image that cannot be loaded or whose output is not finite; an interruption.
pub fn for_each_batch(
    model: &Model,
    loader: &Loader,
    layer: Layer,
    task: &str,
    monitor: &dyn Monitor,
    mut take: impl FnMut(&Batch, Vec<f32>),
) -> Result<(), InferenceError> {
    let all = 0..loader.batches_per_epoch();
    try_for_each_batch(model, loader, layer, all, task, monitor, |batch, rows| {
        take(batch, rows);
        Ok(())
    })
}

/// As [`for_each_batch`], for the batches of these numbers, until `take` fails.
///
/// # Errors
/// As [`for_each_batch`]; that of `take`.
pub fn try_for_each_batch<E: From<InferenceError>>(
    model: &Model,
    loader: &Loader,
    layer: Layer,
    numbers: Range<usize>,
    task: &str,
    monitor: &dyn Monitor,
    mut take: impl FnMut(&Batch, Vec<f32>) -> Result<(), E>,
) -> Result<(), E> {
    if loader.options().processes.are_several() {
        return together::try_for_each_batch(model, loader, layer, numbers, (task, monitor), take);
    }
    let device = model.parameters.tensors()[0].device();
    let images_before = |batch: usize| (batch * loader.options().batch_size).min(loader.dataset().len());
    monitor.start(task, images_before(numbers.end) - images_before(numbers.start));
    let at_once = batches_at_once(loader);
    let mut epoch = loader.epoch(0, Order::Sequential, numbers.start).take(numbers.len());
    loop {
        let batches = epoch.by_ref().take(at_once).collect::<Result<Vec<Batch>, _>>().map_err(InferenceError::from)?;
        if batches.is_empty() {
            break;
        }
        let mut rows =
            device::read(layer.output(model, images_of_all(&batches, &device))).map_err(InferenceError::from)?;
        let width = rows.len() / batches.iter().map(|batch| batch.n).sum::<usize>();
        if let Some(image) = not_finite(&rows, width, &batches[0], loader) {
            monitor.finish();
            return Err(InferenceError::NotFinite { image }.into());
        }
        for batch in batches {
            if monitor.canceled() {
                return Err(InferenceError::Interrupted.into());
            }
            let later = rows.split_off(batch.n * width);
            take(&batch, std::mem::replace(&mut rows, later))?;
            monitor.advance(batch.n);
        }
    }
    monitor.finish();
    loader.tell_damaged(monitor);
    Ok(())
}

/// As [`for_each_batch`], for the outputs of some of the images, which can be others in each of several processes. The batches
/// that these are in pass through the model whole.
///
/// # Errors
/// As [`for_each_batch`], of the images of all processes; that of `take`.
pub(crate) fn for_each_batch_of<E: From<InferenceError>>(
    model: &Model,
    loader: &Loader,
    layer: Layer,
    images: Range<usize>,
    (task, monitor): (&str, &dyn Monitor),
    mut take: impl FnMut(Vec<f32>) -> Result<(), E>,
) -> Result<(), E> {
    if loader.options().processes.are_several() {
        return together::for_each_batch_of(model, loader, layer, images, (task, monitor), take);
    }
    let all = 0..loader.batches_per_epoch();
    try_for_each_batch(model, loader, layer, all, task, monitor, |_, rows| take(rows))
}

/// The image of the first row that is not finite; `first` is the batch that the rows begin with.
fn not_finite(rows: &[f32], width: usize, first: &Batch, loader: &Loader) -> Option<String> {
    let at = rows.iter().position(|value| !value.is_finite())?;
    Some(loader.dataset().samples[first.indices[0] + at / width].name.to_string())
}

/// Where in a model features are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// The preprocessed image, channels first, flattened.
    Input,
    /// The output of the block with this index, flattened.
    Block(usize),
    /// What the head sees.
    Pooled,
    /// The class token and the mean of the patches, side by side, of a transformer that has a class token.
    ClassTokenAndMean,
    /// The head's output.
    Logits,
}

impl Layer {
    /// Understands `input`, `pooled`, `cls+mean`, `logits` and every block's or stage's name (a stage's output
    /// is its last block's).
    ///
    /// # Errors
    /// An unknown name, with the closest known one.
    pub fn parse(name: &str, model: &Model) -> Result<Self, ModelError> {
        Ok(match name {
            "input" => Self::Input,
            "pooled" => Self::Pooled,
            "cls+mean" if !model.has_class_token() => {
                let architecture = model.config().architecture().to_owned();
                return Err(ModelError::NoClassToken { architecture });
            }
            "cls+mean" => Self::ClassTokenAndMean,
            "logits" if model.config().num_classes() == 0 => return Err(ModelError::NoClassifier),
            "logits" => Self::Logits,
            _ => Self::Block(model.network().find_blocks(name)?.end - 1),
        })
    }

    fn output(self, model: &Model, images: Tensor<4>) -> Tensor<2> {
        let images = Activation::Map(images);
        match self {
            Self::Input => images.flatten(),
            Self::Block(block) => model.forward_range(images, 0..block + 1).flatten(),
            Self::Pooled => model.forward_range(images, 0..model.head()).pool(),
            Self::ClassTokenAndMean => class_token_and_mean(model, model.forward_range(images, 0..model.head() - 1)),
            Self::Logits => model.forward_range(images, 0..model.head() + 1).flatten(),
        }
    }
}

/// The class token and the mean of the patches, from what enters the block before the head; without a class token, what
/// the head sees, which no name of a layer leads to.
fn class_token_and_mean(model: &Model, entry: Activation) -> Tensor<2> {
    let head = model.head();
    model.class_token_and_mean(&entry).unwrap_or_else(|| model.forward_range(entry, head - 1..head).pool())
}

/// Features of a whole dataset in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// Row-major, one row an image.
    pub values: Vec<f32>,
    /// Features of each image.
    pub width: usize,
}

/// Extracts the features of every image at `layer`.
///
/// # Errors
/// As [`for_each_batch`].
pub fn extract(
    model: &Model,
    loader: &Loader,
    layer: Layer,
    task: &str,
    monitor: &dyn Monitor,
) -> Result<Features, InferenceError> {
    let mut values = Vec::new();
    for_each_batch(model, loader, layer, task, monitor, |_, rows| values.extend(rows))?;
    let width = values.len() / loader.dataset().len().max(1);
    Ok(Features { values, width })
}
