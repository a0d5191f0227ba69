//! torchvision 0.29: `vision_transformer.py`, `convnext.py`, `efficientnet.py`.

use std::collections::{BTreeMap, BTreeSet};

use super::{NamingError, Place, Renamed, Tensors, place_all, without_trailing_axes};
use crate::models::architectures::Network;

pub(super) fn rename(tensors: Tensors, network: &Network) -> Result<Renamed, NamingError> {
    if tensors.contains_key("class_token") {
        return place_all(tensors, |name| vision_transformer(name).into());
    }
    if tensors.contains_key("features.1.0.layer_scale") {
        let mut renamed = place_all(tensors, |name| convnext(name).into())?;
        for (_, scale) in renamed.tensors.iter_mut().filter(|(name, _)| name.ends_with(".gamma")) {
            without_trailing_axes(scale, 1);
        }
        return Ok(renamed);
    }
    let blocks = EfficientNetBlocks::of(&tensors);
    blocks.check_convention(network)?;
    place_all(tensors, |name| Place::from(blocks.rename(name)))
}

fn vision_transformer(name: &str) -> Option<String> {
    let segments: Vec<&str> = name.split('.').collect();
    Some(match segments.as_slice() {
        ["class_token"] => "cls_token".into(),
        ["conv_proj", leaf] => format!("patch_embed.proj.{leaf}"),
        ["encoder", "pos_embedding"] => "pos_embed".into(),
        ["encoder", "ln", leaf] => format!("norm.{leaf}"),
        ["heads", "head", leaf] => format!("head.{leaf}"),
        ["encoder", "layers", layer, within @ ..] => {
            let index = layer.strip_prefix("encoder_layer_")?;
            let within = match within {
                ["ln_1", leaf] => format!("norm1.{leaf}"),
                ["ln_2", leaf] => format!("norm2.{leaf}"),
                ["self_attention", "in_proj_weight"] => "attn.qkv.weight".into(),
                ["self_attention", "in_proj_bias"] => "attn.qkv.bias".into(),
                ["self_attention", "out_proj", leaf] => format!("attn.proj.{leaf}"),
                // Weights from before torchvision 0.12 number the MLP's layers otherwise.
                ["mlp", "0" | "linear_1", leaf] => format!("mlp.fc1.{leaf}"),
                ["mlp", "3" | "linear_2", leaf] => format!("mlp.fc2.{leaf}"),
                _ => return None,
            };
            format!("blocks.{index}.{within}")
        }
        _ => return None,
    })
}

/// `features` alternates: stem, then for each stage its blocks and, before all but the first, its downsampling.
fn convnext(name: &str) -> Option<String> {
    let segments: Vec<&str> = name.split('.').collect();
    Some(match segments.as_slice() {
        ["features", "0", layer, leaf] => format!("stem.{layer}.{leaf}"),
        ["features", number, layer, leaf] if number.parse::<usize>().ok()? % 2 == 0 => {
            let stage = number.parse::<usize>().ok()? / 2;
            format!("stages.{stage}.downsample.{layer}.{leaf}")
        }
        ["features", number, block, within @ ..] => {
            let stage = number.parse::<usize>().ok()?.checked_sub(1)? / 2;
            let within = match within {
                ["layer_scale"] => "gamma".into(),
                ["block", "0", leaf] => format!("conv_dw.{leaf}"),
                ["block", "2", leaf] => format!("norm.{leaf}"),
                ["block", "3", leaf] => format!("mlp.fc1.{leaf}"),
                ["block", "5", leaf] => format!("mlp.fc2.{leaf}"),
                _ => return None,
            };
            format!("stages.{stage}.blocks.{block}.{within}")
        }
        ["classifier", "0", leaf] => format!("head.norm.{leaf}"),
        ["classifier", "2", leaf] => format!("head.fc.{leaf}"),
        _ => return None,
    })
}

/// What the layers of each block are: torchvision numbers them, and timm names them by what they do.
struct EfficientNetBlocks {
    /// By stage and block (`1.0`): numbers of the layers that are convolutions with a norm, in order, and whether
    /// squeeze-and-excitation is among the layers.
    blocks: BTreeMap<String, (BTreeSet<usize>, bool)>,
    /// Number of the last element of `features`, the convolution before pooling.
    last: usize,
}

impl EfficientNetBlocks {
    fn of(tensors: &Tensors) -> Self {
        let mut blocks: BTreeMap<String, (BTreeSet<usize>, bool)> = BTreeMap::new();
        let mut last = 0;
        for name in tensors.keys() {
            let segments: Vec<&str> = name.split('.').collect();
            if let ["features", number, ..] = segments.as_slice() {
                last = last.max(number.parse().unwrap_or(0));
            }
            let ["features", stage, block, "block", layer, within, ..] = segments.as_slice() else { continue };
            let (convolutions, squeezes) = blocks.entry(format!("{stage}.{block}")).or_default();
            match (*within, layer.parse()) {
                ("fc1" | "fc2", _) => *squeezes = true,
                ("0", Ok(layer)) => drop(convolutions.insert(layer)),
                _ => {}
            }
        }
        Self { blocks, last }
    }

    fn rename(&self, name: &str) -> Option<String> {
        let segments: Vec<&str> = name.split('.').collect();
        Some(match segments.as_slice() {
            ["features", "0", "0", leaf] => format!("conv_stem.{leaf}"),
            ["features", "0", "1", leaf] => format!("bn1.{leaf}"),
            ["features", number, "0", leaf] if number.parse() == Ok(self.last) => format!("conv_head.{leaf}"),
            ["features", number, "1", leaf] if number.parse() == Ok(self.last) => format!("bn2.{leaf}"),
            ["features", stage, block, "block", layer, within, leaf] => {
                let within = match *within {
                    "fc1" => "se.conv_reduce",
                    "fc2" => "se.conv_expand",
                    part => self.layer(&format!("{stage}.{block}"), layer.parse().ok()?, part)?,
                };
                format!("blocks.{}.{block}.{within}.{leaf}", stage.parse::<usize>().ok()?.checked_sub(1)?)
            }
            ["classifier", "1", leaf] => format!("classifier.{leaf}"),
            _ => return None,
        })
    }

    /// timm's name of a block's convolution (`part` is `0`) or of its norm (`1`).
    fn layer(&self, block: &str, layer: usize, part: &str) -> Option<&'static str> {
        let (convolutions, squeezes) = self.blocks.get(block)?;
        let names: &[(&str, &str)] = match (convolutions.len(), squeezes) {
            (3, true) => &[("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3")],
            (2, true) => &[("conv_dw", "bn1"), ("conv_pw", "bn2")],
            (2, false) => &[("conv_exp", "bn1"), ("conv_pwl", "bn2")],
            (1, false) => &[("conv", "bn1")],
            _ => return None,
        };
        let (convolution, norm) = names.get(convolutions.iter().position(|&number| number == layer)?)?;
        match part {
            "0" => Some(convolution),
            "1" => Some(norm),
            _ => None,
        }
    }

    /// Refuses an architecture that pads or normalizes otherwise than torchvision does: shapes do not tell.
    fn check_convention(&self, network: &Network) -> Result<(), NamingError> {
        let Some(convention) = network.convention else { return Ok(()) };
        if convention.pads_as_tensorflow {
            return Err(NamingError::Convention {
                convention: "pads both sides alike",
                remedy: "give a directory whose config.json has \"pad_type\": \"\" in model_args",
            });
        }
        // B4 has 32 blocks and B5 has 39; V2's first stages have blocks without squeeze-and-excitation.
        let fused = self.blocks.values().any(|(_, squeezes)| !squeezes);
        let expected = if fused || self.blocks.len() >= 39 { 1e-3 } else { 1e-5 };
        if convention.epsilon != expected {
            return Err(NamingError::Convention {
                convention: "has an epsilon of 1e-3 in B5 to B7 and V2, and of 1e-5 in B0 to B4",
                remedy: "for those with 1e-3, give a directory whose config.json names timm's tf_efficientnet of the \
                         same size, with \"pad_type\": \"\" in model_args",
            });
        }
        Ok(())
    }
}
