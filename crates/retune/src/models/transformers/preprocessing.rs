//! `preprocessor_config.json` in the terms of timm's `pretrained_cfg`, as transformers 5.24's image processors read it.

use serde_json::{Map, Value, json};

use super::Reason;

/// The kinds of image processor, by what a size means to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Processor {
    /// Resizes to height and width, whatever the image's shape.
    ViT,
    /// The same, and then crops.
    DeiT,
    /// Resizes the short side, then crops. DINOv2's.
    Bit,
    /// Resizes the short side to the size over `crop_pct` and crops; from 384 on resizes to a square. ResNet's too.
    ConvNeXt,
}

impl Processor {
    /// The kind that a file names; models can have another's processor.
    fn named(name: &str) -> Option<Self> {
        // ViTFeatureExtractor, ViTImageProcessor, ViTImageProcessorFast, ViTImageProcessorPil.
        let name = ["FeatureExtractor", "ImageProcessor"].iter().find_map(|part| name.split_once(part))?.0;
        Some(match name {
            "ViT" => Self::ViT,
            "DeiT" => Self::DeiT,
            "Bit" | "CLIP" => Self::Bit,
            "ConvNext" => Self::ConvNeXt,
            _ => return None,
        })
    }

    /// Whether a size of one number is that of a square.
    fn takes_square(self) -> bool {
        matches!(self, Self::ViT | Self::DeiT)
    }
}

/// What images are resized to.
#[derive(Clone, Copy)]
enum Size {
    Exact([u64; 2]),
    ShortSide(u64),
}

/// `pretrained_cfg`'s keys for a preprocessor. `processor` is the kind that the model usually has, `trained` the height
/// and width that stand where the file names none.
///
/// # Errors
/// A value that cannot be understood, or a step that timm does not have.
pub(super) fn to_timm(file: &Value, processor: Processor, trained: [u64; 2]) -> Result<Map<String, Value>, Reason> {
    let named = ["image_processor_type", "feature_extractor_type"].iter().find_map(|key| file.get(key)?.as_str());
    let processor = named.and_then(Processor::named).unwrap_or(processor);
    let geometry = geometry(file, processor, trained)?;
    let mut cfg = Map::new();
    cfg.insert("input_size".into(), json!([3, geometry.input[0], geometry.input[1]]));
    cfg.insert("crop_pct".into(), geometry.crop_pct.into());
    cfg.insert("crop_mode".into(), geometry.crop_mode.into());
    if let Some(interpolation) = interpolation(file)? {
        cfg.insert("interpolation".into(), interpolation.into());
    }
    let normalizes = flag(file, "do_normalize", true)?;
    for (key, own, none) in [("mean", "image_mean", 0.0), ("std", "image_std", 1.0)] {
        let values = if normalizes { channels(file, own, processor)? } else { [none; 3] };
        cfg.insert(key.into(), json!(values));
    }
    check_rescaling(file)?;
    Ok(cfg)
}

struct Geometry {
    input: [u64; 2],
    crop_pct: f64,
    crop_mode: &'static str,
}

fn geometry(file: &Value, processor: Processor, trained: [u64; 2]) -> Result<Geometry, Reason> {
    let size = match size(file, "size", processor.takes_square())? {
        Some(size) if flag(file, "do_resize", true)? => size,
        // Images of another shape than the model's input have to become it in some way.
        _ => Size::Exact(trained),
    };
    if processor == Processor::ConvNeXt {
        let Size::ShortSide(side) = size else { return exact(size) };
        return Ok(match side {
            384.. => Geometry { input: [side, side], crop_pct: 1.0, crop_mode: "squash" },
            _ => Geometry { input: [side, side], crop_pct: crop_fraction(file)?, crop_mode: "center" },
        });
    }
    if !flag(file, "do_center_crop", processor != Processor::ViT)? {
        return exact(size);
    }
    let crop = match self::size(file, "crop_size", true)? {
        Some(Size::Exact(crop)) => crop,
        _ => return exact(size),
    };
    match size {
        Size::ShortSide(side) if crop[0] == crop[1] => {
            Ok(Geometry { input: crop, crop_pct: fraction(crop[0], side)?, crop_mode: "center" })
        }
        Size::Exact(size) if crop == size => exact(Size::Exact(size)),
        Size::Exact([height, width]) if crop[0] == crop[1] && height == width => {
            Ok(Geometry { input: crop, crop_pct: fraction(crop[0], height)?, crop_mode: "squash" })
        }
        _ => Err("'crop_size' must be square where it differs from 'size'".into()),
    }
}

/// No crop. Where only the short side is resized, images are of any shape, and the square in their middle is taken.
fn exact(size: Size) -> Result<Geometry, Reason> {
    Ok(match size {
        Size::Exact(input) => Geometry { input, crop_pct: 1.0, crop_mode: "squash" },
        Size::ShortSide(side) => Geometry { input: [side, side], crop_pct: 1.0, crop_mode: "center" },
    })
}

/// The fraction from which timm computes the resized side again: it divides and rounds down.
fn fraction(crop: u64, side: u64) -> Result<f64, Reason> {
    if crop > side {
        return Err(format!("'crop_size' {crop} is more than the {side} pixels of the resized image"));
    }
    let fraction = crop as f64 / side as f64;
    Ok(if ((crop as f64 / fraction) as u64) < side { fraction.next_down() } else { fraction })
}

fn crop_fraction(file: &Value) -> Result<f64, Reason> {
    match file.get("crop_pct") {
        None | Some(Value::Null) => Ok(224.0 / 256.0),
        Some(value) => value
            .as_f64()
            .filter(|value| (0.05..=1.0).contains(value))
            .ok_or_else(|| "'crop_pct' must be a number from 0.05 to 1".into()),
    }
}

/// A size: a number, or an object with `height` and `width` or `shortest_edge`.
fn size(file: &Value, key: &str, square: bool) -> Result<Option<Size>, Reason> {
    let side = |value: &Value| value.as_u64().filter(|side| (1..=16_384).contains(side));
    let wrong = || format!("'{key}' must be a number of pixels, height and width, or shortest_edge");
    Ok(match file.get(key) {
        None | Some(Value::Null) => None,
        Some(Value::Object(sides)) => {
            let of = |name: &str| sides.get(name).and_then(side);
            match (of("height"), of("width"), of("shortest_edge")) {
                (Some(height), Some(width), _) => Some(Size::Exact([height, width])),
                (_, _, Some(short)) => Some(Size::ShortSide(short)),
                _ => return Err(wrong()),
            }
        }
        Some(value) => {
            let side = side(value).ok_or_else(wrong)?;
            Some(if square { Size::Exact([side, side]) } else { Size::ShortSide(side) })
        }
    })
}

/// timm's name of Pillow's numbered filter.
fn interpolation(file: &Value) -> Result<Option<&'static str>, Reason> {
    Ok(Some(match file.get("resample") {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => match value.as_u64() {
            Some(0) => "nearest",
            Some(1) => "lanczos",
            Some(2) => "bilinear",
            Some(3) => "bicubic",
            Some(4) => "box",
            Some(5) => "hamming",
            _ => return Err(format!("'resample' must be one of Pillow's filters, 0 to 5, not {value}")),
        },
    }))
}

/// Three numbers; where there are none, the defaults of the processor's class.
fn channels(file: &Value, key: &str, processor: Processor) -> Result<[f64; 3], Reason> {
    let parsed = match file.get(key) {
        None | Some(Value::Null) if processor != Processor::Bit => Some([0.5; 3]),
        None | Some(Value::Null) if key == "image_mean" => Some([0.48145466, 0.4578275, 0.40821073]),
        None | Some(Value::Null) => Some([0.26862954, 0.26130258, 0.27577711]),
        Some(Value::Number(number)) => number.as_f64().map(|value| [value; 3]),
        Some(value) => serde_json::from_value(value.clone()).ok(),
    };
    parsed.ok_or_else(|| format!("'{key}' must be three numbers"))
}

/// Pixels go from 0…255 to 0…1, and by no other factor.
fn check_rescaling(file: &Value) -> Result<(), Reason> {
    let factor = file.get("rescale_factor").and_then(Value::as_f64).unwrap_or(1.0 / 255.0);
    if flag(file, "do_rescale", true)? && (factor * 255.0 - 1.0).abs() < 1e-6 {
        Ok(())
    } else {
        Err("'do_rescale' must be true, by 1/255".into())
    }
}

fn flag(file: &Value, key: &str, default: bool) -> Result<bool, Reason> {
    match file.get(key) {
        None | Some(Value::Null) => Ok(default),
        Some(value) => value.as_bool().ok_or_else(|| format!("'{key}' must be true or false")),
    }
}
