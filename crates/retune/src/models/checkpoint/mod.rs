//! Checkpoints as people have them: found under whatever wrappers and recipes put in front of a model's tensors and
//! beside them.
//!
//! ```text
//! file ─ format ─► container ─ place ─► the architecture's tensors ─► Model
//!                                └─ leftovers ─► notes, or an error
//! ```

mod container;
mod format;
mod leftovers;
mod named_architecture;
mod namespace;
mod note;
mod place;
mod script_names;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

pub use container::Checkpoint;
pub use format::ForeignFormat;
pub(super) use leftovers::is_batch_counter;
pub use leftovers::{LeftOut, Purpose};
pub use note::LoadNote;

pub(super) use script_names::candidates;

use leftovers::Leftovers;
use place::Place;

use super::ModelError;
use super::architectures::{self, ArchitectureError};
use super::config::ModelConfig;
use super::naming;
use super::parameters::Role;
use super::weights::{NamedTensor, WeightsError};

/// Who says how many classes a model has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Classes {
    /// Its `config.json`; the file must hold a classifier of as many.
    OfConfig,
    /// The classifier in the file; a file without one is a model without one.
    OfTensors,
}

/// A model's tensors as a file has them.
pub(super) struct Taken {
    /// The configuration with the classes that the file has.
    pub config: ModelConfig,
    /// The tensors by the architecture's names; some may be missing.
    pub tensors: BTreeMap<String, NamedTensor>,
    /// Tensors of unknown use, which are an error.
    pub unknown: Vec<String>,
    /// What a user should hear.
    pub notes: Vec<LoadNote>,
}

/// Checks, before it is read, that a file is one that weights are kept in.
///
/// # Errors
/// A file that cannot be read, or is something else (and then what it is).
pub(super) fn check_format(path: &Path) -> Result<(), WeightsError> {
    format::detect(path).map(|_| ())
}

/// The architecture that a file's own name for it stands for, if that can be built.
pub(super) fn named_architecture(checkpoint: &Checkpoint) -> Option<&'static str> {
    let name = checkpoint.architecture()?;
    let known = architectures::find(name).ok().map(|(name, _)| name);
    known.or_else(|| script_names::architecture(name, checkpoint))
}

/// Finds and reads the tensors of a configuration's architecture.
///
/// # Errors
/// Two models in one file, tensors that cannot be read, a configuration that cannot be built.
pub(super) fn take(checkpoint: &Checkpoint, config: ModelConfig, classes: Classes) -> Result<Taken, ModelError> {
    let Some((renamed, note)) = under_timm_names(checkpoint, &config, classes)? else {
        return take_named(checkpoint, config, classes);
    };
    let mut taken = take_named(&renamed, config, classes)?;
    taken.notes.insert(0, note);
    Ok(taken)
}

/// The tensors of a file that has another project's names for them; `None` where it has timm's.
fn under_timm_names(
    checkpoint: &Checkpoint,
    config: &ModelConfig,
    classes: Classes,
) -> Result<Option<(Checkpoint, LoadNote)>, ModelError> {
    let names = Names::of(config, classes)?;
    if !place::holding(checkpoint, &names.body).is_empty() {
        return Ok(None);
    }
    let Some((scheme, prefix)) = naming::recognize(checkpoint.names().collect::<Vec<_>>().into_iter()) else {
        return Ok(None);
    };
    // Buffers of integers, such as position_ids, are no weights.
    let own = checkpoint.names().filter(|name| name.starts_with(prefix) && checkpoint.is_float(name));
    let tensors = checkpoint.read(own.filter(|name| !is_batch_counter(name)))?;
    let tensors = tensors.into_iter().map(|(name, tensor)| (name[prefix.len()..].to_owned(), tensor)).collect();
    // With the classes of the configuration, because some of the names depend on what the head is.
    let network = architectures::build(config.architecture(), &config.model_args(), config.num_classes(), names.size)?;
    let renamed = naming::to_timm(tensors, &network)
        .map_err(|source| WeightsError::Naming { path: checkpoint.path().to_owned(), source: source.into() })?;
    let (file, prefix) = (file_name(checkpoint.path()), prefix.to_owned());
    let note = LoadNote::Renamed { file, scheme, prefix, left_out: renamed.left_out };
    Ok(Some((checkpoint.with_tensors(renamed.tensors), note)))
}

fn take_named(checkpoint: &Checkpoint, config: ModelConfig, classes: Classes) -> Result<Taken, ModelError> {
    let file = file_name(checkpoint.path());
    let mut notes = Vec::new();
    let mut config = config;
    let mut names = Names::of(&config, classes)?;
    let mut places = place::holding(checkpoint, &names.body);
    if places.is_empty()
        && classes == Classes::OfTensors
        && let Some(variant) = config.clone().with_average_pooling()
    {
        let of_variant = Names::of(&variant, classes)?;
        let found = place::holding(checkpoint, &of_variant.body);
        if !found.is_empty() {
            (config, names, places) = (variant, of_variant, found);
            notes.push(LoadNote::AveragePooling { file: file.clone() });
        }
    }
    // Without a place that holds everything, the best one tells what is missing.
    let (place, others) = match places.is_empty() {
        true => (place::nearest(checkpoint, &names.body), Vec::new()),
        false => choose(checkpoint, &places, &names)?,
    };
    if classes == Classes::OfTensors {
        let count = count_classes(checkpoint, &place, &names);
        config = config.with_class_count(count);
        if count > 0 {
            names.body.extend(names.classifier_tensors());
        }
    }
    let tensors = read(checkpoint, &place, &names.body)?;
    let taken: HashSet<&str> = names.body.iter().map(String::as_str).collect();
    let leftovers = leftovers::sort(checkpoint, &place, &others, &names.classifier, |name| taken.contains(name));
    notes.extend(note_of(file, &place, &others, &leftovers));
    Ok(Taken { config, tensors, unknown: leftovers.unknown, notes })
}

/// The names of an architecture's tensors.
struct Names {
    /// Those that must be there.
    body: Vec<String>,
    /// The module that gives logits.
    classifier: String,
    /// Height and width of its images.
    size: Option<(usize, usize)>,
}

impl Names {
    fn of(config: &ModelConfig, classes: Classes) -> Result<Self, ArchitectureError> {
        let preprocessing = config.preprocessing();
        let size = Some((preprocessing.height as usize, preprocessing.width as usize));
        // With one class, because a network for none has no name for its classifier.
        let network = architectures::build(config.architecture(), &config.model_args(), 1, size)?;
        let head = network.blocks().len() - 1;
        let weight = network.specs.iter().find(|spec| spec.block == head && spec.role == Role::Weight);
        let weight = weight.map_or("head.weight", |spec| spec.name.as_str());
        let classifier = weight.strip_suffix(".weight").unwrap_or(weight).to_owned();
        let with_head = classes == Classes::OfConfig && config.num_classes() > 0;
        let body = network.specs.iter().filter(|spec| with_head || spec.block != head);
        let body = body.map(|spec| spec.name.clone()).collect();
        Ok(Self { body, classifier, size })
    }

    fn classifier_tensors(&self) -> [String; 2] {
        ["weight", "bias"].map(|tensor| format!("{}.{tensor}", self.classifier))
    }
}

/// The place to take of those that hold a whole model, and the others.
fn choose(checkpoint: &Checkpoint, places: &[Place], names: &Names) -> Result<(Place, Vec<Place>), ModelError> {
    place::prefer(places).or_else(|(first, second)| {
        // One module under two names is saved twice.
        let same = read(checkpoint, &first, &names.body)? == read(checkpoint, &second, &names.body)?;
        let others = || places.iter().filter(|place| **place != first).cloned().collect();
        if same && places.len() == 2 {
            return Ok((first.clone(), others()));
        }
        let path = checkpoint.path().to_owned();
        Err(WeightsError::Ambiguous { path, first: first.to_string(), second: second.to_string() }.into())
    })
}

/// Rows of the classifier; 0 where there is none, or where its name is a projection head's.
fn count_classes(checkpoint: &Checkpoint, place: &Place, names: &Names) -> usize {
    if place.is_of_momentum_training() {
        return 0;
    }
    let shape = checkpoint.shape(&format!("{}{}.weight", place.prefix, names.classifier));
    shape.and_then(|shape| shape.first().copied()).unwrap_or_default()
}

/// Reads those of the named tensors that are at a place.
fn read(
    checkpoint: &Checkpoint,
    place: &Place,
    names: &[String],
) -> Result<BTreeMap<String, NamedTensor>, WeightsError> {
    let full: Vec<String> = names.iter().map(|name| format!("{}{name}", place.prefix)).collect();
    let tensors = checkpoint.read(full.iter().map(String::as_str))?;
    Ok(tensors.into_iter().map(|(name, tensor)| (name[place.prefix.len()..].to_owned(), tensor)).collect())
}

/// What was taken off and left out, if anything was.
fn note_of(file: String, place: &Place, others: &[Place], leftovers: &Leftovers) -> Option<LoadNote> {
    if place.prefix.is_empty() && leftovers.known.is_empty() {
        return None;
    }
    let passed_over = others.iter().filter(|other| !other.is_momentum_encoder());
    Some(LoadNote::Taken {
        file,
        prefix: place.below().to_owned(),
        dictionary: place.dictionary.clone(),
        passed_over: passed_over.map(Place::to_string).collect(),
        left_out: leftovers.known.clone(),
    })
}

pub(super) fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}
