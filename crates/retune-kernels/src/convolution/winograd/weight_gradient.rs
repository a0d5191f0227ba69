//! The gradient of the weight, in the transformed domain.

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::transform::{FREQUENCIES, PIXELS, TAPS, Transform, both};
use super::{ROWS_OF_32_REGISTERS, Tiles, Tiling, transform_source};
use crate::convolution::ConvolutionShape;
use crate::instructions::dispatch;
use crate::product::{Part, Strides, Threads, widest_panel};
use crate::shared::SharedSlice;
use crate::vectors::{load, store};
use crate::workspace::Workspace;

/// Transformed values of source and gradient that stay in the last-level cache.
const GRADIENT_BLOCK: usize = 1 << 20;

/// Computes the gradient of the weight panel by panel of output channels and hands each to `sink`:
/// `Gᵀ (Σ_tile (Bᵀ d B) (A dy Aᵀ)) G`. Tiles are summed in their order, whatever the number of threads.
pub(in crate::convolution) fn weight_gradient(
    shape: &ConvolutionShape,
    x: &[f32],
    gradient: &[f32],
    sink: impl Fn(Part) + Send + Sync,
) {
    let tiling = Tiling::forward(shape);
    let (width, depth) = (widest_panel(), shape.inputs);
    let panels = shape.outputs.div_ceil(width);
    let size = depth * width;
    // `frequency × panel × depth × panel width`.
    let mut sums = Workspace::new(FREQUENCIES * panels * size);
    let block = (GRADIENT_BLOCK / (FREQUENCIES * (depth + panels * width))).clamp(ROWS_OF_32_REGISTERS, 512);
    for first in (0..tiling.tiles()).step_by(block) {
        let range = first..tiling.tiles().min(first + block);
        let mut source = Tiles::new(range.len(), depth);
        transform_source(tiling, x, range.clone(), &mut source, Threads::All);
        let mut gradients = Tiles::new(range.len(), panels * width);
        transform_gradient(tiling, gradient, shape.outputs, range, &mut gradients);
        let shared = SharedSlice::new(&mut sums);
        Threads::All.for_each(FREQUENCIES * panels, |task| {
            let (frequency, panel) = (task / panels, task % panels);
            // SAFETY: every task has sums of its own.
            let sums = unsafe { shared.part(task * size, size) };
            let source = source.frequency(frequency);
            let gradients = &gradients.frequency(frequency)[panel * width..];
            dispatch(OuterProducts { source, depth, gradients, stride: panels * width, sums, anew: first == 0 });
        });
    }
    Threads::All.for_each(panels, |panel| {
        let mut taps = Workspace::new(TAPS * TAPS * size);
        let stride = panels * size;
        dispatch(TapGradients { sums: &sums[panel * size..], stride, size, out: &mut taps });
        let columns = panel * width..shape.outputs.min((panel + 1) * width);
        let strides = Strides::columns_innermost(depth, width);
        sink(Part { columns, depths: 0..depth, values: &taps, strides });
    });
}

/// Transforms the gradients of tiles' results: `A dy Aᵀ`.
fn transform_gradient(tiling: Tiling, gradient: &[f32], outputs: usize, tiles: Range<usize>, into: &mut Tiles) {
    let (stride, first, channels) = (into.stride(), tiles.start, into.channels);
    let shared = SharedSlice::new(&mut into.values);
    Threads::All.for_each(tiles.len(), |index| {
        let place = tiling.place(first + index);
        let at = index * channels;
        dispatch(GradientTile { tiling, gradient, outputs, place, out: &shared, at, stride });
    });
}

struct GradientTile<'a> {
    tiling: Tiling,
    gradient: &'a [f32],
    outputs: usize,
    place: (usize, usize, usize),
    out: &'a SharedSlice<'a>,
    at: usize,
    stride: usize,
}

impl WithSimd for GradientTile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tiling, gradient, outputs, place: (image, y, x), out, at, stride } = self;
        let (height, width) = tiling.destination;
        let (transform, zero) = (Transform(simd), simd.splat_f32s(0.0));
        for channel in (0..outputs).step_by(S::F32_LANES) {
            both(
                #[inline(always)]
                |line, column| {
                    let (y, x) = (y + line, x + column);
                    if y >= height || x >= width {
                        return zero;
                    }
                    let offset = ((image * height + y) * width + x) * outputs + channel;
                    load(simd, &gradient[offset..][..S::F32_LANES])
                },
                #[inline(always)]
                |line| transform.result_gradients(line),
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

/// `sums[d] += Σ_tile source[tile, d] · gradients[tile]` for one panel at one frequency.
struct OuterProducts<'a> {
    source: &'a [f32],
    depth: usize,
    gradients: &'a [f32],
    stride: usize,
    sums: &'a mut [f32],
    /// Whether the sums hold nothing yet.
    anew: bool,
}

impl WithSimd for OuterProducts<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let mut at = 0;
        while at < self.depth {
            at += match self.depth - at {
                12.. if S::REGISTER_COUNT >= 32 => self.depths::<S, 12>(simd, at),
                8.. if S::REGISTER_COUNT >= 32 => self.depths::<S, 8>(simd, at),
                // Depths are multiples of 16, and all of the last ones are to be sixes and fours.
                12.. | 10 | 6 if S::REGISTER_COUNT < 32 => self.depths::<S, 6>(simd, at),
                _ => self.depths::<S, 4>(simd, at),
            };
        }
    }
}

impl OuterProducts<'_> {
    /// `DEPTHS` values of `d` from `at` on; returns how many.
    #[inline(always)]
    fn depths<S: Simd, const DEPTHS: usize>(&mut self, simd: S, at: usize) -> usize {
        let width = 2 * S::F32_LANES;
        let sums = &mut self.sums[at * width..][..DEPTHS * width];
        let mut totals = [[simd.splat_f32s(0.0); 2]; DEPTHS];
        for (total, sums) in totals.iter_mut().zip(sums.chunks_exact(width)).take(if self.anew { 0 } else { DEPTHS }) {
            *total = [load(simd, &sums[..S::F32_LANES]), load(simd, &sums[S::F32_LANES..])];
        }
        for (source, gradient) in self.source.chunks_exact(self.depth).zip(self.gradients.chunks(self.stride)) {
            let (left, right) = (load(simd, &gradient[..S::F32_LANES]), load(simd, &gradient[S::F32_LANES..width]));
            for (factor, total) in source[at..at + DEPTHS].iter().zip(&mut totals) {
                let factor = simd.splat_f32s(*factor);
                total[0] = simd.mul_add_e_f32s(factor, left, total[0]);
                total[1] = simd.mul_add_e_f32s(factor, right, total[1]);
            }
        }
        for (out, total) in sums.chunks_exact_mut(width).zip(totals) {
            store(simd, &mut out[..S::F32_LANES], total[0]);
            store(simd, &mut out[S::F32_LANES..], total[1]);
        }
        DEPTHS
    }
}

/// `out[tap] = Gᵀ sums G` for one panel.
struct TapGradients<'a> {
    sums: &'a [f32],
    stride: usize,
    size: usize,
    out: &'a mut [f32],
}

impl WithSimd for TapGradients<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sums, stride, size, out } = self;
        let transform = Transform(simd);
        for at in (0..size).step_by(S::F32_LANES) {
            both(
                #[inline(always)]
                |line, column| load(simd, &sums[(line * PIXELS + column) * stride + at..][..S::F32_LANES]),
                #[inline(always)]
                |line| transform.weight_gradients(line),
                #[inline(always)]
                |line, column, value| {
                    store(simd, &mut out[(line * TAPS + column) * size + at..][..S::F32_LANES], value);
                },
            );
        }
    }
}
