#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![warn(missing_docs)]

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// A generator for one purpose: the same for the same `seed` and `path`.
///
/// ```
/// use rand::RngExt;
/// let mut one = retune_random::generator(7, &[3, 1]);
/// let mut same = retune_random::generator(7, &[3, 1]);
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

/// The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014, variant 13 of Stafford): a bijection of 64 bits in
/// which every input bit affects every output bit.
fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A key made of a key and one more number.
pub fn combine(key: u64, number: u64) -> u64 {
    // The golden-ratio increment keeps (0, 0) from being a fixed point of the mixing.
    mix(mix(key).wrapping_add(number).wrapping_add(0x9e37_79b9_7f4a_7c15))
}

/// A 64-bit hash of `bytes` under `key`, the same on every platform and in every release (which the
/// standard library does not promise of its hasher).
pub fn keyed_hash(key: u64, bytes: &[u8]) -> u64 {
    let start = combine(key, bytes.len() as u64);
    bytes.chunks(8).fold(start, |hash, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        combine(hash, u64::from_le_bytes(word))
    })
}

/// A number in `0..bound` from uniformly distributed bits, by the multiply-shift method (Lemire,
/// ACM TOMACS 2019). Its bias is below `bound / 2^64`, far under what any dataset can show.
fn bounded(bits: u64, bound: usize) -> usize {
    ((u128::from(bits) * bound as u128) >> 64) as usize
}

/// The numbers below `len` in an order that depends on `seed` and `round` alone: Fisher and Yates' shuffle (Knuth, *The
/// Art of Computer Programming*, volume 2, algorithm 3.4.2 P) over counted random numbers.
pub fn permutation(len: usize, seed: u64, round: u64) -> Vec<usize> {
    // Keeps permutations apart from other uses of the same seed.
    const PERMUTATION: u64 = 0x7368_7566_666c_6531;
    let key = combine(combine(PERMUTATION, seed), round);
    let mut indices: Vec<usize> = (0..len).collect();
    for last in (1..len).rev() {
        indices.swap(last, bounded(combine(key, last as u64), last + 1));
    }
    indices
}

/// How often each of `len` things is drawn in `len` draws with replacement, a resample of the bootstrap; it depends on
/// `seed` and `round` alone.
pub fn resample_counts(len: usize, seed: u64, round: u64) -> Vec<u32> {
    // Keeps resamples apart from other uses of the same seed.
    const RESAMPLE: u64 = 0x7265_7361_6d70_6c65;
    let key = combine(combine(RESAMPLE, seed), round);
    let mut counts = vec![0; len];
    for draw in 0..len as u64 {
        counts[bounded(combine(key, draw), len)] += 1;
    }
    counts
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
    fn the_hash_sees_key_length_and_every_byte() {
        assert_ne!(keyed_hash(0, b"a.png"), keyed_hash(1, b"a.png"));
        assert_ne!(keyed_hash(0, b""), keyed_hash(0, b"\0"));
        assert_ne!(keyed_hash(0, b"12345678a"), keyed_hash(0, b"12345678b"));
    }

    #[test]
    fn a_resample_draws_as_often_as_there_are_things() {
        let counts = resample_counts(1_000, 1, 2);
        assert_eq!(counts.iter().sum::<u32>(), 1_000);
        assert_eq!(counts, resample_counts(1_000, 1, 2));
        assert_ne!(counts, resample_counts(1_000, 1, 3));
        // Never drawn are (1 − 1/1000)^1000 = 36.8 %, with a standard deviation of 1 %; the bounds are five of those.
        let absent = counts.iter().filter(|&&count| count == 0).count();
        assert!((318..=418).contains(&absent), "{absent}");
        assert!(resample_counts(0, 1, 2).is_empty());
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
