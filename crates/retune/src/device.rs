//! Where tensors live and are computed with.
//!
//! This room alone asks which device that is. It has arithmetic that does the same everywhere (`values.rs`), all ways of
//! values to the host and back (`transfers.rs`), and numbers that may wait on a device (`numbers.rs`).

mod numbers;
pub(crate) mod transfers;
pub(crate) mod values;

use burn::tensor::{DType, Device};
use retune_kernels::{Precision, operators, with_precision};

pub use self::numbers::Numbers;
pub use self::transfers::Transfers;
pub(crate) use self::transfers::{host_values, on_cpu, read, read_all, tensor, with_values};

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
/// Names the devices that this build has; says that the machine has none of the kind, or lacks what makes its kernels.
pub fn by_name(name: &str) -> Result<Device, DeviceError> {
    match name {
        "cpu" => Ok(Device::flex()),
        #[cfg(feature = "wgpu")]
        "wgpu" => {
            let has_one = !Device::enumerate(burn::tensor::DeviceType::Wgpu).is_empty();
            has_one.then(|| Device::wgpu(burn::tensor::DeviceKind::DefaultDevice)).ok_or(DeviceError::NoGraphics)
        }
        #[cfg(feature = "cuda")]
        "cuda" => first_card(),
        _ => Err(DeviceError::Unknown(name.to_owned())),
    }
}

/// The first NVIDIA card. Its kernels are compiled when they are first needed, by the toolkit's NVRTC.
#[cfg(feature = "cuda")]
fn first_card() -> Result<Device, DeviceError> {
    if Device::enumerate(burn::tensor::DeviceType::Cuda).is_empty() {
        return Err(DeviceError::NoCard);
    }
    let toolkit = cubecl::cuda::install::cuda_path();
    if !toolkit.as_ref().is_some_and(|path| path.join("include").is_dir()) {
        return Err(DeviceError::NoToolkit(toolkit.unwrap_or_default()));
    }
    Ok(Device::cuda(0))
}

/// Steps after which the host looks at the losses that a device has computed in them. To look is to wait for all that the
/// device was asked to do, which keeps it from working on while the host prepares the next step. A training that has
/// diverged goes on for no more than these steps.
const STEPS_BETWEEN_READS: usize = 16;

/// Whether a device computes in the memory of the host.
pub(crate) fn is_cpu(device: &Device) -> bool {
    *device == Device::flex()
}

/// Steps after which to look at what a device has computed in them: 1 on the CPU, where looking costs nothing.
pub(crate) fn steps_between_reads(device: &Device) -> usize {
    if is_cpu(device) { 1 } else { STEPS_BETWEEN_READS }
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
    let work = || with_precision(precision, work);
    if is_cpu(device) { rayon::scope(|_| work()) } else { work() }
}

/// Whether a device multiplies matrices in `precision`; on the CPU, the fused operators do.
pub(crate) fn can_multiply_in(precision: Precision, device: &Device) -> bool {
    match precision {
        Precision::Float32 => true,
        Precision::Bfloat16 if is_cpu(device) => operators::are_enabled(),
        Precision::Bfloat16 => device.supports_dtype(DType::BF16),
    }
}

/// The same at the speed of float32 or more: a CPU without instructions for bfloat16 multiplies it, at a loss.
pub(crate) fn has_instructions_for(precision: Precision, device: &Device) -> bool {
    let emulates = precision == Precision::Bfloat16 && is_cpu(device) && !retune_kernels::multiplies_bfloat16();
    can_multiply_in(precision, device) && !emulates
}

/// Whether training in bfloat16 is faster on `device`. On the CPU, a layer is measured
/// ([`retune_kernels::bfloat16_pays`]). Other devices stay with float32: on an NVIDIA H200, steps wait for the host, and bfloat16 saves
/// nothing.
pub fn bfloat16_pays(device: &Device) -> bool {
    is_cpu(device) && retune_kernels::bfloat16_pays()
}

/// Whether BatchNorm can put together the statistics of a batch whose parts are computed apart.
pub(crate) fn can_share_batches(device: &Device) -> bool {
    is_cpu(device)
}

/// There is no such device.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// No device of this build has the name.
    #[error("unknown device '{0}'; this build has: {AVAILABLE}")]
    Unknown(String),
    /// The machine has no graphics device with a driver for Vulkan, Metal or DirectX.
    #[error(
        "no graphics device was found; is a Vulkan driver installed? Mesa's computes on any processor (Debian: \
         mesa-vulkan-drivers and libvulkan1)"
    )]
    NoGraphics,
    /// The machine has no NVIDIA card, or no driver for it.
    #[error("no NVIDIA card with a driver was found")]
    NoCard,
    /// NVIDIA's toolkit, whose compiler makes the kernels, is not in this folder; empty where none is known.
    #[error(
        "NVIDIA's CUDA toolkit, which compiles the kernels, was not found {}; the variable CUDA_PATH can name its folder",
        if .0.as_os_str().is_empty() { "in the usual places".to_owned() } else { format!("in {}", .0.display()) }
    )]
    NoToolkit(std::path::PathBuf),
    /// The device could not compute something, for example for lack of memory; what it says of that.
    #[error("the device failed: {0}")]
    Failed(String),
}

impl DeviceError {
    /// Burn's errors name their causes one per line, the first cause last, and then the place in the program.
    fn failed(error: &impl std::fmt::Display) -> Self {
        let text = error.to_string();
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains("acktrace"));
        Self::Failed(lines.next_back().unwrap_or("it does not say why").to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_multiplies_in_either_precision() {
        let cpu = by_name("cpu").unwrap();
        assert!(can_multiply_in(Precision::Float32, &cpu) && can_multiply_in(Precision::Bfloat16, &cpu));
    }

    #[test]
    fn a_failure_is_told_by_its_first_cause() {
        let nested =
            "An error happened\nCaused by:\n  can't allocate buffer of size: 240844800\nNo backtrace available";
        let error = DeviceError::failed(&nested);
        assert_eq!(error.to_string(), "the device failed: can't allocate buffer of size: 240844800");
    }

    #[test]
    fn a_cpu_computes_on_a_thread_of_its_pool_and_at_once_if_it_is_there() {
        let cpu = by_name("cpu").unwrap();
        let thread = || rayon::current_thread_index();
        let (outer, inner) = compute(&cpu, || (thread(), compute(&cpu, thread)));
        assert!(outer.is_some() && outer == inner);
    }
}
