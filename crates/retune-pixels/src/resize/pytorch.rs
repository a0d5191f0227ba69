//! `torch.nn.functional.interpolate` with `align_corners=False` and `antialias=False`.
//!
//! Positions, weights and sums are in single precision, as on PyTorch's float tensors, and the result
//! is rounded to the nearest gray level (halves to even) and clamped, as torchvision does when it
//! resizes 8-bit tensors. The order of additions differs, hence "within one gray level".
//! Reference implementation: `aten/src/ATen/native/UpSample.h`.

use std::ops::Range;

use image::RgbImage;

use super::{Target, as_pixels, as_pixels_mut};

/// Keys' parameter as PyTorch (and OpenCV) choose it; Pillow has −0.5.
const CUBIC_A: f32 = -0.75;

/// One output position along one axis: source positions and their weights.
type Taps<const N: usize> = [(usize, f32); N];

/// The source pixel at `floor(index × scale)`.
pub(super) fn nearest(image: &RgbImage, target: &Target) -> RgbImage {
    sample(
        image,
        &positions(image.width(), target.width, &target.columns, nearest_taps),
        &positions(image.height(), target.height, &target.rows, nearest_taps),
    )
}

/// The 2×2 source pixels around each output pixel's center.
pub(super) fn bilinear(image: &RgbImage, target: &Target) -> RgbImage {
    sample(
        image,
        &positions(image.width(), target.width, &target.columns, bilinear_taps),
        &positions(image.height(), target.height, &target.rows, bilinear_taps),
    )
}

/// The 4×4 source pixels around each output pixel's center.
pub(super) fn bicubic(image: &RgbImage, target: &Target) -> RgbImage {
    sample(
        image,
        &positions(image.width(), target.width, &target.columns, bicubic_taps),
        &positions(image.height(), target.height, &target.rows, bicubic_taps),
    )
}

/// The taps of the wanted output positions: `taps(index, scale, last)` where `last` is the last source
/// position.
fn positions<const N: usize>(
    source_size: u32,
    target_size: u32,
    wanted: &Range<u32>,
    taps: fn(f32, f32, usize) -> Taps<N>,
) -> Vec<Taps<N>> {
    let scale = source_size as f32 / target_size as f32;
    let last = source_size as usize - 1;
    wanted.clone().map(|index| taps(index as f32, scale, last)).collect()
}

fn nearest_taps(index: f32, scale: f32, last: usize) -> Taps<1> {
    [(((index * scale) as usize).min(last), 1.0)]
}

fn bilinear_taps(index: f32, scale: f32, last: usize) -> Taps<2> {
    let position = (scale * (index + 0.5) - 0.5).max(0.0);
    let low = (position as usize).min(last);
    let fraction = (position - low as f32).clamp(0.0, 1.0);
    [(low, 1.0 - fraction), ((low + 1).min(last), fraction)]
}

fn bicubic_taps(index: f32, scale: f32, last: usize) -> Taps<4> {
    let position = scale * (index + 0.5) - 0.5;
    let low = position.floor();
    let weights = cubic_weights(position - low);
    std::array::from_fn(|tap| {
        // A cast to an unsigned integer turns what is negative into 0.
        let source = (low + tap as f32 - 1.0) as usize;
        (source.min(last), weights[tap])
    })
}

/// The weights of four neighbors for a point `fraction` of the way from the second to the third.
fn cubic_weights(fraction: f32) -> [f32; 4] {
    let near = |x: f32| ((CUBIC_A + 2.0) * x - (CUBIC_A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((CUBIC_A * x - 5.0 * CUBIC_A) * x + 8.0 * CUBIC_A) * x - 4.0 * CUBIC_A;
    [far(fraction + 1.0), near(fraction), near(1.0 - fraction), far(2.0 - fraction)]
}

/// Interpolates across each needed row, then between the rows.
fn sample<const N: usize>(image: &RgbImage, columns: &[Taps<N>], rows: &[Taps<N>]) -> RgbImage {
    let source_width = image.width() as usize;
    let pixels = as_pixels(image.as_raw());
    let mut sampled = RgbImage::new(columns.len() as u32, rows.len() as u32);
    let out_rows = as_pixels_mut(&mut sampled).chunks_exact_mut(columns.len());
    for (out_row, row_taps) in out_rows.zip(rows) {
        for (out_pixel, column_taps) in out_row.iter_mut().zip(columns) {
            let mut total = [0.0f32; 3];
            for &(row, row_weight) in row_taps {
                let row = &pixels[row * source_width..][..source_width];
                let mut across = [0.0f32; 3];
                for &(column, weight) in column_taps {
                    for (sum, value) in across.iter_mut().zip(row[column]) {
                        *sum += f32::from(value) * weight;
                    }
                }
                for (sum, across) in total.iter_mut().zip(across) {
                    *sum += across * row_weight;
                }
            }
            // A cast to `u8` clamps.
            *out_pixel = total.map(|value| value.round_ties_even() as u8);
        }
    }
    sampled
}
