//! How classes overlap among the nearest neighbors of each image.

use std::collections::HashMap;

use crate::neighbors::{Metric, Points};

/// How often the nearest neighbors of an image are of its class.
#[derive(Clone, Debug, PartialEq)]
pub struct Overlap {
    /// Neighbors that were looked at.
    pub neighbors: usize,
    /// Share of the neighbors that have the image's own class, mean over the images.
    pub same: f64,
    /// The same share if classes had nothing to do with features: that of a random other image.
    pub chance: f64,
    /// Class, another class, and the share of the first class's neighbors that are of the other; the largest share first.
    pub pairs: Vec<(usize, usize, f64)>,
}

/// Looks at the `k` nearest neighbors of every image that has a label, among those. `features` are row-major.
/// `None` if there are not more than `k` of them.
pub fn overlap(features: &[f32], width: usize, labels: &[Option<usize>], k: usize, metric: Metric) -> Option<Overlap> {
    let rows = features.chunks_exact(width).zip(labels);
    let (mut kept, mut classes) = (Vec::new(), Vec::new());
    for (row, label) in rows {
        if let Some(label) = label {
            kept.extend_from_slice(row);
            classes.push(*label);
        }
    }
    let n = classes.len();
    if k == 0 || n <= k {
        return None;
    }
    let mut images: HashMap<usize, usize> = HashMap::new();
    classes.iter().for_each(|&class| *images.entry(class).or_default() += 1);
    let mut counts: HashMap<(usize, usize), usize> = HashMap::new();
    for (own, near) in Points::new(&kept, width, metric).nearest(k).into_iter().enumerate() {
        for neighbor in near {
            *counts.entry((classes[own], classes[neighbor.index])).or_default() += 1;
        }
    }
    let of = |class: usize| (images[&class] * k) as f64;
    let same: usize = counts.iter().filter(|((one, other), _)| one == other).map(|(_, count)| count).sum();
    let mut pairs: Vec<(usize, usize, f64)> = counts
        .iter()
        .filter(|((one, other), _)| one != other)
        .map(|(&(one, other), &count)| (one, other, count as f64 / of(one)))
        .collect();
    pairs.sort_by(|one, other| other.2.total_cmp(&one.2).then((one.0, one.1).cmp(&(other.0, other.1))));
    let chance = images.values().map(|&count| (count * (count - 1)) as f64).sum::<f64>() / (n * (n - 1)) as f64;
    Some(Overlap { neighbors: k, same: same as f64 / (n * k) as f64, chance, pairs })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbors_by_hand() {
        // On a line: class 0 at 0, 1, 2; class 1 at 3, 10, 11. The nearest neighbor of 3 is 2, of class 0.
        let features = [0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 99.0];
        let labels = [Some(0), Some(0), Some(0), Some(1), Some(1), Some(1), None];
        let found = overlap(&features, 1, &labels, 1, Metric::Euclidean).unwrap();
        // 0→1, 1→0 (the first of two), 2→1 (the first of two), 3→2, 10→11, 11→10.
        assert!((found.same - 5.0 / 6.0).abs() < 1e-12, "{found:?}");
        assert_eq!(found.pairs, [(1, 0, 1.0 / 3.0)]);
        // Two classes of 3 among 6: 2 of the 5 others.
        assert!((found.chance - 0.4).abs() < 1e-12);
        assert_eq!(overlap(&features[..2], 1, &labels[..2], 2, Metric::Euclidean), None);
    }
}
