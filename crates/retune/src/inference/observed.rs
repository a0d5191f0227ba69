//! An evaluation that shows what the model computed for each image.

use super::evaluation::Tally;
use super::{InferenceError, images, together};
use crate::device::{self, DeviceError};
use crate::loading::{Batch, Loader, Order};
use crate::models::{Activation, Model};
use crate::monitor::Monitor;

/// What a model computed for a batch.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    /// What the head sees, row-major, `[n, width]`.
    pub pooled: &'a [f32],
    /// The head's output, row-major, `[n, classes]`.
    pub logits: &'a [f32],
}

/// Evaluates a model on a labeled dataset as [`super::evaluate`] does, and hands each batch with its
/// outputs to `observe`.
///
/// # Errors
/// As [`super::evaluate`].
pub fn evaluate_observed(
    model: &Model,
    loader: &Loader,
    task: &str,
    monitor: &dyn Monitor,
    mut observe: impl FnMut(&Batch, Outputs),
) -> Result<super::Evaluation, InferenceError> {
    let classes = model.config().num_classes();
    if classes == 0 {
        return Err(InferenceError::NoClassifier);
    }
    if loader.options().processes.are_several() {
        return together::evaluate_observed(model, loader, (task, monitor), observe);
    }
    let dataset = loader.dataset();
    let mut tally = Tally::of_dataset(true, model, dataset)?;
    monitor.start(task, dataset.len());
    for batch in loader.epoch(0, Order::Sequential, 0) {
        let batch = batch?;
        if monitor.canceled() {
            return Err(InferenceError::Interrupted);
        }
        let (pooled, logits) = outputs(model, &batch)?;
        if let Some(at) = logits.iter().position(|value| !value.is_finite()) {
            let image = dataset.samples[batch.indices[at / classes]].name.to_string();
            return Err(InferenceError::NotFinite { image });
        }
        for (row, (&label, &index)) in logits.chunks_exact(classes).zip(batch.labels.iter().zip(&batch.indices)) {
            tally.add(row, label, dataset.samples[index].group.as_deref());
        }
        observe(&batch, Outputs { pooled: &pooled, logits: &logits });
        monitor.advance(batch.n);
    }
    monitor.finish();
    loader.tell_damaged(monitor);
    Ok(tally.evaluation())
}

/// What the head sees of a batch, and what it makes of it.
///
/// # Errors
/// What the device failed in.
pub(super) fn outputs(model: &Model, batch: &Batch) -> Result<(Vec<f32>, Vec<f32>), DeviceError> {
    let (device, head) = (model.parameters.tensors()[0].device(), model.head());
    let body = model.forward_range(Activation::Map(images(batch, &device)), 0..head);
    let pooled = device::read(body.clone().pool())?;
    Ok((pooled, device::read(model.forward_range(body, head..head + 1).flatten())?))
}
