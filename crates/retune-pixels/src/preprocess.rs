//! How an image becomes a model's input: resize, crop, normalize.
//!
//! Follows timm 1.0.31, `timm/data/transforms_factory.py::transforms_imagenet_eval`, with its rounding,
//! because a crop that is off by one pixel changes logits. Checked against timm's output to the bit.

use std::fmt;
use std::num::NonZeroU16;
use std::str::FromStr;

use image::{Rgb, RgbImage, imageops};
use serde::{Deserialize, Serialize};

use super::channels::Channels;
use super::picture::{Picture, luminance};
use super::resize::{Interpolation, Window, resize, resize_window};

/// How an image of another shape than the model's input is fitted to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CropMode {
    /// Scale until the short side fits, cut the long side at both ends.
    #[default]
    Center,
    /// Scale both sides to fit, changing the shape of things.
    Squash,
    /// Scale until the long side fits, fill beside the short side with the mean color.
    Border,
}

impl CropMode {
    /// Every mode.
    pub const ALL: [CropMode; 3] = [CropMode::Center, CropMode::Squash, CropMode::Border];

    /// The name used on the command line and in `pretrained_cfg`.
    pub fn name(self) -> &'static str {
        match self {
            CropMode::Center => "center",
            CropMode::Squash => "squash",
            CropMode::Border => "border",
        }
    }
}

impl fmt::Display for CropMode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// The error of [`CropMode::from_str`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown crop mode `{name}`: use one of center, squash, border")]
pub struct UnknownCropMode {
    /// The name that was given.
    pub name: String,
}

impl FromStr for CropMode {
    type Err = UnknownCropMode;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        CropMode::ALL
            .into_iter()
            .find(|mode| mode.name() == name)
            .ok_or_else(|| UnknownCropMode { name: name.to_owned() })
    }
}

/// A model's preprocessing, as timm's `pretrained_cfg` states it.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Width of the model's input, in pixels.
    pub width: u32,
    /// Height of the model's input, in pixels.
    pub height: u32,
    /// How pixels are computed when the size changes.
    pub interpolation: Interpolation,
    /// Which part of the resized image the input is, along a side: images are first resized to
    /// `floor(side / crop_pct)`. From 0.05 to 1.
    pub crop_pct: f64,
    /// How an image of another shape is fitted.
    pub crop_mode: CropMode,
    /// The channels of the model's images.
    #[serde(default, skip_serializing_if = "is_rgb")]
    pub channels: Channels,
    /// Mean of each channel, in their order, on the scale from 0 to 1.
    pub mean: Vec<f32>,
    /// Standard deviation of each channel, on the scale from 0 to 1.
    pub std: Vec<f32>,
    /// The value of 16-bit images that is white; 65535 without one. Images of 8 bits stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub white: Option<NonZeroU16>,
}

fn is_rgb(channels: &Channels) -> bool {
    *channels == Channels::Rgb
}

/// Without a white level and of three channels as it was before there were others: hashes of it tell what an interrupted run may go on with.
impl fmt::Debug for Preprocessing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = formatter.debug_struct("Preprocessing");
        fields.field("width", &self.width).field("height", &self.height);
        fields.field("interpolation", &self.interpolation).field("crop_pct", &self.crop_pct);
        fields.field("crop_mode", &self.crop_mode).field("mean", &self.mean).field("std", &self.std);
        if let Some(white) = self.white {
            fields.field("white", &white);
        }
        if !is_rgb(&self.channels) {
            fields.field("channels", &self.channels);
        }
        fields.finish()
    }
}

/// As in `96×96, bicubic, crop 0.875, center, mean 0.5,0.5,0.5, std 0.5,0.5,0.5`; height first.
impl fmt::Display for Preprocessing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.parts().into_iter().map(|(_, part)| part).collect();
        formatter.write_str(&parts.join(", "))
    }
}

/// What is wrong with a [`Preprocessing`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PreprocessingError {
    /// The input has no pixels, or absurdly many.
    #[error("input size {width}×{height} is out of range: each side must be from 1 to 16384 pixels")]
    Size {
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
    },
    /// `crop_pct` is out of range.
    #[error("crop_pct {0} is out of range: it must be from 0.05 to 1")]
    CropPct(f64),
    /// A mean is not a number, or a deviation cannot be divided by.
    #[error("mean {mean:?} and std {std:?} must be finite, and std above 0")]
    Statistics {
        /// The means.
        mean: Vec<f32>,
        /// The standard deviations.
        std: Vec<f32>,
    },
    /// There are more or fewer means or deviations than channels.
    #[error("images of {channels} need as many values in mean and std, not {mean} and {std}")]
    StatisticsCount {
        /// The channels.
        channels: Channels,
        /// How many means there are.
        mean: usize,
        /// How many deviations.
        std: usize,
    },
}

impl Preprocessing {
    /// Checks that the values make sense; the other methods rely on it.
    ///
    /// # Errors
    /// The first value that is out of its range.
    pub fn validate(&self) -> Result<(), PreprocessingError> {
        let sides = 1..=16384;
        if !sides.contains(&self.width) || !sides.contains(&self.height) {
            return Err(PreprocessingError::Size { width: self.width, height: self.height });
        }
        if !(0.05..=1.0).contains(&self.crop_pct) {
            return Err(PreprocessingError::CropPct(self.crop_pct));
        }
        let usable = |std: &f32| std.is_finite() && *std > 0.0;
        if !self.mean.iter().all(|mean| mean.is_finite()) || !self.std.iter().all(usable) {
            return Err(PreprocessingError::Statistics { mean: self.mean.clone(), std: self.std.clone() });
        }
        self.check_statistics_count()
    }

    /// Checks that there is a mean and a standard deviation for each channel.
    ///
    /// # Errors
    /// [`PreprocessingError::StatisticsCount`] if not.
    pub fn check_statistics_count(&self) -> Result<(), PreprocessingError> {
        let (channels, mean, std) = (self.channels, self.mean.len(), self.std.len());
        if [mean, std] != [channels.count(); 2] {
            return Err(PreprocessingError::StatisticsCount { channels, mean, std });
        }
        Ok(())
    }

    /// The same for images of other channels, with a mean and standard deviation for each; see [`Channels::statistics`].
    pub fn with_channels(&self, channels: Channels) -> Self {
        let (mean, std) = (channels.statistics(&self.mean), channels.statistics(&self.std));
        Self { channels, mean, std, ..self.clone() }
    }

    /// Each property in words, by its name.
    fn parts(&self) -> Vec<(&'static str, String)> {
        let listed = |values: &[f32]| values.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
        let mut parts = vec![
            ("size", format!("{}×{}", self.height, self.width)),
            ("interpolation", self.interpolation.to_string()),
            ("crop", format!("crop {}", self.crop_pct)),
            ("crop mode", self.crop_mode.to_string()),
            ("mean", format!("mean {}", listed(&self.mean))),
            ("std", format!("std {}", listed(&self.std))),
        ];
        parts.extend(self.white.map(|white| ("white level", format!("white level {white}"))));
        if !is_rgb(&self.channels) {
            parts.insert(0, ("channels", self.channels.to_string()));
        }
        parts
    }

    /// The first property in which another preprocessing differs, in words.
    pub fn difference(&self, other: &Self) -> Option<String> {
        if self.channels != other.channels {
            return Some(format!("images differ in channels: {} and {}", self.channels, other.channels));
        }
        let (own, others) = (self.parts(), other.parts());
        let (one, two) = own.iter().zip(&others).find(|(one, two)| one != two).map_or_else(
            // A white level is the only one that may be missing.
            || (own.get(others.len()), others.get(own.len())),
            |(one, two)| (Some(one), Some(two)),
        );
        let (name, _) = one.or(two)?;
        let value = |part: Option<&(&str, String)>| part.map_or("none".to_owned(), |(_, value)| value.clone());
        Some(format!("images differ in {name}: {} and {}", value(one), value(two)))
    }

    /// Resizes and crops `picture` to exactly `width` × `height` pixels.
    pub fn apply(&self, picture: &Picture) -> Picture {
        if picture.width() == 0 || picture.height() == 0 {
            return RgbImage::new(self.width, self.height).into();
        }
        let resized_size = self.resized_size(&picture.color);
        let fitted = self.resized(picture, resized_size, |image| self.fit(image, resized_size));
        if fitted.dimensions() == (self.width, self.height) {
            return fitted;
        }
        let left = Placement::centered(resized_size.0, self.width).padding;
        let top = Placement::centered(resized_size.1, self.height).padding;
        let [red, green, blue] = self.padding_color();
        fitted.map_filling([red, green, blue, self.padding_alpha()], |image, fill| {
            let mut padded = RgbImage::from_pixel(self.width, self.height, Rgb(fill));
            imageops::replace(&mut padded, image, i64::from(left), i64::from(top));
            padded
        })
    }

    /// Resizes `picture` by `resize`. Pillow's filters, which mix pixels, weigh colors by their opacity; what keeps its
    /// size is not touched.
    fn resized(&self, picture: &Picture, size: (u32, u32), resize: impl Fn(&RgbImage) -> RgbImage) -> Picture {
        let weighted = self.interpolation.weighs_by_opacity() && picture.dimensions() != size;
        if weighted { picture.weighted(|picture| picture.map(resize)) } else { picture.map(resize) }
    }

    /// Resizes `image` to a size and cuts off what is beyond the model's input.
    fn fit(&self, image: &RgbImage, (width, height): (u32, u32)) -> RgbImage {
        let across = Placement::centered(width, self.width);
        let down = Placement::centered(height, self.height);
        let window = Window { left: across.cut, top: down.cut, width: across.kept, height: down.kept };
        resize_window(image, width, height, window, self.interpolation)
    }

    /// Resizes `picture` to exactly `width` × `height` pixels without cropping, as training
    /// augmentations do with the part of an image that they picked.
    pub fn resize_whole(&self, picture: &Picture) -> Picture {
        let size = (self.width, self.height);
        self.resized(picture, size, |image| resize(image, self.width, self.height, self.interpolation))
    }

    /// The mean color in gray levels: what is put beside an image that does not fill its frame.
    pub fn mean_color(&self) -> [u8; 3] {
        match *self.mean.as_slice() {
            [red, green, blue, ..] => [red, green, blue].map(gray_level),
            [gray, ..] => [gray_level(gray); 3],
            [] => [0; 3],
        }
    }

    /// The mean opacity; full where the model sees none.
    pub fn mean_alpha(&self) -> u8 {
        self.mean.last().filter(|_| self.channels.has_alpha()).map_or(255, |&mean| gray_level(mean))
    }

    /// The opacity of what is put beside an image: torchvision's black has none.
    fn padding_alpha(&self) -> u8 {
        if self.crop_mode == CropMode::Border || !self.channels.has_alpha() { self.mean_alpha() } else { 0 }
    }

    /// torchvision pads a too small image with black before it crops; only `border` means to pad.
    fn padding_color(&self) -> [u8; 3] {
        match self.crop_mode {
            CropMode::Border => self.mean_color(),
            CropMode::Center | CropMode::Squash => [0; 3],
        }
    }

    /// Width and height after resizing and before cropping.
    fn resized_size(&self, image: &RgbImage) -> (u32, u32) {
        let scaled = |side: u32| (f64::from(side) / self.crop_pct).floor();
        let (width, height) = (scaled(self.width), scaled(self.height));
        let resized = match self.crop_mode {
            CropMode::Squash => (width, height),
            CropMode::Border => keep_ratio(image, width, height, f64::max),
            CropMode::Center if width == height => short_side(image, width),
            CropMode::Center => keep_ratio(image, width, height, f64::min),
        };
        // A side of an extremely long image may round to nothing.
        ((resized.0 as u32).max(1), (resized.1 as u32).max(1))
    }

    /// Writes `picture` into `out` as the model reads it: height × width × channels, each value
    /// `(gray level / 255 − mean) / std` in single precision.
    ///
    /// # Panics
    /// If `out` does not hold a value for each channel of each pixel.
    pub fn normalize_into(&self, picture: &Picture, out: &mut [f32]) {
        let pixels: &[[u8; 3]] = picture.color.as_raw().as_chunks().0;
        assert_eq!(out.len(), pixels.len() * self.channels.count(), "a value for each channel of each pixel");
        let color = pixels.iter().copied();
        // A corruption may have given colors to what was gray.
        let gray = pixels.iter().copied().map(luminance);
        let opacity = picture.alpha.iter().flat_map(|alpha| alpha.iter().copied()).chain(std::iter::repeat(255));
        match self.channels {
            Channels::Gray => self.look_up(gray.map(|gray| [gray]), out),
            Channels::GrayAlpha => self.look_up(gray.zip(opacity).map(|(gray, alpha)| [gray, alpha]), out),
            Channels::Rgb => self.look_up(color, out),
            Channels::Rgba => self.look_up(color.zip(opacity).map(|([r, g, b], alpha)| [r, g, b, alpha]), out),
        }
    }

    /// Writes the normalized values of pixels of `N` channels, pixel by pixel.
    fn look_up<const N: usize>(&self, pixels: impl Iterator<Item = [u8; N]>, out: &mut [f32]) {
        let normalized: [[f32; 256]; N] = std::array::from_fn(|channel| {
            std::array::from_fn(|level| (level as f32 / 255.0 - self.mean[channel]) / self.std[channel])
        });
        for (values, levels) in out.as_chunks_mut::<N>().0.iter_mut().zip(pixels) {
            *values = std::array::from_fn(|channel| normalized[channel][usize::from(levels[channel])]);
        }
    }
}

/// A value from 0 to 1 in gray levels. Python's `round` sends halves to even; a cast clamps.
fn gray_level(value: f32) -> u8 {
    (255.0 * f64::from(value)).round_ties_even() as u8
}

/// torchvision's `Resize` with one number: the short side gets it, the long side is cut to a whole
/// number of pixels.
fn short_side(image: &RgbImage, side: f64) -> (f64, f64) {
    let (width, height) = (f64::from(image.width()), f64::from(image.height()));
    if width <= height { (side, (side * height / width).floor()) } else { ((side * width / height).floor(), side) }
}

/// timm's `ResizeKeepRatio`: both sides divided by one ratio, chosen between the two that would make
/// a side fit, and rounded.
fn keep_ratio(image: &RgbImage, width: f64, height: f64, choose: fn(f64, f64) -> f64) -> (f64, f64) {
    let (image_width, image_height) = (f64::from(image.width()), f64::from(image.height()));
    let ratio = choose(image_height / height, image_width / width);
    let scaled = |side: f64| (side / ratio).round_ties_even();
    (scaled(image_width), scaled(image_height))
}

/// Where a side of `size` pixels lies in a frame of another size, centered.
struct Placement {
    /// Pixels cut off before the first kept one.
    cut: u32,
    /// Pixels kept.
    kept: u32,
    /// Pixels of padding before the first kept one.
    padding: u32,
}

impl Placement {
    fn centered(size: u32, frame: u32) -> Self {
        let surplus = size.saturating_sub(frame);
        Placement {
            cut: (f64::from(surplus) / 2.0).round_ties_even() as u32,
            kept: size.min(frame),
            padding: frame.saturating_sub(size) / 2,
        }
    }
}

#[cfg(test)]
mod tests;
