//! How a phase searches among its learning rates.

use serde::{Deserialize, Serialize};

/// A short training of every learning rate that is left, with a schedule of its own, after which the best go on. Several
/// in a row are successive halving (Jamieson & Talwalkar 2016, arXiv 1502.07943), with trainings that begin anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rung {
    /// Passes over the training images.
    pub epochs: usize,
    /// Learning rates that go on.
    pub keep: usize,
    /// Whether the last of their places is for the largest rate that is at most three standard errors less accurate than the
    /// best, if that rate has no place already. Short trainings prefer rates that are too small for long ones (Wu et al.
    /// 2018, arXiv 1803.02021).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keep_largest: bool,
}

/// How learning rates are searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Search {
    /// Short trainings leave most rates out.
    Halving,
    /// Every rate trains in full.
    Full,
}

impl Search {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Halving, Self::Full];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Halving => "halving",
            Self::Full => "full",
        }
    }

    /// The rungs for so many learning rates and epochs: all for an eighth of the epochs, then the best and the largest that is
    /// about as good train in full; below 6 epochs, where short trainings are a larger share, only the best. With the rates of
    /// [`HALF_DECADES`](crate::methods::HALF_DECADES) and 3 epochs or more, all trainings together take at most the time of
    /// three in full.
    pub fn rungs(self, rates: usize, epochs: usize) -> Vec<Rung> {
        match self {
            Self::Halving if rates > 2 && epochs >= 6 => {
                vec![Rung { epochs: (epochs / 8).max(1), keep: 2, keep_largest: true }]
            }
            Self::Halving if rates > 1 && (2..6).contains(&epochs) => {
                vec![Rung { epochs: 1, keep: 1, keep_largest: false }]
            }
            _ => Vec::new(),
        }
    }
}

impl std::str::FromStr for Search {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|search| search.name() == name);
        known.ok_or_else(|| "expected halving or full".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::HALF_DECADES;

    #[test]
    fn halving_takes_at_most_the_time_of_three_trainings() {
        for epochs in 3..200 {
            let (mut rates, mut trained) = (HALF_DECADES.len(), 0);
            for rung in Search::Halving.rungs(rates, epochs) {
                trained += rates * rung.epochs;
                rates = rung.keep;
            }
            let in_full = rates * epochs;
            assert!(trained + in_full <= 3 * epochs, "{trained} + {in_full} of {epochs} epochs");
        }
    }

    #[test]
    fn what_leaves_nothing_out_is_no_rung() {
        assert_eq!(Search::Halving.rungs(6, 16), [Rung { epochs: 2, keep: 2, keep_largest: true }]);
        assert_eq!(Search::Halving.rungs(6, 3), [Rung { epochs: 1, keep: 1, keep_largest: false }]);
        assert_eq!(Search::Halving.rungs(1, 8), []);
        assert_eq!(Search::Halving.rungs(2, 8), []);
        assert_eq!(Search::Halving.rungs(3, 1), []);
        assert_eq!(Search::Full.rungs(6, 8), []);
    }
}
