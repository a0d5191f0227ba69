//! How far fine-tuning moved the features (Kumar et al. 2022, arXiv 2202.10054, section 4.2).

use serde::{Deserialize, Serialize};

use crate::inference::{InferenceError, Layer, for_each_batch};
use crate::loading::Loader;
use crate::models::Model;
use crate::monitor::Monitor;

/// Distances between the features of two models, over the images of a set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FeatureChange {
    /// Images.
    pub n: usize,
    /// Mean over images of ‖f(x) − f₀(x)‖₂, where f are the features that the head sees.
    pub distance: f64,
    /// The same, divided by the mean of ‖f₀(x)‖₂.
    pub relative: f64,
}

/// Compares the features of `model` with those of `before` on the same pixels, those of one loader.
///
/// # Errors
/// An image that cannot be loaded, features of different length; an interruption.
pub fn measure(
    before: &Model,
    model: &Model,
    images: &Loader,
    monitor: &dyn Monitor,
) -> Result<FeatureChange, InferenceError> {
    let features = |model: &Model, task: &str| -> Result<Vec<Vec<f32>>, InferenceError> {
        let mut rows = Vec::new();
        for_each_batch(model, images, Layer::Pooled, task, monitor, |batch, values| {
            rows.extend(values.chunks_exact(values.len() / batch.n).map(<[f32]>::to_vec));
        })?;
        Ok(rows)
    };
    let old = features(before, "features before")?;
    let new = features(model, "features after")?;
    let lengths = |rows: &[Vec<f32>]| rows.first().map_or(0, Vec::len);
    if lengths(&old) != lengths(&new) {
        return Err(InferenceError::FeatureLengths { before: lengths(&old), after: lengths(&new) });
    }
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>().sqrt();
    let (mut distance, mut size) = (0.0, 0.0);
    for (old, new) in old.iter().zip(&new) {
        distance += norm(&mut old.iter().zip(new).map(|(old, new)| f64::from(new - old)));
        size += norm(&mut old.iter().map(|&value| f64::from(value)));
    }
    let n = old.len();
    Ok(FeatureChange { n, distance: distance / n.max(1) as f64, relative: distance / size.max(f64::MIN_POSITIVE) })
}
