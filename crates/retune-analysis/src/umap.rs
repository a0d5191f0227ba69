//! UMAP: features of many dimensions as a map of two (McInnes, Healy & Melville 2018, arXiv 1802.03426).
//!
//! ```text
//! features ─ neighbors ─► fuzzy graph ─ spectral layout ─► start ─ gradient descent ─► map
//!            exact          section 3.1   section 3.2              section 3.2
//! ```
//!
//! Every step gives the same bytes on any number of threads.

mod curve;
mod descent;
mod graph;
mod spectral;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;

use rand::Rng;
use retune_random::generator;
use serde::{Deserialize, Serialize};

use self::descent::Descent;
use crate::neighbors::{Metric, Points};

/// What distances on the map are measured by.
const SPREAD: f64 = 1.0;
/// Up to so many images, more epochs pay.
const FEW_IMAGES: usize = 10_000;

/// How a map is made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UmapOptions {
    /// Images that count as a neighborhood, each image itself among them, as in `umap-learn`: fewer show finer
    /// structure, more show larger. From 2.
    pub neighbors: usize,
    /// How near points may come to each other, as a part of the map's unit of length: from 0 to 1.
    pub minimum_distance: f64,
    /// How distances of features are measured.
    pub metric: Metric,
    /// The seed.
    pub seed: u64,
    /// Passes over the graph; 500, or 200 for more than 10,000 images, where none are named.
    pub epochs: Option<usize>,
}

impl Default for UmapOptions {
    fn default() -> Self {
        Self { neighbors: 15, minimum_distance: 0.1, metric: Metric::Euclidean, seed: 0, epochs: None }
    }
}

/// Why there is no map.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UmapError {
    /// The features do not make rows.
    #[error("{values} values are not a whole number of rows of {width} features")]
    Shape {
        /// Values.
        values: usize,
        /// Features of each image.
        width: usize,
    },
    /// Nothing to map.
    #[error("there are no images to map")]
    NoImages,
    /// More than the neighbor graph can number.
    #[error("{0} images are more than a map can hold")]
    TooManyImages(usize),
    /// A NaN or an infinity.
    #[error("the features of image {row} are not finite")]
    NotFinite {
        /// The image's row.
        row: usize,
    },
    /// A value whose square is past single precision, in which distances are measured.
    #[error("a feature of image {row} is {value:e}, too large for distances between images; scale the features down")]
    TooLarge {
        /// The image's row.
        row: usize,
        /// The value.
        value: f32,
    },
    /// No direction to compare.
    #[error(
        "the features of image {row} are all 0, and have no direction that the cosine could measure; use the euclidean metric"
    )]
    NoDirection {
        /// The image's row.
        row: usize,
    },
    /// All features are the same.
    #[error("every image has the same features: there is nothing to map")]
    Constant,
    /// An option is out of range.
    #[error("{name} is {value}, and must be from {from} to {to}", from = range.start(), to = range.end())]
    Option {
        /// The option.
        name: &'static str,
        /// Its value.
        value: f64,
        /// What it can be.
        range: RangeInclusive<f64>,
    },
    /// The layout could not be computed.
    #[error("the map could not be laid out: {0}")]
    Layout(String),
}

/// Maps images by their features: row-major, `width` for each image. The first image's place comes first.
///
/// A neighborhood larger than the number of images becomes all of them; a single image is put at the origin, two are put
/// a unit apart.
///
/// # Errors
/// Features that are not finite, all the same, or (for the cosine) all 0 for an image; options out of their range.
pub fn umap(features: &[f32], width: usize, options: &UmapOptions) -> Result<Vec<[f32; 2]>, UmapError> {
    check(features, width, options)?;
    let n = features.len() / width;
    match n {
        1 => return Ok(vec![[0.0, 0.0]]),
        2 => return Ok(vec![[-0.5, 0.0], [0.5, 0.0]]),
        _ => {}
    }
    let epochs = options.epochs.unwrap_or(if n <= FEW_IMAGES { 500 } else { 200 });
    let size = options.neighbors.min(n);
    let nearest = Points::new(features, width, options.metric).nearest(size - 1);
    let graph = graph::fuzzy(&nearest, size, epochs);
    drop(nearest);

    let seed = generator(options.seed, &[]).next_u64();
    let mut layout = spectral::start(&graph, features, width, seed);
    let (a, b) = curve::fit(options.minimum_distance, SPREAD);
    Descent { a: a as f32, b: b as f32, epochs, seed }.run(&mut layout, &graph);
    match layout.as_flattened().iter().all(|place| place.is_finite()) {
        true => Ok(layout),
        false => Err(UmapError::Layout("points went to infinity; use another seed or fewer epochs".to_owned())),
    }
}

fn check(features: &[f32], width: usize, options: &UmapOptions) -> Result<(), UmapError> {
    if width == 0 || !features.len().is_multiple_of(width) {
        return Err(UmapError::Shape { values: features.len(), width });
    }
    let within = |name, value: f64, range: RangeInclusive<f64>| {
        if range.contains(&value) { Ok(()) } else { Err(UmapError::Option { name, value, range }) }
    };
    within("the number of neighbors", options.neighbors as f64, 2.0..=f64::from(u16::MAX))?;
    within("the minimum distance", options.minimum_distance, 0.0..=1.0)?;
    within("the number of epochs", options.epochs.unwrap_or(1) as f64, 1.0..=1e6)?;
    let n = features.len() / width;
    if n == 0 {
        return Err(UmapError::NoImages);
    }
    if n > u32::MAX as usize {
        return Err(UmapError::TooManyImages(n));
    }
    // A distance adds up the squares of the differences, each up to twice as large as a value.
    let largest = (f32::MAX / (4.0 * width as f32)).sqrt();
    if let Some(at) = features.iter().position(|value| value.is_finite() && value.abs() > largest) {
        return Err(UmapError::TooLarge { row: at / width, value: features[at] });
    }
    if let Some(at) = features.iter().position(|value| !value.is_finite()) {
        return Err(UmapError::NotFinite { row: at / width });
    }
    let mut rows = features.chunks_exact(width);
    if options.metric == Metric::Cosine
        && let Some(row) = rows.clone().position(|row| row.iter().all(|&value| value == 0.0))
    {
        return Err(UmapError::NoDirection { row });
    }
    if n > 1 && rows.all(|row| row == &features[..width]) {
        return Err(UmapError::Constant);
    }
    Ok(())
}
