//! The loaders of a run: one dataset in batches, each with the key of what its batches depend on.

use retune_pixels::augment::AugmentPolicy;

use super::Trainer;
use super::keys::loader_key;
use super::shared::Shared;
use crate::loading::mix::Mix;
use crate::loading::{CacheOptions, Loader, LoaderOptions, MemoryBudget};
use crate::models::Model;
use crate::sources::{DataError, Dataset};

/// A loader and what its batches depend on.
pub(super) struct KeyedLoader {
    pub loader: Loader,
    pub key: u64,
}

impl KeyedLoader {
    fn new(dataset: &Dataset, options: &LoaderOptions, shared: &Shared) -> Result<Self, DataError> {
        Ok(Self { key: loader_key(dataset, options), loader: shared.loader(dataset, options)? })
    }
}

/// The training images as they are, the training images as the phases see them, and validation.
pub(super) struct Loaders {
    pub plain: KeyedLoader,
    pub training: KeyedLoader,
    pub validation: KeyedLoader,
}

impl Loaders {
    pub fn new(trainer: &Trainer, model: &Model, shared: &Shared) -> Result<Self, DataError> {
        let options = &trainer.options;
        let plain_options = LoaderOptions {
            threads: options.threads,
            seed: options.seed,
            processes: options.processes.clone(),
            // One for all three, so that the memory of a run is what it was given.
            cache: CacheOptions { memory: MemoryBudget::of_bytes(options.cache_bytes), ..CacheOptions::default() },
            ..LoaderOptions::deterministic(model.config().preprocessing().clone(), options.batch_size)
        };
        let plain = KeyedLoader::new(&trainer.train, &plain_options, shared)?;
        let changes_images = options.augmentation.policy != AugmentPolicy::None
            || options.mix != Mix::default()
            || options.label_smoothing > 0.0;
        let training = if changes_images || options.accumulate.get() > 1 {
            let options = LoaderOptions {
                augmentation: options.augmentation,
                mix: options.mix,
                label_smoothing: options.label_smoothing,
                batch_size: options.images_of_update(),
                ..plain_options.clone()
            };
            KeyedLoader::new(&trainer.train, &options, shared)?
        } else {
            KeyedLoader { loader: plain.loader.clone(), key: plain.key }
        };
        let validation = KeyedLoader::new(&trainer.validation, &plain_options, shared)?;
        Ok(Self { plain, training, validation })
    }
}
