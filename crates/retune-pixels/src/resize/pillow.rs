//! Pillow's `Image.resize`, bit for bit.
//!
//! Pillow resamples in two passes, one for each axis, with 8-bit pixels between them. Weights are
//! computed in double precision and rounded to 22 fractional bits. Because the intermediate is rounded
//! to 8 bits, the order of the passes and the rounding are visible in the result, and a network can see
//! them too. Reference implementation: `src/libImaging/Resample.c` and `Geometry.c` of Pillow 13.
//! (Pillow 12 and before always went across first; see [`goes_down_first`].)

use std::f64::consts::PI;
use std::ops::Range;

use image::RgbImage;
use pulp::Arch;

use super::{Target, as_pixels, as_pixels_mut, cut_out};

/// Fractional bits of a weight: 32 bits less 8 for the pixel, 1 for the sign, and 1 of headroom for
/// the overshoot of filters with negative lobes.
const FRACTION_BITS: u32 = 22;

/// One half in fixed point; starting a sum from it makes the final shift round to nearest.
const ONE_HALF: i32 = 1 << (FRACTION_BITS - 1);

/// A resampling kernel.
pub(super) struct Filter {
    /// Half the kernel's width, in source pixels, when nothing is reduced.
    support: f64,
    /// The kernel's weight at a distance from its center.
    weight: fn(f64) -> f64,
}

pub(super) const BOX: Filter = Filter { support: 0.5, weight: |x| if x > -0.5 && x <= 0.5 { 1.0 } else { 0.0 } };

pub(super) const BILINEAR: Filter = Filter { support: 1.0, weight: |x| (1.0 - x.abs()).max(0.0) };

pub(super) const HAMMING: Filter = Filter {
    support: 1.0,
    weight: |x| {
        if x.abs() < 1.0 { sinc(x) * (0.54 + 0.46 * (PI * x).cos()) } else { 0.0 }
    },
};

pub(super) const BICUBIC: Filter = Filter {
    support: 2.0,
    weight: |x| {
        const A: f64 = -0.5;
        let x = x.abs();
        if x < 1.0 {
            ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
        } else if x < 2.0 {
            (((x - 5.0) * x + 8.0) * x - 4.0) * A
        } else {
            0.0
        }
    },
};

pub(super) const LANCZOS: Filter = Filter {
    support: 3.0,
    weight: |x| {
        if (-3.0..3.0).contains(&x) { sinc(x) * sinc(x / 3.0) } else { 0.0 }
    },
};

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

/// How one axis of the source maps to the same axis of the target.
struct Axis {
    source_size: u32,
    /// Where the resized part of the source begins and ends.
    low: f64,
    high: f64,
    target_size: u32,
}

impl Axis {
    /// The axes of `source` (left, top, right, bottom): across and down.
    fn pair(image: &RgbImage, source: [f64; 4], target: &Target) -> [Axis; 2] {
        // Pillow's C code receives the box in single precision.
        let [left, top, right, bottom] = source.map(|edge| f64::from(edge as f32));
        [
            Axis { source_size: image.width(), low: left, high: right, target_size: target.width },
            Axis { source_size: image.height(), low: top, high: bottom, target_size: target.height },
        ]
    }

    /// Source pixels for each target pixel.
    fn scale(&self) -> f64 {
        (self.high - self.low) / f64::from(self.target_size)
    }

    /// Whether anything is to be computed along this axis.
    fn changes(&self) -> bool {
        let is_whole = self.low == 0.0 && self.high == f64::from(self.source_size);
        !is_whole || self.source_size != self.target_size
    }

    /// How many pixels this axis loses.
    fn loss(&self) -> i64 {
        i64::from(self.source_size) - i64::from(self.target_size)
    }
}

/// Which source positions, with which weights, make up each output position along one axis.
struct Taps {
    /// First source position of each output position.
    starts: Vec<usize>,
    /// Number of source positions of each output position.
    counts: Vec<usize>,
    /// Fixed-point weights, `stride` for each output position, the first `counts[i]` of them used.
    weights: Vec<i32>,
    stride: usize,
}

impl Taps {
    /// The taps of the `wanted` output positions along `axis`.
    fn new(axis: &Axis, wanted: &Range<u32>, filter: &Filter) -> Self {
        let scale = axis.scale();
        // Antialiasing: when reducing, the kernel is stretched to cover what an output pixel covers.
        let stretch = scale.max(1.0);
        let support = filter.support * stretch;
        let stride = support.ceil() as usize * 2 + 1;
        let mut taps = Taps {
            starts: Vec::with_capacity(wanted.len()),
            counts: Vec::with_capacity(wanted.len()),
            weights: vec![0; wanted.len() * stride],
            stride,
        };
        let mut exact = vec![0.0; stride];
        for (index, fixed) in wanted.clone().zip(taps.weights.chunks_exact_mut(stride)) {
            let center = axis.low + (f64::from(index) + 0.5) * scale;
            // A cast to an unsigned integer truncates and turns what is negative into 0.
            let start = (center - support + 0.5) as usize;
            let end = ((center + support + 0.5) as usize).min(axis.source_size as usize);
            let count = end.saturating_sub(start).min(stride);
            let mut total = 0.0;
            for (offset, weight) in exact[..count].iter_mut().enumerate() {
                let distance = (start + offset) as f64 - center + 0.5;
                *weight = (filter.weight)(distance * (1.0 / stretch));
                total += *weight;
            }
            for (weight, fixed) in exact[..count].iter().zip(fixed) {
                let normalized = if total == 0.0 { *weight } else { *weight / total };
                // `round` rounds halves away from zero, as Pillow does.
                *fixed = (normalized * f64::from(1u32 << FRACTION_BITS)).round() as i32;
            }
            taps.starts.push(start);
            taps.counts.push(count);
        }
        taps
    }

    /// For each output position, its first source position and its weights.
    #[inline(always)]
    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.weights
            .chunks_exact(self.stride)
            .zip(&self.counts)
            .zip(&self.starts)
            .map(|((weights, &count), &start)| (start, &weights[..count]))
    }

    /// The source positions that any output position uses.
    fn span(&self) -> Range<usize> {
        let start = self.starts.first().copied().unwrap_or(0);
        let last = self.starts.last().zip(self.counts.last());
        start..last.map_or(start, |(start, count)| start + count)
    }

    fn shift(&mut self, by: usize) {
        self.starts.iter_mut().for_each(|start| *start -= by);
    }
}

/// Resamples the part of `image` inside `source` (left, top, right, bottom; not empty, within the
/// image) to the target.
pub(super) fn resample(image: &RgbImage, source: [f64; 4], target: &Target, filter: &Filter) -> RgbImage {
    let [across, down] = Axis::pair(image, source, target);
    let down_first = goes_down_first(&across, &down);
    let columns = across.changes().then(|| Taps::new(&across, &target.columns, filter));
    let rows = down.changes().then(|| Taps::new(&down, &target.rows, filter));
    let row_bytes = image.width() as usize * 3;
    let out_row_bytes = target.columns.len() * 3;

    let resized = match (columns, rows) {
        (None, None) => return cut_out(image, &target.columns, &target.rows),
        (Some(columns), None) => {
            let wanted = rows_of(image, target.rows.start as usize..target.rows.end as usize);
            resample_across(wanted, row_bytes, &columns)
        }
        (None, Some(rows)) => {
            let wanted = cut_out(image, &target.columns, &(0..image.height()));
            resample_down(wanted.as_raw(), out_row_bytes, &rows)
        }
        (Some(columns), Some(rows)) if down_first => {
            let between = resample_down(image.as_raw(), row_bytes, &rows);
            resample_across(&between, row_bytes, &columns)
        }
        (Some(columns), Some(mut rows)) => {
            let needed = rows.span();
            let between = resample_across(rows_of(image, needed.clone()), row_bytes, &columns);
            rows.shift(needed.start);
            resample_down(&between, out_row_bytes, &rows)
        }
    };
    let (width, height) = (target.columns.len() as u32, target.rows.len() as u32);
    RgbImage::from_raw(width, height, resized).unwrap_or_else(|| target.blank())
}

/// Whether Pillow 13 starts with the columns: where that saves work, because the height shrinks by
/// more than twice what the width shrinks by.
fn goes_down_first(across: &Axis, down: &Axis) -> bool {
    down.loss() > 0 && down.loss() > across.loss() * 2
}

/// The bytes of some rows.
fn rows_of(image: &RgbImage, rows: Range<usize>) -> &[u8] {
    let row_bytes = image.width() as usize * 3;
    &image.as_raw()[rows.start * row_bytes..rows.end * row_bytes]
}

/// Rows that are resampled across together: enough for the compiler to make SIMD loops of their sums.
const ROWS: usize = 16;

/// The pixels of one column in [`ROWS`] rows, each padded to four bytes.
type Cell = [u8; 4 * ROWS];

/// Resamples each row of `pixels` (packed RGB, `row_bytes` a row).
fn resample_across(pixels: &[u8], row_bytes: usize, taps: &Taps) -> Vec<u8> {
    let out_width = taps.starts.len();
    let mut resampled = vec![0; pixels.len() / row_bytes * out_width * 3];
    let mut cells: Vec<Cell> = vec![[0; 4 * ROWS]; row_bytes / 3];
    Arch::new().dispatch(|| {
        let out_blocks = as_pixels_mut(&mut resampled).chunks_mut(out_width * ROWS);
        for (block, out) in pixels.chunks(row_bytes * ROWS).zip(out_blocks) {
            // A last block of fewer rows leaves the others' old pixels; their results have no place.
            for (row, row_pixels) in block.chunks_exact(row_bytes).enumerate() {
                for (cell, pixel) in cells.iter_mut().zip(as_pixels(row_pixels)) {
                    cell[row * 4..row * 4 + 3].copy_from_slice(pixel);
                }
            }
            resample_cells(&cells, taps, out);
        }
    });
    resampled
}

/// Resamples up to [`ROWS`] rows, as many as `out` holds.
#[inline(always)]
fn resample_cells(cells: &[Cell], taps: &Taps, out: &mut [[u8; 3]]) {
    let out_width = taps.starts.len();
    for (column, (start, weights)) in taps.iter().enumerate() {
        let mut sums = [ONE_HALF; 4 * ROWS];
        for (cell, &weight) in cells[start..start + weights.len()].iter().zip(weights) {
            for (sum, &value) in sums.iter_mut().zip(cell) {
                *sum += i32::from(value) * weight;
            }
        }
        let bytes = sums.map(to_byte);
        for (out_row, pixel) in out.chunks_exact_mut(out_width).zip(bytes.as_chunks::<4>().0) {
            out_row[column] = [pixel[0], pixel[1], pixel[2]];
        }
    }
}

/// Resamples the columns of `pixels` (packed RGB, `row_bytes` a row).
fn resample_down(pixels: &[u8], row_bytes: usize, taps: &Taps) -> Vec<u8> {
    let mut resampled = vec![0; taps.starts.len() * row_bytes];
    Arch::new().dispatch(|| {
        for ((start, weights), out_row) in taps.iter().zip(resampled.chunks_exact_mut(row_bytes)) {
            let rows = &pixels[start * row_bytes..(start + weights.len()) * row_bytes];
            combine_rows(rows, row_bytes, weights, out_row);
        }
    });
    resampled
}

/// The weighted sum of rows.
#[inline(always)]
fn combine_rows(rows: &[u8], row_bytes: usize, weights: &[i32], out: &mut [u8]) {
    /// Bytes summed at a time: few enough for their 32-bit sums to stay in registers.
    const BLOCK: usize = 64;
    let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
    for (index, out_block) in blocks.iter_mut().enumerate() {
        let mut sums = [ONE_HALF; BLOCK];
        for (row, &weight) in rows.chunks_exact(row_bytes).zip(weights) {
            let block = &row[index * BLOCK..][..BLOCK];
            for (sum, &value) in sums.iter_mut().zip(block) {
                *sum += i32::from(value) * weight;
            }
        }
        for (out_value, sum) in out_block.iter_mut().zip(sums) {
            *out_value = to_byte(sum);
        }
    }
    let done = row_bytes - rest.len();
    let mut sums = [ONE_HALF; BLOCK];
    for (row, &weight) in rows.chunks_exact(row_bytes).zip(weights) {
        for (sum, &value) in sums.iter_mut().zip(&row[done..]) {
            *sum += i32::from(value) * weight;
        }
    }
    for (out_value, sum) in rest.iter_mut().zip(sums) {
        *out_value = to_byte(sum);
    }
}

#[inline(always)]
fn to_byte(sum: i32) -> u8 {
    (sum >> FRACTION_BITS).clamp(0, 255) as u8
}

/// Pillow's `NEAREST`: the source pixel under the center of each output pixel.
pub(super) fn nearest(image: &RgbImage, source: [f64; 4], target: &Target) -> RgbImage {
    let [across, down] = Axis::pair(image, source, target);
    let columns = nearest_positions(&across, &target.columns);
    let rows = nearest_positions(&down, &target.rows);
    let pixels = as_pixels(image.as_raw());
    let mut resized = target.blank();
    let out_rows = as_pixels_mut(&mut resized).chunks_exact_mut(columns.len());
    for (out_row, row) in out_rows.zip(rows) {
        let row = &pixels[row * image.width() as usize..][..image.width() as usize];
        for (out_pixel, &column) in out_row.iter_mut().zip(&columns) {
            *out_pixel = row[column];
        }
    }
    resized
}

/// The source position of each wanted output position along one axis.
fn nearest_positions(axis: &Axis, wanted: &Range<u32>) -> Vec<usize> {
    let scale = axis.scale();
    // Pillow steps by adding, not by multiplying, and the accumulated rounding decides some pixels.
    let mut position = axis.low + scale * 0.5;
    let positions = (0..wanted.end).map(|_| {
        let index = position as usize;
        position += scale;
        index.min(axis.source_size as usize - 1)
    });
    positions.skip(wanted.start as usize).collect()
}
