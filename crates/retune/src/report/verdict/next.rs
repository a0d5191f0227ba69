//! What to run after a run.

use super::sets::difference;
use super::{in_distribution, worst_set};
use crate::methods::Method;
use crate::plan::Solver;
use crate::report::findings::{Command, NextStep, typed};
use crate::report::run_page::RunRecord;
use crate::run::{FitOptions, Hint};
use crate::sources::shift;

/// What to run next: what the outcome asks for, then what would say more about a loss under shift.
pub(super) fn next(record: &RunRecord, hint: Option<&Hint>) -> Vec<NextStep> {
    let mut steps: Vec<NextStep> = hint.map(|hint| asked_for(record, hint)).into_iter().collect();
    let (shifted, summary) = (record.shifted(), &record.summary);
    let Some((_, own)) = in_distribution(summary, &shifted) else { return steps };
    let loses = |name: &String| {
        summary.splits.get(name).is_some_and(|found| match own.is_of_several_labels() {
            true => found.score() < own.score(),
            false => difference(own, found)[0] > 0.0,
        })
    };
    let worst = worst_set(summary).filter(|name| shifted.contains(name) && loses(name));
    let set = worst.and_then(|name| record.options.evaluations.iter().find(|set| set.name == *name));
    match set {
        Some(set) => {
            let purpose = "see which method loses least under this shift";
            steps.push(NextStep::new(purpose, &comparison(record)));
            // Held-out images under a shift have no path of their own.
            if !shift::is_of_same_images(&set.path) {
                let audit = of_model(record, "audit").with("data", typed(&set.path));
                let purpose = format!("check whether other preprocessing would do better on {}", set.name);
                steps.push(NextStep::new(purpose, &audit));
            }
        }
        None if shifted.is_empty() => {
            let eval = of_model(record, "eval").with("data", "NEW_IMAGES");
            steps.push(NextStep::new("measure accuracy on labeled images from where the model will be used", &eval));
        }
        None => {}
    }
    steps
}

/// What a run's outcome asks for.
fn asked_for(record: &RunRecord, hint: &Hint) -> NextStep {
    let run = typed(&record.directory);
    // The file has every option of the run.
    let again = Command::new("fit").with("config", format!("{run}/run.toml")).with("out", format!("{run}-2"));
    match hint {
        Hint::AtTheEdge => {
            let epochs = record.plan.phases.iter().rev().find_map(|phase| match &phase.solver {
                Solver::Gradient(settings) => Some(settings.epochs),
                Solver::LogisticRegression(_) | Solver::Interpolation(_) => None,
            });
            NextStep::new("train longer", &again.with("epochs", (2 * epochs.unwrap_or(10)).to_string()))
        }
        Hint::FarAboveGuessing { .. } | Hint::NoGain { .. } => {
            let rate = record.summary.phases.iter().rev().find_map(|phase| phase.learning_rate).unwrap_or(1e-3) / 10.0;
            // A tenth of 3e-4 is 2.9999999999999997e-5 in binary.
            let lr = format!("{rate:.2e}").replace(".00e", "e").replace("0e", "e");
            NextStep::new("train at a smaller learning rate", &again.with("lr", lr))
        }
        Hint::NoBetterThanGuessing { .. } => {
            let options = Command::of_run("lr-find", &record.options, record.command.as_deref());
            let lr_find = with_head(options, record).without(&["eval", "budget"]);
            NextStep::new("find a learning rate", &lr_find)
        }
    }
}

/// Methods that keep more of the pretrained model than others, beside those that keep less.
const COMPARED: [Method; 4] = [Method::LP, Method::FT, Method::LP_FT, Method::WISE_FT];

/// A comparison with the options of a run.
fn comparison(record: &RunRecord) -> Command {
    let options = Command::of_run("compare", &record.options, record.command.as_deref());
    let options = with_head(options, record);
    let options = match &record.method {
        Some((_, method)) => options.with_method_options(method, &COMPARED),
        None => options,
    };
    let methods = COMPARED.map(|method| method.name).join(",");
    let out = format!("{}-compare", typed(&record.directory));
    options.without(&["budget"]).with("methods", methods).with("out", out)
}

fn with_head(command: Command, record: &RunRecord) -> Command {
    command.with_head(record.options.head_initialization, record.method.as_ref().map(|(_, method)| method.probe))
}

/// A command for the model of a run, which has its preprocessing and classes.
fn of_model(record: &RunRecord, subcommand: &str) -> Command {
    let FitOptions { device, skip_bad, .. } = &record.options;
    let command = Command::new(subcommand).with("model", typed(&record.directory));
    let command = if device == "cpu" { command } else { command.with("device", device) };
    if *skip_bad { command.switch("skip-bad") } else { command }
}
