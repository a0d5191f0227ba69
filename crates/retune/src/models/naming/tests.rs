use std::path::Path;

use serde_json::{Map, Value, json};

use super::*;
use crate::models::architectures;
use crate::models::weights::read_tensors;

fn network(architecture: &str, args: Value, size: usize) -> Network {
    let args: Map<String, Value> = args.as_object().cloned().unwrap();
    architectures::build(architecture, &args, 3, Some((size, size))).unwrap()
}

fn vision_transformer() -> Network {
    let args = json!({"patch_size": 8, "embed_dim": 8, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0});
    network("vit_base_patch16_224", args, 32)
}

fn fixture(name: &str) -> Tensors {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/naming").join(name);
    let files = ["model.safetensors", "pytorch_model.bin"].map(|file| folder.join(file));
    read_tensors(files.iter().find(|path| path.is_file()).unwrap()).unwrap()
}

const FIXTURES: [(&str, Scheme); 10] = [
    ("torchvision_vit", Scheme::Torchvision),
    ("torchvision_convnext", Scheme::Torchvision),
    ("torchvision_efficientnet", Scheme::Torchvision),
    ("transformers_resnet_basic", Scheme::Transformers),
    ("transformers_vit", Scheme::Transformers),
    ("transformers_convnext_v2", Scheme::Transformers),
    ("transformers_dinov2_registers", Scheme::Transformers),
    ("openai_clip", Scheme::Clip),
    ("dinov2", Scheme::DinoV2),
    ("dinov2_registers", Scheme::DinoV2),
];

#[test]
fn a_scheme_is_recognized_under_any_prefix_and_timms_own_names_are_none() {
    for (name, scheme) in FIXTURES {
        let names: Vec<String> = fixture(name).into_keys().collect();
        assert_eq!(recognize(names.iter().map(String::as_str)), Some((scheme, "")), "{name}");
        let wrapped: Vec<String> = names.iter().map(|name| format!("module.{name}")).collect();
        assert_eq!(recognize(wrapped.iter().map(String::as_str)), Some((scheme, "module.")), "{name}");
    }
    let own: Vec<String> = vision_transformer().specs.iter().map(|spec| spec.name.clone()).collect();
    assert_eq!(recognize(own.iter().map(String::as_str)), None);
    assert_eq!(recognize(fixture("torchvision_resnet").keys().map(String::as_str)), None);
}

#[test]
fn what_has_no_place_in_timms_model_is_listed() {
    let network = vision_transformer();
    let left_out = |name: &str| to_timm(fixture(name), &network).unwrap().left_out;
    assert_eq!(left_out("transformers_vit_without_classifier"), ["pooler.dense.bias", "pooler.dense.weight"]);
    assert_eq!(left_out("dinov2"), ["mask_token"]);
    // The network here has three classes, so the projection to twelve is no head of its.
    let clip = left_out("openai_clip");
    assert!(clip.contains(&"visual.proj".into()) && clip.contains(&"token_embedding.weight".into()), "{clip:?}");
    assert!(clip.iter().all(|name| !name.starts_with("visual.") || name == "visual.proj"), "{clip:?}");
}

#[test]
fn queries_keys_and_values_of_different_shapes_are_refused() {
    let mut tensors = fixture("transformers_vit");
    let key = "vit.encoder.layer.1.attention.attention.key.weight";
    tensors.insert(key.into(), NamedTensor { shape: vec![4, 8], values: vec![0.0; 32] });
    let error = to_timm(tensors, &vision_transformer()).unwrap_err().to_string();
    assert!(error.contains("blocks.1.attn.query.weight, key and value") && error.contains("[4, 8]"), "{error}");
}

#[test]
fn two_tensors_of_one_name_are_refused() {
    let mut tensors = fixture("transformers_vit");
    tensors.insert("embeddings.cls_token".into(), NamedTensor { shape: vec![1], values: vec![0.0] });
    let error = to_timm(tensors, &vision_transformer()).unwrap_err();
    assert!(matches!(error, NamingError::Twice { name, .. } if name == "cls_token"));
}

#[test]
fn the_modified_resnet_of_clip_is_refused_in_words() {
    let names = ["visual.attnpool.positional_embedding", "visual.conv1.weight", "visual.layer1.0.conv1.weight"];
    let tensor = NamedTensor { shape: vec![1], values: vec![0.0] };
    let tensors = names.map(|name| (name.to_owned(), tensor.clone())).into();
    let error = to_timm(tensors, &vision_transformer()).unwrap_err().to_string();
    assert_eq!(error, "CLIP's modified ResNet, which pools by attention, is not supported");
}

#[test]
fn a_class_token_and_positions_of_different_widths_are_refused() {
    for (token, positions) in [([1, 1, 8], [1, 17, 4]), ([1, 2, 8], [1, 17, 8]), ([1, 1, 8], [1, 0, 8])] {
        let tensor = |shape: [usize; 3]| NamedTensor { shape: shape.into(), values: vec![0.0; shape.iter().product()] };
        let mut tensors = fixture("dinov2_registers");
        tensors.insert("cls_token".into(), tensor(token));
        tensors.insert("pos_embed".into(), tensor(positions));
        let error = to_timm(tensors, &vision_transformer()).unwrap_err().to_string();
        assert!(error.contains("the class token and the position embedding"), "{error}");
    }
}

/// Shapes of every kind under names of every scheme: an answer or an error, and never a panic.
#[test]
fn no_shape_makes_it_panic() {
    let shapes: [&[usize]; 9] = [&[], &[0], &[1], &[8], &[0, 1 << 40], &[3, 0], &[2, 4], &[1, 2, 4], &[1, 1, 1, 8]];
    let networks = [
        vision_transformer(),
        network("vit_small_patch14_dinov2", json!({"patch_size": 8, "embed_dim": 8, "num_heads": 2, "depth": 2}), 24),
        network("vit_base_patch16_clip_224", json!({"patch_size": 8, "embed_dim": 8, "num_heads": 2, "depth": 2}), 32),
        network("efficientnet_b0", json!({}), 32),
    ];
    let mut answered = 0;
    for (name, _) in FIXTURES {
        let tensors = fixture(name);
        for changed in tensors.keys() {
            for shape in shapes {
                let values = vec![0.5; shape.iter().product()];
                let mut tensors = tensors.clone();
                tensors.insert(changed.clone(), NamedTensor { shape: shape.into(), values });
                for network in &networks {
                    answered += usize::from(to_timm(tensors.clone(), network).is_ok());
                }
            }
        }
    }
    assert!(answered > 1000, "most shapes are left to whoever assigns the tensors");
}
