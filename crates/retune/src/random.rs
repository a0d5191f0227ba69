//! Random numbers that depend on what they are for, not on when they are drawn.
//!
//! Every draw is seeded by the run's seed and a path of numbers (epoch, image, tensor, …), so that
//! results do not depend on the number of threads, and a resumed run draws what an uninterrupted
//! one would have drawn.

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// A generator for one purpose: the same for the same `seed` and `path`.
///
/// ```
/// use rand::RngExt;
/// let mut one = retune::random::generator(7, &[3, 1]);
/// let mut same = retune::random::generator(7, &[3, 1]);
/// assert_eq!(one.random::<u64>(), same.random::<u64>());
/// ```
pub fn generator(seed: u64, path: &[u64]) -> ChaCha8Rng {
    let mut state = seed;
    for &part in path {
        state = mix(state ^ mix(part.wrapping_add(0x9e37_79b9_7f4a_7c15)));
    }
    ChaCha8Rng::seed_from_u64(state)
}

/// A 64-bit hash of bytes (FNV-1a, finished with a mixing step); stable across versions.
pub fn hash(bytes: &[u8]) -> u64 {
    let folded = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    mix(folded)
}

/// SplitMix64's finalizer: every input bit reaches every output bit.
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A standard normal value (Box–Muller), redrawn beyond two standard deviations.
pub fn truncated_normal(generator: &mut ChaCha8Rng) -> f32 {
    loop {
        let radius = (-2.0 * (1.0 - generator.random::<f64>()).ln()).sqrt();
        let value = radius * (std::f64::consts::TAU * generator.random::<f64>()).cos();
        if value.abs() <= 2.0 {
            return value as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_differ_and_repeat() {
        let draw = |path: &[u64]| generator(1, path).random::<u64>();
        assert_eq!(draw(&[1, 2]), draw(&[1, 2]));
        assert_ne!(draw(&[1, 2]), draw(&[2, 1]));
        assert_ne!(draw(&[0]), draw(&[0, 0]));
    }

    #[test]
    fn truncated_normal_has_its_moments() {
        let mut generator = generator(5, &[]);
        let values: Vec<f64> = (0..20_000).map(|_| f64::from(truncated_normal(&mut generator))).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
        // Cutting at two deviations leaves a standard deviation of 0.8796; the mean of 20,000
        // draws strays by 0.006 (one sigma), so 0.03 is five of them.
        assert!(mean.abs() < 0.03, "{mean}");
        assert!((variance.sqrt() - 0.8796).abs() < 0.02, "{variance}");
        assert!(values.iter().all(|value| value.abs() <= 2.0));
    }
}
