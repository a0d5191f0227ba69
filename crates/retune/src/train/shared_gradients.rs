//! The gradients of a batch whose parts several processes compute.
//!
//! The processes take turns with the parts: each computes one in a round. Its gradients are added to those of the rounds
//! before, part after part. That is the order in which a single process adds them up, so the sum is the same, to the bit,
//! for any number of processes and the same parts. A block's gradients are on their way as soon as the backward pass has
//! left the block.
//!
//! Where BatchNorm follows the batches and there are fewer of them than processes, the parts of a round are those of one
//! batch, and BatchNorm adds up over the processes what it has to know of the whole.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::Device;
use retune_kernels::operators::SharedBatch;

use super::gradient::{BatchInParts, Differentiation, Gradients, LossGradients, loss_gradients_of};
use crate::collective::{PendingSum, Processes};
use crate::device::{self, DeviceError, Numbers};
use crate::loading::Batch;
use crate::models::parameters::ParameterId;
use crate::models::{Activation, Model, ObservedStatistics};

/// What is neutral in a sum of floating-point numbers: 0 would make 0 of -0.
const NOTHING: f32 = -0.0;

/// As [`loss_gradients_of`], on each of the processes that share the work.
///
/// # Errors
/// What the device of this process failed in, once all processes are done with the batch: those that wait for each other must
/// not lose step.
pub(super) fn shared_gradients(
    model: &Model,
    batch: &Batch,
    entry: Option<Activation>,
    what: &Differentiation,
    processes: &Processes,
) -> Result<LossGradients, DeviceError> {
    if !processes.are_several() {
        return Ok(loss_gradients_of(model, batch, entry, what));
    }
    let parts = BatchInParts::new(model, batch, entry, what);
    let mut sums = Sums::new(model, what, processes);
    for round in parts.rounds(processes.size()) {
        let own = round.parts.get(processes.rank()).cloned();
        match (round.batch, own) {
            (None, Some(own)) => {
                let found = parts.gradients(own, &mut |block, gradients| sums.begin(block, Some(gradients)));
                sums.end_round(Some(found), model);
            }
            (None, None) => {
                sums.blocks().for_each(|block| sums.begin(block, None));
                sums.end_round(None, model);
            }
            (Some(batch), own) => {
                let takes_part = own.is_some();
                let mut found = gradients_of_shared(&parts, own, batch, &mut sums);
                // Those of the whole batch, the same on all processes.
                let observed = std::mem::take(&mut found.observed);
                sums.end_round(takes_part.then_some(found), model);
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
    sums: &mut Sums,
) -> LossGradients {
    let takes_part = own.is_some();
    let shared_batch = Arc::new(BatchOfProcesses { processes: sums.processes.clone(), takes_part });
    let images = own.unwrap_or(batch.start..batch.start + 1);
    parts.gradients_of_shared(images, batch.len(), shared_batch, &mut |block, gradients| {
        sums.begin(block, takes_part.then_some(gradients));
    })
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
struct Sums<'a> {
    processes: &'a Processes,
    /// The gradients of the blocks, in the model's order.
    by_block: Vec<BlockSums>,
    /// The loss, and the images that are right.
    numbers: [f64; 2],
    observed: Vec<ObservedStatistics>,
    /// What the device failed in first.
    failed: Option<DeviceError>,
}

/// What is summed for the parameters of a block.
#[derive(Default)]
struct BlockSums {
    /// For each parameter that is trained, its position among all and its number of values.
    trained: Vec<(usize, usize)>,
    /// How many parts gave each of these parameters a gradient, in this process.
    parts: Vec<f64>,
    /// Their gradients, one after the other.
    gradients: PendingSum,
}

impl BlockSums {
    fn len(&self) -> usize {
        self.trained.iter().map(|(_, length)| length).sum()
    }

    /// The gradients of this process's part, which are taken out of all.
    ///
    /// # Errors
    /// What the device failed in.
    fn take(&mut self, gradients: Option<&mut Gradients>) -> Result<Vec<f32>, DeviceError> {
        let mut values = Vec::with_capacity(self.len());
        if let Some(gradients) = gradients {
            for (&(index, length), parts) in self.trained.iter().zip(&mut self.parts) {
                match gradients[index].take() {
                    Some(gradient) => {
                        *parts += 1.0;
                        values.extend(device::read(gradient)?);
                    }
                    None => values.resize(values.len() + length, NOTHING),
                }
            }
        }
        values.resize(self.len(), NOTHING);
        Ok(values)
    }
}

impl<'a> Sums<'a> {
    fn new(model: &Model, what: &Differentiation, processes: &'a Processes) -> Self {
        let mut by_block: Vec<BlockSums> = Vec::new();
        by_block.resize_with(model.blocks().len(), BlockSums::default);
        for (index, (spec, trained)) in model.network().specs.iter().zip(what.trained).enumerate() {
            if *trained && spec.role.is_trainable() {
                by_block[spec.block].trained.push((index, spec.len()));
            }
        }
        for sums in &mut by_block {
            sums.parts = vec![0.0; sums.trained.len()];
            sums.gradients = PendingSum::known(vec![NOTHING; sums.len()]);
        }
        Self { processes, by_block, numbers: [f64::from(NOTHING); 2], observed: Vec::new(), failed: None }
    }

    /// The blocks in the order in which a backward pass leaves them.
    fn blocks(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.by_block.len()).rev()
    }

    /// Begins to add a block's gradients of this round; a process without a part adds nothing.
    fn begin(&mut self, block: usize, gradients: Option<&mut Gradients>) {
        let sums = &mut self.by_block[block];
        if sums.trained.is_empty() {
            return;
        }
        let values = match sums.take(gradients) {
            Ok(values) => values,
            Err(error) => {
                let nothing = vec![NOTHING; sums.len()];
                self.failed.get_or_insert(error);
                nothing
            }
        };
        let before = std::mem::take(&mut sums.gradients).wait();
        sums.gradients = self.processes.begin_add(before, values);
    }

    /// Adds what else was found in a round.
    fn end_round(&mut self, own: Option<LossGradients>, model: &Model) {
        let mut numbers = [f64::from(NOTHING); 2];
        let mut observed = Vec::new();
        if let Some(own) = own {
            match own.known().and_then(|numbers| Ok((numbers, encoded(own.observed)?))) {
                Ok(found) => (numbers, observed) = found,
                Err(error) => _ = self.failed.get_or_insert(error),
            }
        }
        self.processes.add_f64(&mut self.numbers, &numbers);
        let device = model.parameters.tensors()[0].device();
        for of_process in self.processes.gather(&observed) {
            self.observed.extend(decoded(&of_process, &device));
        }
    }

    fn into_gradients(self, model: &Model) -> Result<LossGradients, DeviceError> {
        let mut parts = vec![0.0; self.by_block.iter().map(|sums| sums.parts.len()).sum()];
        let own: Vec<f64> = self.by_block.iter().flat_map(|sums| sums.parts.iter().copied()).collect();
        self.processes.add_f64(&mut parts, &own);
        let mut parts = parts.into_iter();

        let device = model.parameters.tensors()[0].device();
        let mut gradients = vec![None; model.network().specs.len()];
        for BlockSums { trained, gradients: sums, .. } in self.by_block {
            let sums = sums.wait();
            let mut rest = sums.as_slice();
            for ((index, length), parts) in trained.into_iter().zip(parts.by_ref()) {
                let (own, later) = rest.split_at(length);
                gradients[index] = (parts > 0.0).then(|| device::tensor(own.to_vec(), [length], &device));
                rest = later;
            }
        }
        match self.failed {
            Some(error) => Err(error),
            None => Ok(LossGradients { numbers: Numbers::Known(self.numbers), gradients, observed: self.observed }),
        }
    }
}

/// Statistics as numbers: for each layer, where its mean and its variance belong, how long they are, and their values.
///
/// # Errors
/// What the device failed in.
fn encoded(observed: Vec<ObservedStatistics>) -> Result<Vec<f32>, DeviceError> {
    let encode = |seen: ObservedStatistics| {
        let (mean, variance) = (device::read(seen.mean)?, device::read(seen.variance)?);
        // Numbers of parameters and channels are far below the 2²⁴ up to which every integer has a float.
        let head = [seen.mean_id.index(), seen.variance_id.index(), mean.len()].map(|number| number as f32);
        Ok([head.to_vec(), mean, variance].concat())
    };
    Ok(observed.into_iter().map(encode).collect::<Result<Vec<_>, DeviceError>>()?.concat())
}

/// What [`encoded`] made these numbers of.
fn decoded(mut numbers: &[f32], device: &Device) -> Vec<ObservedStatistics> {
    let mut observed = Vec::new();
    while let [mean_id, variance_id, length, rest @ ..] = numbers {
        let (mean, rest) = rest.split_at(*length as usize);
        let (variance, rest) = rest.split_at(*length as usize);
        let tensor = |values: &[f32]| device::tensor(values.to_vec(), [values.len()], device);
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
