//! The nearest neighbours of every image, found exactly, in double precision.

use std::str::FromStr;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::products::inner_products;

/// Images whose neighbours one task finds. Work is cut the same way on any number of threads, so results are the same.
const TASK_ROWS: usize = 64;
/// Images that a task compares its own with at a time.
const CANDIDATES: usize = 256;

/// Squared distances below this part of the squared lengths are 0: equal features, but for rounding. (Single-precision
/// features that differ in a last digit alone are no further apart.)
const ROUNDING: f64 = 1e-13;

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
    /// What is taken off each feature: for the euclidean metric the mean, which keeps digits where it is large.
    shift: Vec<f64>,
}

/// An image and how far away it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Neighbour {
    pub distance: f64,
    pub index: usize,
}

impl Neighbour {
    /// Nearer ones come first, of equally near ones the first.
    pub fn order(&self, other: &Self) -> std::cmp::Ordering {
        self.distance.total_cmp(&other.distance).then(self.index.cmp(&other.index))
    }
}

impl<'a> Points<'a> {
    pub fn new(values: &'a [f32], width: usize, metric: Metric) -> Self {
        let mut shift = vec![0.0; width];
        if metric == Metric::Euclidean {
            for row in values.chunks_exact(width) {
                shift.iter_mut().zip(row).for_each(|(mean, &value)| *mean += f64::from(value));
            }
            let n = (values.len() / width) as f64;
            shift.iter_mut().for_each(|mean| *mean /= n);
        }
        Self { values, width, metric, shift }
    }

    pub fn len(&self) -> usize {
        self.values.len() / self.width
    }

    /// Hands each image on with its distances to all images: blocks of candidates for rows of a task. `start` makes a
    /// task's state for its rows, `take` gets a row's number in the task and some of its distances.
    fn visit<State: Send, Found: Send>(
        &self,
        start: impl Fn(std::ops::Range<usize>) -> State + Sync,
        take: impl Fn(&mut State, usize, usize, &[f64]) + Sync,
        end: impl Fn(State) -> Found + Sync,
    ) -> Vec<Found> {
        let n = self.len();
        let tasks = (0..n.div_ceil(TASK_ROWS)).into_par_iter();
        let visit = |task: usize| {
            let rows = task * TASK_ROWS..n.min((task + 1) * TASK_ROWS);
            let mut state = start(rows.clone());
            let own = self.block(rows.clone());
            let own_norms = norms(&own, self.width);
            let mut distances = Vec::new();
            for first in (0..n).step_by(CANDIDATES) {
                let candidates = first..n.min(first + CANDIDATES);
                let count = candidates.len();
                let others = self.block(candidates);
                distances.resize(rows.len() * count, 0.0);
                inner_products(&own, &others, self.width, &mut distances);
                let other_norms = norms(&others, self.width);
                for (row, line) in distances.chunks_exact_mut(count).enumerate() {
                    for (distance, norm) in line.iter_mut().zip(&other_norms) {
                        let lengths = own_norms[row] + norm;
                        // Twice the cosine distance, where lengths are 1.
                        let square = lengths - 2.0 * *distance;
                        let square = if square <= ROUNDING * lengths { 0.0 } else { square };
                        *distance = match self.metric {
                            Metric::Euclidean => square.sqrt(),
                            Metric::Cosine => square / 2.0,
                        };
                    }
                    take(&mut state, row, first, line);
                }
            }
            end(state)
        };
        tasks.map(visit).collect()
    }

    /// Some images' features as doubles, shifted or of length 1 as the metric wants them.
    fn block(&self, images: std::ops::Range<usize>) -> Vec<f64> {
        let mut block = Vec::with_capacity(images.len() * self.width);
        for row in self.values[images.start * self.width..images.end * self.width].chunks_exact(self.width) {
            match self.metric {
                Metric::Euclidean => {
                    block.extend(row.iter().zip(&self.shift).map(|(&value, shift)| f64::from(value) - shift));
                }
                Metric::Cosine => {
                    let length = row.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
                    block.extend(row.iter().map(|&value| f64::from(value) / length));
                }
            }
        }
        block
    }

    /// The `count` nearest neighbours of every image, nearest first, without itself. There must be more images.
    pub fn nearest(&self, count: usize) -> Vec<Vec<Neighbour>> {
        let found = self.visit(
            |rows| (rows.start, vec![Vec::with_capacity(count + CANDIDATES); rows.len()]),
            |(start, nearest): &mut (usize, Vec<Vec<Neighbour>>), row, first, distances| {
                let (own, nearest) = (*start + row, &mut nearest[row]);
                let worst = if nearest.len() < count { f64::INFINITY } else { nearest[count - 1].distance };
                let candidates = distances.iter().enumerate().map(|(offset, &distance)| (first + offset, distance));
                let nearer = candidates.filter(|&(index, distance)| index != own && distance < worst);
                nearest.extend(nearer.map(|(index, distance)| Neighbour { distance, index }));
                nearest.sort_unstable_by(Neighbour::order);
                nearest.truncate(count);
            },
            |(_, nearest)| nearest,
        );
        found.into_iter().flatten().collect()
    }

    /// For every image, the rank of some others by distance: 1 for the nearest.
    pub fn ranks(&self, others: &[Vec<usize>]) -> Vec<Vec<usize>> {
        let reference = self.distances_to(others);
        let found = self.visit(
            |rows| (rows.start, rows.map(|row| vec![1; others[row].len()]).collect::<Vec<_>>()),
            |(start, ranks): &mut (usize, Vec<Vec<usize>>), row, first, distances| {
                let own = *start + row;
                for (rank, other) in ranks[row].iter_mut().zip(&reference[own]) {
                    let before = distances.iter().enumerate().filter(|&(offset, &distance)| {
                        let index = first + offset;
                        index != own && Neighbour { distance, index }.order(other).is_lt()
                    });
                    *rank += before.count();
                }
            },
            |(_, ranks)| ranks,
        );
        found.into_iter().flatten().collect()
    }

    /// The same numbers as [`Points::visit`] finds, to the bit, which ranks depend on.
    fn distances_to(&self, others: &[Vec<usize>]) -> Vec<Vec<Neighbour>> {
        let found = self.visit(
            |rows| (rows.start, rows.map(|row| Vec::with_capacity(others[row].len())).collect::<Vec<_>>()),
            |(start, found): &mut (usize, Vec<Vec<Neighbour>>), row, first, distances| {
                let wanted = &others[*start + row];
                found[row].extend(wanted.iter().filter_map(|&index| {
                    let distance = *distances.get(index.checked_sub(first)?)?;
                    Some(Neighbour { distance, index })
                }));
            },
            |(_, found)| found,
        );
        found.into_iter().flatten().collect()
    }
}

fn norms(block: &[f64], width: usize) -> Vec<f64> {
    block.chunks_exact(width).map(|row| row.iter().map(|value| value * value).sum()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{generator, truncated_normal};

    fn features(n: usize, width: usize) -> Vec<f32> {
        let mut random = generator(3, &[]);
        (0..n * width).map(|_| 50.0 + truncated_normal(&mut random)).collect()
    }

    #[test]
    fn neighbours_are_those_of_plain_loops() {
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
    fn duplicates_are_neighbours_at_no_distance_in_order() {
        let values = [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 4.0, 6.0];
        let found = Points::new(&values, 2, Metric::Euclidean).nearest(3);
        let indices = |image: usize| found[image].iter().map(|one| one.index).collect::<Vec<_>>();
        assert_eq!([indices(0), indices(2), indices(3)], [vec![1, 2, 3], vec![0, 1, 3], vec![0, 1, 2]]);
        assert!((found[3][0].distance - 5.0).abs() < 1e-12);
    }
}
