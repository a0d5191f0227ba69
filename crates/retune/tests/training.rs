//! The trainer's promises, on a small model and images made here: frozen means frozen, a resumed
//! run ends with the same bits, threads change nothing, divergence is an error.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Device;
use image::RgbImage;
use retune::data::augment::{AugmentPolicy, Augmentation};
use retune::data::mix::Mix;
use retune::data::{Dataset, ImageSource, Sample};
use retune::fit;
use retune::inference;
use retune::methods::{Method, MethodOptions};
use retune::models::{HeadInitialization, Model, Role};
use retune::monitor::{Monitor, Silent};
use retune::plan::{Gradient, Phase, Plan, Schedule, Solver};
use retune::train::optimizer::OptimizerOptions;
use retune::train::options::{BatchNormPolicy, Keep, TrainOptions};
use retune::train::{TrainError, Trained, Trainer};

const CLASSES: [&str; 3] = ["stripes", "checks", "plain"];

fn model() -> Model {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/resnet_basic");
    let model = Model::load(&path, None, Clone::clone, &Device::flex()).unwrap();
    let classes: Vec<String> = CLASSES.iter().map(|&name| name.to_owned()).collect();
    model.with_classes(&classes, HeadInitialization::Zeros, 0).unwrap()
}

/// Patterns that a linear classifier of features can tell apart, with some noise in them.
fn images(count: usize) -> Dataset {
    let samples = (0..count).map(|index| {
        let label = index % CLASSES.len();
        let image = RgbImage::from_fn(33, 33, |x, y| {
            let noise = ((x * 31 + y * 17 + index as u32 * 7) % 40) as u8;
            let on = match label {
                0 => x % 4 < 2,
                1 => (x / 3 + y / 3) % 2 == 0,
                _ => true,
            };
            image::Rgb([if on { 180 + noise } else { noise }, noise, 90])
        });
        Sample {
            image: ImageSource::Memory(Arc::new(image)),
            label: Some(label),
            group: None,
            name: format!("{index}"),
        }
    });
    let classes = CLASSES.iter().map(|&name| name.to_owned()).collect();
    Dataset { root: PathBuf::new(), classes, samples: samples.collect() }
}

fn options() -> TrainOptions {
    TrainOptions {
        seed: 3,
        batch_size: 8,
        shuffle: true,
        optimizer: OptimizerOptions::default(),
        clip_norm: Some(1.0),
        batch_norm: BatchNormPolicy::Frozen,
        keep: Keep::Best,
        label_smoothing: 0.0,
        balanced_classes: false,
        augmentation: Augmentation::new(AugmentPolicy::None),
        mix: Mix::default(),
        checkpoint_every: None,
        cache_bytes: 1 << 20,
        threads: 2,
    }
}

fn train(
    plan: &Plan,
    options: &TrainOptions,
    directory: Option<&Path>,
    monitor: &dyn Monitor,
    resume: bool,
) -> Result<Trained, TrainError> {
    let (train, validation) = (images(42), images(12));
    Trainer { plan, options, train: &train, validation: &validation, directory, shared: None, monitor }
        .run(model(), resume)
}

fn gradient_plan(rates: &[(&str, f64)], learning_rates: &[f64]) -> Plan {
    let solver = Solver::Gradient(Gradient {
        epochs: 2,
        learning_rates: learning_rates.into(),
        schedule: Schedule::Cosine,
        warmup_epochs: 0.5,
        rates: rates.iter().map(|&(name, rate)| (name.to_owned(), rate)).collect(),
        ..Gradient::default()
    });
    Plan { method: "test".into(), phases: vec![Phase { name: "some blocks".into(), solver }] }
}

fn lp_ft() -> Plan {
    let options = MethodOptions { epochs: 2, learning_rates: vec![1e-3, 1e-4], ..MethodOptions::default() };
    Method::LpFt.plan(model().blocks(), &options).unwrap()
}

fn bits(model: &Model) -> Vec<(String, Vec<u32>)> {
    let specs = model.network().specs.iter().enumerate();
    specs
        .map(|(index, spec)| {
            (spec.name.clone(), model.parameters.values(index).into_iter().map(f32::to_bits).collect())
        })
        .collect()
}

#[test]
fn blocks_that_no_phase_trains_keep_every_bit() {
    for policy in [BatchNormPolicy::Frozen, BatchNormPolicy::Train, BatchNormPolicy::Recalibrate] {
        let plan = gradient_plan(&[("layer2.0", 1.0), ("head", 0.5)], &[1e-2]);
        let options = TrainOptions { batch_norm: policy, ..options() };
        let trained = train(&plan, &options, None, &Silent, false).unwrap().model;
        let before = bits(&model());
        for ((name, old), (_, new)) in before.iter().zip(bits(&trained)) {
            let spec = &trained.network().specs[trained.parameters.position(name).unwrap()];
            let block = &trained.blocks()[spec.block].name;
            let trains = ["layer2.0", "head"].contains(&block.as_str());
            let statistic_stays = spec.role == Role::Statistic && policy == BatchNormPolicy::Frozen;
            assert_eq!(*old != new, trains && !statistic_stays, "{policy:?}: {name}");
        }
    }
}

#[test]
fn a_linear_probe_changes_the_head_alone_and_learns() {
    let plan = Method::Lp.plan(model().blocks(), &MethodOptions::default()).unwrap();
    let trained = train(&plan, &options(), None, &Silent, false).unwrap();
    for ((name, old), (_, new)) in bits(&model()).into_iter().zip(bits(&trained.model)) {
        assert_eq!(old != new, name.starts_with("fc."), "{name}");
    }
    let told = &trained.phases[0].validation;
    assert!(told.accuracy > 0.9, "{told:?}");
    // What the phase says of its head, from the features, is what the whole model does.
    let loader = fit::evaluation_loader(images(12), &trained.model, 5, 1).unwrap();
    let measured = inference::evaluate(&trained.model, &loader, "validation", &Silent).unwrap();
    assert_eq!(told.accuracy, measured.accuracy);
    // Sums in another order and precision: a few units of float32's last place.
    assert!((told.loss - measured.loss).abs() < 1e-5, "{} is not {}", told.loss, measured.loss);
}

/// Asks to stop after so many images.
struct StopAfter {
    images: usize,
    seen: AtomicUsize,
}

impl Monitor for StopAfter {
    fn start(&self, _: &str, _: usize) {}
    fn advance(&self, units: usize) {
        self.seen.fetch_add(units, Ordering::Relaxed);
    }
    fn finish(&self) {}
    fn message(&self, _: &str) {}
    fn cancelled(&self) -> bool {
        self.seen.load(Ordering::Relaxed) >= self.images
    }
}

#[test]
fn a_resumed_run_ends_with_the_same_bits_wherever_it_stopped() {
    let plan = lp_ft();
    let options = TrainOptions {
        augmentation: Augmentation::new(AugmentPolicy::Standard),
        batch_norm: BatchNormPolicy::Train,
        ..options()
    };
    let whole = train(&plan, &options, None, &Silent, false).unwrap();
    // In the probe's features, in the first and in a later epoch, in validation.
    for stop in [10, 120, 150, 200, 260, 300] {
        let folder = tempfile::tempdir().unwrap();
        let monitor = StopAfter { images: stop, seen: AtomicUsize::new(0) };
        let stopped = train(&plan, &options, Some(folder.path()), &monitor, false);
        assert!(stopped.is_err(), "stopping after {stop} images came too late to test anything");
        let resumed = train(&plan, &options, Some(folder.path()), &Silent, true).unwrap();
        assert!(bits(&resumed.model) == bits(&whole.model), "stopped after {stop} images");
        assert_eq!(resumed.phases, whole.phases);
    }
}

#[test]
fn threads_do_not_change_the_result() {
    let plan = lp_ft();
    let of = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let options = TrainOptions { threads, ..options() };
        pool.install(|| bits(&train(&plan, &options, None, &Silent, false).unwrap().model))
    };
    assert!(of(1) == of(3));
}

#[test]
fn a_rate_that_diverges_is_left_out_and_all_diverging_is_an_error() {
    let everywhere: Vec<(String, f64)> = model().blocks().iter().map(|block| (block.name.clone(), 1.0)).collect();
    let everywhere: Vec<(&str, f64)> = everywhere.iter().map(|(name, rate)| (name.as_str(), *rate)).collect();
    let mut options = options();
    options.clip_norm = None;
    options.optimizer.kind = retune::train::optimizer::OptimizerKind::Sgd;
    let one_is_left = gradient_plan(&everywhere, &[1e30, 1e-3]);
    let trained = train(&one_is_left, &options, None, &Silent, false).unwrap();
    assert_eq!(trained.phases[0].learning_rate, Some(1e-3));
    let none_is_left = gradient_plan(&everywhere, &[1e30]);
    let error = train(&none_is_left, &options, None, &Silent, false).unwrap_err().to_string();
    assert!(error.contains("diverged") && error.contains("1e30"), "{error}");
}
