//! Losses and accuracies by epoch.

use retune_figures::Axis;
use retune_figures::figure::Lines;

use super::descents::{Descent, named};
use super::{RunRecord, RunSection, Sheets};
use crate::report::figures;
use crate::report::page::Section;
use crate::train::metrics::{MetricsRow, score_name};

pub(super) const SECTION: RunSection =
    RunSection { id: "learning-curves", title: "Learning curves", of_each_run: false, content };

fn content(record: &RunRecord, _: Sheets) -> Option<Section> {
    let descents = Descent::all(record);
    let note = "At the learning rate that validation chose. The mark is the epoch that was kept. Training values are means \
                over an epoch, during which the model changes.";
    let mut section = SECTION.noted(note);
    for descent in &descents {
        let kept = record.summary.phases.iter().find(|phase| phase.phase == descent.name);
        let marks: Vec<(f64, String)> = kept.map(|phase| (phase.epoch as f64, "kept".to_owned())).into_iter().collect();
        let rows: Vec<&MetricsRow> = descent.chosen_rows().collect();
        let marked = |lines: Lines| Lines { marks: marks.clone(), ..lines };
        let score = score_name(rows.iter().copied());
        // Mean average precision is measured on validation alone.
        let of_several_labels = score != "accuracy";
        let scored = rows.iter().copied().filter(|row| !of_several_labels || row.mean_average_precision.is_some());
        let mut scores = marked(figures::by_split(scored, Axis::shares(score), MetricsRow::score));
        scores.lines.retain(|line| !line.points.is_empty());
        let heading = if of_several_labels { "Mean average precision" } else { "Accuracy" };
        let loss = marked(figures::by_split(rows.iter().copied(), Axis::new("loss"), |row| row.loss));
        section =
            section.with(named("Loss", descent, &descents), loss).with(named(heading, descent, &descents), scores);
    }
    Some(section)
}
