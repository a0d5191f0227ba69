//! Vectors of as many values as are left.

use pulp::Simd;

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
