//! What a comparison found, in sentences, and what to do next.

use std::path::Path;

use super::{Basis, ColumnResult, Comparison, MethodResult, Standing};
use crate::methods;
use crate::report::findings::{Command, Findings, NextStep, listed, points, typed};
use crate::wording::counted;

/// The findings of a comparison; `run` is the directory of a method's first run, where that is known.
pub fn of<'a>(comparison: &Comparison, run: impl Fn(&str) -> Option<&'a Path>) -> Findings {
    let mut sentences = sentences(comparison);
    sentences.extend(default_method(comparison));
    let best = comparison.results().iter().rfind(|result| !result.column.worst_group).and_then(best_of);
    let next = best.and_then(|best| Some((best, run(&best.label)?))).map(|(best, run)| {
        let purpose = format!("predict with the model of {}", best.label);
        NextStep::new(purpose, &Command::new("predict").with("model", typed(run)).operand("IMAGES"))
    });
    Findings { sentences, next: next.into_iter().collect() }
}

fn best_of(result: &ColumnResult) -> Option<&MethodResult> {
    result.methods.iter().find(|method| method.standing == Standing::Best)
}

/// For each set, the worst first, the best method with its accuracy, and over which others its lead is significant.
pub(super) fn sentences(comparison: &Comparison) -> Vec<String> {
    let accuracy =
        |result: &&ColumnResult| best_of(result).and_then(|best| best.estimate).map_or(1.0, |best| best.mean);
    let mut results: Vec<&ColumnResult> = comparison.results().iter().collect();
    results.sort_by(|one, other| accuracy(one).total_cmp(&accuracy(other)));
    let score = comparison.score_name();
    results.into_iter().filter_map(|result| sentence(result, score)).collect()
}

fn sentence(result: &ColumnResult, score: &str) -> Option<String> {
    let ColumnResult { column, basis, methods, .. } = result;
    let named = |wanted: Standing| -> Vec<String> {
        methods.iter().filter(|method| method.standing == wanted).map(|method| method.label.clone()).collect()
    };
    let [bests, close, worse] = [Standing::Best, Standing::NotSignificantlyWorse, Standing::Worse].map(named);
    let heading = column.heading();
    let estimate = best_of(result)?.estimate?;
    let shown = format!(
        "{:.1} % ({:.1}–{:.1} %)",
        100.0 * estimate.mean,
        100.0 * estimate.interval[0],
        100.0 * estimate.interval[1]
    );
    let best = listed(&bests);
    let highest = format!("Highest {score} on {heading}: {best}, {shown}");
    let holm = if *basis == Basis::Predictions { " after Holm's correction" } else { "" };
    let is = |count: usize| if count == 1 { "is" } else { "are" };
    Some(match (close.len(), worse.len()) {
        (0, 0) if bests.len() < 2 => format!("{highest}."),
        (0, 0) => format!("All methods have the same {score} on {heading}: {shown}."),
        (0, _) => format!("{highest}; every other method is significantly worse{holm}."),
        (_, 0) => format!("{highest}; no other method is significantly worse{holm}."),
        (near, far) if near <= far => {
            format!("{highest}; {} {} not significantly worse{holm}.", listed(&close), is(near))
        }
        (_, far) => format!("{highest}; only {} {} significantly worse{holm}.", listed(&worse), is(far)),
    })
}

/// A sentence on the default method where it is significantly worse on some set than the best.
fn default_method(comparison: &Comparison) -> Option<String> {
    let results = comparison.results().iter().filter(|result| !result.column.worst_group);
    let behind = results.filter_map(|result| {
        let own = result.methods.iter().find(|method| method.label == methods::DEFAULT.name)?;
        let best = best_of(result)?.estimate?;
        let lost = best.mean - own.estimate?.mean;
        (own.standing == Standing::Worse).then_some((lost, result))
    });
    let (lost, result) = behind.max_by(|one, other| one.0.total_cmp(&other.0))?;
    let images = if result.images > 0 { format!(" ({})", counted(result.images, "image")) } else { String::new() };
    Some(format!(
        "The default method, {}, is {} points below the best on {}{images}.",
        methods::DEFAULT.name,
        points(lost),
        result.column.heading()
    ))
}
