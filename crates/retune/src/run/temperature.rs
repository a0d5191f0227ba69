//! The temperature that a run fits on its validation images, and what it is good for.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// A temperature fitted on the logits of the validation images (Guo et al. 2017, arXiv 1706.04599), and how well confidence
/// fits accuracy without and with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TemperatureScaling {
    /// What logits are divided by; above 1 where the model is overconfident.
    pub temperature: f64,
    /// The expected calibration error on each set. On `val`, which it was fitted on, it is optimistic.
    pub calibration_errors: IndexMap<String, CalibrationErrors>,
}

/// Expected calibration errors in 15 bins, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalibrationErrors {
    /// Of the softmax of the logits.
    pub before: f64,
    /// Of the softmax of the logits divided by the temperature.
    pub after: f64,
}
