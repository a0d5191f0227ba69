//! The main findings of a run, in sentences.

use retune_analysis::calibration::Calibration;
use retune_analysis::intervals::proportion_difference;

use crate::inference::Evaluation;
use crate::run::Summary;

/// The difference between confidence and accuracy above which it gets a sentence.
const NOTABLE_GAP: f64 = 0.05;

/// A share in percent with a decimal.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// An interval of shares in percent.
pub(super) fn interval([low, high]: [f64; 2]) -> String {
    format!("{:.1}–{:.1} %", 100.0 * low, 100.0 * high)
}

fn points(share: f64) -> String {
    // A minus sign as typographers have it.
    format!("{:.1}", 100.0 * share).replace('-', "−")
}

/// The set that represents data as in training: the first that is not in `shifted`, and `val` only if there is no
/// other.
pub(super) fn in_distribution<'a>(summary: &'a Summary, shifted: &[String]) -> Option<(&'a String, &'a Evaluation)> {
    let own = |(name, _): &(&String, &Evaluation)| !shifted.contains(name);
    let mut sets = summary.splits.iter().filter(own);
    sets.clone().find(|(name, _)| name.as_str() != "val").or_else(|| sets.next())
}

/// Accuracy on data as in training, the loss of accuracy on each other set, and whether confidence can be trusted.
pub(super) fn sentences(
    summary: &Summary,
    shifted: &[String],
    calibration: impl Fn(&str) -> Option<Calibration>,
) -> Vec<String> {
    let Some((own_name, own)) = in_distribution(summary, shifted) else { return Vec::new() };
    let mut sentences = vec![format!(
        "{} is right on {} of {own_name} ({}).",
        summary.method,
        percent(own.accuracy),
        interval(own.accuracy_interval)
    )];
    let counts = |evaluation: &Evaluation| ((evaluation.accuracy * evaluation.n as f64).round() as usize, evaluation.n);
    for name in shifted {
        let Some(evaluation) = summary.splits.get(name) else { continue };
        let [low, high] = proportion_difference(counts(own), counts(evaluation));
        let lost = own.accuracy - evaluation.accuracy;
        let accuracy = percent(evaluation.accuracy);
        sentences.push(if low > 0.0 {
            format!(
                "On {name} it is right on {accuracy}: {} points fewer ({} to {}).",
                points(lost),
                points(low),
                points(high)
            )
        } else if high < 0.0 {
            let (gain, from, to) = (points(-lost), points(-high), points(-low));
            format!("On {name} it is right on {accuracy}: {gain} points more ({from} to {to}).")
        } else {
            let (least, most) = (points(-high), points(-low));
            format!("On {name} it is right on {accuracy}: no significant difference ({least} to {most} points).")
        });
    }
    let gaps = std::iter::once(own_name).chain(shifted).filter_map(|name| Some((name, calibration(name)?)));
    let worst = gaps.max_by(|one, other| one.1.expected_error.total_cmp(&other.1.expected_error));
    if let Some((name, found)) = worst.filter(|(_, found)| (found.confidence - found.accuracy).abs() > NOTABLE_GAP) {
        let (tone, confidence) =
            (if found.confidence > found.accuracy { "overconfident" } else { "underconfident" }, found.confidence);
        sentences.push(format!("It is {tone} on {name}: its mean confidence is {}.", percent(confidence)));
    }
    sentences
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
            interpolation: None,
            temperature: None,
            thresholds: None,
        }
    }

    #[test]
    fn losses_gains_and_ties_are_told_apart() {
        let summary = summary(&[
            ("val", 5, 10),
            ("test", 900, 1000),
            ("fog", 700, 1000),
            ("same", 895, 1000),
            ("easy", 990, 1000),
        ]);
        let shifted = ["fog", "same", "easy"].map(str::to_owned);
        let found = sentences(&summary, &shifted, |_| None);
        assert_eq!(found[0], "lp-ft is right on 90.0 % of test (88.0–91.7 %).");
        // statsmodels 0.15, confint_proportions_2indep(900, 1000, 700, 1000, method="newcomb"): 0.16583 to 0.23377.
        assert_eq!(found[1], "On fog it is right on 70.0 %: 20.0 points fewer (16.6 to 23.4).");
        assert!(found[2].contains("no significant difference (−"), "{}", found[2]);
        assert!(found[3].contains("9.0 points more"), "{}", found[3]);
    }

    #[test]
    fn confidence_that_is_wrong_is_told() {
        let calibration = |name: &str| Calibration::measure((0..10).map(|index| (0.9, name == "val" && index < 9)));
        let found = sentences(&summary(&[("val", 9, 10), ("fog", 0, 10)]), &["fog".into()], calibration);
        assert_eq!(found[2], "It is overconfident on fog: its mean confidence is 90.0 %.");
    }
}
