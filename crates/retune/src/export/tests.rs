//! What is written, read back by the same messages. That ONNX Runtime computes the same with it is checked from Python, in
//! `python/tests/test_export.py`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use prost::Message;
use retune_pixels::preprocess::{CropMode, Preprocessing};
use retune_pixels::resize::Interpolation;
use serde_json::{Value, json};

use super::onnx::messages::{DataLocation, GraphProto, ModelProto, TensorProto, dimension};
use super::*;
use crate::files::little_endian;
use crate::models::{HeadInitialization, ModelConfig};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models")
}

fn load(name: &str, change: impl FnOnce(&Preprocessing) -> Preprocessing) -> Model {
    Model::load(&fixtures().join(name), None, change, &Device::flex()).unwrap()
}

fn own(name: &str) -> Model {
    load(name, Clone::clone)
}

fn read(path: &Path) -> ModelProto {
    ModelProto::decode(std::fs::read(path).unwrap().as_slice()).unwrap()
}

/// The file of a model, and its graph.
fn exported(model: &Model, options: &OnnxOptions) -> (ModelProto, GraphProto) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.onnx");
    write_onnx(model, &path, options).unwrap();
    let mut file = read(&path);
    let graph = file.graph.take().unwrap();
    (file, graph)
}

fn operators(graph: &GraphProto) -> BTreeSet<&str> {
    graph.node.iter().map(|node| node.op_type.as_str()).collect()
}

fn tensor<'a>(graph: &'a GraphProto, name: &str) -> &'a TensorProto {
    graph.initializer.iter().find(|tensor| tensor.name == name).unwrap_or_else(|| panic!("{name} is missing"))
}

fn metadata(file: &ModelProto, key: &str) -> Option<String> {
    file.metadata_props.iter().find(|entry| entry.key == key).map(|entry| entry.value.clone())
}

fn dimensions(port: &super::onnx::messages::ValueInfoProto) -> Vec<String> {
    let shape = port.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap().shape.as_ref().unwrap();
    let shown = |value: &dimension::Value| match value {
        dimension::Value::DimValue(size) => size.to_string(),
        dimension::Value::DimParam(name) => name.clone(),
    };
    shape.dim.iter().map(|dimension| shown(dimension.value.as_ref().unwrap())).collect()
}

#[test]
fn every_fixture_becomes_a_graph_whose_values_are_all_there() {
    let mut checked = 0;
    for entry in std::fs::read_dir(fixtures()).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.join("config.json").is_file() {
            continue;
        }
        let model = Model::load(&folder, None, Clone::clone, &Device::flex()).unwrap();
        for opset in OPSETS {
            let (file, graph) = exported(&model, &OnnxOptions { opset, ..OnnxOptions::default() });
            assert_eq!(file.opset_import[0].version, i64::from(opset));
            let preprocessing = model.config().preprocessing();
            let channels = preprocessing.channels.count().to_string();
            let (height, width) = (preprocessing.height.to_string(), preprocessing.width.to_string());
            assert_eq!(graph.input[0].name, "pixel_values");
            assert_eq!(dimensions(&graph.input[0]), ["batch", &channels, &height, &width]);
            assert_eq!(graph.output[0].name, "logits");
            assert_eq!(dimensions(&graph.output[0]), ["batch", &model.config().num_classes().to_string()]);
            // Each value is there before it is used, and no two have the same name.
            let mut known: BTreeSet<&str> = graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
            known.insert("pixel_values");
            let (mut used, constants) = (BTreeSet::new(), known.len());
            assert_eq!(constants, graph.initializer.len() + 1, "two tensors have the same name");
            for node in &graph.node {
                for input in &node.input {
                    assert!(known.contains(input.as_str()), "{}: {input}", folder.display());
                    used.insert(input.as_str());
                }
                assert!(known.insert(&node.output[0]), "{}: {}", folder.display(), node.output[0]);
            }
            used.insert("logits");
            assert_eq!(used, known, "{}: a value is not used", folder.display());
        }
        checked += 1;
    }
    assert!(checked > 25, "the fixtures are there");
}

#[test]
fn weights_have_timms_names_and_values() {
    let model = own("resnet_basic");
    let (_, graph) = exported(&model, &OnnxOptions::default());
    for (index, spec) in model.parameters.specs().iter().enumerate() {
        let found = tensor(&graph, &spec.name);
        assert_eq!(found.dims, spec.shape.iter().map(|&size| size as i64).collect::<Vec<_>>());
        assert_eq!(found.raw_data, little_endian(&model.parameters.values(index)), "{}", spec.name);
    }
    // The weight of a linear layer of tokens is on its side, as MatMul takes it.
    let model = own("vit");
    let (_, graph) = exported(&model, &OnnxOptions::default());
    let index = model.parameters.position("blocks.0.mlp.fc1.weight").unwrap();
    let (outputs, inputs) = (model.parameters.specs()[index].shape[0], model.parameters.specs()[index].shape[1]);
    let found = tensor(&graph, "blocks.0.mlp.fc1.weight.transposed");
    assert_eq!(found.dims, [inputs as i64, outputs as i64]);
    let values = model.parameters.values(index);
    assert_eq!(found.raw_data[4 * (2 * outputs + 3)..][..4], values[3 * inputs + 2].to_le_bytes());
}

#[test]
fn operators_are_those_of_the_opset() {
    let model = own("vit");
    let of = |opset| exported(&model, &OnnxOptions { opset, ..OnnxOptions::default() });
    let (file, graph) = of(18);
    assert_eq!(file.ir_version, 8);
    assert!(operators(&graph).contains("Erf") && !operators(&graph).contains("Gelu"));
    let (file, graph) = of(20);
    assert_eq!(file.ir_version, 9);
    assert!(operators(&graph).contains("Gelu") && !operators(&graph).contains("Erf"));
}

#[test]
fn outputs_are_logits_probabilities_or_features() {
    let model = own("resnet_basic");
    let of = |output| exported(&model, &OnnxOptions { output, ..OnnxOptions::default() }).1;
    let features = of(Output::Features);
    assert_eq!(features.output[0].name, "features");
    let width = model.parameters.specs()[model.head_parameters().unwrap().0].shape[1];
    assert_eq!(dimensions(&features.output[0]), ["batch", &width.to_string()]);
    assert!(features.initializer.iter().all(|tensor| !tensor.name.starts_with("fc.")), "the head is left out");
    assert!(operators(&of(Output::Probabilities)).contains("Softmax"));
    let several = model.clone().for_several_labels();
    let (file, graph) = exported(&several, &OnnxOptions { output: Output::Probabilities, ..OnnxOptions::default() });
    assert!(operators(&graph).contains("Sigmoid") && !operators(&graph).contains("Softmax"));
    assert_eq!(metadata(&file, "multi_label").as_deref(), Some("true"));
}

#[test]
fn the_file_says_what_the_model_is() {
    // A line break, quotes, a long name, and one beyond the basic plane come back as they are.
    let long = "x".repeat(100_000);
    let classes: Vec<String> = ["a\n\"b\"", "ж\u{1f600}", long.as_str(), ""].map(str::to_owned).into();
    let model = own("resnet_basic").with_classes(&classes, HeadInitialization::Zeros, 0).unwrap();
    let (file, graph) = exported(&model, &OnnxOptions { method: Some("lora".into()), ..OnnxOptions::default() });
    assert_eq!((file.producer_name.as_str(), file.producer_version.as_str()), ("retune", env!("CARGO_PKG_VERSION")));
    assert_eq!(graph.name, model.config().architecture());
    let text = |key: &str| metadata(&file, key).unwrap_or_else(|| panic!("{key} is missing"));
    assert_eq!(serde_json::from_str::<Vec<String>>(&text("class_names")).unwrap(), classes);
    assert_eq!(text("method"), "lora");
    let preprocessing = model.config().preprocessing();
    assert_eq!(text("size"), format!("[{},{}]", preprocessing.height, preprocessing.width));
    assert_eq!(text("interpolation"), preprocessing.interpolation.name());
    assert_eq!(text("retune_version"), env!("CARGO_PKG_VERSION"));
    let mean: Vec<f32> = serde_json::from_str(&text("mean")).unwrap();
    assert_eq!(mean, preprocessing.mean);
    assert!(text("mean").len() < 30, "0.485 is not written with the digits of its nearest single: {}", text("mean"));
}

#[test]
fn weights_can_be_beside_the_graph() {
    let model = own("convnext");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    let (_, whole) = exported(&model, &OnnxOptions::default());
    let options = OnnxOptions { external_data: true, ..OnnxOptions::default() };
    let written = write_onnx(&model, &path, &options).unwrap();
    assert_eq!(written.weights, Some(folder.path().join("m.onnx.data")));
    let bytes = std::fs::read(written.weights.unwrap()).unwrap();
    let graph = read(&path).graph.unwrap();
    assert_eq!((&graph.node, &graph.input, &graph.output), (&whole.node, &whole.input, &whole.output));
    let mut apart = 0;
    for (tensor, known) in graph.initializer.iter().zip(&whole.initializer) {
        assert_eq!((&tensor.name, &tensor.dims, tensor.data_type), (&known.name, &known.dims, known.data_type));
        if tensor.data_location() == DataLocation::Default {
            assert_eq!(tensor.raw_data, known.raw_data);
            continue;
        }
        let value = |key: &str| &tensor.external_data.iter().find(|entry| entry.key == key).unwrap().value;
        let (offset, length): (usize, usize) = (value("offset").parse().unwrap(), value("length").parse().unwrap());
        assert_eq!((value("location").as_str(), offset % 4096), ("m.onnx.data", 0));
        assert_eq!(bytes[offset..offset + length], known.raw_data);
        apart += 1;
    }
    assert!(apart > 3);
}

#[test]
fn the_preprocessing_is_part_of_the_graph_where_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.onnx");
    let options = OnnxOptions { with_preprocessing: true, ..OnnxOptions::default() };
    let written = write_onnx(&own("resnet_gray"), &path, &options).unwrap();
    assert_eq!((written.input.name, written.preprocessor), ("pixels", None));
    assert_eq!(written.input.shape, ["batch", "height", "width", "1"]);
    let graph = read(&path).graph.unwrap();
    assert_eq!(dimensions(&graph.input[0]), ["batch", "height", "width", "1"]);
    assert!(operators(&graph).contains("Resize"));
    assert!(!folder.path().join(PREPROCESSOR_FILE).exists());
}

#[test]
fn what_cannot_be_exported_is_refused_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |model: &Model, options: &OnnxOptions| {
        let error = write_onnx(model, &folder.path().join("m.onnx"), options).unwrap_err().to_string();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "{error}");
        error
    };
    let plain = OnnxOptions::default;
    let with_preprocessing = || OnnxOptions { with_preprocessing: true, ..plain() };
    let model = own("resnet_basic");
    assert_eq!(refused(&model, &OnnxOptions { opset: 16, ..plain() }), "opset 16 is not one of 17 to 22");
    let old = OnnxOptions { opset: 17, ..with_preprocessing() };
    assert_eq!(refused(&model, &old), "opset 17 cannot resize images as the model needs it; 18 can");
    let lanczos = load("resnet_basic", |own| Preprocessing { interpolation: Interpolation::Lanczos, ..own.clone() });
    let error = refused(&lanczos, &with_preprocessing());
    assert_eq!(error, "ONNX cannot resize images by lanczos; export the model without its preprocessing");
    let error = refused(&own("vit_rgba"), &with_preprocessing());
    assert!(error.contains("4 channels"), "{error}");
    let headless = model.with_classes(&[], HeadInitialization::Zeros, 0).unwrap();
    for output in [Output::Logits, Output::Probabilities] {
        let error = refused(&headless, &OnnxOptions { output, ..plain() });
        assert!(error.contains("has no classifier"), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let error = write_onnx(&headless, folder.path(), &OnnxOptions { output: Output::Features, ..plain() });
    assert!(error.unwrap_err().to_string().contains("it is a folder"));
}

/// Preprocessing of squares of 224 pixels.
fn square(crop_mode: CropMode, crop_pct: f64) -> Preprocessing {
    let of_timm = ModelConfig::of_architecture("resnet18").unwrap();
    Preprocessing { crop_mode, crop_pct, interpolation: Interpolation::Bicubic, ..of_timm.preprocessing().clone() }
}

#[test]
fn hugging_faces_processors_are_told_how_images_are_prepared() {
    let written = |preprocessing: &Preprocessing| -> Option<Value> {
        preprocessor_config::of(preprocessing).map(|text| serde_json::from_str(&text).unwrap())
    };
    let center = written(&square(CropMode::Center, 0.875)).unwrap();
    assert_eq!(center["image_processor_type"], "BitImageProcessor");
    assert_eq!((&center["size"], &center["resample"]), (&json!({"shortest_edge": 256}), &json!(3)));
    assert_eq!(center["crop_size"], json!({"height": 224, "width": 224}));
    assert_eq!(center["image_mean"], json!([0.485, 0.456, 0.406]));
    let squash = written(&square(CropMode::Squash, 1.0)).unwrap();
    assert_eq!(squash["image_processor_type"], "ViTImageProcessor");
    assert_eq!(squash["size"], json!({"height": 224, "width": 224}));
    let cropped = written(&square(CropMode::Squash, 0.9)).unwrap();
    assert_eq!(cropped["image_processor_type"], "DeiTImageProcessor");
    assert_eq!(cropped["size"], json!({"height": 248, "width": 248}));
    // No processor does these.
    let plain = square(CropMode::Center, 0.9);
    for other in [
        square(CropMode::Border, 1.0),
        Preprocessing { width: 320, ..plain.clone() },
        Preprocessing { interpolation: Interpolation::OpencvBilinear, ..plain.clone() },
        plain.with_channels(Channels::Gray),
    ] {
        assert_eq!(written(&other), None, "{other}");
    }
}

/// What is written is read back as the same preprocessing, by the reader of transformers' models.
#[test]
fn the_file_for_hugging_faces_processors_is_understood_here_too() {
    let model = json!({
        "model_type": "vit", "architectures": ["ViTForImageClassification"], "hidden_size": 192,
        "num_hidden_layers": 12, "num_attention_heads": 3, "intermediate_size": 768, "image_size": 224, "patch_size": 16,
        "hidden_act": "gelu", "layer_norm_eps": 1e-6, "id2label": {"0": "a", "1": "b"},
    });
    for preprocessing in [square(CropMode::Center, 0.875), square(CropMode::Squash, 1.0), square(CropMode::Squash, 0.9)]
    {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), model.to_string()).unwrap();
        let text = preprocessor_config::of(&preprocessing).unwrap();
        std::fs::write(folder.path().join(PREPROCESSOR_FILE), text).unwrap();
        let read = ModelConfig::read(&folder.path().join("config.json")).unwrap();
        let crop_pct = preprocessing.crop_pct;
        let found = read.preprocessing();
        // The fraction is computed from whole pixels, so it may differ in a digit that changes no size.
        assert!((found.crop_pct - crop_pct).abs() < 0.005, "{crop_pct} became {}", found.crop_pct);
        assert_eq!(Preprocessing { crop_pct, ..found.clone() }, preprocessing);
    }
}

#[test]
fn another_preprocessing_beside_the_file_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (path, beside) = (folder.path().join("m.onnx"), folder.path().join(PREPROCESSOR_FILE));
    let model = load("resnet_basic", |own| Preprocessing { crop_mode: CropMode::Center, ..own.clone() });
    let write = || write_onnx(&model, &path, &OnnxOptions::default());
    assert_eq!(write().unwrap().preprocessor, Some(beside.clone()));
    // Once more is no conflict.
    write().unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&beside, "{}").unwrap();
    assert!(
        write()
            .unwrap_err()
            .to_string()
            .ends_with("describes another preprocessing; choose another folder, or remove it")
    );
    assert!(!path.exists());
    assert_eq!(std::fs::read_to_string(&beside).unwrap(), "{}");
}
