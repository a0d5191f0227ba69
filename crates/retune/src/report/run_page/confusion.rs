//! Confusion of classes in every set.

use retune_figures::figure;

use super::{FEW_CLASSES, RunRecord, RunSection, Sheets};
use crate::report::confusion::Confusion;
use crate::report::figures;
use crate::report::page::{Confusions, Pair, Section};
use crate::report::verdict::worst_set;
use crate::run::record::Prediction;

/// Pairs listed beside a confusion matrix of few classes, and of many.
const PAIRS: [usize; 2] = [8, 20];
/// Examples of each pair.
const EXAMPLES: usize = 5;

pub(super) const SECTION: RunSection = RunSection { id: "confusion", title: "Confusion", of_each_run: true, content };

fn content(record: &RunRecord, sheets: Sheets) -> Option<Section> {
    let predictions = record.predictions.as_ref()?;
    let classes = &record.summary.classes;
    let note = "Rows are true classes, columns are predictions.";
    let hint = "Point at a cell to see its counts; arrow keys move.";
    let mut section = SECTION.noted(note).hinted(hint).wide();
    for (set, name) in predictions.sets.iter().enumerate() {
        let rows: Vec<&Prediction> = predictions.of_set(set).collect();
        let found = Confusion::count(rows.iter().map(|row| (row.label, row.predicted)));
        let totals = found.totals(classes.len());
        let pair = |(label, predicted, n): (usize, usize, usize)| {
            let of_pair = rows.iter().filter(|row| (row.label, row.predicted) == (label, predicted));
            let examples = of_pair.filter_map(|row| row.sample).take(EXAMPLES).collect();
            let [label, predicted, of] = [label, predicted, totals[label]];
            Pair { label: classes[label].clone(), predicted: classes[predicted].clone(), n, of, examples }
        };
        let most = PAIRS[usize::from(classes.len() > FEW_CLASSES)];
        let pairs = found.most_confused(most).into_iter().map(pair).collect();
        // Lists of pairs and classes stand beside and below the matrix.
        let matrix = figure::Confusion { rankings: Vec::new(), ..figures::confusion("", classes, &found) };
        section = section.with(name, Confusions { pairs, sheet: sheets.samples, ..Confusions::new(matrix) });
    }
    let perfect = predictions.rows.iter().all(|row| row.label == row.predicted);
    Some(section.opened_at(worst_set(&record.summary)).folded_if(perfect))
}
