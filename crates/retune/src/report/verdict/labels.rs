//! Mean average precision on data as in training and on each other set, the worst first.

use retune_analysis::intervals::{Estimate, estimate_difference};

use super::sets::Named;
use super::{MAX_SETS, interval, percent};
use crate::report::findings::{points, points_between};

/// The loss under shift first, then the other sets, then how often all labels are right. `estimate` gives a set's mean
/// average precision with its interval, where it is known.
pub(super) fn of(own: Named, mut others: Vec<Named>, estimate: impl Fn(&str) -> Option<Estimate>) -> Vec<String> {
    others.sort_by(|one, other| one.1.score().total_cmp(&other.1.score()));
    let difference = |other: &Named| Some(estimate_difference(estimate(own.0)?, estimate(other.0)?));
    let falls = |other: &&Named| difference(other).map_or(other.1.score() < own.1.score(), |[low, _]| low > 0.0);
    let (own_name, score) = (own.0, percent(own.1.score()));
    let mut sentences = Vec::new();
    match others.first().filter(falls).copied() {
        Some(worst) => {
            let lost = points_between(worst.1.score(), own.1.score());
            let (name, lower) = (worst.0, percent(worst.1.score()));
            let range = difference(&worst).map(|[low, high]| within(points(low), points(high))).unwrap_or_default();
            sentences.push(format!(
                "Mean average precision falls from {score} on {own_name} to {lower} on {name}: {lost} points{range}."
            ));
            others.remove(0);
        }
        None => {
            let range = estimate(own_name).map(|found| format!(" (95 % interval {})", interval(found.interval)));
            sentences.push(format!("Mean average precision on {own_name} is {score}{}.", range.unwrap_or_default()));
        }
    }
    sentences.extend(others.iter().take(MAX_SETS).map(|other| against(*other, own, difference(other))));
    if let Some(more) = others.len().checked_sub(MAX_SETS).filter(|more| *more > 0) {
        let have = if more == 1 { "set has" } else { "sets have" };
        sentences.push(format!("{more} other {have} a higher one."));
    }
    sentences.push(format!("On {own_name}, all labels are right for {} of the images.", percent(own.1.accuracy)));
    sentences
}

/// Mean average precision on a set beside that on data as in training.
fn against((name, found): Named, (own_name, own): Named, difference: Option<[f64; 2]>) -> String {
    let score = format!("Mean average precision on {name} is {}", percent(found.score()));
    let below = found.score() < own.score();
    let (side, least, most) =
        if below { ("below", found.score(), own.score()) } else { ("above", own.score(), found.score()) };
    let apart = points_between(least, most);
    match difference {
        Some([low, high]) if low <= 0.0 && high >= 0.0 => {
            let (low, high) = (points(-high), points(-low));
            format!("{score}, not significantly different from {own_name} (95 % interval {low} to {high} points).")
        }
        Some([low, high]) => {
            let (low, high) = if below { (low, high) } else { (-high, -low) };
            format!("{score}, {apart} points {side} {own_name}{}.", within(points(low), points(high)))
        }
        None => format!("{score}, {apart} points {side} {own_name}."),
    }
}

fn within(low: String, high: String) -> String {
    format!(" (95 % interval {low}–{high})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::Evaluation;

    fn of_labels(score: f64) -> Evaluation {
        Evaluation {
            n: 100,
            accuracy: 0.742,
            micro_f1: Some(0.5),
            mean_average_precision: Some(score),
            ..Evaluation::default()
        }
    }

    #[test]
    fn the_fall_comes_first_and_differences_have_intervals() {
        let names = ["val", "test", "cartoon"].map(str::to_owned);
        let sets = [0.928, 0.873, 0.585].map(of_labels);
        let named = |at: usize| (&names[at], &sets[at]);
        let estimate = |name: &str| {
            let mean = sets[names.iter().position(|known| known == name)?].score();
            Some(Estimate { mean, interval: [mean - 0.03, mean + 0.04] })
        };
        let found = of(named(0), vec![named(1), named(2)], estimate);
        // The square root of 0.03² + 0.04² is 0.05, on either side.
        let expected = [
            "Mean average precision falls from 92.8 % on val to 58.5 % on cartoon: 34.3 points (95 % interval 29.3–39.3).",
            "Mean average precision on test is 87.3 %, 5.5 points below val (95 % interval 0.5–10.5).",
            "On val, all labels are right for 74.2 % of the images.",
        ];
        assert_eq!(found, expected);
        let without = of(named(0), vec![named(1)], |_| None);
        assert_eq!(without[0], "Mean average precision falls from 92.8 % on val to 87.3 % on test: 5.5 points.");
    }
}
