//! Intervals of accuracies and of their differences.

use serde::{Deserialize, Serialize};

use crate::student;

/// Part of the distribution inside an interval over seeds, as LP-FT's authors report.
pub const CONFIDENCE: f64 = 0.9;

/// A mean and an interval about it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// From and to where it may lie.
    pub interval: [f64; 2],
}

impl Estimate {
    /// The mean of values, one for each seed, with Student's 90 % interval. One value has no
    /// interval: both ends are the value.
    pub fn over_seeds(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n.max(1.0);
        if values.len() < 2 {
            return Self { mean, interval: [mean; 2] };
        }
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let reach = student::critical(1.0 - CONFIDENCE, n - 1.0) * (variance / n).sqrt();
        Self { mean, interval: [mean - reach, mean + reach] }
    }

    /// Half the interval's width.
    pub fn reach(&self) -> f64 {
        (self.interval[1] - self.interval[0]) / 2.0
    }
}

/// Wilson's score interval of a proportion at 95 % (Wilson 1927), which stays inside 0 to 1 and
/// holds for few images too.
pub fn wilson_interval(right: usize, n: usize) -> [f64; 2] {
    score_interval(right as f64 / n.max(1) as f64, n as f64, NORMAL)
}

/// The value that a standard normal one exceeds on either side with a probability of 5 %.
const NORMAL: f64 = 1.959_963_984_540_054;

/// Wilson's score interval of a share of `n` images, which need not be whole: an effective number stands for images that
/// say less, or more, than as many independent ones (Dean & Pagano 2015, *Journal of Survey Statistics and Methodology*
/// 3, 484–503). `critical` is how many standard errors it reaches.
pub fn score_interval(share: f64, n: f64, critical: f64) -> [f64; 2] {
    if n <= 0.0 {
        return [0.0, 1.0];
    }
    let square = critical * critical;
    let center = share + square / (2.0 * n);
    let reach = critical * (share * (1.0 - share) / n + square / (4.0 * n * n)).sqrt();
    let scale = 1.0 + square / n;
    [((center - reach) / scale).max(0.0), ((center + reach) / scale).min(1.0)]
}

/// The mean difference of two methods with the same seeds: the paired t-test's 90 % interval.
pub fn paired_difference(differences: &[f64]) -> Estimate {
    Estimate::over_seeds(differences)
}

/// The 95 % interval of the difference of two independent proportions, each given as successes and
/// trials: Newcombe's hybrid of Wilson's intervals (Newcombe 1998, *Statistics in Medicine* 17,
/// 873–890, method 10).
pub fn proportion_difference(one: (usize, usize), other: (usize, usize)) -> [f64; 2] {
    let estimate = |(right, n): (usize, usize)| Estimate {
        mean: right as f64 / n.max(1) as f64,
        interval: wilson_interval(right, n),
    };
    estimate_difference(estimate(one), estimate(other))
}

/// The interval of the difference of two independent numbers from the interval of each, at their level: the method of
/// variance estimates recovery, of which Newcombe's hybrid is a case (Zou & Donner 2008, *Statistics in Medicine* 27,
/// 1693–1702).
pub fn estimate_difference(one: Estimate, other: Estimate) -> [f64; 2] {
    let ([one_low, one_high], [other_low, other_high]) = (one.interval, other.interval);
    let difference = one.mean - other.mean;
    let below = ((one.mean - one_low).powi(2) + (other_high - other.mean).powi(2)).sqrt();
    let above = ((one_high - one.mean).powi(2) + (other.mean - other_low).powi(2)).sqrt();
    [difference - below, difference + above]
}

/// How much more often one of two judges of the same things is right than the other, with its 95 % interval, which need
/// not be centered there: Wald's for matched pairs after half a pair is added to each cell of the table (Agresti & Min
/// 2005, *Statistics in Medicine* 24, 729–740). Narrower than [`proportion_difference`] where both are right on mostly
/// the same things.
///
/// # Panics
/// If the two are not of the same length: a caller's mistake, not input's.
pub fn matched_difference(one: &[bool], other: &[bool]) -> Estimate {
    assert_eq!(one.len(), other.len(), "judgments of the same things");
    let alone = |own: bool| one.iter().zip(other).filter(|&(&one, &other)| one == own && other != own).count() as f64;
    let (n, gained, lost) = (one.len() as f64, alone(true), alone(false));
    let difference = gained - lost;
    let center = difference / (n + 2.0);
    let variance = (gained + lost + 1.0) - difference.powi(2) / (n + 2.0);
    let reach = NORMAL * variance.max(0.0).sqrt() / (n + 2.0);
    Estimate { mean: difference / n.max(1.0), interval: [(center - reach).max(-1.0), (center + reach).min(1.0)] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_interval_matches_published_values() {
        // Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662; 0 of 20 gives 0 to 0.1611.
        let [low, high] = wilson_interval(81, 263);
        assert!((low - 0.2553).abs() < 5e-5 && (high - 0.3662).abs() < 5e-5, "{low} {high}");
        let [low, high] = wilson_interval(0, 20);
        assert!(low == 0.0 && (high - 0.1611).abs() < 5e-5, "{low} {high}");
    }

    #[test]
    fn an_interval_over_three_seeds_by_hand() {
        let estimate = Estimate::over_seeds(&[0.8, 0.9, 1.0]);
        // Deviation 0.1, so 2.92 · 0.1 / √3 on either side.
        assert!((estimate.mean - 0.9).abs() < 1e-12 && (estimate.reach() - 0.168585).abs() < 1e-6);
        assert_eq!(Estimate::over_seeds(&[0.5]).interval, [0.5, 0.5]);
    }

    #[test]
    fn matched_differences_by_hand() {
        // 12 pairs gained, 4 lost, 84 alike. With halves added: (12.5 − 4.5) / 102 = 0.078431, and
        // 1.959964 · √(17 − 64 / 102) / 102 = 0.077751 on either side.
        let one: Vec<bool> = (0..100).map(|index| index < 62).collect();
        let other: Vec<bool> = (0..100).map(|index| (12..66).contains(&index)).collect();
        let found = matched_difference(&one, &other);
        assert!((found.mean - 0.08).abs() < 1e-12);
        assert!(
            (found.interval[0] - 0.000680).abs() < 2e-6 && (found.interval[1] - 0.156182).abs() < 2e-6,
            "{found:?}"
        );
        let turned = matched_difference(&other, &one);
        assert!((found.interval[0] + turned.interval[1]).abs() < 1e-12);
        let same = matched_difference(&one, &one);
        assert!(same.mean == 0.0 && same.interval[0] < 0.0 && same.interval[1] > 0.0);
    }

    #[test]
    fn differences_of_proportions_are_newcombes() {
        // The paper's table II, method 10: 56/70 − 48/80 gives 0.0524 to 0.3339; 10/10 − 0/10 gives
        // 0.6075 to 1.
        for (one, other, expected) in [((56, 70), (48, 80), [0.0524, 0.3339]), ((10, 10), (0, 10), [0.6075, 1.0])] {
            let found = proportion_difference(one, other);
            assert!((found[0] - expected[0]).abs() < 5e-5 && (found[1] - expected[1]).abs() < 5e-5, "{found:?}");
        }
    }
}
