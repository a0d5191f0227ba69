//! Architectures by what is known of their tensors: the short names of the scripts of DINO and MAE, and the architectures
//! that a file may be of when no name helps.

use super::container::Checkpoint;
use super::place;
use super::{Classes, Names};
use crate::models::ModelConfig;
use crate::models::architectures::{self, Architecture};

const PATCHES: &str = "patch_embed.proj.weight";

/// The architecture that a script's own name for a vision transformer stands for (`vit_small`, `mae_vit_base_patch16`,
/// `vit_base_patch16`): timm's plain one of that size whose patches, width and depth are those of the tensors.
/// MoCo v3 calls another network `vit_small`, with as many weights and twice the heads, so that name counts in files of
/// DINO alone.
pub(super) fn architecture(name: &str, checkpoint: &Checkpoint) -> Option<&'static str> {
    let name = name.strip_prefix("mae_").unwrap_or(name).strip_prefix("vit_")?;
    let (size, stated) = match name.split_once("_patch") {
        Some((size, patch)) => (size, Some(patch.parse::<usize>().ok()?)),
        None => (name, None),
    };
    let vit = Shapes::in_file(checkpoint)?;
    if stated.is_some_and(|patch| patch != vit.patch) || (size == "small" && stated.is_none() && !vit.by_dino) {
        return None;
    }
    let stem = format!("vit_{size}_patch{}_", vit.patch);
    let named = architectures::all().filter(|(name, _)| name.strip_prefix(&stem).is_some_and(|rest| vit.is_kind(rest)));
    let fitting: Vec<_> = named.filter(|(_, entry)| vit.is_built_by(entry)).collect();
    // Position embeddings of another grid than any entry's are resampled from the usual one.
    let exact = fitting.iter().find(|(_, entry)| vit.tokens == Some(tokens(entry)));
    exact.or(fitting.first()).map(|(name, _)| *name)
}

/// The shapes that tell a vision transformer.
struct Shapes {
    width: usize,
    patch: usize,
    depth: usize,
    /// Position embeddings.
    tokens: Option<usize>,
    registers: usize,
    scaled_layers: bool,
    /// Under the names of a student and a teacher.
    by_dino: bool,
}

impl Shapes {
    fn in_file(checkpoint: &Checkpoint) -> Option<Self> {
        let mut prefixes = checkpoint.names().filter_map(|name| name.strip_suffix(PATCHES));
        let prefix = prefixes.find(|prefix| prefix.is_empty() || prefix.ends_with('.'))?;
        let shape = |name: &str| checkpoint.shape(&format!("{prefix}{name}"));
        let &[width, 3, patch, across] = shape(PATCHES)? else { return None };
        let depth = (0..).take_while(|block| shape(&format!("blocks.{block}.norm1.weight")).is_some()).count();
        let middle = |name: &str| shape(name).and_then(|shape| shape.get(1).copied());
        (patch == across && depth > 0).then(|| Self {
            width,
            patch,
            depth,
            tokens: middle("pos_embed"),
            registers: middle("register_tokens").unwrap_or(0),
            scaled_layers: shape("blocks.0.ls1.gamma").is_some(),
            by_dino: prefix.split('.').any(|segment| matches!(segment, "student" | "teacher")),
        })
    }

    /// Whether the end of timm's name stands for this kind: an image size alone, or DINOv2's.
    fn is_kind(&self, rest: &str) -> bool {
        match (self.scaled_layers, self.registers) {
            (true, 0) => rest == "dinov2",
            (true, _) => rest == "reg4_dinov2",
            _ => rest.bytes().all(|byte| byte.is_ascii_digit()),
        }
    }

    fn is_built_by(&self, entry: &Architecture) -> bool {
        let arguments = entry.arguments();
        let number = |key: &str| arguments.get(key).and_then(serde_json::Value::as_u64).map(|number| number as usize);
        [("embed_dim", self.width), ("depth", self.depth), ("patch_size", self.patch), ("reg_tokens", self.registers)]
            .into_iter()
            .all(|(key, expected)| number(key) == Some(expected))
    }
}

/// Position embeddings of a vision transformer, with one for its class token where that has one.
fn tokens(entry: &Architecture) -> usize {
    let arguments = entry.arguments();
    let side = arguments.get("img_size").and_then(|size| size.get(0)).and_then(serde_json::Value::as_u64);
    let patch = arguments.get("patch_size").and_then(serde_json::Value::as_u64).unwrap_or(1);
    let has_class = arguments.get("no_embed_class") != Some(&serde_json::Value::Bool(true));
    (side.unwrap_or(0) / patch).pow(2) as usize + usize::from(has_class)
}

/// The architectures whose tensors a file has, by names and shapes; those that leave more of it over are passed by. They
/// may still differ in what no shape tells: heads, activations, strides.
pub(in crate::models) fn candidates(checkpoint: &Checkpoint) -> Vec<&'static str> {
    let fitting = architectures::all().filter_map(|(name, _)| Some((tensors_found(checkpoint, name)?, name)));
    let fitting: Vec<_> = fitting.collect();
    let most = fitting.iter().map(|(tensors, _)| *tensors).max();
    fitting.into_iter().filter(|(tensors, _)| Some(*tensors) == most).map(|(_, name)| name).collect()
}

/// How many tensors a file has of an architecture that it has all tensors of.
fn tensors_found(checkpoint: &Checkpoint, name: &str) -> Option<usize> {
    let config = ModelConfig::of_architecture(name).ok()?;
    let names = Names::of(&config, Classes::OfTensors).ok()?;
    let network = architectures::build(name, &config.model_args(), 1, names.size).ok()?;
    let head = network.blocks().len() - 1;
    let fits = |prefix: &str| {
        let mut body = network.specs.iter().filter(|spec| spec.block != head);
        body.all(|spec| checkpoint.shape(&format!("{prefix}{}", spec.name)) == Some(&spec.shape))
    };
    let places = place::holding(checkpoint, &names.body);
    places.iter().any(|place| fits(&place.prefix)).then_some(names.body.len())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;
    use crate::models::weights::NamedTensor;

    /// A file with zeros of these shapes.
    fn file(shapes: &[(String, Vec<usize>)]) -> Checkpoint {
        let empty = Checkpoint::of_safetensors(b"\x02\0\0\0\0\0\0\0{}".to_vec(), Path::new("weights.pth")).unwrap();
        let tensors = shapes.iter().map(|(name, shape)| {
            let values = vec![0.0; shape.iter().product()];
            (name.clone(), NamedTensor { shape: shape.clone(), values })
        });
        empty.with_tensors(tensors.collect::<BTreeMap<_, _>>())
    }

    fn vit(prefix: &str, width: usize, patch: usize, depth: usize, tokens: usize) -> Checkpoint {
        let named = |name: &str, shape: &[usize]| (format!("{prefix}{name}"), shape.to_vec());
        let blocks = (0..depth).map(|block| named(&format!("blocks.{block}.norm1.weight"), &[width]));
        let others = [named(PATCHES, &[width, 3, patch, patch]), named("pos_embed", &[1, tokens, width])];
        file(&blocks.chain(others).collect::<Vec<_>>())
    }

    /// Names of `main_dino.py --arch`, of MAE's `models_mae.py` and `models_vit.py`, and the sizes that these give them.
    #[test]
    fn names_of_scripts_stand_for_what_the_tensors_are() {
        let dino = |width, patch, tokens| vit("teacher.backbone.", width, patch, 12, tokens);
        assert_eq!(architecture("vit_small", &dino(384, 16, 197)), Some("vit_small_patch16_224"));
        assert_eq!(architecture("vit_small", &dino(384, 8, 785)), Some("vit_small_patch8_224"));
        assert_eq!(architecture("vit_tiny", &dino(192, 16, 197)), Some("vit_tiny_patch16_224"));
        assert_eq!(architecture("vit_base", &dino(768, 16, 577)), Some("vit_base_patch16_384"));
        let mae = |width, patch, depth| vit("model.", width, patch, depth, (224 / patch) * (224 / patch) + 1);
        assert_eq!(architecture("mae_vit_base_patch16", &mae(768, 16, 12)), Some("vit_base_patch16_224"));
        assert_eq!(architecture("mae_vit_large_patch16", &mae(1024, 16, 24)), Some("vit_large_patch16_224"));
        assert_eq!(architecture("vit_huge_patch14", &mae(1280, 14, 32)), Some("vit_huge_patch14_224"));
        // Another patch, width or depth than the name says, or MoCo v3's network of twelve heads.
        assert_eq!(architecture("vit_base_patch16", &mae(768, 8, 12)), None);
        assert_eq!(architecture("vit_base_patch16", &mae(384, 16, 12)), None);
        assert_eq!(architecture("vit_base_patch16", &mae(768, 16, 11)), None);
        assert_eq!(architecture("vit_small", &vit("state_dict.module.", 384, 16, 12, 197)), None);
        assert_eq!(architecture("resnet50", &mae(768, 16, 12)), None);
    }

    #[test]
    fn candidates_have_all_tensors_and_leave_fewest_over() {
        let of = |name: &str| {
            let config = ModelConfig::of_architecture(name).unwrap();
            let network = architectures::build(name, &config.model_args(), 10, None).unwrap();
            file(&network.specs.iter().map(|spec| (spec.name.clone(), spec.shape.clone())).collect::<Vec<_>>())
        };
        // Of ResNet-34's tensors, ResNet-18's are a part.
        assert_eq!(candidates(&of("resnet34")), ["resnet34"]);
        let tiny = candidates(&of("vit_tiny_patch16_224"));
        assert!(tiny.contains(&"vit_tiny_patch16_224") && tiny.iter().all(|name| name.contains("tiny")), "{tiny:?}");
        assert!(candidates(&file(&[])).is_empty());
    }
}
