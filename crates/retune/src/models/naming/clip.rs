//! The image tower of CLIP: OpenAI's `clip/model.py` and open_clip 3.3's `transformer.py`, which have the same names.

use super::{NamingError, Place, Renamed, Tensors, has_parameter, place_all, transposed, with_leading_axes};
use crate::models::architectures::Network;
use crate::models::weights::NamedTensor;

/// Where both projects keep the image tower beside the text tower.
pub(super) const TOWER: &str = "visual.";

fn within_tower(name: &str) -> &str {
    name.strip_prefix(TOWER).unwrap_or(name)
}

pub(super) fn rename(tensors: Tensors, network: &Network) -> Result<Renamed, NamingError> {
    if tensors.keys().any(|name| within_tower(name) == "attnpool.positional_embedding") {
        return Err(NamingError::Unsupported("CLIP's modified ResNet, which pools by attention,"));
    }
    let beside_text = tensors.contains_key("visual.class_embedding");
    let mut renamed = place_all(tensors, |name| {
        let name = match (beside_text, name.strip_prefix(TOWER)) {
            (true, None) => return Place::LeftOut,
            (true, Some(name)) => name,
            (false, _) => name,
        };
        Place::from(image_tower(name))
    })?;
    for name in ["cls_token", "pos_embed"] {
        if let Some(tensor) = renamed.tensors.get_mut(name) {
            with_leading_axes(tensor, 3);
        }
    }
    if let Some(projection) = renamed.tensors.remove("proj") {
        let own = if beside_text { "visual.proj" } else { "proj" };
        place_projection(projection, own, network, &mut renamed)?;
    }
    Ok(renamed)
}

/// As timm has it, the projection to the space that images and texts share is a head without bias, if the model has one
/// of that width; the features before it are the pooled ones in any case.
fn place_projection(
    projection: NamedTensor,
    own: &'static str,
    network: &Network,
    renamed: &mut Renamed,
) -> Result<(), NamingError> {
    let reversed: Vec<usize> = projection.shape.iter().rev().copied().collect();
    let fits = network.specs.iter().any(|spec| spec.name == "head.weight" && spec.shape == reversed);
    if !fits {
        renamed.left_out.push(own.to_owned());
        return Ok(());
    }
    let weight = transposed(projection, own)?;
    let bias = NamedTensor { shape: vec![weight.shape[0]], values: vec![0.0; weight.shape[0]] };
    renamed.tensors.insert("head.weight".into(), weight);
    if has_parameter(network, "head.bias") {
        renamed.tensors.insert("head.bias".into(), bias);
    }
    Ok(())
}

fn image_tower(name: &str) -> Option<String> {
    let segments: Vec<&str> = name.split('.').collect();
    Some(match segments.as_slice() {
        ["class_embedding"] => "cls_token".into(),
        ["positional_embedding"] => "pos_embed".into(),
        ["conv1", leaf] => format!("patch_embed.proj.{leaf}"),
        ["ln_pre", leaf] => format!("norm_pre.{leaf}"),
        ["ln_post", leaf] => format!("norm.{leaf}"),
        ["proj"] => "proj".into(),
        ["transformer", "resblocks", index, within @ ..] => {
            let within = match within {
                ["ln_1", leaf] => format!("norm1.{leaf}"),
                ["ln_2", leaf] => format!("norm2.{leaf}"),
                ["attn", "in_proj_weight"] => "attn.qkv.weight".into(),
                ["attn", "in_proj_bias"] => "attn.qkv.bias".into(),
                ["attn", "out_proj", leaf] => format!("attn.proj.{leaf}"),
                ["mlp", "c_fc", leaf] => format!("mlp.fc1.{leaf}"),
                ["mlp", "c_proj", leaf] => format!("mlp.fc2.{leaf}"),
                ["ls_1", "gamma"] => "ls1.gamma".into(),
                ["ls_2", "gamma"] => "ls2.gamma".into(),
                _ => return None,
            };
            format!("blocks.{index}.{within}")
        }
        _ => return None,
    })
}
