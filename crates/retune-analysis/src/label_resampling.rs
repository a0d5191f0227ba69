//! The bootstrap over images of the mean average precision: what it would have been on other images of the same kind.

use retune_random::resample_counts;

use crate::intervals::Estimate;
use crate::multilabel::by_score;
use crate::resampling::{RESAMPLES, Resampled, of_each_run};
use crate::two_way::TwoWay;

/// What a run says of each label of each image, and which labels the image has: row-major, a row for each image.
#[derive(Clone, Copy, Debug)]
pub struct LabelScores<'a> {
    /// The higher, the surer that the image has the label.
    pub scores: &'a [f32],
    /// Whether it does.
    pub has: &'a [bool],
    /// Labels in a row.
    pub labels: usize,
}

/// The mean over labels of the average precision of each run on the same images, in the same order. A label that no image
/// has does not count; in a resample, neither does one that no image drawn has.
///
/// # Panics
/// If runs have different numbers of images or labels: a caller's mistake, not input's.
pub fn mean_average_precisions(runs: &[LabelScores], resamples: usize, seed: u64) -> Vec<Resampled> {
    let images = runs.first().map_or(0, |run| run.has.len() / run.labels.max(1));
    let runs: Vec<Vec<Ranking>> = runs.iter().map(|run| Ranking::of_labels(run, images)).collect();
    let once = vec![1; images];
    let observed: Vec<f64> = runs.iter().map(|run| mean(run, &once).unwrap_or_default()).collect();
    let on_resample = |number: usize| -> Vec<f64> {
        let counts = resample_counts(images, seed, number as u64);
        let drawn = runs.iter().zip(&observed).map(|(run, observed)| mean(run, &counts).unwrap_or(*observed));
        drawn.collect()
    };
    of_each_run(&observed, resamples, on_resample)
}

/// The mean average precision of one run, with its 95 % interval over images like these. `seed` starts the resamples.
pub fn mean_average_precision(run: LabelScores, seed: u64) -> Estimate {
    let images = run.has.len() / run.labels.max(1);
    TwoWay::of(&mean_average_precisions(&[run], RESAMPLES, seed), images).accuracy()
}

/// How much higher the mean average precision of one run is than that of another on the same images, with its 95 %
/// interval. The resamples of both must begin with the same seed, so that each holds the same images for both.
pub fn precision_difference(one: &Resampled, other: &Resampled, images: usize) -> Estimate {
    TwoWay::of(&[one.minus(other)], images).difference().0
}

/// Images by their score for a label, the highest first, which no resample changes.
struct Ranking {
    order: Vec<usize>,
    /// Whether each has the label, in that order.
    has: Vec<bool>,
    /// Where images of equal scores end, in that order.
    ends: Vec<usize>,
}

impl Ranking {
    fn of_labels(run: &LabelScores, images: usize) -> Vec<Self> {
        assert_eq!(run.has.len(), images * run.labels, "the same images for each run");
        let of_label = |label: usize| {
            let scores: Vec<f32> = run.scores.chunks_exact(run.labels).map(|row| row[label]).collect();
            let order = by_score(&scores);
            let mut ends = Vec::new();
            for tied in order.chunk_by(|&one, &other| scores[one] == scores[other]) {
                ends.push(ends.last().copied().unwrap_or(0) + tied.len());
            }
            let has = order.iter().map(|image| run.has[image * run.labels + label]).collect();
            Self { order, has, ends }
        };
        (0..run.labels).map(of_label).collect()
    }

    /// [`crate::multilabel::average_precision`] where each image counts so often.
    fn average_precision(&self, counts: &[u32]) -> Option<f64> {
        let (mut found, mut taken, mut sum, mut start) = (0u64, 0u64, 0.0, 0);
        for &end in &self.ends {
            let mut positives = 0;
            for (&image, &has) in self.order[start..end].iter().zip(&self.has[start..end]) {
                let count = u64::from(counts[image]);
                taken += count;
                positives += if has { count } else { 0 };
            }
            found += positives;
            if positives > 0 {
                sum += positives as f64 * found as f64 / taken as f64;
            }
            start = end;
        }
        (found > 0).then(|| sum / found as f64)
    }
}

fn mean(labels: &[Ranking], counts: &[u32]) -> Option<f64> {
    let known: Vec<f64> = labels.iter().filter_map(|label| label.average_precision(counts)).collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::multilabel::average_precision;

    /// 40 images with scores of two labels, some of them tied, and a third label that no image has.
    fn run() -> (Vec<f32>, Vec<bool>) {
        let score = |image: usize, label: usize| ((image * 7 + label * 3) % 11) as f32;
        let scores = (0..40).flat_map(|image| (0..3).map(move |label| score(image, label))).collect();
        let has = (0..40).flat_map(|image| [image % 3 == 0, image % 4 == 1, false]).collect();
        (scores, has)
    }

    #[test]
    fn each_image_once_is_the_plain_number() {
        let (scores, has) = run();
        let found = mean_average_precisions(&[LabelScores { scores: &scores, has: &has, labels: 3 }], 4, 0);
        let of = |label: usize| {
            let column: Vec<f32> = scores.chunks_exact(3).map(|row| row[label]).collect();
            average_precision(&column, |image| has[image * 3 + label]).unwrap()
        };
        // The label without a positive does not count.
        assert!((found[0].observed - (of(0) + of(1)) / 2.0).abs() < 1e-15);
    }

    #[test]
    fn intervals_lie_about_what_they_are_of() {
        let (scores, has) = run();
        let of = |scores: &[f32]| mean_average_precisions(&[LabelScores { scores, has: &has, labels: 3 }], 200, 0);
        let better: Vec<f32> =
            scores.iter().zip(&has).map(|(score, has)| if *has { score + 4.0 } else { *score }).collect();
        let (plain, better) = (of(&scores).remove(0), of(&better).remove(0));
        let lead = precision_difference(&better, &plain, 40);
        assert!((lead.mean - (better.observed - plain.observed)).abs() < 1e-12);
        assert!(lead.interval[0] > 0.0 && lead.interval[0] < lead.mean && lead.mean < lead.interval[1], "{lead:?}");
        // A run is not better than itself, and one image more on which the two differ keeps that from being certain.
        let none = precision_difference(&plain, &plain, 40);
        assert!(none.mean == 0.0 && none.interval[0] < 0.0 && none.interval[1] > 0.0, "{none:?}");
        let Estimate { mean, interval: [low, high] } =
            mean_average_precision(LabelScores { scores: &scores, has: &has, labels: 3 }, 0);
        assert!(mean == plain.observed && low < mean && mean < high && low > 0.0 && high < 1.0, "{low} {high}");
    }

    #[test]
    fn an_image_drawn_twice_counts_as_two_images() {
        let (scores, has) = run();
        let counts = resample_counts(40, 0, 0);
        let drawn: Vec<usize> = (0..40).flat_map(|image| vec![image; counts[image] as usize]).collect();
        let rows = |label: usize| -> (Vec<f32>, Vec<bool>) {
            drawn.iter().map(|image| (scores[image * 3 + label], has[image * 3 + label])).unzip()
        };
        let of = |label: usize| {
            let (scores, has) = rows(label);
            average_precision(&scores, |image| has[image]).unwrap()
        };
        let found = mean_average_precisions(&[LabelScores { scores: &scores, has: &has, labels: 3 }], 1, 0);
        // Sums of the same numbers, some of them in one product.
        assert!((found[0].resampled[0] - (of(0) + of(1)) / 2.0).abs() < 1e-12);
    }
}
