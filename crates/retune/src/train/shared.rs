//! What several runs on the same images can share: decoded images, and features of the same
//! pretrained body.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::TrainError;
use super::frozen_activations::FrozenActivations;
use super::kept_features::KeptFeatures;
use super::keys::{body_key, combined, loader_key};
use super::loaders::KeyedLoader;
use super::options::ActivationOptions;
use crate::loading::{Loader, LoaderOptions};
use crate::models::Model;
use crate::monitor::Monitor;
use crate::sources::{DataError, Dataset, ReadImages};

/// Features of training and of validation images.
const FEATURES_OF_A_RUN: usize = 2;
/// Sets of features that are kept, in memory or in files.
const MAX_FEATURES: usize = 2 * FEATURES_OF_A_RUN;

/// What was computed, by the key of what it depends on; the most recently used last.
type ByKey<T> = Vec<(u64, Arc<T>)>;

/// Decoded images and features of runs that are made together. Runs that share nothing of their
/// data or their pretrained body are not mixed up: everything is kept by what it depends on. Clones share all of it.
#[derive(Clone, Default)]
pub struct Shared {
    /// By what their images depend on, but for the seed.
    loaders: Arc<Mutex<HashMap<u64, Loader>>>,
    features: Arc<Mutex<ByKey<KeptFeatures>>>,
    activations: Arc<Mutex<ByKey<FrozenActivations>>>,
    read: Arc<ReadImages>,
    /// Whether a single run uses it; then nothing is kept longer than that run needs it.
    of_one_run: bool,
}

impl Shared {
    /// What a run that shares nothing with others keeps for its own phases and epochs.
    pub(super) fn of_one_run() -> Self {
        Self { of_one_run: true, ..Self::default() }
    }

    /// Nothing yet but which images can be read, as far as it is known.
    pub fn knowing(read: Arc<ReadImages>) -> Self {
        Self { read, ..Self::default() }
    }

    /// Images that were read to see whether they can be.
    pub(crate) fn read_images(&self) -> &ReadImages {
        &self.read
    }

    /// A loader of these images with these options. Its images are decoded once, however often and with whichever seed
    /// it is asked for.
    ///
    /// # Errors
    /// As [`Loader::new`].
    pub(super) fn loader(&self, dataset: &Dataset, options: &LoaderOptions) -> Result<Loader, DataError> {
        if self.of_one_run {
            return Loader::new(dataset.clone(), options.clone());
        }
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
        KeyedLoader { loader, key }: &KeyedLoader,
        memory_bytes: u64,
        task: &str,
        monitor: &dyn Monitor,
    ) -> Result<Arc<KeptFeatures>, TrainError> {
        if self.of_one_run {
            return Ok(Arc::new(KeptFeatures::extract(model, loader, memory_bytes, task, monitor)?));
        }
        let key = combined(&[*key, body_key(model, model.head())?]);
        let features = match take(&mut self.known_features(), key) {
            Some(features) => features,
            None => Arc::new(KeptFeatures::extract(model, loader, memory_bytes, task, monitor)?),
        };
        let mut known = self.known_features();
        known.push((key, features.clone()));
        let memory = |known: &[(u64, Arc<KeptFeatures>)]| -> u64 {
            known.iter().map(|(_, features)| features.memory_bytes()).sum()
        };
        while known.len() > MAX_FEATURES || (known.len() > FEATURES_OF_A_RUN && memory(&known) > memory_bytes) {
            known.remove(0);
        }
        Ok(features)
    }

    fn known_features(&self) -> MutexGuard<'_, ByKey<KeptFeatures>> {
        self.features.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_activations(&self) -> MutexGuard<'_, ByKey<FrozenActivations>> {
        self.activations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What enters `block` for a loader's images (of the epoch numbered `view`), made once; `None` if it does not fit, or
    /// is not known and neither pays within this run nor serves others. The least recently used are forgotten when all no
    /// longer fit.
    ///
    /// # Errors
    /// As [`FrozenActivations::make`].
    pub(super) fn activations(
        &self,
        model: &Model,
        (KeyedLoader { loader, key }, view): (&KeyedLoader, u64),
        block: usize,
        pays: bool,
        options: &ActivationOptions,
        monitor: &dyn Monitor,
    ) -> Result<Option<Arc<FrozenActivations>>, TrainError> {
        let key = combined(&[*key, view, block as u64, u64::from(options.half), body_key(model, block)?]);
        let found = take(&mut self.known_activations(), key);
        let activations = match found {
            Some(activations) => activations,
            None if !pays && self.of_one_run => return Ok(None),
            None => {
                let in_memory: u64 = self.known_activations().iter().map(|(_, known)| known.memory_bytes()).sum();
                let memory_left = options.memory_bytes.saturating_sub(in_memory);
                match FrozenActivations::make(model, (loader, view), block, options, memory_left, monitor)? {
                    Some(activations) => Arc::new(activations),
                    None => return Ok(None),
                }
            }
        };
        let mut known = self.known_activations();
        known.push((key, activations.clone()));
        let fit = |known: &[(u64, Arc<FrozenActivations>)]| {
            FrozenActivations::fit_together(known.iter().map(|(_, activations)| activations.as_ref()), options)
        };
        while known.len() > 1 && !fit(&known) {
            known.remove(0);
        }
        Ok(Some(activations))
    }
}

/// Takes out of a list what goes by this key.
fn take<T>(known: &mut Vec<(u64, T)>, key: u64) -> Option<T> {
    let at = known.iter().position(|(other, _)| *other == key)?;
    Some(known.remove(at).1)
}
