//! Several processes against one. Threads stand in for processes here; `crates/retune-cli/tests/program/mpi.rs` has real ones.

use std::num::NonZeroUsize;
use std::path::Path;

use image::{Rgb, RgbImage};

use crate::collective::Processes;
use crate::collective::threads::on_threads;
use crate::methods::{Method, MethodOptions};
use crate::models::{HeadInitialization, Model};
use crate::monitor::{Monitor, Silent};
use crate::sources::Dataset;
use crate::train::options::TrainOptions;
use crate::train::{TrainError, Trained, Trainer};

mod batch_norm;
mod linear_probe;

/// Noisy images of two colors, more of one than of the other. 22 images in batches of 8 leave a last one of 6.
fn images(count: u32) -> Dataset {
    let image = |number: u32| {
        let class = usize::from(number.is_multiple_of(3));
        let image = RgbImage::from_fn(24, 24, |x, y| {
            let noise = ((x * 7 + y * 13 + number * 29) % 50) as u8;
            let mut channels = [noise, noise, 30];
            channels[class] = 200 - noise;
            Rgb(channels)
        });
        (image, Some(class))
    };
    Dataset::from_images((0..count).map(image), ["red", "green"].map(str::to_owned).to_vec()).unwrap()
}

fn model(name: &str) -> Model {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(name);
    let model = Model::load(&folder, None, Clone::clone, &crate::device::by_name("cpu").unwrap()).unwrap();
    let classes = ["red", "green"].map(str::to_owned);
    model.with_classes(&classes, HeadInitialization::Normal, 1).unwrap()
}

/// Two epochs with all that depends on the images of a batch together: class weights, clipping, and an uneven last batch.
fn options(batch_size: usize, accumulate: usize) -> TrainOptions {
    TrainOptions {
        batch_size,
        accumulate: NonZeroUsize::new(accumulate).unwrap(),
        balanced_classes: true,
        clip_norm: Some(1.0),
        threads: 1,
        ..TrainOptions::default()
    }
}

fn trained(method: &str, options: &TrainOptions, monitor: &dyn Monitor) -> Result<Trained, TrainError> {
    trained_from(model("resnet_basic"), 1e-3, method, options, monitor)
}

fn trained_from(
    model: Model,
    learning_rate: f64,
    method: &str,
    options: &TrainOptions,
    monitor: &dyn Monitor,
) -> Result<Trained, TrainError> {
    let method: Method = method.parse().unwrap();
    let mut plan = MethodOptions { epochs: 2, learning_rates: vec![learning_rate], ..MethodOptions::default() };
    if method == Method::SURGICAL {
        plan.layers = "layer1..layer2".parse().unwrap();
    }
    let plan = method.plan(model.blocks(), &plan).unwrap();
    Trainer::new(&images(22), &images(7)).options(options.clone()).run(&plan, model, monitor)
}

fn bits(trained: &Trained) -> Vec<u32> {
    let parameters = &trained.model.parameters;
    (0..parameters.specs().len()).flat_map(|index| parameters.values(index)).map(f32::to_bits).collect()
}

/// The weights of each of several processes.
fn of_processes(size: usize, method: &str, options: &TrainOptions) -> Vec<Vec<u32>> {
    on_threads(size, |processes: &Processes| {
        let options = TrainOptions { processes: processes.clone(), ..options.clone() };
        bits(&trained(method, &options, &Silent).unwrap())
    })
}

const METHODS: [&str; 8] = ["ft", "lp", "lp-ft", "surgical", "auto-rgn", "auto-snr", "discriminative", "lora"];

/// An update is the sum over batches, in their order, whoever computes them.
#[test]
fn with_a_batch_for_each_process_weights_are_those_of_one_process() {
    for method in METHODS {
        let options = options(3, 3);
        let alone = bits(&trained(method, &options, &Silent).unwrap());
        for size in [2, 3] {
            for of_process in of_processes(size, method, &options) {
                assert!(of_process == alone, "{method} by {size} processes");
            }
        }
    }
}

/// Half a batch at a time is what two smaller batches are, whose gradients add up.
#[test]
fn a_batch_that_is_divided_counts_as_the_sum_of_smaller_ones() {
    let alone = bits(&trained("ft", &options(4, 2), &Silent).unwrap());
    for of_process in of_processes(2, "ft", &options(8, 1)) {
        assert!(of_process == alone);
    }
}

/// Another order of sums in single precision. Two epochs of six steps make 1e-6 of it.
#[test]
fn a_batch_that_is_divided_gives_nearly_the_weights_of_a_whole_one() {
    let values = |bits: &[u32]| bits.iter().map(|&bits| f64::from(f32::from_bits(bits))).collect::<Vec<f64>>();
    let norm = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>().sqrt();
    // Adam divides by the size of a gradient, which makes much of the last bits of a small one.
    let mut options = options(8, 1);
    options.optimizer.kind = crate::train::optimizer::OptimizerKind::Sgd;
    let alone = values(&bits(&trained("ft", &options, &Silent).unwrap()));
    for size in [2, 3] {
        let divided = values(&of_processes(size, "ft", &options)[0]);
        let apart: Vec<f64> = divided.iter().zip(&alone).map(|(one, other)| one - other).collect();
        let difference = norm(&apart) / norm(&alone);
        assert!(difference > 0.0 && difference < 1e-5, "{difference:e}");
    }
}

/// Asked to stop, one process stops all, at the same step.
#[test]
fn an_interruption_of_one_process_ends_all() {
    struct StopsOne(bool);
    impl Monitor for StopsOne {
        fn start(&self, _: &str, _: usize) {}
        fn advance(&self, _: usize) {}
        fn finish(&self) {}
        fn message(&self, _: &str) {}
        fn canceled(&self) -> bool {
            self.0
        }
    }
    let ended = on_threads(3, |processes: &Processes| {
        let options = TrainOptions { processes: processes.clone(), ..options(8, 1) };
        let here = StopsOne(processes.rank() == 2);
        let monitor = crate::train::together::Together { processes, monitor: &here };
        matches!(trained("ft", &options, &monitor), Err(TrainError::Interrupted))
    });
    assert_eq!(ended, [true; 3]);
}
