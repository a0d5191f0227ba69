//! Confidence against accuracy.

use super::{RunRecord, RunSection, Sheets};
use crate::report::figures;
use crate::report::page::Section;
use crate::report::verdict::worst_set;

pub(super) const SECTION: RunSection =
    RunSection { id: "calibration", title: "Calibration", of_each_run: false, content };

fn content(record: &RunRecord, _: Sheets) -> Option<Section> {
    let predictions = record.predictions.as_ref()?;
    let at = if record.summary.temperature.is_some() { " at temperature 1" } else { "" };
    let mut section = SECTION.noted(format!(
        "Predictions grouped by their probability{at}. On the diagonal, the model is right as often as it says; below the \
         diagonal, it is overconfident. The calibration error is the mean gap (Guo et al. 2017, 15 bins)."
    ));
    for name in &predictions.sets {
        if let Some(calibration) = record.calibration(name) {
            section = section.with(name, figures::reliability("", &calibration));
        }
    }
    Some(section.opened_at(worst_set(&record.summary)))
}
