//! A model over a dataset: accuracy, predictions, and the activations at any layer.

pub mod layers;
mod observed;

use burn::tensor::{Device, Tensor, TensorData};
use retune_analysis::intervals::wilson_interval;
use serde::{Deserialize, Serialize};

pub use self::observed::{Outputs, evaluate_observed};

use crate::loading::{Batch, Loader, Order};
use crate::models::parameters::host_values;
use crate::models::{Activation, Model, ModelError};
use crate::monitor::Monitor;
use crate::sources::{DataError, Dataset};

/// Why a pass over a dataset ended early.
#[derive(Debug, thiserror::Error)]
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
    /// A label that is none of the model's classes.
    #[error(
        "the image {image} has class number {label}, and the model has {classes} classes; is it a model of other classes?"
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
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// Accuracy and loss on a dataset.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Images with a label.
    pub n: usize,
    /// Share of images whose most likely class is their label, 0 to 1.
    pub accuracy: f64,
    /// Wilson's 95 % interval of the accuracy.
    pub accuracy_interval: [f64; 2],
    /// Mean over the classes present of the accuracy in each.
    pub balanced_accuracy: f64,
    /// Mean cross-entropy.
    pub loss: f64,
    /// The lowest accuracy of a group, where samples belong to groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_group: Option<GroupAccuracy>,
}

/// The accuracy of one group of samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupAccuracy {
    /// The group.
    pub group: String,
    /// Its images.
    pub n: usize,
    /// Share that is right, 0 to 1.
    pub accuracy: f64,
}

impl Evaluation {
    /// Whether this is better than `other`: more accurate, then of lower loss.
    pub fn is_better_than(&self, other: &Self) -> bool {
        self.order(other).is_gt()
    }

    /// How this compares with `other`: the greater is more accurate, then of lower loss.
    pub fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.accuracy.total_cmp(&other.accuracy).then(other.loss.total_cmp(&self.loss))
    }
}

/// A batch's images as a tensor `[n, channels, height, width]`.
pub fn images(batch: &Batch, device: &Device) -> Tensor<4> {
    images_of_all(std::slice::from_ref(batch), device)
}

/// The images of some batches of one size, at least one, in their order, as a tensor `[n, channels, height, width]`.
fn images_of_all(batches: &[Batch], device: &Device) -> Tensor<4> {
    let values = batches.iter().map(|batch| batch.images.as_slice()).collect::<Vec<_>>().concat();
    let n = batches.iter().map(|batch| batch.n).sum();
    let (height, width) = (batches[0].height, batches[0].width);
    let channels = values.len().checked_div(n * height * width).unwrap_or_default();
    Tensor::from_data(TensorData::new(values, [n, channels, height, width]), device)
}

/// Pixels that are computed at once, as far as [`MOST_BATCHES_AT_ONCE`] allows: as many as 8 images at 224 have.
const PIXELS_AT_ONCE: usize = 8 * 224 * 224;
/// Batches that are computed at once, at most. Someone who chose a small batch may be short of memory.
const MOST_BATCHES_AT_ONCE: usize = 4;

/// The batches of a loader that go through the model together. The layers' weights are arranged for
/// the processor once each time, which with few small images is a good part of the work.
fn batches_at_once(loader: &Loader) -> usize {
    let options = loader.options();
    let pixels = options.preprocessing.width as usize * options.preprocessing.height as usize;
    (PIXELS_AT_ONCE / (pixels * options.batch_size).max(1)).clamp(1, MOST_BATCHES_AT_ONCE)
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
    try_for_each_batch(model, loader, layer, 0, task, monitor, |batch, rows| {
        take(batch, rows);
        Ok(())
    })
}

/// As [`for_each_batch`], from the batch numbered `start_batch` on, until `take` fails.
///
/// # Errors
/// As [`for_each_batch`]; that of `take`.
pub fn try_for_each_batch<E: From<InferenceError>>(
    model: &Model,
    loader: &Loader,
    layer: Layer,
    start_batch: usize,
    task: &str,
    monitor: &dyn Monitor,
    mut take: impl FnMut(&Batch, Vec<f32>) -> Result<(), E>,
) -> Result<(), E> {
    let device = model.parameters.tensors()[0].device();
    let images_before = (start_batch * loader.options().batch_size).min(loader.dataset().len());
    monitor.start(task, loader.dataset().len());
    monitor.advance(images_before);
    let at_once = batches_at_once(loader);
    let mut epoch = loader.epoch(0, Order::Sequential, start_batch);
    loop {
        let batches = epoch.by_ref().take(at_once).collect::<Result<Vec<Batch>, _>>().map_err(InferenceError::from)?;
        if batches.is_empty() {
            break;
        }
        let mut rows = host_values(layer.output(model, images_of_all(&batches, &device)));
        let width = rows.len() / batches.iter().map(|batch| batch.n).sum::<usize>();
        if let Some(at) = rows.iter().position(|value| !value.is_finite()) {
            let index = batches[0].indices[0] + at / width;
            let image = loader.dataset().samples[index].name.to_string();
            monitor.finish();
            return Err(InferenceError::NotFinite { image }.into());
        }
        for batch in batches {
            if monitor.cancelled() {
                return Err(InferenceError::Interrupted.into());
            }
            let later = rows.split_off(batch.n * width);
            take(&batch, std::mem::replace(&mut rows, later))?;
            monitor.advance(batch.n);
        }
    }
    monitor.finish();
    Ok(())
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
    /// The head's output.
    Logits,
}

impl Layer {
    /// Understands `input`, `pooled`, `logits` and every block's or stage's name (a stage's output
    /// is its last block's).
    ///
    /// # Errors
    /// An unknown name, with the closest known one.
    pub fn parse(name: &str, model: &Model) -> Result<Self, ModelError> {
        Ok(match name {
            "input" => Self::Input,
            "pooled" => Self::Pooled,
            "logits" if model.config().num_classes() == 0 => return Err(ModelError::NoClassifier),
            "logits" => Self::Logits,
            _ => Self::Block(model.network().find_blocks(name)?.end - 1),
        })
    }

    fn output(self, model: &Model, images: Tensor<4>) -> Tensor<2> {
        let images = Activation::of_images(images);
        match self {
            Self::Input => images.flatten(),
            Self::Block(block) => model.forward_range(images, 0..block + 1).flatten(),
            Self::Pooled => model.forward_range(images, 0..model.head()).pool(),
            Self::Logits => model.forward_range(images, 0..model.head() + 1).flatten(),
        }
    }
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

/// Evaluates a model on a labelled dataset.
///
/// # Errors
/// As [`for_each_batch`]; a model without a classifier; an image without a label, or with one that is none of the model's
/// classes.
pub fn evaluate(
    model: &Model,
    loader: &Loader,
    task: &str,
    monitor: &dyn Monitor,
) -> Result<Evaluation, InferenceError> {
    evaluate_each(model, loader, task, monitor, |_, _| ())
}

/// As [`evaluate`], and gives the true and the predicted class of each image to `answer` on the way.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_each(
    model: &Model,
    loader: &Loader,
    task: &str,
    monitor: &dyn Monitor,
    mut answer: impl FnMut(usize, usize),
) -> Result<Evaluation, InferenceError> {
    let classes = model.config().num_classes();
    if classes == 0 {
        return Err(InferenceError::NoClassifier);
    }
    let dataset = loader.dataset();
    labels_below(classes, dataset)?;
    let mut tally = Tally::default();
    for_each_batch(model, loader, Layer::Logits, task, monitor, |batch, rows| {
        for (row, (&label, &index)) in rows.chunks_exact(classes).zip(batch.labels.iter().zip(&batch.indices)) {
            tally.add(row, label, dataset.samples[index].group.as_deref());
            answer(label, most_likely(row));
        }
    })?;
    Ok(tally.evaluation())
}

/// The labels of a dataset, which must be among so many classes.
fn labels_below(classes: usize, dataset: &Dataset) -> Result<Vec<usize>, InferenceError> {
    let labels = dataset.labels()?;
    match labels.iter().position(|&label| label >= classes) {
        None => Ok(labels),
        Some(index) => {
            let image = dataset.samples[index].name.to_string();
            Err(InferenceError::LabelBeyond { image, label: labels[index], classes })
        }
    }
}

/// Evaluates logits that are at hand, one row for each image of the dataset in order.
///
/// # Errors
/// An image without a label, or with one that its row has no logit for.
pub fn evaluate_logits<'a>(
    dataset: &Dataset,
    rows: impl IntoIterator<Item = &'a [f32]>,
) -> Result<Evaluation, InferenceError> {
    let mut tally = Tally::default();
    for ((row, label), sample) in rows.into_iter().zip(dataset.labels()?).zip(&dataset.samples) {
        if label >= row.len() {
            let image = sample.name.to_string();
            return Err(InferenceError::LabelBeyond { image, label, classes: row.len() });
        }
        tally.add(row, label, sample.group.as_deref());
    }
    Ok(tally.evaluation())
}

/// Counts while the images go by.
#[derive(Default)]
pub(crate) struct Tally {
    loss: f64,
    right: usize,
    n: usize,
    classes: std::collections::BTreeMap<usize, (usize, usize)>,
    groups: std::collections::BTreeMap<String, (usize, usize)>,
}

impl Tally {
    /// Counts an image by its logits.
    pub fn add(&mut self, logits: &[f32], label: usize, group: Option<&str>) {
        let right = most_likely(logits) == label;
        self.loss += cross_entropy(logits, label);
        self.right += usize::from(right);
        self.n += 1;
        let count = |entry: &mut (usize, usize)| {
            entry.0 += usize::from(right);
            entry.1 += 1;
        };
        count(self.classes.entry(label).or_default());
        if let Some(group) = group {
            count(self.groups.entry(group.to_owned()).or_default());
        }
    }

    /// What the images counted so far amount to.
    pub fn evaluation(self) -> Evaluation {
        let share = |(right, n): (usize, usize)| right as f64 / n.max(1) as f64;
        let per_class: Vec<f64> = self.classes.values().map(|&counts| share(counts)).collect();
        let worst_group = self
            .groups
            .into_iter()
            .map(|(group, counts)| GroupAccuracy { group, n: counts.1, accuracy: share(counts) })
            .min_by(|one, other| one.accuracy.total_cmp(&other.accuracy));
        Evaluation {
            n: self.n,
            accuracy: share((self.right, self.n)),
            accuracy_interval: wilson_interval(self.right, self.n),
            balanced_accuracy: per_class.iter().sum::<f64>() / per_class.len().max(1) as f64,
            loss: self.loss / self.n.max(1) as f64,
            worst_group,
        }
    }
}

/// Index of the largest logit, the first of equal ones.
pub fn most_likely(logits: &[f32]) -> usize {
    let mut best = 0;
    for (class, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = class;
        }
    }
    best
}

/// Probabilities of the classes.
pub fn softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f64> = logits.iter().map(|logit| f64::from(logit - largest).exp()).collect();
    let total: f64 = exponentials.iter().sum();
    exponentials.into_iter().map(|value| value / total).collect()
}

/// The negative logarithm of the label's probability.
pub fn cross_entropy(logits: &[f32], label: usize) -> f64 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|logit| f64::from(logit - largest).exp()).sum();
    total.ln() + f64::from(largest - logits[label])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_has_no_logit_is_an_error_by_its_image() {
        let dataset = crate::sources::source::tests::memory_dataset(&[0, 1, 2], 4, 4);
        let error = labels_below(2, &dataset).unwrap_err().to_string();
        assert!(error.starts_with("the image 2/00002.png has class number 2, and the model has 2 classes"), "{error}");
        assert_eq!(labels_below(3, &dataset).unwrap(), [0, 1, 2]);
        let rows = [[1.0, 0.0].as_slice(), &[0.0, 1.0], &[0.0, 1.0]];
        assert!(matches!(evaluate_logits(&dataset, rows), Err(InferenceError::LabelBeyond { label: 2, .. })));
    }

    #[test]
    fn the_worst_group_and_the_balance_of_classes_are_counted() {
        let mut tally = Tally::default();
        tally.add(&[2.0, 1.0], 0, Some("sun"));
        tally.add(&[2.0, 1.0], 0, Some("sun"));
        tally.add(&[2.0, 1.0], 1, Some("snow"));
        let evaluation = tally.evaluation();
        assert!((evaluation.accuracy - 2.0 / 3.0).abs() < 1e-12);
        assert!((evaluation.balanced_accuracy - 0.5).abs() < 1e-12);
        assert_eq!(evaluation.worst_group.unwrap().group, "snow");
        // Cross-entropies by hand: ln(1 + e⁻¹) twice and ln(1 + e).
        let expected = (2.0 * (1.0 + (-1f64).exp()).ln() + (1.0 + 1f64.exp()).ln()) / 3.0;
        assert!((evaluation.loss - expected).abs() < 1e-9);
    }
}
