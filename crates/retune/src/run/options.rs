//! Every choice that makes a run: `run.toml` keeps them.

use std::num::NonZeroU16;
use std::path::{Path, PathBuf};

use retune_pixels::channels::Channels;
use retune_pixels::input_size::InputSize;
use retune_pixels::preprocess::{CropMode, Preprocessing};
use retune_pixels::resize::Interpolation;
use serde::{Deserialize, Serialize};

use super::FitError;
use crate::device;
use crate::methods::{Method, MethodOptions};
use crate::models::{ClassNames, HeadInitialization, Model};
use crate::plan::{Plan, PlanError};
use crate::sources::{DataError, DataSource, SplitBy};
use crate::train::options::TrainOptions;

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelSource {
    /// A model directory, a run directory or a weights file.
    pub path: Option<PathBuf>,
    /// The architecture of a weights file, or of a model from scratch.
    pub architecture: Option<String>,
    /// Start from random weights instead of the file's.
    pub from_scratch: bool,
    /// Names of its classes, in the place of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<ClassNames>,
}

impl ModelSource {
    /// Loads the model, or draws it from `seed`.
    ///
    /// # Errors
    /// Anything missing, unreadable or inconsistent, by name.
    pub fn load(&self, change: &PreprocessingChange, seed: u64, device: &str) -> Result<Model, FitError> {
        self.load_with(|own| change.apply(own), seed, device)
    }

    /// Loads the model to see images as another does, so that the two can be compared.
    ///
    /// # Errors
    /// As [`ModelSource::load`]; an image size that this model cannot take; images of other channels than its own.
    pub fn load_alike(&self, preprocessing: &Preprocessing, seed: u64, device: &str) -> Result<Model, FitError> {
        let mut own = preprocessing.channels;
        let alike = |of_model: &Preprocessing| {
            own = of_model.channels;
            preprocessing.clone()
        };
        let model = self.load_with(alike, seed, device)?;
        match &self.path {
            Some(path) if own != preprocessing.channels => {
                Err(FitError::Channels { path: path.clone(), own, other: preprocessing.channels })
            }
            _ => Ok(model),
        }
    }

    fn load_with(
        &self,
        change: impl FnOnce(&Preprocessing) -> Preprocessing,
        seed: u64,
        device: &str,
    ) -> Result<Model, FitError> {
        let device = device::by_name(device)?;
        let architecture = self.architecture.as_deref();
        let model = match (&self.path, self.from_scratch) {
            (Some(path), false) => Model::load(path, architecture, change, &device)?,
            (path, _) => Model::from_scratch(path.as_deref(), architecture, change, seed, &device)?,
        };
        model.config().preprocessing().check_statistics_count()?;
        match &self.classes {
            Some(names) => Ok(model.with_class_names(names)?),
            None => Ok(model),
        }
    }
}

/// What a user changes of a model's own preprocessing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PreprocessingChange {
    /// The channels of the model's images; the stem's weights follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_chans: Option<Channels>,
    /// Height and width in pixels.
    pub size: Option<InputSize>,
    /// How images are resized.
    pub interpolation: Option<Interpolation>,
    /// How images of another shape are fitted.
    pub crop_mode: Option<CropMode>,
    /// Share of the resized image's side that is kept.
    pub crop_pct: Option<f64>,
    /// Mean of each channel, in 0 to 1; one for all, or one each.
    pub mean: Option<Vec<f32>>,
    /// Standard deviation of each channel, in 0 to 1; one for all, or one each.
    pub std: Option<Vec<f32>>,
    /// The value of 16-bit images that is white.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub white: Option<NonZeroU16>,
}

impl PreprocessingChange {
    /// The model's own preprocessing with the changes made.
    pub fn apply(&self, own: &Preprocessing) -> Preprocessing {
        let channels = self.in_chans.unwrap_or(own.channels);
        let own = own.with_channels(channels);
        let given = |values: &Option<Vec<f32>>, own: Vec<f32>| match values.as_deref() {
            Some(&[value]) => vec![value; channels.count()],
            Some(values) => values.to_vec(),
            None => own,
        };
        Preprocessing {
            channels,
            width: self.size.map_or(own.width, |size| size.width),
            height: self.size.map_or(own.height, |size| size.height),
            interpolation: self.interpolation.unwrap_or(own.interpolation),
            crop_pct: self.crop_pct.unwrap_or(own.crop_pct),
            crop_mode: self.crop_mode.unwrap_or(own.crop_mode),
            mean: given(&self.mean, own.mean),
            std: given(&self.std, own.std),
            white: self.white.or(own.white),
        }
    }
}

/// A further set to evaluate on; it never chooses anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvaluationSource {
    /// Its name in tables.
    pub name: String,
    /// Its images.
    pub path: PathBuf,
}

impl EvaluationSource {
    /// Whether this is the other set under the same name, however its path is written.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        self.name == other.name && whole(&self.path) == whole(&other.path)
    }
}

/// Every resolved option of a run but its plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FitOptions {
    /// The images to train and validate on.
    pub data: PathBuf,
    /// Part of each class held out for validation where the data has no such split.
    pub validation_fraction: f64,
    /// What that never divides: an image, or a group of images.
    #[serde(default)]
    pub split_by: SplitBy,
    /// How the head starts before gradients train it.
    pub head_initialization: HeadInitialization,
    /// `cpu`, `wgpu` or `cuda`.
    pub device: String,
    /// The pretrained model.
    pub model: ModelSource,
    /// Changes to its preprocessing.
    pub preprocessing: PreprocessingChange,
    /// How phases train.
    pub train: TrainOptions,
    /// Whether an image may have several labels, or none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub multi_label: bool,
    /// Leave out images that cannot be read.
    #[serde(default)]
    pub skip_bad: bool,
    /// Further sets to evaluate on.
    #[serde(default)]
    pub evaluations: Vec<EvaluationSource>,
}

impl FitOptions {
    /// Parses the text of a `run.toml`.
    ///
    /// # Errors
    /// Says where the text is no such options.
    pub fn from_toml(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Lists the images at a path; with `skip_bad`, a manifest's missing files as well.
    ///
    /// # Errors
    /// As [`DataSource::open`].
    pub(crate) fn open_source(&self, path: &Path) -> Result<DataSource, DataError> {
        match (self.multi_label, self.skip_bad) {
            (false, false) => DataSource::open(path),
            (false, true) => DataSource::open_with_missing_files(path),
            (true, false) => DataSource::open_multi_label(path),
            (true, true) => DataSource::open_multi_label_with_missing_files(path),
        }
    }
}

/// Where a run's plan comes from.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "a run has one")]
pub enum PlanSource {
    /// A method makes it.
    Method(Method, MethodOptions),
    /// It was written by hand.
    Written(Plan),
}

impl PlanSource {
    /// The plan for a model, checked against its blocks.
    ///
    /// # Errors
    /// A block or number that does not fit.
    pub fn resolve(&self, model: &Model) -> Result<Plan, PlanError> {
        let plan = match self {
            Self::Method(method, options) => method.plan(model.blocks(), options)?,
            Self::Written(plan) => plan.clone(),
        };
        plan.check(model.blocks())?;
        Ok(plan)
    }
}

/// The method of a run with its options, before a model turns them into a plan.
#[derive(Serialize)]
struct RecordedMethod<'a> {
    name: Method,
    #[serde(flatten)]
    options: &'a MethodOptions,
}

/// The text of a run's `run.toml`: its options, and its method unless its plan was written by hand.
///
/// # Errors
/// None in practice, because every option can be written as TOML.
pub fn recorded(options: &FitOptions, plan: &PlanSource) -> Result<String, toml::ser::Error> {
    #[derive(Serialize)]
    struct Recorded<'a> {
        #[serde(flatten)]
        options: &'a FitOptions,
        #[serde(skip_serializing_if = "Option::is_none")]
        method: Option<RecordedMethod<'a>>,
    }
    let method = match plan {
        PlanSource::Method(name, options) => Some(RecordedMethod { name: *name, options }),
        PlanSource::Written(_) => None,
    };
    toml::to_string(&Recorded { options, method })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_of_older_runs_are_read() {
        let change: PreprocessingChange = toml::from_str("size = 96").unwrap();
        assert_eq!(change, PreprocessingChange { size: Some(InputSize::square(96)), ..PreprocessingChange::default() });
        assert_eq!(toml::to_string(&change).unwrap(), "size = 96\n");
        let change: PreprocessingChange = toml::from_str("size = \"64x256\"\nwhite = 4095").unwrap();
        assert_eq!(change.size, Some(InputSize { height: 64, width: 256 }));
        assert_eq!(toml::to_string(&change).unwrap(), "size = \"64x256\"\nwhite = 4095\n");
    }
}
