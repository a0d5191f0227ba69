//! The instruction set of the kernels: the widest that the processor has, unless a narrower one is asked for.

use std::sync::atomic::{AtomicBool, Ordering};

use pulp::{Arch, WithSimd};

static NARROW: AtomicBool = AtomicBool::new(false);

/// Whether to keep to AVX2, vectors of 256 bits, on processors that have AVX-512: for measuring what others would do, and
/// for the bits that they compute. Changes nothing elsewhere. Weights that are packed already must not be used after a
/// change; set it once, before anything is computed.
pub fn keep_to_avx2(keep: bool) {
    NARROW.store(keep, Ordering::Relaxed);
}

pub(crate) fn kept_to_avx2() -> bool {
    NARROW.load(Ordering::Relaxed)
}

/// Runs `work`, compiled for the instruction set that the kernels use.
#[inline]
pub fn dispatch<W: WithSimd>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    if kept_to_avx2()
        && let Some(avx2) = pulp::x86::V3::try_new()
    {
        return pulp::Simd::vectorize(avx2, work);
    }
    Arch::new().dispatch(work)
}
