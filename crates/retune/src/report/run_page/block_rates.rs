//! The learning rate of each block over time.

use super::descents::{Descent, named};
use super::{RunRecord, RunSection, Sheets};
use crate::report::figures;
use crate::report::page::Section;
use crate::train::metrics::MetricsRow;

pub(super) const SECTION: RunSection =
    RunSection { id: "block-rates", title: "Learning rates of the blocks", of_each_run: true, content };

fn content(record: &RunRecord, _: Sheets) -> Option<Section> {
    let descents = Descent::all(record);
    let note = "Mean learning rate of each block over an epoch; of each tensor, where those of a block differ. Layers with \
                equal rates are one line; colors go from the input (dark) to the head (light).";
    let mut section = SECTION.noted(note);
    // One rate for all blocks follows the schedule, which the plan tells.
    let mut few = true;
    for descent in &descents {
        let rows: Vec<&MetricsRow> = descent.chosen_rows().collect();
        if let Some(rates) = figures::layer_rates("", rows.into_iter()) {
            few &= rates.lines.windows(2).all(|pair| pair[0].points == pair[1].points);
            section = section.with(named("Rates", descent, &descents), rates);
        }
    }
    Some(section.folded_if(few))
}
