//! Intervals and standings from accuracies alone, for runs from before predictions were kept.

use retune_analysis::intervals::{Estimate, paired_difference, proportion_difference};

use super::{Column, MethodRow};

/// Mean accuracy in a column with its interval: Student's at 90 % over seeds or, for a single run, Wilson's at 95 % over
/// images. A worst group has no interval then, because Wilson's does not account for its selection; nor has a mean average
/// precision, which is no share of images.
pub(super) fn estimate(row: &MethodRow, column: &Column) -> Option<Estimate> {
    let accuracies: Vec<f64> = row.accuracies(column).into_values().collect();
    match accuracies.as_slice() {
        [] => None,
        [only] => {
            let evaluation = row.runs.values().find_map(|summary| summary.splits.get(&column.set))?;
            let is_share_of_images = !column.worst_group && !evaluation.is_of_several_labels();
            let interval = if is_share_of_images { evaluation.accuracy_interval } else { [*only; 2] };
            Some(Estimate { mean: *only, interval })
        }
        several => Some(Estimate::over_seeds(several)),
    }
}

/// Whether a method is worse than the best. With several seeds, it is if the 90 % interval of their differences, seed by
/// seed, lies below 0 (a paired t-test). With one, or if every seed gave the same difference, so that their spread says
/// nothing, it is if Newcombe's 95 % interval of the difference of two independent proportions lies below 0; the images
/// are the same for both, so this is cautious.
pub(super) fn is_worse(row: &MethodRow, best: &MethodRow, column: &Column) -> bool {
    let (own, other) = (row.accuracies(column), best.accuracies(column));
    let differences: Vec<f64> = own.iter().filter_map(|(seed, value)| Some(value - other.get(seed)?)).collect();
    let paired = paired_difference(&differences);
    if differences.len() > 1 && paired.reach() > 1e-12 {
        return paired.interval[1] < 0.0;
    }
    let counts = |row: &MethodRow| {
        let evaluation = row.runs.values().find_map(|run| run.splits.get(&column.set))?;
        let accuracy = column.accuracy(evaluation).filter(|_| !evaluation.is_of_several_labels())?;
        let n = if column.worst_group { evaluation.worst_group.as_ref()?.n } else { evaluation.n };
        Some(((accuracy * n as f64).round() as usize, n))
    };
    let difference = counts(row).zip(counts(best)).map(|(own, other)| proportion_difference(own, other));
    difference.is_some_and(|[_, high]| high < 0.0)
}
