//! Accuracy on each set.

use super::{RunRecord, RunSection, Sheets};
use crate::inference::{Evaluation, GroupAccuracy};
use crate::report::page::{Cell, Column, Section, Table};
use crate::report::verdict::{interval, percent, temperature};
use crate::wording::grouped;

pub(super) const SECTION: RunSection = RunSection { id: "accuracy", title: "Accuracy", of_each_run: false, content };

fn content(record: &RunRecord, _: Sheets) -> Option<Section> {
    let splits = &record.summary.splits;
    let groups = splits.values().any(|evaluation| evaluation.worst_group.is_some());
    let calibrated = record.predictions.is_some();
    let further = further(splits.values());
    let several_labels = splits.values().any(Evaluation::is_of_several_labels);
    let scaling = record.summary.temperature.as_ref();
    let scaled =
        scaling.map(|scaling| format!("Calibration error at temperature {}", temperature(scaling.temperature)));
    let mut headings = vec!["Images"];
    if several_labels {
        headings.extend(["Mean average precision", "95 % interval", "All labels right", "95 % interval"]);
    } else {
        headings.extend(["Accuracy", "95 % interval"]);
    }
    headings.push("Balanced accuracy");
    headings.extend(further.iter().map(|(heading, _)| *heading));
    headings.push("Loss");
    headings.extend(calibrated.then_some("Calibration error"));
    headings.extend(scaled.as_deref());
    headings.extend(groups.then_some("Worst group"));
    let numbers = headings.into_iter().map(|heading| (heading, true));
    let columns = std::iter::once(("Set", false)).chain(numbers);
    let row = |(name, evaluation): (&String, &Evaluation)| {
        let mut cells = vec![Cell::text(name), Cell::number(grouped(evaluation.n), evaluation.n as f64)];
        if several_labels {
            let estimate = record.mean_average_precision(name);
            cells.extend(with_interval(evaluation.score(), estimate.map(|estimate| estimate.interval)));
        }
        cells.extend(with_interval(evaluation.accuracy, Some(evaluation.accuracy_interval)));
        cells.push(share(Some(evaluation.balanced_accuracy)));
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
        columns: columns.map(|(heading, number)| Column { heading: heading.into(), number }).collect(),
        rows: splits.iter().map(row).collect(),
        caption: scaling.map_or_else(String::new, |scaling| {
            format!(
                "The temperature {} divides the logits and was fitted on val. The probabilities that retune predict gives \
                 are at this temperature; the figures below are at temperature 1.",
                temperature(scaling.temperature)
            )
        }),
    };
    let note = note(splits.len() > 1, several_labels);
    let grouped: Vec<_> = splits.iter().filter(|(_, evaluation)| evaluation.groups.len() > 1).collect();
    let section = SECTION.noted(note).wide().with(if grouped.is_empty() { "" } else { "All sets" }, table);
    let with_groups = |section: Section, (name, evaluation): (&String, &Evaluation)| {
        section.with(format!("Groups of {name}"), group_table(evaluation))
    };
    Some(grouped.into_iter().fold(section, with_groups))
}

fn note(has_others: bool, several_labels: bool) -> String {
    let chosen = "Validation chose rates, epochs, and checkpoints, so its own accuracy is slightly optimistic.";
    let others = if has_others { " The other sets did not influence any choice." } else { "" };
    let intervals = if several_labels {
        "Intervals of mean average precision come from the bootstrap over images; the others are Wilson’s."
    } else {
        "Intervals are Wilson’s."
    };
    format!("{chosen}{others} {intervals}")
}

/// A share, then its interval.
fn with_interval(value: f64, range: Option<[f64; 2]>) -> [Cell; 2] {
    let range = match range {
        Some(range) => Cell { interval: Some(range), ..Cell::number(interval(range), value) },
        None => Cell::text("–"),
    };
    [share(Some(value)), range]
}

/// A column of the table: its heading, and its value for a set.
type Measure = (&'static str, fn(&Evaluation) -> Option<f64>);

/// Measures that not every result has, each with its heading.
fn further<'a>(evaluations: impl Iterator<Item = &'a Evaluation> + Clone) -> Vec<Measure> {
    let mut measures: Vec<Measure> = vec![
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
