//! Where tensors live and are computed with.

use burn::tensor::Device;

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

/// `--device` names a device that this build does not have.
#[derive(Debug, thiserror::Error)]
#[error("unknown device '{0}'; this build has: {AVAILABLE}")]
pub struct UnknownDevice(String);
