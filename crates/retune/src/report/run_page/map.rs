//! Images as points, close where they look alike to the model.

use std::collections::HashMap;

use super::{FEW_CLASSES, RunRecord, RunSection, Sheets};
use crate::report::page::{Map, Section};
use crate::run::record::{Prediction, Predictions, SampleMap};

pub(super) const SECTION: RunSection = RunSection { id: "map", title: "Map of the images", of_each_run: true, content };

fn content(record: &RunRecord, sheets: Sheets) -> Option<Section> {
    let (predictions, places) = (record.predictions.as_ref()?, record.map.as_ref()?);
    let map = described(predictions, places, &record.summary.classes)?;
    let map = Map { sheet: sheets.samples, ..map };
    let note =
        "Each point is an image, placed by the features that the head sees: close points look alike to the model.";
    Some(SECTION.noted(note).hinted(Map::HINT).wide().with("", map))
}

/// The map of a run's samples, without thumbnails. `None` of a map of another run's samples, which says nothing about these.
pub(in crate::report) fn described(predictions: &Predictions, places: &SampleMap, classes: &[String]) -> Option<Map> {
    let mut rows: Vec<&Prediction> = predictions.rows.iter().filter(|row| row.sample.is_some()).collect();
    rows.sort_by_key(|row| row.sample);
    if rows.is_empty() || rows.len() != places.points.len() {
        return None;
    }
    let (classes, position) = of_rows(&rows, classes);
    Some(Map {
        method: places.method.clone(),
        classes,
        sets: predictions.sets.clone(),
        x: places.points.iter().map(|point| point[0]).collect(),
        y: places.points.iter().map(|point| point[1]).collect(),
        label: rows.iter().map(|row| position[&row.label] as i64).collect(),
        set: rows.iter().map(|row| row.set).collect(),
        predicted: rows.iter().map(|row| position[&row.predicted]).collect(),
        probability: rows.iter().map(|row| row.probability as f32).collect(),
        path: rows.iter().map(|row| row.path.clone()).collect(),
        ..Map::default()
    })
}

/// The classes that some images belong to or are predicted as, in order, and the position of each among them. If there
/// are few classes, all of them, so that colors are the same on every map.
fn of_rows(rows: &[&Prediction], classes: &[String]) -> (Vec<String>, HashMap<usize, usize>) {
    let mut used: Vec<usize> = rows.iter().flat_map(|row| [row.label, row.predicted]).collect();
    if classes.len() <= FEW_CLASSES {
        used = (0..classes.len()).collect();
    }
    used.sort_unstable();
    used.dedup();
    let names = used.iter().map(|&class| classes[class].clone()).collect();
    (names, used.into_iter().enumerate().map(|(position, class)| (class, position)).collect())
}
