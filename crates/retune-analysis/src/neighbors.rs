//! The nearest neighbors of images, found exactly.
//!
//! Inner products of all pairs in single precision, by the CPU's fused operators, leave out every pair that is too far
//! apart even by the most that rounding can have changed; the rest are measured in double precision. So the result is
//! that of double precision throughout.

use std::ops::Range;
use std::str::FromStr;

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;
use retune_kernels::operators::{Following, linear};
use serde::{Deserialize, Serialize};

/// Images whose neighbors are found together.
const ROWS: usize = 2048;
/// Images that they are compared with at a time.
const CANDIDATES: usize = 4096;

/// How far apart two images are, given their features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// The length of the difference.
    #[default]
    Euclidean,
    /// One minus the cosine of the angle.
    Cosine,
}

impl Metric {
    /// Every metric.
    pub const ALL: [Self; 2] = [Self::Euclidean, Self::Cosine];

    /// The name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Euclidean => "euclidean",
            Self::Cosine => "cosine",
        }
    }
}

/// The error of [`Metric::from_str`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown metric `{name}`: use euclidean or cosine")]
pub struct UnknownMetric {
    /// The name that was given.
    pub name: String,
}

impl FromStr for Metric {
    type Err = UnknownMetric;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|metric| metric.name() == name);
        known.ok_or_else(|| UnknownMetric { name: name.to_owned() })
    }
}

/// Points to measure distances between: row-major features, at least one, all finite.
pub(super) struct Points<'a> {
    values: &'a [f32],
    width: usize,
    metric: Metric,
    /// What each image's features are divided by: its length for the cosine, else the same for all, so that no square
    /// overflows. Features that are all zero have no direction: for the cosine, their length counts as infinite, and all
    /// others are at a right angle.
    lengths: Vec<f64>,
    /// What single precision multiplies: features less their mean for the euclidean metric, divided.
    rounded: Vec<f32>,
    /// Squared lengths of the rounded rows.
    squares: Vec<f64>,
}

/// An image and how far away it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Neighbor {
    pub distance: f64,
    pub index: usize,
}

impl Neighbor {
    /// Nearer ones come first, of equally near ones the first.
    pub fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.distance.total_cmp(&other.distance).then(self.index.cmp(&other.index))
    }
}

impl<'a> Points<'a> {
    pub fn new(values: &'a [f32], width: usize, metric: Metric) -> Self {
        let n = values.len() / width;
        let rows = values.par_chunks_exact(width);
        let (lengths, shift): (Vec<f64>, Vec<f64>) = match metric {
            Metric::Euclidean => {
                let largest = rows.clone().flatten().map(|value| value.abs()).reduce(|| 0.0, f32::max);
                // A power of two, which rounds nothing.
                let scale = if largest > 0.0 { f64::from(largest).log2().ceil().exp2() } else { 1.0 };
                // The mean taken off keeps digits where it is large.
                (vec![scale; n], means(values, width))
            }
            Metric::Cosine => {
                let length = |row| match square(row) {
                    0.0 => f64::INFINITY,
                    square => square.sqrt(),
                };
                (rows.clone().map(length).collect(), vec![0.0; width])
            }
        };
        let rounded: Vec<f32> = rows
            .zip(&lengths)
            .flat_map_iter(|(row, length)| {
                row.iter().zip(&shift).map(move |(&value, shift)| ((f64::from(value) - shift) / length) as f32)
            })
            .collect();
        let squares = rounded.par_chunks_exact(width).zip(&lengths);
        let squares = squares.map(|(row, length)| if length.is_infinite() { 1.0 } else { square(row) }).collect();
        Self { values, width, metric, lengths, rounded, squares }
    }

    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.width..(index + 1) * self.width]
    }

    /// The square of the distance of two images' divided features, in double precision.
    fn measure(&self, one: usize, other: usize) -> f64 {
        if self.lengths[one].is_infinite() || self.lengths[other].is_infinite() {
            return 2.0;
        }
        let scales = [1.0 / self.lengths[one], 1.0 / self.lengths[other]];
        let mut sums = [0.0; 4];
        let (ones, others) = (self.row(one).as_chunks::<4>(), self.row(other).as_chunks::<4>());
        let difference = |a: f32, b: f32| f64::from(a) * scales[0] - f64::from(b) * scales[1];
        for (a, b) in ones.0.iter().zip(others.0) {
            for lane in 0..4 {
                sums[lane] += difference(a[lane], b[lane]).powi(2);
            }
        }
        let rest: f64 = ones.1.iter().zip(others.1).map(|(&a, &b)| difference(a, b).powi(2)).sum();
        sums.iter().sum::<f64>() + rest
    }

    fn distance(&self, square: f64) -> f64 {
        match self.metric {
            Metric::Euclidean => square.sqrt() * self.lengths[0],
            Metric::Cosine => square / 2.0,
        }
    }

    /// The most by which the square that single precision gives for an image and any other can be wrong: each of the
    /// `width` products and sums rounds by at most 2⁻²⁴ of the product of the lengths (Higham 2002, *Accuracy and
    /// Stability of Numerical Algorithms*, section 3.1), and so did each feature before.
    fn error(&self, image: usize, longest: f64) -> f64 {
        const ROUNDINGS_OF_FEATURES: usize = 8;
        let unit = f64::from(f32::EPSILON) / 2.0;
        2.0 * (self.width + ROUNDINGS_OF_FEATURES) as f64 * unit * (self.squares[image].sqrt() + longest) * longest
    }

    /// Hands each of `images` on with the squares of its distances to all candidates, as single precision has them: blocks
    /// of candidates, each after the one before. `take` gets a state of the image, its number, the block's first candidate
    /// and the squares.
    fn visit<State: Send>(
        &self,
        images: Range<usize>,
        candidates: Range<usize>,
        start: impl Fn(usize) -> State + Sync,
        take: impl Fn(&mut State, usize, usize, &[f32]) + Sync,
    ) -> Vec<State> {
        let mut found = Vec::with_capacity(images.len());
        let tensor = |images: Range<usize>| {
            let rows = self.rounded[images.start * self.width..images.end * self.width].to_vec();
            Tensor::<2>::from_data(TensorData::new(rows, [images.len(), self.width]), &Device::flex())
        };
        for first_row in images.clone().step_by(ROWS) {
            let rows = first_row..images.end.min(first_row + ROWS);
            let own = tensor(rows.clone());
            let mut states: Vec<State> = rows.clone().into_par_iter().map(&start).collect();
            for first in candidates.clone().step_by(CANDIDATES) {
                let block = first..candidates.end.min(first + CANDIDATES);
                let squares = &self.squares[block.clone()];
                let products = linear(own.clone(), tensor(block), Following::default());
                let mut products: Vec<f32> = products
                    .into_data_as::<f32>()
                    .try_into_vec()
                    .expect("tensors made of 32-bit floats have 32-bit products");
                let lines = products.par_chunks_exact_mut(squares.len()).zip(&mut states).zip(rows.clone());
                lines.for_each(|((line, state), row)| {
                    for (product, square) in line.iter_mut().zip(squares) {
                        *product = (self.squares[row] + square - 2.0 * f64::from(*product)) as f32;
                    }
                    take(state, row, first, line);
                });
            }
            found.extend(states);
        }
        found
    }

    fn longest(&self) -> f64 {
        self.squares.iter().copied().fold(0.0, f64::max).sqrt()
    }

    /// The `count` nearest neighbors of every image, nearest first, without itself. There must be more images.
    pub fn nearest(&self, count: usize) -> Vec<Vec<Neighbor>> {
        self.nearest_of(0..self.len(), 0..self.len(), count)
    }

    /// The `count` nearest candidates of each of `images`, nearest first, without itself; all where there are fewer.
    pub fn nearest_of(&self, images: Range<usize>, candidates: Range<usize>, count: usize) -> Vec<Vec<Neighbor>> {
        if count == 0 {
            return vec![Vec::new(); images.len()];
        }
        let longest = self.longest();
        let found = self.visit(
            images.clone(),
            candidates,
            // The candidates, and how far away the last of them may be.
            |_| (Vec::<(f32, usize)>::with_capacity(2 * count), f32::INFINITY),
            |near, own, first, squares| {
                let margin = 2.0 * self.error(own, longest) as f32;
                let candidates = squares.iter().enumerate().map(|(offset, &square)| (square, first + offset));
                near.0.extend(candidates.filter(|&(square, index)| square <= near.1 && index != own));
                if near.0.len() > count {
                    let (_, last, _) = near.0.select_nth_unstable_by(count - 1, |one, other| one.0.total_cmp(&other.0));
                    near.1 = last.0 + margin;
                    near.0.retain(|one| one.0 <= near.1);
                    // The first block is taken whole.
                    near.0.shrink_to(2 * count);
                }
            },
        );
        let exact = |(own, (near, _)): (usize, (Vec<(f32, usize)>, f32))| {
            let own = images.start + own;
            let measured = near.into_iter().map(|(_, index)| (self.measure(own, index), index));
            let mut near: Vec<Neighbor> =
                measured.map(|(square, index)| Neighbor { distance: self.distance(square), index }).collect();
            near.sort_unstable_by(Neighbor::order);
            near.truncate(count);
            near
        };
        found.into_par_iter().enumerate().map(exact).collect()
    }

    /// For every image, the rank of some others by distance: 1 for the nearest.
    pub fn ranks(&self, others: &[Vec<usize>]) -> Vec<Vec<usize>> {
        let longest = self.longest();
        let found = self.visit(
            0..self.len(),
            0..self.len(),
            |own| others[own].iter().map(|&other| (self.measure(own, other), other, 1)).collect::<Vec<_>>(),
            |ranked, own, first, squares| {
                let margin = self.error(own, longest);
                let farthest = ranked.iter().map(|one| one.0).fold(0.0, f64::max) + margin;
                for (offset, &square) in
                    squares.iter().enumerate().filter(|&(_, &square)| f64::from(square) <= farthest)
                {
                    let (index, rough) = (first + offset, f64::from(square));
                    if index == own {
                        continue;
                    }
                    let mut exact = None;
                    for (reference, other, rank) in ranked.iter_mut() {
                        // Measured only where single precision cannot tell.
                        let is_before = if (rough - *reference).abs() > margin {
                            rough < *reference
                        } else {
                            let square = *exact.get_or_insert_with(|| self.measure(own, index));
                            square.total_cmp(reference).then(index.cmp(other)).is_lt()
                        };
                        *rank += usize::from(is_before);
                    }
                }
            },
        );
        found.into_iter().map(|ranked| ranked.into_iter().map(|(_, _, rank)| rank).collect()).collect()
    }
}

/// The mean of each feature.
fn means(values: &[f32], width: usize) -> Vec<f64> {
    let mut means = vec![0.0; width];
    for row in values.chunks_exact(width) {
        means.iter_mut().zip(row).for_each(|(mean, &value)| *mean += f64::from(value));
    }
    let n = (values.len() / width) as f64;
    means.iter_mut().for_each(|mean| *mean /= n);
    means
}

fn square(row: &[f32]) -> f64 {
    row.iter().map(|&value| f64::from(value).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use retune_random::{generator, truncated_normal};

    use super::*;

    fn features(n: usize, width: usize) -> Vec<f32> {
        let mut random = generator(3, &[]);
        (0..n * width).map(|_| 50.0 + truncated_normal(&mut random)).collect()
    }

    #[test]
    fn neighbors_are_those_of_plain_loops() {
        let (n, width, count) = (300, 5, 7);
        let values = features(n, width);
        let row = |index: usize| values[index * width..][..width].iter().map(|&value| f64::from(value));
        let length = |index: usize| row(index).map(|value| value * value).sum::<f64>().sqrt();
        for metric in Metric::ALL {
            let found = Points::new(&values, width, metric).nearest(count);
            for (own, found) in found.iter().enumerate() {
                let distance = |other: usize| match metric {
                    Metric::Euclidean => row(own).zip(row(other)).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt(),
                    Metric::Cosine => {
                        1.0 - row(own).zip(row(other)).map(|(a, b)| a * b).sum::<f64>() / length(own) / length(other)
                    }
                };
                let mut expected: Vec<usize> = (0..n).filter(|&other| other != own).collect();
                expected.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)));
                assert_eq!(found.iter().map(|one| one.index).collect::<Vec<_>>(), expected[..count]);
                assert!((found[0].distance - distance(expected[0])).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn nearest_candidates_are_those_of_plain_loops_and_zeros_are_at_right_angles() {
        let (width, known, count) = (6, 120, 9);
        let mut values = features(200, width);
        values.iter_mut().for_each(|value| *value -= 50.0);
        for zero in [3, 50, 150] {
            values[zero * width..][..width].fill(0.0);
        }
        let row = |index: usize| values[index * width..][..width].iter().map(|&value| f64::from(value));
        let length = |index: usize| row(index).map(|value| value * value).sum::<f64>().sqrt();
        let cosine = |one: usize, other: usize| match length(one) * length(other) {
            0.0 => 0.0,
            lengths => row(one).zip(row(other)).map(|(a, b)| a * b).sum::<f64>() / lengths,
        };
        let points = Points::new(&values, width, Metric::Cosine);
        let found = points.nearest_of(known..200, 0..known, count);
        assert_eq!(found.len(), 80);
        for (own, found) in (known..200).zip(&found) {
            let mut expected: Vec<usize> = (0..known).collect();
            expected.sort_by(|&a, &b| cosine(own, b).total_cmp(&cosine(own, a)));
            assert_eq!(found.iter().map(|one| one.index).collect::<Vec<_>>(), expected[..count], "{own}");
            assert!(found.iter().all(|one| (1.0 - one.distance - cosine(own, one.index)).abs() < 1e-12));
        }
        assert!(points.nearest_of(known..200, 0..3, count).iter().all(|found| found.len() == 3));
        assert!(points.nearest_of(known..200, 0..0, count).iter().all(Vec::is_empty));
    }

    #[test]
    fn duplicates_are_neighbors_at_no_distance_in_order() {
        let values = [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 4.0, 6.0];
        let found = Points::new(&values, 2, Metric::Euclidean).nearest(3);
        let indices = |image: usize| found[image].iter().map(|one| one.index).collect::<Vec<_>>();
        assert_eq!([indices(0), indices(2), indices(3)], [vec![1, 2, 3], vec![0, 1, 3], vec![0, 1, 2]]);
        assert!((found[3][0].distance - 5.0).abs() < 1e-12);
    }
}
