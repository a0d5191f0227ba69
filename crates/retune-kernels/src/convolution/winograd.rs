//! 3×3 convolution at stride 1 with a quarter of the products: Winograd's F(4×4, 3×3), after Lavin
//! and Gray 2016 (arXiv 1509.09308).
//!
//! Source tiles and weights are transformed, multiplied frequency by frequency (36 matrix products),
//! and transformed back. The transforms add and subtract numbers up to eight times as large as the
//! result, so it is less accurate than the direct sum: about 2e-6 to 2e-5 of the largest value.

mod transform;
mod weight_gradient;

use std::ops::Range;

use pulp::{Simd, WithSimd};

pub(super) use self::weight_gradient::weight_gradient;

use self::transform::{FREQUENCIES, PIXELS, RESULTS, TAPS, Transform, both};
use super::{After, ConvolutionShape};
use crate::instructions::dispatch;
use crate::product::{MatrixLayout, Scale, Threads, accumulate, has_matrix_unit, pack_panel, widest_panel};
use crate::shared::SharedSlice;
use crate::vectors::{load, store};
use crate::workspace::Workspace;

/// Channels come in whole vectors of any instruction set.
const LANES: usize = 16;
/// Rows of a tile of the matrix product where there are 32 vector registers.
const ROWS_OF_32_REGISTERS: usize = 12;
const ROWS_OF_16_REGISTERS: usize = 6;
/// Transformed source values that stay in the second-level cache.
const SOURCE_BLOCK: usize = 1 << 17;
/// Values between the end of one frequency and the start of the next, so that a tile's 36 numbers do
/// not fall on the same lines of the cache.
const GAP: usize = 16;
/// Direct products that cost as much as a product of this kind with its share of the transforms.
const COST: usize = 2;
/// Channels from which on a matrix unit computes the direct sum faster, as measured: there are four times as many transformed
/// weights as weights.
const CHANNELS_FOR_UNIT: usize = 512;

/// Whether this pays for a convolution, in every pass.
pub(super) fn suits(shape: &ConvolutionShape) -> bool {
    let fits = shape.kernel == TAPS
        && shape.stride == 1
        && shape.groups == 1
        && shape.inputs.is_multiple_of(LANES)
        && shape.outputs.is_multiple_of(LANES)
        && [shape.vertical_padding, shape.horizontal_padding]
            .iter()
            .all(|padding| padding.0 < TAPS && padding.1 < TAPS);
    // The direct sum leaves out taps on the padding.
    let taps = |length: usize, source: usize, before: usize| -> usize {
        let inside = |at: usize, tap: usize| (at + tap).checked_sub(before).is_some_and(|at| at < source);
        (0..length).map(|at| (0..TAPS).filter(|&tap| inside(at, tap)).count()).sum()
    };
    let (height, width) = shape.output();
    let direct =
        taps(height, shape.input.0, shape.vertical_padding.0) * taps(width, shape.input.1, shape.horizontal_padding.0);
    let suits_unit = shape.inputs.max(shape.outputs) >= CHANNELS_FOR_UNIT && has_matrix_unit();
    fits && !suits_unit && height.div_ceil(RESULTS) * width.div_ceil(RESULTS) * FREQUENCIES * COST <= direct
}

pub(super) fn forward(shape: &ConvolutionShape, x: &[f32], weight: &[f32], after: After, y: &SharedSlice) {
    let window = shape.window();
    let layout = MatrixLayout {
        taps: window,
        depth: shape.inputs,
        columns: shape.outputs,
        start: 0,
        tap_stride: 1,
        depth_stride: window,
        column_stride: shape.inputs * window,
    };
    let scale = after.scale.map_or(Scale::None, Scale::Columns);
    let weights = Weights { values: weight, layout, scale, turned: false };
    Correlation { tiling: Tiling::forward(shape), source: x, weights, after, outputs: shape.outputs }.run(y);
}

pub(super) fn input_gradient(
    shape: &ConvolutionShape,
    gradient: &[f32],
    weight: &[f32],
    scale: Option<&[f32]>,
    dx: &SharedSlice,
) {
    let window = shape.window();
    let layout = MatrixLayout {
        taps: window,
        depth: shape.outputs,
        columns: shape.inputs,
        start: 0,
        tap_stride: 1,
        depth_stride: shape.inputs * window,
        column_stride: window,
    };
    let scale = scale.map_or(Scale::None, Scale::Depth);
    let weights = Weights { values: weight, layout, scale, turned: true };
    let (tiling, after) = (Tiling::backward(shape), After::default());
    Correlation { tiling, source: gradient, weights, after, outputs: shape.inputs }.run(dx);
}

/// How tiles lie on a map.
#[derive(Clone, Copy)]
struct Tiling {
    batch: usize,
    /// Height and width of the source.
    source: (usize, usize),
    /// Channels of the source.
    channels: usize,
    /// Height and width of the destination.
    destination: (usize, usize),
    /// Zeros above and left of the source.
    before: (usize, usize),
}

impl Tiling {
    fn forward(shape: &ConvolutionShape) -> Self {
        Self {
            batch: shape.batch,
            source: shape.input,
            channels: shape.inputs,
            destination: shape.output(),
            before: (shape.vertical_padding.0, shape.horizontal_padding.0),
        }
    }

    /// Of the input's gradient, which is a correlation of the output's with the window turned round.
    fn backward(shape: &ConvolutionShape) -> Self {
        let before = |padding: usize| TAPS - 1 - padding;
        Self {
            batch: shape.batch,
            source: shape.output(),
            channels: shape.outputs,
            destination: shape.input,
            before: (before(shape.vertical_padding.0), before(shape.horizontal_padding.0)),
        }
    }

    fn columns(&self) -> usize {
        self.destination.1.div_ceil(RESULTS)
    }

    fn of_image(&self) -> usize {
        self.destination.0.div_ceil(RESULTS) * self.columns()
    }

    fn tiles(&self) -> usize {
        self.batch * self.of_image()
    }

    /// Image, and line and column of the first result, of a tile.
    fn place(&self, tile: usize) -> (usize, usize, usize) {
        let (image, tile) = (tile / self.of_image(), tile % self.of_image());
        (image, tile / self.columns() * RESULTS, tile % self.columns() * RESULTS)
    }
}

/// Transformed tiles: `frequency × tile × channel`.
struct Tiles {
    values: Workspace,
    count: usize,
    channels: usize,
}

impl Tiles {
    fn new(count: usize, channels: usize) -> Self {
        Self { values: Workspace::new(FREQUENCIES * (count * channels + GAP)), count, channels }
    }

    fn stride(&self) -> usize {
        self.count * self.channels + GAP
    }

    fn frequency(&self, frequency: usize) -> &[f32] {
        &self.values[frequency * self.stride()..][..self.count * self.channels]
    }
}

/// Transforms the source pixels of tiles: `Bᵀ d B`.
fn transform_source(tiling: Tiling, source: &[f32], tiles: Range<usize>, into: &mut Tiles, threads: Threads) {
    let (stride, first, channels) = (into.stride(), tiles.start, tiling.channels);
    let shared = SharedSlice::new(&mut into.values);
    threads.for_each(tiles.len(), |index| {
        let place = tiling.place(first + index);
        dispatch(SourceTile { tiling, source, place, out: &shared, at: index * channels, stride });
    });
}

struct SourceTile<'a> {
    tiling: Tiling,
    source: &'a [f32],
    place: (usize, usize, usize),
    out: &'a SharedSlice<'a>,
    at: usize,
    stride: usize,
}

impl WithSimd for SourceTile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tiling, source, place: (image, y, x), out, at, stride } = self;
        let (height, width) = tiling.source;
        // Offsets of the tile's pixels; beyond the end for those on the padding.
        let mut offsets = [[usize::MAX; PIXELS]; PIXELS];
        for (line, offsets) in offsets.iter_mut().enumerate() {
            for (column, offset) in offsets.iter_mut().enumerate() {
                let (y, x) = ((y + line).wrapping_sub(tiling.before.0), (x + column).wrapping_sub(tiling.before.1));
                if y < height && x < width {
                    *offset = ((image * height + y) * width + x) * tiling.channels;
                }
            }
        }
        let (transform, zero) = (Transform(simd), simd.splat_f32s(0.0));
        for channel in (0..tiling.channels).step_by(S::F32_LANES) {
            both(
                #[inline(always)]
                |line, column| match offsets[line][column] {
                    usize::MAX => zero,
                    offset => load(simd, &source[offset + channel..][..S::F32_LANES]),
                },
                #[inline(always)]
                |line| transform.source(line),
                #[inline(always)]
                |line, column, value| {
                    let frequency = line * PIXELS + column;
                    // SAFETY: every tile has values of its own at each frequency.
                    store(simd, unsafe { out.part(frequency * stride + at + channel, S::F32_LANES) }, value);
                },
            );
        }
    }
}

/// The window's weights, in any layout.
#[derive(Clone, Copy)]
struct Weights<'a> {
    values: &'a [f32],
    layout: MatrixLayout,
    scale: Scale<'a>,
    /// Whether the window is turned round.
    turned: bool,
}

impl Weights<'_> {
    /// A panel of transformed weights, `frequency × depth × panel width`: `G g Gᵀ`.
    fn panel(&self, panel: usize) -> Workspace {
        let width = widest_panel();
        let columns = panel * width..self.layout.columns.min((panel + 1) * width);
        let size = self.layout.depth * width;
        let mut taps = Workspace::new(TAPS * TAPS * size);
        if columns.len() < width {
            taps.fill(0.0);
        }
        pack_panel(self.values, self.layout, self.scale, columns, width, &mut taps);
        let mut transformed = Workspace::new(FREQUENCIES * size);
        dispatch(TransformWeights { taps: &taps, size, turned: self.turned, out: &mut transformed });
        transformed
    }
}

struct TransformWeights<'a> {
    taps: &'a [f32],
    size: usize,
    turned: bool,
    out: &'a mut [f32],
}

impl WithSimd for TransformWeights<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { taps, size, turned, out } = self;
        let transform = Transform(simd);
        for at in (0..size).step_by(S::F32_LANES) {
            both(
                #[inline(always)]
                |line, column| {
                    let tap = line * TAPS + column;
                    let tap = if turned { TAPS * TAPS - 1 - tap } else { tap };
                    load(simd, &taps[tap * size + at..][..S::F32_LANES])
                },
                #[inline(always)]
                |line| transform.weights(line),
                #[inline(always)]
                |line, column, value| {
                    store(simd, &mut out[(line * PIXELS + column) * size + at..][..S::F32_LANES], value);
                },
            );
        }
    }
}

/// A correlation of a source with windows, and what follows.
struct Correlation<'a> {
    tiling: Tiling,
    source: &'a [f32],
    weights: Weights<'a>,
    after: After<'a>,
    outputs: usize,
}

impl Correlation<'_> {
    fn run(&self, destination: &SharedSlice) {
        let (tiling, panels) = (self.tiling, self.outputs.div_ceil(widest_panel()));
        let tiles = tiling.tiles();
        let block =
            (SOURCE_BLOCK / (FREQUENCIES * tiling.channels)).clamp(1, 96).next_multiple_of(ROWS_OF_32_REGISTERS);
        let blocks = tiles.div_ceil(block);
        let transformed = |range: Range<usize>, threads| {
            let mut source = Tiles::new(range.len(), tiling.channels);
            transform_source(tiling, self.source, range, &mut source, threads);
            source
        };
        if blocks >= 2 * Threads::All.count() {
            // Many tiles: each thread has some, and all read the same weights.
            let weights = Threads::All.map(panels, |panel| self.weights.panel(panel));
            Threads::All.for_each(blocks, |index| {
                let range = index * block..tiles.min((index + 1) * block);
                let source = transformed(range.clone(), Threads::This);
                for (panel, weights) in weights.iter().enumerate() {
                    self.multiply(&source, range.start, panel, weights, destination);
                }
            });
        } else {
            // Few tiles and many weights: each thread has some of these, in its own cache.
            let source = transformed(0..tiles, Threads::All);
            Threads::All.for_each(panels, |panel| {
                self.multiply(&source, 0, panel, &self.weights.panel(panel), destination);
            });
        }
    }

    /// One panel of output channels for some tiles.
    fn multiply(&self, source: &Tiles, first: usize, panel: usize, weights: &[f32], destination: &SharedSlice) {
        let mut products = Tiles::new(source.count, widest_panel());
        dispatch(Products { source, weights, out: &mut products });
        dispatch(Results { correlation: self, products: &products, first, panel, destination });
    }
}

/// `products[frequency] = source[frequency] · weights[frequency]`.
struct Products<'a> {
    source: &'a Tiles,
    weights: &'a [f32],
    out: &'a mut Tiles,
}

impl WithSimd for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (depth, count) = (self.source.channels, self.source.count);
        for frequency in 0..FREQUENCIES {
            let weights = &self.weights[frequency * depth * self.out.channels..][..depth * self.out.channels];
            let mut row = 0;
            while row < count {
                row += match count - row {
                    ROWS_OF_32_REGISTERS.. if S::REGISTER_COUNT >= 32 => {
                        self.rows::<S, ROWS_OF_32_REGISTERS>(simd, frequency, row, weights)
                    }
                    8.. if S::REGISTER_COUNT >= 32 => self.rows::<S, 8>(simd, frequency, row, weights),
                    ROWS_OF_16_REGISTERS.. if S::REGISTER_COUNT < 32 => {
                        self.rows::<S, ROWS_OF_16_REGISTERS>(simd, frequency, row, weights)
                    }
                    4.. => self.rows::<S, 4>(simd, frequency, row, weights),
                    _ => self.rows::<S, 1>(simd, frequency, row, weights),
                };
            }
        }
    }
}

impl Products<'_> {
    /// `ROWS` tiles from `row` on; returns how many.
    #[inline(always)]
    fn rows<S: Simd, const ROWS: usize>(&mut self, simd: S, frequency: usize, row: usize, weights: &[f32]) -> usize {
        let depth = self.source.channels;
        let source = &self.source.frequency(frequency)[row * depth..][..ROWS * depth];
        assert!(weights.len() >= depth * 2 * S::F32_LANES);
        let mut sums = [[simd.splat_f32s(0.0); 2]; ROWS];
        // SAFETY: each row is `depth` values of the slice, and the weights hold as many panel rows.
        unsafe {
            let mut rows = [source.as_ptr(); ROWS];
            for (index, row) in rows.iter_mut().enumerate() {
                *row = row.add(index * depth);
            }
            accumulate(simd, &mut sums, rows, depth, weights.as_ptr());
        }
        let (stride, width) = (self.out.stride(), self.out.channels);
        let out = &mut self.out.values[frequency * stride + row * width..][..ROWS * width];
        for (out, sums) in out.chunks_exact_mut(width).zip(sums) {
            store(simd, &mut out[..S::F32_LANES], sums[0]);
            store(simd, &mut out[S::F32_LANES..2 * S::F32_LANES], sums[1]);
        }
        ROWS
    }
}

/// `destination = after(Aᵀ products A)` for one panel of channels.
struct Results<'a> {
    correlation: &'a Correlation<'a>,
    products: &'a Tiles,
    first: usize,
    panel: usize,
    destination: &'a SharedSlice<'a>,
}

impl WithSimd for Results<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let width = self.products.channels;
        let columns = (self.correlation.outputs - self.panel * width).min(width);
        for tile in 0..self.products.count {
            for lane in (0..columns).step_by(S::F32_LANES) {
                self.tile(simd, tile, lane);
            }
        }
    }
}

impl Results<'_> {
    #[inline(always)]
    fn tile<S: Simd>(&self, simd: S, tile: usize, lane: usize) {
        let (stride, width) = (self.products.stride(), self.products.channels);
        let products = &self.products.values[tile * width + lane..];
        let (transform, zero) = (Transform(simd), simd.splat_f32s(0.0));
        let Correlation { tiling, after, outputs, .. } = self.correlation;
        let channel = self.panel * width + lane;
        let shift = match after.shift {
            Some(shift) => load(simd, &shift[channel..][..S::F32_LANES]),
            None => zero,
        };
        let (image, first_y, first_x) = tiling.place(self.first + tile);
        let (height, columns) = tiling.destination;
        both(
            #[inline(always)]
            |line, column| load(simd, &products[(line * PIXELS + column) * stride..][..S::F32_LANES]),
            #[inline(always)]
            |line| transform.results(line),
            #[inline(always)]
            |line, column, mut value| {
                let (y, x) = (first_y + line, first_x + column);
                if y >= height || x >= columns {
                    return;
                }
                let at = ((image * height + y) * columns + x) * outputs + channel;
                value = simd.add_f32s(value, shift);
                if let Some(residual) = after.residual {
                    value = simd.add_f32s(value, load(simd, &residual[at..][..S::F32_LANES]));
                }
                if let Some((low, high)) = after.limits {
                    value = simd.min_f32s(simd.max_f32s(value, simd.splat_f32s(low)), simd.splat_f32s(high));
                }
                // SAFETY: every tile has pixels, and every panel channels, of its own.
                store(simd, unsafe { self.destination.part(at, S::F32_LANES) }, value);
            },
        );
    }
}
