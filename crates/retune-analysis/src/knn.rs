//! Classes by the votes of the nearest neighbors, as features are judged without training a head (Wu et al. 2018, arXiv
//! 1805.01978; Caron et al. 2021, arXiv 2104.14294, which use 20 neighbors and a temperature of 0.07).

use rayon::prelude::*;

use crate::neighbors::{Metric, Neighbor, Points};

/// Images whose classes are known, by their features.
#[derive(Clone, Debug)]
pub struct Neighbors<'a> {
    features: &'a [f32],
    width: usize,
    labels: &'a [usize],
}

impl<'a> Neighbors<'a> {
    /// From row-major features, a row for each label; a row of zeros has no direction, and is equally far from all. Features are finite.
    ///
    /// # Panics
    /// If there is not a row for each label: a caller's mistake, not input's.
    pub fn new(features: &'a [f32], width: usize, labels: &'a [usize]) -> Self {
        assert_eq!(features.len(), labels.len() * width, "a row of features for each label");
        Self { features, width, labels }
    }

    /// The votes for each class of each of the `features`' rows, row-major: of the `k` rows with the largest cosine, each
    /// votes for its class with the exponential of the cosine over the temperature. Of equal ones, the first are nearer.
    pub fn votes(&self, features: &[f32], classes: usize, k: usize, temperature: f64) -> Vec<f64> {
        if self.width == 0 {
            return Vec::new();
        }
        let (known, new) = (self.labels.len(), features.len() / self.width);
        let rows = [self.features, features].concat();
        let nearest = Points::new(&rows, self.width, Metric::Cosine).nearest_of(known..known + new, 0..known, k);
        nearest.par_iter().flat_map_iter(|nearest| self.votes_of(nearest, classes, temperature)).collect()
    }

    fn votes_of(&self, nearest: &[Neighbor], classes: usize, temperature: f64) -> Vec<f64> {
        let mut votes = vec![0.0; classes];
        // A distance is 1 less the cosine. Less the largest cosine, so that no exponential overflows.
        let least = nearest.first().map_or(0.0, |nearest| nearest.distance);
        for neighbor in nearest {
            votes[self.labels[neighbor.index]] += ((least - neighbor.distance) / temperature).exp();
        }
        votes
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use serde_json::Value;

    use super::*;

    #[test]
    fn votes_are_numpys() {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/knn/knn.json");
        let case: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let numbers = |name: &str| -> Vec<f64> {
            case[name].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
        };
        let single = |name: &str| -> Vec<f32> { numbers(name).into_iter().map(|value| value as f32).collect() };
        let labels: Vec<usize> = numbers("labels").into_iter().map(|label| label as usize).collect();
        let train = single("train");
        let neighbors = Neighbors::new(&train, train.len() / labels.len(), &labels);
        let found = neighbors.votes(&single("test"), 4, 20, 0.07);
        let expected = numbers("votes");
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            // Sums in another order; cosines over 0.07 lose a digit.
            assert!((found - expected).abs() < 1e-9, "{found} {expected}");
        }
    }

    #[test]
    fn fewer_images_than_neighbors_all_vote() {
        let (features, labels) = ([1.0, 0.0, 0.0, 1.0], [0, 1]);
        let votes = Neighbors::new(&features, 2, &labels).votes(&[2.0, 0.0, 0.0, 0.0], 2, 20, 1.0);
        assert_eq!(votes[..2], [1.0, (-1.0f64).exp()]);
        // Without a direction, all are equally near.
        assert_eq!(votes[2..], [1.0, 1.0]);
    }
}
