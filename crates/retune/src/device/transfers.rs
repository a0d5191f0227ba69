//! Values on their way between the host and a device, and how often they go.
//!
//! On the CPU, a tensor's memory is the host's: its values are taken over or looked at in place, and nothing is counted.

use std::sync::atomic::{AtomicU64, Ordering};

use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use burn::tensor::{Device, Tensor, TensorData, Transaction};

use super::{DeviceError, is_cpu};

static TO_HOST: AtomicU64 = AtomicU64::new(0);
static TO_DEVICE: AtomicU64 = AtomicU64::new(0);

/// How often this process has moved values between the host and a device other than the CPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Transfers {
    /// Reads. Each waits for all that the device was asked to compute.
    pub to_host: u64,
    /// Tensors made of values of the host.
    pub to_device: u64,
}

impl Transfers {
    /// Those so far.
    pub fn so_far() -> Self {
        Self { to_host: TO_HOST.load(Ordering::Relaxed), to_device: TO_DEVICE.load(Ordering::Relaxed) }
    }

    /// Those after `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self { to_host: self.to_host - before.to_host, to_device: self.to_device - before.to_device }
    }
}

/// A tensor of a device with these values, row-major; on the CPU, they are taken over.
///
/// # Panics
/// If the shape has another number of values.
pub(crate) fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D], device: &Device) -> Tensor<D> {
    if !is_cpu(device) {
        TO_DEVICE.fetch_add(1, Ordering::Relaxed);
    }
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// A tensor's values on the host, row-major; on the CPU, they are taken over where nobody else holds them.
///
/// # Errors
/// The first computation that a device failed in, now or before: what depends on it was left out.
pub(crate) fn read<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, DeviceError> {
    if !is_cpu(&tensor.device()) {
        TO_HOST.fetch_add(1, Ordering::Relaxed);
    }
    tensor.try_into_data_as::<f32>().map(floats).map_err(|error| DeviceError::failed(&error))
}

/// The same of several tensors of one device, by one read.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_all(tensors: Vec<Tensor<1>>) -> Result<Vec<Vec<f32>>, DeviceError> {
    if tensors.first().is_none_or(|tensor| is_cpu(&tensor.device())) {
        return tensors.into_iter().map(read).collect();
    }
    TO_HOST.fetch_add(1, Ordering::Relaxed);
    let read = tensors.into_iter().fold(Transaction::default(), Transaction::register);
    match read.try_execute() {
        Ok(read) => Ok(read.into_iter().map(floats).collect()),
        Err(error) => Err(DeviceError::failed(&error)),
    }
}

/// Tensors of one device on the CPU, by one read from another device. Those of the CPU keep their memory.
///
/// # Errors
/// As [`read`].
pub(crate) fn on_cpu(tensors: Vec<Tensor<1>>) -> Result<Vec<Tensor<1>>, DeviceError> {
    let cpu = Device::flex();
    if tensors.iter().all(|tensor| is_cpu(&tensor.device())) {
        return Ok(tensors);
    }
    let on_cpu = |values: Vec<f32>| {
        let length = values.len();
        tensor(values, [length], &cpu)
    };
    Ok(read_all(tensors)?.into_iter().map(on_cpu).collect())
}

/// The values of a tensor, as [`read`] has them, for those on the CPU, which does not fail, and for callers that panic anyway.
///
/// # Panics
/// If the device fails.
pub(crate) fn host_values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    read(tensor).unwrap_or_else(|error| panic!("{error}"))
}

fn floats(data: TensorData) -> Vec<f32> {
    data.try_into_vec().expect("tensors of this crate hold 32-bit floats")
}

/// The values of a tensor of the CPU, in place.
pub(crate) struct InPlace(FloatTensor<Flex>);

impl InPlace {
    /// Those of `tensor`; `None` if it is on another device.
    pub fn of<const D: usize>(tensor: &Tensor<D>) -> Option<Self> {
        if !is_cpu(&tensor.device()) {
            return None;
        }
        let array = tensor.clone().try_into_primitive::<Flex>().ok()?;
        Some(Self(if array.is_contiguous() { array } else { array.to_contiguous() }))
    }

    /// Row-major.
    pub fn values(&self) -> &[f32] {
        self.0.as_slice().expect("it is contiguous, and tensors of this crate hold 32-bit floats")
    }
}

/// Shows a tensor's values, row-major: in place on the CPU, as a copy from elsewhere.
///
/// # Errors
/// As [`read`].
pub(crate) fn with_values<const D: usize, R>(
    tensor: &Tensor<D>,
    look: impl FnOnce(&[f32]) -> R,
) -> Result<R, DeviceError> {
    match InPlace::of(tensor) {
        Some(array) => Ok(look(array.values())),
        None => read(tensor.clone()).map(|values| look(&values)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpus_values_are_seen_in_place_and_taken_over() {
        let values = vec![1.0, 2.0, 3.0, 4.0];
        let place = values.as_ptr();
        let made: Tensor<2> = tensor(values, [2, 2], &Device::flex());
        assert!(with_values(&made, |seen| seen.as_ptr() == place && seen == [1.0, 2.0, 3.0, 4.0]).unwrap());
        assert_eq!(with_values(&made.clone().transpose(), <[f32]>::to_vec).unwrap(), [1.0, 3.0, 2.0, 4.0]);
        let taken = host_values(made);
        assert_eq!(taken.as_ptr(), place);
    }

    #[test]
    fn a_cpu_moves_nothing() {
        let before = Transfers::so_far();
        let made: Vec<Tensor<1>> = (0..3).map(|value| tensor(vec![value as f32], [1], &Device::flex())).collect();
        assert_eq!(read_all(made).unwrap(), [[0.0], [1.0], [2.0]]);
        assert_eq!(Transfers::so_far().since(before), Transfers::default());
    }
}
