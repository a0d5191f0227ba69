//! What processing does to an image.

use image::RgbImage;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use rand::{Rng, RngExt};

use super::canvas::{Border, Canvas};
use crate::resize::{Interpolation, resize};

/// Each channel is drawn towards its mean.
pub(super) fn contrast(mut canvas: Canvas, level: usize) -> Canvas {
    let kept = [0.4, 0.3, 0.2, 0.1, 0.05][level];
    for plane in &mut canvas.planes {
        let mean = (plane.iter().map(|&value| f64::from(value)).sum::<f64>() / plane.len() as f64) as f32;
        plane.iter_mut().for_each(|value| *value = (*value - mean) * kept + mean);
    }
    canvas
}

/// Every pixel comes from a place nearby; how far away is smoothed noise.
pub(super) fn elastic(canvas: &Canvas, level: usize, random: &mut impl Rng) -> Canvas {
    let scale = [12.5, 16.25, 21.25, 25.0, 30.0][level];
    let (width, height) = (canvas.width, canvas.height);
    let reach = height as f32 * 0.005;
    let sigma = [height, width].map(|side| side as f32 * 0.01);
    let mut displacement = || {
        let noise = (0..width * height).map(|_| random.random_range(-1.0f32..1.0) * reach).collect();
        let smoothed = Canvas::layer(width, height, noise).smoothed(sigma, 3.0, Border::Mirror);
        smoothed.planes[0].iter().map(|value| value * scale).collect::<Vec<f32>>()
    };
    let (across, down) = (displacement(), displacement());
    canvas.map_planes(|plane| {
        let moved = |index: usize| {
            let (y, x) = ((index / width) as f32, (index % width) as f32);
            canvas.between(plane, y + down[index], x + across[index])
        };
        (0..width * height).map(moved).collect()
    })
}

/// Fewer pixels, each shown larger.
pub(super) fn pixelate(image: &RgbImage, level: usize) -> RgbImage {
    let kept = [0.6, 0.5, 0.4, 0.3, 0.25][level];
    let smaller = |side: u32| ((f64::from(side) * kept) as u32).max(1);
    let small = resize(image, smaller(image.width()), smaller(image.height()), Interpolation::Box);
    resize(&small, image.width(), image.height(), Interpolation::Nearest)
}

/// Stored as a JPEG of low quality, with half the resolution for color, as is usual.
pub(super) fn jpeg(image: &RgbImage, level: usize) -> RgbImage {
    let quality = [25, 18, 15, 10, 7][level];
    let size = u16::try_from(image.width()).ok().zip(u16::try_from(image.height()).ok());
    // A JPEG has at most 65,535 pixels on a side; no model takes so many.
    let Some((width, height)) = size else { return image.clone() };
    let mut bytes = Vec::new();
    let mut encoder = Encoder::new(&mut bytes, quality);
    encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
    let stored = encoder.encode(image.as_raw(), width, height, ColorType::Rgb);
    let shown = stored.ok().and_then(|()| image::load_from_memory_with_format(&bytes, image::ImageFormat::Jpeg).ok());
    shown.map_or_else(|| image.clone(), |shown| shown.into_rgb8())
}
