//! What a run can be made again from.

use std::ops::RangeInclusive;

use super::{RunRecord, RunSection, Sheets};
use crate::plan::{Phase, Plan, Solver};
use crate::report::layer_rates::factor_rows;
use crate::report::page::{Cell, Column, Section, Table, Text};
use crate::wording::counted;

pub(super) const SECTION: RunSection =
    RunSection { id: "plan-and-options", title: "Plan and options", of_each_run: false, content };

fn content(record: &RunRecord, _: Sheets) -> Option<Section> {
    let plan = record.plan.to_toml().unwrap_or_default();
    let options = toml::to_string(&record.options).unwrap_or_default();
    let note = "The plan (plan.toml), and every resolved option (run.toml).";
    let section = SECTION.noted(note).wide().with("Plan", plan_table(&record.plan));
    let section = match &record.command {
        Some(command) => section.with("Command", Text::command(command)),
        None => section,
    };
    Some(section.with("plan.toml", Text::new(plan)).with("run.toml", Text::new(options)))
}

/// The plan, with a row for each phase and the blocks or tensors that have the same rate; those of other rates are merged if
/// there are many.
fn plan_table(plan: &Plan) -> Table {
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
            vec![row(format!("logistic regression at {}", counted(settings.strengths.len(), "penalty")), "head", None)]
        }
        Solver::Interpolation(settings) => {
            let alphas: Vec<String> = settings.alphas.iter().map(f64::to_string).collect();
            vec![row(format!("interpolation of weights, α = {}", alphas.join(", ")), "every block", None)]
        }
        Solver::Gradient(settings) => {
            let rates: Vec<String> = settings.learning_rates.iter().map(|rate| format!("{rate:e}")).collect();
            let searched = if settings.rungs.is_empty() { "" } else { ", by successive halving" };
            let how =
                format!("{} of gradient descent at {}{searched}", counted(settings.epochs, "epoch"), rates.join(", "));
            let rows = factor_rows(&settings.rate_factors).into_iter().enumerate();
            // Said once, it holds for the rows below.
            let how = |number: usize| if number == 0 { how.clone() } else { "same".to_owned() };
            rows.map(|(number, (layers, rates))| row(how(number), &layers, Some(rates))).collect()
        }
    }
}

/// A factor, or the smallest and the largest of several.
fn factors(rates: &RangeInclusive<f64>) -> String {
    let trimmed = |text: String| text.trim_end_matches('0').trim_end_matches('.').to_owned();
    let shown =
        |rate: f64| if rate > 0.0 && rate < 1e-3 { format!("{rate:.2e}") } else { trimmed(format!("{rate:.4}")) };
    let (least, most) = (shown(*rates.start()), shown(*rates.end()));
    if least == most { most } else { format!("{least} – {most}") }
}
