//! Pillow's `Image.transform(size, AFFINE, …)` and `Image.rotate`, for images that keep their size.
//!
//! Reference implementation: `src/libImaging/Geometry.c` of Pillow 13. Sums are in double precision and
//! are cut, not rounded, to whole gray levels.

use image::{Rgb, RgbImage};

use crate::resize::as_pixels;

/// How a color between pixels is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sampling {
    /// From 2×2 pixels.
    Bilinear,
    /// From 4×4 pixels, Keys' cubic convolution with a = −1.
    Bicubic,
}

/// Takes each output pixel (x, y) from (a·x + b·y + c, d·x + e·y + f) of `image`, coordinates being
/// those of pixel centers, and `fill` from outside it.
pub(super) fn transform(image: &RgbImage, [a, b, c, d, e, f]: [f64; 6], sampling: Sampling, fill: [u8; 3]) -> RgbImage {
    let (width, height) = (f64::from(image.width()), f64::from(image.height()));
    RgbImage::from_fn(image.width(), image.height(), |column, row| {
        let (x, y) = (f64::from(column) + 0.5, f64::from(row) + 0.5);
        let (source_x, source_y) = (a * x + b * y + c, d * x + e * y + f);
        let inside = (0.0..width).contains(&source_x) && (0.0..height).contains(&source_y);
        Rgb(match sampling {
            _ if !inside => fill,
            Sampling::Bilinear => sample(image, source_x, source_y, 0, linear),
            Sampling::Bicubic => sample(image, source_x, source_y, -1, cubic),
        })
    })
}

/// The matrix that rotates a picture about its center, counter-clockwise by `degrees`.
pub(super) fn rotation(degrees: f64, width: f64, height: f64) -> [f64; 6] {
    let angle = -degrees.rem_euclid(360.0).to_radians();
    let (sine, cosine) = (to_15_decimals(angle.sin()), to_15_decimals(angle.cos()));
    let (x, y) = (width / 2.0, height / 2.0);
    let shift_x = cosine * -x + sine * -y + x;
    let shift_y = -sine * -x + cosine * -y + y;
    [cosine, sine, shift_x, -sine, cosine, shift_y]
}

/// Rounds as Python's `round(value, 15)` does, which makes cos 90° exactly 0.
fn to_15_decimals(value: f64) -> f64 {
    (value * 1e15).round_ties_even() / 1e15
}

/// The color at (x, y), from `N` columns and rows, the first lying `first` pixels from the one whose
/// center is at or before it.
fn sample<const N: usize>(
    image: &RgbImage,
    x: f64,
    y: f64,
    first: i64,
    interpolate: fn([f64; N], f64) -> f64,
) -> [u8; 3] {
    let (x, y) = (x - 0.5, y - 0.5);
    let (width, height) = (i64::from(image.width()), i64::from(image.height()));
    let confined = |position: i64, size: i64| position.clamp(0, size - 1) as usize;
    let columns: [usize; N] = std::array::from_fn(|tap| confined(x.floor() as i64 + first + tap as i64, width));
    let rows: [&[[u8; 3]]; N] = std::array::from_fn(|tap| {
        let row = confined(y.floor() as i64 + first + tap as i64, height);
        &as_pixels(image.as_raw())[row * width as usize..][..width as usize]
    });
    let (beyond_x, beyond_y) = (x - x.floor(), y - y.floor());
    std::array::from_fn(|channel| {
        let across = rows.map(|row| {
            let values = columns.map(|column| f64::from(row[column][channel]));
            interpolate(values, beyond_x)
        });
        // A cast to `u8` cuts the fraction and clamps.
        interpolate(across, beyond_y) as u8
    })
}

fn linear([before, after]: [f64; 2], fraction: f64) -> f64 {
    before + (after - before) * fraction
}

fn cubic([v1, v2, v3, v4]: [f64; 4], fraction: f64) -> f64 {
    let linear = -v1 + v3;
    let square = 2.0 * (v1 - v2) + v3 - v4;
    let cube = -v1 + v2 - v3 + v4;
    v2 + fraction * (linear + fraction * (square + fraction * cube))
}
