//! Models of torchvision, transformers, open_clip and DINOv2 under their own names, against what those projects compute.
//! The fixtures and the program that made them are in `tests/fixtures/naming`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use retune::models::weights::{NamedTensor, read_tensors};
use retune::models::{HeadInitialization, Model, ModelError};
use retune::pixels::channels::Channels;
use retune::pixels::preprocess::{CropMode, Preprocessing};
use retune::pixels::resize::Interpolation;

/// As for timm's models: float32 with sums in another order.
const TOLERANCE: f64 = 1e-4;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/naming")
}

fn load(directory: &Path) -> Result<Model, ModelError> {
    Model::load(directory, None, Preprocessing::clone, &Device::flex())
}

fn fixture(name: &str) -> Model {
    load(&fixtures().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn expected(name: &str) -> BTreeMap<String, NamedTensor> {
    read_tensors(&fixtures().join(name).join("expected.safetensors")).unwrap()
}

/// Images as a model takes them; in PyTorch's files channels come before height and width.
fn tensor(input: &NamedTensor) -> Tensor<4> {
    let shape: [usize; 4] = input.shape.clone().try_into().unwrap();
    let images: Tensor<4> = Tensor::from_data(TensorData::new(input.values.clone(), shape), &Device::flex());
    images.permute([0, 2, 3, 1])
}

fn values(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().iter().collect()
}

/// Largest difference relative to the largest expected value.
fn relative_difference(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
    let difference = found.iter().zip(expected).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
    f64::from(difference) / f64::from(largest)
}

/// Checks pooled features and, where the fixture has them, logits.
fn check(name: &str, model: &Model, expected: &BTreeMap<String, NamedTensor>) {
    let input = tensor(&expected["input"]);
    let difference = relative_difference(&values(model.pooled_features(input.clone())), &expected["pooled"].values);
    assert!(difference < TOLERANCE, "{name}: pooled features differ by {difference:e}");
    match expected.get("logits") {
        Some(logits) => {
            let difference = relative_difference(&values(model.logits(input)), &logits.values);
            assert!(difference < TOLERANCE, "{name}: logits differ by {difference:e}");
        }
        None => assert_eq!(model.config().num_classes(), 0, "{name}"),
    }
}

fn names() -> Vec<String> {
    let entries = std::fs::read_dir(fixtures()).unwrap().map(|entry| entry.unwrap().path());
    let folders = entries.filter(|path| path.is_dir());
    let mut names: Vec<String> = folders.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    names.sort();
    assert!(names.len() >= 20, "the fixtures are there");
    names
}

#[test]
fn features_and_logits_are_those_of_the_projects_themselves() {
    for name in names() {
        check(&name, &fixture(&name), &expected(&name));
    }
}

/// What a run writes is timm's, so it must be the same model when it is read again.
#[test]
fn what_is_written_is_read_as_the_same_model() {
    for name in names() {
        let (model, folder) = (fixture(&name), tempfile::tempdir().unwrap());
        model.save(folder.path()).unwrap();
        let again = load(folder.path()).unwrap();
        assert!(model.parameters.equal(&again.parameters).unwrap(), "{name}");
        assert_eq!(model.config(), again.config(), "{name}");
        check(&name, &again, &expected(&name));
        // Keys of transformers would make timm take the directory for something else.
        let config = std::fs::read_to_string(folder.path().join("config.json")).unwrap();
        assert!(config.contains("\"architecture\"") && !config.contains("model_type"), "{name}: {config}");
    }
}

#[test]
fn a_transformers_model_takes_new_classes() {
    let model = fixture("transformers_vit");
    let classes = ["cat".to_owned(), "dog".to_owned()];
    let changed = model.with_classes(&classes, HeadInitialization::Zeros, 0).unwrap();
    let folder = tempfile::tempdir().unwrap();
    changed.save(folder.path()).unwrap();
    let again = load(folder.path()).unwrap();
    assert_eq!(again.config().label_names().unwrap(), classes);
    // The epsilon of 1e-12, which timm has no name for, comes along.
    assert_eq!(again.config().model_args(), model.config().model_args());
    assert_eq!(again.config().model_args()["norm_eps"], 1e-12);
}

#[test]
fn transformers_class_names_are_kept_and_its_default_ones_are_not() {
    let named = fixture("transformers_vit").config().label_names().unwrap();
    assert_eq!(named, ["tench", "goldfish", "great white shark"]);
    let unnamed = fixture("transformers_convnext");
    assert_eq!((unnamed.config().num_classes(), unnamed.config().label_names()), (3, None));
}

#[test]
fn transformers_preprocessing_is_taken_over() {
    let own = |side: u32, interpolation, crop_pct, crop_mode| Preprocessing {
        white: None,
        width: side,
        height: side,
        interpolation,
        crop_pct,
        crop_mode,
        channels: Channels::Rgb,
        mean: vec![0.1, 0.2, 0.3],
        std: vec![0.4, 0.5, 0.6],
    };
    for (name, expected) in [
        // Both sides to 32, by the filter that `resample` 2 is.
        ("transformers_vit", own(32, Interpolation::Bilinear, 1.0, CropMode::Squash)),
        // Both sides to 36, then 32 of them.
        ("transformers_deit", own(32, Interpolation::Bicubic, 32.0 / 36.0, CropMode::Squash)),
        // The short side to 32, then 24 of it.
        ("transformers_dinov2_classifier", own(24, Interpolation::Bicubic, 0.75, CropMode::Center)),
        ("transformers_convnext", own(36, Interpolation::Bicubic, 0.9, CropMode::Center)),
    ] {
        assert_eq!(fixture(name).config().preprocessing(), &expected, "{name}");
    }
    // Without a file, the size that its position embedding was trained for.
    let without = fixture("transformers_vit_without_classifier");
    assert_eq!((without.config().preprocessing().width, without.config().preprocessing().height), (32, 32));
}

/// A copy of a fixture with something changed in its `config.json`.
fn changed_config(name: &str, key: &str, value: serde_json::Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixtures().join(name)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = folder.path().join("config.json");
    let mut config: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    config[key] = value;
    std::fs::write(&path, config.to_string()).unwrap();
    folder
}

/// Settings that change what a model computes and that no architecture here has.
#[test]
fn what_timms_models_do_not_compute_is_refused_by_name() {
    for (name, key, value, told) in [
        ("transformers_resnet_bottleneck", "downsample_in_bottleneck", true.into(), "'downsample_in_bottleneck'"),
        ("transformers_resnet_basic", "embedding_size", 32.into(), "'embedding_size' must be 64"),
        ("transformers_resnet_basic", "downsample_in_first_stage", true.into(), "'downsample_in_first_stage'"),
        ("transformers_vit", "hidden_act", "selu".into(), "the activation 'selu'"),
        ("transformers_vit", "num_channels", 1.into(), "'num_channels' must be 3"),
        ("transformers_vit", "model_type", "swin".into(), "model type 'swin' is not supported"),
        ("transformers_vit", "hidden_size", 0.into(), "'hidden_size' must be"),
        ("transformers_vit", "id2label", serde_json::json!({"0": "a", "7": "b"}), "'id2label'"),
        ("transformers_vit", "patch_size", serde_json::json!([8, 4]), "'patch_size' must be square"),
        ("transformers_dinov2", "use_swiglu_ffn", true.into(), "SwiGLU"),
        ("transformers_convnext", "num_stages", 3.into(), "'num_stages'"),
    ] {
        let folder = changed_config(name, key, value);
        let error = load(folder.path()).unwrap_err().to_string();
        assert!(error.contains(told) && error.contains("config.json"), "{key}: {error}");
    }
}

/// timm's `tf_` architectures have the shapes of torchvision's EfficientNet and pad otherwise.
#[test]
fn an_efficientnet_of_another_convention_is_refused() {
    let folder = changed_config("torchvision_efficientnet", "architecture", "tf_efficientnet_b0".into());
    let error = load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("torchvision's EfficientNet pads both sides alike"), "{error}");

    let args = serde_json::json!({"layers": [1]});
    let folder = changed_config("torchvision_resnet", "model_args", args);
    assert!(load(folder.path()).is_err());
}
