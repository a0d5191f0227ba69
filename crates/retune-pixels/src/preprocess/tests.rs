use super::*;
use crate::resize::fixtures::{bytes, cases, source};

fn imagenet(width: u32, height: u32) -> Preprocessing {
    Preprocessing {
        width,
        height,
        interpolation: Interpolation::Bicubic,
        crop_pct: 0.9,
        crop_mode: CropMode::Center,
        channels: Channels::Rgb,
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
        white: None,
    }
}

#[test]
fn a_difference_is_named() {
    let own = imagenet(64, 32);
    assert_eq!(own.difference(&own), None);
    let words = own.to_string();
    assert_eq!(words, "32×64, bicubic, crop 0.9, center, mean 0.485,0.456,0.406, std 0.229,0.224,0.225");
    let other = Preprocessing { interpolation: Interpolation::Box, ..own.clone() };
    assert_eq!(own.difference(&other).unwrap(), "images differ in interpolation: bicubic and box");
    let white = Preprocessing { white: NonZeroU16::new(4095), ..own.clone() };
    assert_eq!(own.difference(&white).unwrap(), "images differ in white level: none and white level 4095");
    assert_eq!(white.difference(&own).unwrap(), "images differ in white level: white level 4095 and none");
    let gray = own.with_channels(Channels::Gray);
    let words = "images differ in channels: 1 channel (gray) and 3 channels (RGB)";
    assert_eq!(gray.difference(&own).unwrap(), words);
    assert!(gray.to_string().starts_with("1 channel (gray), 32×64, bicubic"), "{gray}");
}

/// A hash of this text lies in checkpoints.
#[test]
fn without_a_white_level_it_prints_as_ever() {
    let expected = "Preprocessing { width: 64, height: 32, interpolation: Bicubic, crop_pct: 0.9, crop_mode: Center, \
                    mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }";
    assert_eq!(format!("{:?}", imagenet(64, 32)), expected);
}

#[test]
fn matches_timm_to_the_bit() {
    for case in cases("timm") {
        let preprocessing = Preprocessing {
            width: case.size[0],
            height: case.size[1],
            interpolation: case.interpolation.parse().unwrap(),
            crop_pct: case.crop_pct,
            crop_mode: case.crop_mode.parse().unwrap(),
            channels: Channels::Rgb,
            mean: case.mean.to_vec(),
            std: vec![0.2; 3],
            white: None,
        };
        preprocessing.validate().unwrap();
        case.assert_matches(&preprocessing.apply(&source(&case.source).into()).color, 0);
    }
}

#[test]
fn normalized_values_match_timm() {
    let preprocessing = imagenet(7, 5);
    let mut values = vec![0.0; 3 * 7 * 5];
    preprocessing.normalize_into(&preprocessing.apply(&source("photo").into()), &mut values);
    let expected = bytes("normalized.bin");
    let expected: Vec<f32> = expected.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    // PyTorch keeps channels apart.
    let planes: Vec<f32> = (0..3).flat_map(|channel| values.iter().copied().skip(channel).step_by(3)).collect();
    assert_eq!(planes, expected);
}

#[test]
fn extremely_long_images_need_no_extreme_memory() {
    // Resized whole, this would be 248 × 24,800,000 pixels.
    let line = RgbImage::from_pixel(100_000, 1, Rgb([7, 8, 9]));
    let expected = RgbImage::from_pixel(224, 224, Rgb([7, 8, 9]));
    assert_eq!(imagenet(224, 224).apply(&line.into()), expected.into());
}

#[test]
fn values_out_of_range_are_refused() {
    let refused = |change: fn(&mut Preprocessing)| {
        let mut preprocessing = imagenet(224, 224);
        assert_eq!(preprocessing.validate(), Ok(()));
        change(&mut preprocessing);
        preprocessing.validate().unwrap_err()
    };
    assert_eq!(refused(|p| p.crop_pct = 0.0), PreprocessingError::CropPct(0.0));
    let count = refused(|p| p.channels = Channels::Rgba);
    assert_eq!(count, PreprocessingError::StatisticsCount { channels: Channels::Rgba, mean: 3, std: 3 });
    assert_eq!(imagenet(224, 224).with_channels(Channels::Rgba).validate(), Ok(()));
    assert!(matches!(refused(|p| p.height = 0), PreprocessingError::Size { .. }));
    assert!(matches!(refused(|p| p.std[1] = 0.0), PreprocessingError::Statistics { .. }));
    assert!(matches!(refused(|p| p.mean[2] = f32::NAN), PreprocessingError::Statistics { .. }));
    assert!(matches!(refused(|p| p.crop_pct = f64::NAN), PreprocessingError::CropPct(_)));
}

#[test]
fn is_written_in_the_terms_of_pretrained_cfg() {
    let json = serde_json::to_value(imagenet(224, 224)).unwrap();
    assert_eq!(json["interpolation"], "bicubic");
    assert_eq!(json["crop_mode"], "center");
    assert_eq!(serde_json::from_value::<Preprocessing>(json).unwrap(), imagenet(224, 224));
}
