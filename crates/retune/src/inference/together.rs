//! Passes over a dataset that several processes share: they take turns with the batches, and each gets what all of them
//! computed, in the order of the images. Every batch passes through the model as it does in a single process, so nothing
//! depends on how many there are.

use std::ops::Range;

use super::evaluation::Tally;
use super::observed::{Outputs, outputs};
use super::{Evaluation, InferenceError, Layer, batches_at_once, images_of_all, not_finite};
use crate::device::host_values;
use crate::loading::{Batch, Loader, Order};
use crate::models::Model;
use crate::monitor::Monitor;

/// As [`super::try_for_each_batch`]; the batches that are handed on have no pixels.
pub(super) fn try_for_each_batch<E: From<InferenceError>>(
    model: &Model,
    loader: &Loader,
    layer: Layer,
    numbers: Range<usize>,
    (task, monitor): (&str, &dyn Monitor),
    mut take: impl FnMut(&Batch, Vec<f32>) -> Result<(), E>,
) -> Result<(), E> {
    let processes = &loader.options().processes;
    let device = model.parameters.tensors()[0].device();
    let at_once = batches_at_once(loader);
    let starts = numbers.clone().step_by(at_once);
    let groups: Vec<Range<usize>> = starts.map(|start| start..numbers.end.min(start + at_once)).collect();
    let own = groups.iter().skip(processes.rank()).step_by(processes.size()).cloned().flatten().collect();
    let mut loaded = loader.batches(0, Order::Sequential, own, None);
    let mut listed = loader.epoch_without_images(0, Order::Sequential, numbers.start);

    let images_before = |batch: usize| (batch * loader.options().batch_size).min(loader.dataset().len());
    monitor.start(task, images_before(numbers.end) - images_before(numbers.start));
    for round in groups.chunks(processes.size()) {
        let own = round.get(processes.rank()).map_or(0, Range::len);
        let batches = loaded.by_ref().take(own).collect::<Result<Vec<Batch>, _>>().map_err(InferenceError::from)?;
        let rows = match batches.is_empty() {
            true => Vec::new(),
            false => host_values(layer.output(model, images_of_all(&batches, &device))),
        };
        for (group, mut rows) in round.iter().zip(processes.gather(&rows)) {
            let batches: Vec<Batch> = listed.by_ref().take(group.len()).collect();
            let width = rows.len() / batches.iter().map(|batch| batch.n).sum::<usize>().max(1);
            if let Some(image) = not_finite(&rows, width, &batches[0], loader) {
                monitor.finish();
                return Err(InferenceError::NotFinite { image }.into());
            }
            for batch in batches {
                let later = rows.split_off(batch.n * width);
                take(&batch, std::mem::replace(&mut rows, later))?;
                monitor.advance(batch.n);
            }
        }
        if monitor.canceled() {
            return Err(InferenceError::Interrupted.into());
        }
    }
    monitor.finish();
    loader.tell_damaged(monitor);
    Ok(())
}

/// As [`super::evaluate_observed`]; only process 0 observes, and it loads all images for that.
pub(super) fn evaluate_observed(
    model: &Model,
    loader: &Loader,
    (task, monitor): (&str, &dyn Monitor),
    mut observe: impl FnMut(&Batch, Outputs),
) -> Result<Evaluation, InferenceError> {
    let processes = &loader.options().processes;
    let (rank, size) = (processes.rank(), processes.size());
    let (dataset, classes) = (loader.dataset(), model.config().num_classes());
    let mut tally = Tally::of_dataset(true, model, dataset)?;
    let numbers: Vec<usize> = (0..loader.batches_per_epoch()).collect();
    let wanted = |number: &usize| processes.is_root() || number % size == rank;
    let mut loaded = loader.batches(0, Order::Sequential, numbers.iter().copied().filter(wanted).collect(), None);
    let mut listed = loader.epoch_without_images(0, Order::Sequential, 0);

    monitor.start(task, dataset.len());
    for round in numbers.chunks(size) {
        let here = round.iter().filter(|number| wanted(number)).count();
        let batches = loaded.by_ref().take(here).collect::<Result<Vec<Batch>, _>>()?;
        // The first batch of a round is that of process 0, and the others load no other than their own.
        let (pooled, logits) = batches.first().map(|batch| outputs(model, batch)).unwrap_or_default();
        let (pooled, logits) = (processes.gather(&pooled), processes.gather(&logits));
        for (at, (pooled, logits)) in pooled.iter().zip(&logits).take(round.len()).enumerate() {
            let Some(batch) = listed.next() else { break };
            if let Some(image) = not_finite(logits, classes, &batch, loader) {
                return Err(InferenceError::NotFinite { image });
            }
            for (row, (&label, &index)) in logits.chunks_exact(classes).zip(batch.labels.iter().zip(&batch.indices)) {
                tally.add(row, label, dataset.samples[index].group.as_deref());
            }
            if let Some(batch) = batches.get(at).filter(|_| processes.is_root()) {
                observe(batch, Outputs { pooled, logits });
            }
            monitor.advance(batch.n);
        }
        if monitor.canceled() {
            return Err(InferenceError::Interrupted);
        }
    }
    monitor.finish();
    loader.tell_damaged(monitor);
    Ok(tally.evaluation())
}
