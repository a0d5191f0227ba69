//! The images with the highest loss in every set.

use super::{RunRecord, RunSection, Sheets};
use crate::report::page::{Gallery, GalleryItem, Overlay, Section};
use crate::report::verdict::worst_set;
use crate::run::record::Prediction;

/// Loss from which an image is worth a look: its own class has a probability below 0.9.
const MIN_LOSS: f64 = 0.105;

pub(super) const SECTION: RunSection =
    RunSection { id: "highest-losses", title: "Images with the highest loss", of_each_run: true, content };

fn content(record: &RunRecord, sheets: Sheets) -> Option<Section> {
    let predictions = record.predictions.as_ref()?;
    let sheet = sheets.hardest?;
    let classes = &record.summary.classes;
    let note = "The images with the highest cross-entropy, as the model saw them: the true class, then the predicted one with its \
                probability. Look for wrong labels, cropped objects, and what the shift changed.";
    let overlays = overlays(sheets.heat_maps);
    let mut section = SECTION.noted(note).wide();
    let mut first = 0;
    for (set, name) in predictions.sets.iter().enumerate() {
        let rows = predictions.hardest(set);
        let item = |(position, row): (usize, &&Prediction)| GalleryItem {
            tile: first + position,
            label: classes[row.label].clone(),
            mistakes: None,
            predicted: classes[row.predicted].clone(),
            probability: row.probability,
            label_probability: row.label_probability,
            loss: row.loss,
            path: row.path.clone(),
        };
        let items = rows.iter().enumerate().filter(|(_, row)| row.loss >= MIN_LOSS).map(item).collect();
        first += rows.len();
        section = section.with(name, Gallery { sheet, items, overlays: overlays.clone(), of_labels: false });
    }
    Some(section.opened_at(worst_set(&record.summary)))
}

/// What the model looked at, where the page has it.
fn overlays(sheets: [Option<usize>; 2]) -> Vec<Overlay> {
    let overlay = |(sheet, class): (Option<usize>, &str)| {
        let note = format!(
            "Grad-CAM: bright places raise the score of the {class} class, dark ones do not. In a gray image, no place does."
        );
        Some(Overlay { name: format!("Heat map: {class} class"), note, sheet: sheet? })
    };
    sheets.into_iter().zip(["predicted", "true"]).filter_map(overlay).collect()
}
