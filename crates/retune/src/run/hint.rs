//! What a run's outcome suggests to try next.

use std::fmt;

use super::Summary;
use crate::plan::{Gradient, Plan, Solver};
use crate::train::PhaseOutcome;

/// A loss this many times that of guessing is no bad luck: the model is sure of what is wrong.
const FAR_ABOVE_GUESSING: f64 = 3.0;

/// What a run's outcome suggests to try next, said in a sentence without a full stop.
#[derive(Clone, Debug, PartialEq)]
pub enum Hint {
    /// The loss is far above that of a model that finds all classes equally likely.
    FarAboveGuessing {
        /// The loss on validation at the end.
        loss: f64,
        /// The loss of guessing, ln(classes).
        guessing: f64,
        /// The rate of the last descent.
        learning_rate: f64,
    },
    /// The model is right no more often than one that guesses.
    NoBetterThanGuessing {
        /// The mean of the classes' accuracies on validation, 0 to 1.
        accuracy: f64,
        /// What guessing has, 1 / classes.
        guessing: f64,
    },
    /// The last phase did harm on validation.
    NoGain {
        /// The last phase.
        phase: String,
        /// Accuracy on validation after it.
        accuracy: f64,
        /// The phase before it.
        before: String,
        /// Accuracy on validation after that.
        accuracy_before: f64,
    },
    /// The last descent would have liked a larger rate or more epochs.
    AtTheEdge,
}

impl fmt::Display for Hint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FarAboveGuessing { loss, guessing, learning_rate } => write!(
                formatter,
                "the loss on validation at the end, {}, is far above that of guessing ({guessing:.2}); the learning rate \
                 {learning_rate} is too large",
                shown(*loss)
            ),
            Self::NoBetterThanGuessing { accuracy, guessing } => write!(
                formatter,
                "balanced accuracy {:.1} % on validation is no better than guessing ({:.1} %)",
                100.0 * accuracy,
                100.0 * guessing
            ),
            Self::NoGain { phase, accuracy, before, accuracy_before } => write!(
                formatter,
                "{phase} did not help on validation ({:.1} % after {:.1} %); a smaller learning rate may do better, or \
                 stopping at the {before}",
                100.0 * accuracy,
                100.0 * accuracy_before
            ),
            Self::AtTheEdge => formatter.write_str(
                "the largest rate tried and the last epoch were best on validation; a larger rate or more epochs may do \
                 better still",
            ),
        }
    }
}

/// A loss with as many digits as say something.
fn shown(loss: f64) -> String {
    match loss {
        ..100.0 => format!("{loss:.2}"),
        100.0..1e6 => format!("{loss:.0}"),
        _ => format!("{loss:.1e}"),
    }
}

impl Summary {
    /// What would be worth trying next, if the run, made by `plan`, tells of anything.
    pub fn hint(&self, plan: &Plan) -> Option<Hint> {
        let classes = self.classes.len();
        // What guessing has is another thing for several labels.
        if self.thresholds.is_some() {
            return at_the_edge(&self.phases, plan);
        }
        far_above_guessing(&self.phases, plan, classes)
            .or_else(|| no_gain(&self.phases))
            .or_else(|| no_better_than_guessing(&self.phases, plan, classes))
            .or_else(|| at_the_edge(&self.phases, plan))
    }
}

/// The last descent: what came of it, and its settings.
fn last_descent<'a>(phases: &'a [PhaseOutcome], plan: &'a Plan) -> Option<(&'a PhaseOutcome, &'a Gradient)> {
    phases.iter().zip(&plan.phases).rev().find_map(|(outcome, phase)| match &phase.solver {
        Solver::Gradient(settings) => Some((outcome, settings)),
        _ => None,
    })
}

fn far_above_guessing(phases: &[PhaseOutcome], plan: &Plan, classes: usize) -> Option<Hint> {
    let (outcome, settings) = last_descent(phases, plan)?;
    let loss = phases.last()?.validation.loss;
    let guessing = (classes as f64).ln();
    // Of a soup, the largest of its rates does the most harm.
    let largest = settings.learning_rates.iter().copied().fold(0.0, f64::max);
    let learning_rate = outcome.learning_rate.unwrap_or(largest);
    let far = classes > 1 && loss > FAR_ABOVE_GUESSING * guessing;
    far.then_some(Hint::FarAboveGuessing { loss, guessing, learning_rate })
}

/// Says so of a descent; a linear probe has been solved, and no rate can do better.
fn no_better_than_guessing(phases: &[PhaseOutcome], plan: &Plan, classes: usize) -> Option<Hint> {
    last_descent(phases, plan)?;
    let accuracy = phases.last()?.validation.balanced_accuracy;
    let guessing = 1.0 / classes.max(1) as f64;
    // A mean over classes is rounded.
    let hint = Hint::NoBetterThanGuessing { accuracy, guessing };
    (classes > 1 && accuracy <= guessing + 1e-9).then_some(hint)
}

fn no_gain(phases: &[PhaseOutcome]) -> Option<Hint> {
    let [.., before, last] = phases else { return None };
    let (accuracy_before, accuracy) = (before.validation.accuracy, last.validation.accuracy);
    let (phase, before) = (last.phase.clone(), before.phase.clone());
    (accuracy < accuracy_before).then_some(Hint::NoGain { phase, accuracy, before, accuracy_before })
}

/// Says so where the last descent would have liked a larger rate than any that it was given, as new heads often do.
fn at_the_edge(phases: &[PhaseOutcome], plan: &Plan) -> Option<Hint> {
    let (outcome, settings) = last_descent(phases, plan)?;
    let rate = outcome.learning_rate?;
    let largest = settings.learning_rates.len() > 1 && settings.learning_rates.iter().all(|tried| *tried <= rate);
    let last = settings.epochs > 1 && outcome.epoch == settings.epochs;
    (largest && last && outcome.validation.accuracy < 1.0).then_some(Hint::AtTheEdge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::Evaluation;
    use crate::methods::{Method, MethodOptions};
    use crate::models::Model;

    fn outcome(phase: &str, accuracy: f64) -> PhaseOutcome {
        PhaseOutcome {
            phase: phase.to_owned(),
            learning_rate: None,
            inverse_strength: None,
            soup: None,
            alpha: None,
            epoch: 1,
            validation: Evaluation {
                n: 100,
                accuracy,
                accuracy_interval: [0.0, 1.0],
                balanced_accuracy: accuracy,
                loss: 1.0,
                ..Evaluation::default()
            },
            tried: Vec::new(),
            cut: None,
        }
    }

    fn full_fine_tuning() -> Plan {
        let cpu = crate::device::by_name("cpu").unwrap();
        let model = Model::from_scratch(None, Some("test_resnet"), Clone::clone, 0, &cpu).unwrap();
        Method::FT.plan(model.blocks(), &MethodOptions { epochs: 4, ..MethodOptions::default() }).unwrap()
    }

    #[test]
    fn a_phase_that_loses_accuracy_is_told() {
        let worse = no_gain(&[outcome("linear probe", 0.9), outcome("fine-tuning", 0.8)]).unwrap().to_string();
        assert!(worse.contains("80.0 % after 90.0 %"), "{worse}");
        assert!(no_gain(&[outcome("linear probe", 0.8), outcome("fine-tuning", 0.9)]).is_none());
        assert!(no_gain(&[outcome("fine-tuning", 0.9)]).is_none());
    }

    #[test]
    fn a_descent_that_was_still_getting_better_is_told() {
        let plan = full_fine_tuning();
        let told = |rate: f64, epoch: usize, accuracy: f64| {
            let outcome = PhaseOutcome { learning_rate: Some(rate), epoch, ..outcome("fine-tuning", accuracy) };
            at_the_edge(&[outcome], &plan).is_some()
        };
        assert!(told(3e-3, 4, 0.9));
        // Not where a smaller rate or an earlier epoch was better, nor where nothing is left to gain.
        assert!(!told(1e-3, 4, 0.9) && !told(3e-3, 3, 0.9) && !told(3e-3, 4, 1.0));
    }

    #[test]
    fn a_loss_far_above_guessing_is_told_with_the_rate() {
        let plan = full_fine_tuning();
        let told = |loss: f64| {
            let mut outcome = PhaseOutcome { learning_rate: Some(10.0), ..outcome("fine-tuning", 0.1) };
            outcome.validation.loss = loss;
            far_above_guessing(&[outcome], &plan, 17).map(|hint| hint.to_string())
        };
        // ln 17 = 2.833.
        let expected = "the loss on validation at the end, 14782, is far above that of guessing (2.83); the learning rate \
                        10 is too large";
        assert_eq!(told(14782.4).unwrap(), expected);
        assert!(told(8.6).is_some());
        assert!(told(8.4).is_none());
    }

    #[test]
    fn accuracy_at_chance_is_told() {
        let plan = full_fine_tuning();
        let of = |accuracy: f64, classes: usize| {
            no_better_than_guessing(&[outcome("fine-tuning", accuracy)], &plan, classes)
        };
        let told = |accuracy: f64| of(accuracy, 3).is_some();
        assert!(told(1.0 / 3.0) && told(0.2));
        assert!(!told(0.34));
        // One class is all that there is to guess.
        assert!(of(1.0, 1).is_none());
    }
}
