//! Full fine-tuning with the embedding frozen (Kumar et al. 2022, "How to Fine-Tune Vision Models with
//! SGD", arXiv 2211.09359). In models that were pretrained with AdamW, the gradients of the first layer
//! are far larger than the others'; with that layer frozen, SGD does as well as AdamW and takes less
//! memory.
//!
//! The embedding is the model's first block, `stem`:
//!
//! - vision transformers: patch embedding, position embedding, class token and registers, and the norm
//!   before the first block where there is one (CLIP);
//! - ConvNeXt: the convolution that cuts patches, and its norm;
//! - ResNet: the first convolution (three in models with a deep stem) and its norm;
//! - EfficientNet, which is not among the paper's models: the first convolution and its norm.

use super::{Method, MethodOptions, Paper, ft};
use crate::models::Block;
use crate::plan::Gradient;

pub const METHOD: Method = Method {
    name: "freeze-embed",
    summary: "full fine-tuning with the first layer, the embedding or stem, frozen",
    paper: Some(Paper { authors: "Kumar et al.", year: 2022, arxiv: "2211.09359" }),
    phases: |blocks, options| Ok(vec![gradient(blocks, options).into_phase("fine-tuning without the embedding")]),
    ..Method::PLAIN
};

fn gradient(blocks: &[Block], options: &MethodOptions) -> Gradient {
    let mut gradient = ft::gradient(blocks, options);
    if let Some(stem) = blocks.first() {
        gradient.rate_factors.shift_remove(&stem.name);
    }
    gradient
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::architectures;

    /// timm's names of what is before the first block.
    #[test]
    fn the_embedding_of_each_family_is_frozen_and_nothing_else() {
        let expected: [(&str, &[&str]); 6] = [
            ("resnet18", &["conv1.weight", "bn1.weight", "bn1.bias"]),
            ("convnext_tiny", &["stem.0.weight", "stem.0.bias", "stem.1.weight", "stem.1.bias"]),
            ("efficientnet_b0", &["conv_stem.weight", "bn1.weight", "bn1.bias"]),
            ("vit_tiny_patch16_224", &["cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"]),
            (
                "vit_base_patch32_clip_224",
                &["cls_token", "pos_embed", "patch_embed.proj.weight", "norm_pre.weight", "norm_pre.bias"],
            ),
            (
                "vit_small_patch14_reg4_dinov2",
                &["cls_token", "reg_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias"],
            ),
        ];
        for family in architectures::Family::ALL {
            let is_listed = |name: &str| architectures::find(name).unwrap().1.family == *family;
            assert!(expected.iter().any(|(name, _)| is_listed(name)), "list an architecture of {family:?} above");
        }
        for (name, embedding) in expected {
            let network = architectures::build(name, &Default::default(), 10, None).unwrap();
            let plan = METHOD.plan(network.blocks(), &MethodOptions::default()).unwrap();
            let trained = plan.trained_parameters(network.blocks(), &network.specs);
            let trainable = network.specs.iter().zip(trained).filter(|(spec, _)| spec.role.is_trainable());
            let frozen: Vec<&str> =
                trainable.filter(|(_, trained)| !trained).map(|(spec, _)| spec.name.as_str()).collect();
            assert_eq!(frozen, embedding, "{name}");
        }
    }
}
