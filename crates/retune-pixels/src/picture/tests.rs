use serde::Deserialize;

use super::*;
use crate::decode::{DecodeLimits, decode, decode_with_alpha};
use crate::preprocess::Preprocessing;
use crate::resize::fixtures::{bytes, fnv1a};

/// One case of `tests/fixtures/channels/cases.json`, which `generate.py` beside it wrote.
#[derive(Debug, Deserialize)]
pub(crate) struct Case {
    kind: String,
    mode: String,
    #[serde(default)]
    file: String,
    #[serde(default)]
    pub interpolation: String,
    #[serde(default)]
    crop_pct: f64,
    #[serde(default)]
    crop_mode: String,
    #[serde(default)]
    pub mean: Vec<f32>,
    #[serde(default)]
    pub operation: String,
    #[serde(default)]
    pub argument: f64,
    size: [u32; 2],
    hash: String,
}

impl Case {
    pub fn channels(&self) -> Channels {
        match self.mode.as_str() {
            "L" => Channels::Gray,
            "LA" => Channels::GrayAlpha,
            _ => Channels::Rgba,
        }
    }

    /// The source image as the case's mode has it.
    pub fn source(&self) -> Picture {
        let [red, green, blue, alpha] = [0, 1, 2, 3].map(|channel| {
            let source = image::load_from_memory(&fixture("rgba.png")).unwrap().into_rgba8();
            source.pixels().map(|pixel| pixel[channel]).collect::<Vec<u8>>()
        });
        let color = (0..red.len()).flat_map(|at| [red[at], green[at], blue[at]]).collect();
        let color = RgbImage::from_raw(41, 33, color).unwrap();
        Picture::new(color, GrayImage::from_raw(41, 33, alpha).unwrap()).for_channels(self.channels())
    }

    /// Asserts that a picture has the bytes that Pillow's image of the case has.
    #[track_caller]
    pub fn assert_matches(&self, picture: &Picture) {
        assert_eq!(picture.dimensions(), self.size.into(), "{self:?}");
        let channels = self.channels();
        let colors = if channels.is_gray() { 0..1 } else { 0..3 };
        let mut interleaved = Vec::new();
        for (at, pixel) in picture.color.pixels().enumerate() {
            interleaved.extend(&pixel.0[colors.clone()]);
            let alpha = picture.alpha.as_ref().map_or(255, |alpha| alpha.as_raw()[at]);
            interleaved.extend(channels.has_alpha().then_some(alpha));
        }
        assert_eq!(fnv1a(&interleaved), self.hash, "{self:?}");
    }
}

fn fixture(name: &str) -> Vec<u8> {
    bytes(&format!("../channels/{name}"))
}

/// Every case of a kind; at least one.
pub(crate) fn cases(kind: &str) -> Vec<Case> {
    let all: Vec<Case> = serde_json::from_slice(&fixture("cases.json")).unwrap();
    let found: Vec<Case> = all.into_iter().filter(|case| case.kind == kind).collect();
    assert!(!found.is_empty(), "no cases of kind {kind}");
    found
}

#[test]
fn files_become_what_pillow_converts_them_to() {
    for case in cases("convert") {
        let file = bytes(&format!("formats/{}", case.file));
        let limits = DecodeLimits::default();
        let picture = match case.channels().has_alpha() {
            true => decode_with_alpha(&file, &limits).unwrap(),
            false => decode(&file, &limits).unwrap().into(),
        };
        case.assert_matches(&picture.for_channels(case.channels()));
    }
}

#[test]
fn evaluation_transforms_match_timm_to_the_bit() {
    for case in cases("evaluate") {
        let preprocessing = Preprocessing {
            width: case.size[0],
            height: case.size[1],
            interpolation: case.interpolation.parse().unwrap(),
            crop_pct: case.crop_pct,
            crop_mode: case.crop_mode.parse().unwrap(),
            channels: case.channels(),
            mean: case.mean.clone(),
            std: vec![0.2; case.mean.len()],
            white: None,
        };
        preprocessing.validate().unwrap();
        case.assert_matches(&preprocessing.apply(&case.source()));
    }
}

#[test]
fn channels_are_normalized_each_by_its_own() {
    let color = RgbImage::from_raw(2, 1, vec![255, 0, 0, 51, 51, 51]).unwrap();
    let picture = Picture::new(color, GrayImage::from_raw(2, 1, vec![255, 102]).unwrap());
    let values = |channels: Channels, mean: &[f32]| {
        let preprocessing = Preprocessing {
            width: 2,
            height: 1,
            interpolation: crate::resize::Interpolation::Bilinear,
            crop_pct: 1.0,
            crop_mode: crate::preprocess::CropMode::Squash,
            channels,
            mean: mean.to_vec(),
            std: vec![1.0; mean.len()],
            white: None,
        };
        let mut values = vec![0.0; 2 * channels.count()];
        preprocessing.normalize_into(&picture.clone().for_channels(channels), &mut values);
        values
    };
    // Pure red has a gray level of 76.
    let (red, dark) = (76.0 / 255.0, 51.0 / 255.0);
    assert_eq!(values(Channels::Gray, &[0.0]), [red, dark]);
    assert_eq!(values(Channels::GrayAlpha, &[0.0, 0.25]), [red, 0.75, dark, 0.4 - 0.25]);
    assert_eq!(values(Channels::Rgba, &[0.0; 4]), [1.0, 0.0, 0.0, 1.0, dark, dark, dark, 0.4]);
    assert_eq!(values(Channels::Rgb, &[0.0; 3]), [1.0, 0.0, 0.0, dark, dark, dark]);
}
