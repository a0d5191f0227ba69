//! How sure a mean over seeds is that was measured on a sample of images.
//!
//! Seeds and images are both samples: with other seeds or other images the mean would be another one. As in a two-way
//! layout, the variance of the mean is that of the seeds plus that of the images, less their interaction, which is in both
//! (Cameron, Gelbach & Miller 2011, *Journal of Business & Economic Statistics* 29, 238–249). That of the images comes
//! from the bootstrap. That of the seeds is computed: two or three values resampled say nothing that their variance does
//! not, and what a variance of so few values is worth, Student's distribution knows.

use crate::intervals::{Estimate, score_interval};
use crate::resampling::Resampled;
use crate::student;

/// The probability of a value outside an interval.
pub const LEVEL: f64 = 0.05;

/// A mean over seeds, with its variance.
#[derive(Clone, Debug, PartialEq)]
pub struct TwoWay {
    /// The mean.
    pub mean: f64,
    /// The variance of the mean.
    pub variance: f64,
    /// What seeds contribute, their interaction with images included; 0 for one seed.
    pub of_seeds: f64,
    /// What images contribute, their interaction with seeds included.
    pub of_images: f64,
    /// Number of seeds.
    pub seeds: usize,
    /// Number of images.
    pub images: usize,
}

impl TwoWay {
    /// The mean of a number that each seed has, measured on so many images.
    pub fn of(seeds: &[Resampled], images: usize) -> Self {
        let n = seeds.len() as f64;
        let resamples = seeds.iter().map(|seed| seed.resampled.len()).min().unwrap_or(0);
        let mean = seeds.iter().map(|seed| seed.observed).sum::<f64>() / n.max(1.0);
        let means: Vec<f64> =
            (0..resamples).map(|at| seeds.iter().map(|seed| seed.resampled[at]).sum::<f64>() / n).collect();
        let of_images = variance(means.iter().copied());
        let mut found = Self { mean, variance: of_images, of_seeds: 0.0, of_images, seeds: seeds.len(), images };
        if seeds.len() > 1 {
            found.of_seeds = variance(seeds.iter().map(|seed| seed.observed)) / n;
            let beyond_mean =
                |seed: &Resampled| variance(seed.resampled.iter().zip(&means).map(|(one, mean)| one - mean));
            // The deviations from the mean of n values have a share of (n − 1) / n of their variance.
            let interaction = seeds.iter().map(beyond_mean).sum::<f64>() / (n * (n - 1.0));
            let sum = found.of_seeds + of_images - interaction;
            found.variance = sum.max(found.of_seeds).max(of_images);
        }
        found
    }

    /// How many standard errors a value is exceeded by with a probability: the critical values of Student's distribution
    /// for the seeds and for the images, weighted by their variances (Cochran & Cox 1950, *Experimental Designs*,
    /// section 4.14).
    pub fn critical(&self, probability: f64) -> f64 {
        let of = |n: usize| student::critical(probability, n.saturating_sub(1).max(1) as f64);
        let sum = self.of_seeds + self.of_images;
        if self.seeds < 2 || self.of_seeds <= 0.0 || sum <= 0.0 {
            return of(self.images);
        }
        (self.of_seeds * of(self.seeds) + self.of_images * of(self.images)) / sum
    }

    /// The mean of accuracies with its 95 % interval: Wilson's, for the number of images that would give the same
    /// variance. An accuracy of 0 or 1 has no variance, and is worth its images.
    pub fn accuracy(&self) -> Estimate {
        let spread = self.mean * (1.0 - self.mean);
        let n = if self.variance > 0.0 && spread > 0.0 { spread / self.variance } else { self.images as f64 };
        let n = n.min((self.seeds * self.images) as f64);
        Estimate { mean: self.mean, interval: score_interval(self.mean, n, self.critical(LEVEL)) }
    }

    /// The mean of differences of accuracies with its 95 % interval, and the probability of one so far from 0 between
    /// two that are equally good.
    pub fn difference(&self) -> (Estimate, f64) {
        let error = self.difference_error();
        let reach = self.critical(LEVEL) * error;
        let estimate = Estimate { mean: self.mean, interval: [self.mean - reach, self.mean + reach] };
        let errors = self.mean.abs() / error;
        if errors == 0.0 || errors.is_nan() {
            return (estimate, 1.0);
        }
        // As far in logarithm as p-values mean anything.
        let exponent = student::largest(|exponent| exponent < 300.0 && self.critical((-exponent).exp()) < errors);
        (estimate, (-exponent).exp())
    }

    /// The standard error of a difference. One image more on which the two differ keeps a lead of a few images without
    /// any loss from counting as certain (Agresti & Min 2005, *Statistics in Medicine* 24, 729–740).
    fn difference_error(&self) -> f64 {
        (self.variance + (self.images.max(1) as f64).powi(-2)).sqrt()
    }
}

/// The unbiased variance of values; 0 of fewer than two.
fn variance(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let n = values.clone().count() as f64;
    if n < 2.0 {
        return 0.0;
    }
    let mean = values.clone().sum::<f64>() / n;
    values.map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0)
}

#[cfg(test)]
mod tests;
