//! The operators on Burn's tensors, differentiable where Burn's backend is.
//!
//! They run on the CPU backend only; [`run_on`] says whether they do for a device.

mod convolution;

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;

pub use convolution::{Following, Window, convolution, linear};

static ENABLED: AtomicBool = AtomicBool::new(true);

/// Turns this crate's operators on or off for the whole process, to compare them with Burn's.
pub fn set_enabled(enabled: bool) {
    ENABLED.store(enabled, Ordering::Relaxed);
}

/// Whether this crate's operators are turned on and can run on `device`.
pub fn run_on(device: &Device) -> bool {
    ENABLED.load(Ordering::Relaxed) && device.clone().inner() == Device::flex()
}
