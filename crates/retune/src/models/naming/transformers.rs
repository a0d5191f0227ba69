//! Hugging Face transformers 5.24: `modeling_resnet.py`, `modeling_vit.py`, `modeling_deit.py`, `modeling_convnext.py`,
//! `modeling_dinov2.py`, `modeling_dinov2_with_registers.py`. `save_pretrained` writes the names that the library has had
//! since version 4; a state dictionary of version 5 has shorter ones, and both are known here.

use super::{NamingError, Place, Renamed, Tensors, fold_class_position, has_parameter, place_all, stacked};
use crate::models::architectures::Network;
use crate::models::position_embedding;
use crate::models::weights::NamedTensor;

/// Attribute under which a model with a classifier keeps its body.
pub(super) const BODIES: [&str; 7] =
    ["resnet.", "vit.", "deit.", "convnext.", "convnextv2.", "dinov2.", "dinov2_with_registers."];

fn within_body(name: &str) -> &str {
    BODIES.iter().find_map(|body| name.strip_prefix(body)).unwrap_or(name)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    ResNet,
    ConvNeXt,
    Transformer,
}

fn family(tensors: &Tensors) -> Option<Family> {
    tensors.keys().find_map(|name| match within_body(name) {
        "embedder.embedder.convolution.weight" => Some(Family::ResNet),
        "embeddings.patch_embeddings.weight" => Some(Family::ConvNeXt),
        "embeddings.patch_embeddings.projection.weight" => Some(Family::Transformer),
        _ => None,
    })
}

pub(super) fn rename(tensors: Tensors, network: &Network) -> Result<Renamed, NamingError> {
    match family(&tensors) {
        Some(Family::ResNet) => place_all(tensors, |name| resnet(name, has_parameter(network, "fc.weight"))),
        Some(Family::ConvNeXt) => rename_convnext(tensors, network),
        _ => rename_transformer(tensors, network),
    }
}

fn resnet(name: &str, has_head: bool) -> Place {
    let segments: Vec<&str> = within_body(name).split('.').collect();
    let renamed = match segments.as_slice() {
        ["embedder", "embedder", "convolution", leaf] => Some(format!("conv1.{leaf}")),
        ["embedder", "embedder", "normalization", leaf] => Some(format!("bn1.{leaf}")),
        ["encoder", "stages", stage, "layers", block, within @ ..] => resnet_layer(stage, block, within),
        ["classifier", "1", _] if !has_head => return Place::LeftOut,
        ["classifier", "1", leaf] => Some(format!("fc.{leaf}")),
        _ => None,
    };
    renamed.into()
}

fn resnet_layer(stage: &str, block: &str, within: &[&str]) -> Option<String> {
    let stage = following(stage)?;
    Some(match within {
        ["shortcut", "convolution", leaf] => format!("layer{stage}.{block}.downsample.0.{leaf}"),
        ["shortcut", "normalization", leaf] => format!("layer{stage}.{block}.downsample.1.{leaf}"),
        ["layer", number, "convolution", leaf] => format!("layer{stage}.{block}.conv{}.{leaf}", following(number)?),
        ["layer", number, "normalization", leaf] => format!("layer{stage}.{block}.bn{}.{leaf}", following(number)?),
        _ => return None,
    })
}

/// timm counts a ResNet's layers from 1.
fn following(number: &str) -> Option<usize> {
    number.parse::<usize>().ok()?.checked_add(1)
}

fn rename_convnext(tensors: Tensors, network: &Network) -> Result<Renamed, NamingError> {
    let has_head = has_parameter(network, "head.fc.weight");
    let mut renamed = place_all(tensors, |name| convnext(name, has_head))?;
    for (name, tensor) in &mut renamed.tensors {
        if name.contains(".grn.") && tensor.shape.starts_with(&[1]) {
            // [1, 1, 1, channels]
            tensor.shape.retain(|&size| size != 1);
        }
    }
    Ok(renamed)
}

fn convnext(name: &str, has_head: bool) -> Place {
    let segments: Vec<&str> = within_body(name).split('.').collect();
    let renamed = match segments.as_slice() {
        ["embeddings", "patch_embeddings", leaf] => Some(format!("stem.0.{leaf}")),
        ["embeddings", "layernorm", leaf] => Some(format!("stem.1.{leaf}")),
        ["encoder", "stages", stage, "downsampling_layer", layer, leaf] => {
            Some(format!("stages.{stage}.downsample.{layer}.{leaf}"))
        }
        ["encoder", "stages", stage, "layers", block, within @ ..] => {
            convnext_layer(within).map(|within| format!("stages.{stage}.blocks.{block}.{within}"))
        }
        ["layernorm", leaf] => Some(format!("head.norm.{leaf}")),
        ["classifier", _] if !has_head => return Place::LeftOut,
        ["classifier", leaf] => Some(format!("head.fc.{leaf}")),
        _ => None,
    };
    renamed.into()
}

fn convnext_layer(within: &[&str]) -> Option<String> {
    Some(match within {
        ["layer_scale_parameter"] => "gamma".into(),
        ["dwconv", leaf] => format!("conv_dw.{leaf}"),
        ["layernorm", leaf] => format!("norm.{leaf}"),
        ["pwconv1", leaf] => format!("mlp.fc1.{leaf}"),
        ["grn", leaf] => format!("mlp.grn.{leaf}"),
        ["pwconv2", leaf] => format!("mlp.fc2.{leaf}"),
        _ => return None,
    })
}

fn rename_transformer(tensors: Tensors, network: &Network) -> Result<Renamed, NamingError> {
    let has_registers = tensors.keys().any(|name| within_body(name) == "embeddings.register_tokens");
    let has_head = has_parameter(network, "head.weight");
    let mut renamed = place_all(tensors, |name| transformer(name, has_head))?;
    let tensors = &mut renamed.tensors;
    fuse_queries_keys_values(tensors)?;
    if has_registers {
        fold_class_position(tensors)?;
    } else if tensors.keys().any(|name| name.ends_with(".ls1.gamma")) {
        resample_as_dinov2(tensors, network);
    }
    Ok(renamed)
}

fn transformer(name: &str, has_head: bool) -> Place {
    let segments: Vec<&str> = within_body(name).split('.').collect();
    let renamed = match segments.as_slice() {
        ["embeddings", "cls_token"] => Some("cls_token".into()),
        // To every block, DeiT's distillation token is one more token, as a register is.
        ["embeddings", "register_tokens" | "distillation_token"] => Some("reg_token".into()),
        ["embeddings", "position_embeddings"] => Some("pos_embed".into()),
        ["embeddings", "patch_embeddings", "projection", leaf] => Some(format!("patch_embed.proj.{leaf}")),
        ["encoder", "layer", index, within @ ..] | ["layers", index, within @ ..] => {
            transformer_layer(within).map(|within| format!("blocks.{index}.{within}"))
        }
        ["layernorm", leaf] => Some(format!("norm.{leaf}")),
        ["embeddings", "mask_token"] | ["pooler" | "decoder", ..] => return Place::LeftOut,
        ["cls_classifier" | "distillation_classifier", _] => return Place::LeftOut,
        ["classifier", _] if !has_head => return Place::LeftOut,
        ["classifier", leaf] => Some(format!("head.{leaf}")),
        _ => None,
    };
    renamed.into()
}

fn transformer_layer(within: &[&str]) -> Option<String> {
    Some(match within {
        ["layernorm_before" | "norm1", leaf] => format!("norm1.{leaf}"),
        ["layernorm_after" | "norm2", leaf] => format!("norm2.{leaf}"),
        ["attention", "attention", "query", leaf] | ["attention", "q_proj", leaf] => format!("attn.query.{leaf}"),
        ["attention", "attention", "key", leaf] | ["attention", "k_proj", leaf] => format!("attn.key.{leaf}"),
        ["attention", "attention", "value", leaf] | ["attention", "v_proj", leaf] => format!("attn.value.{leaf}"),
        ["attention", "output", "dense", leaf] | ["attention", "o_proj", leaf] => format!("attn.proj.{leaf}"),
        ["intermediate", "dense", leaf] | ["mlp", "fc1", leaf] => format!("mlp.fc1.{leaf}"),
        ["output", "dense", leaf] | ["mlp", "fc2", leaf] => format!("mlp.fc2.{leaf}"),
        ["layer_scale1", "lambda1"] => "ls1.gamma".into(),
        ["layer_scale2", "lambda1"] => "ls2.gamma".into(),
        _ => return None,
    })
}

/// timm keeps the three projections of a block as one.
fn fuse_queries_keys_values(tensors: &mut Tensors) -> Result<(), NamingError> {
    let queries: Vec<String> = tensors.keys().filter(|name| name.contains(".attn.query.")).cloned().collect();
    for query in queries {
        let [key, value, fused] = ["key", "value", "qkv"].map(|part| query.replacen("query", part, 1));
        if !tensors.contains_key(&key) || !tensors.contains_key(&value) {
            continue;
        }
        let parts = [&query, &key, &value].map(|name| tensors.remove(name));
        if let [Some(query_part), Some(key_part), Some(value_part)] = parts {
            let what = || format!("{query}, key and value");
            tensors.insert(fused, stacked([query_part, key_part, value_part], what)?);
        }
    }
    Ok(())
}

/// DINOv2's position embedding is resampled as its own code does it wherever the image is not of the size that it was
/// trained at; with registers, transformers does what timm does.
fn resample_as_dinov2(tensors: &mut Tensors, network: &Network) {
    let (Some(grid), Some(embedding)) = (network.positions, tensors.get("pos_embed")) else { return };
    let Some(width) = network.specs.iter().find(|spec| spec.name == "pos_embed").map(|spec| spec.shape[2]) else {
        return;
    };
    let positions = embedding.shape.get(1).copied().unwrap_or(0);
    if positions == grid.prefix + grid.rows * grid.columns && grid.rows == grid.columns {
        return;
    }
    if let Some(values) = position_embedding::resample_without_antialiasing(embedding, grid, width) {
        let shape = vec![1, grid.prefix + grid.rows * grid.columns, width];
        tensors.insert("pos_embed".into(), NamedTensor { shape, values });
    }
}
