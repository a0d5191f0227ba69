//! Accuracy on validation at every learning rate.

use retune_figures::Axis;
use retune_figures::figure::Line;

use super::descents::{Descent, named};
use super::{RunRecord, RunSection, Sheets};
use crate::inference::Evaluation;
use crate::report::figures;
use crate::report::findings::rates;
use crate::report::page::{Cell, Column, Section, Table};
use crate::report::verdict::{interval, percent};
use crate::train::metrics::{MetricsRow, score_name};
use crate::train::{PhaseOutcome, Tried};
use crate::wording::sentence;

pub(super) const SECTION: RunSection =
    RunSection { id: "rates-tried", title: "Learning rates tried", of_each_run: true, content };

fn content(record: &RunRecord, _: Sheets) -> Option<Section> {
    let descents = Descent::all(record);
    let several = |descent: &&Descent| descent.rates.len() > 1;
    let searched = |descent: &&Descent| !descent.outcome.tried.is_empty();
    descents.iter().find(|descent| several(descent) || searched(descent))?;
    let mut section = SECTION.noted(note(&descents, descents.iter().any(|descent| several(&descent)))).wide();
    for descent in descents.iter().filter(searched) {
        section = section.with(named("Table", descent, &descents), tried_table(descent.outcome));
    }
    for descent in descents.iter().filter(several) {
        let line = |(rate, rows): &(f64, Vec<&MetricsRow>)| Line {
            faint: *rate != descent.chosen,
            ..Line::new(
                format!("{rate:e}"),
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

fn note(descents: &[Descent], has_lines: bool) -> String {
    let mut note = "Accuracy on validation at every learning rate that was tried.".to_owned();
    if descents.iter().any(|descent| is_halved(&descent.outcome.tried)) {
        note.push_str(" Rates that trained for fewer epochs were left out on the way.");
    }
    if has_lines {
        note.push_str(" The strong line is the chosen rate.");
    }
    for runner_up in descents.iter().filter_map(|descent| descent.outcome.runner_up()) {
        note.push_str(&format!(" {}", sentence(&rates::certainty(&runner_up))));
    }
    note
}

/// Whether some trainings were shorter than others.
fn is_halved(tried: &[Tried]) -> bool {
    tried.windows(2).any(|pair| pair[0].epochs != pair[1].epochs)
}

/// What became of a training.
fn fate(outcome: &PhaseOutcome, tried: &Tried) -> &'static str {
    let longest = outcome.tried.iter().map(|tried| tried.epochs).max().unwrap_or(0);
    let averaged = outcome.soup.as_ref().is_some_and(|rates| rates.contains(&tried.learning_rate));
    match tried.epochs == longest {
        false => "short",
        true if outcome.learning_rate == Some(tried.learning_rate) => "chosen",
        true if averaged => "averaged",
        true => "in full",
    }
}

/// A row for each training that a search made.
fn tried_table(outcome: &PhaseOutcome) -> Table {
    let tried = &outcome.tried;
    let row = |tried: &Tried| {
        let mut cells = vec![
            Cell::text(fate(outcome, tried)),
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
    let headings = ["Training", "Learning rate", "Epochs", "Best epoch", score, "95 % interval", "Loss"];
    let column = |(at, heading): (usize, &str)| Column { heading: heading.into(), number: at > 0 };
    Table {
        columns: headings.into_iter().enumerate().map(column).collect(),
        rows: tried.iter().map(row).collect(),
        caption: String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_training_is_told_from_its_short_run() {
        let validation = Evaluation { n: 10, accuracy: 0.9, ..Evaluation::default() };
        let tried = |learning_rate: f64, epochs: usize| Tried {
            learning_rate,
            epochs,
            epoch: 1,
            validation: Some(validation.clone()),
        };
        let outcome = PhaseOutcome {
            phase: "fine-tuning".into(),
            learning_rate: Some(3e-4),
            inverse_strength: None,
            alpha: None,
            soup: None,
            epoch: 1,
            validation: validation.clone(),
            tried: vec![tried(1e-4, 1), tried(3e-4, 1), tried(3e-4, 3), tried(1e-3, 3)],
            cut: None,
        };
        let rows = tried_table(&outcome).rows;
        let first: Vec<(&str, &str)> = rows.iter().map(|row| (row[0].text.as_str(), row[1].text.as_str())).collect();
        assert_eq!(first, [("short", "1e-4"), ("short", "3e-4"), ("chosen", "3e-4"), ("in full", "1e-3")]);
    }
}
