//! Accuracies and losses as a table.

use std::path::Path;
use std::time::Duration;

use indexmap::IndexMap;
use indicatif::HumanCount;
use retune::figures::Format;
use retune::inference::Evaluation;
use retune::report::confusion::ClassAccuracy;
use retune::report::findings::{Findings, rates};
use retune::run::{self, Hint, Summary};
use retune::train::{BudgetCut, PhaseOutcome, ShortenedTraining};
use retune::wording::counted;
use serde::Serialize;

use super::color::bold;
use super::table::{Align, Table};
use crate::progress::Rounded;

/// One row for each set.
pub fn table<'a>(splits: impl IntoIterator<Item = (&'a String, &'a Evaluation)>) -> String {
    let splits: Vec<_> = splits.into_iter().collect();
    let grouped = splits.iter().any(|(_, evaluation)| evaluation.worst_group.is_some());
    let several_labels = splits.iter().any(|(_, evaluation)| evaluation.is_of_several_labels());
    let mut columns = vec![
        ("set", Align::Left),
        ("n", Align::Right),
        (if several_labels { "all labels right" } else { "accuracy" }, Align::Right),
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

/// The expected calibration error (Guo et al. 2017, 15 bins) of probabilities, 0 to 1.
#[derive(Clone, Serialize)]
pub struct CalibrationError {
    /// Of the softmax of the logits.
    pub softmax: f64,
    /// Of the softmax at the model's temperature, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_temperature: Option<f64>,
}

/// The other measures of each set, of a model that may have a temperature.
pub fn further_table(
    splits: &IndexMap<String, Evaluation>,
    calibration: &IndexMap<String, CalibrationError>,
    temperature: Option<f64>,
) -> String {
    let shown = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), percent);
    let top5 = splits.values().any(|evaluation| evaluation.top5_accuracy.is_some());
    let at_temperature = temperature.map(|at| format!("at temperature {}", Format::Number.text(at)));
    let mut columns = vec![("set", Align::Left), ("balanced accuracy", Align::Right)];
    columns.extend(top5.then_some(("top-5 accuracy", Align::Right)));
    columns.extend([("macro F1", Align::Right), ("AUROC", Align::Right), ("calibration error", Align::Right)]);
    let scaled = at_temperature.is_some();
    columns.extend(at_temperature.as_deref().map(|heading| (heading, Align::Right)));
    let mut table = Table::new(columns);
    for (name, evaluation) in splits {
        let mut cells = vec![name.clone(), percent(evaluation.balanced_accuracy)];
        cells.extend(top5.then(|| shown(evaluation.top5_accuracy)));
        let error = calibration.get(name);
        cells.extend([shown(evaluation.macro_f1), shown(evaluation.auroc), shown(error.map(|error| error.softmax))]);
        cells.extend(scaled.then(|| shown(error.and_then(|error| error.at_temperature))));
        table.row(cells);
    }
    format!("\n{table}")
}

/// A table of what is measured of images with several labels; empty where they have one.
pub fn label_table(splits: &IndexMap<String, Evaluation>) -> String {
    let shown = |share: Option<f64>| share.map_or_else(|| "–".to_owned(), percent);
    if splits.values().all(|evaluation| evaluation.micro_f1.is_none()) {
        return String::new();
    }
    let intervals = splits.values().any(|evaluation| evaluation.mean_average_precision_interval.is_some());
    let mut columns = vec![("set", Align::Left), ("mAP", Align::Right)];
    columns.extend(intervals.then_some(("95 % interval", Align::Right)));
    columns.extend(["micro F1", "macro F1", "AUROC"].map(|measure| (measure, Align::Right)));
    let mut table = Table::new(columns);
    for (name, evaluation) in splits {
        let Evaluation { mean_average_precision, micro_f1, macro_f1, auroc, .. } = evaluation;
        let mut cells = vec![name.clone(), shown(*mean_average_precision)];
        let of_precision = evaluation.mean_average_precision_interval.map(interval);
        cells.extend(intervals.then(|| of_precision.unwrap_or_else(|| "–".to_owned())));
        cells.extend([micro_f1, macro_f1, auroc].map(|share| shown(*share)));
        table.row(cells);
    }
    format!("\n{table}")
}

/// A table of the groups for each set that has several.
pub fn group_tables(splits: &IndexMap<String, Evaluation>) -> String {
    let grouped = splits.iter().filter(|(_, evaluation)| evaluation.groups.len() > 1);
    let tables = grouped.map(|(name, evaluation)| {
        let columns =
            [(format!("group of {name}"), Align::Left), ("n".into(), Align::Right), ("accuracy".into(), Align::Right)];
        let mut table = Table::new(columns);
        for group in &evaluation.groups {
            table.row([group.group.clone(), HumanCount(group.n as u64).to_string(), percent(group.accuracy)]);
        }
        format!("\n{table}")
    });
    tables.collect()
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
pub fn summary(summary: &Summary, run: &Path, findings: &Findings) -> String {
    let mut text = format!(
        "{} on {}: {}, {} trained, {}\n",
        summary.method,
        summary.architecture,
        counted(summary.training_images, "image"),
        counted(summary.trained_parameters, "parameter"),
        Rounded(Duration::try_from_secs_f64(summary.seconds).unwrap_or_default()),
    );
    for phase in &summary.phases {
        let chosen = chosen(phase);
        let (name, score) = (phase.validation.score_name(), percent(phase.validation.score()));
        text.push_str(&format!("  {}: {chosen}, {name} {score} on validation\n", phase.phase));
        text.extend(phase.cut.iter().map(|cut| format!("    {}\n", left_out(cut))));
        text.extend(phase.runner_up().map(|runner_up| format!("    {}\n", rates::certainty(&runner_up))));
    }
    let found = found(findings);
    let tables = format!("{}{}", table(&summary.splits), label_table(&summary.splits));
    format!("{text}\n{tables}\n{found}\nmodel: {}\n", run.join("model").display())
}

/// Findings as text, the first of them in bold.
pub fn found(findings: &Findings) -> String {
    let text = findings.text();
    match text.split_once('\n') {
        Some((first, rest)) if !findings.sentences.is_empty() => format!("{}\n{rest}", bold(first)),
        _ => text,
    }
}

/// A comparison's table with its heading and the best of each column in bold.
pub fn comparison(rows: &str) -> String {
    let line = |(number, line): (usize, &str)| match number {
        0 => format!("{}\n", bold(line)),
        _ => format!("{}\n", best_in_bold(line)),
    };
    rows.lines().enumerate().map(line).collect()
}

/// A row of a comparison; the marker `*` stands behind what is best. Cells are apart by two spaces or more.
fn best_in_bold(line: &str) -> String {
    let Some(mut rest) = line.contains(" *").then_some(line).filter(|line| !line.starts_with('*')) else {
        return line.to_owned();
    };
    let mut text = String::new();
    while let Some(end) = rest.find(" *") {
        let start = rest[..end].rfind("  ").map_or(0, |gap| gap + 2);
        text.push_str(&rest[..start]);
        text.push_str(&bold(&rest[start..end + 2]));
        rest = &rest[end + 2..];
    }
    text + rest
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

/// What a phase left out to keep to a budget.
fn left_out(cut: &BudgetCut) -> String {
    let rates = |rates: &[f64]| rates.iter().map(|rate| format!("{rate:e}")).collect::<Vec<_>>().join(", ");
    let shortened = cut.shortened.iter().map(|training| {
        let ShortenedTraining { learning_rate, planned, epochs } = training;
        format!("{epochs} of {planned} epochs at {learning_rate:e}")
    });
    let untried = (!cut.untried.is_empty()).then(|| format!("no time to try {}", rates(&cut.untried)));
    let not_in_full =
        (!cut.not_in_full.is_empty()).then(|| format!("no time to train {} in full", rates(&cut.not_in_full)));
    let parts = shortened.chain(untried).chain(not_in_full);
    format!("cut to keep to the budget: {}", parts.collect::<Vec<_>>().join("; "))
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
    fn the_best_of_a_comparison_stands_out() {
        let text = comparison("method  test, %\nlp      90.0 (88–92) *\nft      80.0\n\n* best of the column\n");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], bold("method  test, %"));
        assert_eq!(lines[1], format!("lp      {}", bold("90.0 (88–92) *")));
        assert_eq!(lines[2..], ["ft      80.0", "", "* best of the column"]);
    }

    #[test]
    fn what_a_budget_cut_is_told() {
        let shortened = vec![ShortenedTraining { learning_rate: 1e-4, planned: 10, epochs: 3 }];
        let cut = BudgetCut { shortened, untried: vec![1e-5, 3e-3], not_in_full: vec![1e-3] };
        let expected = "cut to keep to the budget: 3 of 10 epochs at 1e-4; no time to try 1e-5, 3e-3; no time to train 1e-3 in full";
        assert_eq!(left_out(&cut), expected);
    }

    #[test]
    fn accuracies_come_with_their_intervals() {
        let evaluation = Evaluation {
            n: 1500,
            accuracy: 0.75,
            accuracy_interval: [0.7274, 0.7713],
            balanced_accuracy: 0.7,
            loss: 0.51234,
            ..Evaluation::default()
        };
        let table = table([(&"val".to_owned(), &evaluation)]);
        let row = table.lines().nth(1).unwrap();
        let cells: Vec<&str> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
        assert_eq!(cells, ["val", "1,500", "75.0 %", "72.7–77.1 %", "0.5123"]);
    }
}
