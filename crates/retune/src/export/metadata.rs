//! What a file says of its model besides the graph: strings by their names.

use serde_json::json;

use crate::models::Model;

/// Names and values, in the order in which they are written. Lists are JSON.
pub(super) fn of(model: &Model, method: Option<&str>) -> Vec<(&'static str, String)> {
    let config = model.config();
    let preprocessing = config.preprocessing();
    // As a user would write them: serde_json gives the shortest digits of single precision.
    let numbers = |values: &[f32]| json!(values.iter().map(shortest).collect::<Vec<_>>()).to_string();
    let mut entries = vec![
        ("retune_version", env!("CARGO_PKG_VERSION").to_owned()),
        ("architecture", config.architecture().to_owned()),
        ("size", json!([preprocessing.height, preprocessing.width]).to_string()),
        ("mean", numbers(&preprocessing.mean)),
        ("std", numbers(&preprocessing.std)),
        ("interpolation", preprocessing.interpolation.to_string()),
        ("crop_pct", preprocessing.crop_pct.to_string()),
        ("crop_mode", preprocessing.crop_mode.to_string()),
    ];
    entries.extend(method.map(|method| ("method", method.to_owned())));
    entries.extend(config.classes().names().map(|names| ("class_names", json!(names).to_string())));
    entries.extend(config.temperature().map(|temperature| ("temperature", temperature.to_string())));
    if config.is_multi_label() {
        entries.push(("multi_label", "true".to_owned()));
        entries.extend(config.thresholds().map(|thresholds| ("thresholds", json!(thresholds).to_string())));
    }
    entries.extend(preprocessing.white.map(|white| ("white", white.to_string())));
    entries
}

/// The double with the digits that a user would write for a single.
pub(super) fn shortest(value: &f32) -> f64 {
    value.to_string().parse().unwrap_or_else(|_| f64::from(*value))
}
