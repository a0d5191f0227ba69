//! Sections on predictions: confusion, calibration, mistakes, and the map.

use std::collections::HashMap;

use retune_analysis::intervals::wilson_interval;
use retune_figures::figure;

use super::RunRecord;
use crate::report::confusion::{Confusion, Hard};
use crate::report::figures;
use crate::report::page::{
    Cell, Column, Confusions, Gallery, GalleryItem, Map, Page, PageSheet, Pair, Section, Table, grouped,
};
use crate::report::verdict::{percent, worst_set};
use crate::run::record::{Prediction, Predictions, SampleMap};

/// Title of the section with the map.
pub(super) const MAP: &str = "Map of the images";
/// Title of the section about calibration.
pub(super) const CALIBRATION: &str = "Calibration";
/// Title of the section with the classes of lowest recall.
const HARDEST: &str = "Hardest classes";
/// Pairs listed beside a confusion matrix of few classes, and of many.
const PAIRS: [usize; 2] = [8, 20];
/// Maximum number of classes that a matrix shows completely.
const FEW: usize = 30;
/// Maximum number of rows in the table of the hardest classes.
const HARDEST_ROWS: usize = 100;
/// Loss from which an image is worth a look: its own class has a probability below 0.9.
const MIN_LOSS: f64 = 0.105;
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
    sections.extend(hardest_classes(record, predictions));
    sections.push(calibration(record, predictions));
    sections.extend(hardest.map(|sheet| mistakes(record, predictions, sheet)));
    sections
}

/// Confusion in every set.
fn confusion(record: &RunRecord, predictions: &Predictions, sheet: Option<usize>) -> Section {
    let classes = &record.summary.classes;
    let note = "Rows are true classes, columns are predictions. Point at a cell to see its counts; arrow keys move.";
    let mut section = Section::new("Confusion", note).wide();
    for (set, name) in predictions.sets.iter().enumerate() {
        let rows: Vec<&Prediction> = predictions.of_set(set).collect();
        let found = Confusion::count(rows.iter().map(|row| (row.label, row.predicted)));
        let totals = found.totals(classes.len());
        let pair = |(label, predicted, n): (usize, usize, usize)| {
            let of_pair = rows.iter().filter(|row| (row.label, row.predicted) == (label, predicted));
            let examples = of_pair.filter_map(|row| row.sample).take(EXAMPLES).collect();
            let [label, predicted, of] = [label, predicted, totals[label]];
            Pair { label: classes[label].clone(), predicted: classes[predicted].clone(), n, of, examples }
        };
        let most = PAIRS[usize::from(classes.len() > FEW)];
        let pairs = found.most_confused(most).into_iter().map(pair).collect();
        // Lists of pairs and classes stand beside and below the matrix.
        let matrix = figure::Confusion { rankings: Vec::new(), ..figures::confusion("", classes, &found) };
        section = section.with(name, Confusions { pairs, sheet, ..Confusions::new(matrix) });
    }
    let perfect = predictions.rows.iter().all(|row| row.label == row.predicted);
    section.opened_at(worst_set(&record.summary)).folded_if(perfect)
}

/// The classes with the lowest recall, if a matrix of all classes is illegible.
fn hardest_classes(record: &RunRecord, predictions: &Predictions) -> Option<Section> {
    let classes = &record.summary.classes;
    if classes.len() <= FEW {
        return None;
    }
    let note = "The classes with the lowest recall, and the class that each is most often confused with.";
    let mut section = Section::new(HARDEST, note).wide();
    for (set, name) in predictions.sets.iter().enumerate() {
        let found = Confusion::count(predictions.of_set(set).map(|row| (row.label, row.predicted)));
        let images = found.totals(classes.len()).into_iter().filter(|&n| n > 0).count();
        let hard = found.hardest(usize::MAX);
        let row = |hard: &Hard| {
            let taken_for = format!("{} ({})", classes[hard.taken_for], grouped(hard.mistaken));
            vec![
                Cell::text(&classes[hard.class]),
                Cell::number(grouped(hard.n), hard.n as f64),
                Cell {
                    interval: Some(wilson_interval(hard.right, hard.n)),
                    ..Cell::number(percent(hard.recall()), hard.recall())
                },
                Cell::text(taken_for),
            ]
        };
        let columns = [("Class", false), ("Images", true), ("Recall", true), ("Most often confused with", false)];
        let (shown, mistaken) = (grouped(hard.len().min(HARDEST_ROWS)), grouped(hard.len()));
        let table = Table {
            columns: columns.into_iter().map(|(heading, number)| Column { heading: heading.into(), number }).collect(),
            rows: hard.iter().take(HARDEST_ROWS).map(row).collect(),
            caption: format!(
                "{shown} of {mistaken} classes with mistakes, of {} with images here. The prediction for every image \
                 is in predictions.csv in the run's directory.",
                grouped(images)
            ),
        };
        section = section.with(name, table);
    }
    Some(section.opened_at(worst_set(&record.summary)))
}

fn calibration(record: &RunRecord, predictions: &Predictions) -> Section {
    let note = "Predictions grouped by their probability. On the diagonal, the model is right as often as it says; below the \
                diagonal, it is overconfident. The calibration error is the mean gap (Guo et al. 2017, 15 bins).";
    let mut section = Section::new(CALIBRATION, note);
    for name in &predictions.sets {
        if let Some(calibration) = record.calibration(name) {
            section = section.with(name, figures::reliability("", &calibration));
        }
    }
    section.opened_at(worst_set(&record.summary))
}

fn mistakes(record: &RunRecord, predictions: &Predictions, sheet: usize) -> Section {
    let classes = &record.summary.classes;
    let note = "The images with the highest cross-entropy, as the model saw them: the true class, then the predicted one with its \
                probability. Look for wrong labels, cropped objects, and what the shift changed.";
    let mut section = Section::new("Images with the highest loss", note).wide();
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
        let items = rows.iter().enumerate().filter(|(_, row)| row.loss >= MIN_LOSS).map(item).collect();
        first += rows.len();
        section = section.with(name, Gallery { sheet, items });
    }
    section.opened_at(worst_set(&record.summary))
}

/// The classes that some images belong to or are predicted as, in order, and the position of each among them. If there
/// are few classes, all of them, so that colors are the same on every map.
fn of_rows(rows: &[&Prediction], classes: &[String]) -> (Vec<String>, HashMap<usize, usize>) {
    let mut used: Vec<usize> = rows.iter().flat_map(|row| [row.label, row.predicted]).collect();
    if classes.len() <= FEW {
        used = (0..classes.len()).collect();
    }
    used.sort_unstable();
    used.dedup();
    let names = used.iter().map(|&class| classes[class].clone()).collect();
    (names, used.into_iter().enumerate().map(|(position, class)| (class, position)).collect())
}

fn map(record: &RunRecord, predictions: &Predictions, places: &SampleMap, sheet: Option<usize>) -> Option<Section> {
    let mut rows: Vec<&Prediction> = predictions.rows.iter().filter(|row| row.sample.is_some()).collect();
    rows.sort_by_key(|row| row.sample);
    // A map of another run's samples says nothing about these.
    if rows.is_empty() || rows.len() != places.points.len() {
        return None;
    }
    let (classes, position) = of_rows(&rows, &record.summary.classes);
    let map = Map {
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
        sheet,
        ..Map::default()
    };
    let note = "Each point is an image, placed by the features that the head sees: close points look alike to the model. Drag \
                to move, and scroll or pinch to zoom. Point at an image to see it.";
    Some(Section::new(MAP, note).wide().with("", map))
}
