//! Checkpoints as training scripts write them (`tests/fixtures/checkpoints/generate.py` says which), against timm 1.0.31.

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::tensor::{Device, Tensor, TensorData};

use super::*;
use crate::device::host_values;
use crate::models::Model;
use crate::models::weights::{named_tensors, read_tensors, write_tensors};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/checkpoints").join(name)
}

fn config(architecture: &str) -> ModelConfig {
    ModelConfig::read(&fixture(&format!("{architecture}.json"))).unwrap()
}

/// A file with the narrow model that it was written for, as one with `--arch` is loaded.
fn load(path: &Path, architecture: &str) -> Result<Model, ModelError> {
    let own = config(architecture);
    Model::of_checkpoint(&Checkpoint::open(path)?, &own, own.clone(), Classes::OfTensors, &Device::flex())
}

fn loaded(name: &str, architecture: &str) -> Model {
    load(&fixture(name), architecture).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Compares with what timm computed; values are of the order of 1, and both sum in `f32`.
fn assert_close(output: Tensor<2>, expected: &str, name: &str) {
    let expected = &read_tensors(&fixture("expected.safetensors")).unwrap()[expected];
    let values = host_values(output);
    assert_eq!(values.len(), expected.values.len(), "{name}");
    for (value, expected) in values.iter().zip(&expected.values) {
        assert!((value - expected).abs() <= 1e-5 * expected.abs().max(1.0), "{name}: {value} is not {expected}");
    }
}

/// The images of the fixtures, which PyTorch keeps channels first.
fn images() -> Tensor<4> {
    let input = read_tensors(&fixture("expected.safetensors")).unwrap().remove("input").unwrap();
    let images: Tensor<4> = Tensor::from_data(TensorData::new(input.values, input.shape), &Device::flex());
    images.permute([0, 2, 3, 1])
}

fn told(model: &Model) -> Vec<String> {
    model.notes.iter().map(LoadNote::to_string).collect()
}

#[test]
fn self_supervised_checkpoints_give_the_encoder_without_a_classifier() {
    for (name, architecture, note) in [
        (
            "moco_v1.pth.tar",
            "resnet",
            "took the tensors under module.encoder_q. in state_dict; \
             left 81 of another purpose out (a projection head, a momentum encoder, a queue)",
        ),
        (
            "moco_v2.pth.tar",
            "resnet",
            "took the tensors under module.encoder_q. in state_dict; \
             left 85 of another purpose out (a projection head, a momentum encoder, a queue)",
        ),
        (
            "moco_v3.pth.tar",
            "vit",
            "took the tensors under module.base_encoder. in state_dict; \
             left 25 of another purpose out (a projection head, a predictor, a momentum encoder)",
        ),
        (
            "dino.pth",
            "vit",
            "took the tensors under backbone. in teacher, not those under module.backbone. in student; \
             left 3 of another purpose out (a projection head)",
        ),
        (
            "mae_pretrain.pth",
            "vit",
            "took the tensors in model; left 6 of another purpose out (a decoder, a mask token)",
        ),
        (
            "open_clip.pt",
            "vit",
            "took the tensors under module.visual.trunk. in state_dict; \
             left 7 of another purpose out (a projection head, a text tower)",
        ),
    ] {
        let model = loaded(name, architecture);
        assert_eq!(model.config().num_classes(), 0, "{name}");
        assert_eq!(told(&model), [format!("{name}: {note}")]);
        assert_close(model.pooled_features(images()), &format!("{architecture}.pooled"), name);
    }
}

#[test]
fn classifiers_are_taken_with_their_classes() {
    for (name, architecture, expected, note) in [
        ("swa.pth", "resnet", "resnet", "took the tensors under module.; left 1 of another purpose out (counters)"),
        (
            "lightning.ckpt",
            "resnet",
            "resnet",
            "took the tensors under model. in state_dict; left 1 of another purpose out (a loss)",
        ),
        ("average.pth", "resnet", "resnet", "took the tensors in state_dict_ema, not those in state_dict"),
        ("mae_finetuned.pth", "vit", "vit_fc_norm", "took the tensors in model"),
    ] {
        let model = loaded(name, architecture);
        assert_eq!(model.config().num_classes(), 5, "{name}");
        assert_eq!(told(&model).last().unwrap(), &format!("{name}: {note}"));
        assert_close(model.logits(images()), &format!("{expected}.logits"), name);
        assert_close(model.pooled_features(images()), &format!("{expected}.pooled"), name);
    }
}

#[test]
fn an_architecture_is_read_in_the_file() {
    for (name, architecture) in [
        ("moco_v1.pth.tar", Some("resnet18d")),
        ("lightning.ckpt", Some("resnet18d.ra2_in1k")),
        // In objects of `argparse`, in an archive and in a stream of pickles.
        ("dino.pth", Some("vit_tiny_patch16_224")),
        ("average.pth", Some("resnet18d")),
        // None that can be built.
        ("moco_v3.pth.tar", Some("vit_small")),
        ("mae_pretrain.pth", None),
        ("swa.pth", None),
    ] {
        assert_eq!(Checkpoint::open(&fixture(name)).unwrap().architecture(), architecture, "{name}");
    }
    let refusal =
        |name: &str| Model::load(&fixture(name), None, Clone::clone, &Device::flex()).unwrap_err().to_string();
    assert!(refusal("swa.pth").contains("swa.pth holds weights only, and nothing in it names its architecture"));
    assert!(
        refusal("moco_v3.pth.tar").contains("'vit_small', is not one that retune can build"),
        "{}",
        refusal("moco_v3.pth.tar")
    );
    // The wide architecture that the name stands for, of which the narrow model lacks tensors.
    assert!(refusal("average.pth").contains("lacks the tensor") || refusal("average.pth").contains("too few"));
}

#[test]
fn other_files_are_told_by_their_contents() {
    for (name, says) in [
        ("torchscript.pt", "is a TorchScript program"),
        ("arrays.npz", "is an .npz archive of NumPy arrays"),
        ("archive.pth.tar", "is a tar archive; unpack it"),
        ("generate.py", "is neither a safetensors file nor a checkpoint"),
    ] {
        let error = Checkpoint::open(&fixture(name)).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains(says), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    for (content, says) in [
        (&b""[..], "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "is a web page"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file"),
        (b"\x1f\x8b\x08\x00", "is compressed with gzip"),
        (
            b"PK\x05\x06\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
            "without PyTorch's data.pkl",
        ),
    ] {
        let path = folder.path().join("weights.bin");
        std::fs::write(&path, content).unwrap();
        let error = Checkpoint::open(&path).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}

/// A pickled module is read as its `state_dict()`; no code of its is run.
#[test]
fn a_whole_module_gives_its_tensors() {
    let checkpoint = Checkpoint::open(&fixture("whole_module.pth")).unwrap();
    assert_eq!(checkpoint.names().collect::<Vec<_>>(), ["bias", "weight"]);
    assert_eq!(checkpoint.shape("weight"), Some(&[3, 2][..]));
}

/// One model's tensors by names that `rename` gives them, and more.
fn variant(
    rename: impl Fn(&str) -> Option<String>,
    more: &[(&str, usize)],
    ending: &str,
) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("variant.{ending}"));
    let model = loaded("swa.pth", "resnet");
    let own = named_tensors(&model.parameters, 0..model.parameters.specs().len()).unwrap().into_iter();
    let mut tensors: BTreeMap<String, NamedTensor> =
        own.filter_map(|(name, tensor)| Some((rename(&name)?, tensor))).collect();
    let filled = |size: &usize| NamedTensor { shape: vec![*size], values: vec![0.5; *size] };
    tensors.extend(more.iter().map(|(name, size)| ((*name).to_owned(), filled(size))));
    write_tensors(&path, tensors).unwrap();
    (folder, path)
}

#[test]
fn any_prefix_is_taken_off_whatever_the_ending() {
    let prefixes =
        ["", "module.", "_orig_mod.", "module._orig_mod.", "model.model.", "net.", "backbone.", "encoder.", "a.b.c.d."];
    for (prefix, ending) in
        prefixes.iter().zip(["safetensors", "pth", "pt", "bin", "ckpt", "pth.tar", "model", "0", "tar"])
    {
        let (_folder, path) = variant(|name| Some(format!("{prefix}{name}")), &[], ending);
        let model = load(&path, "resnet").unwrap_or_else(|error| panic!("{prefix}: {error}"));
        assert_close(model.logits(images()), "resnet.logits", prefix);
        let note = format!("variant.{ending}: took the tensors under {prefix}");
        assert_eq!(told(&model), if prefix.is_empty() { vec![] } else { vec![note] });
    }
}

#[test]
fn a_missing_classifier_leaves_a_model_of_features() {
    let (_folder, path) = variant(|name| (!name.starts_with("fc.")).then(|| name.to_owned()), &[], "pth");
    let model = load(&path, "resnet").unwrap();
    assert_eq!((model.config().num_classes(), model.notes.len()), (0, 0));
    assert_close(model.pooled_features(images()), "resnet.pooled", "features");
    // Half a classifier, and a classifier that a directory's config.json promises, are mistakes.
    let (_folder, half) = variant(|name| (name != "fc.bias").then(|| name.to_owned()), &[], "pth");
    assert!(load(&half, "resnet").unwrap_err().to_string().contains("lacks the tensor 'fc.bias'"));
    let (own, checkpoint) = (config("resnet"), Checkpoint::open(&path).unwrap());
    let promised = Model::of_checkpoint(&checkpoint, &own, own.clone(), Classes::OfConfig, &Device::flex());
    assert!(promised.unwrap_err().to_string().contains("lacks the tensor 'fc.weight' and 1 more"));
}

#[test]
fn what_nobody_knows_the_use_of_is_an_error() {
    for (more, named) in [("aux.weight", "aux.weight"), ("model.layer9.weight", "model.layer9.weight"), ("text.w", "")]
    {
        let (_folder, path) = variant(|name| Some(format!("model.{name}")), &[(more, 3)], "ckpt");
        let result = load(&path, "resnet");
        match named {
            "" => assert!(told(&result.unwrap())[0].ends_with("left 1 of another purpose out (a text tower)")),
            named => assert!(result.unwrap_err().to_string().contains(&format!("has the tensor '{named}'"))),
        }
    }
    // A classifier beside the body, which timm's names do not have there, is not left out in silence.
    let rename = |name: &str| Some(if name.starts_with("fc.") { name.to_owned() } else { format!("backbone.{name}") });
    let (_folder, path) = variant(rename, &[], "ckpt");
    assert!(load(&path, "resnet").unwrap_err().to_string().contains("has the tensor 'fc.bias' and 1 more"));
}

#[test]
fn of_two_models_in_one_file_neither_is_guessed() {
    let path = |prefixes: &[&str], double: bool| {
        let model = loaded("swa.pth", "resnet");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("two.safetensors");
        let mut tensors = BTreeMap::new();
        for (at, prefix) in prefixes.iter().enumerate() {
            for (name, mut tensor) in named_tensors(&model.parameters, 0..model.parameters.specs().len()).unwrap() {
                if double && at > 0 {
                    tensor.values.iter_mut().for_each(|value| *value *= 2.0);
                }
                tensors.insert(format!("{prefix}{name}"), tensor);
            }
        }
        write_tensors(&path, tensors).unwrap();
        (folder, path)
    };
    let (_folder, two) = path(&["student.", "teacher."], true);
    let error = load(&two, "resnet").unwrap_err().to_string();
    assert!(error.contains("those under student., and those under teacher."), "{error}");
    // One module under two names, as Lightning saves it, and an average that its name tells.
    for (prefixes, double) in [(["model.", "net."], false), (["model_ema.module.", "model."], true)] {
        let (_folder, two) = path(&prefixes, double);
        let model = load(&two, "resnet").unwrap();
        assert_close(model.logits(images()), "resnet.logits", prefixes[0]);
    }
}

/// A name of a million parts must not take a million looks at each of them.
#[test]
fn odd_names_take_no_time() {
    let long = "a.".repeat(1 << 20);
    let (_folder, path) = variant(|name| Some(name.to_owned()), &[(long.as_str(), 1), ("é.", 1)], "safetensors");
    let start = std::time::Instant::now();
    load(&path, "resnet").unwrap_err();
    assert!(start.elapsed() < std::time::Duration::from_secs(10));
}
