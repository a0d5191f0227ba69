//! The main findings of a run.

mod caveats;
mod confidence;
mod labels;
mod mistakes;
mod next;
mod sets;

use crate::wording::sentence;
use indexmap::IndexMap;

pub use self::confidence::Confidence;
pub(crate) use self::confidence::written as temperature;
use self::sets::Named;
use super::confusion::Confusion;
use super::findings::Findings;
use super::run_page::RunRecord;
use crate::inference::Evaluation;
use crate::run::Summary;

/// Sets that get a sentence each.
const MAX_SETS: usize = 5;
/// What is to be said where validation stands for data as in training.
const FLATTERED: &str = "There is no test split, and val also chose between models, so its accuracy is optimistic.";
/// The name of a further set that is taken to be as in training.
const TEST: &str = "test";

/// A share in percent with a decimal.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// An interval of shares in percent.
pub(super) fn interval([low, high]: [f64; 2]) -> String {
    format!("{:.1}–{:.1} %", 100.0 * low, 100.0 * high)
}

/// The set that represents data as in training: the data's own test split, else a further set of the name `test`, and
/// `val` only if there is neither, since validation made choices.
pub(super) fn in_distribution<'a>(summary: &'a Summary, further: &[String]) -> Option<(&'a String, &'a Evaluation)> {
    let mut sets = summary.splits.iter();
    let own = sets.clone().find(|(name, _)| name.as_str() != "val" && !further.contains(name));
    own.or_else(|| summary.splits.get_key_value(TEST)).or_else(|| sets.next())
}

/// The findings of a run.
pub(super) fn of_run(record: &RunRecord) -> Findings {
    let summary = &record.summary;
    let mut sentences = sentences(record);
    sentences.extend(caveats::of(record));
    sentences.extend(mistakes(record));
    let hint = summary.hint(&record.plan);
    sentences.extend(hint.as_ref().map(|hint| sentence(&hint.to_string())));
    Findings { sentences, next: next::next(record, hint.as_ref()) }
}

/// How good the model is on data as in training and on each other set, and whether confidence can be trusted.
fn sentences(record: &RunRecord) -> Vec<String> {
    let (summary, shifted) = (&record.summary, record.shifted());
    let Some(own) = in_distribution(summary, &shifted) else { return Vec::new() };
    let others = others(summary, &shifted);
    if own.1.is_of_several_labels() {
        return labels::of(own, others, |set| record.mean_average_precision(set));
    }
    let names: Vec<&String> = std::iter::once(own.0).chain(others.iter().map(|(name, _)| *name)).collect();
    let scaling = summary.temperature.as_ref();
    // Predictions that a run keeps are those before scaling.
    let temperature = scaling.map(|_| 1.0);
    let confidence = Confidence { calibration: &|set| record.calibration(set), temperature, scaling };
    let flattered = (own.0 == "val").then(|| FLATTERED.to_owned());
    [sets::of(own, others), flattered.into_iter().collect(), confidence.sentences(&names)].concat()
}

fn others<'a>(summary: &'a Summary, shifted: &[String]) -> Vec<Named<'a>> {
    shifted.iter().filter_map(|name| summary.splits.get_key_value(name)).collect()
}

/// The findings of an evaluation: the first set stands for data as in training. `mistakes` are those on a set.
pub fn evaluated(
    splits: &IndexMap<String, Evaluation>,
    confidence: &Confidence,
    mistakes: impl Fn(&str) -> Option<(Confusion, Vec<String>)>,
) -> Vec<String> {
    let Some(own) = splits.iter().next() else { return Vec::new() };
    let others: Vec<Named> = splits.iter().skip(1).collect();
    if own.1.is_of_several_labels() {
        return labels::of(own, others, |set| splits.get(set)?.mean_average_precision_estimate());
    }
    let names: Vec<&String> = splits.keys().collect();
    let mut sentences = [sets::of(own, others), confidence.sentences(&names)].concat();
    let worst = splits.iter().min_by(|one, other| one.1.score().total_cmp(&other.1.score()));
    if let Some((name, (found, classes))) = worst.and_then(|(name, _)| Some((name, mistakes(name)?))) {
        sentences.extend(mistakes::of(&found, &classes, name));
    }
    sentences
}

/// The set of lowest accuracy or, with several labels, mean average precision.
pub(super) fn worst_set(summary: &Summary) -> Option<&String> {
    let sets = summary.splits.iter();
    Some(sets.min_by(|one, other| one.1.score().total_cmp(&other.1.score()))?.0)
}

/// The classes and the pairs of classes that cost most on the worst set.
fn mistakes(record: &RunRecord) -> Vec<String> {
    let Some((predictions, name)) = record.predictions.as_ref().zip(worst_set(&record.summary)) else {
        return Vec::new();
    };
    let Some(set) = predictions.sets.iter().position(|set| set == name) else { return Vec::new() };
    let found = Confusion::count(predictions.of_set(set).map(|row| (row.label, row.predicted)));
    mistakes::of(&found, &record.summary.classes, name)
}

#[cfg(test)]
mod tests {
    use retune_analysis::intervals::wilson_interval;

    use super::*;

    fn summary(sets: &[(&str, usize, usize)]) -> Summary {
        let evaluation = |right: usize, n: usize| Evaluation {
            n,
            accuracy: right as f64 / n as f64,
            accuracy_interval: wilson_interval(right, n),
            balanced_accuracy: 0.0,
            loss: 1.0,
            ..Evaluation::default()
        };
        Summary {
            method: "lp-ft".into(),
            architecture: String::new(),
            seed: 0,
            best_epoch: 1,
            seconds: 1.0,
            training_images: 1,
            trained_parameters: 1,
            classes: Vec::new(),
            phases: Vec::new(),
            splits: sets.iter().map(|&(name, right, n)| (name.to_owned(), evaluation(right, n))).collect(),
            caveats: Vec::new(),
            interpolation: None,
            temperature: None,
            thresholds: None,
        }
    }

    #[test]
    fn losses_gains_and_ties_are_told_apart_and_the_worst_comes_first() {
        let summary = summary(&[
            ("val", 5, 10),
            ("test", 900, 1000),
            ("easy", 990, 1000),
            ("same", 895, 1000),
            ("rain", 800, 1000),
            ("fog", 700, 1000),
        ]);
        let shifted = ["easy", "same", "rain", "fog"].map(str::to_owned);
        let found = sets::of(in_distribution(&summary, &shifted).unwrap(), others(&summary, &shifted));
        // statsmodels 0.15, confint_proportions_2indep(900, 1000, 700, 1000, method="newcomb"): 0.16583 to 0.23377.
        assert_eq!(
            found[0],
            "Accuracy falls from 90.0 % on test to 70.0 % on fog: 20.0 points (95 % interval 16.6–23.4)."
        );
        assert!(found[1].starts_with("Accuracy on rain is 80.0 %, 10.0 points below test"), "{}", found[1]);
        assert!(found[2].contains("not significantly different from test (95 % interval −"), "{}", found[2]);
        assert!(found[3].contains("9.0 points above test"), "{}", found[3]);
        assert_eq!(worst_set(&summary).unwrap(), "val");
    }

    #[test]
    fn without_a_loss_the_accuracy_as_in_training_comes_first() {
        let summary = summary(&[("test", 900, 1000)]);
        let found = sets::of(in_distribution(&summary, &[]).unwrap(), Vec::new());
        assert_eq!(found, ["Accuracy on test is 90.0 % (95 % interval 88.0–91.7 %)."]);
    }

    #[test]
    fn a_further_set_named_test_stands_for_data_as_in_training_where_the_data_has_none() {
        let further = ["sketch", "test"].map(str::to_owned);
        let own = |sets: &[(&str, usize, usize)]| in_distribution(&summary(sets), &further).unwrap().0.clone();
        assert_eq!(own(&[("val", 9, 10), ("sketch", 1, 10), ("test", 8, 10)]), "test");
        assert_eq!(own(&[("val", 9, 10), ("held-out", 9, 10), ("sketch", 1, 10), ("test", 8, 10)]), "held-out");
        assert_eq!(own(&[("val", 9, 10), ("sketch", 1, 10)]), "val");
    }

    #[test]
    fn differences_are_those_of_the_numbers_shown() {
        // 0.98765 − 0.78333 is 20.4 points, but 98.8 less 78.3 is 20.5.
        let summary = summary(&[("val", 80, 81), ("other", 235, 300)]);
        let shifted = ["other".to_owned()];
        let found = sets::of(in_distribution(&summary, &shifted).unwrap(), others(&summary, &shifted));
        assert!(
            found[0].starts_with("Accuracy falls from 98.8 % on val to 78.3 % on other: 20.5 points"),
            "{}",
            found[0]
        );
    }
}
