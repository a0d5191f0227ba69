//! The loss of a batch and its gradients, L2-SP's penalty, and the norm that gradients are clipped to.

use std::num::NonZeroUsize;
use std::ops::Range;

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};
use retune_kernels::with_precision;

use super::learning_rates::RateFactors;
use super::options::{BatchNormPolicy, Precision, TrainOptions};
use crate::device;
use crate::inference;
use crate::loading::Batch;
use crate::models::parameters::host_values;
use crate::models::{Activation, Dropping, Model, ObservedStatistics, Parameters, Pass};
use crate::plan::Anchor;

/// A gradient for each parameter in the model's order; `None` where it is frozen.
pub type Gradients = Vec<Option<Vec<f32>>>;

/// What is differentiated.
#[derive(Clone, Copy, Debug)]
pub struct Differentiation<'a> {
    /// For each parameter in the model's order, whether it gets a gradient.
    pub trained: &'a [bool],
    /// For each block, whether BatchNorm normalizes by the batch; empty for none.
    pub batch_statistics: &'a [bool],
    /// Factor on the loss of each class.
    pub class_weights: Option<&'a [f64]>,
    /// The numbers in which matrices are multiplied.
    pub precision: Precision,
    /// What is left out at random.
    pub dropping: Option<Dropping>,
    /// Images that pass through the network at once; gradients add up over the parts of a batch. `None` takes them all.
    pub at_once: Option<NonZeroUsize>,
}

impl<'a> Differentiation<'a> {
    /// What trains in an epoch of a run with these options.
    pub(super) fn of(rate_factors: &'a RateFactors, options: &TrainOptions, class_weights: Option<&'a [f64]>) -> Self {
        let batch_statistics: &[bool] = match options.batch_norm {
            BatchNormPolicy::Train => &rate_factors.trained_blocks,
            BatchNormPolicy::Frozen | BatchNormPolicy::Recalibrate => &[],
        };
        Self {
            trained: &rate_factors.trained,
            batch_statistics,
            class_weights,
            precision: options.precision,
            dropping: None,
            at_once: options.at_once(),
        }
    }
}

/// A batch's loss and its gradients.
pub struct LossGradients {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Images whose most likely class was right.
    pub correct: usize,
    /// Its gradients.
    pub gradients: Gradients,
    /// Running statistics that BatchNorm layers in training mode saw.
    pub observed: Vec<ObservedStatistics>,
}

/// The first block with a trained parameter; the number of blocks where there is none.
pub(super) fn first_trained(model: &Model, trained: &[bool]) -> usize {
    let trained = model.network().specs.iter().zip(trained).filter(|(_, trained)| **trained);
    trained.map(|(spec, _)| spec.block).min().unwrap_or(model.blocks().len())
}

impl LossGradients {
    /// The sum with those of another part of the batch; losses and gradients are parts of the batch's mean already.
    fn plus(mut self, other: Self) -> Self {
        for (sum, other) in self.gradients.iter_mut().zip(other.gradients) {
            match (sum, other) {
                (Some(sum), Some(other)) => sum.iter_mut().zip(other).for_each(|(sum, other)| *sum += other),
                (sum @ None, other) => *sum = other,
                (Some(_), None) => {}
            }
        }
        self.observed.extend(other.observed);
        Self { loss: self.loss + other.loss, correct: self.correct + other.correct, ..self }
    }
}

/// The gradients of a batch's loss. Nothing below the first block with a trained parameter is
/// differentiated.
pub fn loss_gradients(model: &Model, batch: &Batch, what: &Differentiation) -> LossGradients {
    loss_gradients_of(model, batch, None, what)
}

/// The same from the images or, where it is given, from what enters the first block with a trained parameter.
pub(super) fn loss_gradients_of(
    model: &Model,
    batch: &Batch,
    entry: Option<Activation>,
    what: &Differentiation,
) -> LossGradients {
    let device = model.parameters.tensors()[0].device();
    let targets = weighted_targets(batch, model.config().num_classes(), what.class_weights);
    let entry = |images: Range<usize>| match &entry {
        Some(entry) if images.len() == batch.n => entry.clone(),
        Some(entry) => entry.examples(images),
        None => {
            let images = Activation::Map(inference::images_of(batch, images, &device));
            model.forward_range(images, 0..first_trained(model, what.trained))
        }
    };
    let part = |images: Range<usize>| {
        let entry = entry(images.clone());
        device::compute(&device, || differentiate(model, entry, Part { batch, images, targets: &targets }, what))
    };
    let size = what.at_once.map_or(batch.n, NonZeroUsize::get).clamp(1, batch.n.max(1));
    let rest = (size..batch.n).step_by(size).map(|start| part(start..batch.n.min(start + size)));
    rest.fold(part(0..size.min(batch.n)), LossGradients::plus)
}

/// Images of a batch that pass through the network together.
struct Part<'a> {
    batch: &'a Batch,
    images: Range<usize>,
    /// Those of the whole batch.
    targets: &'a [f32],
}

fn differentiate(model: &Model, entry: Activation, part: Part, what: &Differentiation) -> LossGradients {
    let specs = &model.network().specs;
    let device = model.parameters.tensors()[0].device();
    let (first, end) = (first_trained(model, what.trained), model.blocks().len());
    let entry = entry.into_autodiff();

    let tracked = tracked_parameters(model, what.trained);
    // One image has no statistics of its own: PyTorch refuses it where a channel has one value.
    let batch_statistics = if part.images.len() > 1 { what.batch_statistics } else { &[] };
    let first_image = part.images.start;
    let dropping = what.dropping.map(|dropping| Dropping { first_image, ..dropping });
    let mut pass = Pass::training(&tracked, batch_statistics).dropping(dropping);
    // Each operator's backward pass keeps the precision of its forward pass.
    let forward = || model.network().forward_range(entry, first..end, &mut pass).pool();
    let logits = with_precision(what.precision, forward);
    let observed = pass.into_observed();

    let correct = count_correct(logits.clone().inner(), &part.batch.labels[part.images.clone()]);
    let classes = model.config().num_classes();
    let targets = part.targets[part.images.start * classes..part.images.end * classes].to_vec();
    let loss = cross_entropy(logits, targets, &device);
    let value = f64::from(loss.clone().inner().into_scalar::<f32>());

    if first == end {
        let gradients = vec![None; specs.len()];
        return LossGradients { loss: value, correct, gradients, observed };
    }
    let mut found = loss.backward();
    let gradients = tracked
        .tensors()
        .iter()
        .zip(specs.iter())
        .zip(what.trained)
        .map(|((tensor, spec), &trained)| {
            let wanted = trained && spec.role.is_trainable();
            wanted.then(|| tensor.grad_remove(&mut found).map(host_values)).flatten()
        })
        .collect();
    LossGradients { loss: value, correct, gradients, observed }
}

/// Adds the gradient of L2-SP's penalty on parameters of the blocks before `head` that have left those of `pretrained`, and
/// on the head's.
pub(super) fn add_l2_sp(
    gradients: &mut Gradients,
    parameters: &Parameters,
    anchor: Anchor,
    pretrained: &Parameters,
    head: usize,
) {
    for (index, gradient) in gradients.iter_mut().enumerate() {
        let Some(gradient) = gradient else { continue };
        let values = parameters.values(index);
        if parameters.specs()[index].block == head {
            let strength = anchor.head_strength as f32;
            gradient.iter_mut().zip(values).for_each(|(gradient, value)| *gradient += strength * value);
        } else {
            let strength = anchor.strength as f32;
            let moved = values.into_iter().zip(pretrained.values(index)).map(|(value, start)| value - start);
            gradient.iter_mut().zip(moved).for_each(|(gradient, moved)| *gradient += strength * moved);
        }
    }
}

/// Steps along L2-SP's penalty by itself, `w ← w − rate · strength · (w − w₀)`, for the parameters that have a gradient:
/// what AdamW does with weight decay (arXiv 1711.05101), with the penalty in the place of ‖w‖².
pub(super) fn pull_to(
    pretrained: &Parameters,
    parameters: &mut Parameters,
    gradients: &Gradients,
    anchor: Anchor,
    head: usize,
    learning_rates: &[f64],
) {
    for index in (0..gradients.len()).filter(|&index| gradients[index].is_some()) {
        let mut values = parameters.values(index);
        if parameters.specs()[index].block == head {
            let share = (learning_rates[index] * anchor.head_strength) as f32;
            values.iter_mut().for_each(|value| *value -= share * *value);
        } else {
            let share = (learning_rates[index] * anchor.strength) as f32;
            let start = pretrained.values(index);
            values.iter_mut().zip(start).for_each(|(value, start)| *value -= share * (*value - start));
        }
        parameters.set_values(index, values);
    }
}

/// The parameters on the differentiating side, the trained ones tracked.
fn tracked_parameters(model: &Model, trained: &[bool]) -> Parameters {
    let specs = model.network().specs.clone();
    let tensors = model
        .parameters
        .tensors()
        .iter()
        .zip(specs.iter().zip(trained))
        .map(|(tensor, (spec, &trained))| {
            let tensor = Tensor::from_inner(tensor.clone());
            if trained && spec.role.is_trainable() { tensor.require_grad() } else { tensor }
        })
        .collect();
    Parameters::from_tensors(specs, tensors)
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

fn cross_entropy(logits: Tensor<2>, targets: Vec<f32>, device: &Device) -> Tensor<1> {
    let targets = Tensor::<2>::from_data(TensorData::new(targets, logits.dims()), device);
    (log_softmax(logits, 1) * Tensor::from_inner(targets)).sum().neg()
}

fn count_correct(logits: Tensor<2>, labels: &[usize]) -> usize {
    let [_, classes] = logits.dims();
    let logits = host_values(logits);
    let rows = logits.chunks_exact(classes).zip(labels);
    rows.filter(|(row, label)| inference::most_likely(row) == **label).count()
}

/// Scales all gradients so that their norm together is at most `limit`, as PyTorch's `clip_grad_norm_` does.
pub(super) fn clip_norm<'a>(gradients: impl Iterator<Item = &'a mut Vec<f32>>, limit: f64) {
    let mut gradients: Vec<&mut Vec<f32>> = gradients.collect();
    let squares = gradients.iter().flat_map(|gradient| gradient.iter()).map(|&value| f64::from(value).powi(2));
    // PyTorch's guard against division by zero.
    let norm = squares.sum::<f64>().sqrt() + 1e-6;
    let scale = (limit / norm).min(1.0) as f32;
    if scale < 1.0 {
        gradients.iter_mut().flat_map(|gradient| gradient.iter_mut()).for_each(|value| *value *= scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 12] = [1.0, -0.5, 0.25, 0.0, 2.0, -1.0, 0.5, 0.5, 3.0, -2.0, 1.0, 0.75];
    const WEIGHTS: [f64; 3] = [0.5, 1.5, 2.0];

    fn loss(targets: Option<Vec<f32>>, mixed: bool) -> f64 {
        let labels = vec![0, 0, 1, 2];
        let batch =
            Batch { number: 0, images: vec![], labels, indices: vec![], targets, mixed, n: 4, height: 0, width: 0 };
        let device = Device::flex();
        let logits = Tensor::<2>::from_data(TensorData::new(LOGITS.to_vec(), [4, 3]), &device);
        let targets = weighted_targets(&batch, 3, Some(&WEIGHTS));
        f64::from(cross_entropy(logits, targets, &device).into_scalar::<f32>())
    }

    /// `torch.nn.functional.cross_entropy(logits, labels, weight=weights, label_smoothing=s)` of PyTorch 2.15, and with
    /// probabilities in place of labels. Single precision, a dozen additions.
    #[test]
    fn class_weights_divide_the_loss_as_pytorch_has_it() {
        let close = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
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
}
