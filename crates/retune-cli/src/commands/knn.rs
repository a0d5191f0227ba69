//! `retune knn`: judges features by the votes of the nearest neighbors, without training anything.

use std::path::PathBuf;

use clap::Args;
use indexmap::IndexMap;
use retune::analysis::knn::Neighbors;
use retune::inference::{Evaluation, evaluate_scores};
use retune::monitor::Monitor;
use retune::wording::counted;
use serde::Serialize;

use crate::arguments::feature_file::TrainingFeatures;
use crate::arguments::parse;
use crate::failure::Failure;
use crate::output::{Console, results};

/// Options of `retune knn`.
#[derive(Args)]
pub struct KnnArguments {
    /// Features of labeled images that vote, in a file that `retune features` wrote
    #[arg(long, value_name = "FILE")]
    train: PathBuf,
    /// Features of the images to classify, in files that `retune features` wrote with the same model and layer
    #[arg(required = true, value_name = "FILE")]
    features: Vec<PathBuf>,
    /// Number of neighbors that vote
    #[arg(long = "neighbors", value_name = "K", default_value = "20", value_parser = parse::count,
          allow_hyphen_values = true)]
    k: usize,
    /// Temperature of the votes; a lower one counts nearer neighbors more
    #[arg(long, value_name = "T", default_value = "0.07", value_parser = parse::positive, allow_hyphen_values = true)]
    temperature: f64,
}

#[derive(Serialize)]
struct Document<'a> {
    neighbors: usize,
    temperature: f64,
    splits: &'a IndexMap<String, Evaluation>,
}

/// Classifies the images of each file and prints how many are right.
pub fn run(arguments: &KnnArguments, console: &Console) -> Result<(), Failure> {
    let KnnArguments { train, features, k, temperature } = arguments;
    let voters = TrainingFeatures::read(train)?;
    let neighbors = Neighbors::new(&voters.table.features, voters.table.width, &voters.labels);
    let count = (*k).min(voters.labels.len());
    if count < *k {
        console.progress.message(&format!("note: {} has only {} to vote", train.display(), counted(count, "image")));
    }
    let mut splits = IndexMap::new();
    for path in features {
        let (table, labels) = voters.read_alike(path)?;
        let votes = neighbors.votes(&table.features, voters.classes, count, *temperature);
        splits.insert(path.display().to_string(), evaluate_scores(&votes, voters.classes, &labels));
    }
    let document = Document { neighbors: count, temperature: *temperature, splits: &splits };
    console.print(&document, || results::table(&splits).to_string())
}
