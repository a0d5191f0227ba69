//! Accuracies and losses as a table.

use std::path::Path;
use std::time::Duration;

use indexmap::IndexMap;
use indicatif::HumanCount;
use retune::inference::Evaluation;
use retune::report::confusion::ClassAccuracy;
use retune::run::{self, Hint, Summary};
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
        let mut cells = vec![
            name.clone(),
            HumanCount(evaluation.n as u64).to_string(),
            percent(evaluation.accuracy),
            interval(evaluation.accuracy_interval),
            format!("{:.4}", evaluation.loss),
        ];
        if let Some(worst) = &evaluation.worst_group {
            cells.push(format!("{} {} (n = {})", worst.group, percent(worst.accuracy), worst.n));
        }
        table.row(cells);
    }
    table.to_string()
}

/// A table of the classes for each set.
pub fn class_tables(sets: &IndexMap<String, Vec<ClassAccuracy>>) -> String {
    let tables = sets.iter().map(|(name, classes)| format!("\n{}", class_table(name, classes)));
    tables.collect()
}

fn class_table(set: &str, classes: &[ClassAccuracy]) -> Table {
    let shown = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), percent);
    let mut table = Table::new([
        (format!("class of {set}"), Align::Left),
        ("n".to_owned(), Align::Right),
        ("recall".to_owned(), Align::Right),
        ("95 % interval".to_owned(), Align::Right),
        ("precision".to_owned(), Align::Right),
    ]);
    for class in classes {
        let interval = class.recall.map(|_| interval(class.recall_interval));
        table.row([
            class.class.clone(),
            HumanCount(class.n as u64).to_string(),
            shown(class.recall),
            interval.unwrap_or_else(|| "–".to_owned()),
            shown(class.precision),
        ]);
    }
    table
}

/// The results of a run and the path of its model.
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
    let hint = hint(summary, run).map(|hint| format!("{hint}\n\n")).unwrap_or_default();
    format!("{text}\n{}\n{hint}model: {}\n", table(&summary.splits), run.join("model").display())
}

/// A note on what to try next, judging by a run's outcome, and with which options.
pub fn hint(summary: &Summary, run: &Path) -> Option<String> {
    let hint = summary.hint(&run::read_plan(run).ok()?)?;
    let options = match hint {
        Hint::FarAboveGuessing { .. } | Hint::NoGain { .. } => "try a smaller --lr",
        Hint::NoBetterThanGuessing { .. } => "try another --lr (`retune lr-find` finds one), or more --epochs",
        Hint::AtTheEdge => "--lr and --epochs set them",
    };
    Some(format!("note: {hint}; {options}"))
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

fn interval([low, high]: [f64; 2]) -> String {
    format!("{:.1}–{:.1} %", 100.0 * low, 100.0 * high)
}

/// A share of 1 in percent.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::*;

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
