//! A plan as text: what each phase does, and what it does to each block.

use indicatif::HumanCount;
use retune::models::{Block, Model, ParameterSpec};
use retune::plan::{
    Adaptive, Anchor, Averaging, Combine, Criterion, Gradient, HeadMeasure, Interpolation, LayerKind,
    LogisticRegression, LowRank, Phase, Plan, Rung, Schedule, Selection, Solver, Warmup,
};
use retune::wording::counted;

use super::table::{Align, Table};

/// The plan for a model; every tensor of it where `tensors` are asked for.
pub fn describe(plan: &Plan, model: &Model, tensors: bool) -> String {
    let total: usize = model.block_parameters().iter().sum();
    let architecture = model.config().architecture();
    let mut text = format!("{} on {architecture} ({} parameters)\n\n", plan.method, HumanCount(total as u64));
    for (number, phase) in plan.phases.iter().enumerate() {
        text.push_str(&format!("phase {}, {}: {}\n", number + 1, phase.name, solver(&phase.solver)));
    }
    format!("{text}\n{}", blocks(plan, model, tensors))
}

/// A row for each block, and below it for each of its tensors where they are asked for; a column for each phase.
fn blocks(plan: &Plan, model: &Model, tensors: bool) -> Table {
    let mut columns = vec![("block".to_owned(), Align::Left), ("parameters".to_owned(), Align::Right)];
    columns.extend((1..=plan.phases.len()).map(|number| (format!("phase {number}"), Align::Left)));
    let mut table = Table::new(columns);
    let rates: Vec<Vec<f64>> = plan.phases.iter().map(|phase| phase.block_rate_factors(model.blocks())).collect();
    let shown = |count: usize| HumanCount(count as u64).to_string();
    for (index, (block, count)) in model.blocks().iter().zip(model.block_parameters()).enumerate() {
        let mut cells = vec![block.name.clone(), shown(count)];
        cells.extend(plan.phases.iter().zip(&rates).map(|(phase, rates)| treatment(phase, block, rates[index])));
        table.row(cells);
        for spec in block.parameters.iter().filter(|_| tensors) {
            let mut cells = vec![format!("  {}", spec.name), shown(spec.len())];
            cells.extend(plan.phases.iter().map(|phase| tensor_treatment(phase, block, spec, model.head())));
            table.row(cells);
        }
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
            let anew = if gradient.reinitialize.contains(&block.name) { ", drawn anew" } else { "" };
            let trained = match gradient.splits(block) {
                true => split_treatment(gradient, block),
                false => descends(rate, gradient.frozen_epochs.get(&block.name).copied().unwrap_or(0)),
            };
            format!("{trained}{anew}")
        }
    }
}

/// What a phase does to a tensor.
fn tensor_treatment(phase: &Phase, block: &Block, spec: &ParameterSpec, head: usize) -> String {
    match &phase.solver {
        Solver::Interpolation(_) => "interpolated".into(),
        _ if !phase.selects(spec, head) => "frozen".into(),
        Solver::LogisticRegression(_) => "to the optimum".into(),
        Solver::Gradient(gradient) => match gradient.rate_factor(block, &spec.name) {
            0.0 => "frozen".into(),
            rate => descends(rate, gradient.frozen_epochs_of(block, &spec.name)),
        },
    }
}

fn descends(rate: f64, frozen_epochs: usize) -> String {
    let from = if frozen_epochs > 0 { format!(" from epoch {}", frozen_epochs + 1) } else { String::new() };
    format!("{} × lr{from}", short(rate))
}

/// What a phase does to a block whose tensors it treats differently, in a line.
fn split_treatment(gradient: &Gradient, block: &Block) -> String {
    let rate = |spec: &ParameterSpec| gradient.rate_factor(block, &spec.name);
    let trained: Vec<usize> =
        (0..block.parameters.len()).filter(|&tensor| rate(&block.parameters[tensor]) > 0.0).collect();
    let rates = trained.iter().map(|&tensor| rate(&block.parameters[tensor]));
    let (least, most) = rates.fold((f64::INFINITY, 0.0f64), |(least, most), rate| (least.min(rate), most.max(rate)));
    let epochs = trained.iter().map(|&tensor| gradient.frozen_epochs_of(block, &block.parameters[tensor].name) + 1);
    let (first, last) = epochs.fold((usize::MAX, 0), |(first, last), epoch| (first.min(epoch), last.max(epoch)));
    let from =
        if last > 1 { format!(" from epoch {}", span(first.to_string(), last.to_string())) } else { String::new() };
    format!("{} × lr{from}, {}", span(short(least), short(most)), which(block, &trained))
}

fn span(least: String, most: String) -> String {
    if least == most { least } else { format!("{least}–{most}") }
}

/// Which tensors of a block `trained` are, in a few words.
fn which(block: &Block, trained: &[usize]) -> String {
    let own = |tensor: usize| {
        let name = &block.parameters[tensor].name;
        let within = name.strip_prefix(&block.name).and_then(|name| name.strip_prefix('.'));
        within.unwrap_or(name).to_owned()
    };
    let all = block.parameters.len();
    match trained {
        [only] => format!("{} alone", own(*only)),
        several if several.len() == all => "by tensor".to_owned(),
        [first, .., last] if last - first + 1 == trained.len() => {
            format!("{} of {all} tensors: {} … {}", trained.len(), own(*first), own(*last))
        }
        several => format!("{} of {all} tensors", several.len()),
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
    let Gradient { epochs, learning_rates, schedule, warmup_epochs, warmup, combine, .. } = gradient;
    let epochs = counted(*epochs, "epoch");
    let names: Vec<String> = learning_rates.iter().map(|rate| format!("{rate:e}")).collect();
    let combined = match combine {
        Combine::Best => "best",
        Combine::UniformSoup => "average",
        Combine::GreedySoup => "greedy average",
    };
    let rates = match names.as_slice() {
        [only] => format!("learning rate {only}"),
        several => format!("the {combined} of learning rates {}{}", several.join(", "), searched(gradient)),
    };
    let schedule = match schedule {
        Schedule::Constant => "constant",
        Schedule::Linear => "linear to 0",
        Schedule::Cosine => "cosine to 0",
        Schedule::Slanted => "slanted triangle",
    };
    let climb = if *warmup == Warmup::Exponential { "exponential " } else { "" };
    let warmup = match *warmup_epochs {
        0.0 => String::new(),
        1.0 => format!(" after 1 epoch of {climb}warm-up"),
        epochs => format!(" after {epochs} epochs of {climb}warm-up"),
    };
    format!("{epochs}, {rates}, {schedule}{warmup}")
}

/// The short trainings of a search, such as ` (all for 2 epochs, the best 2 in full)`.
fn searched(gradient: &Gradient) -> String {
    let mut which = "all".to_owned();
    let mut stages = Vec::new();
    for Rung { epochs, keep, keep_largest } in &gradient.rungs {
        stages.push(format!("{which} for {}", counted(*epochs, "epoch")));
        which = match (keep, keep_largest) {
            (1, _) => "the best".to_owned(),
            (2, true) => "the best and the largest about as good".to_owned(),
            _ => format!("the best {keep}"),
        };
    }
    if stages.is_empty() {
        return String::new();
    }
    format!(" ({}, {which} in full)", stages.join(", "))
}

/// What a phase does besides plain gradient descent.
fn extras(gradient: &Gradient) -> Vec<String> {
    let mut extras = Vec::new();
    if let Some(patience) = gradient.patience {
        extras.push(match patience {
            1 => "until an epoch is no better".to_owned(),
            epochs => format!("until {epochs} epochs in a row are no better"),
        });
    }
    match gradient.parameters {
        Selection::All => {}
        Selection::NotNorms => extras.push("normalization layers stay".to_owned()),
        Selection::Norms => extras.push("only normalization layers and the head".to_owned()),
        Selection::Biases => extras.push("only biases and the head".to_owned()),
    }
    if let Some(LowRank { rank, alpha }) = gradient.low_rank {
        extras.push(format!("changes of rank {rank}, scaled by {alpha} / {rank}, and the head"));
    }
    if let Some(Adaptive { criterion, layer, batches, threshold, head, .. }) = &gradient.adaptive {
        let layer = match layer {
            LayerKind::Tensor => "tensor",
            LayerKind::Block => "block",
            LayerKind::Stage => "stage",
        };
        let by = match criterion {
            Criterion::RelativeGradientNorm => "relative gradient norm",
            Criterion::SignalToNoise => "signal-to-noise ratio",
            Criterion::SignalToNoiseOfficial => "signal-to-noise ratio (official code)",
            Criterion::CumulativeGradientNorm => {
                "relative gradient norm in the last step of each epoch, from 0.55 to 1"
            }
        };
        let cut = threshold.map(|threshold| format!(", frozen below {threshold}")).unwrap_or_default();
        let when = match criterion {
            Criterion::CumulativeGradientNorm => ", on top of the epochs before".to_owned(),
            _ => format!(" over {batches} batches before each epoch{cut}"),
        };
        let apart = if *head == HeadMeasure::Apart { "; the head at the full rate" } else { "" };
        extras.push(format!("each {layer} × its {by}{when}{apart}"));
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
        let plan = Method::LP_FT.plan(&[], &options).unwrap();
        assert!(solver(&plan.phases[0].solver).ends_with("the best of 50 inverse strengths 1e-7 to 1e2"));
        let expected = "10 epochs, learning rate 1e-3, cosine to 0 after 0.5 epochs of warm-up";
        assert_eq!(solver(&plan.phases[1].solver), expected);
        let plan = Method::LP_FT.plan(&[], &MethodOptions { epochs: 8, ..MethodOptions::default() }).unwrap();
        let expected = "8 epochs, the best of learning rates 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3 (all for 1 epoch, the best \
                        and the largest about as good in full), cosine to 0";
        assert_eq!(solver(&plan.phases[1].solver), expected);
    }

    #[test]
    fn tensors_are_folded_into_their_blocks_unless_all_are_asked_for() {
        let cpu = retune::device::by_name("cpu").unwrap();
        let model = Model::from_scratch(None, Some("resnet18"), Clone::clone, 0, &cpu).unwrap();
        let rows = |method: Method, options: MethodOptions, tensors: bool| -> Vec<String> {
            let plan = method.plan(model.blocks(), &options).unwrap();
            blocks(&plan, &model, tensors).to_string().lines().map(str::to_owned).collect()
        };
        let layers = "layer4.0.bn2.weight..fc.weight".parse().unwrap();
        let options = MethodOptions { layers, new_head: false, ..MethodOptions::default() };
        let folded = rows(Method::SURGICAL, options.clone(), false);
        assert_eq!(folded.len(), 1 + 10);
        let row = |start: &str| folded.iter().find(|row| row.starts_with(start)).unwrap();
        assert!(row("layer3.1").ends_with("frozen"), "{folded:#?}");
        assert!(row("layer4.0").ends_with("1 × lr, 5 of 9 tensors: bn2.weight … downsample.1.bias"), "{folded:#?}");
        assert!(row("layer4.1").ends_with("1 × lr"), "{folded:#?}");
        assert!(row("head").ends_with("1 × lr, fc.weight alone"), "{folded:#?}");
        // A row for each of the 62 tensors of a ResNet-18 besides.
        assert_eq!(rows(Method::SURGICAL, options, true).len(), 1 + 10 + 62);

        let options = MethodOptions { new_head: false, epochs: 62, ..MethodOptions::default() };
        let options = options.with("granularity", "tensor").unwrap();
        let head = |method: Method| rows(method, options.clone(), false).pop().unwrap();
        assert!(head(Method::DISCRIMINATIVE).ends_with("0.9–1 × lr, by tensor"));
        assert!(head(Method::ULMFIT).ends_with("0.9–1 × lr from epoch 1–2, by tensor"));
    }
}
