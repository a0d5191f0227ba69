//! Sections on training: losses, rates, and what validation chose.

use std::ops::RangeInclusive;

use retune_figures::figure::{Line, Lines};
use retune_figures::{Axis, Format};

use super::RunRecord;
use crate::plan::{Phase, Plan, Solver};
use crate::report::figures;
use crate::report::layer_rates::factor_rows;
use crate::report::page::{Cell, Column, Section, Table};
use crate::report::verdict::{interval, percent};
use crate::train::metrics::MetricsRow;
use crate::train::{PhaseOutcome, RunnerUp, Tried};

/// Title of the section with losses and accuracies by epoch.
pub(super) const CURVES: &str = "Learning curves";

/// A phase with the rows of each learning rate, the chosen one first.
struct Descent<'a> {
    name: &'a str,
    outcome: &'a PhaseOutcome,
    chosen: f64,
    rates: Vec<(f64, Vec<&'a MetricsRow>)>,
}

impl<'a> Descent<'a> {
    fn of(outcome: &'a PhaseOutcome, metrics: &'a [MetricsRow]) -> Option<Self> {
        let chosen = outcome.learning_rate.or_else(|| outcome.soup.as_ref()?.first().copied())?;
        let mut rates: Vec<(f64, Vec<&MetricsRow>)> = Vec::new();
        let in_full = |row: &&MetricsRow| row.phase == outcome.phase && row.short_epochs.is_none();
        for row in metrics.iter().filter(in_full) {
            let Some(rate) = row.learning_rate else { continue };
            match rates.iter_mut().find(|(known, _)| *known == rate) {
                Some((_, rows)) => rows.push(row),
                None => rates.push((rate, vec![row])),
            }
        }
        rates.sort_by_key(|(rate, _)| *rate != chosen);
        (!rates.is_empty()).then_some(Self { name: &outcome.phase, outcome, chosen, rates })
    }

    fn chosen_rows(&self) -> impl Iterator<Item = &'a MetricsRow> + '_ {
        self.rates.iter().filter(|(rate, _)| *rate == self.chosen).flat_map(|(_, rows)| rows.iter().copied())
    }
}

/// The sections, without empty ones.
pub(super) fn sections(record: &RunRecord) -> Vec<Section> {
    let phases = &record.summary.phases;
    let descents: Vec<Descent> = phases.iter().filter_map(|phase| Descent::of(phase, &record.metrics)).collect();
    let sections = [
        curves(&descents, phases),
        rates_tried(&descents),
        block_rates(&descents),
        multipliers(&descents),
        penalties(phases, &record.metrics),
    ];
    sections.into_iter().flatten().filter(|section| !section.views.is_empty()).collect()
}

/// A view's name, with the phase's where there are several.
fn name(view: &str, descent: &Descent, descents: &[Descent]) -> String {
    if descents.len() == 1 { view.to_owned() } else { format!("{}: {view}", descent.name) }
}

fn curves(descents: &[Descent], phases: &[PhaseOutcome]) -> Option<Section> {
    if descents.is_empty() {
        return None;
    }
    let note = "At the learning rate that validation chose. The mark is the epoch that was kept. Training values are means \
                over an epoch, during which the model changes.";
    let mut section = Section::new(CURVES, note);
    for descent in descents {
        let kept = phases.iter().find(|phase| phase.phase == descent.name);
        let marks: Vec<(f64, String)> = kept.map(|phase| (phase.epoch as f64, "kept".to_owned())).into_iter().collect();
        let rows: Vec<&MetricsRow> = descent.chosen_rows().collect();
        let marked = |lines: Lines| Lines { marks: marks.clone(), ..lines };
        let accuracy = marked(figures::by_split(rows.iter().copied(), Axis::shares("accuracy"), |row| row.accuracy));
        let loss = marked(figures::by_split(rows.iter().copied(), Axis::new("loss"), |row| row.loss));
        section =
            section.with(name("Loss", descent, descents), loss).with(name("Accuracy", descent, descents), accuracy);
    }
    Some(section)
}

fn rates_tried(descents: &[Descent]) -> Option<Section> {
    let several = |descent: &&Descent| descent.rates.len() > 1;
    let searched = |descent: &&Descent| !descent.outcome.tried.is_empty();
    descents.iter().find(|descent| several(descent) || searched(descent))?;
    let note = "Accuracy on validation at every learning rate that was tried. Rates that trained for fewer epochs were left \
                out on the way. The strong line is the chosen rate.";
    let certainty = descents.iter().filter_map(|descent| descent.outcome.runner_up()).map(|found| certainty(&found));
    let note: Vec<String> = std::iter::once(note.to_owned()).chain(certainty).collect();
    let mut section = Section::new("Learning rates tried", note.join(" ")).wide();
    for descent in descents.iter().filter(searched) {
        section = section.with(name("Table", descent, descents), tried_table(&descent.outcome.tried));
    }
    for descent in descents.iter().filter(several) {
        let line = |(rate, rows): &(f64, Vec<&MetricsRow>)| Line {
            faint: *rate != descent.chosen,
            ..Line::new(
                Format::Number.text(*rate),
                rows.iter().filter(|row| row.split == "val").map(|row| (row.epoch as f64, row.accuracy)).collect(),
            )
        };
        let mut lines: Vec<Line> = descent.rates.iter().map(line).collect();
        // Rates that diverged at once have no row on validation.
        lines.retain(|line| !line.points.is_empty());
        let lines = figures::over_epochs(Axis::shares("accuracy on validation"), lines);
        section = section.with(name("Accuracy", descent, descents), lines);
    }
    Some(section)
}

/// How sure the choice of a learning rate is, in a sentence.
fn certainty(runner_up: &RunnerUp) -> String {
    let verdict = if runner_up.is_told_apart() { "tell" } else { "do not tell" };
    format!(
        "The validation images {verdict} the chosen rate from the next, {:e}: the accuracies differ by {} after {} \
         epochs, and their standard error is {}.",
        runner_up.learning_rate,
        percent(runner_up.lead.abs()),
        runner_up.epochs,
        percent(runner_up.standard_error)
    )
}

/// A row for each training that a search made.
fn tried_table(tried: &[Tried]) -> Table {
    let row = |tried: &Tried| {
        let mut cells = vec![
            Cell::number(format!("{:e}", tried.learning_rate), tried.learning_rate),
            Cell::number(tried.epochs.to_string(), tried.epochs as f64),
        ];
        match &tried.validation {
            Some(found) => cells.extend([
                Cell::number(tried.epoch.to_string(), tried.epoch as f64),
                Cell::number(percent(found.accuracy), found.accuracy),
                Cell {
                    interval: Some(found.accuracy_interval),
                    ..Cell::number(interval(found.accuracy_interval), found.accuracy)
                },
                Cell::number(format!("{:.3}", found.loss), found.loss),
            ]),
            None => cells.extend(["diverged", "–", "–", "–"].map(Cell::text)),
        }
        cells
    };
    let headings = ["Learning rate", "Epochs", "Best epoch", "Accuracy", "95 % interval", "Loss"];
    Table {
        columns: headings.map(|heading| Column { heading: heading.into(), number: true }).into(),
        rows: tried.iter().map(row).collect(),
        caption: String::new(),
    }
}

fn block_rates(descents: &[Descent]) -> Option<Section> {
    let note = "Mean learning rate of each block over an epoch; of each tensor, where those of a block differ. Layers with \
                equal rates are one line; colors go from the input (dark) to the head (light).";
    let mut section = Section::new("Learning rates of the blocks", note);
    // One rate for all blocks follows the schedule, which the plan tells.
    let mut few = true;
    for descent in descents {
        let rows: Vec<&MetricsRow> = descent.chosen_rows().collect();
        if let Some(rates) = figures::layer_rates("", rows.into_iter()) {
            few &= rates.lines.len() < 2;
            section = section.with(name("Rates", descent, descents), rates);
        }
    }
    Some(section.folded_if(few))
}

fn multipliers(descents: &[Descent]) -> Option<Section> {
    let note = "The factor on each layer’s learning rate that the method measured before each epoch, from the input (top) \
                to the head.";
    let mut section = Section::new("Measured factors on rates", note);
    for descent in descents {
        if let Some(map) = figures::multipliers("", descent.chosen_rows()) {
            section = section.with(name("Factors", descent, descents), map);
        }
    }
    Some(section)
}

fn penalties(phases: &[PhaseOutcome], metrics: &[MetricsRow]) -> Option<Section> {
    let note = "The linear probe at every strength of its L2 penalty. Weak penalties are on the right.";
    let mut section = Section::new("Penalties tried", note);
    for phase in phases.iter().filter(|phase| phase.inverse_strength.is_some()) {
        let line = |split: &str, value: fn(&MetricsRow) -> f64| {
            let rows = metrics.iter().filter(|row| row.phase == phase.phase && row.split == split);
            let mut points: Vec<(f64, f64)> =
                rows.filter_map(|row| Some((row.inverse_strength?, value(row)))).collect();
            points.sort_by(|one, other| one.0.total_cmp(&other.0));
            Line::new(if split == "train" { "training" } else { "validation" }, points)
        };
        let view = |y: Axis, value: fn(&MetricsRow) -> f64| Lines {
            x: Axis::log("inverse strength, C"),
            y,
            lines: vec![line("train", value), line("val", value)],
            marks: phase.inverse_strength.map(|strength| (strength, "chosen".to_owned())).into_iter().collect(),
            ..Lines::default()
        };
        section = section
            .with("Accuracy", view(Axis::shares("accuracy"), |row| row.accuracy))
            .with("Loss", view(Axis::new("loss"), |row| row.loss));
    }
    Some(section)
}

/// The plan, with a row for each phase and each block or tensor that has a rate; neighbors are merged if there are
/// many.
pub(super) fn plan_table(plan: &Plan) -> Table {
    let mut rows = Vec::new();
    for phase in &plan.phases {
        rows.extend(phase_rows(phase));
    }
    let columns = [("Phase", false), ("How", false), ("Block", false), ("Factor on the rate", true)];
    Table {
        columns: columns.into_iter().map(|(heading, number)| Column { heading: heading.into(), number }).collect(),
        rows,
        caption: String::new(),
    }
}

fn phase_rows(phase: &Phase) -> Vec<Vec<Cell>> {
    let row = |how: String, block: &str, rates: Option<RangeInclusive<f64>>| {
        let rate = rates.map_or_else(|| Cell::text(""), |rates| Cell::number(factors(&rates), *rates.end()));
        vec![Cell::text(&phase.name), Cell::text(how), Cell::text(block), rate]
    };
    match &phase.solver {
        Solver::LogisticRegression(settings) => {
            vec![row(format!("logistic regression at {} penalties", settings.strengths.len()), "head", None)]
        }
        Solver::Interpolation(settings) => {
            let alphas: Vec<String> = settings.alphas.iter().map(f64::to_string).collect();
            vec![row(format!("interpolation of weights, α = {}", alphas.join(", ")), "every block", None)]
        }
        Solver::Gradient(settings) => {
            let rates: Vec<String> = settings.learning_rates.iter().map(|rate| format!("{rate:e}")).collect();
            let searched = if settings.rungs.is_empty() { "" } else { ", by successive halving" };
            let how = format!("{} epochs of gradient descent at {}{searched}", settings.epochs, rates.join(", "));
            let rows = factor_rows(&settings.rate_factors).into_iter().enumerate();
            // Said once, it holds for the rows below.
            let how = |number: usize| if number == 0 { how.clone() } else { "same".to_owned() };
            rows.map(|(number, (layers, rates))| row(how(number), &layers, Some(rates))).collect()
        }
    }
}

/// A factor, or the smallest and the largest of several.
fn factors(rates: &RangeInclusive<f64>) -> String {
    let shown = |rate: f64| if rate > 0.0 && rate < 1e-3 { format!("{rate:.2e}") } else { format!("{rate:.4}") };
    let (least, most) = (shown(*rates.start()), shown(*rates.end()));
    if least == most { most } else { format!("{least} – {most}") }
}
