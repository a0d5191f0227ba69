//! Accuracy on data as in training and on each other set, the worst first.

use retune_analysis::intervals::proportion_difference;

use super::{MAX_SETS, interval, percent};
use crate::inference::Evaluation;
use crate::report::findings::{points, points_between};

/// A set by its name.
pub(super) type Named<'a> = (&'a String, &'a Evaluation);

/// The loss under shift first, then the other sets.
pub(super) fn of(own: Named, mut others: Vec<Named>) -> Vec<String> {
    others.sort_by(|one, other| one.1.accuracy.total_cmp(&other.1.accuracy));
    let mut sentences = Vec::new();
    match others.first().filter(|(_, worst)| difference(own.1, worst)[0] > 0.0) {
        Some(worst) => {
            sentences.push(fall(own, *worst));
            others.remove(0);
        }
        None => {
            let (accuracy, range) = (percent(own.1.accuracy), interval(own.1.accuracy_interval));
            sentences.push(format!("Accuracy on {} is {accuracy} (95 % interval {range}).", own.0));
        }
    }
    sentences.extend(others.iter().take(MAX_SETS).map(|other| against(*other, own)));
    if let Some(more) = others.len().checked_sub(MAX_SETS).filter(|more| *more > 0) {
        let are = if more == 1 { "set is" } else { "sets are" };
        sentences.push(format!("{more} other {are} closer to {}.", own.0));
    }
    sentences
}

fn fall((own_name, own): Named, (name, worst): Named) -> String {
    let [low, high] = difference(own, worst);
    format!(
        "Accuracy falls from {} on {own_name} to {} on {name}: {} points (95 % interval {}–{}).",
        percent(own.accuracy),
        percent(worst.accuracy),
        points_between(worst.accuracy, own.accuracy),
        points(low),
        points(high)
    )
}

/// The interval of how much higher accuracy is on one set than on another.
pub(super) fn difference(one: &Evaluation, other: &Evaluation) -> [f64; 2] {
    let counts = |found: &Evaluation| ((found.accuracy * found.n as f64).round() as usize, found.n);
    proportion_difference(counts(one), counts(other))
}

/// Accuracy on a set beside that on data as in training.
fn against((name, found): Named, (own_name, own): Named) -> String {
    let [low, high] = difference(own, found);
    let accuracy = format!("Accuracy on {name} is {}", percent(found.accuracy));
    if low > 0.0 {
        let (lost, low, high) = (points_between(found.accuracy, own.accuracy), points(low), points(high));
        format!("{accuracy}, {lost} points below {own_name} (95 % interval {low}–{high}).")
    } else if high < 0.0 {
        let (gain, low, high) = (points_between(own.accuracy, found.accuracy), points(-high), points(-low));
        format!("{accuracy}, {gain} points above {own_name} (95 % interval {low}–{high}).")
    } else {
        let (low, high) = (points(-high), points(-low));
        format!("{accuracy}, not significantly different from {own_name} (95 % interval {low} to {high} points).")
    }
}
