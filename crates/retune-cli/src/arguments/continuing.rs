//! Options of a run that goes on from another: those of the other, with what is given on the command line or in a file on top.

use std::path::Path;

use retune::models::HeadInitialization;
use retune::plan::{Gradient, Plan, Solver};
use retune::run::{Continuation, EvaluationSource, FitOptions, PlanSource};
use retune::train::options::TrainOptions;
use retune::wording::counted;

use super::given::GivenOptions;
use super::method::MethodArguments;
use super::run::RunArguments;
use super::training::HeadArguments;
use crate::failure::Failure;
use crate::output::Console;

type Take<T> = fn(&mut T, &T);

/// What each option of training sets.
const TRAINING: [(&str, Take<TrainOptions>); 25] = [
    ("seed", |to, from| to.seed = from.seed),
    ("batch_size", |to, from| to.batch_size = from.batch_size),
    ("accumulate", |to, from| to.accumulate = from.accumulate),
    ("sampling", |to, from| to.sampling = from.sampling),
    ("drop_path", |to, from| to.drop_path = from.drop_path),
    ("no_shuffle", |to, from| to.shuffle = from.shuffle),
    ("label_smoothing", |to, from| to.label_smoothing = from.label_smoothing),
    ("class_weights", |to, from| to.balanced_classes = from.balanced_classes),
    ("augment", |to, from| to.augmentation = from.augmentation),
    ("mixup", |to, from| to.mix.mixup_alpha = from.mix.mixup_alpha),
    ("cutmix", |to, from| to.mix.cutmix_alpha = from.mix.cutmix_alpha),
    // Another update rule has another decay.
    ("optimizer", |to, from| to.optimizer = from.optimizer),
    ("momentum", |to, from| to.optimizer.momentum = from.optimizer.momentum),
    ("weight_decay", |to, from| to.optimizer.weight_decay = from.optimizer.weight_decay),
    ("clip_norm", |to, from| to.clip_norm = from.clip_norm),
    ("bn", |to, from| to.batch_norm = from.batch_norm),
    ("save", |to, from| to.keep = from.keep),
    ("select", |to, from| to.select = from.select),
    ("checkpoint_every", |to, from| to.checkpoint_every = from.checkpoint_every),
    ("cache_mb", |to, from| to.cache_bytes = from.cache_bytes),
    ("precision", |to, from| to.precision = from.precision),
    ("frozen_precision", |to, from| to.frozen_precision = from.frozen_precision),
    ("activation_mb", |to, from| to.activations.memory_bytes = from.activations.memory_bytes),
    ("half_activations", |to, from| to.activations.half = from.activations.half),
    ("views", |to, from| to.activations.views = from.activations.views),
];

/// What each option besides those of training sets.
const RUN: [(&str, Take<FitOptions>); 7] = [
    ("data", |to, from| to.data.clone_from(&from.data)),
    ("val_fraction", |to, from| to.validation_fraction = from.validation_fraction),
    ("split_by", |to, from| to.split_by = from.split_by),
    ("skip_bad", |to, from| to.skip_bad = from.skip_bad),
    ("multi_label", |to, from| to.multi_label = from.multi_label),
    ("device", |to, from| to.device.clone_from(&from.device)),
    ("head_init", |to, from| to.head_initialization = from.head_initialization),
];

/// The options of a run that goes on: the recorded ones with what is given on top.
pub fn options(
    continuation: &Continuation,
    given: &GivenOptions,
    groups: &RunArguments,
    console: &Console,
) -> Result<FitOptions, Failure> {
    let recorded = &continuation.options;
    let from = groups.options_of(recorded.model.clone(), console)?;
    let mut to = recorded.clone();
    TRAINING.iter().filter(|(id, _)| given.has(id)).for_each(|(_, take)| take(&mut to.train, &from.train));
    RUN.iter().filter(|(id, _)| given.has(id)).for_each(|(_, take)| take(&mut to, &from));
    let is_other = to.data != recorded.data || to.multi_label != recorded.multi_label;
    if is_other && !given.has("head_init") {
        // Other data may have a class more or fewer.
        to.head_initialization = HeadInitialization::Known;
    }
    if to.multi_label != recorded.multi_label && !given.has("select") {
        to.train.select = from.train.select;
    }
    to.train.threads = from.train.threads;
    to.preprocessing = from.preprocessing;
    to.evaluations = with_others(&recorded.evaluations, &from.evaluations);
    Ok(to)
}

/// The evaluation sets of a run and others, which take the place of those of the same name.
fn with_others(recorded: &[EvaluationSource], others: &[EvaluationSource]) -> Vec<EvaluationSource> {
    let kept = recorded.iter().filter(|own| others.iter().all(|other| other.name != own.name));
    kept.chain(others).cloned().collect()
}

/// Whether the run may hold out images that the one before trained on.
pub fn splits_anew(recorded: &FitOptions, options: &FitOptions) -> bool {
    let split = |options: &FitOptions| (options.validation_fraction, options.split_by, options.train.seed);
    recorded.data != options.data || split(recorded) != split(options)
}

/// The plan of a run that goes on: the recorded one with what is given on top, or another method's at the rate that was
/// chosen.
pub fn plan(
    continuation: Continuation,
    given: &GivenOptions,
    method: &MethodArguments,
    groups: &RunArguments,
) -> Result<PlanSource, Failure> {
    let rates = continuation.descent().learning_rates.clone();
    if given.has("plan") || given.has("method") {
        let head = HeadArguments { head_init: groups.training.head.head_init.or(Some(HeadInitialization::Keep)) };
        return match method.source(&head, given)? {
            PlanSource::Method(method, mut options) if options.learning_rates.is_empty() => {
                options.learning_rates = rates;
                Ok(PlanSource::Method(method, options))
            }
            other => Ok(other),
        };
    }
    MethodArguments::check_that_none_needs_a_method(given, "the run's own")?;
    let mut settings = continuation.descent().clone();
    method.change(given, &mut settings)?;
    Ok(PlanSource::Written(continuation.with_descent(settings).plan))
}

/// What a run that goes on is about to do.
pub fn told(run: &Path, epochs_before: usize, plan: &PlanSource) -> String {
    let run = run.display();
    let PlanSource::Written(Plan { phases, .. }) = plan else { return format!("goes on from {run} by another method") };
    let descent = phases.iter().find_map(|phase| match &phase.solver {
        Solver::Gradient(settings) => Some((phase, settings)),
        _ => None,
    });
    let Some((phase, settings)) = descent else { return format!("goes on from {run} by another plan") };
    let Gradient { epochs, learning_rates, schedule, .. } = settings;
    let rates: Vec<String> = learning_rates.iter().map(|rate| format!("{rate:e}")).collect();
    format!(
        "goes on from {run} after epoch {epochs_before}: {} for {} at learning rate {}, with a new {} schedule",
        phase.name,
        counted(*epochs, "epoch"),
        rates.join(", "),
        schedule.name()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::training::TrainingArguments;
    use clap::{Args, Command};

    #[test]
    fn every_option_of_training_is_taken_over() {
        let command = TrainingArguments::augment_args(Command::new("fit"));
        for argument in command.get_arguments() {
            let id = argument.get_id().as_str();
            let known = TRAINING.iter().map(|(id, _)| id).chain(RUN.iter().map(|(id, _)| id)).any(|known| *known == id);
            assert!(known, "{id}");
        }
    }

    #[test]
    fn a_set_of_the_same_name_takes_the_place_of_the_recorded_one() {
        let set = |name: &str, path: &str| EvaluationSource { name: name.into(), path: path.into() };
        let sets = with_others(&[set("a", "1"), set("b", "2")], &[set("a", "3"), set("c", "4")]);
        assert_eq!(sets, [set("b", "2"), set("a", "3"), set("c", "4")]);
    }
}
