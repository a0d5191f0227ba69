//! `retune probe`: judges features by a linear probe, without the model or its images.

use std::path::{Path, PathBuf};

use clap::Args;
use indexmap::IndexMap;
use retune::files;
use retune::inference::{Evaluation, Metric};
use retune::monitor::Monitor;
use retune::train::TrainError;
use retune::train::probe::{LabeledFeatures, Probe, ProbeOptions};
use retune::wording::counted;
use serde::Serialize;

use crate::arguments::feature_file::TrainingFeatures;
use crate::arguments::parse::{self, named};
use crate::failure::Failure;
use crate::output::{Console, results};

/// Options of `retune probe`.
#[derive(Args)]
pub struct ProbeArguments {
    /// Features of labeled images to fit the probe to, in a file that `retune features` wrote
    #[arg(long, value_name = "FILE")]
    train: PathBuf,
    /// Features of labeled images to evaluate on, in files that `retune features` wrote with the same model and layer
    #[arg(value_name = "FILE")]
    features: Vec<PathBuf>,
    /// Features of the images that choose the penalty [default: a part of --train, held out]
    #[arg(long, value_name = "FILE")]
    val: Option<PathBuf>,
    /// Fraction of each class of --train to hold out, without --val
    #[arg(long, value_name = "X", default_value = "0.2", value_parser = parse::proper_fraction, allow_hyphen_values = true,
          conflicts_with = "val")]
    val_fraction: f64,
    /// Metric by which validation chooses the penalty
    #[arg(long, value_name = "NAME", default_value = "accuracy",
          value_parser = named::<Metric>(["accuracy", "balanced-accuracy", "macro-f1", "loss", "auroc"]))]
    select: Metric,
    /// Random seed of the images to hold out
    #[arg(long, value_name = "N", default_value = "0", value_parser = parse::seed, allow_hyphen_values = true)]
    seed: u64,
    /// Write the head to this .safetensors file: `weight` and `bias`, as torch.nn.Linear has them
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

#[derive(Serialize)]
struct Document<'a> {
    training_images: usize,
    /// scikit-learn's `C` for features divided by their standard deviation, as `fit --method lp` gives it.
    inverse_strength: f64,
    /// scikit-learn's `C` for the features as they are.
    c: f64,
    splits: &'a IndexMap<String, Evaluation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    head: Option<&'a Path>,
}

/// Fits the probe, evaluates it on each file, and prints how many images are right.
pub fn run(arguments: &ProbeArguments, console: &Console) -> Result<(), Failure> {
    if let Some(path) = arguments.save.as_ref().filter(|path| path.extension().is_none_or(|end| end != "safetensors")) {
        return Err(Failure::Mistake(format!("--save {} must end in .safetensors", path.display())));
    }
    if arguments.select == Metric::MeanAveragePrecision {
        let reason = "--select map is for images with several labels, and a feature file knows one class of each image";
        return Err(Failure::Mistake(reason.to_owned()));
    }
    arguments.save.as_deref().map_or(Ok(()), files::check_writable)?;
    let mut training = TrainingFeatures::read(&arguments.train)?;
    if training.classes < 2 {
        return Err(Failure::in_file(&arguments.train, "a probe needs images of at least two classes"));
    }
    let width = training.table.width;
    let whole = LabeledFeatures {
        features: std::mem::take(&mut training.table.features),
        width,
        labels: training.labels.clone(),
    };
    let alike = |path: &Path| -> Result<LabeledFeatures, Failure> {
        let (table, labels) = training.read_alike(path)?;
        Ok(LabeledFeatures { features: table.features, width, labels })
    };
    let (train, validation) = match &arguments.val {
        Some(path) => (whole, alike(path)?),
        None => whole.held_out(&training.table, arguments.val_fraction, arguments.seed).map_err(failure)?,
    };
    // Before anything is fit, so that nothing is fit in vain.
    let named = |path: &PathBuf| Ok((path.display().to_string(), alike(path)?));
    let others = arguments.features.iter().map(named).collect::<Result<Vec<_>, Failure>>()?;
    if validation.labels.is_empty() {
        let reason = "no class has two images, so none can be held out; name features to choose by with --val";
        return Err(Failure::in_file(&arguments.train, reason));
    }
    if arguments.select == Metric::Auroc && (0..training.classes).any(|class| !validation.labels.contains(&class)) {
        console.progress.message(
            "note: some classes have no validation image, so there is no AUROC to choose by: the loss chooses",
        );
    }
    let options = ProbeOptions { select: arguments.select, ..ProbeOptions::default() };
    let probe =
        Probe::of_features(&train, &validation, training.classes, &options, &console.progress).map_err(failure)?;
    let mut splits = IndexMap::from([("val".to_owned(), probe.evaluation(&validation))]);
    splits.extend(others.iter().map(|(name, features)| (name.clone(), probe.evaluation(features))));
    if let Some(path) = &arguments.save {
        probe.save_head(path, &training.class_names())?;
    }
    let c = probe.inverse_strength / (probe.scale * probe.scale);
    let document = Document {
        training_images: train.labels.len(),
        inverse_strength: probe.inverse_strength,
        c,
        splits: &splits,
        head: arguments.save.as_deref(),
    };
    console.print(&document, || {
        let images = counted(train.labels.len(), "image");
        let strength = probe.inverse_strength;
        let head = arguments.save.as_ref().map(|path| format!("\nhead: {}\n", path.display())).unwrap_or_default();
        format!(
            "linear probe on {images}: inverse strength {strength:.2e} (scikit-learn's C {c:.2e} for the features as they \
             are)\n\n{}{}{head}",
            results::table(&splits),
            results::further_table(&splits, &IndexMap::new(), None)
        )
    })
}

fn failure(error: TrainError) -> Failure {
    match error {
        TrainError::Interrupted => Failure::Interrupted(None),
        other => Failure::Mistake(other.to_string()),
    }
}
