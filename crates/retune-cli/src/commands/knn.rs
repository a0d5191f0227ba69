//! `retune knn`: judges features by the votes of the nearest neighbors, without training anything.

use std::path::PathBuf;

use clap::Args;
use indexmap::IndexMap;
use retune::analysis::knn::Neighbors;
use retune::features::{self, FeatureTable};
use retune::inference::{Evaluation, evaluate_scores};
use serde::Serialize;

use crate::arguments::parse;
use crate::failure::Failure;
use crate::output::{Console, results};

/// A label beyond is no number of a class.
const MAX_CLASSES: usize = 1_000_000;

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
    let voters = features::read(train)?;
    let labels = labels(&voters).ok_or_else(|| Failure::in_file(train, "its images need labels to vote"))?;
    let classes = labels.iter().max().map_or(0, |most| most.saturating_add(1)).max(voters.classes.len());
    if classes > MAX_CLASSES {
        return Err(Failure::in_file(train, format!("it has labels up to {}, and no names of classes", classes - 1)));
    }
    let neighbors = Neighbors::new(&voters.features, voters.width, &labels);
    let mut splits = IndexMap::new();
    for path in features {
        let table = features::read(path)?;
        if table.width != voters.width {
            let reason = format!("its images have {} features, those of --train {}", table.width, voters.width);
            return Err(Failure::in_file(path, reason));
        }
        let labels = known_labels(&table, &voters, classes).map_err(|reason| Failure::in_file(path, reason))?;
        let votes = neighbors.votes(&table.features, classes, *k, *temperature);
        splits.insert(path.display().to_string(), evaluate_scores(&votes, classes, &labels));
    }
    let document = Document { neighbors: *k, temperature: *temperature, splits: &splits };
    console.print(&document, || results::table(&splits).to_string())
}

/// The labels, if every image has one.
fn labels(table: &FeatureTable) -> Option<Vec<usize>> {
    table.labels.iter().copied().collect::<Option<Vec<usize>>>().filter(|labels| !labels.is_empty())
}

/// The labels of images as the voters number their classes: by name, or by number where either file has no names.
fn known_labels(table: &FeatureTable, voters: &FeatureTable, classes: usize) -> Result<Vec<usize>, String> {
    let labels = labels(table).ok_or("its images need labels to be judged")?;
    if table.classes.is_empty() || voters.classes.is_empty() {
        let unknown = labels.iter().find(|&&label| label >= classes);
        return unknown.map_or(Ok(labels.clone()), |label| Err(format!("no image of --train has the label {label}")));
    }
    let position = |name: &String| voters.classes.iter().position(|class| class == name);
    let positions: Vec<Option<usize>> = table.classes.iter().map(position).collect();
    let known = |label: usize| {
        positions[label].ok_or_else(|| format!("'{}' is none of the classes of --train", table.classes[label]))
    };
    labels.into_iter().map(known).collect()
}
