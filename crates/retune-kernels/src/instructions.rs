//! The instruction set of the kernels: the widest that the processor has, unless a narrower one is asked for.

#[cfg(target_arch = "x86_64")]
use std::sync::OnceLock;

use pulp::{Arch, WithSimd};

/// Whether the kernels keep to AVX2. It is decided once: weights that are packed for one width of vectors must never be
/// multiplied with another.
#[cfg(target_arch = "x86_64")]
static KEPT_TO_AVX2: OnceLock<bool> = OnceLock::new();

/// Keeps the kernels to AVX2, vectors of 256 bits, on processors that have AVX-512: for measuring what others would do, and
/// for the bits that they compute. Returns whether they are: not where something was computed before, nor on processors of
/// another kind.
pub fn keep_to_avx2() -> bool {
    #[cfg(target_arch = "x86_64")]
    return pulp::x86::V3::try_new().is_some() && *KEPT_TO_AVX2.get_or_init(|| true);
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[cfg(target_arch = "x86_64")]
pub(crate) fn kept_to_avx2() -> bool {
    *KEPT_TO_AVX2.get_or_init(|| false)
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
