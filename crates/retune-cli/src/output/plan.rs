//! A plan as text: what each phase does, and what it does to each block.

use indicatif::HumanCount;
use retune::models::Model;
use retune::plan::{Gradient, LogisticRegression, Phase, Plan, Schedule, Solver};

use super::table::{Align, Table};

/// The plan for a model.
pub fn describe(plan: &Plan, model: &Model) -> String {
    let total: usize = model.block_parameters().iter().sum();
    let architecture = model.config().architecture();
    let mut text = format!("{} on {architecture} ({} parameters)\n\n", plan.method, HumanCount(total as u64));
    for (number, phase) in plan.phases.iter().enumerate() {
        text.push_str(&format!("phase {}, {}: {}\n", number + 1, phase.name, solver(&phase.solver)));
    }
    format!("{text}\n{}", blocks(plan, model))
}

/// A row for each block, a column for each phase.
fn blocks(plan: &Plan, model: &Model) -> Table {
    let mut columns = vec![("block".to_owned(), Align::Left), ("parameters".to_owned(), Align::Right)];
    columns.extend((1..=plan.phases.len()).map(|number| (format!("phase {number}"), Align::Left)));
    let mut table = Table::new(columns);
    let rates: Vec<Vec<f64>> = plan.phases.iter().map(|phase| phase.block_rates(model.blocks())).collect();
    for (index, (block, count)) in model.blocks().iter().zip(model.block_parameters()).enumerate() {
        let mut cells = vec![block.name.clone(), HumanCount(count as u64).to_string()];
        cells.extend(plan.phases.iter().zip(&rates).map(|(phase, rates)| treatment(phase, rates[index])));
        table.row(cells);
    }
    table
}

/// What a phase does to a block with this rate.
fn treatment(phase: &Phase, rate: f64) -> String {
    match &phase.solver {
        _ if rate == 0.0 => "frozen".into(),
        Solver::LogisticRegression(_) => "to the optimum".into(),
        Solver::Gradient(_) => format!("{rate} × lr"),
    }
}

fn solver(solver: &Solver) -> String {
    match solver {
        Solver::LogisticRegression(LogisticRegression { strengths }) => {
            let least = strengths.iter().copied().fold(f64::INFINITY, f64::min);
            let most = strengths.iter().copied().fold(0.0, f64::max);
            let count = strengths.len();
            format!(
                "logistic regression on fixed features, the best of {count} inverse strengths {least:.0e} to {most:.0e}"
            )
        }
        Solver::Gradient(gradient) => descent(gradient),
    }
}

fn descent(gradient: &Gradient) -> String {
    let Gradient { epochs, learning_rates, schedule, warmup_epochs, .. } = gradient;
    let epochs = match epochs {
        1 => "1 epoch".to_owned(),
        epochs => format!("{epochs} epochs"),
    };
    let names: Vec<String> = learning_rates.iter().map(|rate| format!("{rate:e}")).collect();
    let rates = match names.as_slice() {
        [only] => format!("learning rate {only}"),
        several => format!("the best of learning rates {}", several.join(", ")),
    };
    let schedule = match schedule {
        Schedule::Constant => "constant",
        Schedule::Linear => "linear to 0",
        Schedule::Cosine => "cosine to 0",
        Schedule::Slanted => "slanted triangle",
    };
    let warmup = if *warmup_epochs > 0.0 { format!(" after {warmup_epochs} epochs of warm-up") } else { String::new() };
    format!("{epochs}, {rates}, {schedule}{warmup}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use retune::methods::{Method, MethodOptions};

    #[test]
    fn phases_say_what_they_try() {
        let options = MethodOptions { learning_rates: vec![1e-3], warmup_epochs: 0.5, ..MethodOptions::default() };
        let plan = Method::LpFt.plan(&[], &options);
        assert!(solver(&plan.phases[0].solver).ends_with("the best of 50 inverse strengths 1e-7 to 1e2"));
        let expected = "10 epochs, learning rate 1e-3, cosine to 0 after 0.5 epochs of warm-up";
        assert_eq!(solver(&plan.phases[1].solver), expected);
    }
}
