//! `retune verify`: checks that finished runs still are what they claim.

use std::path::PathBuf;

use clap::Args;
use retune::run::verify::{self, Check, Outcome};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Console;
use crate::output::table::{Align, Table};

/// Options of `retune verify`.
#[derive(Args)]
pub struct VerifyArguments {
    /// Run directories
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
}

#[derive(Serialize)]
struct Document {
    run: PathBuf,
    sound: bool,
    checks: Vec<Check>,
}

/// Checks the runs. Any difference is a failure with status 1.
pub fn run(arguments: &VerifyArguments, console: &Console) -> Result<(), Failure> {
    let mut documents = Vec::new();
    for run in &arguments.runs {
        let checks = verify::verify(run, &console.progress)?;
        let sound = checks.iter().all(|check| check.outcome != Outcome::Broken);
        documents.push(Document { run: run.clone(), sound, checks });
    }
    console.print(&documents, || documents.iter().map(describe).collect())?;
    let broken: Vec<String> =
        documents.iter().filter(|run| !run.sound).map(|run| run.run.display().to_string()).collect();
    if broken.is_empty() { Ok(()) } else { Err(Failure::Broken(format!("{}: verification failed", broken.join(", ")))) }
}

fn describe(run: &Document) -> String {
    let columns = [("", Align::Left), ("check", Align::Left), ("", Align::Left)];
    let mut table = Table::new(columns);
    for check in &run.checks {
        let outcome = match check.outcome {
            Outcome::Holds => "ok",
            Outcome::Broken => "BROKEN",
            Outcome::Unchecked => "not checked",
        };
        table.row([outcome, &check.what, &check.detail]);
    }
    format!("{}\n{table}\n", run.run.display())
}
