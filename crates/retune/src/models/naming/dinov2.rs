//! DINOv2 as its authors keep it (`dinov2/models/vision_transformer.py` of facebookresearch/dinov2). The names are
//! timm's but for the mask token, the registers, and blocks kept in chunks.

use super::{NamingError, Place, Renamed, Tensors, fold_class_position, place_all};

pub(super) fn rename(tensors: Tensors) -> Result<Renamed, NamingError> {
    let has_registers = tensors.contains_key("register_tokens");
    let mut renamed = place_all(tensors, |name| {
        let segments: Vec<&str> = name.split('.').collect();
        match segments.as_slice() {
            ["mask_token"] => Place::LeftOut,
            ["register_tokens"] => Place::Named("reg_token".into()),
            // Training keeps blocks in chunks for sharding; within one they are numbered as in the whole model.
            ["blocks", chunk, index, within @ ..] if is_number(chunk) && is_number(index) => {
                Place::Named(format!("blocks.{index}.{}", within.join(".")))
            }
            _ => Place::Unknown,
        }
    })?;
    if has_registers {
        fold_class_position(&mut renamed.tensors)?;
    }
    Ok(renamed)
}

fn is_number(segment: &str) -> bool {
    !segment.is_empty() && segment.bytes().all(|byte| byte.is_ascii_digit())
}
