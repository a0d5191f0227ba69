use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/corruptions").join(name)
}

fn image() -> RgbImage {
    image::open(fixture("image.png")).unwrap().into_rgb8()
}

#[test]
fn corruptions_without_chance_match_the_original() {
    const EXACT: [&str; 6] = ["defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"];
    let image = image();
    let expected = image::open(fixture("corrupted.png")).unwrap().into_rgb8();
    for (number, name) in EXACT.iter().enumerate() {
        // The original computes in double precision and rounds down, so a value on the edge between
        // two gray levels may fall on the other side: one level, rarely. JPEG is written and read by
        // other programs than the original's: a coefficient on the edge of its rounding moves a
        // whole 8 × 8 block, so only the average says something: a third of what the corruption
        // itself changes.
        let is_jpeg = *name == "jpeg_compression";
        for severity in 1..=5u8 {
            let corruption: Corruption = format!("{name}:{severity}").parse().unwrap();
            let found = corruption.apply(&image, 0, 0);
            let top = (number as u32 * 5 + u32::from(severity) - 1) * image.height();
            let expected = image::imageops::crop_imm(&expected, 0, top, image.width(), image.height()).to_image();
            let differences: Vec<u8> =
                found.iter().zip(expected.iter()).map(|(one, other)| one.abs_diff(*other)).collect();
            let mean =
                differences.iter().map(|&difference| f64::from(difference)).sum::<f64>() / differences.len() as f64;
            let largest = *differences.iter().max().unwrap();
            let (most, on_average) = if is_jpeg { (255, measures(&image, &found)["change"] / 3.0) } else { (1, 0.05) };
            assert!(largest <= most && mean <= on_average, "{corruption}: largest {largest}, mean {mean:.4}");
        }
    }
}

/// What a corruption does, in gray levels, as the fixture's generator measures it.
fn measures(image: &RgbImage, corrupted: &RgbImage) -> BTreeMap<&'static str, f64> {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let values: Vec<f64> = corrupted.iter().map(|&value| f64::from(value)).collect();
    let change: Vec<f64> = values.iter().zip(image.iter()).map(|(value, before)| value - f64::from(*before)).collect();
    let mean = |values: &mut dyn Iterator<Item = f64>| {
        let (sum, count) = values.fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
        sum / f64::from(count)
    };
    let average = mean(&mut values.iter().copied());
    let at = |y: usize, x: usize, channel: usize| change[(y * width + x) * 3 + channel];
    let places = |down: usize, across: usize, channels: usize| {
        (0..down).flat_map(move |y| (0..across).flat_map(move |x| (0..channels).map(move |channel| (y, x, channel))))
    };
    BTreeMap::from([
        ("mean", average),
        ("deviation", mean(&mut values.iter().map(|value| (value - average).powi(2))).sqrt()),
        ("change", mean(&mut change.iter().map(|value| value.abs()))),
        (
            "change_across",
            mean(&mut places(height, width - 1, 3).map(|(y, x, c)| (at(y, x + 1, c) - at(y, x, c)).abs())),
        ),
        ("change_down", mean(&mut places(height - 1, width, 3).map(|(y, x, c)| (at(y + 1, x, c) - at(y, x, c)).abs()))),
        (
            "change_between_channels",
            mean(&mut places(height, width, 2).map(|(y, x, c)| (at(y, x, c + 1) - at(y, x, c)).abs())),
        ),
    ])
}

#[test]
fn corruptions_by_chance_do_what_the_original_does_on_average() {
    const DRAWS: u64 = 60;
    let image = image();
    let text = std::fs::read_to_string(fixture("statistics.json")).unwrap();
    let expected: BTreeMap<String, Vec<BTreeMap<String, [f64; 2]>>> = serde_json::from_str(&text).unwrap();
    assert_eq!(expected.len(), 9);
    for (name, severities) in expected.iter().filter(|(name, _)| *name != "frost") {
        for (severity, expected) in (1..).zip(severities) {
            let corruption: Corruption = format!("{name}:{severity}").parse().unwrap();
            let drawn: Vec<_> = (0..DRAWS).map(|index| measures(&image, &corruption.apply(&image, 0, index))).collect();
            for (measure, [reference, reference_error]) in expected {
                let values: Vec<f64> = drawn.iter().map(|one| one[measure.as_str()]).collect();
                let mean = values.iter().sum::<f64>() / DRAWS as f64;
                let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (DRAWS - 1) as f64;
                let error = (variance / DRAWS as f64 + reference_error.powi(2)).sqrt();
                // Five standard errors of the difference: by chance, one measure in two million is
                // farther off. A twentieth of a gray level is for rounding down on either side.
                let off = (mean - reference).abs();
                assert!(
                    off <= 5.0 * error + 0.05,
                    "{corruption}: {measure} is {mean:.3}, not {reference:.3} ± {error:.3}"
                );
            }
        }
    }
}

#[test]
fn made_up_frost_is_as_bright_and_as_strong_as_photographs_of_it() {
    let image = image();
    let text = std::fs::read_to_string(fixture("statistics.json")).unwrap();
    let expected: BTreeMap<String, Vec<BTreeMap<String, [f64; 2]>>> = serde_json::from_str(&text).unwrap();
    for (severity, expected) in (1..).zip(&expected["frost"]) {
        let corruption = Corruption::new(CorruptionKind::Frost, severity);
        let drawn: Vec<_> = (0..40).map(|index| measures(&image, &corruption.apply(&image, 0, index))).collect();
        for measure in ["mean", "deviation", "change"] {
            let mean = drawn.iter().map(|one| one[measure]).sum::<f64>() / 40.0;
            let ratio = mean / expected[measure][0];
            // Another texture of the same kind: within a quarter.
            assert!((0.75..1.33).contains(&ratio), "{corruption}: {measure} is {ratio:.2} of the original's");
        }
    }
}

#[test]
fn a_corrupted_set_is_the_same_every_time_and_its_images_differ() {
    let image = image();
    for kind in ALL {
        let corruption = Corruption::new(kind, 4);
        let of = |seed: u64, index: u64| corruption.apply(&image, seed, index);
        assert_eq!(of(1, 2), of(1, 2), "{corruption}");
        assert_eq!(of(1, 2).dimensions(), image.dimensions());
        assert_ne!(of(1, 2), image, "{corruption}");
    }
    let noise = Corruption::new(CorruptionKind::GaussianNoise, 1);
    assert_ne!(noise.apply(&image, 1, 2), noise.apply(&image, 1, 3));
    assert_ne!(noise.apply(&image, 1, 2), noise.apply(&image, 2, 2));
}

#[test]
fn names_and_severities_are_read_and_mistakes_are_told() {
    for kind in ALL {
        let corruption = Corruption::new(kind, 2);
        assert_eq!(corruption.to_string().parse::<Corruption>().unwrap(), corruption);
    }
    assert_eq!("fog".parse::<Corruption>().unwrap().severity(), 3);
    assert!("fug:3".parse::<Corruption>().unwrap_err().to_string().contains("gaussian_noise, shot_noise"));
    assert!("fog:6".parse::<Corruption>().unwrap_err().to_string().contains("'6'"));
    assert!("fog:".parse::<Corruption>().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn any_image_is_corrupted(width in 1u32..40, height in 1u32..40, kind in 0usize..15, severity in 1u8..=5, gray in 0u8..=255) {
        let image = RgbImage::from_fn(width, height, |x, y| image::Rgb([gray, (x * 7) as u8, (y * 13) as u8]));
        let corrupted = Corruption::new(ALL[kind], severity).apply(&image, 0, 0);
        prop_assert_eq!(corrupted.dimensions(), image.dimensions());
    }
}
