//! Position embeddings for another grid of patches, resampled as timm does when it loads a
//! checkpoint: bicubic with antialiasing, in float32 (`resample_abs_pos_embed`, which calls
//! PyTorch's `interpolate`).

use super::weights::NamedTensor;

/// The layout of a model's position embedding.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PositionGrid {
    /// Leading positions that belong to no patch.
    pub prefix: usize,
    /// Rows of patches.
    pub rows: usize,
    /// Patches in a row.
    pub columns: usize,
    /// Rows and columns that the file's embedding is for, where its image size is known. Without them, or where it has
    /// another number of positions, it is taken for a square.
    pub from: Option<[usize; 2]>,
}

impl PositionGrid {
    /// Rows and columns of an embedding of so many positions.
    pub fn of_embedding(&self, positions: usize) -> Option<[usize; 2]> {
        let patches = positions.checked_sub(self.prefix)?;
        match self.from {
            Some([rows, columns]) if rows * columns == patches => Some([rows, columns]),
            _ => square_root(patches).map(|side| [side, side]),
        }
    }

    /// Whether an embedding of so many positions is for this very grid. Where its grid is not known, the number decides.
    pub fn is_of(&self, positions: usize) -> bool {
        let same_number = positions == self.prefix + self.rows * self.columns;
        same_number && (self.from.is_none() || self.of_embedding(positions) == Some([self.rows, self.columns]))
    }
}

/// Resamples `[1, prefix + rows × columns, width]` to `grid`; the prefix is kept as it is. `None` where the
/// embedding describes neither the grid that it is from nor a square, or has another width.
pub(crate) fn resample(embedding: &NamedTensor, grid: PositionGrid, width: usize) -> Option<Vec<f32>> {
    resample_by(taps, embedding, grid, width)
}

/// As [`resample`], with the weights that PyTorch's `interpolate` has without antialiasing, as DINOv2's own code and
/// transformers' call it.
pub(crate) fn resample_without_antialiasing(
    embedding: &NamedTensor,
    grid: PositionGrid,
    width: usize,
) -> Option<Vec<f32>> {
    resample_by(four_taps, embedding, grid, width)
}

fn resample_by(
    taps: fn(usize, usize) -> Vec<Taps>,
    embedding: &NamedTensor,
    grid: PositionGrid,
    width: usize,
) -> Option<Vec<f32>> {
    let &[1, positions, embedded_width] = embedding.shape.as_slice() else { return None };
    let [rows, old_columns] = grid.of_embedding(positions)?;
    if width != embedded_width || rows * old_columns == 0 {
        return None;
    }
    let (kept, patches) = embedding.values.split_at_checked(grid.prefix * width)?;
    // A row of patches is `old_columns × width` values; columns are resampled inside each row.
    let columns = resample_axis(patches, rows, width, &taps(old_columns, grid.columns));
    let resampled = resample_axis(&columns, 1, grid.columns * width, &taps(rows, grid.rows));
    Some(kept.iter().copied().chain(resampled).collect())
}

fn square_root(count: usize) -> Option<usize> {
    let root = (count as f64).sqrt().round() as usize;
    (root * root == count).then_some(root)
}

/// Resamples the middle axis of `[outer, old, inner]` (`old` is what the taps expect).
fn resample_axis(values: &[f32], outer: usize, inner: usize, taps: &[Taps]) -> Vec<f32> {
    let old = values.len() / (outer * inner);
    let mut resampled = Vec::with_capacity(outer * taps.len() * inner);
    for slab in values.chunks_exact(old * inner) {
        for Taps { first, weights } in taps {
            for position in 0..inner {
                let sum = weights
                    .iter()
                    .enumerate()
                    .map(|(tap, weight)| weight * f64::from(slab[(first + tap) * inner + position]));
                resampled.push(sum.sum::<f64>() as f32);
            }
        }
    }
    resampled
}

/// The source positions that one output position draws from.
struct Taps {
    first: usize,
    weights: Vec<f64>,
}

/// Antialiased bicubic weights: Keys' kernel with a = −0.5, widened by the scale where it shrinks.
fn taps(old: usize, new: usize) -> Vec<Taps> {
    let scale = old as f64 / new as f64;
    let widening = scale.max(1.0);
    let support = 2.0 * widening;
    (0..new)
        .map(|index| {
            let center = scale * (index as f64 + 0.5);
            let first = (center - support + 0.5).max(0.0) as usize;
            let end = ((center + support + 0.5) as usize).min(old);
            let weights: Vec<f64> =
                (first..end).map(|source| keys((source as f64 - center + 0.5) / widening, -0.5)).collect();
            let total: f64 = weights.iter().sum();
            Taps { first, weights: weights.into_iter().map(|weight| weight / total).collect() }
        })
        .collect()
}

/// Bicubic weights of the four nearest sources whatever the scale: Keys' kernel with a = −0.75. What would lie outside
/// is taken at the edge.
fn four_taps(old: usize, new: usize) -> Vec<Taps> {
    let scale = old as f64 / new as f64;
    let last = old.saturating_sub(1);
    (0..new)
        .map(|index| {
            let center = scale * (index as f64 + 0.5) - 0.5;
            let sources = [-1.0, 0.0, 1.0, 2.0].map(|offset| center.floor() + offset);
            let at = |source: f64| (source.max(0.0) as usize).min(last);
            let first = at(sources[0]);
            let mut weights = vec![0.0; at(sources[3]) - first + 1];
            for source in sources {
                weights[at(source) - first] += keys(source - center, -0.75);
            }
            Taps { first, weights }
        })
        .collect()
}

/// The cubic convolution kernel of Keys 1981 with its parameter `a`.
fn keys(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * a
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn embedding(prefix: usize, side: usize, value: impl Fn(usize, usize) -> f32) -> NamedTensor {
        let mut values = vec![7.0; prefix];
        values.extend((0..side * side).map(|index| value(index / side, index % side)));
        NamedTensor { shape: vec![1, prefix + side * side, 1], values }
    }

    fn grid(prefix: usize, rows: usize, columns: usize) -> PositionGrid {
        PositionGrid { prefix, rows, columns, from: None }
    }

    #[test]
    fn a_constant_stays_constant_and_the_prefix_is_kept() {
        let resampled = resample(&embedding(2, 4, |_, _| 3.0), grid(2, 7, 7), 1).unwrap();
        assert_eq!(resampled[..2], [7.0, 7.0]);
        // Weights are normalized, so only rounding to f32 is left.
        assert!(resampled[2..].iter().all(|value| (value - 3.0).abs() < 1e-6));
    }

    #[test]
    fn rows_and_columns_are_not_swapped() {
        let resampled = resample(&embedding(0, 3, |row, _| row as f32), grid(0, 6, 5), 1).unwrap();
        let at = |row: usize, column: usize| resampled[row * 5 + column];
        assert!((at(2, 0) - at(2, 4)).abs() < 1e-6);
        assert!(at(4, 3) > at(1, 3) + 0.5);
    }

    #[test]
    fn a_grid_that_is_no_square_is_known_by_where_it_is_from() {
        // Rows of 2 patches: their number differs from row to row, not within one.
        let mut values = vec![7.0];
        values.extend((0..4).flat_map(|row| [row as f32; 2]));
        let embedding = NamedTensor { shape: vec![1, 9, 1], values };
        let from = |from| PositionGrid { from, ..grid(1, 2, 4) };
        assert!(resample(&embedding, from(None), 1).is_none());
        let resampled = resample(&embedding, from(Some([4, 2])), 1).unwrap();
        assert_eq!(resampled[0], 7.0);
        // What is constant along a row stays so.
        assert!(resampled[1..5].iter().all(|value| (value - resampled[1]).abs() < 1e-6));
        assert!(resampled[5] > resampled[1] + 1.0);
        // 2 × 4 patches are as many as 4 × 2.
        assert!(from(None).is_of(9) && !from(Some([4, 2])).is_of(9) && from(Some([2, 4])).is_of(9));
    }

    #[test]
    fn shapes_that_are_no_grids_are_refused() {
        assert!(resample(&embedding(1, 3, |_, _| 0.0), grid(0, 6, 6), 1).is_none());
        assert!(resample(&embedding(0, 3, |_, _| 0.0), grid(0, 6, 6), 2).is_none());
    }
}
