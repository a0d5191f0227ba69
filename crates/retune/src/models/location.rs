//! Where a model is: a directory, a run, or a file of weights.

use std::path::{Path, PathBuf};

use super::checkpoint::{self, Checkpoint, Classes, LoadNote};
use super::{CONFIG_FILE, ModelConfig, ModelError, WEIGHTS_FILE};

/// What is at a path that a model is loaded from.
pub(super) struct Located {
    /// Its configuration; of a file, its architecture's.
    pub config: ModelConfig,
    /// Who says how many classes it has.
    pub classes: Classes,
    /// The file of weights, if there is one.
    pub weights: Option<PathBuf>,
    /// The same, where it had to be opened already.
    pub checkpoint: Option<Checkpoint>,
    /// What a user should hear.
    pub notes: Vec<LoadNote>,
}

/// The configuration at a path, and its weights file if there is one.
///
/// # Errors
/// Nothing there, or nothing that says which architecture it is.
pub(super) fn locate(path: &Path, architecture: Option<&str>) -> Result<Located, ModelError> {
    if path.is_file() {
        return locate_file(path, architecture);
    }
    if !path.is_dir() {
        return Err(ModelError::NotFound(path.to_owned()));
    }
    // A run directory keeps its best model under `model/`.
    let inner = path.join("model");
    let directory = if !path.join(CONFIG_FILE).is_file() && inner.is_dir() { inner } else { path.to_owned() };
    let config = directory.join(CONFIG_FILE);
    if !config.is_file() {
        return Err(ModelError::Incomplete { path: path.to_owned(), lacks: CONFIG_FILE });
    }
    if architecture.is_some() {
        return Err(ModelError::ArchitectureNotNeeded(path.to_owned()));
    }
    let weights =
        [WEIGHTS_FILE, "pytorch_model.bin"].iter().map(|name| directory.join(name)).find(|path| path.is_file());
    let config = ModelConfig::read(&config)?;
    Ok(Located { config, classes: Classes::OfConfig, weights, checkpoint: None, notes: Vec::new() })
}

/// A file of weights with the configuration of an architecture: the one named, else the one that the file names.
fn locate_file(path: &Path, architecture: Option<&str>) -> Result<Located, ModelError> {
    let located = |config, checkpoint, notes| {
        let weights = Some(path.to_owned());
        Located { config, classes: Classes::OfTensors, weights, checkpoint, notes }
    };
    if let Some(name) = architecture {
        return Ok(located(ModelConfig::of_architecture(name)?, None, Vec::new()));
    }
    let checkpoint = Checkpoint::open(path)?;
    let Some(name) = checkpoint::named_architecture(&checkpoint) else {
        return Err(ModelError::ArchitectureNeeded {
            path: path.to_owned(),
            named: checkpoint.architecture().map(str::to_owned),
            candidates: checkpoint::candidates(&checkpoint),
        });
    };
    let note = LoadNote::Architecture { file: checkpoint::file_name(path), architecture: name.to_owned() };
    Ok(located(ModelConfig::of_architecture(name)?, Some(checkpoint), vec![note]))
}
