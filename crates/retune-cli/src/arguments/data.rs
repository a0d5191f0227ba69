//! Options that select images.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Args;
use retune::inference::faster_precision;
use retune::loading::Loader;
use retune::models::Model;
use retune::monitor::Monitor;
use retune::pixels::decode::DecodeLimits;
use retune::run::{EvaluationSource, evaluation_loader};
use retune::sources::{DataSource, Dataset, ReadImages, SplitName};

use super::location::locate_data;
use super::parse;
use super::precision::{self, PrecisionChoice};
use crate::failure::Failure;
use crate::output::Console;

/// Opens data and reports its notes.
pub fn open_source(path: &Path, console: &Console) -> Result<DataSource, Failure> {
    let source = DataSource::open(locate_data(path, console)?)?;
    console.tell_notes(&source);
    Ok(source)
}

/// The same where images that are listed and not there may be left out.
pub fn open_source_with(path: &Path, skip_bad: bool, console: &Console) -> Result<DataSource, Failure> {
    if !skip_bad {
        return open_source(path, console);
    }
    let source = DataSource::open_with_missing_files(locate_data(path, console)?)?;
    console.tell_notes(&source);
    Ok(source)
}

/// Leaves out the images that cannot be read, tells which these are, and returns their positions. `data` is what the user
/// called the images.
pub fn leave_out_unreadable(
    dataset: &mut Dataset,
    data: impl Display,
    console: &Console,
) -> Result<Vec<usize>, Failure> {
    let progress = &console.progress;
    progress.start("reading every image", dataset.len());
    let left_out = dataset.leave_out_unreadable(&DecodeLimits::default(), &ReadImages::default(), || {
        progress.advance(1);
        if progress.canceled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let left_out = left_out.ok_or(Failure::Interrupted(None))?;
    progress.finish();
    for image in &left_out {
        progress.message(&format!("left out: {}", image.reason));
    }
    match left_out.first() {
        Some(first) if dataset.is_empty() => {
            Err(Failure::Mistake(format!("no image in {data} can be read: check the first of them, {}", first.reason)))
        }
        _ => Ok(left_out.into_iter().map(|image| image.index).collect()),
    }
}

/// The same for a model, which may be one for images with several labels.
pub fn open_source_for(model: &Model, path: &Path, console: &Console) -> Result<DataSource, Failure> {
    if !model.config().is_multi_label() {
        return open_source(path, console);
    }
    let source = DataSource::open_multi_label(locate_data(path, console)?)?;
    console.tell_notes(&source);
    Ok(source)
}

/// What the help says of `--data`.
pub const IMAGES: &str = "Images: class folders (or train/, val/, and test/ of them), a .csv or .jsonl manifest, Parquet, \
                          CIFAR, IDX, or .tar files, or hf:OWNER/NAME on the Hugging Face hub";

/// The images of a command that only reads them.
#[derive(Args)]
#[command(next_help_heading = "Data")]
pub struct DataArguments {
    #[arg(short, long, value_name = "PATH", help = IMAGES)]
    pub data: PathBuf,
    /// Split to read, such as train, val, or test [default: every image]
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Skip images that cannot be read, and list them [default: stop at the first]
    #[arg(long)]
    skip_bad: bool,
    /// Read images from this data in batches of this many
    #[command(flatten)]
    pub batches: BatchArguments,
}

impl DataArguments {
    /// Opens the data for a model, which may be one for images with several labels, and picks the split.
    pub fn open_for(&self, model: &Model, console: &Console) -> Result<Dataset, Failure> {
        let path = locate_data(&self.data, console)?;
        let source = match (model.config().is_multi_label(), self.skip_bad) {
            (false, true) => DataSource::open_with_missing_files(&path)?,
            (false, false) => DataSource::open(&path)?,
            (true, true) => DataSource::open_multi_label_with_missing_files(&path)?,
            (true, false) => DataSource::open_multi_label(&path)?,
        };
        console.tell_notes(&source);
        let dataset = source.split(&self.split_name())?;
        self.readable(dataset, console)
    }

    /// The images that can be read, where others are to be left out.
    pub fn readable(&self, mut dataset: Dataset, console: &Console) -> Result<Dataset, Failure> {
        if self.skip_bad {
            leave_out_unreadable(&mut dataset, self.data.display(), console)?;
        }
        Ok(dataset)
    }

    /// The split that is read.
    pub fn split_name(&self) -> SplitName {
        self.split.as_deref().map_or(SplitName::All, SplitName::from)
    }
}

/// How images go through a model that is not trained.
#[derive(Args)]
pub struct BatchArguments {
    /// Images per batch
    #[arg(long, value_name = "N", default_value = "32", value_parser = parse::count, allow_hyphen_values = true)]
    pub batch_size: usize,
    // It has an id of its own, because training's option of the same name means something else: neither is passed along
    // to a suggested command that takes the other.
    #[arg(long = "precision", id = "forward_precision", value_name = "NAME", default_value = "float32",
          value_parser = precision::parser(), help = precision::help("", "with this model"))]
    precision: PrecisionChoice,
}

impl BatchArguments {
    /// The model in the precision that it is to compute in. Models that are compared take that of the first.
    pub fn in_precision(&self, model: Model, console: &Console) -> Result<Model, Failure> {
        let precision = match self.precision {
            PrecisionChoice::Always(precision) => precision,
            PrecisionChoice::Faster => faster_precision(&model, &console.progress),
        };
        let model = model.with_precision(precision)?;
        model.tell_precision(&console.progress);
        Ok(model)
    }

    /// A loader that reads the images once, with the preprocessing of `model`.
    pub fn loader(&self, dataset: Dataset, model: &Model, console: &Console) -> Result<Loader, Failure> {
        console.tell_unused_range(&dataset, model);
        Ok(evaluation_loader(dataset, model, self.batch_size, console.threads)?)
    }
}

/// Further sets to evaluate on.
#[derive(Args, Default)]
#[command(next_help_heading = "Data")]
pub struct EvaluationArguments {
    /// Additional set to evaluate on, in any layout that --data takes, or @SHIFT (such as @fog:3) for the same images under
    /// a shift; repeatable
    #[arg(long = "eval", value_name = "NAME=PATH", value_parser = parse::evaluation)]
    evaluations: Vec<EvaluationSource>,
}

impl EvaluationArguments {
    /// The sets, no two of one name, by their paths.
    pub fn sources(&self, console: &Console) -> Result<Vec<EvaluationSource>, Failure> {
        let mut names = BTreeSet::new();
        if let Some(twice) = self.evaluations.iter().find(|source| !names.insert(&source.name)) {
            let problem = format!("two --eval sets are called '{}'; give each its own NAME=", twice.name);
            return Err(Failure::Mistake(problem));
        }
        let located = |source: &EvaluationSource| {
            Ok(EvaluationSource { name: source.name.clone(), path: locate_data(&source.path, console)? })
        };
        self.evaluations.iter().map(located).collect()
    }

    /// The set of a name, with its path as it was typed.
    pub fn named(&self, name: &str) -> Option<&EvaluationSource> {
        self.evaluations.iter().find(|source| source.name == name)
    }
}
