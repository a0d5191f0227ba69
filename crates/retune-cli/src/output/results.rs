//! Accuracies and losses as a table.

use std::path::Path;
use std::time::Duration;

use indicatif::HumanCount;
use retune::fit::{self, Summary};
use retune::inference::Evaluation;
use retune::plan::{Plan, Solver};
use retune::train::PhaseOutcome;

use super::table::{Align, Table};
use crate::progress::Rounded;

/// One row for each set.
pub fn table<'a>(splits: impl IntoIterator<Item = (&'a String, &'a Evaluation)>) -> String {
    let splits: Vec<_> = splits.into_iter().collect();
    let grouped = splits.iter().any(|(_, evaluation)| evaluation.worst_group.is_some());
    let mut columns = vec![
        ("set", Align::Left),
        ("n", Align::Right),
        ("accuracy", Align::Right),
        ("95 % interval", Align::Right),
        ("loss", Align::Right),
    ];
    if grouped {
        columns.push(("worst group", Align::Left));
    }
    let mut table = Table::new(columns);
    for (name, evaluation) in splits {
        let [low, high] = evaluation.accuracy_interval;
        let mut cells = vec![
            name.clone(),
            HumanCount(evaluation.n as u64).to_string(),
            percent(evaluation.accuracy),
            format!("{:.1}–{:.1} %", 100.0 * low, 100.0 * high),
            format!("{:.4}", evaluation.loss),
        ];
        if let Some(worst) = &evaluation.worst_group {
            cells.push(format!("{} {} (n = {})", worst.group, percent(worst.accuracy), worst.n));
        }
        table.row(cells);
    }
    table.to_string()
}

/// What a run found and where its model is.
pub fn summary(summary: &Summary, run: &Path) -> String {
    let mut text = format!(
        "{} on {}: {} images, {} parameters trained, {}\n",
        summary.method,
        summary.architecture,
        HumanCount(summary.training_images as u64),
        HumanCount(summary.trained_parameters as u64),
        Rounded(Duration::try_from_secs_f64(summary.seconds).unwrap_or_default()),
    );
    for phase in &summary.phases {
        let chosen = chosen(phase);
        let accuracy = percent(phase.validation.accuracy);
        text.push_str(&format!("  {}: {chosen}, {accuracy} right on validation\n", phase.phase));
    }
    let warning = no_gain(&summary.phases).or_else(|| at_the_edge(&summary.phases, &fit::read_plan(run).ok()?));
    let warning = warning.map(|warning| format!("{warning}\n\n")).unwrap_or_default();
    format!("{text}\n{}\n{warning}model: {}\n", table(&summary.splits), run.join("model").display())
}

/// What validation chose in a phase.
fn chosen(phase: &PhaseOutcome) -> String {
    let rates = |rates: &[f64]| rates.iter().map(|rate| format!("{rate:e}")).collect::<Vec<_>>().join(", ");
    match phase {
        PhaseOutcome { learning_rate: Some(rate), epoch, .. } => format!("epoch {epoch} at learning rate {rate:e}"),
        PhaseOutcome { inverse_strength: Some(strength), .. } => format!("inverse strength {strength:.2e}"),
        PhaseOutcome { soup: Some(soup), .. } => format!("average over learning rates {}", rates(soup)),
        PhaseOutcome { alpha: Some(alpha), .. } => format!("alpha {alpha}"),
        PhaseOutcome { epoch, .. } => format!("epoch {epoch}"),
    }
}

/// Says so where the last phase is less accurate on validation than the one before it.
fn no_gain(phases: &[PhaseOutcome]) -> Option<String> {
    let [.., before, last] = phases else { return None };
    let (start, end) = (before.validation.accuracy, last.validation.accuracy);
    (end < start).then(|| {
        format!(
            "note: {} did not help on validation ({} after {}); try a smaller --lr, or stop at the {}",
            last.phase,
            percent(end),
            percent(start),
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
        "note: the largest rate tried and the last epoch were best on validation; a larger --lr or more --epochs may do \
         better still"
            .to_owned()
    })
}

/// A share of 1 in percent.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phase_that_loses_accuracy_is_told() {
        let outcome = |phase: &str, accuracy: f64| PhaseOutcome {
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
        };
        let worse = no_gain(&[outcome("linear probe", 0.9), outcome("fine-tuning", 0.8)]).unwrap();
        assert!(worse.contains("80.0 % after 90.0 %"), "{worse}");
        assert!(no_gain(&[outcome("linear probe", 0.8), outcome("fine-tuning", 0.9)]).is_none());
        assert!(no_gain(&[outcome("fine-tuning", 0.9)]).is_none());
    }

    #[test]
    fn accuracies_come_with_their_intervals() {
        let evaluation = Evaluation {
            n: 1500,
            accuracy: 0.75,
            accuracy_interval: [0.7274, 0.7713],
            balanced_accuracy: 0.7,
            loss: 0.51234,
            worst_group: None,
        };
        let table = table([(&"val".to_owned(), &evaluation)]);
        let row = table.lines().nth(1).unwrap();
        let cells: Vec<&str> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        assert_eq!(cells, ["val", "1,500", "75.0 %", "72.7–77.1 %", "0.5123"]);
    }
}
