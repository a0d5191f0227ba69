//! Pretrained image models in timm's format.
//!
//! ```text
//! config.json ─ config ─► architectures ─► Network (a chain of blocks, parameter specs)
//! weights ─ checkpoint, naming ─► weights ► Parameters (a list of named tensors)
//!                                          └─ Model = Network + Parameters + ModelConfig
//! ```
//!
//! Each family is one file in `families/` that reads like its paper. All of them are a `Chain`: an ordered list of blocks
//! that can be entered and left anywhere with [`Model::forward_range`], and whose last block is the classifier `head`.

pub mod architectures;
mod chain;
pub mod checkpoint;
pub mod class_file;
mod classes;
pub mod config;
mod dropping;
mod families;
pub(crate) mod graph;
pub mod imagenet;
mod input_channels;
pub(crate) mod layers;
mod location;
pub mod naming;
pub mod parameters;
mod position_embedding;
mod precision;
pub mod transformers;
pub mod weights;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, Tensor};

pub use architectures::Network;
pub use chain::{Activation, Block, Neighbor, UnknownLayer};
pub use checkpoint::LoadNote;
pub use class_file::ClassNames;
pub use config::ModelConfig;
pub use dropping::Dropping;
pub use layers::{ObservedStatistics, Pass};
pub use parameters::{ParameterSpec, Parameters, Role};
pub(crate) use precision::WITHOUT_INSTRUCTIONS;
pub use retune_kernels::Precision;
use retune_pixels::preprocess::Preprocessing;

use self::checkpoint::{Checkpoint, Classes};
use self::graph::{Graph, Value};
use self::location::locate;
use self::position_embedding::PositionGrid;
use self::weights::WeightsError;
use crate::device::{self, DeviceError};
use crate::files::{self, FileError};
use crate::monitor::Monitor;
use crate::wording::grouped;

/// Name of the weights' file in a model directory.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// Name of the configuration's file in a model directory.
pub const CONFIG_FILE: &str = "config.json";

/// Why a model could not be loaded, changed or saved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// The configuration is at fault.
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    /// The weights are at fault.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The file with the names of the classes is at fault.
    #[error(transparent)]
    ClassFile(#[from] class_file::ClassFileError),
    /// The architecture or its arguments are at fault.
    #[error(transparent)]
    Architecture(#[from] architectures::ArchitectureError),
    /// A file or folder is at fault.
    #[error(transparent)]
    File(#[from] FileError),
    /// Nothing is at the path.
    #[error("no model at {path}: it is neither a directory with config.json nor a weights file", path = .0.display())]
    NotFound(PathBuf),
    /// The directory is not a model's.
    #[error("{path} is not a model: it lacks {lacks}", path = path.display())]
    Incomplete {
        /// The directory.
        path: PathBuf,
        /// The file that is not there.
        lacks: &'static str,
    },
    /// The file is too small for the model.
    #[error(
        "{path} has {bytes} bytes, too few for the {weights} weights of the architecture; is it cut off, or another's?",
        path = path.display(), bytes = grouped(*bytes as usize), weights = grouped(*weights as usize)
    )]
    TooFewWeights {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The weights wanted.
        weights: u128,
    },
    /// A weights file does not say what it is the weights of, or in no name that is known.
    #[error("{path} holds weights only, and {reason}{fitting}", path = path.display(),
        reason = unnamed(named.as_deref()), fitting = fitting(candidates))]
    ArchitectureNeeded {
        /// The file.
        path: PathBuf,
        /// What it calls its architecture.
        named: Option<String>,
        /// The architectures that have tensors of the same names and shapes.
        candidates: Vec<&'static str>,
    },
    /// A class token is wanted of a model that has none.
    #[error("{architecture} has no class token beside its patches; take its pooled features")]
    NoClassToken {
        /// The architecture.
        architecture: String,
    },
    /// Logits are wanted of a model that has none.
    #[error("the model has no classifier, so it gives no logits; take its pooled features")]
    NoClassifier,
    /// Neither a model nor an architecture is named.
    #[error("no model and no architecture is named")]
    NothingNamed,
    /// An architecture was named for a model that names its own.
    #[error("{path} names its own architecture in config.json, so it takes no other", path = .0.display())]
    ArchitectureNotNeeded(PathBuf),
    /// The image size does not suit the architecture.
    #[error("{architecture} cannot take images of {height}×{width}: {reason}")]
    InputSize {
        /// The architecture.
        architecture: String,
        /// Height asked for.
        height: u32,
        /// Width asked for.
        width: u32,
        /// What it takes.
        reason: String,
    },
    /// No such layer.
    #[error(transparent)]
    UnknownLayer(#[from] UnknownLayer),
    /// The device has no products of bfloat16.
    #[error("bfloat16 needs the CPU and its fused operators, or a device that multiplies in it")]
    NoBfloat16,
}

fn unnamed(named: Option<&str>) -> String {
    match named {
        Some(name) => format!("its architecture, '{name}', is not one that retune can build"),
        None => "nothing in it names its architecture".into(),
    }
}

fn fitting(candidates: &[&str]) -> String {
    const MAX: usize = 6;
    match candidates {
        [] => String::new(),
        [only] => format!("; its tensors are those of {only}"),
        several => {
            let shown = several[..several.len().min(MAX)].join(", ");
            let more = several.len().saturating_sub(MAX);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!("; its tensors fit {shown}{more}, which differ in what no tensor tells")
        }
    }
}

/// How a new classifier head starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HeadInitialization {
    /// All zeros: every class is equally likely at first.
    Zeros,
    /// Small normal weights (standard deviation 0.02), zero bias.
    Normal,
    /// The model's own head; the classes must be the same.
    Keep,
    /// The rows of the model's own head for classes that it knows by name, and zeros for the others. All zeros for a model
    /// that knows half of the classes or fewer.
    Known,
    /// All zeros, until a linear probe takes their place: the first phase of a run's plan
    /// ([`Plan::from_probe`](crate::plan::Plan::from_probe)).
    Probe,
}

/// A network, its parameters, and what a user needs to know of it.
#[derive(Clone, Debug)]
pub struct Model {
    config: ModelConfig,
    network: Arc<Network>,
    /// Of the products of what runs forward only.
    precision: Precision,
    /// The values of its parameters.
    pub parameters: Parameters,
    /// What a user should hear of how it was loaded.
    pub notes: Vec<LoadNote>,
}

impl Model {
    /// Loads a model from a directory (`config.json`, `model.safetensors`), or from a checkpoint with the architecture's
    /// name, which may be left out where the checkpoint gives it. The classes of a checkpoint are those of its
    /// classifier; without one it is a model that gives features. `change` replaces the model's own preprocessing (its
    /// position embedding is resampled to another image size).
    ///
    /// # Errors
    /// Anything missing, unreadable, left over or inconsistent, by name.
    pub fn load(
        path: &Path,
        architecture: Option<&str>,
        change: impl FnOnce(&Preprocessing) -> Preprocessing,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let located = locate(path, architecture)?;
        let weights =
            located.weights.ok_or_else(|| ModelError::Incomplete { path: path.to_owned(), lacks: WEIGHTS_FILE })?;
        let own = located.config;
        let preprocessing = change(own.preprocessing());
        let config = own.clone().with_preprocessing(preprocessing);
        let checkpoint = match located.checkpoint {
            Some(checkpoint) => checkpoint,
            None => {
                checkpoint::check_format(&weights)?;
                check_weights_size(&Self::build(config.clone().with_class_count(0))?.1, &weights)?;
                Checkpoint::open(&weights)?
            }
        };
        let mut model = Self::of_checkpoint(&checkpoint, &own, config, located.classes, device)?;
        model.notes.splice(0..0, located.notes);
        Ok(model)
    }

    /// The model of a configuration with the tensors of a checkpoint, wherever in it they are. `own` is the configuration
    /// before images were to be prepared otherwise.
    fn of_checkpoint(
        checkpoint: &Checkpoint,
        own: &ModelConfig,
        config: ModelConfig,
        classes: Classes,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let mut taken = checkpoint::take(checkpoint, config, classes)?;
        let (config, network) = Self::build(taken.config)?;
        let path = checkpoint.path();
        check_whole_patches(own, &config, &network)?;
        check_weights_size(&network, path)?;
        if own.preprocessing().channels != config.preprocessing().channels {
            taken.notes.extend(input_channels::adapt(&mut taken.tensors, &network, path));
        }
        let mut model = Self::empty(config, network, device);
        let positions = model.network.positions.map(|grid| PositionGrid { from: own_grid(own), ..grid });
        weights::assign(&mut model.parameters, taken.tensors, positions, path)?;
        weights::refuse_extra(taken.unknown, path)?;
        model.notes = taken.notes;
        Ok(model)
    }

    /// A model from the contents of its two files, as when they are compiled into a program.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn from_contents(config: &str, weights: &[u8], device: &Device) -> Result<Self, ModelError> {
        let (config, network) = Self::build(ModelConfig::parse(config, CONFIG_FILE)?)?;
        let mut model = Self::empty(config, network, device);
        let path = Path::new(WEIGHTS_FILE);
        let tensors = weights::parse_safetensors(weights, path)?;
        weights::assign(&mut model.parameters, tensors, model.network.positions, path)?;
        Ok(model)
    }

    /// The configuration alone: the network with random parameters drawn from `seed`.
    ///
    /// # Errors
    /// As [`Model::load`], but weights are not looked for.
    pub fn from_scratch(
        path: Option<&Path>,
        architecture: Option<&str>,
        change: impl FnOnce(&Preprocessing) -> Preprocessing,
        seed: u64,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let config = match (path, architecture) {
            (Some(path), architecture) => locate(path, architecture)?.config,
            (None, Some(name)) => ModelConfig::of_architecture(name)?,
            (None, None) => return Err(ModelError::NothingNamed),
        };
        let own = config.clone();
        let preprocessing = change(config.preprocessing());
        let model = Self::initialize(config.with_preprocessing(preprocessing), seed, device)?;
        check_whole_patches(&own, &model.config, &model.network)?;
        Ok(model)
    }

    /// Builds the network of a configuration and fills it randomly.
    ///
    /// # Errors
    /// Arguments or an image size that the architecture cannot have.
    pub fn initialize(config: ModelConfig, seed: u64, device: &Device) -> Result<Self, ModelError> {
        let (config, network) = Self::build(config)?;
        let parameters = Parameters::initialize(network.specs.clone(), seed, device);
        Ok(Self::new(config, network, parameters, Vec::new()))
    }

    fn build(config: ModelConfig) -> Result<(ModelConfig, Network), ModelError> {
        let preprocessing = config.preprocessing();
        let size = (preprocessing.height as usize, preprocessing.width as usize);
        let network =
            architectures::build(config.architecture(), &config.model_args(), config.num_classes(), Some(size))?;
        network.check_input_size(size.0, size.1).map_err(|reason| ModelError::InputSize {
            architecture: config.architecture().to_owned(),
            height: preprocessing.height,
            width: preprocessing.width,
            reason,
        })?;
        Ok((config, network))
    }

    /// The network of zeros that a file's values are to take the place of.
    fn empty(config: ModelConfig, network: Network, device: &Device) -> Self {
        let parameters = Parameters::zeros(network.specs.clone(), device);
        Self::new(config, network, parameters, Vec::new())
    }

    fn new(config: ModelConfig, network: Network, parameters: Parameters, notes: Vec<LoadNote>) -> Self {
        Self { config, network: Arc::new(network), precision: Precision::default(), parameters, notes }
    }

    /// Says what a user should hear of how it was loaded.
    pub fn tell_notes(&self, monitor: &dyn Monitor) {
        for note in &self.notes {
            monitor.message(&format!("note: {note}"));
            if let Some(details) = note.details() {
                monitor.detail(&details);
            }
        }
    }

    /// What `config.json` says.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The network without its values.
    pub fn network(&self) -> &Arc<Network> {
        &self.network
    }

    /// The ordered list of blocks; the last is the classifier `head`.
    pub fn blocks(&self) -> &[Block] {
        self.network.blocks()
    }

    /// Index of the classifier.
    pub fn head(&self) -> usize {
        self.blocks().len() - 1
    }

    /// Learnable scalars in each block.
    pub fn block_parameters(&self) -> Vec<usize> {
        let mut counts = vec![0; self.blocks().len()];
        for spec in self.network.specs.iter().filter(|spec| spec.role.is_trainable()) {
            counts[spec.block] += spec.len();
        }
        counts
    }

    /// Indices of the head's weight (`[classes, features]`) and bias in the list of parameters;
    /// `None` for a model without a classifier.
    pub fn head_parameters(&self) -> Option<(usize, usize)> {
        let head = self.head();
        let of_role = |role| self.network.specs.iter().position(|spec| spec.block == head && spec.role == role);
        Some((of_role(Role::Weight)?, of_role(Role::Bias)?))
    }

    /// Runs `blocks` on `x` by running statistics, as in evaluation, with matrix products in the model's
    /// [precision](Self::precision).
    ///
    /// # Panics
    /// If `x` is not what the first of the blocks takes (the output of the block before it), or the
    /// range goes past the last block: a mistake in the calling program, which no input can make.
    pub fn forward_range(&self, x: Activation, blocks: Range<usize>) -> Activation {
        let device = self.parameters.tensors()[0].device();
        device::compute_in(self.precision, &device, || {
            self.network.forward_range(x, blocks, &mut Pass::evaluation(&self.parameters))
        })
    }

    /// Images `[batch, height, width, channels]` to logits `[batch, classes]`.
    pub fn logits(&self, images: Tensor<4>) -> Tensor<2> {
        self.forward_range(Activation::Map(images), 0..self.blocks().len()).pool()
    }

    /// Images `[batch, height, width, channels]` to the features that the head sees, `[batch, features]`.
    pub fn pooled_features(&self, images: Tensor<4>) -> Tensor<2> {
        self.forward_range(Activation::Map(images), 0..self.head()).pool()
    }

    /// The operations from the images to the logits, or to the features that the head sees, `[features]`.
    pub(crate) fn graph(&self, to_logits: bool) -> (Graph, Value) {
        let preprocessing = self.config.preprocessing();
        let (height, width) = (preprocessing.height as usize, preprocessing.width as usize);
        let (mut graph, images) = Graph::of_images([preprocessing.channels.count(), height, width]);
        let blocks = 0..if to_logits { self.blocks().len() } else { self.head() };
        let x = chain::export_range(self.network.chain.as_ref(), images, blocks, &mut graph);
        let result = graph.pool(x);
        (graph, result)
    }

    /// Whether it is a transformer with a class token.
    pub fn has_class_token(&self) -> bool {
        self.network.chain.has_class_token()
    }

    /// The normalized class token and the mean of the normalized patches, `[batch, 2 · width]`, from what enters the block
    /// before the head: what DINOv2's features are judged by (Oquab et al. 2023, arXiv 2304.07193). `None` for a model
    /// without a class token.
    pub(crate) fn class_token_and_mean(&self, x: &Activation) -> Option<Tensor<2>> {
        let device = self.parameters.tensors()[0].device();
        device::compute(&device, || self.network.chain.class_token_and_mean(x, &Pass::evaluation(&self.parameters)))
    }

    /// The same body with a head for other classes.
    ///
    /// # Errors
    /// Arguments that the architecture cannot have (none that it did not have before).
    pub fn with_classes(&self, classes: &[String], head: HeadInitialization, seed: u64) -> Result<Self, ModelError> {
        let device = self.parameters.tensors()[0].device();
        let (config, network) = Self::build(self.config.clone().with_classes(classes))?;
        let own_head = network.blocks().len() - 1;
        let found = self.config.known_rows(classes).filter(|_| head == HeadInitialization::Known);
        let rows = found.as_ref().filter(|rows| rows.are_most());
        let known = |spec: &ParameterSpec| {
            let old = self.parameters.position(&spec.name);
            if let Some((rows, old)) = rows.zip(old).filter(|_| spec.block == own_head) {
                let values = self.parameters.values_at(&[old]).map_err(WeightsError::from)?.concat();
                return Ok(Some(device::tensor(rows.take(&values), [spec.len()], &device)));
            }
            let keeps = spec.block != own_head || head == HeadInitialization::Keep;
            Ok(match old.filter(|&old| keeps && self.network.specs[old].shape == spec.shape) {
                Some(old) => Some(self.parameters.tensors()[old].clone()),
                None if head == HeadInitialization::Normal => None,
                None => Some(Tensor::zeros([spec.len()], &device)),
            })
        };
        let known = network.specs.iter().map(known).collect::<Result<_, ModelError>>()?;
        let parameters = Parameters::complete(network.specs.clone(), known, seed, &device);
        let mut notes = self.notes.clone();
        notes.extend(found.map(|rows| rows.note()));
        Ok(Self { precision: self.precision, ..Self::new(config, network, parameters, notes) })
    }

    /// The same model for images that may have several of its classes.
    #[must_use]
    pub fn for_several_labels(mut self) -> Self {
        self.config = self.config.for_several_labels();
        self
    }

    /// The same model with thresholds for the probabilities of its labels.
    #[must_use]
    pub fn with_thresholds(mut self, thresholds: Vec<f64>) -> Self {
        self.config = self.config.with_thresholds(Some(thresholds));
        self
    }

    /// The same model on the CPU.
    ///
    /// # Errors
    /// What its device failed in.
    pub fn on_cpu(&self) -> Result<Self, DeviceError> {
        Ok(Self { parameters: self.parameters.on_cpu()?, ..self.clone() })
    }

    /// The same network with other values of its parameters.
    ///
    /// # Panics
    /// If they are not this network's (a caller's error, not input's).
    pub fn with_parameters(&self, parameters: Parameters) -> Self {
        assert_eq!(parameters.specs().len(), self.parameters.specs().len(), "parameters of the same network");
        // A temperature is one of certain weights, and so are thresholds.
        let config = self.config.clone().with_temperature(None).with_thresholds(None);
        Self { parameters, config, ..self.clone() }
    }

    /// Saves a directory that timm loads with `strict=True`.
    ///
    /// # Errors
    /// Names the path and the reason.
    pub fn save(&self, directory: &Path) -> Result<(), ModelError> {
        files::create_folder(directory)?;
        weights::write_safetensors(&directory.join(WEIGHTS_FILE), &self.parameters)?;
        self.config.write(&directory.join(CONFIG_FILE))?;
        Ok(())
    }
}

impl Network {
    /// Runs `blocks` on `x` with the parameters and the BatchNorm behavior of `pass`.
    ///
    /// # Panics
    /// As [`Model::forward_range`].
    pub fn forward_range(&self, x: Activation, blocks: Range<usize>, pass: &mut Pass) -> Activation {
        chain::forward_range(self.chain.as_ref(), x, blocks, pass)
    }

    /// Index of the block called `name`, or of the first block of the stage called so.
    ///
    /// # Errors
    /// An unknown name, with the closest known one.
    pub fn find_blocks(&self, name: &str) -> Result<Range<usize>, ModelError> {
        Ok(Block::find(self.blocks(), name)?)
    }
}

/// Rows and columns of the patches of images of the size that a configuration names.
fn own_grid(config: &ModelConfig) -> Option<[usize; 2]> {
    let preprocessing = config.preprocessing();
    let size = Some((preprocessing.height as usize, preprocessing.width as usize));
    let network = architectures::build(config.architecture(), &config.model_args(), config.num_classes(), size).ok()?;
    network.positions.map(|grid| [grid.rows, grid.columns])
}

/// Checks that another size than the model's own loses nothing at the edges. Some published models lose a few pixels at
/// their own size.
fn check_whole_patches(own: &ModelConfig, changed: &ModelConfig, network: &Network) -> Result<(), ModelError> {
    let size = |config: &ModelConfig| [config.preprocessing().height, config.preprocessing().width];
    let [height, width] = size(changed);
    let whole = |patch: usize| [height, width].iter().all(|&side| (side as usize).is_multiple_of(patch));
    match network.patch_size() {
        Some(patch) if size(own) != [height, width] && !whole(patch) => Err(ModelError::InputSize {
            architecture: changed.architecture().to_owned(),
            height,
            width,
            reason: format!("it takes sides that are multiples of {patch}"),
        }),
        _ => Ok(()),
    }
}

/// Checks that a file is large enough for the weights that are to come from it, before they are made
/// room for. A position embedding is resampled to the image size, and may be larger than the file's.
fn check_weights_size(network: &Network, path: &Path) -> Result<(), ModelError> {
    const MAX_RESAMPLING: u128 = 256;
    let bytes = std::fs::metadata(path).map_err(|error| FileError::new("read", path, error))?.len();
    // The stem's weights may be repeated for more channels than the file's.
    let stem = network.input_weight().map(|spec| spec.name.as_str());
    let held = network.scalars(|spec| spec.name != "pos_embed" && Some(spec.name.as_str()) != stem);
    let resampled = network.scalars(|spec| spec.name == "pos_embed");
    // The smallest floats have two bytes.
    if 2 * held > u128::from(bytes) || resampled > MAX_RESAMPLING * u128::from(bytes) {
        return Err(ModelError::TooFewWeights { path: path.to_owned(), bytes, weights: network.scalars(|_| true) });
    }
    Ok(())
}
