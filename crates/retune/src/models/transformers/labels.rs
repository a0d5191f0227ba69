//! Class names as transformers' configurations hold them.

use serde_json::Value;

use super::Reason;

/// Names of the classes in the order of the logits, where `id2label` holds others than `LABEL_0`, `LABEL_1`, ….
///
/// # Errors
/// An index that is missing or no number.
pub(super) fn names(config: &Value) -> Result<Option<Vec<String>>, Reason> {
    let Some(labels) = config.get("id2label").and_then(Value::as_object) else { return Ok(None) };
    let mut names = vec![None; labels.len()];
    for (index, name) in labels {
        let place = index.parse::<usize>().ok().and_then(|index| names.get_mut(index));
        let (Some(place), Some(name)) = (place, name.as_str()) else {
            return Err(format!("'id2label' must name the classes 0 to {}", labels.len().saturating_sub(1)));
        };
        *place = Some(name.to_owned());
    }
    // As many distinct numbers below the count as there are entries; "1" and "01" are one.
    let Some(names) = names.into_iter().collect::<Option<Vec<String>>>() else {
        return Err("'id2label' names a class twice".into());
    };
    let is_default = names.iter().enumerate().all(|(index, name)| *name == format!("LABEL_{index}"));
    Ok(if is_default { None } else { Some(names) })
}

/// How many classes there are: two where nothing says so, as in transformers.
///
/// # Errors
/// A `num_labels` that is no count.
pub(super) fn count(config: &Value, names: Option<&[String]>) -> Result<usize, Reason> {
    if let Some(names) = names {
        return Ok(names.len());
    }
    if let Some(labels) = config.get("id2label").and_then(Value::as_object) {
        return Ok(labels.len());
    }
    match config.get("num_labels") {
        None | Some(Value::Null) => Ok(2),
        Some(count) => count.as_u64().map(|count| count as usize).ok_or("'num_labels' must be a whole number".into()),
    }
}
