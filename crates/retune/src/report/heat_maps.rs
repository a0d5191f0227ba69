//! Images with what a model looked at painted over them.

use image::{Rgb, RgbImage};
use retune_figures::figure::ColorKey;
use retune_figures::value_color;
use retune_pixels::resize::{Interpolation, resize};

use crate::inference::GradCam;
use crate::run::record::Sheet;

/// How bright a black pixel of the image is painted, as a share of its color, so that colors show everywhere.
const LEAST: f64 = 0.25;
/// Where the scale of values ends: its darkest colors would hide the image.
const DARKEST: f64 = 0.7;
/// Colors of the key.
pub(super) const STEPS: usize = 9;

/// The color of a map's value from 0 to 1. The scale of values is dark at its end, and what is looked at should be seen.
pub(super) fn color(value: f64) -> [u8; 3] {
    value_color(DARKEST * (1.0 - value))
}

/// What the colors stand for, for a figure: here bright is high, because what is looked at should be seen.
pub(super) fn key() -> ColorKey {
    let colors = (0..STEPS).map(|step| color(step as f64 / (STEPS - 1) as f64)).collect();
    ColorKey { low: "no part in the prediction".into(), high: "largest part".into(), colors }
}

/// Thumbnails with a map painted over each, scaled to 1; `None` where they cannot be decoded.
pub(super) fn painted(sheet: &Sheet, maps: &[GradCam]) -> Option<Sheet> {
    sheet.painted(maps.len(), |number, image| paint(image, &maps[number]))
}

/// Paints a map over an image, bright where its values are high. A map without any leaves a gray image.
fn paint(image: &mut RgbImage, map: &GradCam) {
    if map.values.iter().all(|&value| value <= 0.0) {
        image.pixels_mut().for_each(|pixel| pixel.0 = [gray(pixel.0).round() as u8; 3]);
        return;
    }
    let [width, height] = [map.width as u32, map.height as u32];
    let values = RgbImage::from_fn(width, height, |x, y| {
        let value = map.values[(y * width + x) as usize];
        Rgb([(255.0 * value).round() as u8; 3])
    });
    let values = resize(&values, image.width(), image.height(), Interpolation::Bilinear);
    for (pixel, value) in image.pixels_mut().zip(values.pixels()) {
        let color = color(f64::from(value.0[0]) / 255.0);
        let brightness = LEAST + (1.0 - LEAST) * gray(pixel.0) / 255.0;
        pixel.0 = color.map(|channel| (brightness * f64::from(channel)).round() as u8);
    }
}

/// The gray of a color (ITU-R BT.601), 0 to 255.
fn gray([red, green, blue]: [u8; 3]) -> f64 {
    0.299 * f64::from(red) + 0.587 * f64::from(green) + 0.114 * f64::from(blue)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_a_place_that_counts_is_gray_and_not_dark() {
        let mut image = RgbImage::from_pixel(8, 8, Rgb([250, 200, 100]));
        paint(&mut image, &GradCam { height: 1, width: 2, values: vec![0.0; 2] });
        // ITU-R BT.601: 0.299 · 250 + 0.587 · 200 + 0.114 · 100.
        assert_eq!(image.get_pixel(3, 3).0, [204; 3]);
    }

    #[test]
    fn the_key_goes_from_dark_to_bright() {
        let colors = key().colors;
        assert!(colors.len() == STEPS && colors.windows(2).all(|pair| gray(pair[0]) < gray(pair[1])));
    }

    #[test]
    fn what_is_looked_at_is_bright_and_the_image_stays_visible() {
        // A light and a dark half, from top to bottom; the map has its left half alone.
        let mut image = RgbImage::from_fn(32, 32, |_, y| Rgb([if y < 16 { 200 } else { 40 }; 3]));
        let map = GradCam { height: 1, width: 2, values: vec![1.0, 0.0] };
        paint(&mut image, &map);
        let brightness = |x: u32, y: u32| gray(image.get_pixel(x, y).0);
        assert!(brightness(2, 4) > brightness(29, 4) + 100.0 && brightness(2, 28) > brightness(29, 28) + 40.0);
        assert!(brightness(2, 4) > brightness(2, 28) + 60.0 && brightness(29, 4) > brightness(29, 28) + 20.0);
        // Half a pixel of the map from its center, values between the two go evenly from one to the other.
        assert!(brightness(15, 4) < brightness(2, 4) && brightness(15, 4) > brightness(29, 4));
    }
}
