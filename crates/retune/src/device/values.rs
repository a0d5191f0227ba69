//! Arithmetic on the flat values of parameters, wherever they are.
//!
//! A [`Rule`] is an equation that is stated once. On the CPU, it is applied to memory in place, number by number, on all
//! cores; elsewhere, to whole tensors, so that no value leaves the device.

use std::ops::{Add, Div, Mul, Sub};

use burn::tensor::{Device, Tensor};
use rayon::prelude::*;

use super::transfers::{InPlace, host_values, read_all, tensor, with_values};
use super::{DeviceError, is_cpu};

/// Values that one task updates; large enough that splitting costs nothing.
pub(crate) const CHUNK: usize = 1 << 15;

/// What a rule computes with: a number, or a tensor of many.
pub(crate) trait Quantity:
    Clone
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Add<f32, Output = Self>
    + Mul<f32, Output = Self>
    + Div<f32, Output = Self>
{
    fn sqrt(self) -> Self;
}

impl Quantity for f32 {
    #[inline]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
}

impl Quantity for Tensor<1> {
    fn sqrt(self) -> Self {
        Tensor::sqrt(self)
    }
}

/// New values of `W` quantities, by these and `R` others. Implementations are inline: the loop over a CPU's numbers is in
/// another file.
pub(crate) trait Rule<const W: usize, const R: usize>: Copy + Sync {
    fn apply<Q: Quantity>(self, written: [Q; W], read: [Q; R]) -> [Q; W];
}

/// Updates the values of `written` by a rule. All tensors are on one device.
///
/// # Panics
/// If the tensors differ in length.
pub(crate) fn update<const W: usize, const R: usize>(
    written: [&mut Tensor<1>; W],
    read: [&Tensor<1>; R],
    rule: impl Rule<W, R>,
) {
    if written.iter().all(|tensor| is_cpu(&tensor.device())) {
        return update_in_place(written, read, rule);
    }
    let updated = rule.apply(written.each_ref().map(|tensor| Tensor::clone(tensor)), read.map(Tensor::clone));
    written.into_iter().zip(updated).for_each(|(tensor, updated)| *tensor = updated);
}

fn update_in_place<const W: usize, const R: usize>(
    mut written: [&mut Tensor<1>; W],
    read: [&Tensor<1>; R],
    rule: impl Rule<W, R>,
) {
    let read = read.map(|tensor| InPlace::of(tensor).expect("all tensors are on one device"));
    let mut values = written.each_mut().map(|tensor| host_values(tensor.extract()));
    in_chunks(values.each_mut().map(Vec::as_mut_slice), read.each_ref().map(InPlace::values), rule);
    for (place, values) in written.into_iter().zip(values) {
        let length = values.len();
        *place = tensor(values, [length], &Device::flex());
    }
}

fn in_chunks<const W: usize, const R: usize>(written: [&mut [f32]; W], read: [&[f32]; R], rule: impl Rule<W, R>) {
    let length = written.first().map_or(0, |values| values.len());
    let lengths = written.iter().map(|values| values.len()).chain(read.iter().map(|values| values.len()));
    assert!(lengths.into_iter().all(|other| other == length), "tensors that a rule joins have one length");
    if length <= CHUNK {
        return one_by_one(written, read, rule);
    }
    let mut written = written.map(|values| values.chunks_mut(CHUNK));
    let mut read = read.map(|values| values.chunks(CHUNK));
    let mut chunks = Vec::with_capacity(length.div_ceil(CHUNK));
    for _ in 0..length.div_ceil(CHUNK) {
        let written = written.each_mut().map(|chunks| chunks.next().unwrap_or_default());
        chunks.push((written, read.each_mut().map(|chunks| chunks.next().unwrap_or_default())));
    }
    chunks.into_par_iter().for_each(|(written, read)| one_by_one(written, read, rule));
}

fn one_by_one<const W: usize, const R: usize>(written: [&mut [f32]; W], read: [&[f32]; R], rule: impl Rule<W, R>) {
    // Of a length that the compiler knows to be the same, so that it checks no index and makes vectors of the numbers.
    let length = written.first().map_or(0, |values| values.len());
    let mut written = written.map(|values| &mut values[..length]);
    let read = read.map(|values| &values[..length]);
    for index in 0..length {
        let updated = rule.apply(written.each_ref().map(|values| values[index]), read.map(|values| values[index]));
        for (values, updated) in written.iter_mut().zip(updated) {
            values[index] = updated;
        }
    }
}

/// As many zeros, on the same device.
pub(crate) fn zeros_like(values: &Tensor<1>) -> Tensor<1> {
    let (length, device) = (values.dims()[0], values.device());
    // Memory of floats, which an update in place can take over.
    if is_cpu(&device) { tensor(vec![0.0; length], [length], &device) } else { values.zeros_like() }
}

/// Adds other values.
#[derive(Clone, Copy)]
pub(crate) struct Sum;

impl Rule<1, 1> for Sum {
    #[inline]
    fn apply<Q: Quantity>(self, [sum]: [Q; 1], [other]: [Q; 1]) -> [Q; 1] {
        [sum + other]
    }
}

#[derive(Clone, Copy)]
struct Scale(f32);

impl Rule<1, 0> for Scale {
    #[inline]
    fn apply<Q: Quantity>(self, [value]: [Q; 1], []: [Q; 0]) -> [Q; 1] {
        [value * self.0]
    }
}

/// Scales all tensors so that their norm together is at most `limit`, as PyTorch's `clip_grad_norm_` does.
pub(crate) fn clip_norm(mut tensors: Vec<&mut Tensor<1>>, limit: f64) {
    // PyTorch's guard against division by zero.
    const GUARD: f64 = 1e-6;
    let in_place: Option<Vec<InPlace>> = tensors.iter().map(|tensor| InPlace::of(tensor)).collect();
    if let Some(in_place) = in_place {
        let add = |sum: f64, values: &[f32]| values.iter().fold(sum, |sum, &value| sum + f64::from(value).powi(2));
        let squares = in_place.iter().fold(0.0, |sum, array| add(sum, array.values()));
        // Whoever holds memory keeps an update from happening in place.
        drop(in_place);
        let scale = (limit / (squares.sqrt() + GUARD)).min(1.0) as f32;
        if scale < 1.0 {
            tensors.iter_mut().for_each(|tensor| update([tensor], [], Scale(scale)));
        }
        return;
    }
    let squares = tensors.iter().map(|tensor| Tensor::clone(tensor).square().sum());
    let Some(squares) = squares.reduce(|sum, other| sum + other) else { return };
    let scale = squares.sqrt().add_scalar(GUARD).recip().mul_scalar(limit).clamp_max(1.0);
    tensors.iter_mut().for_each(|tensor| **tensor = Tensor::clone(tensor) * scale.clone());
}

/// The squared norm of each tensor; by one read from another device than the CPU.
///
/// # Errors
/// What the device failed in.
pub(crate) fn squared_norms<'a>(tensors: impl IntoIterator<Item = &'a Tensor<1>>) -> Result<Vec<f64>, DeviceError> {
    let of_host = |values: &[f32]| values.iter().map(|&value| f64::from(value).powi(2)).sum();
    of_each(tensors, of_host, |tensor| tensor.square().sum())
}

/// Whether all values are finite; by one read from another device than the CPU.
///
/// # Errors
/// What the device failed in.
pub(crate) fn are_finite<'a>(tensors: impl IntoIterator<Item = &'a Tensor<1>>) -> Result<bool, DeviceError> {
    let of_host = |values: &[f32]| f64::from(u8::from(values.iter().all(|value| value.is_finite())));
    let finite = of_each(tensors, of_host, |tensor| tensor.is_finite().all().float())?;
    Ok(finite.into_iter().all(|finite| finite == 1.0))
}

/// A number of each tensor: found on the host for those of the CPU, else on their device, and read all at once.
fn of_each<'a>(
    tensors: impl IntoIterator<Item = &'a Tensor<1>>,
    of_host: impl Fn(&[f32]) -> f64,
    of_device: impl Fn(Tensor<1>) -> Tensor<1>,
) -> Result<Vec<f64>, DeviceError> {
    let tensors: Vec<&Tensor<1>> = tensors.into_iter().collect();
    if tensors.iter().all(|tensor| is_cpu(&tensor.device())) {
        return tensors.into_iter().map(|tensor| with_values(tensor, &of_host)).collect();
    }
    read_numbers(tensors.into_iter().map(|tensor| of_device(tensor.clone())).collect())
}

/// For each pair of tensors of one length, whether their values are the same, bit for bit: 0 is not −0. By one read from
/// another device than the CPU, where NaN is the same as nothing.
///
/// # Errors
/// What the device failed in.
pub(crate) fn are_same<'a>(
    pairs: impl IntoIterator<Item = (&'a Tensor<1>, &'a Tensor<1>)>,
) -> Result<Vec<bool>, DeviceError> {
    let pairs: Vec<_> = pairs.into_iter().collect();
    if pairs.iter().all(|(one, _)| is_cpu(&one.device())) {
        let same = |(one, other)| with_values(one, |one| with_values(other, |other| have_same_bits(one, other)))?;
        return pairs.into_iter().map(same).collect();
    }
    let same = |(one, other): (&Tensor<1>, &Tensor<1>)| {
        let inverses = one.clone().recip().equal(other.clone().recip());
        (one.clone().equal(other.clone()) & inverses).all().float()
    };
    Ok(read_numbers(pairs.into_iter().map(same).collect())?.into_iter().map(|same| same == 1.0).collect())
}

fn have_same_bits(one: &[f32], other: &[f32]) -> bool {
    one.iter().zip(other).all(|(one, other)| one.to_bits() == other.to_bits())
}

/// The values of tensors of one value each, by one read.
fn read_numbers(numbers: Vec<Tensor<1>>) -> Result<Vec<f64>, DeviceError> {
    Ok(read_all(numbers)?.into_iter().flatten().map(f64::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_cpu(values: Vec<f32>) -> Tensor<1> {
        let length = values.len();
        tensor(values, [length], &Device::flex())
    }

    /// `a ← a · b + c`, `b ← √b / c`.
    #[derive(Clone, Copy)]
    struct Mixed;

    impl Rule<2, 1> for Mixed {
        #[inline]
        fn apply<Q: Quantity>(self, [a, b]: [Q; 2], [c]: [Q; 1]) -> [Q; 2] {
            [a * b.clone() + c.clone(), b.sqrt() / c]
        }
    }

    #[test]
    fn a_rule_is_the_same_for_numbers_and_for_tensors() {
        let wave =
            |length: usize, scale: f32| (0..length).map(|at| (at as f32 * scale).sin() + 1.5).collect::<Vec<f32>>();
        for length in [0, 1, 7, CHUNK, 2 * CHUNK + 5] {
            let [a, b, c] = [0.1, 0.2, 0.3].map(|scale| on_cpu(wave(length, scale)));
            let expected = Mixed.apply([a.clone(), b.clone()], [c.clone()]).map(host_values);
            let (mut changed_a, mut changed_b) = (a.clone(), b.clone());
            update([&mut changed_a, &mut changed_b], [&c], Mixed);
            assert_eq!([changed_a, changed_b].map(host_values), expected, "{length}");
            // Whoever else holds the memory keeps the values.
            assert_eq!(host_values(a), wave(length, 0.1));
        }
    }

    #[test]
    fn an_update_stays_in_its_memory() {
        let values = vec![1.0, 2.0];
        let place = values.as_ptr();
        let mut sum = on_cpu(values);
        update([&mut sum], [&on_cpu(vec![0.5, -0.5])], Sum);
        assert!(with_values(&sum, |seen| seen.as_ptr() == place && seen == [1.5, 1.5]).unwrap());
        let mut zeros = zeros_like(&sum);
        let place = with_values(&zeros, <[f32]>::as_ptr).unwrap();
        update([&mut zeros], [&sum], Sum);
        assert!(with_values(&zeros, |seen| seen.as_ptr() == place && seen == [1.5, 1.5]).unwrap());
    }

    #[test]
    fn norms_are_clipped_together_and_small_ones_stay() {
        let (mut one, mut other) = (on_cpu(vec![3.0]), on_cpu(vec![0.0, -4.0]));
        clip_norm(vec![&mut one, &mut other], 10.0);
        assert_eq!(squared_norms([&one, &other]).unwrap(), [9.0, 16.0]);
        // The norm is 5.
        clip_norm(vec![&mut one, &mut other], 1.0);
        let [one, other] = [one, other].map(host_values);
        assert!((one[0] - 0.6).abs() < 1e-6 && other[0] == 0.0 && (other[1] + 0.8).abs() < 1e-6);
    }

    #[test]
    fn infinity_and_signs_of_zero_are_seen() {
        let finite = on_cpu(vec![1.0, f32::MAX]);
        assert!(are_finite([&finite, &finite]).unwrap());
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!are_finite([&finite, &on_cpu(vec![0.0, wrong])]).unwrap());
        }
        let (zero, negative) = (on_cpu(vec![0.0]), on_cpu(vec![-0.0]));
        let pairs = [(&zero, &negative), (&zero, &zero), (&negative, &negative)];
        assert_eq!(are_same(pairs).unwrap(), [false, true, true]);
    }
}
