//! One step of gradient descent on the blocks that a phase trains.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};
use retune_kernels::with_precision;

use super::low_rank::TrainedAdapters;
use super::optimizer::Optimizer;
use super::options::Precision;
use crate::device;
use crate::inference;
use crate::loading::Batch;
use crate::models::parameters::host_values;
use crate::models::{Activation, Model, ObservedStatistics, Parameters, Pass};
use crate::plan::Anchor;

/// PyTorch's momentum of BatchNorm's running statistics.
const STATISTICS_MOMENTUM: f64 = 0.1;

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
}

/// A batch's loss and its gradients.
pub struct LossGradients {
    /// Mean cross-entropy.
    pub loss: f64,
    /// Images whose most likely class was right.
    pub correct: usize,
    /// One for each parameter in the model's order; `None` where it is frozen.
    pub gradients: Vec<Option<Vec<f32>>>,
    /// Running statistics that BatchNorm layers in training mode saw.
    pub observed: Vec<ObservedStatistics>,
}

/// The first block with a trained parameter; the number of blocks where there is none.
pub(super) fn first_trained(model: &Model, trained: &[bool]) -> usize {
    let trained = model.network().specs.iter().zip(trained).filter(|(_, trained)| **trained);
    trained.map(|(spec, _)| spec.block).min().unwrap_or(model.blocks().len())
}

/// The gradients of a batch's loss. Nothing below the first block with a trained parameter is
/// differentiated.
pub fn loss_gradients(model: &Model, batch: &Batch, what: &Differentiation) -> LossGradients {
    let device = model.parameters.tensors()[0].device();
    let first = first_trained(model, what.trained);
    let entry = model.forward_range(Activation::of_images(inference::images(batch, &device)), 0..first);
    loss_gradients_from(model, entry, batch, what)
}

/// The same from what enters the first block with a trained parameter; the batch's images are not
/// looked at.
pub(super) fn loss_gradients_from(
    model: &Model,
    entry: Activation,
    batch: &Batch,
    what: &Differentiation,
) -> LossGradients {
    let device = model.parameters.tensors()[0].device();
    device::compute(&device, || differentiate(model, entry, batch, what))
}

fn differentiate(model: &Model, entry: Activation, batch: &Batch, what: &Differentiation) -> LossGradients {
    let specs = &model.network().specs;
    let device = model.parameters.tensors()[0].device();
    let (first, end) = (first_trained(model, what.trained), model.blocks().len());
    let entry = entry.into_autodiff();

    let tracked = tracked_parameters(model, what.trained);
    // One image has no statistics of its own: PyTorch refuses it where a channel has one value.
    let batch_statistics = if batch.n > 1 { what.batch_statistics } else { &[] };
    let mut pass = Pass::training(&tracked, batch_statistics);
    // Each operator's backward pass keeps the precision of its forward pass.
    let forward = || model.network().forward_range(entry, first..end, &mut pass).pool();
    let logits = with_precision(what.precision.into(), forward);
    let observed = pass.into_observed();

    let correct = count_correct(logits.clone().inner(), batch);
    let targets = weighted_targets(batch, model.config().num_classes(), what.class_weights);
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

/// How a step is made of gradients.
pub(super) struct StepRule<'a> {
    /// Learning rate of each parameter.
    pub rates: &'a [f64],
    /// Largest norm of all gradients together.
    pub clip_norm: Option<f64>,
    /// L2-SP's penalty, the pretrained parameters, and the head's block.
    pub anchor: Option<(Anchor, &'a Parameters, usize)>,
}

/// Updates the trained parameters and the running statistics by a batch's gradients. Low-rank
/// changes come with the weights that they change.
pub(super) fn step(
    model: &mut Model,
    optimizer: &mut Optimizer,
    adapters: Option<(&mut TrainedAdapters, &Parameters)>,
    mut found: LossGradients,
    rule: &StepRule,
) {
    let specs = model.network().specs.clone();
    if let Some((anchor, pretrained, head)) = rule.anchor {
        add_anchor(&mut found.gradients, &model.parameters, anchor, pretrained, head);
    }
    let mut factors = adapters.as_ref().map(|(adapters, _)| adapters.take_gradients(&mut found.gradients));
    let all = found.gradients.iter_mut().flatten();
    let all = all.chain(factors.iter_mut().flatten().flatten().flat_map(|factors| [&mut factors.a, &mut factors.b]));
    clip(all.collect(), rule.clip_norm);

    for (index, gradient) in found.gradients.into_iter().enumerate() {
        let Some(gradient) = gradient else { continue };
        let decays = specs[index].decays() && rule.anchor.is_none();
        model.parameters.update(index, |tensor| {
            let device = tensor.device();
            let mut values = host_values(tensor);
            optimizer.update(index, &mut values, &gradient, rule.rates[index], decays);
            let length = values.len();
            Tensor::from_data(TensorData::new(values, [length]), &device)
        });
    }
    if let Some(((adapters, base), factors)) = adapters.zip(factors) {
        adapters.step(&factors, rule.rates, base, &mut model.parameters);
    }
    update_statistics(&mut model.parameters, found.observed);
}

/// Adds the gradient of L2-SP's penalty.
fn add_anchor(
    gradients: &mut [Option<Vec<f32>>],
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

fn count_correct(logits: Tensor<2>, batch: &Batch) -> usize {
    let [_, classes] = logits.dims();
    let logits = host_values(logits);
    let rows = logits.chunks_exact(classes).zip(&batch.labels);
    rows.filter(|(row, label)| inference::most_likely(row) == **label).count()
}

/// Scales all gradients so that their norm together is at most `limit`.
fn clip(mut gradients: Vec<&mut Vec<f32>>, limit: Option<f64>) {
    let Some(limit) = limit else { return };
    let squares = gradients.iter().flat_map(|gradient| gradient.iter()).map(|&value| f64::from(value).powi(2));
    // PyTorch's guard against division by zero.
    let norm = squares.sum::<f64>().sqrt() + 1e-6;
    let scale = (limit / norm).min(1.0) as f32;
    if scale < 1.0 {
        gradients.iter_mut().flat_map(|gradient| gradient.iter_mut()).for_each(|value| *value *= scale);
    }
}

fn update_statistics(parameters: &mut Parameters, observed: Vec<ObservedStatistics>) {
    for seen in observed {
        let moved = |old: Tensor<1>, new: Tensor<1>| {
            old.mul_scalar(1.0 - STATISTICS_MOMENTUM) + new.mul_scalar(STATISTICS_MOMENTUM)
        };
        parameters.update(seen.mean_id.index(), |old| moved(old, seen.mean));
        parameters.update(seen.variance_id.index(), |old| moved(old, seen.variance));
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
    }
}
