//! Position embeddings for another grid of patches, resampled as timm does when it loads a
//! checkpoint: bicubic with antialiasing, in float32 (`resample_abs_pos_embed`, which calls
//! PyTorch's `interpolate`).

use super::weights::NamedTensor;

/// Resamples `[1, prefix + old grid, width]` to `shape`; the prefix is kept as it is. `None` where
/// the shapes do not describe square grids of the same width.
pub(crate) fn resample(embedding: &NamedTensor, shape: &[usize], prefix: usize) -> Option<Vec<f32>> {
    let (&[1, old_positions, width], &[1, new_positions, new_width]) =
        (embedding.shape.as_slice(), shape)
    else {
        return None;
    };
    let old_side = square_root(old_positions.checked_sub(prefix)?)?;
    let new_side = square_root(new_positions.checked_sub(prefix)?)?;
    if width != new_width || old_side == 0 || new_side == 0 {
        return None;
    }
    let (kept, grid) = embedding.values.split_at_checked(prefix * width)?;
    let taps = taps(old_side, new_side);
    // Rows of patches are `old_side × width` values; columns are resampled inside each row.
    let columns = resample_axis(grid, old_side, width, &taps);
    let resampled = resample_axis(&columns, 1, new_side * width, &taps);
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
                let sum = weights.iter().enumerate().map(|(tap, weight)| {
                    weight * f64::from(slab[(first + tap) * inner + position])
                });
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
            let centre = scale * (index as f64 + 0.5);
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(old);
            let weights: Vec<f64> = (first..end)
                .map(|source| keys((source as f64 - centre + 0.5) / widening))
                .collect();
            let total: f64 = weights.iter().sum();
            Taps { first, weights: weights.into_iter().map(|weight| weight / total).collect() }
        })
        .collect()
}

fn keys(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
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

    #[test]
    fn a_constant_stays_constant_and_the_prefix_is_kept() {
        let resampled = resample(&embedding(2, 4, |_, _| 3.0), &[1, 2 + 49, 1], 2).unwrap();
        assert_eq!(resampled[..2], [7.0, 7.0]);
        // Weights are normalized, so only rounding to f32 is left.
        assert!(resampled[2..].iter().all(|value| (value - 3.0).abs() < 1e-6));
    }

    #[test]
    fn rows_and_columns_are_not_swapped() {
        let resampled = resample(&embedding(0, 3, |row, _| row as f32), &[1, 36, 1], 0).unwrap();
        let at = |row: usize, column: usize| resampled[row * 6 + column];
        assert!((at(2, 0) - at(2, 5)).abs() < 1e-6);
        assert!(at(4, 3) > at(1, 3) + 0.5);
    }

    #[test]
    fn shapes_that_are_no_grids_are_refused() {
        assert!(resample(&embedding(0, 3, |_, _| 0.0), &[1, 35, 1], 0).is_none());
        assert!(resample(&embedding(0, 3, |_, _| 0.0), &[1, 36, 2], 0).is_none());
    }
}
