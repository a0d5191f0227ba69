//! The methods' definitions against timm, PyTorch and PEFT. The fixtures, with every definition written out, and the
//! program that made them are in `tests/fixtures/methods`.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use common::{load, models, training_images};
use retune::inference::Metric;
use retune::loading::mix::Mix;
use retune::loading::{Loader, LoaderOptions, Order};
use retune::methods::layers::LayerSelection;
use retune::methods::{Method, MethodOptions};
use retune::models::weights::{NamedTensor, read_tensors, write_tensors};
use retune::models::{Model, ParameterSpec, Parameters};
use retune::monitor::Silent;
use retune::pixels::augment::{AugmentPolicy, Augmentation};
use retune::plan::{
    Adaptive, Anchor, Averaging, Criterion, Gradient, HeadMeasure, LayerKind, LowRank, Phase, Plan, Schedule,
    Selection, Solver,
};
use retune::train::low_rank::Adapters;
use retune::train::metrics::{self, MetricsRow};
use retune::train::optimizer::{OptimizerKind, OptimizerOptions};
use retune::train::options::{ActivationOptions, BatchNormPolicy, Keep, Precision, TrainOptions};
use retune::train::{Differentiation, Trained, Trainer, measure_layers};
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/methods")
}

fn fixture<T: serde::de::DeserializeOwned>(name: &str) -> T {
    serde_json::from_str(&std::fs::read_to_string(folder().join(name)).unwrap()).unwrap()
}

fn trainable(model: &Model) -> impl Iterator<Item = &ParameterSpec> {
    model.network().specs.iter().filter(|spec| spec.role.is_trainable())
}

#[test]
fn tensors_come_in_the_order_of_pytorchs_named_parameters() {
    let expected: BTreeMap<String, Vec<String>> = fixture("named_parameters.json");
    assert!(expected.len() >= 7);
    for (name, names) in expected {
        let model = load(&name, None);
        let tensors = model.blocks().iter().flat_map(|block| &block.parameters);
        assert_eq!(tensors.map(|spec| spec.name.clone()).collect::<Vec<_>>(), names, "{name}");
    }
}

/// How many fixture models see RGB. The number of channels changes no layer, so the fixtures leave the others out.
fn models_of_three_channels() -> usize {
    models().iter().filter(|name| load(name, None).config().preprocessing().mean.len() == 3).count()
}

#[test]
fn discriminative_rates_count_layers_as_timm_does() {
    let expected: BTreeMap<String, Vec<(f64, Vec<String>)>> = fixture("layer_scales.json");
    assert_eq!(expected.len(), models_of_three_channels());
    for (name, groups) in expected {
        let model = load(&name, None);
        let plan = Method::DISCRIMINATIVE.plan(model.blocks(), &MethodOptions::default()).unwrap();
        let rates = plan.phases[0].block_rate_factors(model.blocks());
        let by_name: BTreeMap<&str, f64> =
            groups.iter().flat_map(|(scale, names)| names.iter().map(|name| (name.as_str(), *scale))).collect();
        for spec in trainable(&model) {
            let (found, known) = (rates[spec.block], by_name[spec.name.as_str()]);
            assert!((found - known).abs() < 1e-9, "{name}: {} has {found}, not {known}", spec.name);
        }
    }
}

#[test]
fn selections_are_what_torch_modules_and_peft_say() {
    let expected: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = fixture("selections.json");
    assert_eq!(expected.len(), models().len());
    for (name, kinds) in expected {
        let model = load(&name, None);
        let low_rank = Gradient { low_rank: Some(LowRank::default()), ..Gradient::default() };
        let only = |parameters: Selection| Gradient { parameters, ..Gradient::default() };
        let cases = [("norms", only(Selection::Norms)), ("biases", only(Selection::Biases)), ("low_rank", low_rank)];
        for (kind, gradient) in cases {
            let trained = trainable(&model).filter(|spec| gradient.trains(spec, model.head()));
            let found: BTreeSet<String> = trained.map(|spec| spec.name.clone()).collect();
            let known: BTreeSet<String> = kinds[kind].union(&kinds["head"]).cloned().collect();
            let difference: Vec<&String> = found.symmetric_difference(&known).collect();
            assert!(difference.is_empty(), "{name}: {kind} differ in {difference:?}");
        }
        // Class and register tokens and the position embedding are spared, as well as whatever is a vector.
        let decaying = trainable(&model).filter(|spec| spec.decays());
        let found: BTreeSet<String> = decaying.map(|spec| spec.name.clone()).collect();
        assert_eq!(found, kinds["decays"], "{name}");
    }
}

#[test]
fn measures_of_gradients_are_the_authors() {
    let expected: Value = fixture("gradient_measures.json");
    let number = |key: &str| expected[key].as_u64().unwrap() as usize;
    for (name, measures) in expected["models"].as_object().unwrap() {
        let model = load(name, Some([32, 32]));
        let options = LoaderOptions::deterministic(model.config().preprocessing().clone(), number("batch_size"));
        let loader = Loader::new(training_images(), options).unwrap();
        let specs = &model.network().specs;
        let everything = vec![true; specs.len()];
        let without_norms = Gradient { parameters: Selection::NotNorms, ..Gradient::default() };
        let selected: Vec<bool> = specs.iter().map(|spec| without_norms.trains(spec, model.head())).collect();
        let measured = |trained: &[bool], criterion: Criterion| {
            let trained: Vec<bool> =
                specs.iter().zip(trained).map(|(spec, trained)| *trained && spec.role.is_trainable()).collect();
            let what = Differentiation::new(&trained);
            let batches = loader.epoch(0, Order::Sequential, 0).take(number("batches"));
            measure_layers(&model, batches, &what, criterion, LayerKind::Tensor).unwrap()
        };
        let cases = [
            ("relative_gradient_norm", Criterion::RelativeGradientNorm),
            ("signal_to_noise", Criterion::SignalToNoise),
            ("signal_to_noise_official", Criterion::SignalToNoiseOfficial),
        ];
        for (key, criterion) in cases {
            // Single precision alone makes a difference of 2e-6; the issue asks for 1 %.
            let close = |found: f64, known: f64| (found / known - 1.0).abs() < 1e-3;
            let all = measured(&everything, criterion);
            assert_eq!(all.layers.len(), measures[key].as_object().unwrap().len());
            for (tensor, found) in &all.layers {
                match measures[key][tensor].as_f64() {
                    Some(known) => {
                        assert!(close(found.unwrap(), known), "{name}: {key} of {tensor}: {found:?} {known}")
                    }
                    // An axis of length one has no variance: NaN there, frozen here.
                    None => assert_eq!(*found, Some(0.0)),
                }
            }
            if criterion == Criterion::SignalToNoiseOfficial {
                continue;
            }
            let layer = LayerKind::Tensor;
            let head = HeadMeasure::WithBody;
            let adaptive = Adaptive { criterion, layer, batches: 5, threshold: None, restart_optimizer: true, head };
            let shares = measured(&selected, criterion).rate_factors(&adaptive);
            let known = measures[&format!("{key}_share")].as_object().unwrap();
            assert_eq!(shares.len(), known.len());
            for (tensor, share) in shares {
                assert!(close(share, known[&tensor].as_f64().unwrap()), "{name}: {key} share of {tensor}: {share}");
            }
        }
    }
}

#[test]
fn the_slanted_triangle_is_ulmfits() {
    let expected: Value = fixture("slanted_triangle.json");
    for (steps, factors) in expected["factors"].as_object().unwrap() {
        let steps: usize = steps.parse().unwrap();
        for (step, known) in factors.as_array().unwrap().iter().enumerate() {
            let found = Schedule::Slanted.factor(step as f64, steps, 0.0);
            // Exact fractions on the other side; a few roundings of double precision here.
            assert!((found - known.as_f64().unwrap()).abs() < 1e-12, "step {step} of {steps}: {found}");
        }
    }
}

/// The sign with which an element enters a sketch: the lowest bit of MurmurHash3's finalizer.
fn sign(index: usize, sketch: usize) -> f64 {
    let mut hash = (index as u32).wrapping_mul(8).wrapping_add(sketch as u32);
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^= hash >> 16;
    if hash & 1 == 0 { 1.0 } else { -1.0 }
}

/// Checks what every tensor did in a run by a norm and eight random-sign sketches of it.
fn check_movements(run: &str, start: &Parameters, end: &Parameters, known: &Value) {
    let known = known.as_object().unwrap();
    for (index, spec) in start.specs().iter().enumerate() {
        let (before, after) = (start.values(index), end.values(index));
        let moved: Vec<f64> = after.iter().zip(&before).map(|(after, before)| f64::from(after - before)).collect();
        let Some(known) = known.get(&spec.name) else {
            let same = before.iter().zip(&after).all(|(before, after)| before.to_bits() == after.to_bits());
            assert!(same, "{run}: {} changed", spec.name);
            continue;
        };
        let known: Vec<f64> = known.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
        let sketch = |k: usize| moved.iter().enumerate().map(|(i, value)| sign(i, k) * value).sum::<f64>();
        let off = (0..8).map(|k| (sketch(k) - known[k + 1]).powi(2)).sum::<f64>() / 8.0;
        // Within 1 % of the way PyTorch went; where it hardly went anywhere, rounding of the weights
        // themselves is all there is.
        let rounding = 1e-6 * before.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        assert!(
            off.sqrt() <= 0.01 * known[0] + rounding,
            "{run}: {} went {:e}, {:e} off",
            spec.name,
            known[0],
            off.sqrt()
        );
    }
}

/// The plan of a run of `training.json`: a method's where it is by tensors, else by hand.
fn plan(settings: &Value, model: &Model) -> Plan {
    let number = |value: &Value| value.as_f64();
    let options = MethodOptions {
        epochs: settings["epochs"].as_u64().unwrap() as usize,
        learning_rates: vec![number(&settings["learning_rate"]).unwrap()],
        schedule: Some(Schedule::Constant),
        new_head: false,
        ..MethodOptions::default()
    };
    if let Some(tensors) = settings.get("tensors") {
        let name = |at: usize| tensors[at].as_str().map(str::to_owned);
        let layers = LayerSelection::Range { first: name(0), last: name(1) };
        return Method::SURGICAL.plan(model.blocks(), &MethodOptions { layers, ..options }).unwrap();
    }
    if let Some(decay) = settings.get("tensor_decay") {
        let options = options.with("granularity", "tensor").unwrap().with("decay", number(decay).unwrap()).unwrap();
        return Method::DISCRIMINATIVE.plan(model.blocks(), &options).unwrap();
    }
    if settings.get("rgn").is_some() {
        let options = options.with("rgn_mode", "notebook").unwrap();
        return Method::AUTO_RGN.plan(model.blocks(), &options).unwrap();
    }
    let mut gradient = Gradient {
        epochs: options.epochs,
        learning_rates: options.learning_rates,
        schedule: Schedule::Constant,
        rate_factors: model.blocks().iter().map(|block| (block.name.clone(), 1.0)).collect(),
        ..Gradient::default()
    };
    gradient.parameters = match settings["parameters"].as_str() {
        Some("norms") => Selection::Norms,
        Some("biases") => Selection::Biases,
        _ => Selection::All,
    };
    gradient.anchor = settings.get("l2_sp").map(|l2_sp| Anchor {
        strength: number(&l2_sp["strength"]).unwrap(),
        head_strength: number(&l2_sp["head_strength"]).unwrap(),
    });
    gradient.average =
        settings.get("average").map(|average| Averaging::Exponential { decay: number(&average["decay"]).unwrap() });
    gradient.low_rank = settings
        .get("lora")
        .map(|lora| LowRank { rank: lora["rank"].as_u64().unwrap() as usize, alpha: number(&lora["alpha"]).unwrap() });
    Plan { method: "parity".into(), phases: vec![Phase { name: "all".into(), solver: Solver::Gradient(gradient) }] }
}

/// Trains as a run of `training.json` says; also the rows of the metrics on training images.
fn train(settings: &Value) -> (Model, Trained, Vec<MetricsRow>) {
    let number = |key: &str| settings[key].as_f64().unwrap() as f32;
    let model = load(settings["model"].as_str().unwrap(), Some([32, 32]));
    let plan = plan(settings, &model);
    let kind = if settings["optimizer"] == "adamw" { OptimizerKind::AdamW } else { OptimizerKind::Sgd };
    let (momentum, weight_decay) = (number("momentum"), number("weight_decay"));
    let options = TrainOptions {
        seed: SEED,
        batch_size: 8,
        shuffle: false,
        optimizer: OptimizerOptions { kind, momentum, weight_decay, ..OptimizerOptions::default() },
        clip_norm: None,
        batch_norm: if settings["batch_norm"] == "train" { BatchNormPolicy::Train } else { BatchNormPolicy::Frozen },
        keep: Keep::Last,
        select: Metric::Accuracy,
        label_smoothing: 0.0,
        balanced_classes: false,
        augmentation: Augmentation { policy: AugmentPolicy::None, ..Augmentation::default() },
        mix: Mix::default(),
        checkpoint_every: None,
        cache_bytes: 1 << 20,
        precision: Precision::Float32,
        frozen_precision: Precision::Float32,
        activations: ActivationOptions::default(),
        threads: 1,
        ..TrainOptions::default()
    };
    let data = training_images();
    let folder = tempfile::tempdir().unwrap();
    let trainer = Trainer::new(&data, &data).options(options).directory(folder.path());
    let trained = trainer.run(&plan, model.clone(), &Silent).unwrap();
    let rows = metrics::read(&folder.path().join("metrics.jsonl")).unwrap();
    (model, trained, rows.into_iter().filter(|row| row.split == "train").collect())
}

/// Of the run, which decides where low-rank changes start.
const SEED: u64 = 0;

#[test]
fn penalties_averages_selections_low_rank_changes_and_rates_of_tensors_move_every_tensor_as_pytorch_does() {
    let runs: BTreeMap<String, Value> = fixture("training.json");
    assert!(runs.len() > 10);
    for (run, settings) in runs {
        let (start, trained, rows) = train(&settings);
        check_movements(&run, &start.parameters, &trained.model.parameters, &settings["movements"]);
        // Mean losses of epochs of three batches.
        let known: Vec<f64> =
            settings["losses"].as_array().unwrap().iter().map(|loss| loss.as_f64().unwrap()).collect();
        for (row, known) in rows.iter().zip(known.chunks_exact(3)) {
            let (found, known) = (row.loss, known.iter().sum::<f64>() / 3.0);
            // The loss is that of weights within 1 % of PyTorch's way.
            assert!((found - known).abs() < 2e-3 * known, "{run}: loss {found}, not {known}");
        }
        if let Some(known) = settings.get("rates") {
            check_rates(&run, &rows, known);
        }
        if let Some(known) = settings.get("factors") {
            check_factors(&run, &rows, known);
        }
    }
}

/// Checks that every tensor's rate in the metrics is that of its parameter group in PyTorch.
fn check_rates(run: &str, rows: &[MetricsRow], known: &Value) {
    for row in rows {
        let found = row.rates.as_ref().unwrap();
        let known: BTreeMap<String, f64> = serde_json::from_value(known.clone()).unwrap();
        assert_eq!(found.len(), known.len(), "{run}");
        for (name, rate) in found {
            // The same powers and products in double precision, but for the last digit of the mean over steps.
            assert!((rate / known[name] - 1.0).abs() < 1e-14, "{run}: {name} has {rate}, not {}", known[name]);
        }
    }
}

/// Checks that the factors of each epoch but the first are those that PyTorch's loop had after the epoch before.
fn check_factors(run: &str, rows: &[MetricsRow], known: &Value) {
    assert!(rows[0].rate_multipliers.is_none(), "{run}: the first epoch trains at the planned rates");
    for (row, known) in rows[1..].iter().zip(known.as_array().unwrap()) {
        let found = row.rate_multipliers.as_ref().unwrap();
        assert_eq!(found.len(), known.as_object().unwrap().len(), "{run}");
        for (name, factor) in found {
            let known = known[name].as_f64().unwrap();
            // Gradients of weights within 1 % of PyTorch's way.
            assert!((factor / known - 1.0).abs() < 2e-3, "{run}: {name} has {factor}, not {known}");
        }
    }
}

/// The runs of PyTorch with low-rank changes began at factors that retune drew. After a change of how they are drawn,
/// `WRITE_FIXTURES=1` writes new ones, and the fixtures' generator is to be run again.
#[test]
fn low_rank_training_starts_where_the_fixtures_did() {
    for name in ["resnet_basic", "vit", "convnext"] {
        let model = load(name, Some([32, 32]));
        let specs = &model.network().specs;
        let changed =
            (0..specs.len()).filter(|&index| specs[index].block != model.head() && LowRank::fits(&specs[index]));
        let adapters =
            Adapters::new(LowRank { rank: 2, alpha: 4.0 }, specs, changed, SEED, &burn::tensor::Device::flex());
        let tensors: BTreeMap<String, NamedTensor> = adapters
            .factors()
            .iter()
            .map(|(&index, factors)| {
                let [values, _] = factors.values().unwrap();
                (specs[index].name.clone(), NamedTensor { shape: vec![2, values.len() / 2], values })
            })
            .collect();
        let path = folder().join(format!("first_factors/{name}.safetensors"));
        if std::env::var_os("WRITE_FIXTURES").is_some() {
            write_tensors(&path, tensors.clone()).unwrap();
        }
        let known = read_tensors(&path).unwrap();
        assert!(known.keys().eq(tensors.keys()), "{name}");
        for (tensor, found) in tensors {
            assert!(found.values == known[&tensor].values, "{name}: {tensor}");
        }
    }
}
