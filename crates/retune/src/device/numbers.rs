//! Numbers that a device computes and that the host need not know at once.

use burn::tensor::Tensor;

use super::transfers::{host_values, read_all};
use super::{DeviceError, is_cpu};

/// `N` numbers, or sums of them: known at once where the CPU computes them, elsewhere from when they are fetched.
#[derive(Clone, Debug)]
pub enum Numbers<const N: usize> {
    /// The host has them.
    Known([f64; N]),
    /// Summands that are still on a device. Each number is a tensor of one value.
    Awaited(Vec<[Tensor<1>; N]>),
}

impl<const N: usize> Numbers<N> {
    /// Those in tensors of one value each.
    pub(crate) fn of(numbers: [Tensor<1>; N]) -> Self {
        if numbers.iter().all(|number| is_cpu(&number.device())) {
            return Self::Known(numbers.map(|number| f64::from(host_values(number)[0])));
        }
        Self::Awaited(vec![numbers])
    }

    /// The sums with others of the same kind.
    ///
    /// # Panics
    /// If only one of both is known.
    #[must_use]
    pub(crate) fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Known(one), Self::Known(other)) => Self::Known(sum(one, other)),
            (Self::Awaited(mut one), Self::Awaited(other)) => {
                one.extend(other);
                Self::Awaited(one)
            }
            _ => panic!("parts of a batch are computed on one device"),
        }
    }

    /// All of these, in their order, by at most one read.
    ///
    /// # Errors
    /// What the device failed in.
    pub fn fetch(all: Vec<Self>) -> Result<Vec<[f64; N]>, DeviceError> {
        let awaited = all.iter().flat_map(|numbers| match numbers {
            Self::Known(_) => &[],
            Self::Awaited(summands) => summands.as_slice(),
        });
        let mut read = read_all(awaited.flatten().cloned().collect())?.into_iter().flatten().map(f64::from);
        let mut next = || std::array::from_fn(|_| read.next().expect("a value of each tensor was read"));
        let fetched = all.iter().map(|numbers| match numbers {
            Self::Known(known) => *known,
            Self::Awaited(summands) => (1..summands.len()).fold(next(), |before, _| sum(before, next())),
        });
        Ok(fetched.collect())
    }
}

fn sum<const N: usize>(one: [f64; N], other: [f64; N]) -> [f64; N] {
    std::array::from_fn(|at| one[at] + other[at])
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::super::transfers::tensor;
    use super::*;

    #[test]
    fn what_is_awaited_adds_up_as_what_is_known() {
        let parts = [[0.1, 1.0], [0.2, 3.0], [0.7, 2.0]];
        let tensors = |part: [f32; 2]| part.map(|number| tensor(vec![number], [1], &Device::flex()));
        let known = parts.map(|part| Numbers::of(tensors(part)));
        let awaited = parts.map(|part| Numbers::Awaited(vec![tensors(part)]));
        assert!(known.iter().all(|numbers| matches!(numbers, Numbers::Known(_))));
        let sums = [known, awaited]
            .map(|[first, second, third]| Numbers::fetch(vec![first.clone(), first.plus(second), third]).unwrap());
        assert_eq!(sums[0], sums[1]);
        assert_eq!(sums[0][1], [f64::from(0.1f32) + f64::from(0.2f32), 4.0]);
    }
}
