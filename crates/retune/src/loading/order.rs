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
    /// As many images as there are, each class as often as any other (by one more or less), in a new order in every epoch.
    /// Within a class, each image comes once before any comes again, from one epoch to the next.
    Balanced {
        /// The seed that, with the epoch's number, determines the draws.
        seed: u64,
    },
}

impl Order {
    /// The `len` indices of samples, all below `len`, in the order of the epoch numbered `epoch`. `labels` are the samples'
    /// classes; without them there is nothing to balance.
    pub fn indices(self, len: usize, labels: &[usize], epoch: u64) -> Vec<usize> {
        match self {
            Self::Sequential => (0..len).collect(),
            Self::Balanced { seed } if labels.len() == len => balanced(labels, seed, epoch),
            Self::Shuffled { seed } | Self::Balanced { seed } => retune_random::permutation(len, seed, epoch),
        }
    }
}

fn balanced(labels: &[usize], seed: u64, epoch: u64) -> Vec<usize> {
    // Keeps the draws within classes apart from the permutations of epochs.
    const CLASS: u64 = 0x636c_6173_7365_7301;
    let mut classes: Vec<Vec<usize>> = vec![Vec::new(); labels.iter().max().map_or(0, |most| most + 1)];
    labels.iter().enumerate().for_each(|(index, &label)| classes[label].push(index));
    classes.retain(|class| !class.is_empty());
    let (images, count) = (labels.len() as u64, classes.len() as u64);
    let mut drawn = Vec::with_capacity(labels.len());
    for (number, class) in classes.iter().enumerate() {
        // All epochs are one sequence that the classes divide evenly: the class has had its share of what came before.
        let share = |images: u64| (images + count - 1 - number as u64) / count;
        let size = class.len() as u64;
        let (mut round, mut order) = (u64::MAX, Vec::new());
        for position in share(epoch * images)..share((epoch + 1) * images) {
            if position / size != round {
                round = position / size;
                let key = retune_random::combine(retune_random::combine(CLASS, seed), number as u64);
                order = retune_random::permutation(class.len(), key, round);
            }
            drawn.push(class[order[(position % size) as usize]]);
        }
    }
    let order = retune_random::permutation(drawn.len(), seed, epoch);
    order.into_iter().map(|position| drawn[position]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shuffle_is_a_permutation_that_depends_on_seed_and_epoch() {
        let order = Order::Shuffled { seed: 7 };
        let first = order.indices(100, &[], 0);
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert_eq!(first, order.indices(100, &[], 0));
        assert_ne!(first, order.indices(100, &[], 1));
        assert_ne!(first, Order::Shuffled { seed: 8 }.indices(100, &[], 0));
        assert_eq!(Order::Sequential.indices(3, &[], 5), [0, 1, 2]);
        assert!(order.indices(0, &[], 0).is_empty());
    }

    #[test]
    fn balanced_epochs_show_classes_equally_often_and_every_image_in_turn() {
        // 90, 9 and 1 images.
        let labels: Vec<usize> =
            (0..100).map(|index| if index < 90 { 0 } else { usize::from(index == 99) + 1 }).collect();
        let order = Order::Balanced { seed: 7 };
        let mut seen = vec![0; 100];
        for epoch in 0..27 {
            let indices = order.indices(100, &labels, epoch);
            let mut counts = [0; 3];
            indices.iter().for_each(|&index| counts[labels[index]] += 1);
            assert_eq!(indices.len(), 100);
            assert!(counts.iter().all(|count| [33, 34].contains(count)), "{counts:?}");
            indices.iter().for_each(|&index| seen[index] += 1);
        }
        // 27 epochs show 900 images of each class: ten times each of 90, a hundred times each of 9.
        assert!(seen[..90].iter().all(|count| *count == 10) && seen[90..99].iter().all(|count| *count == 100));
        assert_eq!(seen[99], 900);
        assert_eq!(order.indices(100, &labels, 3), order.indices(100, &labels, 3));
        assert_ne!(order.indices(100, &labels, 3), order.indices(100, &labels, 4));
        assert_ne!(order.indices(100, &labels, 3), Order::Balanced { seed: 8 }.indices(100, &labels, 3));
    }

    #[test]
    fn every_permutation_is_equally_likely() {
        let mut counts = std::collections::BTreeMap::new();
        for epoch in 0..6000 {
            *counts.entry(Order::Shuffled { seed: 1 }.indices(3, &[], epoch)).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 6);
        // Binomial(6000, 1/6) has mean 1000 and standard deviation 28.9; 150 is over five of them.
        assert!(counts.values().all(|&count| count.abs_diff(1000) < 150), "{counts:?}");
    }
}
