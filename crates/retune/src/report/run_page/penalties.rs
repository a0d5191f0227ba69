//! The linear probe at every strength of its penalty.

use retune_figures::Axis;
use retune_figures::figure::{Line, Lines};

use super::{RunRecord, RunSection, Sheets};
use crate::report::page::Section;
use crate::train::metrics::MetricsRow;

pub(super) const SECTION: RunSection =
    RunSection { id: "penalties", title: "Penalties tried", of_each_run: true, content };

fn content(record: &RunRecord, _: Sheets) -> Option<Section> {
    // Each label has a penalty of its own, and the run records none but those that were chosen.
    if record.options.multi_label {
        return None;
    }
    let note = "The linear probe at every strength of its L2 penalty. Weak penalties are on the right.";
    let mut section = SECTION.noted(note);
    for phase in record.summary.phases.iter().filter(|phase| phase.inverse_strength.is_some()) {
        let line = |split: &str, value: fn(&MetricsRow) -> f64| {
            let rows = record.metrics.iter().filter(|row| row.phase == phase.phase && row.split == split);
            let mut points: Vec<(f64, f64)> =
                rows.filter_map(|row| Some((row.inverse_strength?, value(row)))).collect();
            points.sort_by(|one, other| one.0.total_cmp(&other.0));
            Line::new(if split == "train" { "training" } else { "validation" }, points)
        };
        let view = |y: Axis, value: fn(&MetricsRow) -> f64| Lines {
            x: Axis::log("inverse strength, C"),
            y,
            lines: vec![line("train", value), line("val", value)],
            marks: phase.inverse_strength.map(|strength| (strength, "chosen".to_owned())).into_iter().collect(),
            ..Lines::default()
        };
        section = section
            .with("Accuracy", view(Axis::shares("accuracy"), |row| row.accuracy))
            .with("Loss", view(Axis::new("loss"), |row| row.loss));
    }
    Some(section)
}
