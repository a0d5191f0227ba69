//! A plan as text: what each phase does, and what it does to each block.

use indicatif::HumanCount;
use retune::models::{Block, Model};
use retune::plan::{
    Adaptive, Anchor, Averaging, Combine, Criterion, Gradient, Interpolation, LayerKind, LogisticRegression, LowRank,
    Phase, Plan, Schedule, Selection, Solver,
};

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
        cells.extend(plan.phases.iter().zip(&rates).map(|(phase, rates)| treatment(phase, block, rates[index])));
        table.row(cells);
    }
    table
}

/// What a phase does to a block with this rate.
fn treatment(phase: &Phase, block: &Block, rate: f64) -> String {
    match &phase.solver {
        Solver::Interpolation(_) => "interpolated".into(),
        _ if rate == 0.0 => "frozen".into(),
        Solver::LogisticRegression(_) => "to the optimum".into(),
        Solver::Gradient(gradient) => {
            let frozen = gradient.frozen_epochs.get(&block.name).copied().unwrap_or(0);
            let from = if frozen > 0 { format!(" from epoch {}", frozen + 1) } else { String::new() };
            let anew = if gradient.reinitialize.contains(&block.name) { ", drawn anew" } else { "" };
            format!("{} × lr{from}{anew}", short(rate))
        }
    }
}

/// A factor with as many digits as tell it apart.
fn short(factor: f64) -> String {
    let text = format!("{factor:.4}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if factor > 0.0 && factor < 1e-3 { format!("{factor:.2e}") } else { text.to_owned() }
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
        Solver::Gradient(gradient) => [vec![descent(gradient)], extras(gradient)].concat().join("; "),
        Solver::Interpolation(Interpolation { alphas }) => {
            let alphas: Vec<String> = alphas.iter().map(f64::to_string).collect();
            let best = if alphas.len() > 1 { "the best of alpha" } else { "alpha" };
            format!("between the weights before and after the phase before, {best} {}", alphas.join(", "))
        }
    }
}

fn descent(gradient: &Gradient) -> String {
    let Gradient { epochs, learning_rates, schedule, warmup_epochs, combine, .. } = gradient;
    let epochs = match epochs {
        1 => "1 epoch".to_owned(),
        epochs => format!("{epochs} epochs"),
    };
    let names: Vec<String> = learning_rates.iter().map(|rate| format!("{rate:e}")).collect();
    let combined = match combine {
        Combine::Best => "best",
        Combine::UniformSoup => "average",
        Combine::GreedySoup => "greedy average",
    };
    let rates = match names.as_slice() {
        [only] => format!("learning rate {only}"),
        several => format!("the {combined} of learning rates {}", several.join(", ")),
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

/// What a phase does besides plain gradient descent.
fn extras(gradient: &Gradient) -> Vec<String> {
    let mut extras = Vec::new();
    match gradient.parameters {
        Selection::All => {}
        Selection::NotNorms => extras.push("normalization layers stay".to_owned()),
        Selection::Norms => extras.push("only normalization layers and the head".to_owned()),
        Selection::Biases => extras.push("only biases and the head".to_owned()),
    }
    if let Some(LowRank { rank, alpha }) = gradient.low_rank {
        extras.push(format!("changes of rank {rank}, scaled by {alpha} / {rank}, and the head"));
    }
    if let Some(Adaptive { criterion, layer, batches, threshold, .. }) = &gradient.adaptive {
        let layer = match layer {
            LayerKind::Tensor => "tensor",
            LayerKind::Block => "block",
            LayerKind::Stage => "stage",
        };
        let by = match criterion {
            Criterion::RelativeGradientNorm => "relative gradient norm",
            Criterion::SignalToNoise => "signal-to-noise ratio",
            Criterion::SignalToNoiseOfficial => "signal-to-noise ratio (official code)",
        };
        let cut = threshold.map(|threshold| format!(", frozen below {threshold}")).unwrap_or_default();
        extras.push(format!("each {layer} × its {by} over {batches} batches before each epoch{cut}"));
    }
    if let Some(Anchor { strength, head_strength }) = gradient.anchor {
        extras.push(format!("pulled to the pretrained weights by {strength}, the head to 0 by {head_strength}"));
    }
    match gradient.average {
        Some(Averaging::Exponential { decay }) => extras.push(format!("moving average of the weights, decay {decay}")),
        Some(Averaging::Epochs { from }) => extras.push(format!("average of the weights from epoch {from} on")),
        None => {}
    }
    extras
}

#[cfg(test)]
mod tests {
    use super::*;
    use retune::methods::{Method, MethodOptions};

    #[test]
    fn phases_say_what_they_try() {
        let options = MethodOptions { learning_rates: vec![1e-3], warmup_epochs: 0.5, ..MethodOptions::default() };
        let plan = Method::LpFt.plan(&[], &options).unwrap();
        assert!(solver(&plan.phases[0].solver).ends_with("the best of 50 inverse strengths 1e-7 to 1e2"));
        let expected = "10 epochs, learning rate 1e-3, cosine to 0 after 0.5 epochs of warm-up";
        assert_eq!(solver(&plan.phases[1].solver), expected);
    }
}
