//! What training leaves out at random, with the rules of timm 1.0.31.
//!
//! - Stochastic depth (Huang et al. 2016, arXiv 1603.09382): for single images, a block's branch is left out and only its
//!   shortcut remains. The rate grows from 0 in the first block to its full value in the last.
//! - Dropout (Srivastava et al. 2014, JMLR 15): single features that enter the classifier are left out.
//!
//! What is kept is divided by the share that is kept. Evaluation leaves nothing out. A draw is a function of the step, the
//! block and the image's place in the batch, so that a run that was interrupted draws the same again.

use retune_random::combine;

/// The rates at which a step leaves out branches and features, and the key of its draws.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropping {
    /// Largest rate of stochastic depth, from 0 to below 1.
    pub path_rate: f64,
    /// Rate of dropout before the classifier, from 0 to below 1.
    pub feature_rate: f64,
    /// What the draws depend on besides the place.
    pub key: u64,
    /// Place in the batch of the first image that passes through the network.
    pub first_image: usize,
}

impl Dropping {
    /// One factor for each of `images` of a branch: 0, or 1 / (1 − rate). `share` is the part of the rate that holds at this
    /// depth, `branch` counts the branches of a block. `None` where nothing is left out.
    pub(super) fn of_branch(&self, share: f64, block: usize, branch: u64, images: usize) -> Option<Vec<f32>> {
        let key = combine(combine(self.key, block as u64), branch);
        self.factors(self.path_rate * share, key, self.first_image..self.first_image + images)
    }

    /// One factor for each of the `width` features of each of `images`, in rows.
    pub(super) fn of_features(&self, block: usize, images: usize, width: usize) -> Option<Vec<f32>> {
        let places = self.first_image * width..(self.first_image + images) * width;
        self.factors(self.feature_rate, combine(self.key, block as u64), places)
    }

    fn factors(&self, rate: f64, key: u64, places: std::ops::Range<usize>) -> Option<Vec<f32>> {
        // 53 bits of a double's mantissa.
        let drawn = |place: usize| (combine(key, place as u64) >> 11) as f64 / (1u64 << 53) as f64;
        let kept = (1.0 / (1.0 - rate)) as f32;
        (rate > 0.0).then(|| places.map(|place| if drawn(place) < rate { 0.0 } else { kept }).collect())
    }
}

/// Part of the rate of stochastic depth in block `index` of `count`, where the last block has all of it.
pub(super) fn depth_share(index: usize, count: usize) -> f64 {
    index as f64 / count.saturating_sub(1).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Dropping = Dropping { path_rate: 0.5, feature_rate: 0.25, key: 7, first_image: 0 };

    #[test]
    fn rates_are_kept_and_what_remains_is_scaled() {
        let branch = HALF.of_branch(1.0, 3, 0, 10_000).unwrap();
        let features = HALF.of_features(5, 100, 100).unwrap();
        for (factors, rate) in [(branch, 0.5), (features, 0.25)] {
            let dropped = factors.iter().filter(|factor| **factor == 0.0).count() as f64 / 1e4;
            // Four standard deviations of 10,000 draws are at most 0.02.
            assert!((dropped - rate).abs() < 0.02, "{dropped} of {rate}");
            let kept = 1.0 / (1.0 - rate) as f32;
            assert!(factors.iter().all(|factor| *factor == 0.0 || *factor == kept));
        }
        assert_eq!(HALF.of_branch(0.0, 0, 0, 4), None);
    }

    #[test]
    fn draws_depend_on_the_place_and_not_on_how_a_batch_is_divided() {
        let all = HALF.of_branch(1.0, 3, 0, 64).unwrap();
        let rest = Dropping { first_image: 40, ..HALF }.of_branch(1.0, 3, 0, 24).unwrap();
        assert_eq!(all[40..], rest);
        for other in [(4, 0), (3, 1)] {
            assert_ne!(HALF.of_branch(1.0, other.0, other.1, 64).unwrap(), all);
        }
        let rows = Dropping { first_image: 2, ..HALF }.of_features(1, 3, 8).unwrap();
        assert_eq!(HALF.of_features(1, 5, 8).unwrap()[16..], rows);
    }

    #[test]
    fn the_rate_grows_evenly_to_the_last_block() {
        assert_eq!((0..5).map(|index| depth_share(index, 5)).collect::<Vec<_>>(), [0.0, 0.25, 0.5, 0.75, 1.0]);
        assert_eq!(depth_share(0, 1), 0.0);
    }
}
