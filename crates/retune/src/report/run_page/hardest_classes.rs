//! The classes with the lowest recall, if a matrix of all classes is illegible.

use retune_analysis::intervals::wilson_interval;

use super::{FEW_CLASSES, RunRecord, RunSection, Sheets};
use crate::report::confusion::{Confusion, Hard};
use crate::report::page::{Cell, Column, Section, Table};
use crate::report::verdict::{percent, worst_set};
use crate::wording::{counted, grouped};

/// Maximum number of rows in the table.
const MAX_ROWS: usize = 100;

pub(super) const SECTION: RunSection =
    RunSection { id: "hardest-classes", title: "Hardest classes", of_each_run: true, content };

fn content(record: &RunRecord, _: Sheets) -> Option<Section> {
    let predictions = record.predictions.as_ref()?;
    let classes = &record.summary.classes;
    if classes.len() <= FEW_CLASSES {
        return None;
    }
    let note = "The classes with the lowest recall, and the class that each is most often confused with.";
    let mut section = SECTION.noted(note).wide();
    for (set, name) in predictions.sets.iter().enumerate() {
        let found = Confusion::count(predictions.of_set(set).map(|row| (row.label, row.predicted)));
        let images = found.totals(classes.len()).into_iter().filter(|&n| n > 0).count();
        let hard = found.hardest(usize::MAX);
        let row = |hard: &Hard| {
            let taken_for = format!("{} ({})", classes[hard.taken_for], grouped(hard.mistaken));
            vec![
                Cell::text(&classes[hard.class]),
                Cell::number(grouped(hard.n), hard.n as f64),
                Cell {
                    interval: Some(wilson_interval(hard.right, hard.n)),
                    ..Cell::number(percent(hard.recall()), hard.recall())
                },
                Cell::text(taken_for),
            ]
        };
        let columns = [("Class", false), ("Images", true), ("Recall", true), ("Most often confused with", false)];
        let (shown, mistaken) = (grouped(hard.len().min(MAX_ROWS)), counted(hard.len(), "class"));
        let table = Table {
            columns: columns.into_iter().map(|(heading, number)| Column { heading: heading.into(), number }).collect(),
            rows: hard.iter().take(MAX_ROWS).map(row).collect(),
            caption: format!(
                "{shown} of {mistaken} with mistakes, of {} with images here. The prediction for every image \
                 is in predictions.csv in the run's directory.",
                grouped(images)
            ),
        };
        section = section.with(name, table);
    }
    Some(section.opened_at(worst_set(&record.summary)))
}
