//! `retune soup`: averages the weights of several runs.

use std::path::PathBuf;

use clap::Args;
use indexmap::IndexMap;
use retune::inference::Evaluation;
use retune::merge::Soup;
use retune::wording::counted;
use serde::Serialize;

use crate::arguments::data::EvaluationArguments;
use crate::arguments::model::absolute;
use crate::arguments::output_file::check_vacant;
use crate::failure::Failure;
use crate::output::Console;
use crate::output::results::percent;
use crate::output::table::{Align, Table};

/// Options of `retune soup`.
#[derive(Args)]
pub struct SoupArguments {
    /// Finished runs that started from the same weights, such as the runs of one comparison
    #[arg(required = true, num_args = 2.., value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Model directory to write
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    /// Leave out runs that make the soup less accurate on the runs' validation images
    #[arg(long)]
    greedy: bool,
    #[command(flatten)]
    evaluations: EvaluationArguments,
}

#[derive(Serialize)]
struct Document<'a> {
    chosen: &'a [PathBuf],
    results: &'a IndexMap<String, IndexMap<String, Evaluation>>,
}

/// Makes the soup, saves it, and prints its accuracy and that of its ingredients.
pub fn run(arguments: &SoupArguments, console: &Console) -> Result<(), Failure> {
    let mut further = arguments.evaluations.sources(console)?;
    for source in &mut further {
        source.path = absolute(&source.path);
    }
    check_vacant(&arguments.out)?;
    let soup = Soup::make(&arguments.runs, arguments.greedy, &further, &console.progress)?;
    soup.save(&arguments.out)?;
    let document = Document { chosen: &soup.chosen, results: &soup.results };
    console.print(&document, || {
        let are = if soup.chosen.len() == 1 { "is" } else { "are" };
        let count = format!("{} of {} {are} in the soup", soup.chosen.len(), counted(arguments.runs.len(), "run"));
        format!("{}\n{count}; model: {}\n", table(&soup.results), arguments.out.display())
    })
}

fn table(results: &IndexMap<String, IndexMap<String, Evaluation>>) -> Table {
    let sets = results.values().next().map(|sets| sets.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let columns = sets.into_iter().map(|set| (set, Align::Right));
    let mut table = Table::new(std::iter::once(("run".to_owned(), Align::Left)).chain(columns));
    for (name, sets) in results {
        let scores = sets.values().map(|evaluation| percent(evaluation.score()));
        table.row(std::iter::once(name.clone()).chain(scores));
    }
    table
}
