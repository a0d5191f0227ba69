//! CKA between what models make of the same images: between ways of resizing, between layers, between models.
//!
//! Images go through in minibatches. Of a minibatch, the outputs of one model (or one way of resizing) at all layers are
//! in memory at a time, and the kernel matrix of every representation; both together stay below
//! [`CkaOptions::memory`]. A minibatch is as large as that allows. Where all images fit, the result is CKA over all of
//! them; else it is the minibatch CKA of [`Alignment`], which the debiased estimator alone supports.

pub mod feature_change;
mod matrix;

use rand::seq::index;

pub use matrix::{CkaMatrix, UndefinedCell};
use retune_analysis::cka::{Alignment, Estimate, Estimator, Gram, Kernel, Rows};
use retune_pixels::preprocess::Preprocessing;
use retune_random::generator;

use crate::inference::layers::{Positions, for_each_batch_at};
use crate::inference::{InferenceError, Layer};
use crate::loading::{CacheOptions, Loader, LoaderOptions, MemoryBudget};
use crate::models::Model;
use crate::monitor::{Monitor, Silent};
use crate::sources::{DataError, Dataset};

/// The smallest minibatch, whatever the memory: below, single minibatches say little.
const MIN_MINIBATCH: usize = 16;
/// Keeps the choice of images apart from the choice of halves for intervals.
const CHOICE: u64 = 0x636b_615f_696d_6167;

/// A model that looks at images in a certain way.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// Its name in tables.
    pub name: String,
    /// The model.
    pub model: &'a Model,
    /// How images are prepared, which need not be the model's own way.
    pub preprocessing: Preprocessing,
}

/// How CKA is computed.
#[derive(Clone, Debug, PartialEq)]
pub struct CkaOptions {
    /// The kernel.
    pub kernel: Kernel,
    /// The estimator.
    pub estimator: Estimator,
    /// Whether blocks are compared by all values of their outputs (as Kornblith et al. do) or by the mean over positions.
    pub positions: Positions,
    /// Halves of the images that intervals are made from; 0 for none.
    pub resamples: usize,
    /// The most images that are looked at, picked by the seed; `None` for all.
    pub max_images: Option<usize>,
    /// The seed.
    pub seed: u64,
    /// Images that go through a model at a time.
    pub batch_size: usize,
    /// Threads that decode images.
    pub threads: usize,
    /// Bytes for features and kernel matrices. Fewer make smaller minibatches.
    pub memory: u64,
}

impl Default for CkaOptions {
    fn default() -> Self {
        Self {
            kernel: Kernel::Linear,
            estimator: Estimator::Debiased,
            positions: Positions::All,
            resamples: 200,
            max_images: None,
            seed: 0,
            batch_size: 32,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            memory: 1 << 30,
        }
    }
}

/// Why representations could not be compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelCkaError {
    /// A pass over the images ended early.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// There are fewer images than the estimator needs.
    #[error(transparent)]
    Undefined(#[from] retune_analysis::cka::Undefined),
    /// The biased estimator needs all images at once.
    #[error(
        "the biased estimator needs all {images} images at once, and {fitting} fit in {memory} MiB: take fewer images, \
         more memory, the mean over positions, or the debiased estimator"
    )]
    Biased {
        /// Images asked for.
        images: usize,
        /// Images that fit.
        fitting: usize,
        /// The memory allowed.
        memory: u64,
    },
}

impl From<DataError> for ModelCkaError {
    fn from(error: DataError) -> Self {
        Self::Inference(error.into())
    }
}

/// How near to 1 a value is whose two sides are the same numbers, after rounding in double precision.
const SAME: f64 = 1e-12;
const NO_DIFFERENCE: &str = "every value is 1: the model sees the same pixels each time; images that have the model's \
                             size already are not resized";

/// Compares views of the same images with each other: a symmetric matrix for each layer.
///
/// # Errors
/// Images that cannot be loaded, outputs that are not finite, an interruption; too few images, or more than the biased
/// estimator can take.
pub fn between_views(
    views: &[View],
    layers: &[(String, Layer)],
    dataset: &Dataset,
    options: &CkaOptions,
    monitor: &dyn Monitor,
) -> Result<Vec<CkaMatrix>, ModelCkaError> {
    let sources: Vec<Source> = views.iter().map(|view| Source { view, layers }).collect();
    let representation = |view: usize, layer: usize| view * layers.len() + layer;
    let of_layer = |layer: usize| {
        let rows = 0..views.len();
        rows.flat_map(move |row| (row..views.len()).map(move |column| [(row, layer), (column, layer)]))
    };
    let pairs = (0..layers.len()).flat_map(of_layer).map(|pair| {
        let [one, other] = pair.map(|(view, layer)| representation(view, layer));
        (one, other)
    });
    let measured = measure(&sources, pairs.collect(), dataset, options, monitor)?;
    let names: Vec<String> = views.iter().map(|view| view.name.clone()).collect();
    let each = measured.estimates.chunks(views.len() * (views.len() + 1) / 2).zip(layers);
    Ok(each
        .map(|(estimates, (layer, _))| {
            let mut matrix = matrix::symmetric(names.clone(), Some(layer.clone()), estimates, &measured, options);
            if views.len() > 1 && estimates.iter().all(|one| one.value.is_ok_and(|cka| (cka - 1.0).abs() < SAME)) {
                matrix.warnings.push(NO_DIFFERENCE.to_owned());
            }
            matrix
        })
        .collect())
}

/// Compares a view's layers with each other: a symmetric matrix.
///
/// # Errors
/// As [`between_views`].
pub fn between_layers(
    view: &View,
    layers: &[(String, Layer)],
    dataset: &Dataset,
    options: &CkaOptions,
    monitor: &dyn Monitor,
) -> Result<CkaMatrix, ModelCkaError> {
    let pairs = (0..layers.len()).flat_map(|row| (row..layers.len()).map(move |column| (row, column)));
    let measured = measure(&[Source { view, layers }], pairs.collect(), dataset, options, monitor)?;
    let names = layers.iter().map(|(name, _)| name.clone()).collect();
    Ok(matrix::symmetric(names, None, &measured.estimates, &measured, options))
}

/// Compares the layers of one view, in rows, with those of another, in columns. What the models have learned shows only
/// where both views prepare images alike.
///
/// # Errors
/// As [`between_views`].
pub fn between_models(
    (view, layers): (&View, &[(String, Layer)]),
    (other, other_layers): (&View, &[(String, Layer)]),
    dataset: &Dataset,
    options: &CkaOptions,
    monitor: &dyn Monitor,
) -> Result<CkaMatrix, ModelCkaError> {
    let sources = [Source { view, layers }, Source { view: other, layers: other_layers }];
    let columns = layers.len()..layers.len() + other_layers.len();
    let pairs = (0..layers.len()).flat_map(|row| columns.clone().map(move |column| (row, column)));
    let measured = measure(&sources, pairs.collect(), dataset, options, monitor)?;
    let names = |layers: &[(String, Layer)]| layers.iter().map(|(name, _)| name.clone()).collect();
    let mut matrix = matrix::rectangular(names(layers), names(other_layers), &measured, options);
    matrix.preprocessing = (view.preprocessing == other.preprocessing).then(|| view.preprocessing.clone());
    Ok(matrix)
}

/// The layers at which a view is looked at.
struct Source<'a> {
    view: &'a View<'a>,
    layers: &'a [(String, Layer)],
}

struct Measured {
    estimates: Vec<Estimate>,
    images: usize,
    minibatches: usize,
}

/// Compares pairs of representations, which are numbered through all layers of the first source, then of the second.
fn measure(
    sources: &[Source],
    pairs: Vec<(usize, usize)>,
    dataset: &Dataset,
    options: &CkaOptions,
    monitor: &dyn Monitor,
) -> Result<Measured, ModelCkaError> {
    let representations = sources.iter().map(|source| source.layers.len()).sum();
    let plan = Minibatches::plan(dataset, options, representations, || widest(sources, dataset, options))?;
    let minibatches = plan.chosen.len();
    let mut alignment = Alignment::new(representations, pairs, options.estimator, options.resamples, options.seed);
    monitor.start("comparing representations", plan.images * sources.len());
    for chosen in plan.chosen {
        let part = dataset.select(&chosen);
        let mut grams = Vec::with_capacity(representations);
        for source in sources {
            let features = features(source, part.clone(), options, monitor)?;
            // A layer's features go as soon as its kernel matrix is there.
            grams.extend(features.into_iter().map(|values| {
                let width = values.len() / chosen.len();
                Gram::of(Rows { values: &values, width }, options.kernel)
            }));
        }
        alignment.add(grams);
    }
    monitor.finish();
    Ok(Measured { estimates: alignment.finish(), images: plan.images, minibatches })
}

/// What a view makes of images, at each layer.
fn features(
    source: &Source,
    images: Dataset,
    options: &CkaOptions,
    monitor: &dyn Monitor,
) -> Result<Vec<Vec<f32>>, InferenceError> {
    let loader = source.view.loader(images, options.batch_size, options.threads)?;
    let layers: Vec<Layer> = source.layers.iter().map(|(_, layer)| *layer).collect();
    let mut features = vec![Vec::new(); layers.len()];
    for_each_batch_at(source.view.model, &loader, &layers, options.positions, monitor, |_, outputs| {
        for (features, output) in features.iter_mut().zip(outputs) {
            features.extend(output);
        }
    })?;
    Ok(features)
}

/// Values of an image at all layers of the source that has most.
fn widest(sources: &[Source], dataset: &Dataset, options: &CkaOptions) -> Result<usize, ModelCkaError> {
    let mut widest = 0;
    for source in sources {
        let one = features(source, dataset.select(&[0]), options, &Silent)?;
        widest = widest.max(one.iter().map(Vec::len).sum());
    }
    Ok(widest)
}

/// Which images go through together.
pub(crate) struct Minibatches {
    /// The images of each, as positions in the dataset, in order.
    pub chosen: Vec<Vec<usize>>,
    /// All images.
    pub images: usize,
}

impl Minibatches {
    /// Picks images by the seed, and cuts them into as few minibatches as the memory allows: half of it is for features,
    /// `width` values for each image, half for kernel matrices.
    pub fn plan(
        dataset: &Dataset,
        options: &CkaOptions,
        representations: usize,
        width: impl FnOnce() -> Result<usize, ModelCkaError>,
    ) -> Result<Self, ModelCkaError> {
        let images = options.max_images.unwrap_or(usize::MAX).min(dataset.len());
        if images < options.estimator.fewest_images() {
            return Err(
                retune_analysis::cka::Undefined::TooFewImages { n: images, estimator: options.estimator }.into()
            );
        }
        let half = (options.memory / 2) as f64;
        // Beside the matrices: those of a half of the images, or a second set, centered for the debiased value.
        let copies = if options.estimator == Estimator::Biased { 2.0 } else { 1.25 };
        let by_grams = (half / (copies * (representations * size_of::<f64>()) as f64)).sqrt();
        let by_features = half / (width()?.max(1) * size_of::<f32>()) as f64;
        let fitting = (by_grams.min(by_features) as usize).max(MIN_MINIBATCH);
        let count = images.div_ceil(fitting);
        if count > 1 && options.estimator == Estimator::Biased {
            return Err(ModelCkaError::Biased { images, fitting, memory: options.memory >> 20 });
        }
        // In random order, so that each minibatch is a sample of all images, and not one class.
        let order = index::sample(&mut generator(options.seed, &[CHOICE]), dataset.len(), images).into_vec();
        let minibatch = |number: usize| {
            // Of equal size, but for one image. In the data's order, which reads faster.
            let mut chosen = order[number * images / count..(number + 1) * images / count].to_vec();
            chosen.sort_unstable();
            chosen
        };
        Ok(Self { chosen: (0..count).map(minibatch).collect(), images })
    }
}

impl View<'_> {
    /// A loader that goes through the images once, keeping nothing.
    pub fn loader(&self, images: Dataset, batch_size: usize, threads: usize) -> Result<Loader, DataError> {
        let nothing = CacheOptions { memory: MemoryBudget::of_bytes(0), disk_bytes: 0, disk_folder: None };
        let deterministic = LoaderOptions::deterministic(self.preprocessing.clone(), batch_size);
        Loader::new(images, LoaderOptions { threads, cache: nothing, ..deterministic })
    }
}
