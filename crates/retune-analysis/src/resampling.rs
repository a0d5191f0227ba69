//! The bootstrap over images (Efron 1979): what a run's accuracy would have been on other images of the same kind.

use rayon::prelude::*;
use retune_random::resample_counts;

/// Resamples whose spread tells a standard error within about 2 %: one part in √(2 · 1000).
pub const RESAMPLES: usize = 1_000;

/// Whether a run was right about each image, in an order of images that all runs share; `None` where it did not see the
/// image.
pub type Answers = Vec<Option<bool>>;

/// A number about a run, and what it is on resampled images. In resample number `i`, all runs get the same images.
#[derive(Clone, Debug, PartialEq)]
pub struct Resampled {
    /// On the images themselves.
    pub observed: f64,
    /// On each resample.
    pub resampled: Vec<f64>,
}

impl Resampled {
    /// How much one number is above another of the same images.
    pub fn minus(&self, other: &Self) -> Self {
        let resampled = self.resampled.iter().zip(&other.resampled).map(|(one, other)| one - other);
        Self { observed: self.observed - other.observed, resampled: resampled.collect() }
    }
}

/// The accuracy of each run.
///
/// # Panics
/// If runs have different numbers of images: a caller's mistake, not input's.
pub fn accuracies(runs: &[Answers], resamples: usize, seed: u64) -> Vec<Resampled> {
    let images = runs.first().map_or(0, Vec::len);
    worst_group_accuracies(runs, &vec![Some(0); images], resamples, seed)
}

/// The lowest accuracy of a group of each run; `groups` has the group of each image. Which group is the lowest is found
/// anew in each resample.
///
/// # Panics
/// As [`accuracies`]; if the groups are of another number of images.
pub fn worst_group_accuracies(
    runs: &[Answers],
    groups: &[Option<usize>],
    resamples: usize,
    seed: u64,
) -> Vec<Resampled> {
    assert!(runs.iter().all(|run| run.len() == groups.len()), "answers about the same images");
    let images = Grouped::of(groups);
    let runs: Vec<Counted> = runs.iter().map(|run| images.count(run)).collect();
    let once = vec![1; images.order.len()];
    let observed: Vec<f64> = runs.iter().map(|run| images.lowest(run, &once).unwrap_or_default()).collect();
    let on_resample = |number: usize| -> Vec<f64> {
        let drawn = resample_counts(groups.len(), seed, number as u64);
        let counts: Vec<u32> = images.order.iter().map(|&image| drawn[image]).collect();
        let lowest = runs.iter().zip(&observed).map(|(run, observed)| images.lowest(run, &counts).unwrap_or(*observed));
        lowest.collect()
    };
    of_each_run(&observed, resamples, on_resample)
}

/// What was observed of each run, with what `on_resample` says of all runs on each resample by its number.
pub(crate) fn of_each_run(
    observed: &[f64],
    resamples: usize,
    on_resample: impl Fn(usize) -> Vec<f64> + Send + Sync,
) -> Vec<Resampled> {
    let resampled: Vec<Vec<f64>> = (0..resamples).into_par_iter().map(on_resample).collect();
    let of_run = |(run, &observed): (usize, &f64)| Resampled {
        observed,
        resampled: resampled.iter().map(|values| values[run]).collect(),
    };
    observed.iter().enumerate().map(of_run).collect()
}

/// Images ordered by their groups.
struct Grouped {
    order: Vec<usize>,
    /// Where each group ends in the order.
    ends: Vec<usize>,
}

/// Numbers of 0 or 1 for each image in the order of [`Grouped`], for fast sums.
struct Counted {
    right: Vec<u32>,
    seen: Vec<u32>,
}

impl Grouped {
    fn of(groups: &[Option<usize>]) -> Self {
        let mut order: Vec<usize> = (0..groups.len()).filter(|&image| groups[image].is_some()).collect();
        order.sort_by_key(|&image| groups[image]);
        let mut ends = Vec::new();
        for group in order.chunk_by(|&one, &other| groups[one] == groups[other]) {
            ends.push(ends.last().copied().unwrap_or(0) + group.len());
        }
        Self { order, ends }
    }

    fn count(&self, run: &Answers) -> Counted {
        let number = |of: fn(Option<bool>) -> bool| self.order.iter().map(|&image| u32::from(of(run[image]))).collect();
        Counted { right: number(|answer| answer == Some(true)), seen: number(|answer| answer.is_some()) }
    }

    /// The lowest accuracy of a group with images, where each image counts so often.
    fn lowest(&self, run: &Counted, counts: &[u32]) -> Option<f64> {
        let sum = |values: &[u32], counts: &[u32]| -> u32 {
            values.iter().zip(counts).map(|(value, count)| value * count).sum()
        };
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let of_groups = starts.zip(&self.ends).filter_map(|(start, &end)| {
            let seen = sum(&run.seen[start..end], &counts[start..end]);
            (seen > 0).then(|| f64::from(sum(&run.right[start..end], &counts[start..end])) / f64::from(seen))
        });
        of_groups.min_by(f64::total_cmp)
    }
}
