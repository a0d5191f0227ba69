//! Vectors of as many values as are left, and loops that the compiler makes vectors of.

use pulp::{Simd, WithSimd};

use crate::instructions::dispatch;

/// Runs `work`, a loop whose closures and functions are all `#[inline(always)]`, compiled for the
/// widest vectors of this machine.
pub(crate) fn vectorized(work: impl FnMut()) {
    // Not pulp's own dispatch of closures: that calls through `FnOnce`, which the compiler does not
    // inline, so that the loop would be compiled for the narrowest vectors.
    struct Loop<F>(F);
    impl<F: FnMut()> WithSimd for Loop<F> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(mut self, _: S) {
            (self.0)();
        }
    }
    dispatch(Loop(work));
}

/// A vector of the values, zeros after the last.
#[inline(always)]
pub(crate) fn load<S: Simd>(simd: S, values: &[f32]) -> S::f32s {
    if values.len() == S::F32_LANES {
        // A whole vector is one instruction; a part of one is several.
        S::as_simd_f32s(values).0[0]
    } else {
        simd.partial_load_f32s(values)
    }
}

/// Writes the leading values of a vector.
#[inline(always)]
pub(crate) fn store<S: Simd>(simd: S, out: &mut [f32], value: S::f32s) {
    if out.len() == S::F32_LANES {
        S::as_mut_simd_f32s(out).0[0] = value;
    } else {
        simd.partial_store_f32s(out, value);
    }
}

/// Asks for the cache lines of the values that are `distance` after these, if there are any.
#[inline(always)]
pub(crate) fn prefetch(values: &[f32], distance: usize) {
    /// Values of a cache line.
    const LINE: usize = 16;
    #[cfg(target_arch = "x86_64")]
    for line in (0..values.len()).step_by(LINE) {
        let place = values.as_ptr().wrapping_add(distance + line);
        // SAFETY: all processors of this architecture have the instruction, which reads nothing: any address will do.
        unsafe { std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(place.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (values, distance, LINE);
}
