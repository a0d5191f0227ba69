//! `retune compare`: several methods and seeds on the same data, in one table.

use std::path::{Path, PathBuf};

use clap::Args;
use retune::compare::runner::{self, CompareError, CompareOptions, Making};
use retune::compare::{dry_run, findings, table};
use retune::features::Shard;
use retune::methods::layers::LayerSelection;
use retune::methods::{Method, MethodSpec};
use retune::models::Model;
use retune::run;
use retune::wording::counted;
use serde::Serialize;

use super::report::{after_results, began_without_report};
use crate::arguments::data::EvaluationArguments;
use crate::arguments::method::{MethodChoice, MethodOptionArguments, choices_help};
use crate::arguments::model::{ModelArguments, PreprocessingArguments};
use crate::arguments::parse;
use crate::arguments::run::RunArguments;
use crate::arguments::training::TrainingArguments;
use crate::failure::{Failure, resuming};
use crate::output::{Console, estimate, results};

/// Options of `retune compare`.
#[derive(Args)]
pub struct CompareArguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Images, in any layout that `retune fit` takes
    #[arg(short, long, value_name = "PATH", help_heading = "Data")]
    data: Option<PathBuf>,
    #[command(flatten)]
    evaluations: EvaluationArguments,
    /// Directory to write; finished runs in it are not repeated
    #[arg(short, long, value_name = "DIR", help_heading = "Data")]
    out: Option<PathBuf>,
    /// Resume this comparison with its original options
    #[arg(long, value_name = "DIR", help_heading = "Data")]
    resume: Option<PathBuf>,
    /// Show an estimate of time and memory for each method, and train nothing
    #[arg(long, help_heading = "Data", conflicts_with_all = ["resume", "shard"])]
    dry_run: bool,
    /// Do not write report.html and pictures
    #[arg(long, help_heading = "Data")]
    no_report: bool,
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "lp,ft,lp-ft", help = choices_help(),
          help_heading = "Comparison")]
    methods: Vec<MethodChoice>,
    /// Number of seeds, or a comma-separated list of seeds [default: the one of --seed]
    #[arg(long, value_name = "N", value_parser = parse::seeds, help_heading = "Comparison", conflicts_with = "seed",
          allow_hyphen_values = true)]
    seeds: Option<parse::Seeds>,
    /// Number of runs at the same time
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse::count, help_heading = "Comparison",
          allow_hyphen_values = true)]
    jobs: usize,
    /// Make only the runs of part I of N, for several jobs that share the directory; `--resume DIR` then makes the tables
    #[arg(long, value_name = "I/N", value_parser = parse::shard, help_heading = "Comparison")]
    shard: Option<Shard>,
    #[command(flatten)]
    method: MethodOptionArguments,
    #[command(flatten)]
    training: TrainingArguments,
    #[command(flatten)]
    preprocessing: PreprocessingArguments,
}

/// What one of several jobs has made.
#[derive(Serialize)]
struct ShardDocument<'a> {
    shard: Shard,
    runs: &'a [PathBuf],
}

/// Makes the runs and prints the table.
pub fn run(arguments: &CompareArguments, console: &Console) -> Result<(), Failure> {
    if arguments.dry_run {
        let options = options(arguments, console)?;
        arguments.out.as_deref().map_or(Ok(()), |out| options.check_directory(out))?;
        let estimate = dry_run::dry_run(&options, &console.progress)?;
        return console.print(&estimate, || estimate::describe_comparison(&estimate, arguments.jobs));
    }
    let (options, out) = match &arguments.resume {
        Some(out) => (CompareOptions::read(out)?, out),
        None => {
            let out = arguments.out.as_ref().ok_or_else(|| missing("--out", "a directory to write"))?;
            (options(arguments, console)?, out)
        }
    };
    let command = arguments.resume.is_none().then(|| console.command_line.to_string());
    let pictures = !(arguments.no_report || began_without_report(arguments.resume.as_deref()));
    let making = Making { jobs: arguments.jobs, pictures };
    if let Some(shard) = arguments.shard {
        let made = runner::run_shard(&options, out, command.as_deref(), shard, making, &console.progress);
        let runs = made.map_err(|error| failure(error, out, Some(shard)))?;
        return console.print(&ShardDocument { shard, runs: &runs }, || {
            let next = format!("after all parts, `{}` makes the tables", resuming("compare", out));
            match runs.len() {
                0 => format!("part {shard} of the comparison has no run; {next}\n"),
                count => format!("part {shard} of the comparison has its {}; {next}\n", counted(count, "run")),
            }
        });
    }
    let compared = runner::run(&options, out, command.as_deref(), making, &console.progress);
    let comparison = compared.map_err(|error| failure(error, out, None))?;
    let runs = runner::read(out).map(|(_, runs)| runs).unwrap_or_default();
    let run = |label: &str| runs.iter().find(|(known, _)| known == label).map(|(_, run)| run.as_path());
    // A comparison that goes on was typed before.
    let typed = command.or_else(|| run::read_command(out).ok().flatten());
    let findings = findings::of(&comparison, run, typed.as_deref());
    let printed = console.print(&comparison.document(), || {
        let made = if pictures { "runs, tables, pictures" } else { "runs, tables" };
        let (table, explanation) = (results::comparison(&table::rows(&comparison)), table::explanation(&comparison));
        let found = results::found(&findings);
        format!("{table}\n{explanation}\n{found}\n{made}: {}\n", out.display())
    });
    if !pictures {
        super::report::tell_of_earlier_page(out, runs.iter().map(|(_, run)| run.as_path()), console);
        return printed;
    }
    after_results(printed, super::report::after_comparison(out, console), console)
}

fn options(arguments: &CompareArguments, console: &Console) -> Result<CompareOptions, Failure> {
    let data = arguments.data.as_deref().ok_or_else(|| missing("--data", "the images to train on"))?;
    let groups = RunArguments {
        data,
        model: &arguments.model,
        evaluations: &arguments.evaluations,
        training: &arguments.training,
        preprocessing: &arguments.preprocessing,
    };
    let fit = groups.options(console)?;
    Ok(CompareOptions {
        methods: specs(arguments, console)?,
        seeds: arguments.seeds.as_ref().map_or_else(|| vec![fit.train.seed], |seeds| seeds.0.clone()),
        method_options: arguments.method.resolve(&arguments.training.head)?,
        fit,
    })
}

/// The methods that `--methods` names, each once.
fn specs(arguments: &CompareArguments, console: &Console) -> Result<Vec<MethodSpec>, Failure> {
    let mut specs: Vec<MethodSpec> = Vec::new();
    for choice in &arguments.methods {
        let chosen = match choice {
            MethodChoice::One(spec) => vec![spec.clone()],
            MethodChoice::All => choice.methods().into_iter().map(MethodSpec::from).collect(),
            MethodChoice::EachStage(method) => {
                each_stage(*method, &arguments.model.load(&arguments.preprocessing.change(), console)?)
            }
        };
        for spec in chosen {
            if !specs.contains(&spec) {
                specs.push(spec);
            }
        }
    }
    Ok(specs)
}

fn each_stage(method: Method, model: &Model) -> Vec<MethodSpec> {
    let mut stages: Vec<&str> = model.blocks().iter().map(|block| block.stage.as_str()).collect();
    stages.dedup();
    let alone = |stage: &str| MethodSpec { method, layers: LayerSelection::Set(vec![stage.to_owned()]) };
    stages.into_iter().map(alone).collect()
}

fn missing(option: &str, what: &str) -> Failure {
    Failure::Mistake(format!("{option} is missing; name {what}, or resume a comparison with --resume"))
}

fn failure(error: CompareError, out: &Path, shard: Option<Shard>) -> Failure {
    if error.is_interruption() {
        let again = match shard {
            // The other parts are the work of others.
            Some(shard) => resuming("compare", out).with("shard", shard.to_string()),
            None => resuming("compare", out),
        };
        Failure::Interrupted(Some(format!("to continue, run `{again}`")))
    } else {
        error.into()
    }
}
