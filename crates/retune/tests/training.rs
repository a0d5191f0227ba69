//! The trainer's promises, on a small model and images made here: frozen means frozen, a resumed
//! run ends with the same bits, threads change nothing, divergence is an error.

mod common;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use burn::tensor::Device;
use common::StopAfter;
use image::RgbImage;
use indexmap::IndexMap;
use retune::inference::{self, Metric};
use retune::loading::mix::Mix;
use retune::loading::{Loader, LoaderOptions, Order};
use retune::methods::{Method, MethodOptions, ProbePhase};
use retune::models::{HeadInitialization, Model, Role};
use retune::monitor::{Messages, Monitor, Silent};
use retune::pixels::augment::{AugmentPolicy, Augmentation};
use retune::plan::{Averaging, Gradient, LowRank, Phase, Plan, Rung, Schedule, Search, Solver};
use retune::run;
use retune::sources::{Dataset, ImageSource, Sample};
use retune::train::metrics;
use retune::train::optimizer::{OptimizerKind, OptimizerOptions};
use retune::train::options::{ActivationOptions, BatchNormPolicy, Keep, Precision, TrainOptions};
use retune::train::{Shared, TrainError, Trained, Trainer};

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
            name: index.to_string().into(),
        }
    });
    let classes = CLASSES.iter().map(|&name| name.to_owned()).collect();
    Dataset { root: PathBuf::new(), classes, samples: samples.collect(), corruptions: Vec::new() }
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
        select: Metric::Accuracy,
        label_smoothing: 0.0,
        balanced_classes: false,
        augmentation: Augmentation::new(AugmentPolicy::None),
        mix: Mix::default(),
        checkpoint_every: None,
        cache_bytes: 1 << 20,
        precision: Precision::Float32,
        frozen_precision: Precision::Float32,
        activations: ActivationOptions::default(),
        threads: 2,
        ..TrainOptions::default()
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
    let mut trainer = Trainer::new(&train, &validation).options(options.clone());
    if let Some(directory) = directory {
        trainer = trainer.directory(directory);
    }
    if resume { trainer.resume(plan, model(), monitor) } else { trainer.run(plan, model(), monitor) }
}

fn gradient_plan(rates: &[(&str, f64)], learning_rates: &[f64]) -> Plan {
    let solver = Solver::Gradient(Gradient {
        epochs: 2,
        learning_rates: learning_rates.into(),
        schedule: Schedule::Cosine,
        warmup_epochs: 0.5,
        rate_factors: rates.iter().map(|&(name, rate)| (name.to_owned(), rate)).collect(),
        ..Gradient::default()
    });
    Plan { method: "test".into(), phases: vec![Phase { name: "some blocks".into(), solver }] }
}

fn lp_ft() -> Plan {
    let options = MethodOptions { epochs: 2, learning_rates: vec![1e-3, 1e-4], ..MethodOptions::default() };
    Method::LP_FT.plan(model().blocks(), &options).unwrap()
}

fn bits(model: &Model) -> Vec<(String, Vec<u32>)> {
    let specs = model.network().specs.iter().enumerate();
    specs
        .map(|(index, spec)| {
            (spec.name.clone(), model.parameters.values(index).into_iter().map(f32::to_bits).collect())
        })
        .collect()
}

/// Factors of the body's tensors in each epoch of Auto-RGN.
fn rate_factors(head: HeadInitialization, probe: ProbePhase) -> Vec<IndexMap<String, f64>> {
    let classes: Vec<String> = CLASSES.iter().map(|&name| name.to_owned()).collect();
    let model = model().with_classes(&classes, head, 0).unwrap();
    let options = MethodOptions { epochs: 3, learning_rates: vec![1e-3], probe, ..MethodOptions::default() };
    let plan = Method::AUTO_RGN.plan(model.blocks(), &options).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let trainer = Trainer::new(&images(42), &images(12)).options(self::options()).directory(folder.path());
    trainer.run(&plan, model, &Silent).unwrap();
    let rows = metrics::read(&folder.path().join("metrics.jsonl")).unwrap();
    let factors = rows.into_iter().filter_map(|row| row.rate_multipliers);
    factors.map(|epoch| epoch.into_iter().filter(|(name, _)| !name.starts_with("fc.")).collect()).collect()
}

/// The norms of a classifier's gradient and weights depend on how it began; what Auto-RGN makes of the layers below must
/// not, or it is a linear probe in disguise.
#[test]
fn rates_of_the_body_hardly_depend_on_how_the_head_began() {
    let zeros = rate_factors(HeadInitialization::Zeros, ProbePhase::Never);
    let normal = rate_factors(HeadInitialization::Normal, ProbePhase::Never);
    let probe = rate_factors(HeadInitialization::Zeros, ProbePhase::ByMethod);
    // From the second epoch on: in the first, no gradient comes through a head of zeros.
    for epoch in 1..3 {
        let mut logarithms = Vec::new();
        for (name, probed) in &probe[epoch] {
            for other in [&zeros, &normal] {
                let ratio = other[epoch][name] / probed;
                // Judged with a new head, the body's factors are hundreds of times smaller than after a probe.
                assert!((1.0 / 6.0..6.0).contains(&ratio), "epoch {epoch}: {name} has {ratio} times the factor");
                logarithms.push(ratio.ln().abs());
            }
        }
        let usual = (logarithms.iter().sum::<f64>() / logarithms.len() as f64).exp();
        assert!(usual < 2.5, "epoch {epoch}: factors differ {usual} times");
    }
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

/// Statistics of the trained block after epochs at a rate that leaves the weights where they are.
fn statistics_of(train: &Dataset, policy: BatchNormPolicy, batch_size: usize, average: Option<Averaging>) -> Vec<f32> {
    let mut plan = gradient_plan(&[("layer2.0", 1.0), ("head", 1.0)], &[1e-12]);
    let Solver::Gradient(gradient) = &mut plan.phases[0].solver else { unreachable!() };
    gradient.average = average;
    let options = TrainOptions { batch_norm: policy, batch_size, keep: Keep::Last, ..options() };
    let trainer = Trainer::new(train, &images(12)).options(options);
    let model = trainer.run(&plan, model(), &Silent).unwrap().model;
    let specs = model.parameters.specs().clone();
    let variances = specs
        .iter()
        .enumerate()
        .filter(|(_, spec)| model.blocks()[spec.block].name == "layer2.0" && spec.name.ends_with("running_var"));
    variances.flat_map(|(index, _)| model.parameters.values(index)).collect()
}

fn mean(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64
}

/// The variance within a batch of one class lacks that between classes. Two shuffles of the same images differ by which
/// images share a batch, which moves the mean variance by less than 2 %; batches of one class move it by far more.
#[test]
fn recalibration_does_not_depend_on_the_order_of_a_list() {
    let mixed = images(96);
    let mut sorted = mixed.clone();
    sorted.samples.sort_by_key(|sample| sample.label);
    let [one, other] =
        [&mixed, &sorted].map(|images| mean(&statistics_of(images, BatchNormPolicy::Recalibrate, 8, None)));
    assert!((one / other - 1.0).abs() < 0.02, "{one} is not {other}");
}

#[test]
fn a_batch_of_one_image_updates_no_statistics() {
    let before = statistics_of(&images(9), BatchNormPolicy::Frozen, 8, None);
    for policy in [BatchNormPolicy::Train, BatchNormPolicy::Recalibrate] {
        assert_eq!(statistics_of(&images(9), policy, 1, None), before, "{policy:?}");
        // Eight images and one over; with the ninth alone in its batch nothing of it is in the statistics, so they are
        // those that the batches of eight give.
        assert_ne!(statistics_of(&images(9), policy, 8, None), before, "{policy:?}");
    }
}

/// The image left over forms a batch of its own, whose variance is no estimate of anything: 33 images in batches of 32 once
/// had two thirds of the variance that 32 have. One image more moves the true variance by a few percent at most.
#[test]
fn one_image_more_than_a_batch_holds_leaves_the_statistics_as_they_are() {
    let of = |count| mean(&statistics_of(&images(count), BatchNormPolicy::Train, 32, None));
    let (whole, one_more) = (of(32), of(33));
    assert!((one_more / whole - 1.0).abs() < 0.1, "{one_more} is not {whole}");
}

/// While the weights stand still, an average over epochs has their statistics, and not a mixture with the pretrained ones, which two
/// epochs of momentum 0.1 leave.
#[test]
fn averaged_weights_have_statistics_of_their_own() {
    let images = images(48);
    let own = mean(&statistics_of(&images, BatchNormPolicy::Recalibrate, 8, None));
    let followed = mean(&statistics_of(&images, BatchNormPolicy::Train, 8, None));
    assert!((followed / own - 1.0).abs() > 0.02, "{followed} is too near {own} to tell");
    let averaged = mean(&statistics_of(&images, BatchNormPolicy::Train, 8, Some(Averaging::Epochs { from: 1 })));
    assert!((averaged / own - 1.0).abs() < 1e-4, "{averaged} is not {own}");
}

#[test]
fn a_linear_probe_changes_the_head_alone_and_learns() {
    let plan = Method::LP.plan(model().blocks(), &MethodOptions::default()).unwrap();
    let trained = train(&plan, &options(), None, &Silent, false).unwrap();
    for ((name, old), (_, new)) in bits(&model()).into_iter().zip(bits(&trained.model)) {
        assert_eq!(old != new, name.starts_with("fc."), "{name}");
    }
    let told = &trained.phases[0].validation;
    assert!(told.accuracy > 0.9, "{told:?}");
    // What the phase says of its head, from the features, is what the whole model does.
    let loader = run::evaluation_loader(images(12), &trained.model, 5, 1).unwrap();
    let measured = inference::evaluate(&trained.model, &loader, "validation", &Silent).unwrap();
    assert_eq!(told.accuracy, measured.accuracy);
    // Sums in another order and precision: a few units of float32's last place.
    assert!((told.loss - measured.loss).abs() < 1e-5, "{} is not {}", told.loss, measured.loss);
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

/// Plans that between them use everything that a checkpoint must keep.
fn plans_with_state() -> Vec<(Plan, TrainOptions)> {
    let methods = |method: Method, change: fn(&mut MethodOptions)| {
        let mut options = MethodOptions { epochs: 3, learning_rates: vec![1e-3, 1e-4], ..MethodOptions::default() };
        change(&mut options);
        method.plan(model().blocks(), &options).unwrap()
    };
    let nothing = |_: &mut MethodOptions| {};
    let trained = || TrainOptions { batch_norm: BatchNormPolicy::Train, ..options() };
    vec![
        (methods(Method::AUTO_RGN, nothing), options()),
        (methods(Method::AUTO_SNR, |options| options.values.set("snr_threshold", 0.1).unwrap()), options()),
        (methods(Method::LORA, nothing), options()),
        (methods(Method::ULMFIT, |options| options.average = Some(Averaging::Exponential { decay: 0.9 })), trained()),
        (methods(Method::GREEDY_SOUP, nothing), trained()),
        (methods(Method::UNIFORM_SOUP, |options| options.average = Some(Averaging::Epochs { from: 2 })), options()),
        (methods(Method::WISE_FT, |options| options.values.set("alpha", [0.25, 0.75]).unwrap()), options()),
        (methods(Method::DISCRIMINATIVE, |options| options.values.set("reinit", 1).unwrap()), options()),
        (methods(Method::L2_SP, nothing), options()),
    ]
}

#[test]
fn every_method_resumes_to_the_same_bits() {
    for (plan, options) in plans_with_state() {
        let whole = train(&plan, &options, None, &Silent, false).unwrap();
        for stop in [70, 190] {
            let folder = tempfile::tempdir().unwrap();
            let monitor = StopAfter { images: stop, seen: AtomicUsize::new(0) };
            let stopped = train(&plan, &options, Some(folder.path()), &monitor, false);
            assert!(stopped.is_err(), "{}: stopping after {stop} images came too late to test anything", plan.method);
            let resumed = train(&plan, &options, Some(folder.path()), &Silent, true).unwrap();
            assert!(bits(&resumed.model) == bits(&whole.model), "{} stopped after {stop} images", plan.method);
            assert_eq!(resumed.phases, whole.phases);
            let factors = |trained: &Trained| {
                let adapters = trained.low_rank.as_ref()?;
                Some(adapters.factors().values().map(|factors| factors.values().unwrap()).collect::<Vec<_>>())
            };
            assert_eq!(factors(&resumed), factors(&whole), "{}", plan.method);
        }
    }
}

#[test]
fn a_search_hands_on_what_its_best_rate_alone_gives_and_resumes_to_the_same_bits() {
    let of = |rates: &[f64], search: Search| {
        let learning_rates = rates.into();
        let options = MethodOptions { epochs: 8, learning_rates, search: Some(search), ..MethodOptions::default() };
        Method::FT.plan(model().blocks(), &options).unwrap()
    };
    let mut plan = of(&[1e-2, 1e-3, 3e-4, 1e-4], Search::Halving);
    let Solver::Gradient(settings) = &mut plan.phases[0].solver else { unreachable!() };
    let rung = |epochs, keep| Rung { epochs, keep, keep_largest: false };
    settings.rungs = vec![rung(1, 2), rung(2, 1)];
    let folder = tempfile::tempdir().unwrap();
    let whole = train(&plan, &options(), Some(folder.path()), &Silent, false).unwrap();
    let outcome = &whole.phases[0];
    // Four rates for an eighth of the epochs, two for a quarter, one in full.
    assert_eq!(outcome.tried.iter().map(|tried| tried.epochs).collect::<Vec<_>>(), [1, 1, 1, 1, 2, 2, 8]);
    let last = outcome.tried.last().unwrap();
    assert_eq!((Some(last.learning_rate), last.epoch), (outcome.learning_rate, outcome.epoch));
    assert_eq!(last.validation.as_ref(), Some(&outcome.validation));
    let rows = metrics::read(&folder.path().join("metrics.jsonl")).unwrap();
    let short = rows.iter().filter(|row| row.short_epochs.is_some()).count();
    // Each of the 4 + 2 · 2 short and 8 full epochs has a row of training and one of validation.
    assert_eq!((short, rows.len() - short), (2 * 8, 2 * 8));
    let alone = train(&of(&[last.learning_rate], Search::Full), &options(), None, &Silent, false).unwrap();
    assert!(bits(&alone.model) == bits(&whole.model));

    // An epoch takes 42 images of training and 12 of validation: in each of the two rungs, at the end of one, in full.
    for stop in [70, 4 * 54 - 6, 4 * 54 + 90, 8 * 54 + 200] {
        let folder = tempfile::tempdir().unwrap();
        let monitor = StopAfter { images: stop, seen: AtomicUsize::new(0) };
        assert!(train(&plan, &options(), Some(folder.path()), &monitor, false).is_err(), "{stop}");
        let resumed = train(&plan, &options(), Some(folder.path()), &Silent, true).unwrap();
        assert!(bits(&resumed.model) == bits(&whole.model), "stopped after {stop} images");
        assert_eq!(resumed.phases, whole.phases);
    }
}

#[test]
fn patience_ends_a_training_that_gets_no_better() {
    // A rate that is 0 in single precision: every epoch is as good as the first.
    let mut plan = gradient_plan(&[("head", 1.0)], &[1e-300]);
    let Solver::Gradient(settings) = &mut plan.phases[0].solver else { unreachable!() };
    (settings.epochs, settings.patience) = (6, Some(2));
    let folder = tempfile::tempdir().unwrap();
    let trained = train(&plan, &options(), Some(folder.path()), &Silent, false).unwrap();
    let rows = metrics::read(&folder.path().join("metrics.jsonl")).unwrap();
    assert_eq!(rows.iter().filter(|row| row.split == "val").map(|row| row.epoch).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(trained.phases[0].epoch, 1);
}

#[test]
fn unfreezing_goes_block_by_block_and_metrics_say_so() {
    let options = MethodOptions { epochs: 3, learning_rates: vec![1e-3], ..MethodOptions::default() };
    let options = options.with("granularity", "stage").unwrap();
    let plan = Method::ULMFIT.plan(model().blocks(), &options).unwrap();
    let folder = tempfile::tempdir().unwrap();
    train(&plan, &self::options(), Some(folder.path()), &Silent, false).unwrap();
    let rows = metrics::read(&folder.path().join("metrics.jsonl")).unwrap();
    let trained: Vec<Vec<String>> =
        rows.into_iter().filter_map(|row| row.rates).map(|rates| rates.into_keys().collect()).collect();
    // Six stages in three epochs: two more each epoch, from the head down.
    assert_eq!(trained[0], ["layer4.0", "head"]);
    assert!(trained[1].starts_with(&["layer2.0".to_owned()]), "{:?}", trained[1]);
    assert!(trained[2].starts_with(&["stem".to_owned()]), "{:?}", trained[2]);
}

#[test]
fn relative_gradient_norms_are_measured_every_epoch_and_scale_the_rates() {
    let probe = ProbePhase::Never;
    let options = MethodOptions { epochs: 2, learning_rates: vec![1e-3], probe, ..MethodOptions::default() };
    let plan = Method::AUTO_RGN.plan(model().blocks(), &options).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let trained = train(&plan, &self::options(), Some(folder.path()), &Silent, false).unwrap();
    let rows = metrics::read(&folder.path().join("metrics.jsonl")).unwrap();
    let measured: Vec<_> = rows.iter().filter_map(|row| row.rate_multipliers.as_ref()).collect();
    assert_eq!(measured.len(), 2);
    // The head is zero at first: it has no relative size, and sends no gradient to the body.
    assert_eq!(measured[0]["fc.weight"], 1.0);
    assert_eq!(measured[0]["conv1.weight"], 0.0);
    assert!(measured[1]["conv1.weight"] > 0.0 && measured[1].values().any(|&value| value == 1.0));
    for (name, (old, new)) in
        bits(&model()).iter().zip(bits(&trained.model)).map(|(old, new)| (&old.0, (&old.1, new.1)))
    {
        let spec = &trained.model.network().specs[trained.model.parameters.position(name).unwrap()];
        let norm = matches!(spec.role, Role::NormWeight | Role::NormBias | Role::Statistic);
        assert_eq!(*old != new, !norm && trained.phases[0].epoch == 2 || name.starts_with("fc."), "{name}");
    }
}

#[test]
fn a_soup_is_the_average_of_what_its_rates_gave() {
    let options = MethodOptions { epochs: 1, learning_rates: vec![1e-3, 1e-4], ..MethodOptions::default() };
    let of = |method: Method, rates: &[f64]| {
        let options = MethodOptions { learning_rates: rates.into(), ..options.clone() };
        let plan = method.plan(model().blocks(), &options).unwrap();
        train(&plan, &self::options(), None, &Silent, false).unwrap()
    };
    let soup = of(Method::UNIFORM_SOUP, &[1e-3, 1e-4]);
    assert_eq!(soup.phases[1].soup.as_ref().unwrap().len(), 2);
    let (one, other) = (of(Method::LP_FT, &[1e-3]).model, of(Method::LP_FT, &[1e-4]).model);
    for index in 0..one.network().specs.len() {
        let mean = one.parameters.values(index).into_iter().zip(other.parameters.values(index));
        for (found, (one, other)) in soup.model.parameters.values(index).into_iter().zip(mean) {
            // A rounding or two of float32.
            assert!((found - (one + other) / 2.0).abs() <= 1e-6 * (1.0 + found.abs()));
        }
    }
    let greedy = of(Method::GREEDY_SOUP, &[1e-3, 1e-4]);
    let best = of(Method::LP_FT, &[1e-3, 1e-4]);
    assert!(greedy.phases[1].validation.accuracy >= best.phases[1].validation.accuracy);
}

#[test]
fn an_interpolation_lies_between_the_probe_and_fine_tuning() {
    let options = MethodOptions { epochs: 2, learning_rates: vec![1e-3], ..MethodOptions::default() };
    let plan = |method: Method| method.plan(model().blocks(), &options).unwrap();
    let run = |plan: &Plan| train(plan, &self::options(), None, &Silent, false).unwrap();
    let wise = run(&plan(Method::WISE_FT));
    let line = wise.line.unwrap();
    let (probe, tuned) = (run(&plan(Method::LP)).model, run(&plan(Method::LP_FT)).model);
    for index in 0..probe.network().specs.len() {
        assert_eq!(line.start.values(index), probe.parameters.values(index));
        assert_eq!(line.end.values(index), tuned.parameters.values(index));
        let ends = line.start.values(index).into_iter().zip(line.end.values(index));
        for (found, (start, end)) in wise.model.parameters.values(index).into_iter().zip(ends) {
            // A rounding or two of float32.
            assert!((found - (start + end) / 2.0).abs() <= 1e-6 * (1.0 + found.abs()));
        }
    }
}

#[test]
fn runs_that_share_end_as_runs_that_do_not() {
    let shared = Shared::default();
    let (train_images, validation) = (images(42), images(12));
    let (plan, options) = (lp_ft(), options());
    let alone = train(&plan, &options, None, &Silent, false).unwrap();
    let counter = StopAfter { images: usize::MAX, seen: AtomicUsize::new(0) };
    for _ in 0..2 {
        let trainer = Trainer::new(&train_images, &validation).options(options.clone()).sharing(&shared);
        let together = trainer.run(&plan, model(), &counter).unwrap();
        assert!(bits(&together.model) == bits(&alone.model));
    }
    let both = counter.seen.load(Ordering::Relaxed);
    let single = StopAfter { images: usize::MAX, seen: AtomicUsize::new(0) };
    train(&plan, &options, None, &single, false).unwrap();
    // The second run computed no features of the 42 + 12 images.
    assert_eq!(both, 2 * single.seen.load(Ordering::Relaxed) - 54);
}

/// Images in memory may have the names of others.
#[test]
fn runs_that_share_tell_images_of_the_same_names_apart() {
    let plan = Method::LP.plan(model().blocks(), &MethodOptions::default()).unwrap();
    let (one, validation) = (images(42), images(12));
    let mut other = one.clone();
    for sample in other.samples.iter_mut() {
        let ImageSource::Memory(image) = &mut sample.image else { unreachable!() };
        Arc::make_mut(image).pixels_mut().for_each(|pixel| pixel.0.reverse());
    }
    let run = |trainer: Trainer| bits(&trainer.options(options()).run(&plan, model(), &Silent).unwrap().model);
    let alone = run(Trainer::new(&other, &validation));
    let shared = Shared::default();
    assert!(run(Trainer::new(&one, &validation).sharing(&shared)) != alone);
    assert!(run(Trainer::new(&other, &validation).sharing(&shared)) == alone);
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

#[test]
fn a_rate_that_diverges_late_is_left_out_of_the_soup() {
    let mut options = options();
    options.clip_norm = None;
    options.optimizer.kind = retune::train::optimizer::OptimizerKind::Sgd;
    const EPOCHS: usize = 12;
    // A rate with which the first epoch still ends with finite numbers, and a later one does not.
    let late = [0.3, 1.0, 3.0, 10.0, 30.0].into_iter().find_map(|rate| {
        let method = MethodOptions {
            epochs: EPOCHS,
            learning_rates: vec![1e-3, rate],
            schedule: Some(Schedule::Constant),
            warmup_epochs: EPOCHS as f64,
            ..MethodOptions::default()
        };
        let plan = Method::UNIFORM_SOUP.plan(model().blocks(), &method).unwrap();
        let told = Messages::default();
        let trained = train(&plan, &options, None, &told, false).unwrap();
        let told = told.into_texts();
        let validated = told.iter().filter(|text| text.contains("% on validation")).count();
        (validated > EPOCHS && told.iter().any(|text| text.contains("is left out"))).then_some(trained)
    });
    assert_eq!(late.expect("such a rate").phases[1].soup.as_deref(), Some(&[1e-3][..]));
}

#[test]
fn an_average_keeps_the_bits_of_what_is_frozen() {
    let mut start = model();
    let frozen = start.network().specs.iter().position(|spec| spec.name == "layer1.0.conv1.weight").unwrap();
    let mut values = start.parameters.values(frozen);
    values[3] = -0.0;
    start.parameters.set_values(frozen, values.clone());
    let (train, validation) = (images(42), images(12));
    for average in [Averaging::Exponential { decay: 0.9 }, Averaging::Epochs { from: 1 }] {
        let mut plan = gradient_plan(&[("layer2.0", 1.0), ("head", 1.0)], &[1e-2]);
        let Solver::Gradient(settings) = &mut plan.phases[0].solver else { unreachable!() };
        settings.average = Some(average);
        let trainer = Trainer::new(&train, &validation).options(options());
        let trained = trainer.run(&plan, start.clone(), &Silent).unwrap().model;
        assert_eq!(trained.parameters.values(frozen)[3].to_bits(), (-0.0_f32).to_bits());
    }
}

/// Two phases of low-rank changes, of other ranks and blocks.
fn low_rank_twice() -> Plan {
    let phase = |name: &str, rank: usize, blocks: &[&str]| {
        let mut plan = gradient_plan(&blocks.iter().map(|&block| (block, 1.0)).collect::<Vec<_>>(), &[1e-2]);
        let mut phase = plan.phases.remove(0);
        let Solver::Gradient(settings) = &mut phase.solver else { unreachable!() };
        settings.low_rank = Some(LowRank { rank, alpha: 8.0 });
        Phase { name: name.into(), ..phase }
    };
    let phases = vec![phase("first", 4, &["layer1.0", "layer2.0", "head"]), phase("second", 2, &["layer2.0", "head"])];
    Plan { method: "test".into(), phases }
}

#[test]
fn low_rank_phases_that_follow_one_another_resume_and_leave_no_adapter() {
    let plan = low_rank_twice();
    let told = Messages::default();
    let whole = train(&plan, &options(), None, &told, false).unwrap();
    // An adapter of the second phase would lack what the first one changed.
    assert!(whole.low_rank.is_none());
    let told = told.into_texts();
    assert!(told.iter().any(|text| text.contains("'layer1.0.conv1.weight' differs")), "{told:?}");
    let alone = Plan { phases: plan.phases[..1].to_vec(), ..plan.clone() };
    assert!(train(&alone, &options(), None, &Silent, false).unwrap().low_rank.is_some());
    // In the first phase, in its last validation, in the second phase.
    for stop in [30, 100, 130, 180] {
        let folder = tempfile::tempdir().unwrap();
        let monitor = StopAfter { images: stop, seen: AtomicUsize::new(0) };
        assert!(train(&plan, &options(), Some(folder.path()), &monitor, false).is_err());
        let resumed = train(&plan, &options(), Some(folder.path()), &Silent, true).unwrap();
        assert!(bits(&resumed.model) == bits(&whole.model), "stopped after {stop} images");
    }
}

#[cfg(unix)]
#[test]
fn checkpoints_of_a_run_share_one_file_of_what_it_began_with() {
    use std::os::unix::fs::MetadataExt;
    let plan = gradient_plan(&[("stem", 1.0), ("head", 1.0)], &[1e-2]);
    let folder = tempfile::tempdir().unwrap();
    let file = |images: usize, resume: bool| {
        let monitor = StopAfter { images, seen: AtomicUsize::new(0) };
        assert!(train(&plan, &options(), Some(folder.path()), &monitor, resume).is_err());
        folder.path().join("checkpoint/initial.safetensors").metadata().unwrap().ino()
    };
    assert_eq!(file(10, false), file(20, true));
}

/// What an older version wrote is not taken for a run whose plan changed.
#[test]
fn a_checkpoint_of_another_version_is_said_to_be_one() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("checkpoint")).unwrap();
    for progress in ["{}", r#"{"format": 1, "progress": {"recipe": 7}}"#, r#"{"format": 3}"#] {
        std::fs::write(folder.path().join("checkpoint/progress.json"), progress).unwrap();
        let error = train(&lp_ft(), &options(), Some(folder.path()), &Silent, true).unwrap_err();
        assert!(matches!(error, TrainError::CheckpointFormat { .. }), "{progress}: {error}");
        assert!(error.to_string().contains("another version of retune wrote it"), "{error}");
    }
}

#[test]
fn a_run_that_overflows_leaves_no_checkpoint_that_cannot_be_read() {
    let everywhere: Vec<(String, f64)> = model().blocks().iter().map(|block| (block.name.clone(), 1.0)).collect();
    let everywhere: Vec<(&str, f64)> = everywhere.iter().map(|(name, rate)| (name.as_str(), *rate)).collect();
    let mut options = TrainOptions { checkpoint_every: Some(1), clip_norm: None, ..options() };
    options.optimizer.kind = retune::train::optimizer::OptimizerKind::Sgd;
    // Finite at the first step, whose update is not: an update of 1e40 times the gradient is none in 32 bits.
    let plan = gradient_plan(&everywhere, &[1e40]);
    let folder = tempfile::tempdir().unwrap();
    for resume in [false, true, true] {
        let error = train(&plan, &options, Some(folder.path()), &Silent, resume).unwrap_err();
        let TrainError::Diverged { first, .. } = &error else { panic!("{error}") };
        assert!(!first.images.is_empty(), "{error}");
    }
}

#[test]
fn an_interruption_in_validation_does_not_lose_the_epoch() {
    let plan = gradient_plan(&[("stem", 1.0), ("head", 1.0)], &[1e-2]);
    let whole = train(&plan, &options(), None, &Silent, false).unwrap();
    let folder = tempfile::tempdir().unwrap();
    // In the first validation, after 42 training images and a batch of validation images.
    let monitor = StopAfter { images: 42 + 8, seen: AtomicUsize::new(0) };
    assert!(matches!(train(&plan, &options(), Some(folder.path()), &monitor, false), Err(TrainError::Interrupted)));
    let counter = StopAfter { images: usize::MAX, seen: AtomicUsize::new(0) };
    let resumed = train(&plan, &options(), Some(folder.path()), &counter, true).unwrap();
    assert!(bits(&resumed.model) == bits(&whole.model));
    // The validation anew, then the second epoch and its validation.
    assert_eq!(counter.seen.load(Ordering::Relaxed), 12 + 42 + 12);
}

/// Bytes of what enters a block, for the images of [`train`].
fn entering_bytes(block: &str) -> u64 {
    let model = model();
    let block = model.network().find_blocks(block).unwrap().start;
    let image = burn::tensor::Tensor::<4>::zeros([1, 32, 32, 3], &Device::flex());
    let entry = model.forward_range(retune::models::Activation::Map(image), 0..block);
    42 * 4 * entry.example_shape().iter().product::<usize>() as u64
}

/// A comparison keeps activations for the runs that follow, a run alone only as long as it has a use for them.
#[test]
fn what_is_rounded_does_not_depend_on_who_else_has_a_use_for_it() {
    let plan = gradient_plan(&[("layer2.0", 1.0), ("head", 0.5)], &[1e-2]);
    let activations = ActivationOptions { half: true, ..ActivationOptions::default() };
    let options = TrainOptions { activations, ..options() };
    let (train, validation) = (images(42), images(12));
    let run = |shared: Option<&Shared>| {
        let mut trainer = Trainer::new(&train, &validation).options(options.clone());
        if let Some(shared) = shared {
            trainer = trainer.sharing(shared);
        }
        bits(&trainer.run(&plan, model(), &Silent).unwrap().model)
    };
    assert!(run(None) == run(Some(&Shared::default())));
}

#[test]
fn kept_activations_of_frozen_blocks_change_no_bit() {
    let plan = gradient_plan(&[("layer2.0", 1.0), ("head", 0.5)], &[1e-2, 1e-3]);
    let bytes = entering_bytes("layer2.0");
    for views in [None, Some(1), Some(2)] {
        let with_memory = |memory_bytes: u64, half: bool| {
            let policy = if views.is_some() { AugmentPolicy::Flip } else { AugmentPolicy::None };
            let options = TrainOptions {
                activations: ActivationOptions { memory_bytes, half, views },
                augmentation: Augmentation::new(policy),
                label_smoothing: 0.1,
                ..options()
            };
            let trained = train(&plan, &options, None, &Silent, false).unwrap();
            (bits(&trained.model), trained.phases)
        };
        let computed_in_every_step = with_memory(0, false);
        // All in memory; the training images' in a file; all in files.
        for memory_bytes in [1 << 30, bytes / 2, 1] {
            assert_eq!(with_memory(memory_bytes, false), computed_in_every_step, "{memory_bytes} bytes, {views:?}");
        }
        let (rounded, phases) = with_memory(1 << 30, true);
        assert_ne!(rounded, computed_in_every_step.0);
        // AdamW divides by the gradient's size, which magnifies rounding; two digits of the loss stay.
        let (loss, exact) = (phases[0].validation.loss, computed_in_every_step.1[0].validation.loss);
        assert!((loss / exact - 1.0).abs() < 2e-2, "{loss} {exact}");
    }
}

/// The weights after training of everything by these options.
fn trained_by(options: &TrainOptions) -> Trained {
    let plan = gradient_plan(&[("layer1.0", 1.0), ("layer2.0", 1.0), ("layer4.0", 0.5), ("head", 1.0)], &[1e-2]);
    train(&plan, options, None, &Silent, false).unwrap()
}

/// The loss of a batch is a mean over it, so that gradients of parts of a batch add up to those of the batch, whatever the
/// parts, the weights of classes and the mixture of images.
#[test]
fn accumulated_gradients_are_those_of_the_larger_batch() {
    let sgd = OptimizerOptions { kind: OptimizerKind::Sgd, weight_decay: 0.0, ..OptimizerOptions::default() };
    let mixed = Mix { mixup_alpha: 0.4, cutmix_alpha: 1.0 };
    for (balanced_classes, mix) in [(false, Mix::default()), (true, Mix::default()), (true, mixed)] {
        let with = |batch_size: usize, accumulate: usize| TrainOptions {
            batch_size,
            accumulate: NonZeroUsize::new(accumulate).unwrap(),
            optimizer: sgd,
            keep: Keep::Last,
            balanced_classes,
            mix,
            drop_path: Some(0.5),
            ..options()
        };
        // 42 images: the last of each epoch's updates has 10, in parts of 4, 4 and 2.
        let (parts, whole) = (trained_by(&with(4, 4)), trained_by(&with(16, 1)));
        let start = model();
        for (index, spec) in start.network().specs.iter().enumerate() {
            let values = |model: &Model| model.parameters.values(index);
            let (start, parts, whole) = (values(&start), values(&parts.model), values(&whole.model));
            let distance = |one: &[f32], other: &[f32]| -> f64 {
                one.iter().zip(other).map(|(one, other)| f64::from(one - other).powi(2)).sum::<f64>().sqrt()
            };
            // Sums in another order.
            let (moved, off) = (distance(&whole, &start), distance(&whole, &parts));
            assert!(off <= 1e-3 * moved, "{}: {off} of {moved}", spec.name);
        }
        let (one, other) = (&parts.phases[0].validation, &whole.phases[0].validation);
        assert!((one.loss - other.loss).abs() < 1e-4);
    }
}

#[test]
fn stochastic_depth_depends_on_the_seed_alone_and_changes_training() {
    let with = |drop_path: Option<f64>, seed: u64| TrainOptions { drop_path, seed, keep: Keep::Last, ..options() };
    let dropped = bits(&trained_by(&with(Some(0.5), 3)).model);
    assert_eq!(bits(&trained_by(&with(Some(0.5), 3)).model), dropped);
    let plain = bits(&trained_by(&with(None, 3)).model);
    assert_ne!(plain, dropped);
    assert_eq!(bits(&trained_by(&with(Some(0.0), 3)).model), plain);
}

#[test]
fn balanced_epochs_reach_the_batches() {
    let mut rare = images(42);
    rare.samples.retain(|sample| sample.label != Some(2) || sample.name.as_ref() == "2");
    let preprocessing = model().config().preprocessing().clone();
    let loader = Loader::new(rare, LoaderOptions::deterministic(preprocessing, 8)).unwrap();
    let mut counts = [0; 3];
    for batch in loader.epoch(0, Order::Balanced { seed: 1 }, 0) {
        batch.unwrap().labels.iter().for_each(|&label| counts[label] += 1);
    }
    // 14, 14 and 1 images.
    assert_eq!(counts, [10, 10, 9]);
    let without_images = loader.epoch_without_images(0, Order::Balanced { seed: 1 }, 0);
    let batches = loader.epoch(0, Order::Balanced { seed: 1 }, 0);
    assert!(batches.zip(without_images).all(|(batch, known)| batch.unwrap().indices == known.indices));
}
