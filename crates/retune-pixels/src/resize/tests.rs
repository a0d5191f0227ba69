use image::Rgb;
use proptest::prelude::*;

use super::fixtures::{cases, source};
use super::*;

#[test]
fn pillow_interpolations_match_pillow_to_the_bit() {
    for case in cases("resize") {
        let interpolation: Interpolation = case.interpolation.parse().unwrap();
        if case.interpolation.contains('-') {
            continue;
        }
        let [width, height] = case.size;
        case.assert_matches(&resize(&source(&case.source), width, height, interpolation), 0);
    }
}

#[test]
fn boxes_match_pillow_to_the_bit() {
    for case in cases("box") {
        let interpolation = case.interpolation.parse().unwrap();
        let [width, height] = case.size;
        let resized = resize_box(&source(&case.source), case.r#box, width, height, interpolation);
        case.assert_matches(&resized, 0);
    }
}

#[test]
fn opencv_and_pytorch_interpolations_match_within_one_gray_level() {
    for case in cases("resize") {
        let interpolation: Interpolation = case.interpolation.parse().unwrap();
        if !case.interpolation.contains('-') {
            continue;
        }
        // Picking a pixel involves no arithmetic on its value; the others are summed in another order.
        let tolerance = u8::from(!case.interpolation.ends_with("nearest"));
        let [width, height] = case.size;
        let resized = resize(&source(&case.source), width, height, interpolation);
        let share = case.assert_matches(&resized, tolerance);
        // A wrong rule (an offset, another parameter) would differ nearly everywhere.
        assert!(share < 0.02, "{share} of the values differ: {case:?}");
    }
}

#[test]
fn antialiasing_tells_the_libraries_apart() {
    let photo = source("photo");
    let pillow = resize(&photo, 12, 9, Interpolation::Bilinear);
    let opencv = resize(&photo, 12, 9, Interpolation::OpencvBilinear);
    assert_ne!(pillow, opencv);
}

#[test]
fn names_round_trip() {
    for interpolation in Interpolation::ALL {
        assert_eq!(interpolation.to_string().parse(), Ok(interpolation));
        let json = serde_json::to_string(&interpolation).unwrap();
        assert_eq!(json, format!("\"{interpolation}\""));
        assert_eq!(serde_json::from_str::<Interpolation>(&json).unwrap(), interpolation);
    }
    let error = "cubic".parse::<Interpolation>().unwrap_err();
    assert!(error.to_string().starts_with("unknown interpolation `cubic`: use one of nearest, box,"));
}

#[test]
fn empty_sources_and_targets_give_black_images() {
    for interpolation in Interpolation::ALL {
        assert_eq!(resize(&RgbImage::new(0, 3), 2, 2, interpolation), RgbImage::new(2, 2));
        assert_eq!(resize(&source("flat"), 0, 5, interpolation).dimensions(), (0, 5));
        let nowhere = resize_box(&source("flat"), [f64::NAN; 4], 1, 1, interpolation);
        assert_eq!(nowhere, RgbImage::new(1, 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn constant_images_stay_constant(
        from in (1u32..40, 1u32..40),
        to in (1u32..40, 1u32..40),
        color in any::<[u8; 3]>(),
    ) {
        let image = RgbImage::from_pixel(from.0, from.1, Rgb(color));
        for interpolation in Interpolation::ALL {
            let resized = resize(&image, to.0, to.1, interpolation);
            prop_assert_eq!(resized.dimensions(), to);
            // OpenCV rounds each weight to 11 bits; eight of them may miss 1 by 8 × 2⁻¹², half a gray
            // level at 255. Everything else sums to 1 within far less.
            let tolerance = u8::from(interpolation.name().starts_with("opencv"));
            for pixel in resized.pixels() {
                for (value, expected) in pixel.0.iter().zip(color) {
                    prop_assert!(value.abs_diff(expected) <= tolerance, "{interpolation}");
                }
            }
        }
    }

    #[test]
    fn windows_are_crops_of_the_whole(
        to in (1u32..60, 1u32..60),
        window in (0u32..40, 0u32..40, 1u32..30, 1u32..30),
    ) {
        let image = source("noise");
        let (left, top, width, height) = window;
        for interpolation in Interpolation::ALL {
            let window = Window { left, top, width, height };
            let direct = resize_window(&image, to.0, to.1, window, interpolation);
            let mut whole = resize(&image, to.0, to.1, interpolation);
            let crop = image::imageops::crop(&mut whole, left, top, width, height).to_image();
            prop_assert_eq!(direct.as_raw(), crop.as_raw(), "{}", interpolation);
        }
    }

    #[test]
    fn any_box_is_confined_to_the_image(
        corners in any::<[f32; 4]>().prop_map(|corners| corners.map(f64::from)),
        inside in [0.0..23.0f64, 0.0..31.0, 0.0..23.0, 0.0..31.0],
        to in (1u32..12, 1u32..12),
    ) {
        let image = source("noise");
        for interpolation in Interpolation::ALL {
            for source in [corners, inside] {
                let resized = resize_box(&image, source, to.0, to.1, interpolation);
                prop_assert_eq!(resized.dimensions(), to);
            }
        }
    }
}
