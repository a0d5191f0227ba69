//! `retune demo`: every method on two shifted tasks, from data that the program carries.
//!
//! The backbone was pretrained with this very tool on Fashion-MNIST's 60,000 training images
//! (`scripts/demo_backbone.sh`); the tasks are cut from its 10,000 test images
//! (`scripts/fashion_mnist_shifts.py`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use image::RgbImage;
use retune::compare::{Comparison, MethodRow, table};
use retune::data::augment::{AugmentPolicy, Augmentation};
use retune::data::mix::Mix;
use retune::data::split::{SplitFractions, stratified_split};
use retune::data::{Dataset, ImageSource, Sample};
use retune::device;
use retune::fit::{self, FitData, FitError, Summary};
use retune::methods::layers::LayerSelection;
use retune::methods::{self, Method, MethodOptions, MethodSpec};
use retune::models::{HeadInitialization, Model};
use retune::monitor::Monitor;
use retune::train::optimizer::OptimizerOptions;
use retune::train::options::{ActivationOptions, BatchNormPolicy, Keep, Precision, TrainOptions};
use retune::train::{Shared, TrainError, Trainer};
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Console;

const BACKBONE_CONFIG: &str = include_str!("../../assets/demo/backbone/config.json");
const BACKBONE_WEIGHTS: &[u8] = include_bytes!("../../assets/demo/backbone/model.safetensors");
const IMAGES: &[u8] = include_bytes!("../../assets/demo/images.png");
const CORRUPTED: &[u8] = include_bytes!("../../assets/demo/corrupted.png");
const LABELS: &[u8] = include_bytes!("../../assets/demo/labels.bin");

/// Side of an image in the columns of tiles.
const SIDE: u32 = 28;
/// Images before this one are for training and validation, the others for testing.
const FIRST_TEST_IMAGE: usize = 3_000;
/// Images to train and validate on; few, as in the shifted tasks that the papers study.
const TRAINING_IMAGES: usize = 1_000;
const VALIDATION_FRACTION: f64 = 0.25;
const EPOCHS: usize = 4;
const LEARNING_RATES: [f64; 2] = [1e-3, 3e-3];

const GARMENTS: [&str; 10] =
    ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"];
const GROUPS: [&str; 3] = ["top", "shoe", "long"];

/// Fashion-MNIST's labels that belong to each group: seen in training, and only in the shifted set.
const SUBCLASSES: [(&[u8], &[u8]); 3] = [(&[0, 4], &[2, 6]), (&[5, 7], &[9]), (&[1], &[3])];

/// Options of `retune demo`.
#[derive(Args)]
pub struct DemoArguments {
    /// Seed of everything random
    #[arg(long, value_name = "N", default_value = "0")]
    seed: u64,
}

/// A task with a set like its training images and one that is shifted.
struct Task {
    name: &'static str,
    title: &'static str,
    train: Dataset,
    test: Dataset,
    shifted: Dataset,
    /// First and last layer of surgical fine-tuning.
    surgical: [&'static str; 2],
}

#[derive(Serialize)]
struct TaskResults {
    task: &'static str,
    runs: Vec<Summary>,
}

/// Fits each method on each task and prints the tables.
pub fn run(arguments: &DemoArguments, console: &Console) -> Result<(), Failure> {
    let device = device::by_name("cpu").map_err(|error| Failure::Mistake(error.to_string()))?;
    let backbone = Model::from_contents(BACKBONE_CONFIG, BACKBONE_WEIGHTS, &device)?;
    let mut results = Vec::new();
    let mut text = String::new();
    for task in [subpopulation_shift()?, input_shift()?] {
        let mut runs = Vec::new();
        let shared = Shared::default();
        for spec in specs(&task) {
            console.progress.message(&format!("{}: {}", task.name, spec.label()));
            let summary = fit(&task, &spec, &backbone, arguments.seed, &shared, console)?;
            runs.push(Summary { method: spec.label(), ..summary });
        }
        text.push_str(&describe(&task, &runs));
        results.push(TaskResults { task: task.name, runs });
    }
    text.push_str("OOD sets chose nothing: rates and epochs were chosen on images held out from training.\n");
    text.push_str("On your own images: retune fit --model MODEL --data IMAGES --eval shifted=OTHER_IMAGES --out RUN\n");
    console.print(&results, || text)
}

/// Every method; surgical with the layers that Lee et al. 2023 found best for such a shift.
fn specs(task: &Task) -> Vec<MethodSpec> {
    let layers = LayerSelection::Range { first: Some(task.surgical[0].into()), last: Some(task.surgical[1].into()) };
    let spec = |method| match method {
        Method::Surgical => MethodSpec { method, layers: layers.clone() },
        _ => MethodSpec { method, layers: LayerSelection::All },
    };
    methods::ALL.into_iter().map(spec).collect()
}

fn fit(
    task: &Task,
    spec: &MethodSpec,
    backbone: &Model,
    seed: u64,
    shared: &Shared,
    console: &Console,
) -> Result<Summary, Failure> {
    let fractions = SplitFractions { validation: VALIDATION_FRACTION, test: 0.0 };
    let split = stratified_split(&task.train.samples, fractions, seed)?;
    let data = FitData {
        train: task.train.select(&split.train),
        validation: task.train.select(&split.validation),
        evaluations: vec![("test".into(), task.test.clone()), ("shifted".into(), task.shifted.clone())],
    };
    let model = backbone.with_classes(&data.train.classes, HeadInitialization::Zeros, seed)?;
    let method_options =
        MethodOptions { epochs: EPOCHS, learning_rates: LEARNING_RATES.into(), ..MethodOptions::default() };
    let plan = spec
        .method
        .plan(model.blocks(), &spec.options(&method_options))
        .map_err(|error| Failure::Mistake(error.to_string()))?;
    let options = train_options(seed, console.threads);
    let trainer = Trainer {
        plan: &plan,
        options: &options,
        train: &data.train,
        validation: &data.validation,
        directory: None,
        shared: Some(shared),
        monitor: &console.progress,
    };
    let trained = trainer.run(model, false).map_err(of_training)?;
    Ok(fit::summarize(&plan, &options, &trained, &data, &console.progress)?)
}

fn of_training(error: TrainError) -> Failure {
    // Nothing of the demo is kept on disk, so there is nothing to go on with.
    FitError::from(error).into()
}

fn train_options(seed: u64, threads: usize) -> TrainOptions {
    TrainOptions {
        seed,
        batch_size: 64,
        shuffle: true,
        optimizer: OptimizerOptions::default(),
        clip_norm: None,
        batch_norm: BatchNormPolicy::Frozen,
        keep: Keep::Best,
        label_smoothing: 0.0,
        balanced_classes: false,
        augmentation: Augmentation::new(AugmentPolicy::None),
        mix: Mix::default(),
        checkpoint_every: None,
        cache_bytes: 64 << 20,
        precision: Precision::Float32,
        activations: ActivationOptions::default(),
        threads,
    }
}

/// Groups of garments; some of their subclasses are only in the shifted set.
fn subpopulation_shift() -> Result<Task, Failure> {
    let tiles = tiles(IMAGES)?;
    let group_of = |wanted_seen: bool| {
        move |label: u8| {
            SUBCLASSES.iter().position(|(seen, unseen)| if wanted_seen { seen } else { unseen }.contains(&label))
        }
    };
    Ok(Task {
        name: "subpopulation shift",
        title: "groups of garments; the shifted images are of subclasses that training never showed",
        train: dataset(&tiles, 0, TRAINING_IMAGES, &GROUPS, group_of(true)),
        test: dataset(&tiles, FIRST_TEST_IMAGE, tiles.len(), &GROUPS, group_of(true)),
        shifted: dataset(&tiles, FIRST_TEST_IMAGE, tiles.len(), &GROUPS, group_of(false)),
        surgical: ["layer2", "layer3"],
    })
}

/// Ten garments; the shifted images are corrupted.
fn input_shift() -> Result<Task, Failure> {
    let tiles = tiles(IMAGES)?;
    let corrupted = self::tiles(CORRUPTED)?;
    let own = |label: u8| Some(usize::from(label));
    let mut at_test = tiles[..FIRST_TEST_IMAGE].to_vec();
    at_test.extend(corrupted);
    Ok(Task {
        name: "input shift",
        title: "ten garments; the shifted images are noisy, blurred or of low contrast",
        train: dataset(&tiles, 0, TRAINING_IMAGES, &GARMENTS, own),
        test: dataset(&tiles, FIRST_TEST_IMAGE, tiles.len(), &GARMENTS, own),
        shifted: dataset(&at_test, FIRST_TEST_IMAGE, at_test.len(), &GARMENTS, own),
        surgical: ["stem", "layer1"],
    })
}

/// The images of a column of square tiles.
fn tiles(png: &[u8]) -> Result<Vec<Arc<RgbImage>>, Failure> {
    let column = image::load_from_memory(png)
        .map_err(|error| Failure::Mistake(format!("the demo's images are damaged: {error}")))?
        .into_rgb8();
    let tile = |top: u32| Arc::new(image::imageops::crop_imm(&column, 0, top, SIDE, SIDE).to_image());
    Ok((0..column.height() / SIDE).map(|index| tile(index * SIDE)).collect())
}

/// The tiles `first..end` whose label belongs to a class.
fn dataset(
    tiles: &[Arc<RgbImage>],
    first: usize,
    end: usize,
    classes: &[&str],
    class_of: impl Fn(u8) -> Option<usize>,
) -> Dataset {
    let samples = (first..end).filter_map(|index| {
        let label = class_of(*LABELS.get(index)?)?;
        Some(Sample {
            image: ImageSource::Memory(tiles[index].clone()),
            label: Some(label),
            group: None,
            name: format!("{index:04}").into(),
        })
    });
    let classes = classes.iter().map(|&name| name.to_owned()).collect();
    Dataset { root: PathBuf::from(Path::new("demo")), classes, samples: samples.collect(), corruptions: Vec::new() }
}

fn describe(task: &Task, runs: &[Summary]) -> String {
    let row = |run: &Summary| MethodRow { label: run.method.clone(), runs: [(run.seed, run.clone())].into() };
    let comparison = Comparison::new(runs.iter().map(row).collect(), &["shifted".to_owned()]);
    let images = runs.first().map_or(0, |run| run.training_images);
    format!("{} ({images} training images)\n{}\n\n{}\n", task.name, task.title, table::text(&comparison))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tasks_share_no_image_between_training_and_testing() {
        for task in [subpopulation_shift().unwrap(), input_shift().unwrap()] {
            let names = |dataset: &Dataset| -> Vec<usize> {
                dataset.samples.iter().map(|sample| sample.name.parse().unwrap()).collect()
            };
            assert!(names(&task.train).iter().all(|&index| index < FIRST_TEST_IMAGE));
            assert!(names(&task.test).iter().chain(&names(&task.shifted)).all(|&index| index >= FIRST_TEST_IMAGE));
            assert!(task.train.class_counts().iter().all(|&count| count > 50), "{:?}", task.train.class_counts());
            assert!(task.shifted.class_counts().iter().all(|&count| count > 50));
        }
    }
}
