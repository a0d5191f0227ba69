//! CKA of many representations at once, minibatch by minibatch, with intervals.

use rayon::prelude::*;

use rand::seq::index;
use retune_random::generator;

use super::gram::Gram;
use super::{Estimator, Undefined};

/// Values that are multiplied at a time: what of all representations fits in a core's cache.
const CHUNK: usize = 4096;
/// What rounding leaves of a centered matrix that is 0, as a share of the squares of the matrix before.
const ROUNDING: f64 = 1e-26;
/// Halves of which an interval needs the values.
const MIN_RESAMPLES: usize = 20;
/// The part of the halves' values inside the interval.
const CONFIDENCE: f64 = 0.95;

/// CKA of pairs of representations, from the kernel matrices of one minibatch after another.
///
/// Where all images come as one minibatch, this is CKA itself. Over several, HSIC is averaged before the quotient is
/// taken (Nguyen et al. 2021, equation 3), which is right for the debiased estimator only.
///
/// Intervals come from halves of the images, drawn without replacement in each minibatch. Half a sample varies about
/// the whole one as the whole one does about the truth (Politis, Romano & Wolf 1999, *Subsampling*), and no image meets
/// itself, as it would in the usual bootstrap, where the copies' similarity of 1 spoils an estimator that is unbiased
/// because it leaves the diagonal out.
pub struct Alignment {
    pairs: Vec<(usize, usize)>,
    estimator: Estimator,
    seed: u64,
    minibatches: u64,
    images: usize,
    whole: Sums,
    /// The debiased sums, to say how much the biased estimator is inflated.
    unbiased: Option<Sums>,
    halves: Vec<Sums>,
    undefined: Vec<Option<Undefined>>,
    varies: Vec<bool>,
}

/// The similarity of two representations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// CKA.
    pub value: Result<f64, Undefined>,
    /// From and to where the truth may lie, in 95 % of samples of as many images.
    pub interval: Option<[f64; 2]>,
    /// The debiased value beside a biased one, where it is defined.
    pub debiased: Option<f64>,
}

/// HSIC summed over minibatches.
#[derive(Clone, Debug)]
struct Sums {
    between: Vec<f64>,
    own: Vec<f64>,
}

impl Alignment {
    /// Nothing yet, for so many representations, of which `pairs` are compared. `resamples` halves are drawn for the
    /// intervals, from `seed`; 0 for none.
    pub fn new(
        representations: usize,
        pairs: Vec<(usize, usize)>,
        estimator: Estimator,
        resamples: usize,
        seed: u64,
    ) -> Self {
        let none = Sums { between: vec![0.0; pairs.len()], own: vec![0.0; representations] };
        Self {
            estimator,
            seed,
            minibatches: 0,
            images: 0,
            unbiased: (estimator == Estimator::Biased).then(|| none.clone()),
            halves: vec![none.clone(); resamples],
            whole: none,
            undefined: vec![None; representations],
            varies: vec![false; representations],
            pairs,
        }
    }

    /// Adds a minibatch: the kernel matrix of each representation, all of the same images.
    ///
    /// # Panics
    /// If their number or sizes differ: a caller's mistake, not input's.
    pub fn add(&mut self, grams: Vec<Result<Gram, Undefined>>) {
        assert_eq!(grams.len(), self.undefined.len(), "a matrix for each representation");
        let Some(n) = grams.iter().flatten().map(|gram| gram.n).next() else {
            // Nothing is defined; which reason is each one's own.
            self.note_undefined(grams);
            return;
        };
        let defined = self.note_undefined(grams).into_iter();
        let grams: Vec<Gram> = defined.map(|gram| gram.unwrap_or_else(|| zero(n))).collect();
        if n >= self.estimator.fewest_images() {
            self.add_halves(&grams, n);
            self.add_whole(grams, n);
        }
        self.images += n;
        self.minibatches += 1;
    }

    fn note_undefined(&mut self, grams: Vec<Result<Gram, Undefined>>) -> Vec<Option<Gram>> {
        let note = |((gram, undefined), varies): ((Result<Gram, Undefined>, &mut Option<Undefined>), &mut bool)| {
            *varies |= !gram.as_ref().is_ok_and(|gram| gram.constant);
            gram.map_err(|reason| *undefined = Some(reason)).ok()
        };
        grams.into_iter().zip(&mut self.undefined).zip(&mut self.varies).map(note).collect()
    }

    fn add_whole(&mut self, grams: Vec<Gram>, n: usize) {
        if let Some(sums) = self.unbiased.as_mut().filter(|_| n >= Estimator::Debiased.fewest_images()) {
            let centered = grams.par_iter().map(|gram| centered(gram.clone(), Estimator::Debiased)).collect::<Vec<_>>();
            sums.add(&centered, &self.pairs, scale(Estimator::Debiased, n));
        }
        let estimator = self.estimator;
        let centered: Vec<Gram> = grams.into_par_iter().map(|gram| centered(gram, estimator)).collect();
        self.whole.add(&centered, &self.pairs, scale(estimator, n));
    }

    /// One half after the other, so that memory does not grow with their number.
    fn add_halves(&mut self, grams: &[Gram], n: usize) {
        let half = n / 2;
        if half < Estimator::Debiased.fewest_images() {
            self.halves.clear();
        }
        for (number, sums) in self.halves.iter_mut().enumerate() {
            let mut random = generator(self.seed, &[self.minibatches, number as u64]);
            let mut images = index::sample(&mut random, n, half).into_vec();
            images.sort_unstable();
            let estimator = self.estimator;
            let parts: Vec<Gram> = grams.par_iter().map(|gram| centered(gram.select(&images), estimator)).collect();
            sums.add(&parts, &self.pairs, scale(estimator, half));
        }
    }

    /// The similarity of each pair.
    pub fn finish(self) -> Vec<Estimate> {
        let n = self.images;
        let too_few =
            (n < self.estimator.fewest_images()).then_some(Undefined::TooFewImages { n, estimator: self.estimator });
        let reason = |representation: usize| {
            let constant = (!self.varies[representation]).then_some(Undefined::ConstantFeatures);
            let structureless = (self.whole.own[representation] <= 0.0).then_some(Undefined::NoStructure);
            too_few.or(self.undefined[representation]).or(constant).or(structureless)
        };
        let estimate = |(pair, &(one, other)): (usize, &(usize, usize))| match reason(one).or(reason(other)) {
            Some(reason) => Estimate { value: Err(reason), interval: None, debiased: None },
            None => {
                let value = self.whole.quotient(pair, one, other);
                let halves = self.halves.iter().filter_map(|sums| sums.quotient(pair, one, other)).collect();
                Estimate {
                    value: value.ok_or(Undefined::NoStructure),
                    interval: value.and_then(|value| interval(value, halves)),
                    debiased: self.unbiased.as_ref().and_then(|sums| sums.quotient(pair, one, other)),
                }
            }
        };
        self.pairs.iter().enumerate().map(estimate).collect()
    }
}

impl Sums {
    fn add(&mut self, centered: &[Gram], pairs: &[(usize, usize)], scale: f64) {
        let own = (0..centered.len()).map(|index| (index, index));
        let all: Vec<(usize, usize)> = pairs.iter().copied().chain(own).collect();
        let products = products(centered, &all);
        let sums = self.between.iter_mut().chain(&mut self.own);
        sums.zip(products).for_each(|(sum, product)| *sum += scale * product);
    }

    /// CKA of a pair, where both have structure.
    fn quotient(&self, pair: usize, one: usize, other: usize) -> Option<f64> {
        let size = (self.own[one] * self.own[other]).sqrt();
        // Cauchy and Schwarz hold it within -1 and 1, but for rounding.
        (size > 0.0).then(|| (self.between[pair] / size).clamp(-1.0, 1.0))
    }
}

fn zero(n: usize) -> Gram {
    Gram { n, values: vec![0.0; n * n], constant: false }
}

/// What makes HSIC of the product of two centered matrices.
fn scale(estimator: Estimator, n: usize) -> f64 {
    let n = n as f64;
    match estimator {
        Estimator::Biased => 1.0 / ((n - 1.0) * (n - 1.0)),
        Estimator::Debiased => 1.0 / (n * (n - 3.0)),
    }
}

/// The matrix centered as the estimator wants it; exactly 0 where rounding is all that is left.
fn centered(mut gram: Gram, estimator: Estimator) -> Gram {
    let n = gram.n;
    if estimator == Estimator::Debiased {
        (0..n).for_each(|image| gram.values[image * n + image] = 0.0);
    }
    let sums: Vec<f64> = gram.values.chunks_exact(n).map(|row| row.iter().sum()).collect();
    let total: f64 = sums.iter().sum();
    let before = squares(&gram.values);
    let count = n as f64;
    let (each, all) = match estimator {
        Estimator::Biased => (1.0 / count, total / (count * count)),
        Estimator::Debiased => (1.0 / (count - 2.0), total / ((count - 1.0) * (count - 2.0))),
    };
    for (row, line) in gram.values.chunks_exact_mut(n).enumerate() {
        for (value, sum) in line.iter_mut().zip(&sums) {
            *value += all - each * (sums[row] + sum);
        }
        if estimator == Estimator::Debiased {
            line[row] = 0.0;
        }
    }
    if squares(&gram.values) <= ROUNDING * before {
        gram.values.fill(0.0);
    }
    gram
}

fn squares(values: &[f64]) -> f64 {
    values.iter().map(|value| value * value).sum()
}

/// Sums of products of all values of two matrices, for each pair of them.
fn products(grams: &[Gram], pairs: &[(usize, usize)]) -> Vec<f64> {
    let length = grams.first().map_or(0, |gram| gram.values.len());
    let chunks: Vec<Vec<f64>> = (0..length.div_ceil(CHUNK))
        .into_par_iter()
        .map(|chunk| {
            let part = chunk * CHUNK..length.min((chunk + 1) * CHUNK);
            let dot = |&(one, other): &(usize, usize)| {
                dot(&grams[one].values[part.clone()], &grams[other].values[part.clone()])
            };
            pairs.iter().map(dot).collect()
        })
        .collect();
    let mut sums = vec![0.0; pairs.len()];
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, part)| *sum += part);
    }
    sums
}

/// Summed in eight lanes, which a compiler turns into vector instructions.
fn dot(one: &[f64], other: &[f64]) -> f64 {
    let mut lanes = [0.0; 8];
    let (ones, one_rest) = one.as_chunks::<8>();
    let (others, other_rest) = other.as_chunks::<8>();
    for (one, other) in ones.iter().zip(others) {
        for lane in 0..8 {
            lanes[lane] += one[lane] * other[lane];
        }
    }
    let rest: f64 = one_rest.iter().zip(other_rest).map(|(one, other)| one * other).sum();
    lanes.iter().sum::<f64>() + rest
}

/// Where the value may lie: as far to either side as the halves lie from their mean.
fn interval(value: f64, mut halves: Vec<f64>) -> Option<[f64; 2]> {
    if halves.len() < MIN_RESAMPLES {
        return None;
    }
    halves.sort_by(f64::total_cmp);
    let mean = halves.iter().sum::<f64>() / halves.len() as f64;
    let at = |share: f64| {
        let place = share * (halves.len() - 1) as f64;
        let (below, above) = (place.floor() as usize, place.ceil() as usize);
        let quantile = halves[below] + (halves[above] - halves[below]) * place.fract();
        (value + quantile - mean).clamp(-1.0, 1.0)
    };
    let outside = (1.0 - CONFIDENCE) / 2.0;
    Some([at(outside).min(value), at(1.0 - outside).max(value)])
}
