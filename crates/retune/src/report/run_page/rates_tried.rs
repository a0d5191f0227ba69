//! Accuracy on validation at every learning rate.

use retune_figures::figure::Line;
use retune_figures::{Axis, Format};

use super::descents::{Descent, named};
use super::{RunRecord, RunSection, Sheets};
use crate::inference::Evaluation;
use crate::report::figures;
use crate::report::page::{Cell, Column, Section, Table};
use crate::report::verdict::{interval, percent};
use crate::train::metrics::{MetricsRow, score_name};
use crate::train::{RunnerUp, Tried};

pub(super) const SECTION: RunSection =
    RunSection { id: "rates-tried", title: "Learning rates tried", of_each_run: true, content };

fn content(record: &RunRecord, _: Sheets) -> Option<Section> {
    let descents = Descent::all(record);
    let several = |descent: &&Descent| descent.rates.len() > 1;
    let searched = |descent: &&Descent| !descent.outcome.tried.is_empty();
    descents.iter().find(|descent| several(descent) || searched(descent))?;
    let note = "Accuracy on validation at every learning rate that was tried. Rates that trained for fewer epochs were left \
                out on the way. The strong line is the chosen rate.";
    let certainty = descents.iter().filter_map(|descent| descent.outcome.runner_up()).map(|found| certainty(&found));
    let note: Vec<String> = std::iter::once(note.to_owned()).chain(certainty).collect();
    let mut section = SECTION.noted(note.join(" ")).wide();
    for descent in descents.iter().filter(searched) {
        section = section.with(named("Table", descent, &descents), tried_table(&descent.outcome.tried));
    }
    for descent in descents.iter().filter(several) {
        let line = |(rate, rows): &(f64, Vec<&MetricsRow>)| Line {
            faint: *rate != descent.chosen,
            ..Line::new(
                Format::Number.text(*rate),
                rows.iter().filter(|row| row.split == "val").map(|row| (row.epoch as f64, row.score())).collect(),
            )
        };
        let mut lines: Vec<Line> = descent.rates.iter().map(line).collect();
        // Rates that diverged at once have no row on validation.
        lines.retain(|line| !line.points.is_empty());
        let score = score_name(descent.rates.iter().flat_map(|(_, rows)| rows.iter().copied()));
        let lines = figures::over_epochs(Axis::shares(format!("{score} on validation")), lines);
        let heading = if score == "accuracy" { "Accuracy" } else { "Mean average precision" };
        section = section.with(named(heading, descent, &descents), lines);
    }
    Some(section)
}

/// How sure the choice of a learning rate is, in a sentence.
fn certainty(runner_up: &RunnerUp) -> String {
    let verdict = if runner_up.is_told_apart() { "tell" } else { "do not tell" };
    format!(
        "The validation images {verdict} the chosen rate from the next, {:e}: their {} differs by {} after {} epochs, \
         with a standard error of {}.",
        runner_up.learning_rate,
        runner_up.score,
        percent(runner_up.lead.abs()),
        runner_up.epochs,
        percent(runner_up.standard_error)
    )
}

/// A row for each training that a search made.
fn tried_table(tried: &[Tried]) -> Table {
    let row = |tried: &Tried| {
        let mut cells = vec![
            Cell::number(format!("{:e}", tried.learning_rate), tried.learning_rate),
            Cell::number(tried.epochs.to_string(), tried.epochs as f64),
        ];
        match &tried.validation {
            Some(found) => cells.extend([
                Cell::number(tried.epoch.to_string(), tried.epoch as f64),
                Cell::number(percent(found.score()), found.score()),
                match found.is_of_several_labels() {
                    true => Cell::text("–"),
                    false => Cell {
                        interval: Some(found.accuracy_interval),
                        ..Cell::number(interval(found.accuracy_interval), found.accuracy)
                    },
                },
                Cell::number(format!("{:.3}", found.loss), found.loss),
            ]),
            None => cells.extend(["diverged", "–", "–", "–"].map(Cell::text)),
        }
        cells
    };
    let several_labels =
        tried.iter().filter_map(|tried| tried.validation.as_ref()).any(Evaluation::is_of_several_labels);
    let score = if several_labels { "Mean average precision" } else { "Accuracy" };
    let headings = ["Learning rate", "Epochs", "Best epoch", score, "95 % interval", "Loss"];
    Table {
        columns: headings.map(|heading| Column { heading: heading.into(), number: true }).into(),
        rows: tried.iter().map(row).collect(),
        caption: String::new(),
    }
}
