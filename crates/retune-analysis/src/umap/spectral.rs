//! Where the layout starts: eigenvectors of the graph's Laplacian (McInnes et al. 2018, section 3.2; Belkin & Niyogi 2003,
//! *Laplacian eigenmaps*), so that images which paths of strong edges join begin near one another.
//!
//! The two are those of the largest eigenvalues, after the constant one, of `D^−½ A D^−½`, found by Lanczos' method in
//! blocks of two with every vector kept orthogonal to all before (Golub & Van Loan 2013, *Matrix Computations*, section
//! 10.3). A graph in
//! several pieces has no one such layout: each piece gets its own, put where the pieces' mean features say.

use std::collections::VecDeque;

use rayon::prelude::*;
use retune_random::{generator, truncated_normal};

use super::graph::Graph;

/// The side of the square in which the layout starts, as in `umap-learn`.
const SIDE: f64 = 10.0;
/// What is added to places at random, as a part of the side, so that no two images start on the same one.
const NOISE: f64 = 1e-4;
/// Lanczos' vectors, at most. A start needs no more digits than these give.
const MAX_VECTORS: usize = 100;
/// Below this, what is left of a vector is what rounding left.
const NOTHING: f64 = 1e-10;
/// Principal axes of the pieces' mean features are rotated so often towards their limit.
const ROTATIONS: usize = 50;

type Place = [f64; 2];

/// A place for every image. `features` are row-major, `width` for each.
pub(super) fn start(graph: &Graph, features: &[f32], width: usize, seed: u64) -> Vec<[f32; 2]> {
    let pieces = pieces(graph);
    let mut places = vec![[0.0; 2]; graph.len()];
    let centers = if pieces.len() == 1 { vec![[0.0; 2]] } else { centers(&pieces, features, width, seed) };
    for ((number, piece), center) in pieces.iter().enumerate().zip(&centers) {
        let side = SIDE * (piece.len() as f64 / graph.len() as f64).sqrt();
        let within = square(eigenvectors(graph, piece, seed ^ number as u64), side);
        for (&image, place) in piece.iter().zip(within) {
            places[image] = [center[0] + place[0], center[1] + place[1]];
        }
    }
    let mut random = generator(seed, &[0]);
    let mut noisy = |place: f64| (place + NOISE * SIDE * f64::from(truncated_normal(&mut random))) as f32;
    places.into_iter().map(|[x, y]| [noisy(x), noisy(y)]).collect()
}

/// The images that edges join, each piece in order.
fn pieces(graph: &Graph) -> Vec<Vec<usize>> {
    let mut seen = vec![false; graph.len()];
    let mut pieces = Vec::new();
    for first in 0..graph.len() {
        if std::mem::replace(&mut seen[first], true) {
            continue;
        }
        let (mut piece, mut next) = (vec![first], 0);
        while next < piece.len() {
            for &(neighbor, _) in &graph[piece[next]] {
                if !std::mem::replace(&mut seen[neighbor], true) {
                    piece.push(neighbor);
                }
            }
            next += 1;
        }
        piece.sort_unstable();
        pieces.push(piece);
    }
    pieces
}

/// The pieces' mean features on their two principal axes, in a square.
fn centers(pieces: &[Vec<usize>], features: &[f32], width: usize, seed: u64) -> Vec<Place> {
    let mean = |piece: &Vec<usize>| -> Vec<f64> {
        let mut mean = vec![0.0; width];
        for &image in piece {
            let row = &features[image * width..][..width];
            mean.iter_mut().zip(row).for_each(|(mean, &value)| *mean += f64::from(value) / piece.len() as f64);
        }
        mean
    };
    let mut means: Vec<Vec<f64>> = pieces.par_iter().map(mean).collect();
    for feature in 0..width {
        let middle = means.iter().map(|mean| mean[feature]).sum::<f64>() / means.len() as f64;
        means.iter_mut().for_each(|mean| mean[feature] -= middle);
    }
    // In a unit of their own, so that what counts as nothing does not depend on the features' size.
    let largest = means.iter().map(|mean| dot(mean, mean).sqrt()).fold(0.0, f64::max);
    if largest > 0.0 {
        means.iter_mut().flatten().for_each(|value| *value /= largest);
    }
    let mut random = generator(seed, &[1]);
    let mut axes: Vec<Vec<f64>> = Vec::new();
    for _ in 0..2 {
        let mut axis: Vec<f64> = (0..width).map(|_| f64::from(truncated_normal(&mut random))).collect();
        for _ in 0..ROTATIONS {
            let mut next = vec![0.0; width];
            for mean in &means {
                add(&mut next, dot(mean, &axis), mean);
            }
            make_orthogonal(&mut next, &axes);
            if !normalize(&mut next) {
                break;
            }
            axis = next;
        }
        make_orthogonal(&mut axis, &axes);
        normalize(&mut axis);
        axes.push(axis);
    }
    square(means.iter().map(|mean| [dot(mean, &axes[0]), dot(mean, &axes[1])]).collect(), SIDE)
}

/// Each axis stretched over a square around 0, unless it holds nothing but rounding.
fn square(mut places: Vec<Place>, side: f64) -> Vec<Place> {
    let bounds = [0, 1].map(|axis| {
        let all = || places.iter().map(|place| place[axis]);
        (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max))
    });
    let widest = bounds.iter().map(|(low, high)| high - low).fold(0.0, f64::max);
    for (axis, (low, high)) in bounds.into_iter().enumerate() {
        let scale = if high - low > NOTHING * widest { side / (high - low) } else { 0.0 };
        places
            .iter_mut()
            .for_each(|place| place[axis] = (place[axis] - low) * scale - if scale > 0.0 { side / 2.0 } else { 0.0 });
    }
    places
}

/// The eigenvectors of a piece's random walk with the two largest eigenvalues after the constant one's: for each image of
/// the piece its values in both. 0 where a piece is too small to have them.
fn eigenvectors(graph: &Graph, piece: &[usize], seed: u64) -> Vec<Place> {
    let n = piece.len();
    let number = |image: usize| piece.binary_search(&image).ok();
    let edges: Vec<Vec<(usize, f64)>> = piece
        .par_iter()
        .map(|&image| graph[image].iter().filter_map(|&(to, weight)| Some((number(to)?, f64::from(weight)))).collect())
        .collect();
    let roots: Vec<f64> = edges.iter().map(|edges| edges.iter().map(|edge| edge.1).sum::<f64>().sqrt()).collect();
    if n < 2 || roots.iter().any(|&root| root <= 0.0) {
        return vec![[0.0; 2]; n];
    }
    let multiply = |vector: &[f64]| -> Vec<f64> {
        let row = |(edges, root): (&Vec<(usize, f64)>, &f64)| {
            edges.iter().map(|&(to, weight)| weight * vector[to] / roots[to]).sum::<f64>() / root
        };
        edges.par_iter().zip(&roots).map(row).collect()
    };

    // The constant one, which tells no image from another, is kept out.
    let mut constant = roots.clone();
    normalize(&mut constant);
    let mut known = vec![constant];
    let mut random = generator(seed, &[2]);
    let most = (n - 1).min(MAX_VECTORS);
    let mut projected = vec![vec![0.0; most]; most];
    // From two vectors in turn: from one, only one of two eigenvectors of the same eigenvalue can be reached.
    let mut drawn = || (0..n).map(|_| f64::from(truncated_normal(&mut random))).collect::<Vec<f64>>();
    let mut waiting = VecDeque::from([drawn(), drawn()]);
    let mut count = 0;
    while count < most
        && let Some(mut vector) = waiting.pop_front()
    {
        make_orthogonal(&mut vector, &known);
        if !normalize(&mut vector) {
            continue;
        }
        let next = multiply(&vector);
        known.push(vector);
        for earlier in 0..=count {
            let value = dot(&next, &known[earlier + 1]);
            (projected[earlier][count], projected[count][earlier]) = (value, value);
        }
        waiting.push_back(next);
        count += 1;
    }
    projected.truncate(count);
    projected.iter_mut().for_each(|row| row.truncate(count));
    let (values, vectors) = symmetric_eigenvectors(projected);
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&one, &other| values[other].total_cmp(&values[one]));
    let axis = |rank: usize| -> Vec<f64> {
        let mut axis = vec![0.0; n];
        if let Some(&column) = order.get(rank) {
            for (row, known) in known[1..].iter().enumerate() {
                add(&mut axis, vectors[row][column], known);
            }
        }
        axis
    };
    let axes = [axis(0), axis(1)];
    (0..n).map(|image| [axes[0][image] / roots[image], axes[1][image] / roots[image]]).collect()
}

/// Eigenvalues and eigenvectors (in columns) of a symmetric matrix, by Jacobi's rotations (Golub & Van Loan 2013, section
/// 8.5).
fn symmetric_eigenvectors(mut matrix: Vec<Vec<f64>>) -> (Vec<f64>, Vec<Vec<f64>>) {
    const SWEEPS: usize = 30;
    let n = matrix.len();
    let mut vectors: Vec<Vec<f64>> =
        (0..n).map(|row| (0..n).map(|column| f64::from(u8::from(row == column))).collect()).collect();
    for _ in 0..SWEEPS {
        let outside: f64 = (0..n)
            .flat_map(|row| (0..row).map(move |column| (row, column)))
            .map(|(row, column)| matrix[row][column].powi(2))
            .sum();
        if outside < 1e-24 {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                if matrix[p][q].abs() < f64::MIN_POSITIVE {
                    continue;
                }
                let theta = (matrix[q][q] - matrix[p][p]) / (2.0 * matrix[p][q]);
                let tangent = theta.signum() / (theta.abs() + theta.hypot(1.0));
                let cosine = 1.0 / tangent.hypot(1.0);
                let sine = tangent * cosine;
                let rotated = |a: f64, b: f64| (cosine * a - sine * b, sine * a + cosine * b);
                for row in &mut matrix {
                    (row[p], row[q]) = rotated(row[p], row[q]);
                }
                let (above, below) = matrix.split_at_mut(q);
                for (a, b) in above[p].iter_mut().zip(&mut below[0]) {
                    (*a, *b) = rotated(*a, *b);
                }
                for row in &mut vectors {
                    (row[p], row[q]) = rotated(row[p], row[q]);
                }
            }
        }
    }
    ((0..n).map(|at| matrix[at][at]).collect(), vectors)
}

/// Takes the parts along unit vectors off; twice, as rounding leaves some the first time.
fn make_orthogonal(vector: &mut [f64], known: &[Vec<f64>]) {
    for other in known.iter().chain(known) {
        add(vector, -dot(vector, other), other);
    }
}

/// Whether there was anything to bring to length 1.
fn normalize(vector: &mut [f64]) -> bool {
    let length = dot(vector, vector).sqrt();
    if length.is_nan() || length <= NOTHING {
        return false;
    }
    vector.iter_mut().for_each(|value| *value /= length);
    true
}

fn add(to: &mut [f64], factor: f64, other: &[f64]) {
    to.iter_mut().zip(other).for_each(|(to, other)| *to += factor * other);
}

/// The inner product, in eight sums, which vector registers hold.
fn dot(one: &[f64], other: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (ones, others) = (one.as_chunks::<8>(), other.as_chunks::<8>());
    for (a, b) in ones.0.iter().zip(others.0) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f64>() + ones.1.iter().zip(others.1).map(|(a, b)| a * b).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rings of images, each joined to the two beside it.
    fn rings(sizes: &[usize]) -> Graph {
        let mut graph = Graph::new();
        for &size in sizes {
            let first = graph.len();
            graph.extend(
                (0..size).map(|at| vec![(first + (at + 1) % size, 1.0), (first + (at + size - 1) % size, 1.0)]),
            );
        }
        graph
    }

    #[test]
    fn a_ring_becomes_a_circle() {
        // Its second and third eigenvectors are a cosine and a sine of one turn.
        let all: Vec<usize> = (0..60).collect();
        let places = eigenvectors(&rings(&[60]), &all, 3);
        let radius = |[x, y]: Place| x.hypot(y);
        for (one, next) in places.iter().zip(&places[1..]) {
            assert!((radius(*one) / radius(places[0]) - 1.0).abs() < 1e-6, "{one:?}");
            let turn = (one[0] * next[0] + one[1] * next[1]) / radius(*one) / radius(*next);
            assert!((turn - (std::f64::consts::TAU / 60.0).cos()).abs() < 1e-6, "{turn}");
        }
    }

    #[test]
    fn groups_of_more_images_than_vectors_lie_apart() {
        // Three groups of 80, in each all joined to some others of the group, and each group to the next by one weak edge.
        let mut graph = Graph::new();
        for image in 0..240 {
            let (group, at) = (image / 80 * 80, image % 80);
            graph.push(
                [1, 7, 19, 31]
                    .map(|step| [(at + step) % 80, (at + 80 - step) % 80])
                    .concat()
                    .into_iter()
                    .map(|to| (group + to, 1.0))
                    .collect(),
            );
        }
        for (one, other) in [(0, 80), (81, 160)] {
            graph[one].push((other, 0.1));
            graph[other].push((one, 0.1));
        }
        let all: Vec<usize> = (0..240).collect();
        let places = square(eigenvectors(&graph, &all, 0), SIDE);
        let middle = |group: usize| {
            let of = &places[80 * group..80 * (group + 1)];
            [0, 1].map(|axis| of.iter().map(|place| place[axis]).sum::<f64>() / 80.0)
        };
        let middles = [middle(0), middle(1), middle(2)];
        for (image, place) in places.iter().enumerate() {
            let distance = |group: usize| (place[0] - middles[group][0]).hypot(place[1] - middles[group][1]);
            let nearest = (0..3).min_by(|&one, &other| distance(one).total_cmp(&distance(other)));
            assert_eq!(nearest, Some(image / 80), "{image} at {place:?}");
            assert!(distance(image / 80) < SIDE / 5.0, "{image} at {place:?}");
        }
    }

    #[test]
    fn pieces_do_not_depend_on_the_unit_of_features() {
        let graph = rings(&[20, 30, 10]);
        let features: Vec<f32> = (0..120).map(|value| ((value / 2) as f32 / 7.0).sin() + value as f32 % 2.0).collect();
        let tiny: Vec<f32> = features.iter().map(|value| value * 2.0_f32.powi(-40)).collect();
        assert_eq!(start(&graph, &features, 2, 0), start(&graph, &tiny, 2, 0));
        // Two pieces differ along one axis only.
        let two = centers(&[(0..3).collect(), (3..6).collect()], &[1.0, 2.0, 3.0, 7.0, 8.0, 9.0], 1, 0);
        assert_eq!((two[0][1], two[1][1]), (0.0, 0.0));
        assert!((two[0][0] - two[1][0]).abs() > 9.9, "{two:?}");
    }

    #[test]
    fn pieces_begin_where_their_features_are() {
        let graph = rings(&[20, 30, 10]);
        // Along the first feature in another order than their own.
        let middle = |image: usize| {
            if image < 20 {
                5.0
            } else if image < 50 {
                0.0
            } else {
                9.0
            }
        };
        let features: Vec<f32> = (0..60).flat_map(|image| [middle(image), (image % 2) as f32]).collect();
        let places = start(&graph, &features, 2, 0);
        let mean =
            |from: usize, to: usize| places[from..to].iter().map(|place| place[0]).sum::<f32>() / (to - from) as f32;
        let [first, second, third] = [mean(0, 20), mean(20, 50), mean(50, 60)];
        assert!((first - second) * (third - first) > 0.0, "{first} {second} {third}");
        assert!(places.iter().flatten().all(|place| place.is_finite()));
        // No two of one piece start on the same place.
        assert!((0..60).all(|one| (0..one).all(|other| places[one] != places[other])));
    }

    #[test]
    fn eigenvectors_solve_their_equation() {
        let mut random = generator(1, &[]);
        let n = 12;
        let mut matrix = vec![vec![0.0; n]; n];
        for (row, column) in (0..n).flat_map(|row| (0..=row).map(move |column| (row, column))) {
            let value = f64::from(truncated_normal(&mut random));
            (matrix[row][column], matrix[column][row]) = (value, value);
        }
        let (values, vectors) = symmetric_eigenvectors(matrix.clone());
        for (column, value) in values.iter().enumerate() {
            let vector: Vec<f64> = vectors.iter().map(|row| row[column]).collect();
            assert!((dot(&vector, &vector) - 1.0).abs() < 1e-12);
            for (row, entry) in matrix.iter().zip(&vector) {
                // Rounding of a dozen rotations of numbers near 1.
                assert!((dot(row, &vector) - value * entry).abs() < 1e-10);
            }
        }
    }
}
