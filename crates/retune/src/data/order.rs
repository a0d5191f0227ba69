//! The order of an epoch, and the counter-based randomness it rests on.
//!
//! Every random number is a function of what it is for (a seed, an epoch, a position), never of what
//! was drawn before it. So an epoch can be entered at any batch, and no result depends on threads.

/// The order in which an epoch visits the samples of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As the dataset lists them.
    Sequential,
    /// A new permutation in every epoch.
    Shuffled {
        /// The seed that, with the epoch's number, determines the permutation.
        seed: u64,
    },
}

impl Order {
    /// The sample indices `0..len` in the order of the epoch numbered `epoch`.
    ///
    /// A shuffled order is Fisher and Yates' shuffle (Knuth, *The Art of Computer Programming*,
    /// volume 2, algorithm 3.4.2 P) over a counter-based generator.
    pub fn indices(self, len: usize, epoch: u64) -> Vec<usize> {
        let mut indices: Vec<usize> = (0..len).collect();
        if let Order::Shuffled { seed } = self {
            let key = combine(combine(SHUFFLE_KEY, seed), epoch);
            for last in (1..len).rev() {
                indices.swap(last, bounded(combine(key, last as u64), last + 1));
            }
        }
        indices
    }
}

/// Keeps shuffles apart from other uses of the same seed.
const SHUFFLE_KEY: u64 = 0x7368_7566_666c_6531;

/// The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014, variant 13 of Stafford): a
/// bijection of 64 bits in which every input bit affects every output bit.
fn mix_bits(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A key made of a key and one more number.
pub(super) fn combine(key: u64, number: u64) -> u64 {
    // The golden-ratio increment keeps (0, 0) from being a fixed point of the mixing.
    mix_bits(mix_bits(key).wrapping_add(number).wrapping_add(0x9e37_79b9_7f4a_7c15))
}

/// A 64-bit hash of `bytes` under `key`, the same on every platform and in every release (which the
/// standard library does not promise of its hasher).
pub(super) fn keyed_hash(key: u64, bytes: &[u8]) -> u64 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_is_a_permutation_that_depends_on_seed_and_epoch() {
        let order = Order::Shuffled { seed: 7 };
        let first = order.indices(100, 0);
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert_eq!(first, order.indices(100, 0));
        assert_ne!(first, order.indices(100, 1));
        assert_ne!(first, Order::Shuffled { seed: 8 }.indices(100, 0));
        assert_eq!(Order::Sequential.indices(3, 5), [0, 1, 2]);
        assert!(order.indices(0, 0).is_empty());
    }

    #[test]
    fn every_permutation_is_equally_likely() {
        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..6000 {
            *counts.entry(Order::Shuffled { seed: 1 }.indices(3, epoch)).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 6);
        // Binomial(6000, 1/6) has mean 1000 and standard deviation 28.9; 150 is over five of them.
        assert!(counts.values().all(|&count| count.abs_diff(1000) < 150), "{counts:?}");
    }

    #[test]
    fn the_hash_sees_key_length_and_every_byte() {
        assert_ne!(keyed_hash(0, b"a.png"), keyed_hash(1, b"a.png"));
        assert_ne!(keyed_hash(0, b""), keyed_hash(0, b"\0"));
        assert_ne!(keyed_hash(0, b"12345678a"), keyed_hash(0, b"12345678b"));
    }
}
