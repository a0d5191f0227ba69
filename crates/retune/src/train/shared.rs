//! What several runs on the same images can share: decoded images, and features of the same
//! pretrained body.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::TrainError;
use crate::data::{DataError, Dataset, Loader, LoaderOptions};
use crate::inference::{self, Features, Layer};
use crate::models::Model;
use crate::monitor::Monitor;
use crate::random;

/// Decoded images and features of runs that are made together. Runs that share nothing of their
/// data or their pretrained body are not mixed up: everything is kept by what it depends on.
#[derive(Default)]
pub struct Shared {
    loaders: Mutex<HashMap<u64, Loader>>,
    features: Mutex<HashMap<u64, Arc<Features>>>,
}

impl Shared {
    /// A loader of these images with these options; the same one when asked again, so that its
    /// images are decoded once. Images in memory are told apart by their names.
    ///
    /// # Errors
    /// As [`Loader::new`].
    pub(super) fn loader(&self, dataset: &Dataset, options: &LoaderOptions) -> Result<Loader, DataError> {
        let key = loader_key(dataset, options);
        let mut loaders = self.loaders.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(loader) = loaders.get(&key) {
            return Ok(loader.clone());
        }
        let loader = Loader::new(dataset.clone(), options.clone())?;
        loaders.insert(key, loader.clone());
        Ok(loader)
    }

    /// The pooled features of a loader's images by the body of `model`, computed once.
    ///
    /// # Errors
    /// As [`inference::extract`].
    pub(super) fn features(
        &self,
        model: &Model,
        loader: &Loader,
        loader_key: u64,
        task: &str,
        monitor: &dyn Monitor,
    ) -> Result<Arc<Features>, TrainError> {
        let key = random::hash(&[loader_key.to_le_bytes(), body_key(model).to_le_bytes()].concat());
        let known = || self.features.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(features) = known().get(&key) {
            return Ok(features.clone());
        }
        let features = Arc::new(inference::extract(model, loader, Layer::Pooled, task, monitor)?);
        known().insert(key, features.clone());
        Ok(features)
    }
}

/// What a loader's batches depend on.
pub(super) fn loader_key(dataset: &Dataset, options: &LoaderOptions) -> u64 {
    let samples = dataset.samples.iter().map(|sample| (&sample.name, sample.label, &sample.group));
    let samples: Vec<_> = samples.collect();
    let random = options.augmentation.policy != crate::data::augment::AugmentPolicy::None
        || options.mix != crate::data::mix::Mix::default();
    // Without anything random the seed changes nothing.
    let seed = random.then_some(options.seed);
    let described = format!(
        "{:?}{:?}{:?}{:?}{:?}{:?}{:?}{}{}{seed:?}",
        dataset.root,
        dataset.corruptions,
        dataset.classes,
        samples,
        options.preprocessing,
        options.augmentation,
        options.mix,
        options.label_smoothing,
        options.batch_size,
    );
    random::hash(described.as_bytes())
}

/// What the features before the head depend on.
fn body_key(model: &Model) -> u64 {
    let specs = model.network().specs.iter().enumerate().filter(|(_, spec)| spec.block != model.head());
    let hashes: Vec<u8> = specs
        .flat_map(|(index, _)| {
            let bytes: Vec<u8> = model.parameters.values(index).iter().flat_map(|value| value.to_le_bytes()).collect();
            random::hash(&bytes).to_le_bytes()
        })
        .collect();
    random::hash(&[model.config().architecture().as_bytes(), &hashes].concat())
}
