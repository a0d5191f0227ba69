//! The images with the highest loss in every set, where images have several labels.

use super::{RunRecord, RunSection, Sheets};
use crate::report::page::{Gallery, GalleryItem, LabelMistakes, Section};
use crate::report::verdict::worst_set;
use crate::run::record::LabeledImage;

/// Loss of a label from which an image is worth a look: what is true of the label has a probability below 0.9.
const MIN_LOSS: f64 = 0.105;

pub(super) const SECTION: RunSection =
    RunSection { id: "highest-losses", title: "Images with the highest loss", of_each_run: true, content };

fn content(record: &RunRecord, sheets: Sheets) -> Option<Section> {
    let predictions = record.labels.as_ref()?;
    let sheet = sheets.hardest?;
    let note = "The images with the highest binary cross-entropy, summed over labels, as the model saw them: the labels that \
                they have, then those that the model missed or gave wrongly, with their probabilities. Look for labels that \
                are missing or wrong, cropped objects, and what the shift changed.";
    let mut section = SECTION.noted(note).wide();
    let mut first = 0;
    for (set, (name, _)) in predictions.sets.iter().enumerate() {
        let images = predictions.hardest(set);
        let shown = images.iter().enumerate().filter(|(_, image)| is_worth_a_look(image));
        let items = shown.map(|(position, image)| item(first + position, image, &predictions.labels)).collect();
        first += images.len();
        section = section.with(name, Gallery { sheet, items, overlays: Vec::new(), of_labels: true });
    }
    Some(section.opened_at(worst_set(&record.summary)))
}

fn is_worth_a_look(image: &LabeledImage) -> bool {
    !image.is_right() || (0..image.has.len()).any(|label| image.loss_of(label) >= MIN_LOSS)
}

fn item(tile: usize, image: &LabeledImage, labels: &[String]) -> GalleryItem {
    GalleryItem {
        tile,
        label: image.listed(labels),
        mistakes: Some(mistakes(image, labels)),
        loss: image.loss(),
        path: image.path.clone(),
        ..GalleryItem::default()
    }
}

/// What the model said wrongly of an image, the surest first.
fn mistakes(image: &LabeledImage, labels: &[String]) -> LabelMistakes {
    let named = |positions: Vec<usize>| {
        positions.into_iter().map(|label| (labels[label].clone(), image.probabilities[label])).collect()
    };
    LabelMistakes { missed: named(image.missed()), wrong: named(image.wrongly_given()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_name_missed_and_wrong_labels_the_surest_first() {
        let labels = ["sky", "sea", "sun", "fog"].map(str::to_owned);
        let image = LabeledImage {
            path: "a.png".into(),
            has: vec![true, true, false, false],
            predicted: vec![false, false, true, true],
            probabilities: vec![0.4, 0.1, 0.6, 0.8],
        };
        let found = item(7, &image, &labels);
        let mistakes = found.mistakes.unwrap();
        assert_eq!((found.tile, found.label.as_str()), (7, "sky, sea"));
        assert_eq!(mistakes.missed, [("sea".to_owned(), 0.1), ("sky".to_owned(), 0.4)]);
        assert_eq!(mistakes.wrong, [("fog".to_owned(), 0.8), ("sun".to_owned(), 0.6)]);
        // −ln(0.4 · 0.1 · 0.4 · 0.2)
        assert!((found.loss + (0.4f64 * 0.1 * 0.4 * 0.2).ln()).abs() < 1e-12);
        let sure = LabeledImage { predicted: image.has.clone(), probabilities: vec![0.95, 0.99, 0.02, 0.05], ..image };
        assert!(!is_worth_a_look(&sure));
        assert!(is_worth_a_look(&LabeledImage { probabilities: vec![0.95, 0.89, 0.02, 0.05], ..sure }));
    }
}
