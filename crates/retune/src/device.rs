//! Where tensors live and are computed with.

use burn::tensor::Device;
use retune_kernels::{Precision, with_precision};

const AVAILABLE: &str = if cfg!(all(feature = "wgpu", feature = "cuda")) {
    "cpu, wgpu, cuda"
} else if cfg!(feature = "wgpu") {
    "cpu, wgpu"
} else if cfg!(feature = "cuda") {
    "cpu, cuda"
} else {
    "cpu"
};

/// The device for a name: `cpu`, and with the matching cargo feature `wgpu` and `cuda`.
///
/// # Errors
/// Names the devices that this build has.
pub fn by_name(name: &str) -> Result<Device, UnknownDevice> {
    match name {
        "cpu" => Ok(Device::flex()),
        #[cfg(feature = "wgpu")]
        "wgpu" => Ok(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)),
        #[cfg(feature = "cuda")]
        "cuda" => Ok(Device::cuda(0)),
        _ => Err(UnknownDevice(name.to_owned())),
    }
}

/// Runs `work` on the thread from which `device` computes fastest. A CPU's operators divide their work among a pool of
/// threads: from one of these an operator begins at once, from any other it is handed over and waited for each time. That
/// thread may take over other work while it waits, and has the usual precision whatever it was doing.
pub(crate) fn compute<R: Send>(device: &Device, work: impl FnOnce() -> R + Send) -> R {
    compute_in(Precision::Float32, device, work)
}

/// The same with matrix products in `precision`, where the device [can multiply in it](can_multiply_in).
pub(crate) fn compute_in<R: Send>(precision: Precision, device: &Device, work: impl FnOnce() -> R + Send) -> R {
    // A graphics card orders what it is given by thread.
    if *device == Device::flex() { rayon::scope(|_| with_precision(precision, work)) } else { work() }
}

/// Whether matrix products can be in `precision`: only the CPU's fused operators know another than float32.
pub(crate) fn can_multiply_in(precision: Precision, device: &Device) -> bool {
    precision == Precision::Float32 || (*device == Device::flex() && retune_kernels::operators::are_enabled())
}

/// Whether BatchNorm can put together the statistics of a batch whose parts are computed apart.
pub(crate) fn can_share_batches(device: &Device) -> bool {
    *device == Device::flex()
}

/// `--device` names a device that this build does not have.
#[derive(Debug, thiserror::Error)]
#[error("unknown device '{0}'; this build has: {AVAILABLE}")]
pub struct UnknownDevice(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_cpu_multiplies_in_another_precision() {
        let cpu = by_name("cpu").unwrap();
        assert!(can_multiply_in(Precision::Float32, &cpu) && can_multiply_in(Precision::Bfloat16, &cpu));
    }

    #[test]
    fn a_cpu_computes_on_a_thread_of_its_pool_and_at_once_if_it_is_there() {
        let cpu = by_name("cpu").unwrap();
        let thread = || rayon::current_thread_index();
        let (outer, inner) = compute(&cpu, || (thread(), compute(&cpu, thread)));
        assert!(outer.is_some() && outer == inner);
    }
}
