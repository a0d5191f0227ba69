//! Whether confidence can be trusted, and whether the temperature helps.

use retune_analysis::calibration::Calibration;
use retune_figures::Format;

use super::percent;
use crate::run::{CalibrationErrors, TemperatureScaling};
use crate::wording::listed;

/// The difference between confidence and accuracy above which it gets a sentence.
const NOTABLE_GAP: f64 = 0.05;
/// How much a temperature may raise the calibration error without a sentence.
const NOTABLE_RISE: f64 = 0.02;
/// Sets that are named beside the worst.
const NAMED: usize = 3;

/// What is known of a model's confidence on sets.
pub struct Confidence<'a> {
    /// Confidence against accuracy on a set.
    pub calibration: &'a dyn Fn(&str) -> Option<Calibration>,
    /// The temperature of the probabilities that this measures; `None` of a model that has none of its own.
    pub temperature: Option<f64>,
    /// The model's own temperature, with the calibration error without and with it.
    pub scaling: Option<&'a TemperatureScaling>,
}

impl Confidence<'_> {
    /// What there is to say of sets: where confidence is furthest from accuracy, and what the temperature does there or,
    /// where it hurts, elsewhere.
    pub(super) fn sentences(&self, sets: &[&String]) -> Vec<String> {
        let worst = self.worst(sets);
        let help = || help(self.scaling?, worst.as_ref()?.0);
        let scaled = self.scaling.and_then(|scaling| harm(scaling, sets)).or_else(help);
        worst.map(|(_, sentence)| sentence).into_iter().chain(scaled).collect()
    }

    /// The set on which confidence is furthest from accuracy, with a sentence.
    fn worst<'s>(&self, sets: &[&'s String]) -> Option<(&'s String, String)> {
        let gaps = sets.iter().filter_map(|name| Some((name, (self.calibration)(name)?)));
        let (name, found) = gaps.max_by(|one, other| one.1.expected_error.total_cmp(&other.1.expected_error))?;
        if (found.confidence - found.accuracy).abs() <= NOTABLE_GAP {
            return None;
        }
        let tone = if found.confidence > found.accuracy { "Overconfident" } else { "Underconfident" };
        let at = self.temperature.map(|at| format!(" at temperature {}", written(at))).unwrap_or_default();
        let (confidence, accuracy) = (percent(found.confidence), percent(found.accuracy));
        Some((name, format!("{tone} on {name}{at}: mean confidence {confidence}, accuracy {accuracy}.")))
    }
}

/// What a temperature gains on a set.
fn help(scaling: &TemperatureScaling, set: &str) -> Option<String> {
    let errors = scaling.calibration_errors.get(set)?;
    (errors.before - errors.after > NOTABLE_RISE).then(|| changes(scaling, "lowers", set, *errors))
}

fn changes(scaling: &TemperatureScaling, change: &str, set: &str, errors: CalibrationErrors) -> String {
    format!(
        "Predicted probabilities use temperature {}, which has the lowest loss on validation; it {change} the calibration \
         error on {set} from {} to {}.",
        written(scaling.temperature),
        percent(errors.before),
        percent(errors.after)
    )
}

/// A temperature fits the images that it was fitted on; under shift, it may make confidence worse.
fn harm(scaling: &TemperatureScaling, sets: &[&String]) -> Option<String> {
    let errors = |name: &&String| scaling.calibration_errors.get(*name).copied();
    let rise = |name: &&String| errors(name).map_or(0.0, |errors| errors.after - errors.before);
    let mut hurt: Vec<&String> = sets.iter().copied().filter(|name| rise(name) > NOTABLE_RISE).collect();
    hurt.sort_by(|one, other| rise(other).total_cmp(&rise(one)));
    let (worst, others) = hurt.split_first()?;
    let errors = errors(worst)?;
    let also = match others {
        [] => String::new(),
        few if few.len() <= NAMED => {
            let few: Vec<String> = few.iter().map(|name| (*name).clone()).collect();
            format!(" The error also rises on {}.", listed(&few))
        }
        many => format!(" The error also rises on {} other sets.", many.len()),
    };
    Some(format!("{}{also}", changes(scaling, "raises", worst, errors)))
}

/// A temperature with three digits.
pub(crate) fn written(temperature: f64) -> String {
    Format::Number.text(temperature)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::CalibrationErrors;

    #[test]
    fn the_temperature_of_the_confidence_is_named_and_its_harm_told() {
        let sets = ["val", "sketch", "cartoon"].map(str::to_owned);
        let sets: Vec<&String> = sets.iter().collect();
        let errors = |before: f64, after: f64| CalibrationErrors { before, after };
        let pairs = sets.iter().map(|name| (*name).clone());
        let scaling = TemperatureScaling {
            temperature: 0.4836,
            calibration_errors: pairs.zip([errors(0.1, 0.042), errors(0.349, 0.54), errors(0.333, 0.482)]).collect(),
        };
        let calibration = |name: &str| Calibration::measure((0..10).map(|at| (0.9, name != "sketch" || at < 2)));
        let confidence = Confidence { calibration: &calibration, temperature: Some(1.0), scaling: Some(&scaling) };
        let expected = [
            "Overconfident on sketch at temperature 1: mean confidence 90.0 %, accuracy 20.0 %.",
            "Predicted probabilities use temperature 0.484, which has the lowest loss on validation; it raises the \
             calibration error on sketch from 34.9 % to 54.0 %. The error also rises on cartoon.",
        ];
        assert_eq!(confidence.sentences(&sets), expected);
        let expected = [
            "Underconfident on val at temperature 1: mean confidence 90.0 %, accuracy 100.0 %.",
            "Predicted probabilities use temperature 0.484, which has the lowest loss on validation; it lowers the \
             calibration error on val from 10.0 % to 4.2 %.",
        ];
        assert_eq!(confidence.sentences(&sets[..1]), expected);
        let plain = Confidence { temperature: None, scaling: None, ..confidence };
        assert_eq!(plain.sentences(&sets), ["Overconfident on sketch: mean confidence 90.0 %, accuracy 20.0 %."]);
    }
}
