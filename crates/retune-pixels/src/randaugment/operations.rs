//! Operations on gray levels, as Pillow's `ImageOps` and `ImageEnhance` compute them.

use image::RgbImage;

use crate::picture::luminance;

/// What each gray level becomes.
type Table = [u8; 256];

/// Stretches each channel so that its darkest value becomes 0 and its brightest 255.
pub(super) fn auto_contrast(image: RgbImage) -> RgbImage {
    map_channels(image, |histogram| {
        let darkest = histogram.iter().position(|count| *count > 0)?;
        let brightest = histogram.iter().rposition(|count| *count > 0)?;
        if darkest == brightest {
            return None;
        }
        let scale = 255.0 / (brightest - darkest) as f64;
        let offset = -(darkest as f64) * scale;
        Some(std::array::from_fn(|level| (level as f64 * scale + offset) as u8))
    })
}

/// Flattens each channel's histogram.
pub(super) fn equalize(image: RgbImage) -> RgbImage {
    map_channels(image, |histogram| {
        let brightest = histogram.iter().rfind(|count| **count > 0)?;
        let step = (histogram.iter().sum::<u64>() - brightest) / 255;
        if step == 0 {
            return None;
        }
        let mut below = step / 2;
        Some(std::array::from_fn(|level| {
            let equalized = (below / step).min(255) as u8;
            below += histogram[level];
            equalized
        }))
    })
}

/// Turns light into dark.
pub(super) fn invert(image: RgbImage) -> RgbImage {
    map_all(image, |level| 255 - level)
}

/// Keeps the highest `bits` (1 to 8) of each value.
pub(super) fn posterize(image: RgbImage, bits: u32) -> RgbImage {
    let mask = (0xFF00_u32 >> bits) as u8;
    map_all(image, |level| level & mask)
}

/// Inverts the values from `threshold` on.
pub(super) fn solarize(image: RgbImage, threshold: u32) -> RgbImage {
    map_all(image, |level| if u32::from(level) < threshold { level } else { 255 - level })
}

/// Adds `amount` to the values in the darker half.
pub(super) fn solarize_add(image: RgbImage, amount: u8) -> RgbImage {
    map_all(image, |level| if level < 128 { level.saturating_add(amount) } else { level })
}

/// Moves each pixel away from its own gray.
pub(super) fn color(mut image: RgbImage, factor: f32) -> RgbImage {
    for pixel in image.pixels_mut() {
        let gray = luminance(pixel.0);
        pixel.0 = pixel.0.map(|value| blend(gray, value, factor));
    }
    image
}

/// Moves each value away from the mean gray level of the image.
pub(super) fn contrast(image: RgbImage, factor: f32) -> RgbImage {
    let count = u64::from(image.width()) * u64::from(image.height());
    if count == 0 {
        return image;
    }
    let total: u64 = image.pixels().map(|pixel| u64::from(luminance(pixel.0))).sum();
    let mean = (total as f64 / count as f64 + 0.5) as u8;
    map_all(image, |level| blend(mean, level, factor))
}

/// Moves each value away from black.
pub(super) fn brightness(image: RgbImage, factor: f32) -> RgbImage {
    map_all(image, |level| blend(0, level, factor))
}

/// Moves each value away from a smoothed version of the image.
pub(super) fn sharpness(image: RgbImage, factor: f32) -> RgbImage {
    let mut sharpened = smooth(&image);
    for (value, &original) in sharpened.iter_mut().zip(image.as_raw()) {
        *value = blend(*value, original, factor);
    }
    sharpened
}

/// Pillow's `ImageFilter.SMOOTH`: each inner pixel the mean of its 3×3 neighborhood, itself counted
/// five times. The outermost pixels stay as they are.
fn smooth(image: &RgbImage) -> RgbImage {
    const NEIGHBOR: f32 = 1.0 / 13.0;
    const CENTER: f32 = 5.0 / 13.0;
    let mut smoothed = image.clone();
    let row_bytes = image.width() as usize * 3;
    if image.width() < 3 || image.height() < 3 {
        return smoothed;
    }
    let pixels = image.as_raw();
    for row in 1..image.height() as usize - 1 {
        for at in row * row_bytes + 3..(row + 1) * row_bytes - 3 {
            let three = |at: usize, center: f32| {
                f32::from(pixels[at - 3]) * NEIGHBOR
                    + f32::from(pixels[at]) * center
                    + f32::from(pixels[at + 3]) * NEIGHBOR
            };
            // Rounding depends on the order of additions: Pillow starts from the row below.
            let sum = 0.5 + three(at + row_bytes, NEIGHBOR) + three(at, CENTER) + three(at - row_bytes, NEIGHBOR);
            smoothed.as_mut()[at] = sum as u8;
        }
    }
    smoothed
}

/// `from` at factor 0, `to` at 1, beyond it above 1; cut to whole gray levels and clamped.
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    let difference = f32::from(i16::from(to) - i16::from(from));
    (f32::from(from) + factor * difference) as u8
}

fn map_all(mut image: RgbImage, becomes: impl Fn(u8) -> u8) -> RgbImage {
    let table: Table = std::array::from_fn(|level| becomes(level as u8));
    for value in image.iter_mut() {
        *value = table[usize::from(*value)];
    }
    image
}

/// Maps each channel by a table made from its histogram; `None` leaves the channel as it is.
fn map_channels(mut image: RgbImage, table: impl Fn(&[u64; 256]) -> Option<Table>) -> RgbImage {
    let mut histograms = [[0u64; 256]; 3];
    for pixel in image.pixels() {
        for (histogram, value) in histograms.iter_mut().zip(pixel.0) {
            histogram[usize::from(value)] += 1;
        }
    }
    let unchanged = || std::array::from_fn(|level| level as u8);
    let tables = histograms.map(|histogram| table(&histogram).unwrap_or_else(unchanged));
    for pixel in image.pixels_mut() {
        for (value, table) in pixel.0.iter_mut().zip(&tables) {
            *value = table[usize::from(*value)];
        }
    }
    image
}
