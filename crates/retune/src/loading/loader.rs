//! From a dataset to batches, on background threads.
//!
//! One thread walks through the epoch; for each batch it spreads the images over a pool of its own
//! (apart from the pool that trains), then hands the batch over through a bounded channel. What a
//! batch holds is a function of the seed, the epoch and its number: neither the number of threads
//! nor the batch an epoch is entered at changes a bit of it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use image::RgbImage;
use rayon::prelude::*;
use retune_pixels::augment::{AugmentPolicy, Augmentation, augmentation_rng};
use retune_pixels::corruption::Corruption;
use retune_pixels::decode::{DecodeLimits, Transparency};
use retune_pixels::picture::Picture;
use retune_pixels::preprocess::Preprocessing;
use retune_random::combine;

use super::cache::{CacheOptions, ImageCache, Retention};
use super::damaged::Damaged;
use super::mix::Mix;
use super::order::Order;
use crate::collective::{Processes, Turns};
use crate::monitor::Monitor;
use crate::sources::{DataError, Dataset};
use crate::wording::counted;

/// Keeps the draws for a batch apart from the draws for the images in it.
const MIX_KEY: u64 = 0x6d69_7869_6e67_0003;

/// A corrupted set is a set: the same whatever the seed of training.
const CORRUPTION_SEED: u64 = 0;

/// A change of a decoded image at its native size, before preprocessing, such as a corruption. It is
/// given the sample's index and must return the same pixels for the same image and index.
pub type ImageTransform = Arc<dyn Fn(&RgbImage, u64) -> RgbImage + Send + Sync>;

/// What a [`Loader`] does with a dataset.
#[derive(Clone)]
pub struct LoaderOptions {
    /// The model's input size, resizing and normalization.
    pub preprocessing: Preprocessing,
    /// Random changes of each image in training.
    pub augmentation: Augmentation,
    /// Mixup or CutMix of whole batches.
    pub mix: Mix,
    /// The part of each target spread evenly over all classes, from 0 to below 1 (Szegedy et al.,
    /// *Rethinking the Inception Architecture*, CVPR 2016, section 7).
    pub label_smoothing: f64,
    /// Images in a batch.
    pub batch_size: usize,
    /// Whether to leave out a last batch that is not full.
    pub drop_last: bool,
    /// Threads that decode and preprocess.
    pub threads: usize,
    /// Finished batches that may wait to be taken; one more is being made meanwhile.
    pub prefetch: usize,
    /// The seed of augmentation and mixing.
    pub seed: u64,
    /// What is kept of decoded images.
    pub cache: CacheOptions,
    /// Limits on what is decoded.
    pub decode_limits: DecodeLimits,
    /// A change of every decoded image.
    pub transform: Option<ImageTransform>,
    /// The processes that share the work on the images, where it can be shared.
    pub processes: Processes,
}

impl LoaderOptions {
    /// The deterministic pipeline: every image once, preprocessed and normalized, nothing random.
    ///
    /// Uses as many threads as the machine offers, two batches of prefetching and the default cache.
    pub fn deterministic(preprocessing: Preprocessing, batch_size: usize) -> Self {
        Self {
            preprocessing,
            augmentation: Augmentation::new(AugmentPolicy::None),
            mix: Mix::default(),
            label_smoothing: 0.0,
            batch_size,
            drop_last: false,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            prefetch: 2,
            seed: 0,
            cache: CacheOptions::default(),
            decode_limits: DecodeLimits::default(),
            transform: None,
            processes: Processes::default(),
        }
    }

    fn check(&self, dataset: &Dataset) -> Result<(), DataError> {
        let refuse = |problem: String| Err(DataError::LoaderOptions(problem));
        self.preprocessing.validate().or_else(|error| refuse(error.to_string()))?;
        self.augmentation.validate().or_else(|error| refuse(error.to_string()))?;
        self.mix.validate().or_else(|error| refuse(error.to_string()))?;
        if self.batch_size == 0 || self.threads == 0 {
            return refuse("the batch size and the number of threads must be at least 1".to_owned());
        }
        if !(0.0..1.0).contains(&self.label_smoothing) {
            return refuse(format!(
                "label smoothing is {}, and must be at least 0 and less than 1",
                self.label_smoothing
            ));
        }
        if dataset.is_empty() {
            return refuse("the dataset has no image".to_owned());
        }
        if self.drop_last && dataset.len() < self.batch_size {
            return refuse(format!(
                "dropping incomplete batches leaves none of {} in batches of {}: lower the batch size",
                counted(dataset.len(), "image"),
                self.batch_size
            ));
        }
        if self.has_soft_targets() {
            dataset.labels()?;
        }
        Ok(())
    }

    fn has_soft_targets(&self) -> bool {
        self.mix.is_active() || self.label_smoothing > 0.0
    }
}

/// Some images of a dataset, ready for a model.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The batch's position in its epoch, from 0.
    pub number: usize,
    /// Normalized pixels, `n × height × width × channels`.
    pub images: Vec<f32>,
    /// The `n` labels; empty where the dataset has an image without one.
    pub labels: Vec<usize>,
    /// The `n` positions of the samples in the dataset.
    pub indices: Vec<usize>,
    /// Target probabilities, `n × classes`, where labels are smoothed or images mixed.
    pub targets: Option<Vec<f32>>,
    /// Whether images are mixed, so that an image's label is only part of its target.
    pub mixed: bool,
    /// The number of images.
    pub n: usize,
    /// The height of each image, in pixels.
    pub height: usize,
    /// The width of each image, in pixels.
    pub width: usize,
}

/// Loads a dataset in batches, epoch after epoch, keeping decoded images in between. Cheap to clone;
/// clones share the cache and the threads.
#[derive(Clone)]
pub struct Loader {
    pipeline: Arc<Pipeline>,
    pool: Arc<rayon::ThreadPool>,
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader")
            .field("images", &self.pipeline.dataset.len())
            .field("batch_size", &self.pipeline.options.batch_size)
            .field("threads", &self.pipeline.options.threads)
            .finish_non_exhaustive()
    }
}

impl Loader {
    /// A loader of `dataset`. Nothing is decoded yet.
    ///
    /// # Errors
    /// [`DataError::LoaderOptions`] for options that leave nothing to load or contradict each other;
    /// [`DataError::Unlabeled`] where soft targets are wanted and a label is missing.
    pub fn new(dataset: Dataset, options: LoaderOptions) -> Result<Self, DataError> {
        options.check(&dataset)?;
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(options.threads)
            .thread_name(|index| format!("load-{index}"))
            .build()
            .map_err(|error| {
                DataError::LoaderOptions(format!("{} threads cannot be started: {error}", options.threads))
            })?;
        let cache = Arc::new(ImageCache::new(dataset.len(), &options.cache));
        let labels = dataset.labels().unwrap_or_default();
        let pipeline = Pipeline { dataset, labels, options, cache, damaged: Arc::default() };
        Ok(Self { pipeline: Arc::new(pipeline), pool: Arc::new(pool) })
    }

    /// The same loader with other draws of what is random: it shares the threads and the decoded images.
    pub(crate) fn reseeded(&self, seed: u64) -> Self {
        self.with(LoaderOptions { seed, ..self.options().clone() })
    }

    /// The same loader for processes that share the work.
    pub(crate) fn among(&self, processes: &Processes) -> Self {
        self.with(LoaderOptions { processes: processes.clone(), ..self.options().clone() })
    }

    fn with(&self, options: LoaderOptions) -> Self {
        let pipeline = &*self.pipeline;
        Self { pipeline: Arc::new(Pipeline { options, ..pipeline.clone() }), pool: Arc::clone(&self.pool) }
    }

    /// The dataset that is loaded.
    pub fn dataset(&self) -> &Dataset {
        &self.pipeline.dataset
    }

    /// What is done with the dataset.
    pub fn options(&self) -> &LoaderOptions {
        &self.pipeline.options
    }

    /// The decoded images that are kept.
    pub fn cache(&self) -> &ImageCache {
        &self.pipeline.cache
    }

    /// Says how many of the images loaded so far are damaged, once.
    pub fn tell_damaged(&self, monitor: &dyn Monitor) {
        if let Some(note) = self.pipeline.damaged.note(&self.pipeline.dataset) {
            monitor.note(&note);
        }
    }

    /// The number of batches in an epoch.
    pub fn batches_per_epoch(&self) -> usize {
        let Pipeline { dataset, options, .. } = &*self.pipeline;
        if options.drop_last { dataset.len() / options.batch_size } else { dataset.len().div_ceil(options.batch_size) }
    }

    /// The batches of an epoch without their images, for who has them already: their indices, labels
    /// and targets are those of [`Loader::epoch`], which mixed images' targets would not be.
    pub fn epoch_without_images(
        &self,
        epoch: u64,
        order: Order,
        start_batch: usize,
    ) -> impl Iterator<Item = Batch> + use<> {
        let pipeline = Arc::clone(&self.pipeline);
        let indices = order.indices(pipeline.dataset.len(), &pipeline.labels, epoch);
        let size = pipeline.options.batch_size;
        let number_of = |number: usize| number * size..indices.len().min((number + 1) * size);
        let batches: Vec<Vec<usize>> =
            (start_batch..self.batches_per_epoch()).map(|number| indices[number_of(number)].to_vec()).collect();
        batches.into_iter().enumerate().map(move |(offset, indices)| {
            pipeline.labeled_batch(epoch, start_batch + offset, &indices, Vec::new(), [0, 0])
        })
    }

    /// Starts loading the epoch numbered `epoch` from the batch `start_batch` on.
    ///
    /// The batches are the same, bit for bit, as those that an epoch entered at batch 0 would yield.
    pub fn epoch(&self, epoch: u64, order: Order, start_batch: usize) -> Batches {
        self.batches(epoch, order, (start_batch..self.batches_per_epoch()).collect(), None)
    }

    /// Starts loading the batches of these numbers of an epoch. Where processes take turns with the images of a batch, only
    /// those of this process are loaded; the pixels of the others are zero.
    pub(crate) fn batches(&self, epoch: u64, order: Order, numbers: Vec<usize>, turns: Option<Turns>) -> Batches {
        let remaining = numbers.len();
        let (sender, receiver) = sync_channel(self.pipeline.options.prefetch);
        let canceled = Arc::new(AtomicBool::new(false));
        let producer = Producer {
            pipeline: Arc::clone(&self.pipeline),
            pool: Arc::clone(&self.pool),
            canceled: Arc::clone(&canceled),
            epoch,
            numbers,
            turns,
        };
        // A thread that cannot be started drops its end of the channel, which the iterator notices.
        let thread =
            std::thread::Builder::new().name("load".to_owned()).spawn(move || producer.run(order, &sender)).ok();
        Batches { receiver: Some(receiver), thread, canceled, remaining }
    }
}

/// The batches of one epoch in their order. After an error there are no more. Dropping it stops the
/// loading threads after the images they are at.
#[derive(Debug)]
pub struct Batches {
    receiver: Option<Receiver<Result<Batch, DataError>>>,
    thread: Option<JoinHandle<()>>,
    canceled: Arc<AtomicBool>,
    remaining: usize,
}

impl Iterator for Batches {
    type Item = Result<Batch, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.remaining == 0 {
            return None;
        }
        let item = self.receiver.as_ref()?.recv().unwrap_or(Err(DataError::LoaderStopped));
        self.remaining = if item.is_ok() { self.remaining - 1 } else { 0 };
        Some(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.remaining > 0), Some(self.remaining))
    }
}

impl std::iter::FusedIterator for Batches {}

impl Drop for Batches {
    fn drop(&mut self) {
        self.canceled.store(true, Ordering::Relaxed);
        // Without its receiver, a thread that waits to hand over a batch wakes up and ends.
        self.receiver = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was already reported, by its message and by the iterator.
            let _ = thread.join();
        }
    }
}

/// The background thread's part: makes an epoch's batches one after the other.
struct Producer {
    pipeline: Arc<Pipeline>,
    pool: Arc<rayon::ThreadPool>,
    canceled: Arc<AtomicBool>,
    epoch: u64,
    numbers: Vec<usize>,
    turns: Option<Turns>,
}

impl Producer {
    fn run(self, order: Order, sender: &SyncSender<Result<Batch, DataError>>) {
        let indices = order.indices(self.pipeline.dataset.len(), &self.pipeline.labels, self.epoch);
        let batch_size = self.pipeline.options.batch_size;
        for &number in &self.numbers {
            let indices = &indices[number * batch_size..indices.len().min((number + 1) * batch_size)];
            let wanted = |position: usize| {
                !self.canceled.load(Ordering::Relaxed) && self.turns.is_none_or(|turns| turns.include(position))
            };
            let batch = self.pool.install(|| self.pipeline.batch(self.epoch, number, indices, wanted));
            let failed = batch.is_err();
            let is_wanted = !self.canceled.load(Ordering::Relaxed) && sender.send(batch).is_ok();
            if failed || !is_wanted {
                return;
            }
        }
    }
}

/// What happens to the samples of a dataset on their way into a batch.
#[derive(Clone)]
struct Pipeline {
    dataset: Dataset,
    /// Empty where the dataset has an image without a label.
    labels: Vec<usize>,
    options: LoaderOptions,
    cache: Arc<ImageCache>,
    damaged: Arc<Damaged>,
}

impl Pipeline {
    /// Makes one batch on the threads of the current pool. The error is that of the first image that
    /// has one. The pixels of images at positions that are not wanted stay zero.
    fn batch(
        &self,
        epoch: u64,
        number: usize,
        indices: &[usize],
        wanted: impl Fn(usize) -> bool + Sync,
    ) -> Result<Batch, DataError> {
        let Preprocessing { width, height, channels, .. } = self.options.preprocessing;
        let (width, height) = (width as usize, height as usize);
        let image_size = channels.count() * height * width;
        let mut images = vec![0.0; indices.len() * image_size];
        let load = |(position, (output, &index)): (usize, (&mut [f32], &usize))| {
            if wanted(position) {
                self.options.preprocessing.normalize_into(&self.input_image(epoch, index)?, output);
            }
            Ok(())
        };
        // All outcomes are collected before the first error is taken, so that it is always the same one.
        let outcomes: Vec<Result<(), DataError>> =
            images.par_chunks_mut(image_size).zip(indices).enumerate().with_max_len(1).map(load).collect();
        outcomes.into_iter().collect::<Result<(), _>>()?;
        Ok(self.labeled_batch(epoch, number, indices, images, [height, width]))
    }

    fn labeled_batch(
        &self,
        epoch: u64,
        number: usize,
        indices: &[usize],
        mut images: Vec<f32>,
        [height, width]: [usize; 2],
    ) -> Batch {
        let labels: Vec<usize> = indices.iter().filter_map(|&index| self.labels.get(index).copied()).collect();
        let targets = self.options.has_soft_targets().then(|| {
            let LoaderOptions { mix, label_smoothing, seed, .. } = &self.options;
            let mut rng = augmentation_rng(combine(MIX_KEY, *seed), epoch, number as u64);
            let classes = self.dataset.classes.len();
            mix.apply(&mut images, &labels, [height, width], classes, *label_smoothing, &mut rng)
        });
        Batch {
            number,
            images,
            labels,
            indices: indices.to_vec(),
            targets,
            mixed: self.options.mix.is_active(),
            n: indices.len(),
            height,
            width,
        }
    }

    /// The sample's image at the model's input size, where corruptions set in: their severities are
    /// meant for that size, as in ImageNet-C. What is the same in every epoch comes from the
    /// cache: the preprocessed image or, where augmentation follows, the decoded one.
    fn input_image(&self, epoch: u64, index: usize) -> Result<Picture, DataError> {
        let LoaderOptions { preprocessing, augmentation, seed, .. } = &self.options;
        let source = &self.dataset.samples[index].image;
        let retention = if source.holds_pixels() { Retention::MemoryOnly } else { Retention::MemoryThenDisk };
        let augmented = |decoded: &Picture| {
            let mut rng = augmentation_rng(*seed, epoch, index as u64);
            let image = augmentation.apply(decoded, preprocessing, &mut rng);
            let corruptions = self.dataset.corruptions.iter();
            let corrupted = |image: Picture, corruption: &Corruption| {
                image.map_color(|image| corruption.apply(&image, CORRUPTION_SEED, index as u64))
            };
            corruptions.fold(image, corrupted)
        };
        if augmentation.is_deterministic() {
            return self.cache.get_or_decode(index, retention, || Ok(augmented(&self.decoded(index)?)));
        }
        Ok(augmented(&self.cache.get_or_decode(index, retention, || self.decoded(index))?))
    }

    /// The sample's decoded and transformed image, at its native size.
    fn decoded(&self, index: usize) -> Result<Picture, DataError> {
        let Preprocessing { white, channels, .. } = self.options.preprocessing;
        let limits = DecodeLimits { white, ..self.options.decode_limits };
        let transparency = if channels.has_alpha() { Transparency::Kept } else { Transparency::OverWhite };
        let loaded = self.dataset.samples[index].image.load_counting(transparency, &limits)?;
        if loaded.damages > 0 {
            self.damaged.add(index);
        }
        let decoded = loaded.picture;
        let transformed = match &self.options.transform {
            Some(transform) => Picture { color: Arc::new(transform(&decoded.color, index as u64)), ..decoded },
            None => decoded,
        };
        Ok(transformed.for_channels(channels))
    }
}

#[cfg(test)]
pub(super) mod tests;
