//! Passes over a dataset that several processes share: they take turns with the batches, and each gets what all of them
//! computed, in the order of the images. Every batch passes through the model as it does in a single process, so nothing
//! depends on how many there are.

use std::ops::Range;

use super::evaluation::Tally;
use super::observed::{Outputs, outputs};
use super::{Evaluation, InferenceError, Layer, batches_at_once, images_of_all, not_finite};
use crate::collective::Processes;
use crate::device;
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
    let groups = groups(loader, numbers.clone());
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
            false => {
                device::read(layer.output(model, images_of_all(&batches, &device))).map_err(InferenceError::from)?
            }
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

/// The batches that go through the model together.
fn groups(loader: &Loader, numbers: Range<usize>) -> Vec<Range<usize>> {
    let at_once = batches_at_once(loader);
    numbers.clone().step_by(at_once).map(|start| start..numbers.end.min(start + at_once)).collect()
}

/// As [`super::for_each_batch_of`]. Batches with images of two processes are computed by both. No outputs are exchanged, only
/// how far each process is.
pub(super) fn for_each_batch_of<E: From<InferenceError>>(
    model: &Model,
    loader: &Loader,
    layer: Layer,
    images: Range<usize>,
    (task, monitor): (&str, &dyn Monitor),
    mut take: impl FnMut(Vec<f32>) -> Result<(), E>,
) -> Result<(), E> {
    let processes = &loader.options().processes;
    let device = model.parameters.tensors()[0].device();
    let (dataset, batch_size) = (loader.dataset(), loader.options().batch_size);
    let images_of = |group: &Range<usize>| group.start * batch_size..(group.end * batch_size).min(dataset.len());
    let is_wanted = |group: &Range<usize>| {
        let of_group = images_of(group);
        of_group.start < images.end && images.start < of_group.end
    };
    let own: Vec<Range<usize>> = groups(loader, 0..loader.batches_per_epoch()).into_iter().filter(is_wanted).collect();
    let mut loaded = loader.batches(0, Order::Sequential, own.iter().cloned().flatten().collect(), None);

    monitor.start(task, dataset.len());
    for round in 0.. {
        let group = own.get(round);
        let mut state = State { images: 0, bad: None, goes_on: round + 1 < own.len() };
        let mut wanted = Vec::new();
        if let Some(group) = group {
            let batches = loaded.by_ref().take(group.len()).collect::<Result<Vec<Batch>, _>>();
            let input = images_of_all(&batches.map_err(InferenceError::from)?, &device);
            let rows = device::read(layer.output(model, input)).map_err(InferenceError::from)?;
            let of_group = images_of(group);
            let width = rows.len() / of_group.len().max(1);
            let (start, end) = (of_group.start.max(images.start), of_group.end.min(images.end));
            wanted = rows[(start - of_group.start) * width..(end - of_group.start) * width].to_vec();
            state.images = end - start;
            state.bad = wanted.iter().position(|value| !value.is_finite()).map(|at| start + at / width);
        }
        let all = state.of_all(processes);
        if let Some(bad) = all.bad {
            monitor.finish();
            return Err(InferenceError::NotFinite { image: dataset.samples[bad].name.to_string() }.into());
        }
        if !wanted.is_empty() {
            take(wanted)?;
        }
        monitor.advance(all.images);
        if monitor.canceled() {
            return Err(InferenceError::Interrupted.into());
        }
        if !all.goes_on {
            break;
        }
    }
    monitor.finish();
    loader.tell_damaged(monitor);
    Ok(())
}

/// What processes tell each other after each group of batches.
struct State {
    /// Images of the group.
    images: usize,
    /// The first image whose output is not finite.
    bad: Option<usize>,
    /// Whether there are more groups.
    goes_on: bool,
}

impl State {
    /// The images of all, the first bad one, and whether one of them goes on.
    fn of_all(self, processes: &Processes) -> Self {
        // Numbers of images are far below the 2⁵³ up to which every integer has a float.
        let own =
            [self.images as f64, self.bad.map_or(f64::INFINITY, |bad| bad as f64), f64::from(u8::from(self.goes_on))];
        let mut all = vec![0.0; own.len() * processes.size()];
        let mut own_in_place = vec![0.0; all.len()];
        own_in_place[own.len() * processes.rank()..][..own.len()].copy_from_slice(&own);
        processes.add_f64(&mut all, &own_in_place);
        let states = all.chunks_exact(own.len());
        let bad = states.clone().map(|state| state[1]).fold(f64::INFINITY, f64::min);
        Self {
            images: states.clone().map(|state| state[0] as usize).sum(),
            bad: bad.is_finite().then_some(bad as usize),
            goes_on: states.clone().any(|state| state[2] > 0.0),
        }
    }
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
        let (pooled, logits) = batches.first().map(|batch| outputs(model, batch)).transpose()?.unwrap_or_default();
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
