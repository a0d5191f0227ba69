//! The fuzzy graph of neighbors (McInnes et al. 2018, section 3.1; `umap-learn`'s `fuzzy_simplicial_set`).

use rayon::prelude::*;

use crate::neighbors::Neighbor;

/// Each image's neighbors and the weights of the edges to them, both ways, in the neighbors' order.
pub(super) type Graph = Vec<Edges>;
type Edges = Vec<(usize, f32)>;

const BISECTIONS: usize = 64;
const TOLERANCE: f64 = 1e-5;
/// The least width of a neighborhood, as a part of its mean distance.
const MIN_WIDTH: f64 = 1e-3;

/// The graph over images, each with its nearest others; `size` counts the image itself too. Edges too weak to be drawn
/// once in all epochs are left out.
pub(super) fn fuzzy(nearest: &[Vec<Neighbor>], size: usize, epochs: usize) -> Graph {
    let all = nearest.iter().flatten().map(|one| one.distance);
    let mean = all.sum::<f64>() / nearest.iter().map(Vec::len).sum::<usize>().max(1) as f64;
    let directed: Graph = nearest.par_iter().map(|near| memberships(near, size, mean)).collect();
    let mut graph = either_way(&directed);
    let strongest = graph.iter().flatten().map(|&(_, weight)| weight).fold(0.0, f32::max);
    let weakest = strongest / epochs as f32;
    graph.iter_mut().for_each(|edges| edges.retain(|&(_, weight)| weight >= weakest));
    graph
}

/// How far an image's neighbors belong to it: 1 for the nearest, falling with the distance beyond it, so fast that the
/// weights sum to log₂ of the neighborhood's size. Sorted by neighbor.
fn memberships(near: &[Neighbor], size: usize, mean_of_all: f64) -> Vec<(usize, f32)> {
    let nearest = near.iter().map(|one| one.distance).find(|&distance| distance > 0.0).unwrap_or(0.0);
    weights(near, near, nearest, size, mean_of_all)
}

/// How far the nearest of the mapped images belong to each new image, which is none of them: falling with the distance from
/// 0 on. As in `umap-learn`, the nearest does not count towards the size.
pub(super) fn memberships_of_new(nearest: &[Vec<Neighbor>], size: usize) -> Graph {
    let all = nearest.iter().flatten().map(|one| one.distance);
    let mean = all.sum::<f64>() / nearest.iter().map(Vec::len).sum::<usize>().max(1) as f64;
    nearest.par_iter().map(|near| weights(near, near.get(1..).unwrap_or_default(), 0.0, size, mean)).collect()
}

/// Weights that fall with the distance beyond `nearest`, so fast that those of the `counted` sum to log₂ of the
/// neighborhood's size. Sorted by neighbor.
fn weights(near: &[Neighbor], counted: &[Neighbor], nearest: f64, size: usize, mean_of_all: f64) -> Vec<(usize, f32)> {
    let beyond = |one: &Neighbor| (one.distance - nearest).max(0.0);
    let wanted = (size as f64).log2();
    let (mut low, mut high, mut width) = (0.0, f64::INFINITY, 1.0);
    for _ in 0..BISECTIONS {
        let sum: f64 = counted.iter().map(|one| (-beyond(one) / width).exp()).sum();
        if (sum - wanted).abs() < TOLERANCE {
            break;
        }
        if sum > wanted {
            high = width;
        } else {
            low = width;
        }
        width = if high.is_infinite() { 2.0 * width } else { (low + high) / 2.0 };
    }
    let mean = near.iter().map(|one| one.distance).sum::<f64>() / near.len().max(1) as f64;
    let width = width.max(MIN_WIDTH * if nearest > 0.0 { mean } else { mean_of_all });
    let weight = |one: &Neighbor| if beyond(one) == 0.0 { 1.0 } else { (-beyond(one) / width).exp() as f32 };
    let mut edges: Vec<(usize, f32)> = near.iter().map(|one| (one.index, weight(one))).collect();
    edges.sort_unstable_by_key(|&(index, _)| index);
    edges
}

/// An edge has the weight that one or the other end gives it, as probabilities of independent events add up.
fn either_way(directed: &Graph) -> Graph {
    let mut incoming: Graph = vec![Vec::new(); directed.len()];
    for (image, edges) in directed.iter().enumerate() {
        for &(neighbor, weight) in edges {
            incoming[neighbor].push((image, weight));
        }
    }
    let joined = |(out, into): (&Edges, &Edges)| {
        let mut edges: Vec<(usize, f32)> = out.iter().chain(into).copied().collect();
        // Stable, so that the outgoing edge stays before the incoming one.
        edges.sort_by_key(|&(index, _)| index);
        edges.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 = kept.1 + next.1 - kept.1 * next.1;
            }
            same
        });
        edges
    };
    directed.par_iter().zip(&incoming).map(joined).collect()
}
