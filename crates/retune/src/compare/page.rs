//! The page of a comparison.

use retune_figures::Axis;
use retune_figures::figure::{Line, Lines, Scatter};
use retune_pixels::preprocess::Preprocessing;

use super::judgments::Judgments;
use super::table::{Reading, SHARED_TIME, reading};
use super::{Basis, ColumnResult, Comparison, MethodResult, MethodRow, Standing};
use crate::report::findings::Findings;
use crate::report::page::{self, Cell, Mark, Page, Section, Table, Text};
use crate::report::run_page::{RunRecord, duration};
use crate::run::Summary;
use crate::train::PhaseOutcome;
use crate::train::metrics::{MetricsRow, score_name};
use crate::wording::{counted, grouped, sentence};

/// Maximum number of images on all maps of a page except the first one, so that the page opens quickly.
const MAX_MAPPED: usize = 30_000;

/// A run of a comparison.
#[derive(Clone, Debug)]
pub struct RunOf {
    /// The method, as in [`MethodRow::label`].
    pub label: String,
    /// What its directory holds.
    pub record: RunRecord,
}

/// Methods side by side, then the details of each run.
/// `command` is what made the comparison, where that was kept.
pub fn page(comparison: &Comparison, runs: &[RunOf], command: Option<&str>) -> Page {
    let methods = comparison.rows.len();
    let seeds = comparison.seeds();
    let mut page = Page::new(match (methods, seeds) {
        (_, 0 | 1) => format!("{} compared", counted(methods, "method")),
        _ => format!("{} compared over {seeds} seeds", counted(methods, "method")),
    });
    let directory = |label: &str| runs.iter().find(|run| run.label == label).map(|run| run.record.directory.as_path());
    let Findings { sentences, next } = super::findings::of(comparison, directory, command);
    (page.verdict, page.next) = (sentences, next);
    page.verdict.extend(different_images(runs).map(|note| sentence(&note)));
    page.facts = facts(comparison, runs);
    page.sections.push(results(comparison));
    page.sections.extend(scatters(comparison));
    page.sections.extend(curves(comparison, runs));
    page.sections.extend(calibration(comparison, runs));
    page.sections.push(every_run(comparison, runs));
    let of_each_run = of_each_run(runs, &mut page);
    page.sections.extend(of_each_run);
    page.sections.extend(command.map(|command| {
        Section::new("Command", "The command that made the comparison.").wide().with("", Text::command(command))
    }));
    page
}

/// A note if runs prepare images differently, which a comparison of accuracies hides.
pub fn different_images(runs: &[RunOf]) -> Option<String> {
    let mut seen: Vec<(&str, u64, &Preprocessing)> = Vec::new();
    for RunOf { label, record } in runs {
        if let Some(preprocessing) = &record.preprocessing
            && seen.iter().all(|(_, _, known)| *known != preprocessing)
        {
            seen.push((label, record.summary.seed, preprocessing));
        }
    }
    let one = |(label, seed, preprocessing): &(&str, u64, &Preprocessing)| {
        format!("{label} (seed {seed}) at {preprocessing}")
    };
    let all: Vec<String> = seen.iter().map(one).collect();
    (all.len() > 1).then(|| format!("the runs see images differently: {}", all.join("; ")))
}

fn facts(comparison: &Comparison, runs: &[RunOf]) -> Vec<(String, String)> {
    let Some(RunOf { record, .. }) = runs.first() else { return Vec::new() };
    let seeds: Vec<String> = comparison
        .rows
        .iter()
        .max_by_key(|row| row.runs.len())
        .map(|row| row.runs.keys().map(u64::to_string).collect())
        .unwrap_or_default();
    let model = record.options.model.path.as_ref().map(|path| path.display().to_string());
    let facts = [
        ("Architecture", record.summary.architecture.clone()),
        ("Model", model.unwrap_or_else(|| "from scratch".to_owned())),
        ("Data", record.options.data.display().to_string()),
        ("Training images", grouped(record.summary.training_images)),
        ("Classes", grouped(record.summary.classes.len())),
        ("Seeds", seeds.join(", ")),
        ("Runs", grouped(runs.len())),
    ];
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn results(comparison: &Comparison) -> Section {
    let columns = comparison.results();
    let several = comparison.seeds() > 1;
    let mut headings = vec![("Method".to_owned(), false)];
    headings.extend(columns.iter().map(|result| (result.column.heading(), true)));
    headings.extend([("Trained parameters".to_owned(), true), ("Training time".to_owned(), true)]);
    let row = |(index, row): (usize, &MethodRow)| {
        let mut cells = vec![Cell::text(row.heading())];
        cells.extend(columns.iter().map(|result| accuracy(&result.methods[index], result, several)));
        cells.push(Cell::number(grouped(row.trained_parameters()), row.trained_parameters() as f64));
        cells.push(Cell::number(duration(row.seconds()), row.seconds()));
        cells
    };
    let Reading { intervals, significance } = reading(comparison);
    let table = Table {
        columns: headings.into_iter().map(|(heading, number)| page::Column { heading, number }).collect(),
        rows: comparison.rows.iter().enumerate().map(row).collect(),
        caption: format!("● best of the column, ○ not significantly worse. {significance} {SHARED_TIME}"),
    };
    let title = if comparison.is_of_several_labels() { "Mean average precision" } else { "Accuracy" };
    Section::new(title, intervals.replace('\n', " ").trim()).wide().with("", table)
}

fn accuracy(method: &MethodResult, result: &ColumnResult, several: bool) -> Cell {
    let Some(estimate) = method.estimate else { return Cell::text("–") };
    let [mean, low, high] = [estimate.mean, estimate.interval[0], estimate.interval[1]].map(|share| 100.0 * share);
    let text = match result.basis {
        Basis::Predictions => format!("{mean:.1} % ({low:.1}–{high:.1})"),
        Basis::Accuracies if several => format!("{mean:.1} ± {:.1} %", 100.0 * estimate.reach()),
        Basis::Accuracies => format!("{mean:.1} %"),
    };
    let mark = match method.standing {
        Standing::Best => Some(Mark::Best),
        Standing::NotSignificantlyWorse => Some(Mark::Tied),
        Standing::Worse | Standing::Missing => None,
    };
    Cell { interval: Some(estimate.interval), mark, ..Cell::number(text, estimate.mean) }
}

/// The sections of a comparison whose runs are not kept: its table, and accuracy in distribution against accuracy under
/// shift where there is a shift.
pub fn sections(comparison: &Comparison) -> (Section, Option<Section>) {
    (results(comparison), scatters(comparison))
}

/// A figure for each further set, that on which methods do worst first.
fn scatters(comparison: &Comparison) -> Option<Section> {
    let figures = comparison.scatters();
    let own = &comparison.in_distribution;
    let mut note =
        format!("Each mark is a method. Further right is better on {own}; further up is better on the other set.");
    // Far from equal accuracies, there is no line to explain.
    match figures.iter().filter(|(_, figure)| figure.shows_diagonal()).count() {
        0 => {}
        some if some == figures.len() => note.push_str(" On the dashed line, both are equal."),
        _ => note.push_str(" On the dashed line, where there is one, both are equal."),
    }
    let section =
        figures.into_iter().fold(Section::new("In distribution and under shift", note), |section, (set, figure)| {
            section.with(set, Scatter { title: String::new(), ..figure })
        });
    (!section.views.is_empty()).then(|| section.opened_at(comparison.hardest_set()))
}

/// Accuracy on validation by epoch, of each method's first run that descends.
fn curves(comparison: &Comparison, runs: &[RunOf]) -> Option<Section> {
    let of_method = |row: &MethodRow| {
        let of_run = |run: &RunOf| curve(&run.record).filter(|_| run.label == row.label);
        // A method without a curve keeps its place, so that every method has its color in all figures of the page.
        Line::new(row.label.clone(), runs.iter().find_map(of_run).unwrap_or_default())
    };
    let lines: Vec<Line> = comparison.rows.iter().map(of_method).collect();
    if lines.iter().all(|line| line.points.is_empty()) {
        return None;
    }
    let score = score_name(runs.iter().flat_map(|run| &run.record.metrics));
    let note = "The score on validation by epoch in the last phase of gradient descent, at the chosen learning rate, for the \
                first seed of each method.";
    let view = Lines {
        x: Axis::integers("epoch"),
        y: Axis::shares(format!("{score} on validation")),
        lines,
        noun: "methods".into(),
        ..Lines::default()
    };
    Some(Section::new("Learning curves", note).with("", view))
}

/// The score on validation by epoch at the rate that the last phase of gradient descent chose.
fn curve(record: &RunRecord) -> Option<Vec<(f64, f64)>> {
    let phase = last_descent(&record.summary)?;
    // Short runs that only chose the rate are no part of the curve.
    let is_shown = |row: &&MetricsRow| {
        row.phase == phase.phase
            && row.split == "val"
            && row.learning_rate == phase.learning_rate
            && row.short_epochs.is_none()
    };
    Some(record.metrics.iter().filter(is_shown).map(|row| (row.epoch as f64, row.score())).collect())
}

/// The last phase that has a learning rate; after it, weights may still be interpolated.
fn last_descent(summary: &Summary) -> Option<&PhaseOutcome> {
    summary.phases.iter().rfind(|phase| phase.learning_rate.is_some())
}

/// Mean calibration error over seeds, methods by sets.
fn calibration(comparison: &Comparison, runs: &[RunOf]) -> Option<Section> {
    let sets: Vec<&String> = std::iter::once(&comparison.in_distribution).chain(&comparison.shifted).collect();
    let mut columns = vec![page::Column { heading: "Method".into(), number: false }];
    columns.extend(sets.iter().map(|set| page::Column { heading: (*set).clone(), number: true }));
    let row = |row: &MethodRow| {
        let mut cells = vec![Cell::text(&row.label)];
        for set in &sets {
            let of_method = runs.iter().filter(|run| run.label == row.label);
            let errors: Vec<f64> =
                of_method.filter_map(|run| Some(run.record.calibration(set)?.expected_error)).collect();
            let mean = errors.iter().sum::<f64>() / errors.len().max(1) as f64;
            let known = !errors.is_empty();
            cells.push(if known { Cell::number(format!("{:.1} %", 100.0 * mean), mean) } else { Cell::text("–") });
        }
        cells
    };
    if runs.iter().all(|run| run.record.predictions.is_none()) {
        return None;
    }
    let note = "Expected calibration error (Guo et al. 2017, 15 bins), mean over seeds: the mean gap between confidence and \
                accuracy. Lower is better.";
    let rows = comparison.rows.iter().map(row).collect();
    Some(Section::new("Calibration", note).with("", Table { columns, rows, caption: String::new() }))
}

/// A row for each run, with what validation chose in it.
fn every_run(comparison: &Comparison, runs: &[RunOf]) -> Section {
    let sets: Vec<&String> = comparison
        .rows
        .iter()
        .find_map(|row| row.runs.values().next())
        .map_or(Vec::new(), |run| run.splits.keys().collect());
    let mut headings = vec![("Method", false), ("Seed", true)];
    headings.extend(sets.iter().map(|set| (set.as_str(), true)));
    headings.extend([("Learning rate", true), ("Epoch", true)]);
    let row = |run: &RunOf| {
        let summary = &run.record.summary;
        let mut cells = vec![Cell::text(&run.label), Cell::number(summary.seed.to_string(), summary.seed as f64)];
        for set in &sets {
            cells.push(summary.splits.get(*set).map_or_else(
                || Cell::text("–"),
                |found| Cell::number(format!("{:.1} %", 100.0 * found.score()), found.score()),
            ));
        }
        cells.extend(chosen(summary));
        cells
    };
    let table = Table {
        columns: headings
            .into_iter()
            .map(|(heading, number)| page::Column { heading: heading.to_owned(), number })
            .collect(),
        rows: runs.iter().map(row).collect(),
        caption: String::new(),
    };
    let note = "The results of each run, and the learning rate and epoch that validation chose in its last phase of gradient descent.";
    Section::new("Every run", note).wide().with("", table)
}

/// The learning rate and epoch of the last phase of gradient descent; dashes of a run without one.
fn chosen(summary: &Summary) -> [Cell; 2] {
    let Some((phase, rate)) = last_descent(summary).and_then(|phase| Some((phase, phase.learning_rate?))) else {
        return [Cell::text("–"), Cell::text("–")];
    };
    [Cell::number(format!("{rate:e}"), rate), Cell::number(phase.epoch.to_string(), phase.epoch as f64)]
}

/// Whether a page with `mapped` images on maps has room for a map of `images` more. There is always room for one map.
pub fn has_room_for_map(mapped: usize, images: usize) -> bool {
    mapped == 0 || mapped + images <= MAX_MAPPED
}

/// What only makes sense for a single run: the first run of each method, to choose from.
fn of_each_run(runs: &[RunOf], page: &mut Page) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut mapped = 0;
    let firsts =
        runs.iter().enumerate().filter(|(index, run)| runs[..*index].iter().all(|other| other.label != run.label));
    for (_, RunOf { label, record }) in firsts {
        let with_map = has_room_for_map(mapped, record.mapped_images());
        mapped += record.mapped_images();
        for section in record.sections_to_compare(page, with_map) {
            let position = sections.iter().position(|known| known.title == section.title).unwrap_or_else(|| {
                sections.push(Section { views: Vec::new(), ..section.clone() });
                sections.len() - 1
            });
            for mut view in section.views {
                view.name = if view.name.is_empty() { label.clone() } else { format!("{label} · {}", view.name) };
                sections[position].views.push(view);
            }
        }
    }
    if let Some(RunOf { record, .. }) = runs.first() {
        let options = toml::to_string(&record.options).unwrap_or_default();
        let note = "The common options of all runs. The seed is the first run’s.";
        sections.push(Section::new("Options", note).wide().with("", Text::new(options)));
    }
    sections
}

/// A comparison of runs that were made one by one. Runs with the same label count as seeds of it.
pub fn comparison_of(runs: &[RunOf]) -> Comparison {
    let mut rows: Vec<MethodRow> = Vec::new();
    for RunOf { label, record } in runs {
        let position = rows.iter().position(|row| row.label == *label).unwrap_or_else(|| {
            rows.push(MethodRow::new(label));
            rows.len() - 1
        });
        let judgments = match &record.predictions {
            Some(predictions) => Some(Judgments::of(predictions)),
            // A file that cannot be read tells nothing of each image; the summary still counts.
            None => Judgments::read(&record.directory, &record.summary.classes).ok().flatten(),
        };
        rows[position].add(record.summary.seed, record.summary.clone(), judgments);
    }
    let further = runs.first().map(|run| run.record.shifted()).unwrap_or_default();
    Comparison::new(rows, &further)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(phases: serde_json::Value) -> Summary {
        let summary = serde_json::json!({ "method": "wise-ft", "architecture": "resnet18", "seed": 0, "best_epoch": 0,
            "seconds": 1.0, "training_images": 10, "trained_parameters": 10, "classes": ["a", "b"], "phases": phases,
            "splits": {} });
        Summary::from_json(&summary.to_string()).unwrap()
    }

    #[test]
    fn rate_and_epoch_are_of_the_same_phase() {
        let judged = serde_json::json!({ "n": 4, "accuracy": 0.5, "accuracy_interval": [0.1, 0.9],
            "balanced_accuracy": 0.5, "loss": 1.0 });
        let probe =
            serde_json::json!({ "phase": "linear probe", "inverse_strength": 0.1, "epoch": 0, "validation": judged });
        let tuned =
            serde_json::json!({ "phase": "fine-tuning", "learning_rate": 3e-4, "epoch": 7, "validation": judged });
        let between = serde_json::json!({ "phase": "interpolation", "alpha": 0.5, "epoch": 0, "validation": judged });
        let shown = |phases: serde_json::Value| chosen(&summary(phases)).map(|cell| cell.text);
        assert_eq!(shown(serde_json::json!([probe, tuned, between])), ["3e-4", "7"]);
        assert_eq!(shown(serde_json::json!([probe])), ["–", "–"]);
    }
}
