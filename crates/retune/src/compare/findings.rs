//! What a comparison found, in sentences, and what to do next.

use std::path::Path;

use super::{Basis, ColumnResult, Comparison, MethodResult, Standing};
use crate::methods;
use crate::report::findings::{Command, Findings, NextStep, points_between, typed};
use crate::run::command::with_value;
use crate::wording::{counted, listed, sentence as sentence_of};

/// Seeds to compare over at least: with fewer, Student's quantile is large (12.7 for two, 2.8 for five).
const SEEDS: usize = 5;

/// The findings of a comparison. `run` is the directory of a method's first run, where that is known, and `command` what
/// was typed for the comparison.
pub fn of<'a>(comparison: &Comparison, run: impl Fn(&str) -> Option<&'a Path>, command: Option<&str>) -> Findings {
    let mut sentences = sentences(comparison);
    sentences.extend(caveats(comparison));
    sentences.extend(default_method(comparison));
    let more_seeds = command.filter(|_| is_undecided(comparison)).and_then(|command| more_seeds(comparison, command));
    let next = more_seeds.or_else(|| predict(comparison, run));
    Findings { sentences, next: next.into_iter().collect() }
}

/// To use the model that is best under the last shift.
fn predict<'a>(comparison: &Comparison, run: impl Fn(&str) -> Option<&'a Path>) -> Option<NextStep> {
    let result = comparison.results().iter().rfind(|result| !result.column.worst_group)?;
    let best = best_of(result)?;
    let command = Command::new("predict").with("model", typed(run(&best.label)?)).operand("IMAGES");
    let purpose = format!("predict with the model of {}, the best on {}", best.label, result.column.heading());
    Some(NextStep::new(purpose, &command))
}

/// To repeat the comparison with more seeds; its finished runs stay. `None` where nothing depends on the seed.
fn more_seeds(comparison: &Comparison, command: &str) -> Option<NextStep> {
    let drawn = comparison.rows.iter().filter(|row| !row.without_seed).max_by_key(|row| row.runs.len())?;
    let known: Vec<u64> = drawn.runs.keys().copied().collect();
    let wanted = (2 * known.len()).max(SEEDS);
    let others = (0..).filter(|seed| !known.contains(seed));
    let mut seeds: Vec<u64> = known.iter().copied().chain(others).take(wanted).collect();
    seeds.sort_unstable();
    // A number stands for the seeds from 0 on.
    let are_first = seeds.iter().copied().eq(0..wanted as u64);
    let written =
        if are_first { wanted.to_string() } else { seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(",") };
    let command = with_value(command, &["seed", "seeds", "shard"], ("seeds", &written))?;
    Some(NextStep { purpose: "narrow the intervals with more seeds".into(), command })
}

/// Whether no method is significantly worse than another on any set.
fn is_undecided(comparison: &Comparison) -> bool {
    let mut methods = comparison.results().iter().flat_map(|result| &result.methods);
    methods.clone().any(|method| method.standing == Standing::NotSignificantlyWorse)
        && methods.all(|method| method.standing != Standing::Worse)
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
    // What holds for every set is said once.
    match results.len() > 1 && is_undecided(comparison) {
        true => {
            let highest = results.into_iter().filter_map(|result| Some(format!("{}.", highest(result, score)?)));
            std::iter::once(undecided(comparison)).chain(highest).collect()
        }
        false => results.into_iter().filter_map(|result| sentence(result, score)).collect(),
    }
}

/// A sentence for each caveat.
pub(super) fn caveats(comparison: &Comparison) -> impl Iterator<Item = String> {
    comparison.caveats().into_iter().map(|caveat| sentence_of(&caveat.to_string()))
}

fn undecided(comparison: &Comparison) -> String {
    let methods = comparison.rows.iter().filter(|row| !row.runs.is_empty()).count();
    let seeds = match comparison.seeds() {
        1 => "one seed".to_owned(),
        several => format!("{several} seeds"),
    };
    let corrected = comparison.results().iter().all(|result| result.basis == Basis::Predictions);
    let holm = if corrected { " after Holm's correction" } else { "" };
    format!(
        "The {methods} methods cannot be told apart with {seeds}: on no set is any of them significantly worse than the \
         best{holm}."
    )
}

/// The best methods in a column with their score, as a clause.
fn highest(result: &ColumnResult, score: &str) -> Option<String> {
    let bests = result.methods.iter().filter(|method| method.standing == Standing::Best);
    let bests: Vec<String> = bests.map(|method| method.label.clone()).collect();
    Some(format!("Highest {score} on {}: {}, {}", result.column.heading(), listed(&bests), shown(result)?))
}

/// The best score in a column with its interval.
fn shown(result: &ColumnResult) -> Option<String> {
    let estimate = best_of(result)?.estimate?;
    let [mean, low, high] = [estimate.mean, estimate.interval[0], estimate.interval[1]].map(|share| 100.0 * share);
    Some(format!("{mean:.1} % ({low:.1}–{high:.1} %)"))
}

fn sentence(result: &ColumnResult, score: &str) -> Option<String> {
    let ColumnResult { column, basis, methods, .. } = result;
    let named = |wanted: Standing| -> Vec<String> {
        methods.iter().filter(|method| method.standing == wanted).map(|method| method.label.clone()).collect()
    };
    let [bests, close, worse] = [Standing::Best, Standing::NotSignificantlyWorse, Standing::Worse].map(named);
    let heading = column.heading();
    let (highest, shown) = (highest(result, score)?, shown(result)?);
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
        (own.standing == Standing::Worse).then_some((own.estimate?.mean, best.mean, result))
    });
    let (own, best, result) = behind.max_by(|one, other| (one.1 - one.0).total_cmp(&(other.1 - other.0)))?;
    let images = if result.images > 0 { format!(" ({})", counted(result.images, "image")) } else { String::new() };
    Some(format!(
        "The default method, {}, is {} points below the best on {}{images}.",
        methods::DEFAULT.name,
        points_between(own, best),
        result.column.heading()
    ))
}
