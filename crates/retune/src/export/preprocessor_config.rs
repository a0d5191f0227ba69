//! `preprocessor_config.json`, which tells Hugging Face's image processors (transformers 5.24) how images are prepared.

use std::path::Path;

use retune_pixels::channels::Channels;
use retune_pixels::preprocess::{CropMode, Preprocessing};
use retune_pixels::resize::Interpolation;
use serde_json::{Value, json};

use super::ExportError;
use super::metadata::shortest;
use crate::files;

/// The file's name, under which `AutoImageProcessor` looks for it.
pub const PREPROCESSOR_FILE: &str = "preprocessor_config.json";

/// The file's content; `None` where no processor prepares images in this way: with a border, with a center that is not
/// square, of other channels than RGB, or by another filter than Pillow's.
pub(super) fn of(preprocessing: &Preprocessing) -> Option<String> {
    let Preprocessing { width, height, channels, .. } = *preprocessing;
    let resample = resample(preprocessing.interpolation).filter(|_| channels == Channels::Rgb)?;
    let resized = |side: u32| (f64::from(side) / preprocessing.crop_pct).floor();
    let (resized_height, resized_width) = (resized(height), resized(width));
    let crops = (resized_height, resized_width) != (f64::from(height), f64::from(width));
    let sides = |height: f64, width: f64| json!({ "height": height as u32, "width": width as u32 });
    let (processor, size) = match preprocessing.crop_mode {
        CropMode::Border => return None,
        CropMode::Center if height != width => return None,
        CropMode::Center => ("BitImageProcessor", json!({ "shortest_edge": resized_height as u32 })),
        CropMode::Squash if crops => ("DeiTImageProcessor", sides(resized_height, resized_width)),
        CropMode::Squash => ("ViTImageProcessor", sides(resized_height, resized_width)),
    };
    let statistics = |values: &[f32]| -> Value { values.iter().map(shortest).collect() };
    let mut document = json!({
        "image_processor_type": processor,
        "do_convert_rgb": true,
        "do_resize": true,
        "size": size,
        "resample": resample,
        "do_rescale": true,
        "rescale_factor": 1.0 / 255.0,
        "do_normalize": true,
        "image_mean": statistics(&preprocessing.mean),
        "image_std": statistics(&preprocessing.std),
    });
    if processor != "ViTImageProcessor" {
        document["do_center_crop"] = true.into();
        document["crop_size"] = json!({ "height": height, "width": width });
    }
    Some(format!("{document:#}\n"))
}

/// Pillow's number of a filter.
fn resample(interpolation: Interpolation) -> Option<u32> {
    Some(match interpolation {
        Interpolation::Nearest => 0,
        Interpolation::Lanczos => 1,
        Interpolation::Bilinear => 2,
        Interpolation::Bicubic => 3,
        Interpolation::Box => 4,
        Interpolation::Hamming => 5,
        _ => return None,
    })
}

/// Checks that no other preprocessing is described there: the name of the file is fixed, and another model may be beside
/// this one.
pub(super) fn check_vacant(path: &Path, text: &str) -> Result<(), ExportError> {
    let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
    match files::read_text(path) {
        Ok(found) => match parsed(&found) {
            None => Err(ExportError::PreprocessorUnreadable(path.to_owned())),
            found if found == parsed(text) => Ok(()),
            Some(_) => Err(ExportError::PreprocessorTaken(path.to_owned())),
        },
        Err(error) if error.is_of_missing() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), ExportError> {
    Ok(files::write_atomically(path, |file| file.write_all(text.as_bytes()))?)
}
