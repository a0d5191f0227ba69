//! The images with the highest loss in every set.

use super::{RunRecord, RunSection, Sheets};
use crate::report::page::{Gallery, GalleryItem, Section};
use crate::run::record::Prediction;

pub(super) const SECTION: RunSection =
    RunSection { id: "highest-losses", title: "Images with the highest loss", of_each_run: true, content };

fn content(record: &RunRecord, sheets: Sheets) -> Option<Section> {
    let predictions = record.predictions.as_ref()?;
    let sheet = sheets.hardest?;
    let classes = &record.summary.classes;
    let note = "The images that surprised the model most, as it saw them: often a wrong label, a cropped object, or the shift itself.";
    let mut section = SECTION.noted(note).wide();
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
    Some(section)
}
