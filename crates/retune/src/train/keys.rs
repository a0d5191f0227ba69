//! Keys: short hashes that tell whether two runs, two loaders or two models agree in all that a result depends on.
//!
//! [`Recipe`] lists what a checkpoint's key covers; the key is a hash of it as JSON. Older checkpoints cannot be read after a
//! change there, so raise the checkpoint's format with it. A test fails if you forget.

use burn::tensor::Device;
use retune_pixels::augment::{AugmentPolicy, Augmentation};
use retune_pixels::corruption::Corruption;
use retune_pixels::preprocess::Preprocessing;
use serde::Serialize;

use super::Trainer;
use super::budget::Budget;
use super::checkpoint::FORMAT;
use super::optimizer::OptimizerOptions;
use super::options::{BatchNormPolicy, Keep, Precision, Sampling, TrainOptions};
use super::state::State;
use crate::device::DeviceError;
use crate::inference::Metric;
use crate::loading::LoaderOptions;
use crate::loading::mix::Mix;
use crate::models::Model;
use crate::plan::Plan;
use crate::sources::{Dataset, ImageSource, Sample};

/// Everything besides the images that a run's numbers depend on, but for the processor. What only changes speed and memory
/// may change between a stop and going on, and is not here.
#[derive(Serialize)]
struct Recipe<'a> {
    version: u32,
    plan: &'a Plan,
    preprocessing: &'a Preprocessing,
    device: String,
    fused_kernels: bool,
    seed: u64,
    batch_size: usize,
    shuffle: bool,
    optimizer: &'a OptimizerOptions,
    clip_norm: Option<f64>,
    batch_norm: BatchNormPolicy,
    keep: Keep,
    #[serde(skip_serializing_if = "Metric::is_default")]
    select: Metric,
    label_smoothing: f64,
    balanced_classes: bool,
    augmentation: &'a Augmentation,
    mix: &'a Mix,
    precision: Precision,
    #[serde(skip_serializing_if = "Option::is_none")]
    frozen_precision: Option<Precision>,
    activations_in_16_bits: bool,
    /// With activations in 16 bits, what there is room for decides what is rounded.
    activation_bytes: Option<u64>,
    views: Option<usize>,
    // What was added since the format: absent where it is as it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    accumulate: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sampling: Option<Sampling>,
    #[serde(skip_serializing_if = "Option::is_none")]
    drop_path: Option<f64>,
    /// Whether there is one decides on the order of a search.
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<Budget>,
}

/// What a checkpoint's plan and options must be the same in.
pub(super) fn recipe_key(
    plan: &Plan,
    options: &TrainOptions,
    preprocessing: &Preprocessing,
    device: &Device,
    fused_kernels: bool,
) -> u64 {
    hash_of(&Recipe {
        version: FORMAT,
        plan,
        preprocessing,
        device: if *device == Device::flex() { "cpu".to_owned() } else { format!("{device:?}") },
        fused_kernels,
        seed: options.seed,
        batch_size: options.batch_size,
        shuffle: options.shuffle,
        optimizer: &options.optimizer,
        clip_norm: options.clip_norm,
        batch_norm: options.batch_norm,
        keep: options.keep,
        select: options.select,
        label_smoothing: options.label_smoothing,
        balanced_classes: options.balanced_classes,
        augmentation: &options.augmentation,
        mix: &options.mix,
        precision: options.precision,
        frozen_precision: Some(options.frozen_precision).filter(|precision| *precision != Precision::Float32),
        activations_in_16_bits: options.activations.half,
        activation_bytes: options.activations.half.then_some(options.activations.memory_bytes),
        views: options.activations.views,
        accumulate: Some(options.accumulate.get()).filter(|count| *count > 1),
        sampling: Some(options.sampling).filter(|sampling| *sampling != Sampling::All),
        drop_path: options.drop_path,
        budget: options.budget,
    })
}

/// What a loader's batches depend on besides its samples.
#[derive(Serialize)]
struct Pipeline<'a> {
    corruptions: &'a [Corruption],
    classes: &'a [String],
    preprocessing: &'a Preprocessing,
    augmentation: &'a Augmentation,
    mix: &'a Mix,
    label_smoothing: f64,
    batch_size: usize,
    /// Without anything random the seed changes nothing.
    seed: Option<u64>,
}

/// What a loader's batches depend on.
pub(super) fn loader_key(dataset: &Dataset, options: &LoaderOptions) -> u64 {
    let random = options.augmentation.policy != AugmentPolicy::None || options.mix != Mix::default();
    let pipeline = hash_of(&Pipeline {
        corruptions: &dataset.corruptions,
        classes: &dataset.classes,
        preprocessing: &options.preprocessing,
        augmentation: &options.augmentation,
        mix: &options.mix,
        label_smoothing: options.label_smoothing,
        batch_size: options.batch_size,
        seed: random.then_some(options.seed),
    });
    let root = retune_random::hash(dataset.root.as_os_str().as_encoded_bytes());
    samples_key(&dataset.samples, combined(&[pipeline, root]))
}

/// What a run's images must be the same in.
pub(super) fn images_key(train: &Dataset, validation: &Dataset) -> u64 {
    samples_key(&train.samples, samples_key(&validation.samples, 0))
}

/// A list of images by their names, labels and groups, in order, and by the pixels of those in memory, because these may
/// have the names of others; `before` is the key of what else counts.
fn samples_key(samples: &[Sample], before: u64) -> u64 {
    let mut bytes = Vec::new();
    samples.iter().fold(before, |key, sample| {
        bytes.clear();
        bytes.extend(key.to_le_bytes());
        bytes.extend(sample.label.map_or(u64::MAX, |label| label as u64).to_le_bytes());
        if let ImageSource::Memory(image) = &sample.image {
            bytes.extend(image.width().to_le_bytes());
            bytes.extend(retune_random::hash(image.as_raw()).to_le_bytes());
        }
        bytes.extend(sample.name.as_bytes());
        // No name has a zero byte, so that name and group cannot run into each other.
        bytes.push(0);
        bytes.extend(sample.group.as_deref().unwrap_or_default().as_bytes());
        retune_random::hash(&bytes)
    })
}

/// What all processes of a run must begin with: plan, options, images, weights, and how far the run is.
///
/// # Errors
/// What the device failed in.
pub(super) fn start_key(trainer: &Trainer, plan: &Plan, state: &State) -> Result<u64, DeviceError> {
    let model = &state.model;
    let device = model.parameters.tensors()[0].device();
    let fused_kernels = retune_kernels::operators::are_enabled();
    let State { outcomes, candidate, training, .. } = state;
    let done = [outcomes.len(), *candidate, training.epoch, training.batch].map(|count| count as u64);
    let recipe = recipe_key(plan, &trainer.options, model.config().preprocessing(), &device, fused_kernels);
    let images = images_key(&trainer.train, &trainer.validation);
    Ok(combined(&[&[recipe, images, body_key(model, model.blocks().len())?][..], &done].concat()))
}

/// What the activations before `block` depend on besides the images, the model's precision included.
///
/// # Errors
/// What the device failed in.
pub(super) fn body_key(model: &Model, block: usize) -> Result<u64, DeviceError> {
    let specs = model.network().specs.iter().enumerate().filter(|(_, spec)| spec.block < block);
    let hashes: Vec<[u8; 8]> =
        specs.map(|(index, _)| Ok(model.parameters.hash(index)?.to_le_bytes())).collect::<Result<_, DeviceError>>()?;
    let hashes = hashes.into_flattened();
    let precision = match model.precision() {
        Precision::Float32 => "",
        reduced => reduced.name(),
    };
    Ok(retune_random::hash(&[model.config().architecture().as_bytes(), &hashes, precision.as_bytes()].concat()))
}

/// One key of several.
pub(super) fn combined(keys: &[u64]) -> u64 {
    let bytes: Vec<u8> = keys.iter().flat_map(|key| key.to_le_bytes()).collect();
    retune_random::hash(&bytes)
}

fn hash_of(value: &impl Serialize) -> u64 {
    let text = serde_json::to_vec(value).expect("numbers, names and lists of them can be written as JSON");
    retune_random::hash(&text)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::models::config::ModelConfig;
    use crate::sources::source::tests::memory_dataset;

    /// Checkpoints of this format hold this key for this recipe. If you change the plan, the options or their names and
    /// the key becomes another, raise [`FORMAT`]: users with an older checkpoint then read that it is from another version,
    /// and not that their plan changed. Then put the new key here.
    #[test]
    fn the_key_of_a_recipe_changes_with_the_format_alone() {
        let plan = Plan::from_toml(
            "method = 'by hand'\n[[phase]]\nname = 'all'\nsolver = 'gradient'\nepochs = 2\nlearning_rates = [1e-3]\n\
             rates = { head = 1.0 }\n",
        );
        let options = TrainOptions { threads: 1, ..TrainOptions::default() };
        let preprocessing: Preprocessing = serde_json::from_str(
            r#"{"width": 8, "height": 4, "interpolation": "bicubic", "crop_pct": 0.5, "crop_mode": "center",
                "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}"#,
        )
        .unwrap();
        let key =
            |options: &TrainOptions| recipe_key(plan.as_ref().unwrap(), options, &preprocessing, &Device::flex(), true);
        assert_eq!((FORMAT, key(&options)), (2, 1750937395355701788));
        assert_ne!(key(&TrainOptions { seed: 1, ..options.clone() }), key(&options));
        let frozen = TrainOptions { frozen_precision: Precision::Bfloat16, ..options.clone() };
        assert_ne!(key(&frozen), key(&options));
        assert_ne!(key(&TrainOptions { precision: Precision::Bfloat16, ..options.clone() }), key(&frozen));
        assert_eq!(key(&TrainOptions { threads: 7, checkpoint_every: Some(3), ..options.clone() }), key(&options));
    }

    #[test]
    fn bodies_are_told_apart_by_their_precision() {
        let cpu = crate::device::by_name("cpu").unwrap();
        let model = Model::from_scratch(None, Some("test_resnet"), Clone::clone, 0, &cpu).unwrap();
        let reduced = model.in_precision(Precision::Bfloat16);
        assert_ne!(body_key(&model, model.head()).unwrap(), body_key(&reduced, model.head()).unwrap());
        assert_eq!(body_key(&model, model.head()).unwrap(), body_key(&model.clone(), model.head()).unwrap());
    }

    #[test]
    fn images_in_memory_are_told_apart_by_their_pixels() {
        let one = memory_dataset(&[0, 1], 4, 4);
        let mut other = one.clone();
        let ImageSource::Memory(image) = &mut other.samples[1].image else { unreachable!() };
        Arc::make_mut(image).get_pixel_mut(2, 3).0[1] ^= 1;
        assert_eq!(one.samples[1].name, other.samples[1].name);
        assert_ne!(images_key(&one, &one), images_key(&one, &other));
        let preprocessing = ModelConfig::of_architecture("resnet18").unwrap().preprocessing().clone();
        let options = LoaderOptions::deterministic(preprocessing, 2);
        assert_eq!(loader_key(&one, &options), loader_key(&one.clone(), &options));
        assert_ne!(loader_key(&one, &options), loader_key(&other, &options));
    }
}
