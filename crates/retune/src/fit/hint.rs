//! What a run's outcome suggests to try next.

use super::Summary;
use crate::plan::{Plan, Solver};
use crate::train::PhaseOutcome;

impl Summary {
    /// What would be worth trying next, in a sentence without a full stop: that the last phase did harm on validation, or
    /// that its descent would have liked a larger rate or more epochs than `plan` gave it.
    pub fn hint(&self, plan: &Plan) -> Option<String> {
        no_gain(&self.phases).or_else(|| at_the_edge(&self.phases, plan))
    }
}

/// Says so where the last phase is less accurate on validation than the one before it.
fn no_gain(phases: &[PhaseOutcome]) -> Option<String> {
    let [.., before, last] = phases else { return None };
    let (start, end) = (before.validation.accuracy, last.validation.accuracy);
    (end < start).then(|| {
        format!(
            "{} did not help on validation ({:.1} % after {:.1} %); try a smaller --lr, or stop at the {}",
            last.phase,
            100.0 * end,
            100.0 * start,
            before.phase
        )
    })
}

/// Says so where the last descent would have liked a larger rate than any that it was given, as new heads often do.
fn at_the_edge(phases: &[PhaseOutcome], plan: &Plan) -> Option<String> {
    let (outcome, settings) =
        phases.iter().zip(&plan.phases).rev().find_map(|(outcome, phase)| match &phase.solver {
            Solver::Gradient(settings) => Some((outcome, settings)),
            _ => None,
        })?;
    let rate = outcome.learning_rate?;
    let largest = settings.learning_rates.len() > 1 && settings.learning_rates.iter().all(|tried| *tried <= rate);
    let last = settings.epochs > 1 && outcome.epoch == settings.epochs;
    (largest && last && outcome.validation.accuracy < 1.0).then(|| {
        "the largest rate tried and the last epoch were best on validation; a larger --lr or more --epochs may do better \
         still"
            .to_owned()
    })
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
                worst_group: None,
            },
        }
    }

    #[test]
    fn a_phase_that_loses_accuracy_is_told() {
        let worse = no_gain(&[outcome("linear probe", 0.9), outcome("fine-tuning", 0.8)]).unwrap();
        assert!(worse.contains("80.0 % after 90.0 %"), "{worse}");
        assert!(no_gain(&[outcome("linear probe", 0.8), outcome("fine-tuning", 0.9)]).is_none());
        assert!(no_gain(&[outcome("fine-tuning", 0.9)]).is_none());
    }

    #[test]
    fn a_descent_that_was_still_getting_better_is_told() {
        let cpu = crate::device::by_name("cpu").unwrap();
        let model = Model::from_scratch(None, Some("test_resnet"), Clone::clone, 0, &cpu).unwrap();
        let plan = Method::Ft.plan(model.blocks(), &MethodOptions { epochs: 4, ..MethodOptions::default() }).unwrap();
        let told = |rate: f64, epoch: usize, accuracy: f64| {
            let outcome = PhaseOutcome { learning_rate: Some(rate), epoch, ..outcome("fine-tuning", accuracy) };
            at_the_edge(&[outcome], &plan).is_some()
        };
        assert!(told(1e-3, 4, 0.9));
        // Not where a smaller rate or an earlier epoch was better, nor where nothing is left to gain.
        assert!(!told(1e-4, 4, 0.9) && !told(1e-3, 3, 0.9) && !told(1e-3, 4, 1.0));
    }
}
