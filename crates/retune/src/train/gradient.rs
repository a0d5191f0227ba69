//! The loss of a batch and its gradients.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::Arc;

use burn::tensor::Tensor;
use retune_kernels::operators::SharedBatch;
use retune_kernels::with_precision;

use super::learning_rates::RateFactors;
use super::loss::{Loss, Targets};
use super::options::{BatchNormPolicy, Precision, TrainOptions};
use crate::collective::parts;
use crate::device::values::{self, Sum};
use crate::device::{self, DeviceError, Numbers};
use crate::inference;
use crate::loading::Batch;
use crate::models::{Activation, Dropping, Model, ObservedStatistics, Parameters, Pass};

/// A gradient for each parameter in the model's order, flat and on its device; `None` where it is frozen.
pub type Gradients = Vec<Option<Tensor<1>>>;

/// What is differentiated.
#[derive(Clone, Copy, Debug)]
pub struct Differentiation<'a> {
    /// For each parameter in the model's order, whether it gets a gradient.
    pub trained: &'a [bool],
    /// For each block, whether BatchNorm normalizes by the batch; empty for none.
    pub batch_statistics: &'a [bool],
    /// What the logits are compared with.
    pub loss: Loss<'a>,
    /// The numbers in which matrices are multiplied.
    pub precision: Precision,
    /// The same in the blocks below the first with a trained parameter, which are not differentiated.
    pub frozen_precision: Precision,
    /// What is left out at random.
    pub dropping: Option<Dropping>,
    /// Images that pass through the network at once; gradients add up over the parts of a batch. `None` takes them all.
    pub at_once: Option<NonZeroUsize>,
    /// Images of each batch that several processes share, in parts of `at_once`; BatchNorm sees it whole. With `None`, what
    /// passes through the network at once is a batch by itself.
    pub shared_batch: Option<NonZeroUsize>,
}

impl<'a> Differentiation<'a> {
    /// The gradients of these parameters for the loss that trains by default, of a batch as a whole, in float32: BatchNorm keeps its running
    /// statistics, and nothing is left out.
    pub fn new(trained: &'a [bool]) -> Self {
        Self {
            trained,
            batch_statistics: &[],
            loss: Loss::default(),
            precision: Precision::Float32,
            frozen_precision: Precision::Float32,
            dropping: None,
            at_once: None,
            shared_batch: None,
        }
    }

    /// What trains in an epoch of a run with these options.
    pub(super) fn of(rate_factors: &'a RateFactors, options: &TrainOptions, loss: Loss<'a>) -> Self {
        let batch_statistics: &[bool] = match options.batch_norm {
            BatchNormPolicy::Train => &rate_factors.trained_blocks,
            BatchNormPolicy::Frozen | BatchNormPolicy::Recalibrate => &[],
        };
        Self {
            trained: &rate_factors.trained,
            batch_statistics,
            loss,
            precision: options.precision,
            frozen_precision: options.frozen_precision,
            dropping: None,
            at_once: options.at_once(),
            shared_batch: options.shared_batch(),
        }
    }
}

/// A batch's loss and its gradients.
pub struct LossGradients {
    /// The batch's mean loss, and the number of images whose most likely class was right.
    pub numbers: Numbers<2>,
    /// Its gradients.
    pub gradients: Gradients,
    /// Running statistics that BatchNorm layers in training mode saw.
    pub observed: Vec<ObservedStatistics>,
}

/// Called for each block, from the last to the first, once the backward pass has its gradients.
pub(super) type BlockDone<'a> = &'a mut (dyn FnMut(usize, &mut Gradients) + Send);

/// The first block with a trained parameter; the number of blocks where there is none.
pub(super) fn first_trained(model: &Model, trained: &[bool]) -> usize {
    let trained = model.network().specs.iter().zip(trained).filter(|(_, trained)| **trained);
    trained.map(|(spec, _)| spec.block).min().unwrap_or(model.blocks().len())
}

impl LossGradients {
    /// The batch's mean loss, for which the host waits.
    ///
    /// # Panics
    /// If another device than the CPU fails.
    pub fn loss(&self) -> f64 {
        self.known().unwrap_or_else(|error| panic!("{error}"))[0]
    }

    /// The numbers, for which the host waits.
    ///
    /// # Errors
    /// What the device failed in.
    pub(super) fn known(&self) -> Result<[f64; 2], DeviceError> {
        Ok(Numbers::fetch(vec![self.numbers.clone()])?[0])
    }

    /// The values of the gradients, flat, on the host.
    ///
    /// # Panics
    /// If another device than the CPU fails.
    pub fn gradient_values(&self) -> Vec<Option<Vec<f32>>> {
        let values = |gradient: &Tensor<1>| device::host_values(gradient.clone());
        self.gradients.iter().map(|gradient| gradient.as_ref().map(values)).collect()
    }

    /// The sum with those of another part of the batch; losses and gradients are parts of the batch's mean already.
    fn plus(mut self, other: Self) -> Self {
        for (sum, other) in self.gradients.iter_mut().zip(other.gradients) {
            match (sum, other) {
                (Some(sum), Some(other)) => values::update([sum], [&other], Sum),
                (sum @ None, other) => *sum = other,
                (Some(_), None) => {}
            }
        }
        self.observed.extend(other.observed);
        Self { numbers: self.numbers.plus(other.numbers), ..self }
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
    let parts = BatchInParts::new(model, batch, entry, what);
    let gradients = |images| parts.gradients(images, &mut |_, _| {});
    let mut ranges = parts.ranges().into_iter();
    let first = gradients(ranges.next().unwrap_or(0..0));
    ranges.map(gradients).fold(first, LossGradients::plus)
}

/// A batch whose gradients are sums over its parts.
pub(super) struct BatchInParts<'a> {
    model: &'a Model,
    batch: &'a Batch,
    entry: Option<Activation>,
    what: &'a Differentiation<'a>,
    /// Those of the whole batch.
    targets: Targets,
}

impl<'a> BatchInParts<'a> {
    pub fn new(model: &'a Model, batch: &'a Batch, entry: Option<Activation>, what: &'a Differentiation<'a>) -> Self {
        let targets = what.loss.targets(batch, model.config().num_classes());
        Self { model, batch, entry, what, targets }
    }

    /// The images of each part, at least one part.
    pub fn ranges(&self) -> Vec<Range<usize>> {
        self.ranges_of(0..self.batch.n)
    }

    /// The same of some of the images.
    fn ranges_of(&self, images: Range<usize>) -> Vec<Range<usize>> {
        parts(images, self.what.at_once.map_or(self.batch.n, NonZeroUsize::get))
    }

    /// What so many processes compute side by side, one round after the other.
    pub fn rounds(&self, processes: usize) -> Vec<Round> {
        match self.what.shared_batch {
            Some(size) => {
                let batches = parts(0..self.batch.n, size.get());
                let round = |batch: Range<usize>| Round { parts: self.ranges_of(batch.clone()), batch: Some(batch) };
                batches.into_iter().map(round).collect()
            }
            None => {
                let ranges = self.ranges();
                ranges.chunks(processes).map(|parts| Round { parts: parts.to_vec(), batch: None }).collect()
            }
        }
    }

    /// What a part adds to the batch's mean loss, and to its gradients. BatchNorm that follows the batches sees these images
    /// alone.
    pub fn gradients(&self, images: Range<usize>, done: BlockDone) -> LossGradients {
        let follows = images.len() > 1;
        self.gradients_among(images, follows, None, done)
    }

    /// The same of a part of a shared batch of so many images, which BatchNorm sees whole.
    pub fn gradients_of_shared(
        &self,
        images: Range<usize>,
        images_of_batch: usize,
        shared_batch: Arc<dyn SharedBatch>,
        done: BlockDone,
    ) -> LossGradients {
        self.gradients_among(images, images_of_batch > 1, Some(shared_batch), done)
    }

    fn gradients_among(
        &self,
        images: Range<usize>,
        follows: bool,
        shared_batch: Option<Arc<dyn SharedBatch>>,
        done: BlockDone,
    ) -> LossGradients {
        let Self { model, batch, what, targets, .. } = self;
        let device = model.parameters.tensors()[0].device();
        let entry = match &self.entry {
            Some(entry) if images.len() == batch.n => entry.clone(),
            Some(entry) => entry.examples(images.clone()),
            None => {
                let images = Activation::Map(inference::images_of(batch, images.clone(), &device));
                model.in_precision(what.frozen_precision).forward_range(images, 0..first_trained(model, what.trained))
            }
        };
        let part = Part { batch, images, follows, shared_batch, targets };
        device::compute(&device, || differentiate(model, entry, part, what, done))
    }
}

/// What processes compute side by side.
pub(super) struct Round {
    /// A part for each process, as far as they go.
    pub parts: Vec<Range<usize>>,
    /// The images of which these are the parts, where BatchNorm sees them as one batch.
    pub batch: Option<Range<usize>>,
}

/// Images of a batch that pass through the network together.
struct Part<'a> {
    batch: &'a Batch,
    images: Range<usize>,
    /// Whether BatchNorm can follow: one image has no statistics of its own, and PyTorch refuses it where a channel has one
    /// value.
    follows: bool,
    /// Who computes the rest of the images that BatchNorm sees.
    shared_batch: Option<Arc<dyn SharedBatch>>,
    /// Those of the whole batch.
    targets: &'a Targets,
}

fn differentiate(
    model: &Model,
    entry: Activation,
    part: Part,
    what: &Differentiation,
    done: BlockDone,
) -> LossGradients {
    let device = model.parameters.tensors()[0].device();
    let tracked = tracked_parameters(model, what.trained);
    let batch_statistics = if part.follows { what.batch_statistics } else { &[] };
    let first_image = part.images.start;
    let dropping = what.dropping.map(|dropping| Dropping { first_image, ..dropping });
    let mut pass = Pass::training(&tracked, batch_statistics).dropping(dropping).sharing(part.shared_batch);
    // Each operator's backward pass keeps the precision of its forward pass.
    let (graphs, logits) = with_precision(what.precision, || forward_by_block(model, entry, what.trained, &mut pass));
    let observed = pass.into_observed();

    let correct = what.loss.count_correct(logits.clone().inner(), &part.batch.labels[part.images.clone()]);
    let loss = what.loss.value(logits, part.targets, part.images, &device);
    let numbers = Numbers::of([loss.clone().inner(), correct]);
    let gradients = backward_by_block(loss, graphs, &tracked, what.trained, done);
    LossGradients { numbers, gradients, observed }
}

/// The graph of a block. Each block has its own, so that its gradients can be used, and its activations freed, while the
/// backward pass goes on with the block before.
struct BlockGraph {
    block: usize,
    entry: Activation,
    output: Activation,
}

/// The forward pass, from what enters the first block with a trained parameter to the logits.
fn forward_by_block(
    model: &Model,
    entry: Activation,
    trained: &[bool],
    pass: &mut Pass,
) -> (Vec<BlockGraph>, Tensor<2>) {
    let mut graphs: Vec<BlockGraph> = Vec::new();
    let mut x = entry.into_autodiff();
    for block in first_trained(model, trained)..model.blocks().len() {
        let entry = if graphs.is_empty() { x } else { x.inner().into_tracked() };
        x = model.network().forward_range(entry.clone(), block..block + 1, pass);
        graphs.push(BlockGraph { block, entry, output: x.clone() });
    }
    (graphs, x.pool())
}

/// The backward pass: the gradient of a loss with respect to each trained parameter.
fn backward_by_block(
    loss: Tensor<1>,
    mut graphs: Vec<BlockGraph>,
    tracked: &Parameters,
    trained: &[bool],
    done: BlockDone,
) -> Gradients {
    let specs = tracked.specs();
    let mut gradients = vec![None; specs.len()];
    if graphs.is_empty() {
        return gradients;
    }
    let mut found = loss.backward();
    while let Some(BlockGraph { block, entry, .. }) = graphs.pop() {
        for (index, spec) in specs.iter().enumerate() {
            if spec.block == block && trained[index] && spec.role.is_trainable() {
                gradients[index] = tracked.tensors()[index].grad_remove(&mut found);
            }
        }
        done(block, &mut gradients);
        if let Some(before) = graphs.last() {
            let gradient = entry.take_gradient(&mut found).expect("what a block makes depends on what enters it");
            found = before.output.clone().backward_from(gradient);
        }
    }
    gradients
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

#[cfg(test)]
mod tests;
