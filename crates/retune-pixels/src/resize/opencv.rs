//! OpenCV's `cv2.resize` for 8-bit images.
//!
//! Linear, cubic and Lanczos weights have 11 fractional bits and sums are integers; the area mean is
//! in single precision. OpenCV picks one of several code paths by the machine's instructions, and these
//! differ from each other by a gray level, hence "within one gray level".
//! Reference implementation: `modules/imgproc/src/resize.cpp`.

use std::ops::Range;

use image::RgbImage;

use super::{Target, as_pixels, as_pixels_mut};

/// Fractional bits of a weight.
const WEIGHT_BITS: u32 = 11;

/// Keys' parameter as OpenCV (and PyTorch) choose it; Pillow has −0.5.
const CUBIC_A: f32 = -0.75;

/// One output position along one axis: source positions and their fixed-point weights.
type Taps<const N: usize> = [(usize, i32); N];

/// The source pixel at `floor(index × scale)`.
pub(super) fn nearest(image: &RgbImage, target: &Target) -> RgbImage {
    let columns = nearest_positions(image.width(), target.width, &target.columns);
    let rows = nearest_positions(image.height(), target.height, &target.rows);
    let pixels = as_pixels(image.as_raw());
    let source_width = image.width() as usize;
    let mut resized = target.blank();
    let out_rows = as_pixels_mut(&mut resized).chunks_exact_mut(columns.len());
    for (out_row, row) in out_rows.zip(rows) {
        let row = &pixels[row * source_width..][..source_width];
        for (out_pixel, &column) in out_row.iter_mut().zip(&columns) {
            *out_pixel = row[column];
        }
    }
    resized
}

fn nearest_positions(source_size: u32, target_size: u32, wanted: &Range<u32>) -> Vec<usize> {
    let scale = 1.0 / (f64::from(target_size) / f64::from(source_size));
    let last = source_size as usize - 1;
    wanted.clone().map(|index| ((f64::from(index) * scale) as usize).min(last)).collect()
}

/// The 2×2 source pixels around each output pixel's center.
///
/// Halving both sides is the exception: there OpenCV takes the area mean.
pub(super) fn bilinear(image: &RgbImage, target: &Target) -> RgbImage {
    if halves(image, target) {
        return area(image, target);
    }
    interpolate(image, target, center, linear_taps, combine_shortened)
}

fn halves(image: &RgbImage, target: &Target) -> bool {
    let is_half = |half: u32, size: u32| u64::from(half) * 2 == u64::from(size);
    is_half(target.width, image.width()) && is_half(target.height, image.height())
}

/// The 4×4 source pixels around each output pixel's center.
pub(super) fn bicubic(image: &RgbImage, target: &Target) -> RgbImage {
    interpolate(image, target, center, cubic_taps, combine_exactly)
}

/// The 8×8 source pixels around each output pixel's center.
pub(super) fn lanczos4(image: &RgbImage, target: &Target) -> RgbImage {
    interpolate(image, target, center, lanczos_taps, combine_exactly)
}

/// The mean over the area that an output pixel covers, if both sides shrink (or stay). If a side
/// grows, linear interpolation in which only the pixels that straddle a source edge are mixed.
pub(super) fn area(image: &RgbImage, target: &Target) -> RgbImage {
    if target.width <= image.width() && target.height <= image.height() {
        return area_mean(image, target);
    }
    interpolate(image, target, straddling, linear_taps, combine_shortened)
}

/// Samples the image at the wanted output positions of both axes.
fn interpolate<const N: usize>(
    image: &RgbImage,
    target: &Target,
    locate: fn(f64, f64) -> (i64, f32),
    taps: fn(i64, f32, i64) -> Taps<N>,
    combine: fn([i32; N], [i32; N]) -> i32,
) -> RgbImage {
    let columns = positions(image.width(), target.width, &target.columns, locate, taps);
    let rows = positions(image.height(), target.height, &target.rows, locate, taps);
    sample(image, &columns, &rows, combine)
}

/// The taps of the wanted output positions along one axis. `locate(index, scale)` gives the source position
/// below an output position and how far beyond it that lies; `taps` turns these into weights.
fn positions<const N: usize>(
    source_size: u32,
    target_size: u32,
    wanted: &Range<u32>,
    locate: fn(f64, f64) -> (i64, f32),
    taps: fn(i64, f32, i64) -> Taps<N>,
) -> Vec<Taps<N>> {
    let scale = 1.0 / (f64::from(target_size) / f64::from(source_size));
    let last = i64::from(source_size) - 1;
    wanted
        .clone()
        .map(|index| {
            let (low, fraction) = locate(f64::from(index), scale);
            taps(low, fraction, last)
        })
        .collect()
}

/// Where the center of an output pixel lies in the source.
fn center(index: f64, scale: f64) -> (i64, f32) {
    let position = ((index + 0.5) * scale - 0.5) as f32;
    let low = position.floor();
    (low as i64, position - low)
}

/// Where an output pixel lies in the source, the fraction being the part of it beyond the next edge.
fn straddling(index: f64, scale: f64) -> (i64, f32) {
    let low = (index * scale).floor();
    let beyond = ((index + 1.0) - (low + 1.0) * (1.0 / scale)) as f32;
    let fraction = if beyond <= 0.0 { 0.0 } else { beyond - beyond.floor() };
    (low as i64, fraction)
}

fn linear_taps(low: i64, fraction: f32, last: i64) -> Taps<2> {
    let (low, fraction) = if low < 0 {
        (0, 0.0)
    } else if low >= last {
        (last, 0.0)
    } else {
        (low, fraction)
    };
    gather(low, last, [1.0 - fraction, fraction])
}

fn cubic_taps(low: i64, fraction: f32, last: i64) -> Taps<4> {
    let x = fraction;
    let near = |x: f32| ((CUBIC_A + 2.0) * x - (CUBIC_A + 3.0)) * x * x + 1.0;
    let far = |x: f32| ((CUBIC_A * x - 5.0 * CUBIC_A) * x + 8.0 * CUBIC_A) * x - 4.0 * CUBIC_A;
    let first = [far(x + 1.0), near(x), near(1.0 - x)];
    let rest = 1.0 - first[0] - first[1] - first[2];
    gather(low - 1, last, [first[0], first[1], first[2], rest])
}

fn lanczos_taps(low: i64, fraction: f32, last: i64) -> Taps<8> {
    gather(low - 3, last, lanczos_weights(fraction))
}

/// sinc(d)·sinc(d/4) at the eight neighbors' distances d, made to sum to 1.
fn lanczos_weights(fraction: f32) -> [f32; 8] {
    let sinc = |x: f64| {
        let angle = std::f64::consts::PI * x;
        if angle == 0.0 { 1.0 } else { angle.sin() / angle }
    };
    let weights: [f64; 8] = std::array::from_fn(|tap| {
        let distance = tap as f64 - 3.0 - f64::from(fraction);
        sinc(distance) * sinc(distance / 4.0)
    });
    let total: f64 = weights.iter().sum();
    weights.map(|weight| (weight / total) as f32)
}

/// Source positions from `first` on, confined to the image, with weights in fixed point.
fn gather<const N: usize>(first: i64, last: i64, weights: [f32; N]) -> Taps<N> {
    std::array::from_fn(|tap| {
        let source = (first + tap as i64).clamp(0, last) as usize;
        let scaled = weights[tap] * (1 << WEIGHT_BITS) as f32;
        (source, scaled.round_ties_even() as i32)
    })
}

/// The weighted sum of two rows' values, as OpenCV's linear interpolation shortens it to 16-bit
/// multiplications; dropping bits on the way loses a gray level in an eighth of the values.
fn combine_shortened(across: [i32; 2], weights: [i32; 2]) -> i32 {
    let shortened = |tap: usize| (weights[tap] * (across[tap] >> 4)) >> 16;
    (shortened(0) + shortened(1) + 2) >> 2
}

/// The weighted sum of rows' values, rounded once.
fn combine_exactly<const N: usize>(across: [i32; N], weights: [i32; N]) -> i32 {
    let products = across.iter().zip(weights).map(|(a, b)| i64::from(*a) * i64::from(b));
    let half = 1i64 << (2 * WEIGHT_BITS - 1);
    ((products.sum::<i64>() + half) >> (2 * WEIGHT_BITS)) as i32
}

/// Interpolates across each needed row, then between the rows, in integers.
fn sample<const N: usize>(
    image: &RgbImage,
    columns: &[Taps<N>],
    rows: &[Taps<N>],
    combine: fn([i32; N], [i32; N]) -> i32,
) -> RgbImage {
    let source_width = image.width() as usize;
    let pixels = as_pixels(image.as_raw());
    let mut sampled = RgbImage::new(columns.len() as u32, rows.len() as u32);
    let out_rows = as_pixels_mut(&mut sampled).chunks_exact_mut(columns.len());
    for (out_row, row_taps) in out_rows.zip(rows) {
        let weights = row_taps.map(|(_, weight)| weight);
        let rows = row_taps.map(|(row, _)| &pixels[row * source_width..][..source_width]);
        for (out_pixel, column_taps) in out_row.iter_mut().zip(columns) {
            *out_pixel = std::array::from_fn(|channel| {
                let across = rows.map(|row| {
                    let values = column_taps.iter();
                    values.map(|&(column, weight)| i32::from(row[column][channel]) * weight).sum()
                });
                combine(across, weights).clamp(0, 255) as u8
            });
        }
    }
    sampled
}

/// The mean over the area of each output pixel, source pixels on its edges counting in part.
fn area_mean(image: &RgbImage, target: &Target) -> RgbImage {
    // Four whole pixels are summed as integers and their halves rounded up; otherwise halves go to even.
    let round = if halves(image, target) { f32::round } else { f32::round_ties_even };
    let columns = covered(image.width(), target.width, &target.columns);
    let rows = covered(image.height(), target.height, &target.rows);
    let source_width = image.width() as usize;
    let pixels = as_pixels(image.as_raw());
    let mut resized = target.blank();
    let out_rows = as_pixels_mut(&mut resized).chunks_exact_mut(columns.len());
    for (out_row, row_weights) in out_rows.zip(&rows) {
        for (out_pixel, column_weights) in out_row.iter_mut().zip(&columns) {
            let mut total = [0.0f32; 3];
            for &(row, row_weight) in row_weights {
                let row = &pixels[row * source_width..][..source_width];
                let mut across = [0.0f32; 3];
                for &(column, weight) in column_weights {
                    for (sum, value) in across.iter_mut().zip(row[column]) {
                        *sum += f32::from(value) * weight;
                    }
                }
                for (sum, across) in total.iter_mut().zip(across) {
                    *sum += across * row_weight;
                }
            }
            *out_pixel = total.map(|value| round(value) as u8);
        }
    }
    resized
}

/// For each output position, the source positions that it covers and each one's share.
fn covered(source_size: u32, target_size: u32, wanted: &Range<u32>) -> Vec<Vec<(usize, f32)>> {
    let scale = f64::from(source_size) / f64::from(target_size);
    wanted
        .clone()
        .map(|index| {
            let low = f64::from(index) * scale;
            let high = (low + scale).min(f64::from(source_size));
            let first = low as usize;
            let last = (high.ceil() as usize).min(source_size as usize);
            (first..last)
                .map(|source| {
                    let overlap = high.min(source as f64 + 1.0) - low.max(source as f64);
                    (source, (overlap.max(0.0) / (high - low)) as f32)
                })
                .collect()
        })
        .collect()
}
