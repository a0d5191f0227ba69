//! Images with several labels as points, close where they look alike to the model.

use super::{RunRecord, RunSection, Sheets};
use crate::report::page::{LabelSetsOfPoints, Map, Section};
use crate::run::record::{LabelPredictions, SampleMap};

pub(super) const SECTION: RunSection = RunSection { id: "map", title: "Map of the images", of_each_run: true, content };

fn content(record: &RunRecord, sheets: Sheets) -> Option<Section> {
    let (labels, places) = (record.labels.as_ref()?, record.map.as_ref()?);
    let map = Map { sheet: sheets.samples, ..described(labels, places)? };
    let note = "Each point is an image, placed by the features that the head sees: close points look alike to the model. \
                Colors tell of one label, which you can choose, which images have it and which are predicted to.";
    Some(SECTION.noted(note).hinted(Map::HINT).wide().with("", map))
}

/// The map of a run's samples, without thumbnails. `None` of a map of another run's samples, which says nothing about these.
pub(in crate::report) fn described(predictions: &LabelPredictions, places: &SampleMap) -> Option<Map> {
    let images = predictions.sampled();
    if images.is_empty() || images.len() != places.points.len() {
        return None;
    }
    let on = |labels: &[bool]| (0..labels.len()).filter(|&label| labels[label]).collect::<Vec<usize>>();
    let sets = LabelSetsOfPoints {
        has: images.iter().map(|(_, image)| on(&image.has)).collect(),
        predicted: images.iter().map(|(_, image)| on(&image.predicted)).collect(),
    };
    Some(Map {
        method: places.method.clone(),
        classes: predictions.labels.clone(),
        sets: predictions.sets.iter().map(|(name, _)| name.clone()).collect(),
        x: places.points.iter().map(|point| point[0]).collect(),
        y: places.points.iter().map(|point| point[1]).collect(),
        set: images.iter().map(|(set, _)| *set).collect(),
        path: images.iter().map(|(_, image)| image.path.clone()).collect(),
        colored_label: sets.hardest(predictions.labels.len()),
        label_sets: Some(sets),
        ..Map::default()
    })
}
