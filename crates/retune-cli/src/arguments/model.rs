//! Options that select a model and its preprocessing.

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use clap::Args;
use retune::compare::runner;
use retune::models::{ClassNames, Model, ModelError, architectures};
use retune::pixels::channels::Channels;
use retune::pixels::input_size::InputSize;
use retune::pixels::preprocess::{CropMode, Preprocessing};
use retune::pixels::resize::Interpolation;
use retune::run::{self, FitError, ModelSource, PreprocessingChange};
use retune::sources::{memory, shift};

use super::location::beside;
use super::parse::{self, named};
use crate::failure::{Failure, resuming};
use crate::output::Console;

/// Which model.
#[derive(Args)]
#[command(next_help_heading = "Model")]
pub struct ModelArguments {
    /// A model directory, run directory, checkpoint (.pth, .ckpt, .safetensors, …), or hub name such as
    /// timm/resnet18.a1_in1k
    #[arg(short, long, value_name = "MODEL")]
    model: Option<String>,
    /// Architecture of a checkpoint that does not name its own, or of a model --from-scratch; `retune models` lists
    /// them
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,
    /// Start from random weights
    #[arg(long)]
    from_scratch: bool,
    /// File that names the model's classes: one name per line in the order of the logits, a JSON list, {"0": "cat"},
    /// {"cat": 0}, or imagenet_class_index.json
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// Device to compute on: cpu, or cuda or wgpu if retune was built with it
    #[arg(long, value_name = "NAME", default_value = "cpu")]
    pub device: String,
}

impl ModelArguments {
    /// The model as it was typed.
    pub fn typed(&self) -> &str {
        self.model.as_deref().or(self.arch.as_deref()).unwrap_or_default()
    }

    /// The same, but for a model that is named without --model.
    pub fn or_named(self, model: Option<String>) -> Self {
        Self { model: model.or(self.model), ..self }
    }

    /// Whether the user names the model's classes.
    pub fn names_classes(&self) -> bool {
        self.classes.is_some()
    }

    /// Locates the model, and downloads it from the hub if necessary.
    pub fn source(&self, console: &Console) -> Result<ModelSource, Failure> {
        let path = match &self.model {
            Some(model) => Some(locate(model, console)?),
            None if self.arch.is_some() && self.from_scratch => None,
            None => {
                let missing = "name a model with --model, or an architecture with --arch and --from-scratch";
                return Err(Failure::Mistake(missing.into()));
            }
        };
        let classes = self.classes.as_deref().map(ClassNames::read).transpose().map_err(ModelError::from)?;
        Ok(ModelSource { path, architecture: self.arch.clone(), from_scratch: self.from_scratch, classes })
    }

    /// The run directory, if the model is a run's.
    pub fn run(&self) -> Option<&Path> {
        self.model.as_deref().map(Path::new).filter(|path| run::read_options(path).is_ok())
    }

    /// Locates and loads the model.
    pub fn load(&self, change: &PreprocessingChange, console: &Console) -> Result<Model, Failure> {
        // Only a model from scratch depends on the seed, and only training has a seed of its own.
        const SEED: u64 = 0;
        let model = self.source(console)?.load(change, SEED, &self.device)?;
        console.tell_load_notes(&model);
        Ok(model)
    }
}

impl ModelArguments {
    /// Loads another model on the same device, with the preprocessing of the first one.
    pub fn load_other(&self, model: &str, preprocessing: &Preprocessing, console: &Console) -> Result<Model, Failure> {
        let path = Some(locate(model, console)?);
        let source = ModelSource { path, architecture: None, from_scratch: false, classes: None };
        let loaded = source.load_alike(preprocessing, 0, &self.device).map_err(|error| match error {
            // --arch is about --model.
            FitError::Model(error @ ModelError::ArchitectureNeeded { .. }) => {
                Failure::Mistake(format!("{error}; put it into a folder with a config.json that names it"))
            }
            error => error.into(),
        })?;
        console.tell_load_notes(&loaded);
        Ok(loaded)
    }
}

/// The path of a model, or of a hub model in the cache.
fn locate(model: &str, console: &Console) -> Result<PathBuf, Failure> {
    let path = Path::new(model);
    if path.exists() {
        check_finished(path)?;
        return Ok(absolute(path));
    }
    if let Some(close) = beside(path) {
        return Err(Failure::in_file(path, format!("this path does not exist; did you mean {close}?")));
    }
    from_hub(architectures::repository_of(model).as_deref().unwrap_or(model), console)
}

/// Refuses what holds no model yet, or several, with what to do.
fn check_finished(path: &Path) -> Result<(), Failure> {
    if runner::is_comparison(path) {
        let found = runner::read(path).map(|(_, runs)| runs).unwrap_or_default();
        let example = found.first().map(|(_, run)| format!(", such as {}", run.display())).unwrap_or_default();
        return Err(Failure::in_file(
            path,
            format!("this is a comparison of several models; name one of its runs{example}"),
        ));
    }
    if run::read_options(path).is_ok() && run::finished(path).is_ok_and(|summary| summary.is_none()) {
        let (run, again) = (path.display(), resuming("fit", path));
        let reason = format!("{run} is an unfinished run, without a model; resume it with `{again}`");
        return Err(Failure::Mistake(reason));
    }
    Ok(())
}

#[cfg(feature = "hub")]
fn from_hub(model: &str, console: &Console) -> Result<PathBuf, Failure> {
    use retune::hub::{HubError, HubOptions, ModelName, fetch_model};
    use retune::monitor::Monitor;
    use std::ops::ControlFlow;

    let Ok(name) = model.parse::<ModelName>() else {
        let form = "this path does not exist; a model of the hub is written OWNER/NAME";
        return Err(Failure::Missing(format!("{model}: {form}")));
    };
    let fetched = fetch_model(&name, &HubOptions::from_env()?, |progress| {
        console.progress.bytes(&format!("{name}: {}", progress.file), progress.received, progress.total);
        if console.progress.canceled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    console.progress.finish();
    match fetched {
        Ok(fetched) => Ok(fetched.directory),
        Err(HubError::Interrupted) => Err(HubError::Interrupted.into()),
        Err(error) if model.contains(':') => Err(error.into()),
        // A mistyped path looks like the name of a model.
        Err(error) => Err(Failure::Missing(format!("no file or folder is called {model}, and the hub says: {error}"))),
    }
}

#[cfg(not(feature = "hub"))]
fn from_hub(model: &str, _: &Console) -> Result<PathBuf, Failure> {
    Err(Failure::Missing(format!("{model}: this path does not exist, and this build cannot download from the hub")))
}

/// The absolute path, so that a run can be resumed from another folder.
pub fn absolute(path: &Path) -> PathBuf {
    if memory::is_location(path) || shift::is_of_same_images(path) {
        return path.to_owned();
    }
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Changes to the model's own preprocessing.
#[derive(Args)]
#[command(next_help_heading = "Preprocessing (default: the model's own)")]
pub struct PreprocessingArguments {
    /// Number of input channels: 1 (gray), 2 (gray and opacity), 3 (RGB), or 4 (RGB and opacity). The stem's weights
    /// are adapted as in timm
    #[arg(long, value_name = "N", value_parser = parse::in_chans, allow_hyphen_values = true)]
    in_chans: Option<Channels>,
    /// Input size in pixels: one number for squares, or height and width such as 64x256
    #[arg(long, value_name = "N|HxW", value_parser = parse::input_size, allow_hyphen_values = true)]
    size: Option<InputSize>,
    /// Resampling filter
    #[arg(long, value_name = "NAME", value_parser = named::<Interpolation>(Interpolation::ALL.map(Interpolation::name)))]
    interpolation: Option<Interpolation>,
    /// How to fit images with another aspect ratio
    #[arg(long, value_name = "NAME", value_parser = named::<CropMode>(CropMode::ALL.map(CropMode::name)))]
    crop_mode: Option<CropMode>,
    /// Fraction of the resized image's side that the crop keeps
    #[arg(long, value_name = "X", value_parser = parse::crop_fraction, allow_hyphen_values = true)]
    crop_pct: Option<f64>,
    /// Mean of each channel, from 0 to 1; one number for all of them
    #[arg(long, value_name = "R,G,B", value_parser = parse::channels, allow_hyphen_values = true)]
    mean: Option<parse::Statistics>,
    /// Standard deviation of each channel; one number for all of them
    #[arg(long, value_name = "R,G,B", value_parser = parse::positive_channels, allow_hyphen_values = true)]
    std: Option<parse::Statistics>,
    /// Value that is white in 16-bit images, such as 4095 for 12-bit data [default: 65535]
    #[arg(long, value_name = "N", value_parser = parse::white_level, allow_hyphen_values = true)]
    white: Option<NonZeroU16>,
}

impl PreprocessingArguments {
    /// As the library takes them.
    pub fn change(&self) -> PreprocessingChange {
        PreprocessingChange {
            in_chans: self.in_chans,
            size: self.size,
            interpolation: self.interpolation,
            crop_mode: self.crop_mode,
            crop_pct: self.crop_pct,
            mean: self.mean.clone().map(|parse::Statistics(values)| values),
            std: self.std.clone().map(|parse::Statistics(values)| values),
            white: self.white,
        }
    }
}
