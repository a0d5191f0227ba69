//! The fifteen corruptions of ImageNet-C at five severities (Hendrycks & Dietterich 2019, arXiv
//! 1903.12261), with the constants of the authors' code for photos at a model's input size.
//!
//! A corruption of an image is a function of the seed and the image's index, so that a corrupted
//! set is a set and not an augmentation. Frost differs from the original, which overlays six
//! photographs of unknown license: here the texture is made up.

mod blur;
mod canvas;
mod digital;
mod noise;
mod weather;

use std::fmt;
use std::str::FromStr;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use self::canvas::Canvas;

/// What happens to an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CorruptionKind {
    /// Normal noise on every value, as in low light.
    GaussianNoise,
    /// Poisson noise, from the discreteness of light.
    ShotNoise,
    /// Single values turned white or black, as bit errors do.
    ImpulseNoise,
    /// A disk-shaped blur, out of focus.
    DefocusBlur,
    /// Pixels exchanged with near ones, as behind frosted glass.
    GlassBlur,
    /// A blur along a line, of a moving camera.
    MotionBlur,
    /// The average of zoomed views, of a camera that moves towards its subject.
    ZoomBlur,
    /// Falling snow, and a whitened picture.
    Snow,
    /// Crystals on the lens.
    Frost,
    /// Fog of varying density.
    Fog,
    /// More light.
    Brightness,
    /// Less contrast.
    Contrast,
    /// Small regions stretched and shrunk.
    ElasticTransform,
    /// Fewer pixels.
    Pixelate,
    /// Few bits for a JPEG.
    JpegCompression,
}

/// All of them, in the paper's order.
pub const ALL: [CorruptionKind; 15] = [
    CorruptionKind::GaussianNoise,
    CorruptionKind::ShotNoise,
    CorruptionKind::ImpulseNoise,
    CorruptionKind::DefocusBlur,
    CorruptionKind::GlassBlur,
    CorruptionKind::MotionBlur,
    CorruptionKind::ZoomBlur,
    CorruptionKind::Snow,
    CorruptionKind::Frost,
    CorruptionKind::Fog,
    CorruptionKind::Brightness,
    CorruptionKind::Contrast,
    CorruptionKind::ElasticTransform,
    CorruptionKind::Pixelate,
    CorruptionKind::JpegCompression,
];

impl CorruptionKind {
    /// The name that users type, which is the original's.
    pub fn name(self) -> &'static str {
        match self {
            Self::GaussianNoise => "gaussian_noise",
            Self::ShotNoise => "shot_noise",
            Self::ImpulseNoise => "impulse_noise",
            Self::DefocusBlur => "defocus_blur",
            Self::GlassBlur => "glass_blur",
            Self::MotionBlur => "motion_blur",
            Self::ZoomBlur => "zoom_blur",
            Self::Snow => "snow",
            Self::Frost => "frost",
            Self::Fog => "fog",
            Self::Brightness => "brightness",
            Self::Contrast => "contrast",
            Self::ElasticTransform => "elastic_transform",
            Self::Pixelate => "pixelate",
            Self::JpegCompression => "jpeg_compression",
        }
    }
}

/// A corruption at a severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Corruption {
    /// What happens.
    pub kind: CorruptionKind,
    severity: u8,
}

/// The text names no corruption.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnknownCorruption {
    /// No corruption has the name.
    #[error("unknown corruption '{0}'; choose one of {known}", known = ALL.map(CorruptionKind::name).join(", "))]
    Kind(String),
    /// The severity is not one of the five.
    #[error("the severity of {kind} is '{severity}', and must be from 1 to 5")]
    Severity {
        /// The corruption.
        kind: &'static str,
        /// What stands for its severity.
        severity: String,
    },
}

impl Corruption {
    /// A corruption at a severity from 1 to 5; others are brought to the nearest of these.
    pub fn new(kind: CorruptionKind, severity: u8) -> Self {
        Self { kind, severity: severity.clamp(1, 5) }
    }

    /// The severity, 1 to 5.
    pub fn severity(self) -> u8 {
        self.severity
    }

    /// The corrupted image, of the same size: the same pixels for the same seed and index.
    pub fn apply(self, image: &RgbImage, seed: u64, index: u64) -> RgbImage {
        if image.width() == 0 || image.height() == 0 {
            return image.clone();
        }
        let level = usize::from(self.severity - 1);
        let key = retune_random::hash(self.kind.name().as_bytes());
        let random = &mut retune_random::generator(seed, &[key, u64::from(self.severity), index]);
        let canvas = || Canvas::new(image);
        match self.kind {
            CorruptionKind::GaussianNoise => noise::gaussian(canvas(), level, random).into_image(),
            CorruptionKind::ShotNoise => noise::shot(canvas(), level, random).into_image(),
            CorruptionKind::ImpulseNoise => noise::impulse(canvas(), level, random).into_image(),
            CorruptionKind::DefocusBlur => blur::defocus(&canvas(), level).into_image(),
            CorruptionKind::GlassBlur => blur::glass(&canvas(), level, random).into_image(),
            CorruptionKind::MotionBlur => blur::motion(&canvas(), level, random).into_image(),
            CorruptionKind::ZoomBlur => blur::zoom(&canvas(), level).into_image(),
            CorruptionKind::Snow => weather::snow(canvas(), level, random).into_image(),
            CorruptionKind::Frost => weather::frost(canvas(), level, random).into_image(),
            CorruptionKind::Fog => weather::fog(canvas(), level, random).into_image(),
            CorruptionKind::Brightness => weather::brightness(canvas(), level).into_image(),
            CorruptionKind::Contrast => digital::contrast(canvas(), level).into_image(),
            CorruptionKind::ElasticTransform => digital::elastic(&canvas(), level, random).into_image(),
            CorruptionKind::Pixelate => digital::pixelate(image, level),
            CorruptionKind::JpegCompression => digital::jpeg(image, level),
        }
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.kind.name(), self.severity)
    }
}

impl FromStr for Corruption {
    type Err = UnknownCorruption;

    /// `name:severity`; without a severity, 3.
    fn from_str(text: &str) -> Result<Self, UnknownCorruption> {
        let (name, severity) = text.split_once(':').unwrap_or((text, "3"));
        let kind = ALL.into_iter().find(|kind| kind.name() == name);
        let kind = kind.ok_or_else(|| UnknownCorruption::Kind(name.to_owned()))?;
        match severity.parse() {
            Ok(severity @ 1..=5) => Ok(Self { kind, severity }),
            _ => Err(UnknownCorruption::Severity { kind: kind.name(), severity: severity.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests;
