//! `retune advise`: estimates which layers to tune for the target's images.

use std::path::PathBuf;

use clap::Args;
use indicatif::HumanCount;
use retune::advise::{self, Advice, AdviceOptions, AdviseError, Evidence, FULL, Reason, Trial, Tuned, Verdict};
use retune::analysis::intervals::Estimate;
use retune::wording::{counted, listed};

use crate::arguments::data::EvaluationArguments;
use crate::arguments::location::locate_data;
use crate::arguments::model::{ModelArguments, PreprocessingArguments, absolute};
use crate::arguments::output_file::{Format, OutputFile};
use crate::arguments::parse;
use crate::arguments::run::RunArguments;
use crate::arguments::training::TrainingArguments;
use crate::command_line::CommandLine;
use crate::failure::Failure;
use crate::output::Console;
use crate::output::results::percent;
use crate::output::table::{Align, Table};

/// Options of `retune advise`. `fit` takes all of them except [`AdviceArguments`] and `--out`.
#[derive(Args)]
pub struct AdviseArguments {
    #[command(flatten)]
    model: ModelArguments,
    /// The target's images, in any layout that `retune fit` takes; only training and validation images are used
    #[arg(short, long, value_name = "PATH", help_heading = "Data")]
    data: PathBuf,
    #[command(flatten)]
    advice: AdviceArguments,
    /// Write the evidence to this .json file
    #[arg(short, long, value_name = "FILE", value_parser = json_file)]
    out: Option<OutputFile>,
    #[command(flatten)]
    training: TrainingArguments,
    #[command(flatten)]
    preprocessing: PreprocessingArguments,
}

/// Which evidence to gather, and how much.
#[derive(Args)]
#[command(next_help_heading = "Evidence")]
struct AdviceArguments {
    /// Labeled images like those that the model was trained on, of the same classes, or the images of --data before
    /// they changed; adds their similarity to the target at each layer
    #[arg(long, value_name = "PATH")]
    source: Option<PathBuf>,
    /// Maximum number of candidates; neighboring stages are merged if there are more
    #[arg(long, value_name = "N", default_value = "6", value_parser = candidates, allow_hyphen_values = true)]
    candidates: usize,
    /// Batches to measure gradients on
    #[arg(long, value_name = "N", default_value = "5", value_parser = parse::count, allow_hyphen_values = true)]
    gradient_batches: usize,
    /// Training images for each trial
    #[arg(long, value_name = "N", default_value = "500", value_parser = parse::count, allow_hyphen_values = true)]
    trial_images: usize,
    /// Maximum number of validation images to judge trials on
    #[arg(long, value_name = "N", default_value = "1000", value_parser = parse::count, allow_hyphen_values = true)]
    held_out: usize,
    /// Epochs of each trial
    #[arg(long, value_name = "N", default_value = "10", value_parser = parse::count, allow_hyphen_values = true)]
    trial_epochs: usize,
    /// Learning rates of each trial, separated by commas
    #[arg(long, value_name = "X", default_value = "1e-3,1e-2", value_delimiter = ',', value_parser = parse::positive,
          allow_hyphen_values = true)]
    trial_lr: Vec<f64>,
}

fn candidates(text: &str) -> Result<usize, String> {
    match parse::count(text)? {
        0..3 => Err("must be at least 3: the first layer, the last, and the ones in between".to_owned()),
        count => Ok(count),
    }
}

fn json_file(text: &str) -> Result<OutputFile, String> {
    let file: OutputFile = text.parse().map_err(|_| "must end with .json".to_owned())?;
    if file.format == Format::Json { Ok(file) } else { Err("must end with .json".to_owned()) }
}

impl From<AdviseError> for Failure {
    fn from(error: AdviseError) -> Self {
        match error {
            AdviseError::Fit(error) => error.into(),
            AdviseError::SourceUnrelated { .. } | AdviseError::FewPairs { .. } => {
                Self::Mistake(format!("{error} (leave out --source)"))
            }
            AdviseError::AllDiverged(_) => Self::Mistake(format!("{error} (--trial-lr)")),
            other => Self::Mistake(other.to_string()),
        }
    }
}

/// Gathers the evidence, writes it and prints what follows.
pub fn run(arguments: &AdviseArguments, console: &Console) -> Result<(), Failure> {
    arguments.out.as_ref().map_or(Ok(()), OutputFile::check)?;
    let groups = RunArguments {
        data: &arguments.data,
        model: &arguments.model,
        evaluations: &EvaluationArguments::default(),
        training: &arguments.training,
        preprocessing: &arguments.preprocessing,
    };
    let given = &arguments.advice;
    let source = given.source.as_deref().map(|path| locate_data(path, console)).transpose()?;
    let options = AdviceOptions {
        candidates: given.candidates,
        gradient_batches: given.gradient_batches,
        trial_images: given.trial_images,
        held_out_images: given.held_out,
        trial_epochs: given.trial_epochs,
        trial_rates: given.trial_lr.clone(),
        // From the root, as --data is, so that the same images are known as such.
        source: source.map(|path| absolute(&path)),
    };
    let advice = advise::advise(&groups.options(console)?, &options, &console.progress)?;
    if let Some(out) = &arguments.out {
        out.write_json(&advice)?;
    }
    console.print(&advice, || text(&advice, &console.command_line))
}

fn text(advice: &Advice, command_line: &CommandLine) -> String {
    let untuned =
        advice.untuned.as_ref().map(|untuned| format!("; the model as it is: {}", told(advice, untuned.score())));
    let head = if advice.new_head { "; the new head trains along in every trial" } else { "" };
    let mut text = format!(
        "{}: trials on {}, judged on {}{}{head}\n\n{}\n{}\n",
        advice.architecture,
        counted(advice.trial_images, "training image"),
        counted(advice.held_out_images, "held-out image"),
        untuned.unwrap_or_default(),
        table(advice),
        paragraph(advice),
    );
    if let Some(command) = command(advice, command_line) {
        text.push_str(&format!("\n    {command}\n"));
    }
    text
}

fn table(advice: &Advice) -> Table {
    let mut columns = vec![
        ("tuned", Align::Left),
        ("parameters", Align::Right),
        ("gradient / weights", Align::Right),
        (if of_labels(advice) { "trial, mAP" } else { "trial" }, Align::Right),
        ("95 % interval", Align::Right),
        ("learning rate", Align::Right),
        ("seconds", Align::Right),
    ];
    if advice.pairing.is_some() {
        columns.splice(3..3, [("CKA with source", Align::Right), ("at most", Align::Right)]);
    }
    let mut table = Table::new(columns);
    for evidence in &advice.candidates {
        table.row(row(
            advice,
            &evidence.candidate.name,
            evidence.candidate.parameters,
            Some(evidence),
            evidence.trial.as_ref(),
        ));
    }
    let total = advice.candidates.iter().map(|evidence| evidence.candidate.parameters).sum();
    table.row(row(advice, "everything (ft)", total, None, advice.full.as_ref()));
    table
}

fn row(
    advice: &Advice,
    name: &str,
    parameters: usize,
    evidence: Option<&Evidence>,
    trial: Option<&Trial>,
) -> Vec<String> {
    let none = || "–".to_owned();
    let norm = evidence.and_then(|evidence| evidence.relative_gradient_norm);
    let mut cells = vec![name.to_owned(), HumanCount(parameters as u64).to_string()];
    cells.push(norm.map_or_else(none, three_digits));
    if advice.pairing.is_some() {
        let similarity = evidence.and_then(|evidence| evidence.similarity.as_ref());
        let number = |value: Option<f64>| value.map_or_else(none, |value| format!("{value:.3}"));
        cells.push(number(similarity.and_then(|similarity| similarity.cka)));
        cells.push(number(similarity.and_then(|similarity| similarity.ceiling)));
    }
    match trial {
        Some(trial) => {
            let Estimate { mean, interval: [low, high] } = trial.score();
            cells.push(percent(mean));
            cells.push(format!("{:.1}–{:.1} %", 100.0 * low, 100.0 * high));
            cells.push(format!("{:e}", trial.learning_rate));
            cells.push(format!("{:.1}", trial.seconds));
        }
        None => cells.extend(["diverged".to_owned(), none(), none(), none()]),
    }
    cells
}

/// A number from about 0.0001 on with three digits that count.
fn three_digits(value: f64) -> String {
    let decimals = (2.0 - value.log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{value:.decimals$}")
}

/// What follows, and why.
fn paragraph(advice: &Advice) -> String {
    let verdict = &advice.verdict;
    let chosen = verdict.chosen.as_deref().map(part).unwrap_or_default();
    let (bests, score) = best_in_trial(advice);
    let was = if bests.len() == 1 { "was" } else { "were equally" };
    let named: Vec<String> = bests.iter().map(|name| part(name)).collect();
    let best = format!("In the trial, {} {was} best: {}.", listed(&named), told(advice, score));
    let others = verdict.standings.iter().filter(|other| !other.told_apart && !bests.contains(&other.name.as_str()));
    let equal: Vec<String> = others.map(|other| part(&other.name)).collect();
    let apart = match equal.as_slice() {
        [] => "Everything else is significantly worse (at 95 %, on the same images).".to_owned(),
        names => {
            let them = if bests.len() == 1 { "it" } else { "them" };
            format!("On these images, {} cannot be told apart from {them} (at 95 %).", listed(names))
        }
    };
    let conclusion = match verdict.reason {
        Reason::NothingHelps => return format!("{best} {}", left_as_it_is(verdict)),
        Reason::BestByItself => format!("So tune {chosen}."),
        Reason::EverythingAlone => "No part of the model comes close, so tune everything.".to_owned(),
        Reason::HeadSuffices => "The new head alone does as well, so train a linear probe.".to_owned(),
        Reason::GradientsAmongEqual => format!("Of these, take {chosen}, which the gradients point to."),
        Reason::MostAccurateAmongEqual if of_labels(advice) => {
            format!("Take {chosen}, the part of the model with the highest precision among these.")
        }
        Reason::MostAccurateAmongEqual => format!("Take {chosen}, the most accurate part of the model among these."),
    };
    format!("{best} {apart} {conclusion}{}", alone(verdict))
}

/// Whether images have several labels.
fn of_labels(advice: &Advice) -> bool {
    let trials = advice.candidates.iter().filter_map(|evidence| evidence.trial.as_ref()).chain(&advice.full);
    trials.into_iter().any(|trial| trial.mean_average_precision.is_some())
}

/// A score in words.
fn told(advice: &Advice, score: f64) -> String {
    match of_labels(advice) {
        true => format!("mean average precision {}", percent(score)),
        false => format!("{} right", percent(score)),
    }
}

/// What did best in the trial, first the one that the verdict names, with the score of all of them.
fn best_in_trial(advice: &Advice) -> (Vec<&str>, f64) {
    let candidates = advice.candidates.iter().map(|evidence| (evidence.candidate.name.as_str(), &evidence.trial));
    let tried = candidates.chain([(FULL, &advice.full)]);
    let trials: Vec<(&str, f64)> =
        tried.filter_map(|(name, trial)| Some((name, trial.as_ref()?.score().mean))).collect();
    let named = advice.verdict.by_trial.as_str();
    let score = trials.iter().find(|(name, _)| *name == named).map_or(0.0, |(_, score)| *score);
    let equal = trials.iter().filter(|(name, own)| *own == score && *name != named).map(|(name, _)| *name);
    (std::iter::once(named).chain(equal).collect(), score)
}

/// That the model is to be left as it is, and by how little the best trial is ahead.
fn left_as_it_is(verdict: &Verdict) -> String {
    let ahead = verdict.untuned.as_ref().map(|untuned| {
        let [least, most] = untuned.interval.map(|share| 100.0 * share);
        format!(" ({least:+.1} to {most:+.1} points at 95 %, on the same images)")
    });
    format!(
        "That is not significantly better than the model as it is{}. Leave the model as it is, or extend the trial with \
         --trial-epochs, --trial-images, --held-out, or other --trial-lr.",
        ahead.unwrap_or_default()
    )
}

/// What each of the other evidences points to.
fn alone(verdict: &Verdict) -> String {
    let gradients = verdict.by_gradients.as_ref().filter(|_| verdict.reason != Reason::GradientsAmongEqual);
    let gradients = gradients.map(|name| format!("Gradients alone point to {}", part(name)));
    let likeness =
        verdict.by_similarity.as_ref().map(|name| format!("similarity to the source alone points to {}", part(name)));
    let sentence = [gradients, likeness].into_iter().flatten().collect::<Vec<_>>().join("; ");
    let mut letters = sentence.chars();
    letters.next().map(|first| format!(" {}{}.", first.to_uppercase(), letters.as_str())).unwrap_or_default()
}

/// A candidate as a sentence names it.
fn part(name: &str) -> String {
    if name == FULL { "tuning everything".to_owned() } else { name.to_owned() }
}

/// Whether what is chosen is to learn a new head and nothing else.
fn is_probe(advice: &Advice) -> bool {
    let head = advice.candidates.last().map(|evidence| &evidence.candidate.name);
    advice.new_head && advice.verdict.chosen.is_some() && advice.verdict.chosen.as_ref() == head
}

/// The command that does what is advised.
fn command(advice: &Advice, command_line: &CommandLine) -> Option<String> {
    let verdict = &advice.verdict;
    let fit = command_line.turned_into("fit");
    let fit = match &verdict.tuned {
        Tuned::Nothing => return None,
        _ if is_probe(advice) => fit.with("method", "lp"),
        Tuned::Everything => fit.with("method", "ft"),
        Tuned::Layers { first, last } => fit.with("method", "surgical").with("first", first).with("last", last),
    };
    let rate = verdict.learning_rate.filter(|_| !is_probe(advice));
    let fit = rate.map_or(fit.clone(), |rate| fit.with("lr", rates_about(rate)));
    Some(fit.with("out", "RUN").to_string())
}

/// The trial's rate and its neighbors, for validation to choose from over a whole run.
fn rates_about(rate: f64) -> String {
    // With two digits, a third and three times are as people write them.
    let rounded = |rate: f64| format!("{rate:.0e}");
    [rounded(rate / 3.0), format!("{rate:e}"), rounded(rate * 3.0)].join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_people_write_them() {
        let numbers = [2.071, 0.003_641, 12.34, 123.4, 0.0].map(three_digits);
        assert_eq!(numbers, ["2.07", "0.00364", "12.3", "123", "0.000000"]);
        assert_eq!((rates_about(1e-2), rates_about(1e-3)), ("3e-3,1e-2,3e-2".into(), "3e-4,1e-3,3e-3".into()));
    }
}
