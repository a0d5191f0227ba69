//! The operators on Burn's tensors, differentiable where Burn's backend is.
//!
//! On the CPU they are this crate's own, or made of Burn's where [`set_enabled`] has turned them off. On graphics cards, they are
//! made of Burn's and of this crate's kernels for cards. Maps are `[batch, height, width, channels]`.

mod activation;
mod attention;
mod batch_norm;
mod convolution;
mod gradient_seed;
mod im2col;
mod layer_norm;
mod on_card;
mod pooling;
mod shared_batch_norm;

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::{Device, Tensor};

pub use activation::{Gated, gated};
pub use attention::{attention, attention_of};
pub use batch_norm::{BatchNorm, batch_norm};
pub use convolution::{Following, Window, convolution, linear};
pub use gradient_seed::gradient_seed;
pub use layer_norm::layer_norm;
pub use pooling::{global_average, max_pool};
pub use shared_batch_norm::{SharedBatch, SharedBatchNorm, shared_batch_norm};

static ENABLED: AtomicBool = AtomicBool::new(true);

/// Turns this crate's operators for the CPU on or off for the whole process, to compare them with Burn's.
pub fn set_enabled(enabled: bool) {
    ENABLED.store(enabled, Ordering::Relaxed);
}

/// Whether this crate's own operators for the CPU are turned on.
pub fn are_enabled() -> bool {
    ENABLED.load(Ordering::Relaxed)
}

/// Whether this crate's own operators are turned on and can run on `device`.
fn run_on(device: &Device) -> bool {
    are_enabled() && is_cpu(device)
}

/// Whether a device, or what differentiates on it, computes in the memory of the host.
fn is_cpu(device: &Device) -> bool {
    device.clone().inner() == Device::flex()
}

/// `[batch, channels, height, width]` to `[batch, height, width, channels]`, as a view.
pub fn channels_last(x: Tensor<4>) -> Tensor<4> {
    x.permute([0, 2, 3, 1])
}

/// `[batch, height, width, channels]` to `[batch, channels, height, width]`, as a view.
pub fn channels_first(x: Tensor<4>) -> Tensor<4> {
    x.permute([0, 3, 1, 2])
}
