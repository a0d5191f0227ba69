//! Averages of weights: over training, over several models, and along a line.

use crate::device::values::{self, Quantity, Rule};
use crate::models::Parameters;
use crate::plan::Averaging;

/// Goes a share of the way from a value to another.
#[derive(Clone, Copy)]
struct Toward {
    share: f32,
}

impl Rule<1, 1> for Toward {
    #[inline]
    fn apply<Q: Quantity>(self, [value]: [Q; 1], [end]: [Q; 1]) -> [Q; 1] {
        // Subtracted: −0 − 0 is −0, and a frozen tensor keeps its bits, where −0 + 0 would be 0.
        [value.clone() - (value - end) * self.share]
    }
}

/// An average over training.
#[derive(Clone, Debug)]
pub(super) struct WeightAverage {
    /// The average so far.
    pub parameters: Parameters,
    /// Steps (exponential) or epochs (equal) that it holds.
    pub count: u64,
}

impl WeightAverage {
    /// Before the first step: the weights that training starts from.
    pub fn new(start: &Parameters) -> Self {
        Self { parameters: start.clone(), count: 0 }
    }

    /// Takes the weights after a step in.
    pub fn after_step(&mut self, averaging: Averaging, weights: &Parameters) {
        if let Averaging::Exponential { decay } = averaging {
            let count = self.count as f64;
            let kept = decay.min((1.0 + count) / (10.0 + count));
            move_toward(&mut self.parameters, weights, 1.0 - kept);
            self.count += 1;
        }
    }

    /// Takes the weights after the epoch numbered `epoch` (from 1) in.
    pub fn after_epoch(&mut self, averaging: Averaging, epoch: usize, weights: &Parameters) {
        if let Averaging::Epochs { from } = averaging
            && epoch >= from
        {
            self.count += 1;
            move_toward(&mut self.parameters, weights, 1.0 / self.count as f64);
        }
    }
}

/// `start + share · (end − start)`; exactly `start` at 0, `end` at 1, and where both are the same.
pub fn interpolate(start: &Parameters, end: &Parameters, share: f64) -> Parameters {
    let mut between = start.clone();
    move_toward(&mut between, end, share);
    between
}

/// `parameters + share · (end − parameters)`, in their place.
fn move_toward(parameters: &mut Parameters, end: &Parameters, share: f64) {
    if share >= 1.0 {
        *parameters = end.clone();
    } else if share > 0.0 {
        for (index, end) in end.tensors().iter().enumerate() {
            values::update([parameters.tensor_mut(index)], [end], Toward { share: share as f32 });
        }
    }
}

/// The equal average of several models' weights; `None` of none.
pub fn average<'a>(models: impl IntoIterator<Item = &'a Parameters>) -> Option<Parameters> {
    let mut models = models.into_iter();
    let mut mean = models.next()?.clone();
    for (index, model) in models.enumerate() {
        move_toward(&mut mean, model, 1.0 / (index + 2) as f64);
    }
    Some(mean)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::parameters::Initialization;
    use crate::models::{ParameterSpec, Role};

    fn constant(value: f32) -> Parameters {
        let initialization = Initialization::Constant(value);
        let spec = ParameterSpec { name: "w".into(), shape: vec![2], role: Role::Weight, block: 0, initialization };
        Parameters::initialize(vec![spec].into(), 0, &burn::tensor::Device::flex())
    }

    fn value(parameters: &Parameters) -> f32 {
        parameters.values(0)[0]
    }

    #[test]
    fn what_is_the_same_keeps_its_bits() {
        for value in [0.0, -0.0, 0.1, f32::MIN_POSITIVE / 8.0] {
            let same = constant(value);
            for share in [0.0, 0.1, 0.5, 1.0] {
                assert!(interpolate(&same, &same, share).equal(&same).unwrap(), "{value:?} {share}");
            }
            assert!(average([&same, &same, &same]).unwrap().equal(&same).unwrap(), "{value:?}");
        }
        assert!(interpolate(&constant(-0.0), &constant(5.0), 0.0).equal(&constant(-0.0)).unwrap());
    }

    #[test]
    fn an_average_of_models_is_their_mean() {
        let models = [1.0, 2.0, 6.0].map(constant);
        assert!((value(&average(&models).unwrap()) - 3.0).abs() < 1e-6);
        assert!(average(&[]).is_none());
    }

    #[test]
    fn a_line_has_its_ends_exactly() {
        let (start, end) = (constant(0.1), constant(0.7));
        assert_eq!(value(&interpolate(&start, &end, 0.0)), 0.1);
        assert_eq!(value(&interpolate(&start, &end, 1.0)), 0.7);
        assert!((value(&interpolate(&start, &end, 0.5)) - 0.4).abs() < 1e-6);
        assert_eq!(value(&interpolate(&start, &start, 0.3)), 0.1);
    }

    #[test]
    fn the_exponential_average_starts_quickly() {
        let averaging = Averaging::Exponential { decay: 0.9 };
        let mut average = WeightAverage::new(&constant(0.0));
        average.after_step(averaging, &constant(1.0));
        // The first step keeps min(0.9, 1 / 10) of the start.
        assert!((value(&average.parameters) - 0.9).abs() < 1e-6);
        average.after_epoch(averaging, 1, &constant(5.0));
        assert_eq!(average.count, 1);
    }

    #[test]
    fn the_average_of_epochs_leaves_early_ones_out() {
        let averaging = Averaging::Epochs { from: 2 };
        let mut average = WeightAverage::new(&constant(0.0));
        for epoch in 1..=3 {
            average.after_epoch(averaging, epoch, &constant(epoch as f32));
        }
        assert!((value(&average.parameters) - 2.5).abs() < 1e-6 && average.count == 2);
    }
}
