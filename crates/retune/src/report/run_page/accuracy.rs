//! Accuracy on each set.

use super::{RunRecord, RunSection, Sheets};
use crate::inference::{Evaluation, GroupAccuracy};
use crate::report::page::{Cell, Column, Section, Table};
use crate::report::verdict::{interval, percent};
use crate::wording::grouped;

pub(super) const SECTION: RunSection = RunSection { id: "accuracy", title: "Accuracy", of_each_run: false, content };

fn content(record: &RunRecord, _: Sheets) -> Option<Section> {
    let splits = &record.summary.splits;
    let groups = splits.values().any(|evaluation| evaluation.worst_group.is_some());
    let calibrated = record.predictions.is_some();
    let further = further(splits.values());
    let several_labels = splits.values().any(Evaluation::is_of_several_labels);
    let accuracy = if several_labels { "All labels right" } else { "Accuracy" };
    let mut columns = vec![("Set", false), ("Images", true), (accuracy, true), ("95 % interval", true)];
    columns.extend([("Balanced accuracy", true)]);
    columns.extend(further.iter().map(|(heading, _)| (*heading, true)));
    columns.push(("Loss", true));
    columns.extend(calibrated.then_some(("Calibration error", true)));
    let scaling = record.summary.temperature.as_ref();
    columns.extend(scaling.map(|_| ("At temperature", true)));
    columns.extend(groups.then_some(("Worst group", true)));
    let row = |(name, evaluation): (&String, &Evaluation)| {
        let mut cells = vec![
            Cell::text(name),
            Cell::number(grouped(evaluation.n), evaluation.n as f64),
            Cell::number(percent(evaluation.accuracy), evaluation.accuracy),
            Cell {
                interval: Some(evaluation.accuracy_interval),
                ..Cell::number(interval(evaluation.accuracy_interval), evaluation.accuracy)
            },
            Cell::number(percent(evaluation.balanced_accuracy), evaluation.balanced_accuracy),
        ];
        cells.extend(further.iter().map(|(_, value)| share(value(evaluation))));
        cells.push(Cell::number(format!("{:.3}", evaluation.loss), evaluation.loss));
        if calibrated {
            let error = record.calibration(name).map(|found| found.expected_error);
            cells.push(share(error));
        }
        if let Some(scaling) = scaling {
            cells.push(share(scaling.calibration_errors.get(name).map(|errors| errors.after)));
        }
        if groups {
            let worst = evaluation.worst_group.as_ref();
            cells.push(worst.map_or_else(
                || Cell::text("–"),
                |worst| {
                    Cell::number(
                        format!("{} {} (n = {})", worst.group, percent(worst.accuracy), worst.n),
                        worst.accuracy,
                    )
                },
            ));
        }
        cells
    };
    let table = Table {
        columns: columns.into_iter().map(|(heading, number)| Column { heading: heading.into(), number }).collect(),
        rows: splits.iter().map(row).collect(),
        caption: scaling.map_or_else(String::new, |scaling| {
            format!(
                "At temperature: the calibration error of the logits divided by {:.3}, which was fitted on val. These are \
                 the probabilities that retune predict gives.",
                scaling.temperature
            )
        }),
    };
    let note = "Validation chose rates, epochs, and checkpoints, so its own accuracy is slightly optimistic. The other sets \
                did not influence any choice. Intervals are Wilson’s.";
    let grouped: Vec<_> = splits.iter().filter(|(_, evaluation)| evaluation.groups.len() > 1).collect();
    let section = SECTION.noted(note).wide().with(if grouped.is_empty() { "" } else { "All sets" }, table);
    let with_groups = |section: Section, (name, evaluation): (&String, &Evaluation)| {
        section.with(format!("Groups of {name}"), group_table(evaluation))
    };
    Some(grouped.into_iter().fold(section, with_groups))
}

/// A column of the table: its heading, and its value for a set.
type Measure = (&'static str, fn(&Evaluation) -> Option<f64>);

/// Measures that not every result has, each with its heading.
fn further<'a>(evaluations: impl Iterator<Item = &'a Evaluation> + Clone) -> Vec<Measure> {
    let mut measures: Vec<Measure> = vec![
        ("Mean average precision", |evaluation| evaluation.mean_average_precision),
        ("Micro F1", |evaluation| evaluation.micro_f1),
        ("Top-5 accuracy", |evaluation| evaluation.top5_accuracy),
        ("Macro F1", |evaluation| evaluation.macro_f1),
        ("AUROC", |evaluation| evaluation.auroc),
    ];
    measures.retain(|(_, value)| evaluations.clone().any(|evaluation| value(evaluation).is_some()));
    measures
}

fn share(value: Option<f64>) -> Cell {
    value.map_or_else(|| Cell::text("–"), |value| Cell::number(percent(value), value))
}

/// A row for each group, the least accurate first.
fn group_table(evaluation: &Evaluation) -> Table {
    let columns = [("Group", false), ("Images", true), ("Accuracy", true)];
    let row = |group: &GroupAccuracy| {
        vec![
            Cell::text(&group.group),
            Cell::number(grouped(group.n), group.n as f64),
            Cell::number(percent(group.accuracy), group.accuracy),
        ]
    };
    Table {
        columns: columns.into_iter().map(|(heading, number)| Column { heading: heading.into(), number }).collect(),
        rows: evaluation.groups.iter().map(row).collect(),
        caption: String::new(),
    }
}
