//! Accuracy on each set, and along a line of weights.

use retune_figures::Axis;
use retune_figures::figure::{Point, Scatter};

use super::RunRecord;
use crate::inference::{Evaluation, GroupAccuracy};
use crate::report::figures;
use crate::report::page::{Cell, Column, Section, Table, grouped};
use crate::report::verdict::{in_distribution, interval, percent};
use crate::run::CurvePoint;

pub(super) fn accuracies(record: &RunRecord) -> Section {
    let splits = &record.summary.splits;
    let groups = splits.values().any(|evaluation| evaluation.worst_group.is_some());
    let calibrated = record.predictions.is_some();
    let further = further(splits.values());
    let mut columns = vec![("Set", false), ("Images", true), ("Accuracy", true), ("95 % interval", true)];
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
    let section = Section::new("Accuracy", note).wide().with(if grouped.is_empty() { "" } else { "All sets" }, table);
    grouped
        .into_iter()
        .fold(section, |section, (name, evaluation)| section.with(format!("Groups of {name}"), group_table(evaluation)))
}

/// A column of the table: its heading, and its value for a set.
type Measure = (&'static str, fn(&Evaluation) -> Option<f64>);

/// Measures that not every result has, each with its heading.
fn further<'a>(evaluations: impl Iterator<Item = &'a Evaluation> + Clone) -> Vec<Measure> {
    let mut measures: Vec<Measure> = vec![
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

pub(super) fn interpolation(record: &RunRecord) -> Option<Section> {
    let curve = record.summary.interpolation.as_ref()?;
    let (own, _) = in_distribution(&record.summary, &record.shifted())?;
    let note = "Models on the line between two sets of weights (Wortsman et al. 2022). α = 0 is the linear probe, \
                α = 1 the fine-tuned model.";
    let mut section = Section::new("Between probe and fine-tuning", note);
    for set in record.shifted() {
        let point = |point: &CurvePoint| {
            let (x, y) = (point.splits.get(own)?, point.splits.get(&set)?);
            Some(Point {
                label: format!("α = {}", point.alpha),
                x: x.accuracy,
                y: y.accuracy,
                x_interval: None,
                y_interval: None,
            })
        };
        let scatter = Scatter {
            x: Axis::shares(format!("accuracy on {own}")),
            y: Axis::shares(format!("accuracy on {set}")),
            points: curve.iter().filter_map(point).collect(),
            joined: true,
            diagonal: true,
            ..Scatter::default()
        };
        section = section.with(format!("{own} against {set}"), scatter);
    }
    Some(section.with("Along α", figures::interpolation("", curve)))
}
