//! A comparison as a table: for a terminal, as Markdown, CSV or LaTeX.

use std::io;

use super::findings::{caveats, sentences};
use super::{Basis, ColumnResult, Comparison, MethodResult, MethodRow, Standing};
use crate::wording::{counted, grouped};

/// The cells of a comparison, as text.
struct Cells {
    headings: Vec<String>,
    rows: Vec<Vec<Cell>>,
}

struct Cell {
    text: String,
    standing: Option<Standing>,
}

impl Cell {
    fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), standing: None }
    }
}

impl Cells {
    fn of(comparison: &Comparison) -> Self {
        let several = comparison.seeds() > 1;
        let columns = comparison.results();
        let mut headings = vec!["method".to_owned()];
        headings.extend(columns.iter().map(|result| format!("{}, %", result.column.heading())));
        headings.extend(["trained".to_owned(), "seconds".to_owned()]);
        let row = |(index, row): (usize, &MethodRow)| {
            let mut cells = vec![Cell::plain(row.heading())];
            for result in columns {
                let method = &result.methods[index];
                cells.push(Cell { text: accuracy(method, result, several), standing: Some(method.standing) });
            }
            cells.push(Cell::plain(grouped(row.trained_parameters())));
            cells.push(Cell::plain(format!("{:.1}", row.seconds())));
            cells
        };
        Self { headings, rows: comparison.rows.iter().enumerate().map(row).collect() }
    }
}

/// Mean and interval in percent. Student's interval over seeds is symmetric, and shown by its half.
fn accuracy(method: &MethodResult, result: &ColumnResult, several: bool) -> String {
    let legacy = result.basis == Basis::Accuracies;
    match method.estimate {
        None => "–".to_owned(),
        Some(estimate) if legacy && several => {
            format!("{:.1} ± {:.1}", 100.0 * estimate.mean, 100.0 * estimate.reach())
        }
        Some(estimate) if legacy && result.column.worst_group => format!("{:.1}", 100.0 * estimate.mean),
        Some(estimate) => {
            let [low, high] = estimate.interval;
            format!("{:.1} ({:.1}–{:.1})", 100.0 * estimate.mean, 100.0 * low, 100.0 * high)
        }
    }
}

/// The table as columns of text. `*` marks the best of a column, and `~` values that are not significantly worse.
pub fn rows(comparison: &Comparison) -> String {
    let cells = Cells::of(comparison);
    let marked = |cell: &Cell| match cell.standing {
        Some(Standing::Best) => format!("{} *", cell.text),
        Some(Standing::NotSignificantlyWorse) => format!("{} ~", cell.text),
        Some(_) => format!("{}  ", cell.text),
        None => cell.text.clone(),
    };
    let mut lines = vec![cells.headings.clone()];
    lines.extend(cells.rows.iter().map(|row| row.iter().map(marked).collect()));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..cells.headings.len()).map(width).collect();
    let mut text = String::new();
    for line in &lines {
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            text.push_str(&if column == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") });
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    format!("{text}\n* best of the column, ~ not significantly worse\n")
}

/// The same with what was found and how to read it.
pub fn text(comparison: &Comparison) -> String {
    format!("{}{}", rows(comparison), notes(comparison))
}

/// How to read the table.
pub fn explanation(comparison: &Comparison) -> String {
    let Reading { intervals, significance } = reading(comparison);
    format!("{intervals}{significance}\nSeconds are training time. {SHARED_TIME}\n")
}

/// The table as Markdown. The best of a column is bold, and values that are not significantly worse are italic.
pub fn markdown(comparison: &Comparison) -> String {
    let cells = Cells::of(comparison);
    let escaped = |text: &str| text.replace('|', "\\|");
    let marked = |cell: &Cell| match cell.standing {
        Some(Standing::Best) => format!("**{}**", escaped(&cell.text)),
        Some(Standing::NotSignificantlyWorse) => format!("*{}*", escaped(&cell.text)),
        _ => escaped(&cell.text),
    };
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let mut text = line(cells.headings.iter().map(|heading| escaped(heading)).collect());
    let rules = (0..cells.headings.len()).map(|column| if column == 0 { "---" } else { "---:" }.to_owned());
    text.push_str(&line(rules.collect()));
    for row in &cells.rows {
        text.push_str(&line(row.iter().map(marked).collect()));
    }
    format!("{text}\n{}", notes(comparison))
}

/// The table as LaTeX for the package `booktabs`; marked as [`markdown`] is.
pub fn latex(comparison: &Comparison) -> String {
    let cells = Cells::of(comparison);
    let marked = |cell: &Cell| match cell.standing {
        Some(Standing::Best) => format!("\\textbf{{{}}}", latex_escaped(&cell.text)),
        Some(Standing::NotSignificantlyWorse) => format!("\\textit{{{}}}", latex_escaped(&cell.text)),
        _ => latex_escaped(&cell.text),
    };
    let line = |cells: Vec<String>| format!("{} \\\\\n", cells.join(" & "));
    let mut text = format!(
        "% needs \\usepackage{{booktabs}}\n\\begin{{tabular}}{{l{}}}\n\\toprule\n",
        "r".repeat(cells.headings.len() - 1)
    );
    text.push_str(&line(cells.headings.iter().map(|heading| latex_escaped(heading)).collect()));
    text.push_str("\\midrule\n");
    for row in &cells.rows {
        text.push_str(&line(row.iter().map(marked).collect()));
    }
    text.push_str("\\bottomrule\n\\end{tabular}\n");
    text + &notes(comparison).lines().map(|note| format!("% {note}\n")).collect::<String>()
}

fn latex_escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', character]),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '\\' => escaped.push_str("\\textbackslash{}"),
            '±' => escaped.push_str("$\\pm$"),
            '–' => escaped.push_str("--"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// CSV with a row for each method, column, and seed; accuracies from 0 to 1.
///
/// # Errors
/// None in practice, because the text is in memory.
pub fn csv(comparison: &Comparison) -> io::Result<String> {
    let mut rows = csv::Writer::from_writer(Vec::new());
    rows.write_record([
        "method",
        "set",
        "role",
        "worst_group",
        "seed",
        if comparison.is_of_several_labels() { "mean_average_precision" } else { "accuracy" },
        "n",
        "mean",
        "low",
        "high",
        "standing",
        "p_value",
        "trained_parameters",
        "seconds",
    ])?;
    for ColumnResult { column, methods, .. } in comparison.results() {
        let role = if column.set == comparison.in_distribution { "in-distribution" } else { "shifted" };
        for (row, method) in comparison.rows.iter().zip(methods) {
            let Some(estimate) = method.estimate else { continue };
            for (seed, run) in &row.runs {
                let Some(evaluation) = run.splits.get(&column.set) else { continue };
                let Some(accuracy) = column.accuracy(evaluation) else { continue };
                let [low, high] = estimate.interval;
                rows.write_record([
                    row.label.clone(),
                    column.set.clone(),
                    role.to_owned(),
                    column.worst_group.to_string(),
                    seed.to_string(),
                    accuracy.to_string(),
                    evaluation.n.to_string(),
                    estimate.mean.to_string(),
                    low.to_string(),
                    high.to_string(),
                    serde_json::to_value(method.standing)
                        .ok()
                        .and_then(|name| name.as_str().map(str::to_owned))
                        .unwrap_or_default(),
                    method.p_value.map(|p| p.to_string()).unwrap_or_default(),
                    run.trained_parameters.to_string(),
                    run.seconds.to_string(),
                ])?;
            }
        }
    }
    let bytes = rows.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
    String::from_utf8(bytes).map_err(io::Error::other)
}

/// Explanations below the table: the intervals, and which differences are significant.
fn notes(comparison: &Comparison) -> String {
    let found = sentences(comparison).into_iter().chain(caveats(comparison));
    let lines: String = found.map(|finding| format!("{finding}\n")).collect();
    format!("{lines}{}", explanation(comparison))
}

/// What the intervals and the marks of a table mean.
pub(super) struct Reading {
    /// Of the intervals, a sentence a line.
    pub intervals: String,
    /// Of which differences are significant.
    pub significance: String,
}

/// Why the times of runs are not those of runs alone.
pub(super) const SHARED_TIME: &str =
    "Runs share decoded images and features, and the first run that needs them pays for their time.";

pub(super) fn reading(comparison: &Comparison) -> Reading {
    let (mut intervals, mut significance) =
        if comparison.is_legacy() { of_accuracies(comparison) } else { of_predictions(comparison) };
    if comparison.is_of_several_labels() {
        intervals.push_str(
            "Images have several labels: the numbers are mean average precisions, the mean over the labels that some image has.\n",
        );
    }
    if comparison.in_distribution == "val" {
        intervals.push_str(
            "There is no test split, so 'val' takes its place; 'val' also chose rates and epochs, so it is optimistic.\n",
        );
    }
    if !comparison.shifted.is_empty() {
        significance.push_str(" Shifted sets did not influence any choice.");
    }
    Reading { intervals, significance }
}

fn of_predictions(comparison: &Comparison) -> (String, String) {
    let seeds = comparison.seeds();
    let mut intervals = if seeds > 1 {
        format!("Mean over {seeds} seeds, with a 95 % interval for other seeds and other images.\n")
    } else {
        "One seed, with a 95 % interval for other images, which does not show how much seeds differ.\n".to_owned()
    };
    let alone: Vec<&str> =
        comparison.rows.iter().filter(|row| row.without_seed).map(|row| row.label.as_str()).collect();
    if !alone.is_empty() {
        intervals.push_str(&format!(
            "Nothing in {} is random: one run stands for all seeds, and its interval is for other images alone.\n",
            alone.join(", ")
        ));
    }
    let images: Vec<String> = comparison
        .results()
        .iter()
        .filter(|result| !result.column.worst_group)
        .map(|result| images_of(result, comparison))
        .collect();
    let over = if seeds > 1 { format!("{seeds} seeds, {}", images.join(", ")) } else { images.join(", ") };
    let significance = format!(
        "Significance: difference from the best at 5 %, paired by seed and image, after Holm's correction for the number of \
         methods ({over})."
    );
    (intervals, significance)
}

/// How many images a set has; where each seed splits off others, how many those are together.
fn images_of(result: &ColumnResult, comparison: &Comparison) -> String {
    let set = &result.column.set;
    let runs = comparison.rows.iter().flat_map(|row| row.runs.values());
    let of_one_run = runs.filter_map(|run| Some(run.splits.get(set)?.n)).max().unwrap_or(0);
    let together = if result.images > of_one_run { " (of all seeds' splits)" } else { "" };
    format!("{} of {set}{together}", counted(result.images, "image"))
}

fn of_accuracies(comparison: &Comparison) -> (String, String) {
    let seeds = comparison.seeds();
    let intervals = if seeds > 1 {
        format!("Mean over {seeds} seeds; ± is the 90 % confidence interval (Student's t).\n")
    } else {
        "One seed, with Wilson's 95 % interval over images, which does not show how much seeds differ.\n".to_owned()
    };
    let test = if seeds > 1 { "paired t-test over seeds at 90 %" } else { "Newcombe's 95 % interval" };
    let all = comparison.results().iter().all(|result| result.basis == Basis::Accuracies);
    let headings = comparison.results().iter().filter(|result| result.basis == Basis::Accuracies);
    let headings: Vec<String> = headings.map(|result| result.column.heading()).collect();
    if all {
        let significance = format!(
            "Significance: {test}, not corrected for the number of methods, because not every run kept its predictions of \
             each image."
        );
        return (intervals, significance);
    }
    let (others, significance) = of_predictions(comparison);
    let exception = format!(
        "In {}, not every run kept what this needs of each image. Intervals there: {} Significance there: {test}, not \
         corrected.",
        headings.join("; "),
        intervals.trim_end()
    );
    (others, format!("{significance} {exception}"))
}
