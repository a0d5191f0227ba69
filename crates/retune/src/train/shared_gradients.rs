//! The gradients of a batch whose parts several processes compute.
//!
//! The processes take turns with the parts: each computes one in a round. After a round, its gradients are added to those
//! of the rounds before, part after part. That is the order in which a single process adds them up, so the sum is the same,
//! to the bit, for any number of processes and the same parts.
//!
//! Where BatchNorm follows the batches and there are fewer of them than processes, the parts of a round are those of one
//! batch, and BatchNorm adds up over the processes what it has to know of the whole.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use retune_kernels::operators::SharedBatch;

use super::gradient::{BatchInParts, Differentiation, LossGradients, loss_gradients_of};
use crate::collective::Processes;
use crate::loading::Batch;
use crate::models::parameters::{ParameterId, host_values};
use crate::models::{Activation, Model, ObservedStatistics};

/// What is neutral in a sum of floating-point numbers: 0 would make 0 of -0.
const NOTHING: f32 = -0.0;

/// As [`loss_gradients_of`], on each of the processes that share the work.
pub(super) fn shared_gradients(
    model: &Model,
    batch: &Batch,
    entry: Option<Activation>,
    what: &Differentiation,
    processes: &Processes,
) -> LossGradients {
    if !processes.are_several() {
        return loss_gradients_of(model, batch, entry, what);
    }
    let parts = BatchInParts::new(model, batch, entry, what);
    let mut sums = Sums::new(model, what);
    for round in parts.rounds(processes.size()) {
        let own = round.parts.get(processes.rank()).cloned();
        match round.batch {
            None => sums.add(own.map(|images| parts.gradients(images)), model, processes),
            Some(batch) => {
                let mut found = gradients_of_shared(&parts, own.clone(), batch, processes);
                // Those of the whole batch, the same on all processes.
                let observed = std::mem::take(&mut found.observed);
                sums.add(own.map(|_| found), model, processes);
                sums.observed.extend(observed);
            }
        }
    }
    sums.into_gradients(model)
}

/// The gradients of this process's part of a batch that BatchNorm sees whole.
///
/// All processes go through the network and back, because each of its BatchNorm layers is a meeting of all, and the order of
/// operations is the same for all: forward, that of the network, and backward, that of Burn's graph, which depends on the
/// network alone. A process for which the batch has no image follows its first one, whatever its pixels, and keeps to itself
/// what it finds.
fn gradients_of_shared(
    parts: &BatchInParts,
    own: Option<Range<usize>>,
    batch: Range<usize>,
    processes: &Processes,
) -> LossGradients {
    let shared_batch = Arc::new(BatchOfProcesses { processes: processes.clone(), takes_part: own.is_some() });
    let images = own.unwrap_or(batch.start..batch.start + 1);
    parts.gradients_of_shared(images, batch.len(), shared_batch)
}

/// A batch of which each process has at most a part.
#[derive(Debug)]
struct BatchOfProcesses {
    processes: Processes,
    /// Whether this process has one.
    takes_part: bool,
}

impl SharedBatch for BatchOfProcesses {
    fn add_up(&self, values: &mut [f64]) {
        let nothing = vec![f64::from(NOTHING); values.len()];
        let own = if self.takes_part { values.to_vec() } else { nothing.clone() };
        values.copy_from_slice(&nothing);
        self.processes.add_f64(values, &own);
    }
}

/// Sums over the parts so far.
struct Sums {
    /// For each parameter that is trained, its position among all and its number of values.
    trained: Vec<(usize, usize)>,
    /// The gradients of these parameters, one after the other.
    gradients: Vec<f32>,
    /// The loss, the images that are right, and for each of these parameters how many parts gave a gradient.
    numbers: Vec<f64>,
    observed: Vec<ObservedStatistics>,
}

impl Sums {
    fn new(model: &Model, what: &Differentiation) -> Self {
        let specs = model.network().specs.iter().zip(what.trained).enumerate();
        let trained = specs.filter(|(_, (spec, trained))| **trained && spec.role.is_trainable());
        let trained: Vec<(usize, usize)> = trained.map(|(index, (spec, _))| (index, spec.len())).collect();
        let values = trained.iter().map(|(_, length)| length).sum();
        let numbers = vec![f64::from(NOTHING); 2 + trained.len()];
        Self { trained, gradients: vec![NOTHING; values], numbers, observed: Vec::new() }
    }

    /// Adds the parts that the processes have computed in a round; one that had none adds nothing.
    fn add(&mut self, own: Option<LossGradients>, model: &Model, processes: &Processes) {
        let mut gradients = Vec::with_capacity(self.gradients.len());
        let mut numbers = vec![f64::from(NOTHING); self.numbers.len()];
        let mut observed = Vec::new();
        if let Some(mut own) = own {
            (numbers[0], numbers[1]) = (own.loss, own.correct as f64);
            for (position, &(index, length)) in self.trained.iter().enumerate() {
                match own.gradients[index].take() {
                    Some(gradient) => {
                        numbers[2 + position] = 1.0;
                        gradients.extend(gradient);
                    }
                    None => gradients.resize(gradients.len() + length, NOTHING),
                }
            }
            observed = encoded(own.observed);
        }
        gradients.resize(self.gradients.len(), NOTHING);
        processes.add_f64(&mut self.numbers, &numbers);
        processes.add(&mut self.gradients, &gradients);
        let device = model.parameters.tensors()[0].device();
        for of_process in processes.gather(&observed) {
            self.observed.extend(decoded(&of_process, &device));
        }
    }

    fn into_gradients(self, model: &Model) -> LossGradients {
        let mut gradients = vec![None; model.network().specs.len()];
        let mut rest = self.gradients.as_slice();
        for (&(index, length), parts) in self.trained.iter().zip(&self.numbers[2..]) {
            let (own, later) = rest.split_at(length);
            gradients[index] = (*parts > 0.0).then(|| own.to_vec());
            rest = later;
        }
        LossGradients { loss: self.numbers[0], correct: self.numbers[1] as usize, gradients, observed: self.observed }
    }
}

/// Statistics as numbers: for each layer, where its mean and its variance belong, how long they are, and their values.
fn encoded(observed: Vec<ObservedStatistics>) -> Vec<f32> {
    let encode = |seen: ObservedStatistics| {
        let (mean, variance) = (host_values(seen.mean), host_values(seen.variance));
        // Numbers of parameters and channels are far below the 2²⁴ up to which every integer has a float.
        let head = [seen.mean_id.index(), seen.variance_id.index(), mean.len()].map(|number| number as f32);
        [head.to_vec(), mean, variance].concat()
    };
    observed.into_iter().flat_map(encode).collect()
}

/// What [`encoded`] made these numbers of.
fn decoded(mut numbers: &[f32], device: &Device) -> Vec<ObservedStatistics> {
    let mut observed = Vec::new();
    while let [mean_id, variance_id, length, rest @ ..] = numbers {
        let (mean, rest) = rest.split_at(*length as usize);
        let (variance, rest) = rest.split_at(*length as usize);
        let tensor = |values: &[f32]| Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device);
        let id = |number: &f32| ParameterId(*number as usize);
        observed.push(ObservedStatistics {
            mean_id: id(mean_id),
            variance_id: id(variance_id),
            mean: tensor(mean),
            variance: tensor(variance),
        });
        numbers = rest;
    }
    observed
}

#[cfg(test)]
mod tests;
