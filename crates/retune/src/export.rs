//! Models as files of other runtimes.
//!
//! ```text
//! Model ─ graph ─► onnx/operations ─► onnx/writer ─► onnx/messages ─► FILE.onnx
//!   └─ preprocessing ─► onnx/preprocessing (in the graph), or preprocessor_config.json beside it
//! ```
//!
//! A family says its operations itself (`models/graph`), so a format is one folder here that says each operation in its
//! own terms.

mod metadata;
mod onnx;
mod preprocessor_config;

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use retune_pixels::channels::Channels;
use retune_pixels::resize::Interpolation;
use serde::{Serialize, Serializer};

pub use preprocessor_config::PREPROCESSOR_FILE;

use crate::device::DeviceError;
use crate::files::FileError;
use crate::models::{Model, ModelError};

/// Versions of ONNX's operators that a file can be written for.
pub const OPSETS: std::ops::RangeInclusive<u32> = 17..=22;
/// The version without another choice: ONNX Runtime has read it since 1.14, of February 2023.
pub const DEFAULT_OPSET: u32 = 18;
/// The first version whose `Resize` filters as Pillow does.
const FIRST_OPSET_THAT_RESIZES: u32 = 18;

/// Why a model could not be exported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The model has not what is to be exported.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A file could not be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The device did not give the weights.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The version of ONNX's operators is not one that retune writes.
    #[error("opset {0} is not one of {first} to {last}", first = OPSETS.start(), last = OPSETS.end())]
    Opset(u32),
    /// The version of ONNX's operators cannot resize images.
    #[error("opset {0} cannot resize images as the model needs it; {FIRST_OPSET_THAT_RESIZES} can")]
    OpsetCannotResize(u32),
    /// ONNX has no operator for the model's way of resizing.
    #[error("ONNX cannot resize images by {0}; export the model without its preprocessing")]
    Interpolation(Interpolation),
    /// Colors are weighed by their opacity, which the graph does not do.
    #[error("the preprocessing of images of {0} cannot be part of the graph; export the model without it")]
    Opacity(Channels),
    /// Another preprocessing is already described beside the file.
    #[error("{path} describes another preprocessing; choose another folder, or remove it", path = .0.display())]
    PreprocessorTaken(PathBuf),
    /// What lies beside the file under that name is no description at all.
    #[error("{path} is not JSON, so it may be anything; choose another folder, or remove it", path = .0.display())]
    PreprocessorUnreadable(PathBuf),
}

/// What the graph gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Output {
    /// The logits, `[batch, classes]`.
    #[default]
    Logits,
    /// The softmax of the logits at the model's temperature; for several labels, the sigmoid of each. `[batch, classes]`.
    Probabilities,
    /// What the head sees, `[batch, features]`.
    Features,
}

impl Output {
    /// Every output.
    pub const ALL: [Self; 3] = [Self::Logits, Self::Probabilities, Self::Features];

    /// Its name, which is also that of the graph's output.
    pub fn name(self) -> &'static str {
        match self {
            Self::Logits => "logits",
            Self::Probabilities => "probabilities",
            Self::Features => "features",
        }
    }
}

/// The error of [`Output::from_str`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown output `{name}`: use one of {}", Output::ALL.map(Output::name).join(", "))]
pub struct UnknownOutput {
    /// The name that was given.
    pub name: String,
}

impl FromStr for Output {
    type Err = UnknownOutput;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter().find(|output| output.name() == name);
        known.ok_or_else(|| UnknownOutput { name: name.to_owned() })
    }
}

/// How a model is exported to ONNX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnnxOptions {
    /// What the graph gives.
    pub output: Output,
    /// Version of ONNX's operators, one of [`OPSETS`].
    pub opset: u32,
    /// Whether the graph takes decoded images of any size, and resizes, crops, and normalizes them itself.
    pub with_preprocessing: bool,
    /// Whether the weights go into a file beside the graph. Those of 2 GiB or more always do, because a file of ONNX holds
    /// no more.
    pub external_data: bool,
    /// The method that made the model, for the file's metadata.
    pub method: Option<String>,
}

impl Default for OnnxOptions {
    fn default() -> Self {
        Self {
            output: Output::default(),
            opset: DEFAULT_OPSET,
            with_preprocessing: false,
            external_data: false,
            method: None,
        }
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// The graph.
    pub path: PathBuf,
    /// The file with the weights, where they are not in the graph's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// The file that tells Hugging Face's image processors how images are prepared; `None` where the graph does it, or no
    /// such processor can.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preprocessor: Option<PathBuf>,
    /// Version of ONNX's operators.
    pub opset: u32,
    /// What the graph takes.
    pub input: Port,
    /// What the graph gives.
    pub output: Port,
}

/// An input or output of the graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Port {
    /// Its name.
    pub name: &'static str,
    /// Its dimensions: a number, or the name of one that is free.
    #[serde(serialize_with = "numbers_as_such")]
    pub shape: Vec<String>,
}

/// Dimensions that are numbers as numbers.
fn numbers_as_such<S: Serializer>(shape: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(shape.iter().map(|dimension| match dimension.parse::<u64>() {
        Ok(number) => serde_json::Value::from(number),
        Err(_) => dimension.as_str().into(),
    }))
}

/// Writes a model as an ONNX file, and `preprocessor_config.json` beside it unless the graph prepares images itself.
///
/// The graph takes `pixel_values`, `[batch, channels, height, width]` of normalized pixels, or with its preprocessing
/// `pixels`, `[batch, height, width, channels]` of bytes. A file that is there is replaced.
///
/// ```
/// use retune::export::{OnnxOptions, write_onnx};
/// use retune::models::Model;
///
/// let cpu = retune::device::by_name("cpu")?;
/// let model = Model::from_scratch(None, Some("test_resnet"), Clone::clone, 0, &cpu)?;
/// let folder = tempfile::tempdir()?;
/// let written = write_onnx(&model, &folder.path().join("model.onnx"), &OnnxOptions::default())?;
/// assert_eq!(written.input.shape, ["batch", "3", "160", "160"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// A model without what is to be exported, an opset that is not written, a preprocessing that ONNX cannot express, and a
/// file that cannot be written; what the model's device failed in.
pub fn write_onnx(model: &Model, path: &Path, options: &OnnxOptions) -> Result<Exported, ExportError> {
    check(model, path, options)?;
    let model = &model.on_cpu()?;
    let processor = preprocessor_config::of(model.config().preprocessing()).filter(|_| !options.with_preprocessing);
    let processor = processor.map(|text| (path.with_file_name(PREPROCESSOR_FILE), text));
    if let Some((path, text)) = &processor {
        preprocessor_config::check_vacant(path, text)?;
    }
    let document = onnx::Document::of(model, options)?;
    let replaces = path.is_file();
    let weights = document.write(path, options.external_data)?;
    if replaces && weights.is_none() {
        onnx::remove_weights_beside(path)?;
    }
    if let Some((path, text)) = &processor {
        preprocessor_config::write(path, text)?;
    }
    Ok(Exported {
        path: path.to_owned(),
        weights,
        preprocessor: processor.map(|(path, _)| path),
        opset: options.opset,
        input: document.input,
        output: document.output,
    })
}

fn check(model: &Model, path: &Path, options: &OnnxOptions) -> Result<(), ExportError> {
    if !OPSETS.contains(&options.opset) {
        return Err(ExportError::Opset(options.opset));
    }
    if options.with_preprocessing && options.opset < FIRST_OPSET_THAT_RESIZES {
        return Err(ExportError::OpsetCannotResize(options.opset));
    }
    if options.output != Output::Features && model.config().num_classes() == 0 {
        return Err(ModelError::NoClassifier.into());
    }
    if path.is_dir() {
        return Err(FileError::new("write", path, io::ErrorKind::IsADirectory.into()).into());
    }
    Ok(())
}

#[cfg(test)]
mod tests;
