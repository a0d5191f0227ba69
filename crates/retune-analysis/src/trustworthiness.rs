//! How far a map can be trusted: whether images that it shows as neighbors are neighbors.

use crate::neighbors::{Metric, Points};

/// Why there is no trustworthiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustworthinessError {
    /// The arguments do not fit each other.
    #[error("features ({features} values, {width} for each image) and a layout of {points} points do not fit")]
    Shape {
        /// Values of all features.
        features: usize,
        /// Values for each image.
        width: usize,
        /// Points of the layout.
        points: usize,
    },
    /// With few images, no neighbor is a wrong one.
    #[error("trustworthiness over {neighbors} neighbors needs more than {needed} images, and there are {images}", needed = 2 * neighbors)]
    TooFewImages {
        /// Images.
        images: usize,
        /// Neighbors.
        neighbors: usize,
    },
}

/// Trustworthiness of a two-dimensional layout (Venna & Kaski 2001, *Neighborhood preservation in nonlinear projection
/// methods*): 1 where the `neighbors` nearest points of each point are its nearest in the features too, less by how far
/// in the features' order the wrong ones are; about 0.5 for a random layout. The number that scikit-learn's
/// `sklearn.manifold.trustworthiness` gives.
///
/// `features` are row-major, `width` for each image, and finite, as `layout` is. Takes time in proportion to the square
/// of the number of images.
///
/// # Errors
/// Arguments that do not fit each other, and fewer than two images for each neighbor.
pub fn trustworthiness(
    features: &[f32],
    width: usize,
    layout: &[[f32; 2]],
    neighbors: usize,
    metric: Metric,
) -> Result<f64, TrustworthinessError> {
    let images = layout.len();
    if width == 0 || features.len() != images * width {
        return Err(TrustworthinessError::Shape { features: features.len(), width, points: images });
    }
    if neighbors == 0 || images <= 2 * neighbors {
        return Err(TrustworthinessError::TooFewImages { images, neighbors });
    }
    let shown = Points::new(layout.as_flattened(), 2, Metric::Euclidean).nearest(neighbors);
    let shown: Vec<Vec<usize>> = shown.iter().map(|near| near.iter().map(|one| one.index).collect()).collect();
    let ranks = Points::new(features, width, metric).ranks(&shown);
    let wrong: usize = ranks.iter().flatten().map(|rank| rank.saturating_sub(neighbors)).sum();
    let (n, k) = (images as f64, neighbors as f64);
    Ok(1.0 - 2.0 / (n * k * (2.0 * n - 3.0 * k - 1.0)) * wrong as f64)
}
