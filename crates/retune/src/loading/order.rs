//! The order of an epoch. It is a function of the seed and the epoch, so an epoch can be entered at any batch.

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
    pub fn indices(self, len: usize, epoch: u64) -> Vec<usize> {
        match self {
            Self::Sequential => (0..len).collect(),
            Self::Shuffled { seed } => retune_random::permutation(len, seed, epoch),
        }
    }
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
}
