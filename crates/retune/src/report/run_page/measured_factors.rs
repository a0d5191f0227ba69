//! The factors on learning rates that a method measured.

use super::descents::{Descent, named};
use super::{RunRecord, RunSection, Sheets};
use crate::report::figures;
use crate::report::page::Section;

pub(super) const SECTION: RunSection =
    RunSection { id: "measured-factors", title: "Measured factors on rates", of_each_run: true, content };

fn content(record: &RunRecord, _: Sheets) -> Option<Section> {
    let descents = Descent::all(record);
    let note = "The factor on each layer’s learning rate that the method measured before each epoch, from the input (top) \
                to the head.";
    let mut section = SECTION.noted(note);
    for descent in &descents {
        if let Some(map) = figures::multipliers("", descent.chosen_rows()) {
            section = section.with(named("Factors", descent, &descents), map);
        }
    }
    Some(section)
}
