//! The losses of steps, which a device computes and the host looks at from time to time.

use burn::tensor::Device;

use crate::device::{self, DeviceError, Numbers};
use crate::loading::Batch;
use crate::sources::Dataset;
use crate::train::state::EpochTotals;
use crate::train::{Divergence, NotFinite};

/// Losses that the host has not seen yet: on the CPU never more than that of the present step.
pub(super) struct UnseenLosses {
    steps: Vec<Step>,
    /// So many are looked at together.
    at_once: usize,
}

struct Step {
    /// Its loss, and the number of images that were right.
    numbers: Numbers<2>,
    batch: usize,
    indices: Vec<usize>,
    images: usize,
}

impl UnseenLosses {
    /// None yet, of training on a device.
    pub fn on(device: &Device) -> Self {
        Self { steps: Vec::new(), at_once: device::steps_between_reads(device) }
    }

    /// Takes those of a step on a batch.
    pub fn push(&mut self, numbers: Numbers<2>, batch: &Batch) {
        let (number, indices, images) = (batch.number, batch.indices.clone(), batch.n);
        self.steps.push(Step { numbers, batch: number, indices, images });
    }

    /// Whether so many have come together that it is time to look.
    pub fn are_due(&self) -> bool {
        self.steps.len() >= self.at_once
    }

    /// Looks at all of them and adds them to the totals of an epoch (from 0), up to the first that is not finite.
    ///
    /// # Errors
    /// What the device failed in.
    pub fn look(
        &mut self,
        epoch: usize,
        totals: &mut EpochTotals,
        images: &Dataset,
    ) -> Result<Option<Divergence>, DeviceError> {
        let steps = std::mem::take(&mut self.steps);
        let numbers = Numbers::fetch(steps.iter().map(|step| step.numbers.clone()).collect())?;
        for ([loss, correct], step) in numbers.into_iter().zip(steps) {
            if !loss.is_finite() {
                return Ok(Some(Divergence::in_step(NotFinite::Loss, epoch, step.batch, &step.indices, images)));
            }
            totals.add(loss, correct as usize, step.images);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tensor;

    use super::*;
    use crate::sources::source::tests::memory_dataset;

    fn batch(number: usize) -> Batch {
        let indices = vec![number, number + 1];
        Batch {
            number,
            images: vec![],
            labels: vec![0; 2],
            indices,
            targets: None,
            mixed: false,
            n: 2,
            height: 0,
            width: 0,
        }
    }

    /// As a device would have them.
    fn awaited(loss: f32, correct: f32) -> Numbers<2> {
        let tensor = |value| Tensor::<1>::from_floats([value], &Device::flex());
        Numbers::Awaited(vec![[tensor(loss), tensor(correct)]])
    }

    #[test]
    fn a_divergence_is_that_of_the_first_step_and_what_came_before_it_counts() {
        let images = memory_dataset(&[0; 4], 2, 2);
        let mut losses = UnseenLosses { steps: Vec::new(), at_once: 3 };
        let mut totals = EpochTotals::default();
        for (number, loss) in [1.5, f32::NAN, f32::INFINITY].into_iter().enumerate() {
            assert!(!losses.are_due());
            losses.push(awaited(loss, 1.0), &batch(number));
        }
        assert!(losses.are_due());
        let divergence = losses.look(4, &mut totals, &images).unwrap().unwrap();
        assert_eq!((divergence.what, divergence.epoch, divergence.step), (NotFinite::Loss, 5, 2));
        assert_eq!(divergence.images, [1, 2].map(|index| images.samples[index].name.to_string()));
        assert_eq!(totals, EpochTotals { loss: 3.0, correct: 1, images: 2 });
        assert!(losses.look(4, &mut totals, &images).unwrap().is_none());
    }

    #[test]
    fn the_cpu_looks_at_every_step() {
        let mut losses = UnseenLosses::on(&Device::flex());
        assert!(!losses.are_due());
        losses.push(awaited(1.0, 1.0), &batch(0));
        assert!(losses.are_due());
    }
}
