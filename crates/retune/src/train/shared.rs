//! What several runs on the same images can share: decoded images, and features of the same
//! pretrained body.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::TrainError;
use super::kept_features::KeptFeatures;
use super::options::ActivationOptions;
use super::prefix::Prefix;
use crate::files;
use crate::loading::{Loader, LoaderOptions};
use crate::models::Model;
use crate::monitor::Monitor;
use crate::sources::{DataError, Dataset, ReadImages, Sample};

/// Features of training and of validation images.
const FEATURES_OF_A_RUN: usize = 2;
/// Sets of features that are kept, in memory or in files.
const MOST_FEATURES: usize = 2 * FEATURES_OF_A_RUN;

/// Decoded images and features of runs that are made together. Runs that share nothing of their
/// data or their pretrained body are not mixed up: everything is kept by what it depends on.
#[derive(Default)]
pub struct Shared {
    /// By what their images depend on, but for the seed.
    loaders: Mutex<HashMap<u64, Loader>>,
    /// The most recently used last.
    features: Mutex<Vec<(u64, Arc<KeptFeatures>)>>,
    /// The most recently used last.
    prefixes: Mutex<Vec<(u64, Arc<Prefix>)>>,
    read: Arc<ReadImages>,
}

impl Shared {
    /// Nothing yet but which images can be read, as far as it is known.
    pub(crate) fn knowing(read: Arc<ReadImages>) -> Self {
        Self { read, ..Self::default() }
    }

    /// Images that were read to see whether they can be.
    pub(crate) fn read_images(&self) -> &ReadImages {
        &self.read
    }

    /// A loader of these images with these options. Its images are decoded once, however often and with whichever seed
    /// it is asked for. Images in memory are told apart by their names.
    ///
    /// # Errors
    /// As [`Loader::new`].
    pub(super) fn loader(&self, dataset: &Dataset, options: &LoaderOptions) -> Result<Loader, DataError> {
        let key = loader_key(dataset, &LoaderOptions { seed: 0, ..options.clone() });
        let mut loaders = self.loaders.lock().unwrap_or_else(PoisonError::into_inner);
        let loader = match loaders.get(&key) {
            Some(loader) if loader.options().seed == options.seed => return Ok(loader.clone()),
            Some(loader) => loader.reseeded(options.seed),
            None => Loader::new(dataset.clone(), options.clone())?,
        };
        loaders.insert(key, loader.clone());
        Ok(loader)
    }

    /// The pooled features of a loader's images by the body of `model`, computed once; those that take more than
    /// `memory_bytes` are kept in a file.
    ///
    /// # Errors
    /// As [`KeptFeatures::extract`].
    pub(super) fn features(
        &self,
        model: &Model,
        loader: &Loader,
        loader_key: u64,
        memory_bytes: u64,
        task: &str,
        monitor: &dyn Monitor,
    ) -> Result<Arc<KeptFeatures>, TrainError> {
        let body_key = body_key(model, model.head());
        let key = retune_random::hash(&[loader_key.to_le_bytes(), body_key.to_le_bytes()].concat());
        let features = match take(&mut self.known_features(), key) {
            Some(features) => features,
            None => Arc::new(KeptFeatures::extract(model, loader, memory_bytes, task, monitor)?),
        };
        let mut known = self.known_features();
        known.push((key, features.clone()));
        let memory = |known: &[(u64, Arc<KeptFeatures>)]| -> u64 {
            known.iter().map(|(_, features)| features.memory_bytes()).sum()
        };
        while known.len() > MOST_FEATURES || (known.len() > FEATURES_OF_A_RUN && memory(&known) > memory_bytes) {
            known.remove(0);
        }
        Ok(features)
    }

    fn known_features(&self) -> MutexGuard<'_, Vec<(u64, Arc<KeptFeatures>)>> {
        self.features.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_prefixes(&self) -> MutexGuard<'_, Vec<(u64, Arc<Prefix>)>> {
        self.prefixes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What enters `block` for a loader's images (of the epoch numbered `view`), made once; `None`
    /// if it does not fit, or is not known and not to be made. The least recently used are forgotten when all no longer
    /// fit.
    ///
    /// # Errors
    /// As [`Prefix::make`].
    pub(super) fn prefix(
        &self,
        model: &Model,
        (loader, loader_key, view): (&Loader, u64, u64),
        block: usize,
        to_be_made: bool,
        options: &ActivationOptions,
        monitor: &dyn Monitor,
    ) -> Result<Option<Arc<Prefix>>, TrainError> {
        let numbers = [loader_key, view, block as u64, u64::from(options.half), body_key(model, block)];
        let key = retune_random::hash(&numbers.map(u64::to_le_bytes).concat());
        let found = take(&mut self.known_prefixes(), key);
        let prefix = match found {
            Some(prefix) => prefix,
            None if !to_be_made => return Ok(None),
            None => {
                let in_memory: u64 = self.known_prefixes().iter().map(|(_, prefix)| prefix.memory_bytes()).sum();
                let memory_left = options.memory_bytes.saturating_sub(in_memory);
                match Prefix::make(model, (loader, view), block, options, memory_left, monitor)? {
                    Some(prefix) => Arc::new(prefix),
                    None => return Ok(None),
                }
            }
        };
        let mut known = self.known_prefixes();
        known.push((key, prefix.clone()));
        while known.len() > 1 && !Prefix::fit_together(known.iter().map(|(_, prefix)| prefix.as_ref()), options) {
            known.remove(0);
        }
        Ok(Some(prefix))
    }
}

/// Takes out of a list what goes by this key.
fn take<T>(known: &mut Vec<(u64, T)>, key: u64) -> Option<T> {
    let at = known.iter().position(|(other, _)| *other == key)?;
    Some(known.remove(at).1)
}

/// What a loader's batches depend on.
pub(super) fn loader_key(dataset: &Dataset, options: &LoaderOptions) -> u64 {
    let random = options.augmentation.policy != retune_pixels::augment::AugmentPolicy::None
        || options.mix != crate::loading::mix::Mix::default();
    // Without anything random the seed changes nothing.
    let seed = random.then_some(options.seed);
    let described = format!(
        "{:?}{:?}{:?}{:?}{:?}{:?}{}{}{seed:?}",
        dataset.root,
        dataset.corruptions,
        dataset.classes,
        options.preprocessing,
        options.augmentation,
        options.mix,
        options.label_smoothing,
        options.batch_size,
    );
    samples_key(&dataset.samples, retune_random::hash(described.as_bytes()))
}

/// What a list of images is, beyond their pixels: names, labels and groups, in order; `before` is
/// what else counts.
pub(super) fn samples_key(samples: &[Sample], before: u64) -> u64 {
    let mut bytes = Vec::new();
    samples.iter().fold(before, |key, sample| {
        bytes.clear();
        bytes.extend(key.to_le_bytes());
        bytes.extend(sample.label.map_or(u64::MAX, |label| label as u64).to_le_bytes());
        bytes.extend(sample.name.as_bytes());
        // No name has a zero byte, so that name and group cannot run into each other.
        bytes.push(0);
        bytes.extend(sample.group.as_deref().unwrap_or_default().as_bytes());
        retune_random::hash(&bytes)
    })
}

/// What the activations before `block` depend on.
fn body_key(model: &Model, block: usize) -> u64 {
    let specs = model.network().specs.iter().enumerate().filter(|(_, spec)| spec.block < block);
    let hashes: Vec<u8> = specs
        .flat_map(|(index, _)| {
            retune_random::hash(&files::little_endian(&model.parameters.values(index))).to_le_bytes()
        })
        .collect();
    retune_random::hash(&[model.config().architecture().as_bytes(), &hashes].concat())
}
