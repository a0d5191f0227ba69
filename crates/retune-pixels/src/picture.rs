//! An image with its opacity, on its way to a model of any channels.
//!
//! Colors are three bytes for every model, so that one set of resizers and augmentations serves all: they treat each
//! channel alike, and what is gray stays gray to the bit, as Pillow's mode `L` would have it. Opacity is kept apart, and
//! only where a model sees it and something is not opaque.

use std::sync::Arc;

use image::{GrayImage, Luma, Rgb, RgbImage};

use super::channels::Channels;

/// Colors and their opacity. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// The colors, not multiplied by the opacity.
    pub color: Arc<RgbImage>,
    /// The opacity of each pixel, 255 where nothing shows through; `None` where nothing does anywhere.
    pub alpha: Option<Arc<GrayImage>>,
}

impl From<Arc<RgbImage>> for Picture {
    fn from(color: Arc<RgbImage>) -> Self {
        Self { color, alpha: None }
    }
}

impl From<RgbImage> for Picture {
    fn from(color: RgbImage) -> Self {
        Arc::new(color).into()
    }
}

impl Picture {
    /// Colors with the opacity of each, which has the same size.
    pub fn new(color: RgbImage, alpha: GrayImage) -> Self {
        debug_assert_eq!(color.dimensions(), alpha.dimensions());
        let opaque = alpha.iter().all(|&alpha| alpha == 255);
        Self { color: Arc::new(color), alpha: (!opaque).then(|| Arc::new(alpha)) }
    }

    /// Its width in pixels.
    pub fn width(&self) -> u32 {
        self.color.width()
    }

    /// Its height in pixels.
    pub fn height(&self) -> u32 {
        self.color.height()
    }

    /// Its width and height in pixels.
    pub fn dimensions(&self) -> (u32, u32) {
        self.color.dimensions()
    }

    /// The bytes of its pixels.
    pub fn byte_count(&self) -> usize {
        self.color.as_raw().len() + self.alpha.as_ref().map_or(0, |alpha| alpha.as_raw().len())
    }

    /// What a model of these channels sees of it: gray as Pillow's `convert("L")` makes it, opacity or none.
    pub fn for_channels(self, channels: Channels) -> Self {
        let picture = if channels.is_gray() { self.map_color(gray) } else { self };
        Self { alpha: picture.alpha.filter(|_| channels.has_alpha()), ..picture }
    }

    /// The same opacity with other colors.
    pub fn map_color(self, change: impl FnOnce(RgbImage) -> RgbImage) -> Self {
        let color = Arc::new(change(Arc::unwrap_or_clone(self.color)));
        Self { color, ..self }
    }

    /// Changes colors and opacity alike, as by a crop. `change` must treat each channel for itself.
    pub(super) fn map(&self, change: impl Fn(&RgbImage) -> RgbImage) -> Self {
        self.map_filling([0, 0, 0, 255], |image, _| change(image))
    }

    /// As [`Picture::map`] with a change that brings in new pixels: of the color and opacity `fill`.
    pub(super) fn map_filling(&self, fill: [u8; 4], change: impl Fn(&RgbImage, [u8; 3]) -> RgbImage) -> Self {
        let [red, green, blue, opacity] = fill;
        let (width, height) = self.dimensions();
        let opaque = || (opacity < 255).then(|| Arc::new(GrayImage::from_pixel(width, height, Luma([255]))));
        let alpha = self.alpha.clone().or_else(opaque);
        let changed = |alpha: Arc<GrayImage>| Arc::new(one_channel(&change(&three_channels(&alpha), [opacity; 3])));
        Self { color: Arc::new(change(&self.color, [red, green, blue])), alpha: alpha.map(changed) }
    }

    /// Lets each color count by its opacity in a change that mixes neighboring pixels, as Pillow does with its modes `LA`
    /// and `RGBA`: colors are multiplied by their opacity before and divided by it after.
    pub(super) fn weighted(&self, change: impl FnOnce(&Self) -> Self) -> Self {
        let scaled_by = |picture: &Self, scale| match &picture.alpha {
            Some(alpha) => Arc::new(scaled(&picture.color, alpha, scale)),
            None => Arc::clone(&picture.color),
        };
        let changed = change(&Self { color: scaled_by(self, multiplied), alpha: self.alpha.clone() });
        Self { color: scaled_by(&changed, divided), alpha: changed.alpha }
    }
}

/// The gray level of a color: ITU-R 601 weights with 16 fractional bits, rounded, as Pillow's `convert("L")`.
pub(super) fn luminance([red, green, blue]: [u8; 3]) -> u8 {
    let sum = u32::from(red) * 19595 + u32::from(green) * 38470 + u32::from(blue) * 7471;
    ((sum + 0x8000) >> 16) as u8
}

fn gray(mut image: RgbImage) -> RgbImage {
    for pixel in image.pixels_mut() {
        pixel.0 = [luminance(pixel.0); 3];
    }
    image
}

fn three_channels(image: &GrayImage) -> RgbImage {
    RgbImage::from_fn(image.width(), image.height(), |x, y| Rgb([image.get_pixel(x, y)[0]; 3]))
}

fn one_channel(image: &RgbImage) -> GrayImage {
    GrayImage::from_fn(image.width(), image.height(), |x, y| Luma([image.get_pixel(x, y)[0]]))
}

fn scaled(color: &RgbImage, alpha: &GrayImage, scale: fn(u8, u8) -> u8) -> RgbImage {
    let mut scaled = color.clone();
    for (pixel, &alpha) in scaled.pixels_mut().zip(alpha.iter()) {
        pixel.0 = pixel.0.map(|value| scale(value, alpha));
    }
    scaled
}

/// Pillow's `MULDIV255`: the product over 255, rounded.
fn multiplied(value: u8, alpha: u8) -> u8 {
    let product = u32::from(value) * u32::from(alpha) + 128;
    (((product >> 8) + product) >> 8) as u8
}

/// The way back, cut to a whole level. Without opacity there is no color to bring back.
pub(super) fn divided(value: u8, alpha: u8) -> u8 {
    match alpha {
        0 | 255 => value,
        alpha => (255 * u32::from(value) / u32::from(alpha)).min(255) as u8,
    }
}

#[cfg(test)]
pub(crate) mod tests;
