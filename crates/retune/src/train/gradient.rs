//! One step of gradient descent on the blocks that a phase trains.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};

use super::optimizer::Optimizer;
use crate::data::Batch;
use crate::inference;
use crate::models::parameters::host_values;
use crate::models::{Activation, Model, ObservedStatistics, Parameters, Pass};

/// PyTorch's momentum of BatchNorm's running statistics.
const STATISTICS_MOMENTUM: f64 = 0.1;

/// What is differentiated.
#[derive(Clone, Copy, Debug)]
pub struct Differentiation<'a> {
    /// For each block, whether its parameters get gradients.
    pub trained: &'a [bool],
    /// For each block, whether BatchNorm normalizes by the batch; empty for none.
    pub batch_statistics: &'a [bool],
    /// Factor on the loss of each class.
    pub class_weights: Option<&'a [f64]>,
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

/// The gradients of a batch's loss. Nothing below the first trained block is differentiated.
pub fn loss_gradients(model: &Model, batch: &Batch, what: &Differentiation) -> LossGradients {
    let specs = &model.network().specs;
    let device = model.parameters.tensors()[0].device();
    let first = what.trained.iter().position(|&trained| trained).unwrap_or(0);
    let end = model.blocks().len();

    let images = Activation::Map(inference::images(batch, &device));
    let entry = model.forward_range(images, 0..first).into_autodiff();

    let tracked = tracked_parameters(model, what.trained);
    let mut pass = Pass::training(&tracked, what.batch_statistics);
    let logits = model.network().forward_range(entry, first..end, &mut pass).pool();
    let observed = pass.into_observed();

    let correct = count_correct(logits.clone().inner(), batch);
    let targets = weighted_targets(batch, model.config().num_classes(), what.class_weights);
    let loss = cross_entropy(logits, targets, &device);
    let value = f64::from(loss.clone().inner().into_scalar::<f32>());

    let mut found = loss.backward();
    let gradients = tracked
        .tensors()
        .iter()
        .zip(specs.iter())
        .map(|(tensor, spec)| {
            let wanted = what.trained[spec.block] && spec.role.is_trainable();
            wanted.then(|| tensor.grad_remove(&mut found).map(host_values)).flatten()
        })
        .collect();
    LossGradients { loss: value, correct, gradients, observed }
}

/// How far a step goes.
pub(super) struct StepSize<'a> {
    /// Learning rate of each block.
    pub rates: &'a [f64],
    /// Largest norm of all gradients together.
    pub clip_norm: Option<f64>,
}

/// Updates the trained parameters and the running statistics by a batch's gradients.
pub(super) fn step(model: &mut Model, optimizer: &mut Optimizer, found: LossGradients, size: &StepSize) {
    let specs = model.network().specs.clone();
    let scale = clipping_scale(&found.gradients, size.clip_norm);
    for (index, gradient) in found.gradients.into_iter().enumerate() {
        let Some(mut gradient) = gradient else { continue };
        if scale < 1.0 {
            gradient.iter_mut().for_each(|value| *value *= scale);
        }
        let spec = &specs[index];
        let rate = size.rates[spec.block];
        model.parameters.update(index, |tensor| {
            let device = tensor.device();
            let mut values = host_values(tensor);
            optimizer.update(index, &mut values, &gradient, rate, spec.decays());
            let length = values.len();
            Tensor::from_data(TensorData::new(values, [length]), &device)
        });
    }
    update_statistics(&mut model.parameters, found.observed);
}

/// The parameters on the differentiating side, the trained ones tracked.
fn tracked_parameters(model: &Model, trained: &[bool]) -> Parameters {
    let specs = model.network().specs.clone();
    let tensors = model
        .parameters
        .tensors()
        .iter()
        .zip(specs.iter())
        .map(|(tensor, spec)| {
            let tensor = Tensor::from_inner(tensor.clone());
            if trained[spec.block] && spec.role.is_trainable() { tensor.require_grad() } else { tensor }
        })
        .collect();
    Parameters::from_tensors(specs, tensors)
}

/// Target probabilities `n × classes`, each class's column weighted, divided by the total weight:
/// the factors of the log-probabilities in the mean loss.
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
    if let Some(weights) = class_weights {
        for (position, target) in targets.iter_mut().enumerate() {
            *target *= weights[position % classes] as f32;
        }
    }
    let total: f64 = targets.iter().map(|&target| f64::from(target)).sum();
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

/// Factor that brings the norm of all gradients together down to `limit`.
fn clipping_scale(gradients: &[Option<Vec<f32>>], limit: Option<f64>) -> f32 {
    let Some(limit) = limit else { return 1.0 };
    let squares = gradients.iter().flatten().flatten().map(|&value| f64::from(value).powi(2));
    // PyTorch's guard against division by zero.
    let norm = squares.sum::<f64>().sqrt() + 1e-6;
    (limit / norm).min(1.0) as f32
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

/// Measures the running statistics of the marked blocks anew: the average over batches of what
/// training mode would see (PyTorch's `momentum=None`).
pub(super) struct Recalibration {
    sums: Vec<Option<Tensor<1>>>,
    batches: usize,
}

impl Recalibration {
    pub fn new(parameters: usize) -> Self {
        Self { sums: vec![None; parameters], batches: 0 }
    }

    pub fn observe(&mut self, model: &Model, batch: &Batch, batch_statistics: &[bool]) {
        let device = model.parameters.tensors()[0].device();
        let images = Activation::Map(inference::images(batch, &device));
        let mut pass = Pass::training(&model.parameters, batch_statistics);
        model.network().forward_range(images, 0..model.head(), &mut pass);
        for seen in pass.into_observed() {
            for (id, value) in [(seen.mean_id, seen.mean), (seen.variance_id, seen.variance)] {
                let sum = &mut self.sums[id.index()];
                *sum = Some(match sum.take() {
                    Some(sum) => sum + value,
                    None => value,
                });
            }
        }
        self.batches += 1;
    }

    pub fn finish(self, parameters: &mut Parameters) {
        for (index, sum) in self.sums.into_iter().enumerate() {
            if let Some(sum) = sum {
                parameters.set(index, sum.div_scalar(self.batches as f64));
            }
        }
    }
}
