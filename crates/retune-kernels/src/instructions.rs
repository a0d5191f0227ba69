//! The instruction set of the kernels: the widest that the processor has, unless a narrower one is asked for.

#[cfg(target_arch = "x86_64")]
use std::sync::OnceLock;

use pulp::{Arch, WithSimd};

/// Instructions that the kernels may use, of those that the processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instructions {
    /// Vectors of 256 bits.
    Avx2,
    /// Vectors of 512 bits, and no matrix unit.
    Avx512,
    /// All, among them the matrix unit AMX.
    All,
}

/// What the kernels keep to. It is decided once: weights that are packed for one width of vectors must never be multiplied with
/// another.
#[cfg(target_arch = "x86_64")]
static KEPT_TO: OnceLock<Instructions> = OnceLock::new();

/// Keeps the kernels to some of the processor's instructions: for measuring what others would do, and for the bits that they
/// compute. Returns whether they are: not where something was computed before, nor on processors that lack them.
pub fn keep_to(instructions: Instructions) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let has_them = match instructions {
            Instructions::Avx2 => pulp::x86::V3::try_new().is_some(),
            Instructions::Avx512 => pulp::x86::V4::try_new().is_some(),
            Instructions::All => true,
        };
        has_them && *KEPT_TO.get_or_init(|| instructions) == instructions
    }
    #[cfg(not(target_arch = "x86_64"))]
    return instructions == Instructions::All;
}

#[cfg(target_arch = "x86_64")]
pub(crate) fn kept_to() -> Instructions {
    *KEPT_TO.get_or_init(|| Instructions::All)
}

/// Runs `work`, compiled for the instruction set that the kernels use.
#[inline]
pub fn dispatch<W: WithSimd>(work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    if kept_to() == Instructions::Avx2
        && let Some(avx2) = pulp::x86::V3::try_new()
    {
        return pulp::Simd::vectorize(avx2, work);
    }
    Arch::new().dispatch(work)
}
