//! The exponential function in a form that compilers turn into vector instructions.

/// `eˣ` to within two units in the last place; 0 below about −87 and infinity above about 88.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LARGEST: f32 = 89.0;
    const SMALLEST: f32 = -87.3;
    // Added to a small number, it leaves the nearest integer in the low bits.
    const ROUNDER: f32 = 12_582_912.0;
    let bounded = x.clamp(SMALLEST, LARGEST);
    // eˣ = 2ⁿ · eʳ with |r| ≤ ln 2 / 2; ln 2 in two parts, the first of which n multiplies exactly.
    let shifted = bounded * std::f32::consts::LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    let r = (bounded - n * 0.693_359_4) - n * -2.121_944_4e-4;
    // The coefficients of Cephes' `expf` (Moshier), the best of their number in this range.
    let tail =
        0.5 + r * (0.166_666_65 + r * (0.041_665_796 + r * (0.008_333_452 + r * (1.398_2e-3 + r * 1.987_569_1e-4))));
    let series = 1.0 + (r + r * r * tail);
    // 2ⁿ as two factors, since 2¹²⁸ is none.
    let exponent = shifted.to_bits() as i32 - ROUNDER.to_bits() as i32;
    let half = exponent >> 1;
    let power = |n: i32| f32::from_bits(((n + 127) << 23) as u32);
    let result = series * power(half) * power(exponent - half);
    if x < SMALLEST { 0.0 } else { result }
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn it_is_the_exponential() {
        for step in -8700..8870 {
            let x = step as f32 / 100.0 + 0.003;
            let expected = f64::from(x).exp();
            // Two units in the last place are 2.4e-7.
            assert!((f64::from(exp(x)) / expected - 1.0).abs() < 2.4e-7, "{x}: {} {expected}", exp(x));
        }
        assert_eq!((exp(0.0), exp(-1e9), exp(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
        assert!(exp(1e9).is_infinite() && exp(f32::NAN).is_nan());
    }
}
