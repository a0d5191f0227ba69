//! Calibration of a model's probabilities (Guo et al. 2017, *On Calibration of Modern Neural
//! Networks*, arXiv 1706.04599, section 2).

use serde::Serialize;

/// Bins of a reliability diagram, as in the paper's experiments.
pub const BINS: usize = 15;

/// A model's confidence against its accuracy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// Bins of equal width in confidence, from 0 to 1.
    pub bins: Vec<Bin>,
    /// Expected calibration error: the mean gap between confidence and accuracy over bins, weighted by
    /// their images; 0 to 1.
    pub expected_error: f64,
    /// The largest gap of a bin with images; 0 to 1.
    pub largest_error: f64,
    /// Mean confidence.
    pub confidence: f64,
    /// Accuracy.
    pub accuracy: f64,
    /// Images.
    pub n: usize,
}

/// Images whose confidence lies in an interval, open below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Bin {
    /// Images.
    pub n: usize,
    /// Their mean confidence; 0 without images.
    pub confidence: f64,
    /// Their accuracy; 0 without images.
    pub accuracy: f64,
}

impl Calibration {
    /// Measures predictions, each given as the probability of the most likely class and whether that
    /// class is right. `None` without any.
    pub fn measure(predictions: impl IntoIterator<Item = (f64, bool)>) -> Option<Self> {
        let mut bins = [Bin::default(); BINS];
        for (probability, right) in predictions {
            // Bin m is ((m − 1) / M, m / M].
            let position = ((probability * BINS as f64).ceil() as usize).clamp(1, BINS) - 1;
            let bin = &mut bins[position];
            bin.n += 1;
            bin.confidence += probability;
            bin.accuracy += f64::from(u8::from(right));
        }
        let n: usize = bins.iter().map(|bin| bin.n).sum();
        if n == 0 {
            return None;
        }
        let share = |total: f64| total / n as f64;
        let confidence = share(bins.iter().map(|bin| bin.confidence).sum());
        let accuracy = share(bins.iter().map(|bin| bin.accuracy).sum());
        for bin in bins.iter_mut().filter(|bin| bin.n > 0) {
            bin.confidence /= bin.n as f64;
            bin.accuracy /= bin.n as f64;
        }
        let gap = |bin: &Bin| (bin.confidence - bin.accuracy).abs();
        Some(Self {
            expected_error: share(bins.iter().map(|bin| bin.n as f64 * gap(bin)).sum()),
            largest_error: bins.iter().map(gap).fold(0.0, f64::max),
            bins: bins.to_vec(),
            confidence,
            accuracy,
            n,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_by_hand() {
        // Two of three in the last bin are right; the one in (7/15, 8/15] is wrong.
        let found = Calibration::measure([(0.95, true), (1.0, false), (0.97, true), (0.5, false)]).unwrap();
        assert_eq!((found.bins[14].n, found.bins[7].n, found.n), (3, 1, 4));
        let last = (0.95 + 1.0 + 0.97) / 3.0;
        assert!((found.expected_error - (3.0 * (last - 2.0 / 3.0) + 0.5) / 4.0).abs() < 1e-12);
        assert!((found.largest_error - 0.5).abs() < 1e-12);
        assert!((found.accuracy - 0.5).abs() < 1e-12 && (found.confidence - 0.855).abs() < 1e-12);
        assert!(Calibration::measure([]).is_none());
    }

    #[test]
    fn bins_are_scikit_learns() {
        // 200 answers by a rule; sklearn.calibration.calibration_curve(right, confidence, n_bins=15, strategy="uniform")
        // of scikit-learn, its gaps weighted by the bins' images and the largest of them, and its last bin.
        let answers = (0..200usize).map(|i| {
            let right = (i * 7 + 3) % 4 == (i * i + i / 3) % 4;
            (((i * 37 % 101) as f64 + 0.5) / 101.0, right)
        });
        let found = Calibration::measure(answers).unwrap();
        assert!((found.expected_error - 0.385_148_514_851_485_16).abs() < 1e-12, "{}", found.expected_error);
        assert!((found.largest_error - 0.900_990_099_009_901).abs() < 1e-12, "{}", found.largest_error);
        let last = found.bins[14];
        assert!((last.accuracy - 0.214_285_714_285_714_27).abs() < 1e-12, "{last:?}");
        assert!((last.confidence - 0.965_346_534_653_465_4).abs() < 1e-12, "{last:?}");
    }

    #[test]
    fn a_bins_upper_end_belongs_to_it() {
        let found = Calibration::measure([(3.0 / 15.0, true), (0.0, false), (1.0, true)]).unwrap();
        assert_eq!([0, 2, 14].map(|bin| found.bins[bin].n), [1, 1, 1]);
    }
}
