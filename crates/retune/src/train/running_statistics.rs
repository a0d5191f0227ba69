//! BatchNorm's running statistics: those that follow the batches of training, and those measured anew on training images.
//!
//! Weights that were averaged, or trained while the statistics stood still, have statistics that fit other weights. One
//! pass over the training images gives their own, as `torch.optim.swa_utils.update_bn` does.

use super::options::BatchNormPolicy;
use crate::device::values::{self, Quantity, Rule};
use crate::device::{self, DeviceError};
use crate::inference::{self, InferenceError};
use crate::loading::{Loader, Order};
use crate::models::{Activation, Model, ObservedStatistics, Parameters, Pass};
use crate::monitor::Monitor;
use crate::sources::DataError;

/// PyTorch's momentum of running statistics.
const MOMENTUM: f64 = 0.1;

/// Images that a measure looks at, all where there are fewer; the statistics of more differ by less than 1 %.
const MEASURED_IMAGES: usize = 8192;

/// The running mean of what batches show.
#[derive(Clone, Copy)]
struct Follow;

impl Rule<1, 1> for Follow {
    #[inline]
    fn apply<Q: Quantity>(self, [old]: [Q; 1], [new]: [Q; 1]) -> [Q; 1] {
        [old * (1.0 - MOMENTUM) as f32 + new * MOMENTUM as f32]
    }
}

/// Moves running statistics towards those that a batch showed.
pub(super) fn follow(parameters: &mut Parameters, observed: Vec<ObservedStatistics>) {
    for seen in observed {
        values::update([parameters.tensor_mut(seen.mean_id.index())], [&seen.mean], Follow);
        values::update([parameters.tensor_mut(seen.variance_id.index())], [&seen.variance], Follow);
    }
}

/// The model's parameters with the running statistics of the marked blocks measured on training images in a random
/// order, so that the order of a list does not matter.
///
/// Each statistic is the mean over batches of what training mode sees (PyTorch's `momentum=None`), weighted by the
/// images of a batch. Batches of one image have no variance to speak of and are left out.
///
/// # Errors
/// An image that cannot be loaded; what the device failed in; an interruption.
pub(crate) fn measure(
    model: &Model,
    images: &Loader,
    blocks: &[bool],
    seed: u64,
    monitor: &dyn Monitor,
) -> Result<Parameters, InferenceError> {
    let mut sums = Sums::new(model.parameters.specs().len());
    monitor.start("measuring running statistics", images.dataset().len().min(MEASURED_IMAGES));
    for batch in images.epoch(0, Order::Shuffled { seed }, 0) {
        let batch = batch?;
        if batch.n > 1 {
            let device = model.parameters.tensors()[0].device();
            let observed = device::compute(&device, || {
                let entering = Activation::Map(inference::images(&batch, &device));
                let mut pass = Pass::training(&model.parameters, blocks);
                model.network().forward_range(entering, 0..model.head(), &mut pass);
                pass.into_observed()
            });
            sums.add(observed, batch.n)?;
        }
        monitor.advance(batch.n);
        if monitor.canceled() {
            return Err(InferenceError::Interrupted);
        }
        if sums.images >= MEASURED_IMAGES {
            break;
        }
    }
    monitor.finish();
    Ok(sums.into_parameters(model.parameters.clone()))
}

/// A model made of several others' weights, such as an average, with running statistics of its own where the policy
/// lets statistics follow the data. Blocks that are the same in `reference`, one of those others, keep theirs.
///
/// # Errors
/// An image that cannot be loaded; what the device failed in; an interruption.
pub(crate) fn renew(
    mixed: Model,
    reference: &Parameters,
    policy: BatchNormPolicy,
    images: impl FnOnce() -> Result<Loader, DataError>,
    seed: u64,
    monitor: &dyn Monitor,
) -> Result<Model, InferenceError> {
    let blocks = blocks_that_differ(&mixed, reference)?;
    if policy == BatchNormPolicy::Frozen || !blocks.contains(&true) {
        return Ok(mixed);
    }
    let parameters = measure(&mixed, &images()?, &blocks, seed, monitor)?;
    Ok(mixed.with_parameters(parameters))
}

fn blocks_that_differ(model: &Model, reference: &Parameters) -> Result<Vec<bool>, DeviceError> {
    let mut differ = vec![false; model.blocks().len()];
    for (spec, differs) in model.parameters.specs().iter().zip(model.parameters.differing(reference)?) {
        differ[spec.block] |= differs;
    }
    Ok(differ)
}

/// Statistics added up over batches, in double precision.
struct Sums {
    /// For each parameter that is a statistic and was seen, its values times the images.
    values: Vec<Option<Vec<f64>>>,
    images: usize,
}

impl Sums {
    fn new(parameters: usize) -> Self {
        Self { values: vec![None; parameters], images: 0 }
    }

    fn add(&mut self, observed: Vec<ObservedStatistics>, images: usize) -> Result<(), DeviceError> {
        let seen = observed.into_iter().flat_map(|seen| [(seen.mean_id, seen.mean), (seen.variance_id, seen.variance)]);
        let (ids, tensors): (Vec<_>, Vec<_>) = seen.unzip();
        for (id, values) in ids.into_iter().zip(device::read_all(tensors)?) {
            let sum = self.values[id.index()].get_or_insert_with(|| vec![0.0; values.len()]);
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(value) * images as f64);
        }
        self.images += images;
        Ok(())
    }

    fn into_parameters(self, mut parameters: Parameters) -> Parameters {
        for (index, sum) in self.values.into_iter().enumerate() {
            if let Some(sum) = sum {
                let mean = sum.into_iter().map(|value| (value / self.images as f64) as f32);
                parameters.set_values(index, mean.collect());
            }
        }
        parameters
    }
}
