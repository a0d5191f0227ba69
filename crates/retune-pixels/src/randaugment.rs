//! RandAugment (Cubuk et al. 2019, <https://arxiv.org/abs/1909.13719>) as timm means it.
//!
//! The default is timm's `rand-m9-mstd0.5-inc1`: of the fifteen operations whose severity increases
//! with the magnitude, two are drawn, with replacement, for each image; each is applied with
//! probability one half at a magnitude of 9 ± 0.5 out of 10. Reference implementation:
//! `timm/data/auto_augment.py` of timm 1.0.31. The random numbers are not those that Python would draw.

mod affine;
mod operations;

use image::RgbImage;
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

use super::picture::Picture;
use super::resize::Interpolation;
use affine::Sampling;

/// The magnitude at which an operation is at its strongest.
const MAX_MAGNITUDE: f64 = 10.0;

/// How many random operations are applied to an image, and how strongly.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RandAugment {
    /// Mean strength of an operation, from 0 to 10.
    pub magnitude: f64,
    /// Standard deviation of the strength, drawn anew for each operation and image.
    pub magnitude_std: f64,
    /// Operations drawn for each image.
    pub layers: u32,
    /// Probability that a drawn operation is applied.
    pub probability: f64,
}

impl Default for RandAugment {
    /// timm's `rand-m9-mstd0.5-inc1`.
    fn default() -> Self {
        RandAugment { magnitude: 9.0, magnitude_std: 0.5, layers: 2, probability: 0.5 }
    }
}

impl RandAugment {
    /// Applies randomly drawn operations to `picture`. What moves pixels moves their opacity along; what changes colors
    /// leaves it alone, as Pillow's enhancements do. (Its other operations on colors refuse images with opacity.)
    ///
    /// Operations that move pixels sample them bicubically if `interpolation` is a bicubic or Lanczos
    /// one, else bilinearly (the only smooth kinds that Pillow's affine transform has), and show
    /// `fill`, a color and its opacity, where there is no image.
    pub fn apply(
        &self,
        picture: Picture,
        interpolation: Interpolation,
        fill: [u8; 4],
        random: &mut impl Rng,
    ) -> Picture {
        (0..self.layers).fold(picture, |picture, _| {
            let operation = Operation::ALL[random.random_range(0..Operation::ALL.len())];
            if random.random::<f64>() > self.probability {
                return picture;
            }
            let noise: f64 = random.sample(StandardNormal);
            let magnitude = self.magnitude + noise * self.magnitude_std;
            let negative = random.random::<bool>();
            operation.at(magnitude, negative).apply(picture, sampling(interpolation), fill)
        })
    }
}

fn sampling(interpolation: Interpolation) -> Sampling {
    match interpolation {
        Interpolation::Bicubic
        | Interpolation::Lanczos
        | Interpolation::OpencvBicubic
        | Interpolation::OpencvLanczos4
        | Interpolation::PytorchBicubic => Sampling::Bicubic,
        _ => Sampling::Bilinear,
    }
}

/// The operations of RandAugment in timm's increasing set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    AutoContrast,
    Equalize,
    Invert,
    Rotate,
    Posterize,
    Solarize,
    SolarizeAdd,
    Color,
    Contrast,
    Brightness,
    Sharpness,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
}

impl Operation {
    const ALL: [Operation; 15] = [
        Operation::AutoContrast,
        Operation::Equalize,
        Operation::Invert,
        Operation::Rotate,
        Operation::Posterize,
        Operation::Solarize,
        Operation::SolarizeAdd,
        Operation::Color,
        Operation::Contrast,
        Operation::Brightness,
        Operation::Sharpness,
        Operation::ShearX,
        Operation::ShearY,
        Operation::TranslateX,
        Operation::TranslateY,
    ];

    /// This operation at a magnitude (confined to 0–10). `negative` turns around those that have a
    /// direction: rotation, shear and translation go the other way, enhancements weaken.
    fn at(self, magnitude: f64, negative: bool) -> Adjustment {
        let level = magnitude.clamp(0.0, MAX_MAGNITUDE) / MAX_MAGNITUDE;
        let signed = |value: f64| if negative { -value } else { value };
        // 1 leaves an image as it is; 0 would leave nothing of it.
        let enhancement = (1.0 + signed(level * 0.9)).max(0.1) as f32;
        match self {
            Operation::AutoContrast => Adjustment::AutoContrast,
            Operation::Equalize => Adjustment::Equalize,
            Operation::Invert => Adjustment::Invert,
            Operation::Rotate => Adjustment::Rotate(signed(level * 30.0)),
            // timm goes down to 0 bits at magnitude 10, a black image, which Pillow 13 refuses to make.
            Operation::Posterize => Adjustment::Posterize((4 - (level * 4.0) as u32).max(1)),
            Operation::Solarize => Adjustment::Solarize(256 - (level * 256.0) as u32),
            Operation::SolarizeAdd => Adjustment::SolarizeAdd((level * 110.0) as u8),
            Operation::Color => Adjustment::Color(enhancement),
            Operation::Contrast => Adjustment::Contrast(enhancement),
            Operation::Brightness => Adjustment::Brightness(enhancement),
            Operation::Sharpness => Adjustment::Sharpness(enhancement),
            Operation::ShearX => Adjustment::ShearX(signed(level * 0.3)),
            Operation::ShearY => Adjustment::ShearY(signed(level * 0.3)),
            Operation::TranslateX => Adjustment::TranslateX(signed(level * 0.45)),
            Operation::TranslateY => Adjustment::TranslateY(signed(level * 0.45)),
        }
    }
}

/// An operation with its argument.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Adjustment {
    AutoContrast,
    Equalize,
    Invert,
    /// Degrees, counter-clockwise.
    Rotate(f64),
    /// Bits to keep, from 1 to 8.
    Posterize(u32),
    /// Gray level from which on values are inverted.
    Solarize(u32),
    /// Gray levels to add to values under 128.
    SolarizeAdd(u8),
    /// Enhancements: 1 changes nothing.
    Color(f32),
    Contrast(f32),
    Brightness(f32),
    Sharpness(f32),
    /// Columns to move by for each row.
    ShearX(f64),
    /// Rows to move by for each column.
    ShearY(f64),
    /// Share of the width to move by.
    TranslateX(f64),
    /// Share of the height to move by.
    TranslateY(f64),
}

impl Adjustment {
    fn apply(self, picture: Picture, sampling: Sampling, fill: [u8; 4]) -> Picture {
        let (width, height) = (f64::from(picture.width()), f64::from(picture.height()));
        let transform = |matrix| {
            let transform = |image: &RgbImage, fill| affine::transform(image, matrix, sampling, fill);
            picture.weighted(|picture| picture.map_filling(fill, transform))
        };
        match self {
            Adjustment::AutoContrast => picture.map_color(operations::auto_contrast),
            Adjustment::Equalize => picture.map_color(operations::equalize),
            Adjustment::Invert => picture.map_color(operations::invert),
            Adjustment::Posterize(bits) => picture.map_color(|image| operations::posterize(image, bits)),
            Adjustment::Solarize(threshold) => picture.map_color(|image| operations::solarize(image, threshold)),
            Adjustment::SolarizeAdd(amount) => picture.map_color(|image| operations::solarize_add(image, amount)),
            Adjustment::Color(factor) => picture.map_color(|image| operations::color(image, factor)),
            Adjustment::Contrast(factor) => picture.map_color(|image| operations::contrast(image, factor)),
            Adjustment::Brightness(factor) => picture.map_color(|image| operations::brightness(image, factor)),
            Adjustment::Sharpness(factor) => picture.map_color(|image| operations::sharpness(image, factor)),
            Adjustment::Rotate(0.0) => picture,
            Adjustment::Rotate(degrees) => transform(affine::rotation(degrees, width, height)),
            Adjustment::ShearX(shear) => transform([1.0, shear, 0.0, 0.0, 1.0, 0.0]),
            Adjustment::ShearY(shear) => transform([1.0, 0.0, 0.0, shear, 1.0, 0.0]),
            Adjustment::TranslateX(share) => transform([1.0, 0.0, share * width, 0.0, 1.0, 0.0]),
            Adjustment::TranslateY(share) => transform([1.0, 0.0, 0.0, 0.0, 1.0, share * height]),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    use super::*;
    use crate::picture;
    use crate::resize::fixtures::{cases, source};

    fn of_name(interpolation: &str) -> Sampling {
        match interpolation {
            "bicubic" => Sampling::Bicubic,
            _ => Sampling::Bilinear,
        }
    }

    fn adjustment(operation: &str, argument: f64) -> Adjustment {
        match operation {
            "auto-contrast" => Adjustment::AutoContrast,
            "equalize" => Adjustment::Equalize,
            "invert" => Adjustment::Invert,
            "posterize" => Adjustment::Posterize(argument as u32),
            "solarize" => Adjustment::Solarize(argument as u32),
            "solarize-add" => Adjustment::SolarizeAdd(argument as u8),
            "color" => Adjustment::Color(argument as f32),
            "contrast" => Adjustment::Contrast(argument as f32),
            "brightness" => Adjustment::Brightness(argument as f32),
            "sharpness" => Adjustment::Sharpness(argument as f32),
            "rotate" => Adjustment::Rotate(argument),
            "shear-x" => Adjustment::ShearX(argument),
            "shear-y" => Adjustment::ShearY(argument),
            "translate-x" => Adjustment::TranslateX(argument),
            "translate-y" => Adjustment::TranslateY(argument),
            other => panic!("operation {other}"),
        }
    }

    fn opaque([red, green, blue]: [u8; 3]) -> [u8; 4] {
        [red, green, blue, 255]
    }

    #[test]
    fn every_operation_matches_pillow_to_the_bit() {
        for case in cases("augment") {
            let (adjustment, sampling) = (adjustment(&case.operation, case.argument), of_name(&case.interpolation));
            let adjusted = adjustment.apply(source(&case.source).into(), sampling, opaque(case.fill));
            case.assert_matches(&adjusted.color, 0);
        }
    }

    #[test]
    fn other_channels_match_pillow_to_the_bit() {
        for case in picture::tests::cases("operate") {
            let fill = match *case.mean.as_slice() {
                [] => [0, 0, 0, 255],
                [gray] => [level(gray), level(gray), level(gray), 255],
                [gray, alpha] => [level(gray), level(gray), level(gray), level(alpha)],
                [red, green, blue, ..] => [level(red), level(green), level(blue), level(case.mean[3])],
            };
            let adjustment = adjustment(&case.operation, case.argument);
            case.assert_matches(&adjustment.apply(case.source(), of_name(&case.interpolation), fill));
        }
    }

    fn level(mean: f32) -> u8 {
        (255.0 * f64::from(mean)).round_ties_even() as u8
    }

    #[test]
    fn severity_follows_timm() {
        let at = |operation: Operation, magnitude| operation.at(magnitude, false);
        assert_eq!(at(Operation::Rotate, 9.0), Adjustment::Rotate(27.0));
        assert_eq!(Operation::Rotate.at(9.0, true), Adjustment::Rotate(-27.0));
        assert_eq!(at(Operation::Posterize, 9.0), Adjustment::Posterize(1));
        assert_eq!(at(Operation::Posterize, 5.0), Adjustment::Posterize(2));
        assert_eq!(at(Operation::Posterize, 12.0), Adjustment::Posterize(1));
        assert_eq!(at(Operation::Solarize, 9.0), Adjustment::Solarize(26));
        assert_eq!(at(Operation::Solarize, -1.0), Adjustment::Solarize(256));
        assert_eq!(at(Operation::SolarizeAdd, 9.0), Adjustment::SolarizeAdd(99));
        assert_eq!(at(Operation::Color, 5.0), Adjustment::Color(1.45));
        assert_eq!(Operation::Color.at(10.0, true), Adjustment::Color(0.1));
        assert_eq!(at(Operation::TranslateX, 10.0), Adjustment::TranslateX(0.45));
    }

    #[test]
    fn a_quarter_of_the_images_meet_no_operation() {
        let mut random = ChaCha8Rng::seed_from_u64(0);
        let image = Picture::from(source("noise"));
        let augment = RandAugment::default();
        let draws = 2000;
        let unchanged = (0..draws)
            .filter(|_| {
                let fill = [128, 128, 128, 255];
                let bicubic = Interpolation::Bicubic;
                augment.apply(image.clone(), bicubic, fill, &mut random) == image
            })
            .count();
        // Two draws at probability ½ leave ¼ untouched. On this noise image stretching the contrast
        // changes nothing either, and inverting twice undoes itself: (½ + ½·1/15)² + (½·1/15)² ≈ 0.286.
        let share = unchanged as f64 / f64::from(draws);
        // Four standard errors of a share of 0.286 in 2000 draws.
        assert!((share - 0.286).abs() < 0.04, "{share}");
    }

    #[test]
    fn tiny_images_survive() {
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let always = RandAugment { layers: 40, probability: 1.0, ..RandAugment::default() };
        for (width, height) in [(0, 0), (1, 1), (2, 5), (3, 1)] {
            let image = RgbImage::new(width, height).into();
            let augmented = always.apply(image, Interpolation::Bilinear, [9, 9, 9, 255], &mut random);
            assert_eq!(augmented.dimensions(), (width, height));
        }
    }
}
