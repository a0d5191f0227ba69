//! A comparison as a table: for a terminal, as Markdown, CSV or LaTeX.

use std::io;

use super::{Column, Comparison, MethodRow, Standing};
use crate::report::page::grouped;

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
        let columns = comparison.columns();
        let several = comparison.seeds() > 1;
        let standings: Vec<Vec<Standing>> = columns.iter().map(|column| comparison.standings(column)).collect();
        let mut headings = vec!["method".to_owned()];
        headings.extend(columns.iter().map(|column| format!("{}, %", column.heading())));
        headings.extend(["trained".to_owned(), "seconds".to_owned()]);
        let row = |(index, row): (usize, &MethodRow)| {
            let mut cells = vec![Cell::plain(&row.label)];
            for (column, standings) in columns.iter().zip(&standings) {
                cells.push(Cell { text: accuracy(row, column, several), standing: Some(standings[index]) });
            }
            cells.push(Cell::plain(grouped(row.trained_parameters())));
            cells.push(Cell::plain(format!("{:.1}", row.seconds())));
            cells
        };
        Self { headings, rows: comparison.rows.iter().enumerate().map(row).collect() }
    }
}

/// Mean and half the interval in percent, or the interval's ends if it is asymmetric.
fn accuracy(row: &MethodRow, column: &Column, several: bool) -> String {
    match row.estimate(column) {
        None => "–".to_owned(),
        Some(estimate) if several => format!("{:.1} ± {:.1}", 100.0 * estimate.mean, 100.0 * estimate.reach()),
        Some(estimate) if column.worst_group => format!("{:.1}", 100.0 * estimate.mean),
        Some(estimate) => {
            let [low, high] = estimate.interval;
            format!("{:.1} ({:.1}–{:.1})", 100.0 * estimate.mean, 100.0 * low, 100.0 * high)
        }
    }
}

/// The table as columns of text. `*` marks the best of a column, and `~` values that are not significantly worse.
pub fn text(comparison: &Comparison) -> String {
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
    format!("{text}\n* best of the column, ~ not significantly worse\n{}", notes(comparison))
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
        "accuracy",
        "n",
        "mean",
        "low",
        "high",
        "standing",
        "trained_parameters",
        "seconds",
    ])?;
    for column in comparison.columns() {
        let standings = comparison.standings(&column);
        let role = if column.set == comparison.in_distribution { "in-distribution" } else { "shifted" };
        for (row, standing) in comparison.rows.iter().zip(standings) {
            let Some(estimate) = row.estimate(&column) else { continue };
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
                    serde_json::to_value(standing)
                        .ok()
                        .and_then(|name| name.as_str().map(str::to_owned))
                        .unwrap_or_default(),
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
    let lines: String = findings(comparison).into_iter().map(|finding| format!("{finding}\n")).collect();
    let (intervals, test) = reading(comparison);
    format!("{intervals}{lines}{test}")
}

/// For each set, a sentence on the best method and over which others its lead is significant.
pub(super) fn findings(comparison: &Comparison) -> Vec<String> {
    let mut findings = Vec::new();
    for column in comparison.columns() {
        let standings = comparison.standings(&column);
        let named = |wanted: Standing| -> Vec<&str> {
            let rows = comparison.rows.iter().zip(&standings).filter(|(_, standing)| **standing == wanted);
            rows.map(|(row, _)| row.label.as_str()).collect()
        };
        let (bests, close) = (named(Standing::Best), named(Standing::NotSignificantlyWorse));
        let best = bests.join(" and ");
        let heading = column.heading();
        let worse = named(Standing::Worse);
        let (is, its) = if bests.len() == 1 { ("is", "its") } else { ("are", "their") };
        findings.push(match (close.len(), worse.len()) {
            (0, 0) if bests.len() < 2 => continue,
            (0, 0) => format!("{heading}: {best} are equal."),
            (0, _) => format!("{heading}: {best} {is} best, and every other method is significantly worse."),
            (_, 0) => format!("{heading}: {best} {is} highest, but {its} lead is not significant over any other."),
            (near, far) if near <= far => {
                format!("{heading}: {best} {is} highest; {its} lead is not significant over {}.", close.join(", "))
            }
            _ => format!("{heading}: {best} {is} highest; {its} lead is significant only over {}.", worse.join(", ")),
        });
    }
    findings
}

/// Explanations of the intervals and of significance.
pub(super) fn reading(comparison: &Comparison) -> (String, String) {
    let seeds = comparison.seeds();
    let mut intervals = if seeds > 1 {
        format!("Mean over {seeds} seeds ± half of Student's 90 % interval.\n")
    } else {
        "One seed, with Wilson's 95 % interval over images, which does not show how much seeds differ.\n".to_owned()
    };
    if comparison.in_distribution == "val" {
        intervals.push_str(
            "There is no test split, so 'val' takes its place; 'val' also chose rates and epochs, so it is optimistic.\n",
        );
    }
    let test = if seeds > 1 { "paired t-test over seeds at 90 %" } else { "Newcombe's 95 % interval" };
    let test = format!(
        "Significance: {test}, not corrected for the number of methods. Shifted sets did not influence any choice.\nSeconds are training \
         time; runs share decoded images and features, and the first run that needs them pays for them.\n"
    );
    (intervals, test)
}
