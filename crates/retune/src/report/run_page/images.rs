//! What the model said of each image: confusion, calibration, mistakes, and the map.

use super::RunRecord;
use crate::fit::record::{Prediction, Predictions, SampleMap};
use crate::report::confusion::Confusion;
use crate::report::page::{Confusions, Gallery, GalleryItem, Map, Page, PageSheet, Pair, Reliability, Section};

/// Title of the section with the map.
pub(super) const MAP: &str = "Map of the images";
/// Title of the section about calibration.
pub(super) const CALIBRATION: &str = "Calibration";
/// Pairs of classes that are listed under a confusion matrix.
const PAIRS: usize = 8;
/// Examples of each pair.
const EXAMPLES: usize = 5;

/// The sections; their thumbnails are added to the page.
pub(super) fn sections(record: &RunRecord, page: &mut Page) -> Vec<Section> {
    let Some(predictions) = &record.predictions else { return Vec::new() };
    let thumbnails = record.samples.thumbnails.clone().and_then(|sheet| page.add_sheet(PageSheet::from(sheet)));
    let hardest = record.samples.hardest.clone().and_then(|sheet| page.add_sheet(PageSheet::from(sheet)));
    let mut sections = Vec::new();
    sections.extend(record.map.as_ref().and_then(|places| map(record, predictions, places, thumbnails)));
    sections.push(confusion(record, predictions, thumbnails));
    sections.push(calibration(record, predictions));
    sections.extend(hardest.map(|sheet| mistakes(record, predictions, sheet)));
    sections
}

/// Which classes are taken for which, in every set.
fn confusion(record: &RunRecord, predictions: &Predictions, sheet: Option<usize>) -> Section {
    let classes = &record.summary.classes;
    let note = "Rows are true classes, columns what the model says. Pick a cell to see its counts; arrow keys move.";
    let mut section = Section::new("Confusion", note).wide();
    for (set, name) in predictions.sets.iter().enumerate() {
        let rows: Vec<&Prediction> = predictions.of_set(set).collect();
        let found = Confusion::count(rows.iter().map(|row| (row.label, row.predicted)));
        let totals = found.totals(classes.len());
        let pair = |(label, predicted, n): (usize, usize, usize)| {
            let of_pair = rows.iter().filter(|row| (row.label, row.predicted) == (label, predicted));
            let examples = of_pair.filter_map(|row| row.sample).take(EXAMPLES).collect();
            Pair { label, predicted, n, of: totals[label], examples }
        };
        let pairs = found.most_confused(PAIRS).into_iter().map(pair).collect();
        section = section.with(name, Confusions { classes: classes.clone(), counts: found.counts, pairs, sheet });
    }
    section
}

fn calibration(record: &RunRecord, predictions: &Predictions) -> Section {
    let note = "Answers grouped by the probability that the model gave them. Bars on the diagonal: it is right as often as \
                it says; below it, it is too sure. The calibration error is the mean gap (Guo et al. 2017, 15 bins).";
    let mut section = Section::new(CALIBRATION, note);
    for name in &predictions.sets {
        if let Some(calibration) = record.calibration(name) {
            section = section.with(name, Reliability { calibration });
        }
    }
    section
}

fn mistakes(record: &RunRecord, predictions: &Predictions, sheet: usize) -> Section {
    let classes = &record.summary.classes;
    let note =
        "What surprised the model most, as it saw it: often a wrong label, a cut-off object, or the shift itself.";
    let mut section = Section::new("Images of highest loss", note).wide();
    let mut first = 0;
    for (set, name) in predictions.sets.iter().enumerate() {
        let rows = predictions.hardest(set);
        let item = |(position, row): (usize, &&Prediction)| GalleryItem {
            tile: first + position,
            label: classes[row.label].clone(),
            predicted: classes[row.predicted].clone(),
            probability: row.probability,
            label_probability: row.label_probability,
            loss: row.loss,
            path: row.path.clone(),
        };
        let items = rows.iter().enumerate().map(item).collect();
        first += rows.len();
        section = section.with(name, Gallery { sheet, items });
    }
    section
}

fn map(record: &RunRecord, predictions: &Predictions, places: &SampleMap, sheet: Option<usize>) -> Option<Section> {
    let mut rows: Vec<&Prediction> = predictions.rows.iter().filter(|row| row.sample.is_some()).collect();
    rows.sort_by_key(|row| row.sample);
    // A map of another run's samples says nothing about these.
    if rows.is_empty() || rows.len() != places.points.len() {
        return None;
    }
    let map = Map {
        method: places.method.clone(),
        classes: record.summary.classes.clone(),
        sets: predictions.sets.clone(),
        x: places.points.iter().map(|point| point[0]).collect(),
        y: places.points.iter().map(|point| point[1]).collect(),
        label: rows.iter().map(|row| row.label as i64).collect(),
        set: rows.iter().map(|row| row.set).collect(),
        predicted: rows.iter().map(|row| row.predicted).collect(),
        probability: rows.iter().map(|row| row.probability as f32).collect(),
        path: rows.iter().map(|row| row.path.clone()).collect(),
        sheet,
        ..Map::default()
    };
    let note = "Each point is an image, placed by the features that the head sees: near ones look alike to the model. Drag \
                to move, scroll or pinch to zoom, point at one to see it.";
    Some(Section::new(MAP, note).wide().with("", map))
}
