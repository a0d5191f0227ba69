//! Every family against timm and PyTorch: logits, pooled features, gradients, running statistics,
//! resized position embeddings, and whole epochs of training. The fixtures and the program that
//! made them are in `tests/fixtures/models`.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use retune::inference::Metric;
use retune::loading::mix::Mix;
use retune::loading::{Batch, Loader, LoaderOptions, Order};
use retune::models::weights::{NamedTensor, read_tensors};
use retune::models::{Dropping, Model, Role};
use retune::monitor::Silent;
use retune::pixels::augment::{AugmentPolicy, Augmentation};
use retune::pixels::decode::{DecodeLimits, decode_file};
use retune::plan::{Gradient, Phase, Plan, Schedule, Solver};
use retune::train::optimizer::{OptimizerKind, OptimizerOptions};
use retune::train::options::{ActivationOptions, BatchNormPolicy, Keep, Precision, TrainOptions};
use retune::train::{Differentiation, LossGradients, Trainer, loss_gradients};

use common::{fixtures, load, models, training_images};

const LABELS: [usize; 2] = [1, 2];

fn expected(name: &str) -> BTreeMap<String, NamedTensor> {
    read_tensors(&fixtures().join(name).join("expected.safetensors")).unwrap()
}

fn batch(input: &NamedTensor) -> Batch {
    Batch {
        number: 0,
        images: tensor(input).into_data().iter().collect(),
        labels: LABELS.into(),
        indices: vec![0, 1],
        targets: None,
        mixed: false,
        n: 2,
        height: input.shape[2],
        width: input.shape[3],
    }
}

/// Images as a model takes them; in PyTorch's files channels come before height and width.
fn tensor(input: &NamedTensor) -> Tensor<4> {
    let shape: [usize; 4] = input.shape.clone().try_into().unwrap();
    let images: Tensor<4> = Tensor::from_data(TensorData::new(input.values.clone(), shape), &Device::flex());
    images.permute([0, 2, 3, 1])
}

/// Largest difference relative to the largest expected value.
fn relative_difference(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let difference = found.iter().zip(expected).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    f64::from(difference) / f64::from(largest.max(1e-12))
}

fn gradients(model: &Model, batch: &Batch, training_mode: bool) -> LossGradients {
    let all = vec![true; model.network().specs.len()];
    let blocks = vec![true; model.blocks().len()];
    let batch_statistics = if training_mode { blocks.as_slice() } else { &[] };
    let what = Differentiation { batch_statistics, ..Differentiation::new(&all) };
    loss_gradients(model, batch, &what)
}

/// Both sides compute in float32 with sums in another order, so they differ by a few units in the
/// last place (6e-8) times the depth; 1e-4 is what the design asks for.
const LOGITS_TOLERANCE: f64 = 1e-4;
/// Gradients pass every layer twice; 1e-3 is what the design asks for.
const GRADIENT_TOLERANCE: f64 = 1e-3;

#[test]
fn logits_and_pooled_features_are_timms() {
    for name in models() {
        let (model, expected) = (load(&name, None), expected(&name));
        let logits: Vec<f32> = model.logits(tensor(&expected["input"])).into_data().iter().collect();
        let difference = relative_difference(&logits, &expected["logits"].values);
        assert!(difference < LOGITS_TOLERANCE, "{name}: logits differ by {difference:e}");
        let pooled: Vec<f32> = model.pooled_features(tensor(&expected["input"])).into_data().iter().collect();
        let difference = relative_difference(&pooled, &expected["pooled"].values);
        assert!(difference < LOGITS_TOLERANCE, "{name}: pooled features differ by {difference:e}");
    }
}

/// From the bytes of a JPEG to the logits: decoded, resized, cropped and normalized by each side itself.
#[test]
fn logits_of_jpegs_are_timms() {
    const FILES: [&str; 6] = ["rgb.jpg", "rgb-444.jpg", "progressive.jpg", "gray.jpg", "cmyk-adobe.jpg", "ycck.jpg"];
    let expected = read_tensors(&fixtures().join("jpeg_logits.safetensors")).unwrap();
    assert!(expected.len() > 20, "most models have expected values");
    for (name, expected) in &expected {
        let model = load(name, None);
        let preprocessing = model.config().preprocessing();
        let (height, width) = (preprocessing.height as usize, preprocessing.width as usize);
        let mut values = vec![0.0; FILES.len() * 3 * height * width];
        for (file, values) in FILES.iter().zip(values.chunks_exact_mut(3 * height * width)) {
            let path =
                Path::new(env!("CARGO_MANIFEST_DIR")).join("../retune-pixels/tests/fixtures/pixels/formats").join(file);
            let image = decode_file(&path, &DecodeLimits::default()).unwrap();
            preprocessing.normalize_into(&preprocessing.apply(&image.into()), values);
        }
        let images = TensorData::new(values, [FILES.len(), height, width, 3]);
        let logits: Vec<f32> = model.logits(Tensor::from_data(images, &Device::flex())).into_data().iter().collect();
        let difference = relative_difference(&logits, &expected.values);
        assert!(difference < LOGITS_TOLERANCE, "{name}: logits differ by {difference:e}");
    }
}

#[test]
fn gradients_are_pytorchs() {
    for name in models() {
        let (model, expected) = (load(&name, None), expected(&name));
        let found = gradients(&model, &batch(&expected["input"]), false);
        let loss = f64::from(expected["loss"].values[0]);
        assert!((found.loss() - loss).abs() < 1e-4 * loss.abs(), "{name}: loss {} is not {loss}", found.loss());
        for (spec, gradient) in model.network().specs.iter().zip(found.gradient_values()) {
            if spec.role == Role::Statistic {
                assert!(gradient.is_none());
                continue;
            }
            let gradient = gradient.unwrap_or_else(|| panic!("{name}: no gradient of {}", spec.name));
            let known = &expected[&format!("grad.{}", spec.name)].values;
            let difference = relative_difference(&gradient, known);
            assert!(difference < GRADIENT_TOLERANCE, "{name}: {} differs by {difference:e}", spec.name);
        }
    }
}

#[test]
fn batch_norm_in_training_mode_is_pytorchs() {
    let mut checked = 0;
    for name in models() {
        let (mut model, expected) = (load(&name, None), expected(&name));
        if !expected.contains_key("train.loss") {
            continue;
        }
        let found = gradients(&model, &batch(&expected["input"]), true);
        let loss = f64::from(expected["train.loss"].values[0]);
        assert!((found.loss() - loss).abs() < 1e-3 * loss.abs(), "{name}: loss {} is not {loss}", found.loss());
        for (spec, gradient) in model.network().specs.clone().iter().zip(found.gradient_values()) {
            let Some(gradient) = gradient else { continue };
            let norm = gradient.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
            let known = f64::from(expected[&format!("train.grad_norm.{}", spec.name)].values[0]);
            // Two images with small maps make some batch variances tiny, and 1/σ magnifies rounding.
            assert!((norm - known).abs() < 1e-2 * known + 1e-5, "{name}: {} {norm} is not {known}", spec.name);
        }
        for seen in found.observed {
            for (id, value) in [(seen.mean_id, seen.mean), (seen.variance_id, seen.variance)] {
                let old = Tensor::<1>::from_data(
                    TensorData::new(model.parameters.values(id.index()), [value.dims()[0]]),
                    &Device::flex(),
                );
                model.parameters.set(id.index(), old.mul_scalar(0.9) + value.mul_scalar(0.1));
                let statistic = &model.network().specs[id.index()].name;
                let known = &expected[&format!("train.{statistic}")].values;
                let difference = relative_difference(&model.parameters.values(id.index()), known);
                assert!(difference < GRADIENT_TOLERANCE, "{name}: {statistic} differs by {difference:e}");
                checked += 1;
            }
        }
    }
    assert!(checked > 100, "BatchNorm layers were checked");
}

#[test]
fn position_embeddings_are_resampled_as_timm_does() {
    let mut checked = 0;
    for name in models() {
        let expected = expected(&name);
        let Some(input) = expected.get("resized.input") else { continue };
        let model = load(&name, Some([input.shape[2], input.shape[3]]));
        let position = model.parameters.position("pos_embed").unwrap();
        let difference = relative_difference(&model.parameters.values(position), &expected["resized.pos_embed"].values);
        assert!(difference < 1e-5, "{name}: position embedding differs by {difference:e}");
        let logits: Vec<f32> = model.logits(tensor(input)).into_data().iter().collect();
        let difference = relative_difference(&logits, &expected["resized.logits"].values);
        assert!(difference < LOGITS_TOLERANCE, "{name}: logits differ by {difference:e}");
        checked += 1;
    }
    assert!(checked >= 2, "resized models were checked");
}

fn train_one_epoch(run: &str) -> (Model, Model) {
    let (fixture, recipe) = run.split_once('.').unwrap();
    let mut optimizer =
        OptimizerOptions { kind: OptimizerKind::Sgd, momentum: 0.0, weight_decay: 0.0, ..OptimizerOptions::default() };
    let mut rate = 0.05;
    let mut batch_norm = BatchNormPolicy::Frozen;
    match recipe {
        "sgd" => {}
        "sgd_train" => batch_norm = BatchNormPolicy::Train,
        "momentum" => (optimizer.momentum, optimizer.weight_decay) = (0.9, 0.01),
        "adamw" => {
            (rate, optimizer.kind, optimizer.weight_decay) = (1e-3, OptimizerKind::AdamW, 0.05);
        }
        _ => panic!("unknown recipe {recipe}"),
    }
    let model = load(fixture, Some([32, 32]));
    let solver = Solver::Gradient(Gradient {
        epochs: 1,
        learning_rates: vec![rate],
        schedule: Schedule::Constant,
        warmup_epochs: 0.0,
        rate_factors: model.blocks().iter().map(|block| (block.name.clone(), 1.0)).collect(),
        ..Gradient::default()
    });
    let plan = Plan { method: "ft".into(), phases: vec![Phase { name: "all".into(), solver }] };
    let options = TrainOptions {
        seed: 0,
        batch_size: 8,
        shuffle: false,
        optimizer,
        clip_norm: None,
        batch_norm,
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
    let trained = Trainer::new(&data, &data).options(options).run(&plan, model.clone(), &Silent).unwrap();
    (model, trained.model)
}

#[test]
fn an_epoch_moves_every_tensor_as_pytorch_does() {
    let runs = std::fs::read_dir(fixtures().join("sgd_epoch")).unwrap();
    let mut checked = 0;
    for path in runs.map(|entry| entry.unwrap().path()) {
        let run = path.file_stem().unwrap().to_str().unwrap();
        if run == "images" {
            continue;
        }
        let (before, after) = train_one_epoch(run);
        let expected = read_tensors(&path).unwrap();
        for (index, spec) in before.network().specs.iter().enumerate() {
            let start = before.parameters.values(index);
            let moved = |end: &[f32]| -> Vec<f32> { end.iter().zip(&start).map(|(end, start)| end - start).collect() };
            let found = moved(&after.parameters.values(index));
            let known = moved(&expected[&format!("final.{}", spec.name)].values);
            let norm = |values: &[f32]| values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
            let error: Vec<f32> = found.iter().zip(&known).map(|(found, known)| found - known).collect();
            // Within 1 % of the way PyTorch went; where it hardly went anywhere, rounding of the
            // weights themselves (6e-8 of their size) is all there is.
            let rounding = 1e-6 * norm(&start);
            assert!(
                norm(&error) <= 0.01 * norm(&known) + rounding,
                "{run}: {} went {:e}, which is {:e} off",
                spec.name,
                norm(&known),
                norm(&error)
            );
            checked += 1;
        }
    }
    assert!(checked > 200, "tensors were checked");
}

#[derive(serde::Deserialize)]
struct Dropped {
    loss: f64,
    gradients: BTreeMap<String, f64>,
}

/// Stochastic depth and dropout for fixed draws. The fixture and the program that made it are in `tests/fixtures/dropping`.
#[test]
fn branches_and_features_are_dropped_and_scaled_as_timm_does() {
    let text = std::fs::read_to_string(fixtures().join("../dropping/dropping.json")).unwrap();
    let cases: BTreeMap<String, Dropped> = serde_json::from_str(&text).unwrap();
    assert!(cases.len() >= 5, "each family");
    for (name, expected) in cases {
        let model = load(&name, Some([32, 32]));
        let options = LoaderOptions::deterministic(model.config().preprocessing().clone(), 24);
        let loader = Loader::new(training_images(), options).unwrap();
        let batch = loader.epoch(0, Order::Sequential, 0).next().unwrap().unwrap();
        let all: Vec<bool> = model.network().specs.iter().map(|spec| spec.role.is_trainable()).collect();
        // In parts that divide the batch unevenly, and all at once.
        for at_once in [None, std::num::NonZeroUsize::new(7)] {
            let what = Differentiation {
                dropping: Some(Dropping { path_rate: 0.5, feature_rate: 0.25, key: 12345, first_image: 0 }),
                at_once,
                ..Differentiation::new(&all)
            };
            let found = loss_gradients(&model, &batch, &what);
            // Single precision against double.
            assert!(
                (found.loss() - expected.loss).abs() < 1e-4,
                "{name}: loss {}, not {}",
                found.loss(),
                expected.loss
            );
            let largest = expected.gradients.values().fold(0.0f64, |largest, norm| largest.max(*norm));
            for (spec, gradient) in model.network().specs.iter().zip(found.gradient_values()) {
                let Some(gradient) = gradient else { continue };
                let norm = gradient.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
                let known = expected.gradients[&spec.name];
                // Next to nothing is rounding.
                assert!(
                    (norm - known).abs() < 1e-3 * known + 1e-6 * largest,
                    "{name}: {} has {norm}, not {known}",
                    spec.name
                );
            }
        }
    }
}
