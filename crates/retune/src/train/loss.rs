//! The losses that training can descend: cross-entropy of one class for each image, or binary cross-entropy of every label.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor};

use super::{TrainError, Trainer};
use crate::device;
use crate::inference;
use crate::loading::Batch;
use crate::models::Model;
use crate::sources::LabelSets;

/// What a batch's logits are compared with, and how.
#[derive(Clone, Copy, Debug)]
pub enum Loss<'a> {
    /// The mean cross-entropy of the images' classes.
    CrossEntropy {
        /// Factor on the loss of each class.
        class_weights: Option<&'a [f64]>,
    },
    /// The mean over images and labels of the binary cross-entropy, PyTorch's `BCEWithLogitsLoss`.
    BinaryCrossEntropy(&'a LabelSets),
}

impl Default for Loss<'_> {
    fn default() -> Self {
        Self::CrossEntropy { class_weights: None }
    }
}

/// What a loss is made of, in a run.
pub(super) enum TrainingLoss {
    /// One class for each image, with the classes' weights where they have any.
    Classes(Option<Vec<f64>>),
    /// A set of labels for each image.
    Labels(LabelSets),
}

impl TrainingLoss {
    /// That of a trainer's images for a model.
    pub fn of(trainer: &Trainer, model: &Model) -> Result<Self, TrainError> {
        Ok(match inference::label_sets(model, &trainer.train)? {
            Some(sets) => Self::Labels(sets),
            None => Self::Classes(trainer.class_weights()),
        })
    }

    pub fn loss(&self) -> Loss<'_> {
        match self {
            Self::Classes(class_weights) => Loss::CrossEntropy { class_weights: class_weights.as_deref() },
            Self::Labels(sets) => Loss::BinaryCrossEntropy(sets),
        }
    }
}

/// The factors of log-probabilities in a batch's mean loss, a row for each image.
pub(super) struct Targets {
    rows: Vec<f32>,
    width: usize,
    /// Outcomes among which probabilities are distributed: all classes, or a label and its absence.
    outcomes: usize,
}

impl Targets {
    /// Those of some images of the batch.
    fn of_images(&self, images: std::ops::Range<usize>) -> Vec<f32> {
        self.rows[images.start * self.width..images.end * self.width].to_vec()
    }
}

impl Loss<'_> {
    /// The targets of a batch for a model of so many classes or labels.
    pub(super) fn targets(&self, batch: &Batch, classes: usize) -> Targets {
        match self {
            Self::CrossEntropy { class_weights } => {
                Targets { rows: weighted_targets(batch, classes, *class_weights), width: classes, outcomes: classes }
            }
            Self::BinaryCrossEntropy(sets) => {
                Targets { rows: binary_targets(batch, classes, sets), width: 2 * classes, outcomes: 2 }
            }
        }
    }

    /// The part of a batch's mean loss that some of its images have.
    pub(super) fn value(
        &self,
        logits: Tensor<2>,
        targets: &Targets,
        images: std::ops::Range<usize>,
        device: &Device,
    ) -> Tensor<1> {
        // A label's probability is the sigmoid of its logit, which is the softmax of that and of zero for its absence.
        let logits = match self {
            Self::CrossEntropy { .. } => logits,
            Self::BinaryCrossEntropy(_) => {
                let [images, labels] = logits.dims();
                let logits = logits.reshape([images * labels, 1]);
                Tensor::cat(vec![logits.clone(), logits.zeros_like()], 1)
            }
        };
        debug_assert_eq!(logits.dims()[1], targets.outcomes);
        cross_entropy(logits, targets.of_images(images), device)
    }

    /// The number of images whose most likely class is right (the first of several), or whose labels all are.
    pub(super) fn count_correct(&self, logits: Tensor<2>, labels: &[usize]) -> Tensor<1> {
        let ([images, classes], device) = (logits.dims(), logits.device());
        let right = match self {
            Self::CrossEntropy { .. } => {
                let labels = labels.iter().map(|&label| label as f32).collect();
                logits.argmax(1).float().equal(device::tensor(labels, [images, 1], &device))
            }
            Self::BinaryCrossEntropy(sets) => {
                let mut known = vec![0.0; images * classes];
                for (row, &class) in known.chunks_exact_mut(classes.max(1)).zip(labels) {
                    sets.add_to(row, class, 1.0);
                }
                let found = logits.greater_equal_scalar(0.0).float();
                found.equal(device::tensor(known, [images, classes], &device)).all_dim(1)
            }
        };
        right.float().sum()
    }
}

/// The factors of the log-probabilities in the mean loss: target probabilities `n × classes`, each class's column
/// weighted, divided by the total weight as PyTorch's `CrossEntropyLoss` has it. That is the weight of the labels, and the
/// number of images where these are mixed and have no one label.
fn weighted_targets(batch: &Batch, classes: usize, class_weights: Option<&[f64]>) -> Vec<f32> {
    let mut targets = match &batch.targets {
        Some(targets) => targets.clone(),
        None => {
            let mut targets = vec![0.0; batch.n * classes];
            for (row, &label) in batch.labels.iter().enumerate() {
                targets[row * classes + label] = 1.0;
            }
            targets
        }
    };
    let mut total = batch.n as f64;
    if let Some(weights) = class_weights {
        for (position, target) in targets.iter_mut().enumerate() {
            *target *= weights[position % classes] as f32;
        }
        if !batch.mixed {
            total = batch.labels.iter().map(|&label| weights[label]).sum();
        }
    }
    targets.iter_mut().for_each(|target| *target = (f64::from(*target) / total) as f32);
    targets
}

/// For each image and label the target and what it lacks of 1, divided by the number of all. Images that are mixed have
/// shares of several sets of labels.
fn binary_targets(batch: &Batch, labels: usize, sets: &LabelSets) -> Vec<f32> {
    let mut shares = vec![0.0; batch.n * labels];
    for (image, row) in shares.chunks_exact_mut(labels.max(1)).enumerate() {
        match &batch.targets {
            None => sets.add_to(row, batch.labels[image], 1.0),
            Some(targets) => {
                let classes = targets.len() / batch.n.max(1);
                let of_image = targets[image * classes..(image + 1) * classes].iter().enumerate();
                of_image.filter(|(_, share)| **share > 0.0).for_each(|(class, &share)| sets.add_to(row, class, share));
            }
        }
    }
    let total = shares.len() as f32;
    shares.into_iter().flat_map(|share| [share / total, (1.0 - share) / total]).collect()
}

fn cross_entropy(logits: Tensor<2>, targets: Vec<f32>, device: &Device) -> Tensor<1> {
    let targets = device::tensor(targets, logits.dims(), device);
    (log_softmax(logits, 1) * Tensor::from_inner(targets)).sum().neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 12] = [1.0, -0.5, 0.25, 0.0, 2.0, -1.0, 0.5, 0.5, 3.0, -2.0, 1.0, 0.75];
    const WEIGHTS: [f64; 3] = [0.5, 1.5, 2.0];

    fn value(loss: &Loss, targets: Option<Vec<f32>>, mixed: bool) -> f64 {
        let labels = vec![0, 0, 1, 2];
        let batch =
            Batch { number: 0, images: vec![], labels, indices: vec![], targets, mixed, n: 4, height: 0, width: 0 };
        let device = Device::flex();
        let logits = device::tensor(LOGITS.to_vec(), [4, 3], &device);
        let targets = loss.targets(&batch, 3);
        f64::from(loss.value(logits, &targets, 0..4, &device).into_scalar::<f32>())
    }

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }

    /// `torch.nn.functional.cross_entropy(logits, labels, weight=weights, label_smoothing=s)` of PyTorch 2.15, and with
    /// probabilities in place of labels. Single precision, a dozen additions.
    #[test]
    fn class_weights_divide_the_loss_as_pytorch_has_it() {
        let loss = |targets, mixed| value(&Loss::CrossEntropy { class_weights: Some(&WEIGHTS) }, targets, mixed);
        close(loss(None, false), 1.5631136894226074);
        let smoothed = |label: usize| (0..3).map(move |class| if class == label { 0.9 + 0.1 / 3.0 } else { 0.1 / 3.0 });
        close(loss(Some([0, 0, 1, 2].into_iter().flat_map(smoothed).collect()), false), 1.5813467502593994);
        let mixed = vec![0.7, 0.2, 0.1, 0.9, 0.05, 0.05, 0.1, 0.6, 0.3, 0.05, 0.05, 0.9];
        close(loss(Some(mixed), true), 1.6593199968338013);
        // mixup with a share of 0.7 of labels smoothed by 0.1, each image with that at the other end of the batch.
        let mix = |label: usize, partner: usize| {
            smoothed(label).zip(smoothed(partner)).map(|(own, other)| 0.7 * own + 0.3 * other)
        };
        let targets = [(0, 2), (0, 1), (1, 0), (2, 0)].into_iter().flat_map(|(label, partner)| mix(label, partner));
        close(loss(Some(targets.collect()), true), 1.705067753791809);
    }

    /// `torch.nn.functional.binary_cross_entropy_with_logits(logits, targets)` of PyTorch 2.15 on the targets
    /// [[1, 0, 1], [1, 0, 1], [0, 0, 0], [0, 1, 0]], and on 0.75 of these with 0.25 of the same upside down.
    #[test]
    fn the_loss_of_labels_is_pytorchs() {
        let classes = ["a;c", "", "b"].map(str::to_owned);
        let sets = LabelSets::of(&classes);
        let loss = Loss::BinaryCrossEntropy(&sets);
        close(value(&loss, None, false), BINARY);
        let share = |class: usize, partner: usize| {
            (0..3).map(move |other| 0.75 * f32::from(other == class) + 0.25 * f32::from(other == partner))
        };
        let targets = [(0, 2), (0, 1), (1, 0), (2, 0)].into_iter().flat_map(|(class, partner)| share(class, partner));
        close(value(&loss, Some(targets.collect()), true), MIXED);
        // All labels of an image have to be right: the second has one too many, the third all, and the last another.
        let device = Device::flex();
        let logits = device::tensor(LOGITS.to_vec(), [4, 3], &device);
        assert_eq!(device::host_values(loss.count_correct(logits, &[0, 2, 1, 2])), [1.0]);
    }

    #[test]
    fn the_first_of_equally_likely_classes_counts() {
        let logits = device::tensor(LOGITS.to_vec(), [4, 3], &Device::flex());
        // The most likely are 0, 1, 2 and 1; in a row of 0, 0.5 and 0.5, it is the first of two.
        let tied = device::tensor(vec![0.0, 0.5, 0.5], [1, 3], &Device::flex());
        let correct = |logits, labels: &[usize]| device::host_values(Loss::default().count_correct(logits, labels))[0];
        assert_eq!(correct(logits, &[0, 1, 2, 0]), 3.0);
        assert_eq!((correct(tied.clone(), &[1]), correct(tied, &[2])), (1.0, 0.0));
    }

    const BINARY: f64 = 1.0058680772781372;
    const MIXED: f64 = 0.9954514503479004;
}
