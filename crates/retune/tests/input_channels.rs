//! Checkpoints for other numbers of channels: adapted as timm adapts them, and written so that they load again. The
//! fixtures and the program that made them are in `tests/fixtures/channels`.

mod common;

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use image::{GrayImage, Luma};
use retune::loading::{Loader, LoaderOptions, Order};
use retune::models::{Model, ModelConfig};
use retune::pixels::channels::Channels;
use retune::pixels::preprocess::Preprocessing;
use retune::sources::DataSource;
use serde_json::{Value, json};

use common::fixtures;

fn load(path: &Path, channels: Channels) -> Model {
    let adapt = |own: &Preprocessing| own.with_channels(channels);
    Model::load(path, None, adapt, &Device::flex()).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The logits of the two images that `adapted.py` describes.
fn logits(model: &Model) -> Vec<f32> {
    let preprocessing = model.config().preprocessing();
    let shape = [2, preprocessing.channels.count(), preprocessing.height as usize, preprocessing.width as usize];
    let count = shape.iter().product::<usize>();
    let images = (0..count).map(|k| ((k * 37 % 101) as f32 - 50.0) / 25.0).collect::<Vec<f32>>();
    let images: Tensor<4> = Tensor::from_data(TensorData::new(images, shape), &Device::flex());
    model.logits(images.permute([0, 2, 3, 1])).into_data().iter().collect()
}

#[test]
fn adapted_models_give_timms_logits() {
    let path = fixtures().join("../channels/adapted.json");
    let expected: BTreeMap<String, Vec<f32>> = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(expected.len(), 36);
    for (case, expected) in &expected {
        let (name, count) = case.rsplit_once('.').unwrap();
        let channels = Channels::try_from(count.parse::<u64>().unwrap()).unwrap();
        let model = load(&fixtures().join(name), channels);
        let found = logits(&model);
        let largest = expected.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        for (found, expected) in found.iter().zip(expected) {
            // As in `timm_parity.rs`: float32 with sums in another order.
            assert!((found - expected).abs() < 1e-4 * largest, "{case}: {found} is not {expected}");
        }
        let own = Model::load(&fixtures().join(name), None, Clone::clone, &Device::flex()).unwrap();
        let changed = own.config().preprocessing().channels != channels;
        assert_eq!(model.notes.len(), usize::from(changed), "{case}: {:?}", model.notes);
    }
}

#[test]
fn a_note_says_what_became_of_the_stem() {
    let note = |name: &str, channels| load(&fixtures().join(name), channels).notes[0].to_string();
    assert_eq!(
        note("resnet_deep_stem", Channels::Gray),
        "model.safetensors: conv1.0.weight is for 3 channels; the model takes one, with the sum of their weights"
    );
    assert_eq!(
        note("vit", Channels::Rgba),
        "model.safetensors: patch_embed.proj.weight is for 3 channels; the model takes 4, with these weights, repeated, \
         times 3/4"
    );
}

#[test]
fn what_is_written_loads_again_without_being_adapted() {
    for (name, channels) in
        [("convnext", Channels::Gray), ("efficientnet", Channels::Rgba), ("vit_rgba", Channels::Rgb)]
    {
        let folder = tempfile::tempdir().unwrap();
        let model = load(&fixtures().join(name), channels);
        model.save(folder.path()).unwrap();
        let again = Model::load(folder.path(), None, Clone::clone, &Device::flex()).unwrap();
        assert_eq!(again.notes, []);
        assert_eq!(again.config().preprocessing(), model.config().preprocessing());
        assert_eq!(logits(&again), logits(&model), "{name}");

        // What timm reads, for its constructor and for its users' transforms.
        let config = std::fs::read(folder.path().join("config.json")).unwrap();
        let config: Value = serde_json::from_slice(&config).unwrap();
        let count = channels.count();
        assert_eq!(config["model_args"]["in_chans"], json!(count), "{name}");
        let cfg = &config["pretrained_cfg"];
        assert_eq!(cfg["input_size"][0], json!(count), "{name}");
        assert!(cfg["test_input_size"].is_null() || cfg["test_input_size"][0] == json!(count), "{name}");
        assert_eq!([cfg["mean"].as_array().unwrap().len(), cfg["std"].as_array().unwrap().len()], [count; 2], "{name}");
    }
}

#[test]
fn channels_are_read_where_timm_writes_them() {
    let parse = |keys: &str| ModelConfig::parse(&format!(r#"{{"architecture": "resnet18", {keys}}}"#), "config.json");
    let own = |keys: &str| parse(keys).unwrap().preprocessing().clone();
    let gray = own(r#""pretrained_cfg": {"input_size": [1, 28, 28], "mean": [0.1307], "std": [0.3081]}"#);
    assert_eq!((gray.channels, gray.mean, gray.std), (Channels::Gray, vec![0.1307], vec![0.3081]));
    // timm's constructor was told; what describes the images still is ImageNet's.
    let gray = own(r#""model_args": {"in_chans": 1}"#);
    assert_eq!((gray.channels, gray.mean), (Channels::Gray, vec![0.449]));
    let four = own(r#""model_args": {"in_chans": 4}, "pretrained_cfg": {"mean": [0.5], "std": [0.2, 0.3, 0.4]}"#);
    assert_eq!((four.channels, four.mean, four.std), (Channels::Rgba, vec![0.5; 4], vec![0.2, 0.3, 0.4, 0.2]));
    assert_eq!(own(r#""num_classes": 5"#).channels, Channels::Rgb);
    for count in [0, 5] {
        let error = parse(&format!(r#""model_args": {{"in_chans": {count}}}"#)).unwrap_err().to_string();
        assert!(error.starts_with("config.json: ") && error.ends_with(&format!("channels, not {count}")), "{error}");
    }
    let error = parse(r#""pretrained_cfg": {"input_size": [4, 28, 28], "mean": [0.1, 0.2]}"#).unwrap_err().to_string();
    assert_eq!(error, "config.json: 'mean' must be a finite number for each channel");
}

/// 16-bit gray images keep one channel on the way through a loader, by the white level as ever.
#[test]
fn a_loader_gives_one_channel_of_gray_images() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("class")).unwrap();
    let image = image::ImageBuffer::from_fn(4, 3, |x, y| Luma([(x + 4 * y) as u16 * 300]));
    image.save(folder.path().join("class/a.png")).unwrap();
    GrayImage::from_fn(4, 3, |x, y| Luma([(x + 4 * y) as u8])).save(folder.path().join("class/b.png")).unwrap();
    let config = ModelConfig::parse(
        r#"{"architecture": "resnet18", "pretrained_cfg": {"input_size": [1, 3, 4], "mean": [0.0], "std": [1.0],
            "crop_pct": 1.0, "crop_mode": "squash"}}"#,
        "config.json",
    );
    let preprocessing = Preprocessing { white: NonZeroU16::new(3300), ..config.unwrap().preprocessing().clone() };
    let dataset = DataSource::open(folder.path()).unwrap().all();
    let options = LoaderOptions { threads: 1, ..LoaderOptions::deterministic(preprocessing, 2) };
    let batch = Loader::new(dataset, options).unwrap().epoch(0, Order::Sequential, 0).next().unwrap().unwrap();
    let levels: Vec<u8> = batch.images.iter().map(|value| (value * 255.0).round() as u8).collect();
    // round(300 k · 255 / 3300), and the other image's own levels.
    assert_eq!(levels[..12], [0, 23, 46, 70, 93, 116, 139, 162, 185, 209, 232, 255]);
    assert_eq!(levels[12..], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
}
