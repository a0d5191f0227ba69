//! How long training by a plan would take, and how much memory it would need, from one step of each phase on random images.

use std::time::Instant;

use serde::Serialize;

use super::gradient::{Differentiation, first_trained, loss_gradients_of};
use super::learning_rates::LearningRates;
use super::loss::Loss;
use super::optimizer::OptimizerKind;
use super::options::{Precision, TrainOptions};
use super::search;
use crate::inference;
use crate::loading::Batch;
use crate::models::{Activation, Model};
use crate::plan::{Gradient, Phase, Plan, Solver};

/// Images of a measured step; a step of more takes so much longer.
const MEASURED_IMAGES: usize = 4;
/// Seconds for which a step is repeated, at least, so that a small model is measured as well as a large one.
const MEASURED_SECONDS: f64 = 0.3;
/// Steps that are repeated, at most.
const MAX_STEPS: usize = 20;

/// The images of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImageCounts {
    /// Images to train on.
    pub train: usize,
    /// Images that choose rates, strengths and epochs.
    pub validation: usize,
    /// Images of all other sets.
    pub evaluation: usize,
}

/// What a phase would take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhaseEstimate {
    /// Its name.
    pub phase: String,
    /// Passes over the training images, in all of its trainings; 1 of a linear probe.
    pub epochs: usize,
    /// Training images per second.
    pub images_per_second: f64,
    /// Seconds, without those for decoding images.
    pub seconds: f64,
}

/// What training by a plan would take.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The run's images.
    pub images: ImageCounts,
    /// The phases, in order.
    pub phases: Vec<PhaseEstimate>,
    /// Seconds that the final model takes for all sets.
    pub evaluation_seconds: f64,
    /// Seconds of everything together.
    pub seconds: f64,
    /// Memory of the process at its peak, in bytes; `None` where the system does not tell.
    pub memory_bytes: Option<u64>,
}

/// What is known of the process's memory while the steps of several plans are measured.
#[derive(Clone, Copy, Debug)]
pub struct MemorySoFar {
    /// Bytes before the first step; `None` where the system does not tell.
    before: Option<u64>,
    /// Most scalars that a plan has trained.
    trained_scalars: usize,
}

impl MemorySoFar {
    /// Before the first step.
    pub fn now() -> Self {
        Self { before: memory("VmRSS:"), trained_scalars: 0 }
    }
}

/// Measures a step of each phase of the plan, and multiplies. Nothing of the model changes.
pub fn estimate(plan: &Plan, model: &Model, images: ImageCounts, options: &TrainOptions) -> Estimate {
    estimate_after(&mut MemorySoFar::now(), plan, model, images, options)
}

/// The same after steps of other plans, whose memory waits to be used again: it is part of the peak and not of what was there
/// before. So the memory is that of the plan that takes most so far.
pub fn estimate_after(
    so_far: &mut MemorySoFar,
    plan: &Plan,
    model: &Model,
    images: ImageCounts,
    options: &TrainOptions,
) -> Estimate {
    let n = MEASURED_IMAGES.min(options.batch_size).max(1);
    let batch = random_batch(model, n);
    let whole = forward(model, &batch, model.blocks().len());
    let mut phases = Vec::new();
    for phase in &plan.phases {
        let (found, scalars) = of_phase(phase, model, &batch, images, options, whole);
        so_far.trained_scalars = so_far.trained_scalars.max(scalars);
        phases.push(found);
    }
    let evaluation_seconds = (images.validation + images.evaluation) as f64 * whole;
    let measured = so_far.before.zip(memory("VmHWM:")).map(|(before, peak)| {
        let gradients = 4 * so_far.trained_scalars as u64;
        let of_images = peak.saturating_sub(before).saturating_sub(gradients) / n as u64;
        let at_once = options.at_once().map_or(options.batch_size, usize::from).min(options.batch_size) as u64;
        let moments = if options.optimizer.kind == OptimizerKind::Sgd { 1 } else { 2 };
        // The model, what it began with, and the best epoch so far.
        let copies = 2 * 4 * model.block_parameters().iter().sum::<usize>() as u64;
        let decoded = options.cache_bytes.min(images_bytes(model, images));
        // Moments and trained parameters as they were, while a checkpoint of them is written.
        let checkpoint = gradients * (moments + 1);
        before + copies + gradients * (1 + moments) + checkpoint + of_images * at_once + decoded
    });
    let seconds = phases.iter().map(|phase| phase.seconds).sum::<f64>() + evaluation_seconds;
    Estimate { images, phases, evaluation_seconds, seconds, memory_bytes: measured }
}

/// What a phase takes, and how many scalars it trains. `whole` is the time of an image on its way through the model.
fn of_phase(
    phase: &Phase,
    model: &Model,
    batch: &Batch,
    images: ImageCounts,
    options: &TrainOptions,
    whole: f64,
) -> (PhaseEstimate, usize) {
    let (train, validation) = (images.train as f64, images.validation as f64);
    let found = |epochs: usize, of_image: f64, seconds: f64| PhaseEstimate {
        phase: phase.name.clone(),
        epochs,
        images_per_second: 1.0 / of_image.max(1e-9),
        seconds,
    };
    match &phase.solver {
        // Each image passes through the model once; what is solved then is small.
        Solver::LogisticRegression(_) => {
            let of_train = match options.frozen_precision {
                Precision::Float32 => whole,
                reduced => forward(&model.in_precision(reduced), batch, model.blocks().len()),
            };
            (found(1, of_train, train * of_train + validation * whole), 0)
        }
        Solver::Interpolation(line) => (found(0, whole, line.alphas.len() as f64 * validation * whole), 0),
        Solver::Gradient(settings) => {
            let epochs = search::epochs_in_all(settings);
            let Step { entry, entry_of_validation, rest, scalars } = step(phase, settings, model, batch, options);
            let changes = options.mix.is_active()
                || (!options.augmentation.is_deterministic() && options.activations.views.is_none());
            let is_kept = entry > 0.0 && options.activations.memory_bytes > 0 && !changes && epochs > 1;
            let passes = epochs as f64;
            // What enters the first trained block is computed once, or anew in each epoch.
            let (of_image, once) = match is_kept {
                true => (rest, train * entry + validation * entry_of_validation),
                false => (entry + rest, 0.0),
            };
            let of_validation = if is_kept { (whole - entry_of_validation).max(0.0) } else { whole };
            let seconds = once + passes * (train * of_image + validation * of_validation);
            (found(epochs, of_image, seconds), scalars)
        }
    }
}

/// Seconds that an image takes in a step.
struct Step {
    /// To the first trained block.
    entry: f64,
    /// The same in the precision of validation.
    entry_of_validation: f64,
    /// From there to the loss, and back.
    rest: f64,
    /// Scalars that get a gradient.
    scalars: usize,
}

fn step(phase: &Phase, settings: &Gradient, model: &Model, batch: &Batch, options: &TrainOptions) -> Step {
    let rate = settings.learning_rates.first().copied().unwrap_or_default();
    let rates = LearningRates::new(model, phase, settings, rate, 1);
    // In the last epoch, every block that waits has joined.
    let factors = rates.rate_factors(settings.epochs.saturating_sub(1), None);
    let first = first_trained(model, &factors.trained);
    let what = Differentiation::of(&factors, options, Loss::default());
    let frozen = model.in_precision(options.frozen_precision);
    let entered = entering(&frozen, batch, first);
    let entry = if first == 0 { 0.0 } else { forward(&frozen, batch, first) };
    let entry_of_validation = match options.frozen_precision {
        Precision::Bfloat16 if first > 0 => forward(model, batch, first),
        _ => entry,
    };
    let rest = timed(batch.n, || {
        let entry = (first > 0).then(|| entered.clone());
        // A device that fails here fails in training, which says so.
        let _ = std::hint::black_box(loss_gradients_of(model, batch, entry, &what).known());
    });
    let trained = model.network().specs.iter().zip(&factors.trained).filter(|(_, trained)| **trained);
    Step { entry, entry_of_validation, rest, scalars: trained.map(|(spec, _)| spec.len()).sum() }
}

/// What enters a block.
fn entering(model: &Model, batch: &Batch, block: usize) -> Activation {
    let device = model.parameters.tensors()[0].device();
    model.forward_range(Activation::Map(inference::images(batch, &device)), 0..block)
}

/// Seconds of an image from the pixels to a block.
fn forward(model: &Model, batch: &Batch, block: usize) -> f64 {
    timed(batch.n, || {
        std::hint::black_box(entering(model, batch, block));
    })
}

/// Seconds per image of the fastest of some runs.
fn timed(images: usize, mut work: impl FnMut()) -> f64 {
    let begun = Instant::now();
    let mut least = f64::INFINITY;
    for _ in 0..MAX_STEPS {
        let started = Instant::now();
        work();
        least = least.min(started.elapsed().as_secs_f64());
        // The first run fills caches; a second is made in any case.
        if begun.elapsed().as_secs_f64() > MEASURED_SECONDS && begun.elapsed() > started.elapsed() {
            break;
        }
    }
    least / images as f64
}

/// Images of noise, as normalized pixels, with labels.
fn random_batch(model: &Model, n: usize) -> Batch {
    let preprocessing = model.config().preprocessing();
    let (height, width) = (preprocessing.height as usize, preprocessing.width as usize);
    let values = n * preprocessing.channels.count() * height * width;
    // Any numbers will do that are neither equal nor tiny.
    let noise = |index: usize| (retune_random::hash(&index.to_le_bytes()) % 4096) as f32 / 1024.0 - 2.0;
    let classes = model.config().num_classes().max(1);
    Batch {
        number: 0,
        images: (0..values).map(noise).collect(),
        labels: (0..n).map(|index| index % classes).collect(),
        indices: (0..n).collect(),
        targets: None,
        mixed: false,
        n,
        height,
        width,
    }
}

/// Bytes of all images, decoded and at the model's size.
fn images_bytes(model: &Model, images: ImageCounts) -> u64 {
    let preprocessing = model.config().preprocessing();
    let size = u64::from(preprocessing.height) * u64::from(preprocessing.width) * preprocessing.channels.count() as u64;
    size * (images.train + images.validation + images.evaluation) as u64
}

/// A number of the process's memory in bytes, as Linux tells it.
fn memory(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kibibytes| kibibytes << 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::{Method, MethodOptions};

    fn estimated(method: Method, images: ImageCounts) -> Estimate {
        let cpu = crate::device::by_name("cpu").unwrap();
        let model = Model::from_scratch(None, Some("test_resnet"), Clone::clone, 0, &cpu).unwrap();
        let options = MethodOptions { epochs: 8, learning_rates: vec![1e-3], ..MethodOptions::default() };
        let plan = method.plan(model.blocks(), &options).unwrap();
        estimate(&plan, &model, images, &TrainOptions::default())
    }

    #[test]
    fn time_grows_with_the_images_and_the_passes() {
        let images = ImageCounts { train: 1000, validation: 200, evaluation: 300 };
        let found = estimated(Method::LP_FT, images);
        let epochs: Vec<usize> = found.phases.iter().map(|phase| phase.epochs).collect();
        assert_eq!(epochs, [1, 8]);
        // Eight passes forward and back take longer than one forward, whatever else the machine does.
        assert!(found.phases[1].seconds > 2.0 * found.phases[0].seconds, "{found:?}");
        let sum = found.phases[0].seconds + found.phases[1].seconds + found.evaluation_seconds;
        assert!((found.seconds - sum).abs() < 1e-9 && found.seconds > 0.0);
        let none = estimated(Method::LP_FT, ImageCounts::default());
        assert_eq!(none.seconds, 0.0);
        if cfg!(target_os = "linux") {
            assert!(found.memory_bytes.unwrap() > 1 << 20);
        }
    }
}
