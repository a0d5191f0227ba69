//! The other product of training: a weight's gradient, `Σ_row source[row, tap]ᵀ · gradient[row]`.

#[cfg(target_arch = "x86_64")]
mod pairs;

use std::ops::Range;

use pulp::{Simd, WithSimd};

#[cfg(target_arch = "x86_64")]
use super::amx;
#[cfg(target_arch = "x86_64")]
use super::bfloat16::{Unit, WIDTH};
use super::gather::Gather;
use super::panels::{panel_width, widest_panel};
use super::source::rounded_if;
use super::threads::Threads;
use crate::instructions::dispatch;
use crate::precision::Precision;
use crate::workspace::Workspace;

/// Rows whose gradients are packed together; 16 KiB with the widest vectors, so that a first-level
/// cache holds them and the lines of the source that a step reads.
const ROWS_TOGETHER: usize = 128;
/// Depths of a tile of sums where there are 32 registers.
const DEPTHS_OF_TILE: usize = 12;

/// A weight gradient to compute.
#[derive(Clone, Copy)]
pub(crate) struct TransposedProduct<'a> {
    /// Where each tap of each row reads the source.
    pub gather: &'a Gather,
    pub source: &'a [f32],
    /// Values of a source row.
    pub depth: usize,
    /// The gradients, a row for each of the gather's destination rows.
    pub gradient: &'a [f32],
    pub gradient_offset: usize,
    pub gradient_stride: usize,
    /// Values of a gradient row that take part.
    pub columns: usize,
    pub precision: Precision,
}

/// A finished part of a weight gradient.
pub(crate) struct Part<'a> {
    pub columns: Range<usize>,
    pub depths: Range<usize>,
    /// As `strides` tell.
    pub values: &'a [f32],
    pub strides: Strides,
}

/// How far apart the values of a part are.
#[derive(Clone, Copy)]
pub(crate) struct Strides {
    /// From a tap to the next.
    pub tap: usize,
    pub depth: usize,
    pub column: usize,
}

impl Strides {
    /// Of `taps × depths × width`.
    pub fn columns_innermost(depths: usize, width: usize) -> Self {
        Self { tap: depths * width, depth: width, column: 1 }
    }

    /// Of `taps × width × depths`.
    #[cfg(target_arch = "x86_64")]
    fn depths_innermost(depths: usize, width: usize) -> Self {
        Self { tap: depths * width, depth: 1, column: depths }
    }
}

/// How a weight gradient is divided among tasks.
pub(super) struct Division {
    /// Depths by which it is divided.
    pub depths: usize,
    /// Most columns of a task, for which its sums have room.
    pub width: usize,
    /// Strides of the sums of that many depths and of that width.
    pub strides: fn(usize, usize) -> Strides,
}

impl Division {
    /// That of vectors.
    fn of_tiles(width: usize) -> Self {
        Self { depths: DEPTHS_OF_TILE, width, strides: Strides::columns_innermost }
    }

    /// That of blocks of so many depths.
    #[cfg(target_arch = "x86_64")]
    pub fn of_blocks(depths: usize, width: usize) -> Self {
        Self { depths, width, strides: Strides::depths_innermost }
    }
}

/// Computes the gradient part by part and hands each to `sink`. Every element is a sum over the rows
/// in their order, whatever the number of threads.
pub(crate) fn transposed_product(product: TransposedProduct, threads: Threads, sink: impl Fn(Part) + Send + Sync) {
    #[cfg(target_arch = "x86_64")]
    if let Some(unit) = amx::Unit::available().filter(|_| amx::suits_transposed(&product)) {
        return divide(product, amx::division(&product), threads, |task| amx::run_transposed(unit, task), sink);
    }
    #[cfg(target_arch = "x86_64")]
    if let Some(unit) = Unit::available().filter(|_| product.precision == Precision::Bfloat16) {
        return divide(product, Division::of_tiles(WIDTH), threads, |task| pairs::run(unit, task), sink);
    }
    let rounds = product.precision == Precision::Bfloat16;
    let (source, gradient) = (rounded_if(rounds, product.source), rounded_if(rounds, product.gradient));
    let product = TransposedProduct { source: &source, gradient: &gradient, ..product };
    divide(product, Division::of_tiles(widest_panel()), threads, |task| dispatch(task), sink);
}

/// Divides the product among tasks.
fn divide(
    product: TransposedProduct,
    Division { depths: block, width, strides }: Division,
    threads: Threads,
    work: impl Fn(Task) + Send + Sync,
    sink: impl Fn(Part) + Send + Sync,
) {
    let TransposedProduct { gather, source, depth, columns, .. } = product;
    assert!(gather.rows() == 0 || gather.largest_offset() + depth <= source.len(), "rows inside the source");
    let panels = columns.div_ceil(width);
    // Where there are few panels the depth is divided as well, so that every thread has work.
    let wanted = if threads.count() == 1 { 1 } else { 2 * threads.count() };
    let depth_tasks = wanted.div_ceil(panels.max(1)).clamp(1, depth.div_ceil(block).max(1));
    threads.for_each(panels * depth_tasks, |task| {
        let (panel, depth_task) = (task / depth_tasks, task % depth_tasks);
        // Whole blocks, except for the last.
        let blocks = depth.div_ceil(block);
        let bound = |index: usize| (index * blocks / depth_tasks * block).min(depth);
        let depths = bound(depth_task)..bound(depth_task + 1);
        let columns = panel * width..columns.min((panel + 1) * width);
        let mut values = Workspace::new(gather.taps() * depths.len() * width);
        work(Task { product, columns: columns.clone(), depths: depths.clone(), sums: &mut values, width });
        let strides = strides(depths.len(), width);
        sink(Part { columns, depths, values: &values, strides });
    });
}

pub(super) struct Task<'a> {
    pub product: TransposedProduct<'a>,
    pub columns: Range<usize>,
    pub depths: Range<usize>,
    /// As the division's strides tell; holds nothing yet, not even zeros.
    pub sums: &'a mut [f32],
    /// Columns that the sums have room for.
    pub width: usize,
}

impl WithSimd for Task<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { product, columns, depths, sums, width } = self;
        assert_eq!(width, panel_width::<S>(), "two vectors");
        sums.fill(0.0);
        let mut packed = vec![0.0f32; ROWS_TOGETHER * width];
        let mut pairs: Vec<(usize, usize)> = Vec::with_capacity(ROWS_TOGETHER);
        let rows = product.gather.rows();
        for first in (0..rows).step_by(ROWS_TOGETHER) {
            let count = ROWS_TOGETHER.min(rows - first);
            let mut places = Vec::with_capacity(count.div_ceil(8));
            for row in (0..count).step_by(8) {
                places.push(product.gather.places::<8>(first + row, (count - row).min(8)));
            }
            for (row, out) in packed.chunks_exact_mut(width).enumerate().take(count) {
                let from = product.gradient_offset + places[row / 8].destination[row % 8] * product.gradient_stride;
                out[..columns.len()].copy_from_slice(&product.gradient[from..][columns.clone()]);
            }
            for (tap, sums) in sums.chunks_exact_mut((depths.len() * width).max(1)).enumerate() {
                pairs.clear();
                for (block, places) in places.iter().enumerate() {
                    let Some(offsets) = product.gather.offsets(places, tap) else { continue };
                    for (index, offset) in offsets.into_iter().enumerate().filter(|(_, offset)| *offset >= 0) {
                        pairs.push((offset as usize + depths.start, (block * 8 + index) * width));
                    }
                }
                let mut done = 0;
                while done < depths.len() {
                    let sums = &mut sums[done * width..];
                    let left = depths.len() - done;
                    // SAFETY: the offsets leave room for a whole source row (checked by
                    // `transposed_product`), and the packed rows are a panel wide.
                    done += unsafe {
                        if S::REGISTER_COUNT >= 32 && left >= 12 {
                            add_products::<S, 12>(simd, product.source, done, &packed, &pairs, sums)
                        } else if S::REGISTER_COUNT >= 32 && left >= 8 {
                            add_products::<S, 8>(simd, product.source, done, &packed, &pairs, sums)
                        } else if S::REGISTER_COUNT < 32 && left >= 6 {
                            add_products::<S, 6>(simd, product.source, done, &packed, &pairs, sums)
                        } else if left >= 4 {
                            add_products::<S, 4>(simd, product.source, done, &packed, &pairs, sums)
                        } else {
                            add_products::<S, 1>(simd, product.source, done, &packed, &pairs, sums)
                        }
                    };
                }
            }
        }
    }
}

/// `sums[d] += Σ source[row + d] · packed[row]` for `DEPTHS` values of `d`; returns `DEPTHS`.
///
/// # Safety
/// For every pair, the source must hold `skip + DEPTHS` values from its first element on, and
/// `packed` two vectors from its second.
#[inline(always)]
unsafe fn add_products<S: Simd, const DEPTHS: usize>(
    simd: S,
    source: &[f32],
    skip: usize,
    packed: &[f32],
    pairs: &[(usize, usize)],
    sums: &mut [f32],
) -> usize {
    let (vectors, _) = S::as_mut_simd_f32s(sums);
    let vectors = &mut vectors[..2 * DEPTHS];
    let mut totals = [[simd.splat_f32s(0.0); 2]; DEPTHS];
    for (total, start) in totals.iter_mut().zip(vectors.chunks_exact(2)) {
        *total = [start[0], start[1]];
    }
    for &(row, gradient) in pairs {
        // SAFETY: by the contract.
        unsafe {
            let gradient = packed.as_ptr().add(gradient).cast::<S::f32s>();
            let (left, right) = (gradient.read_unaligned(), gradient.add(1).read_unaligned());
            let row = source.as_ptr().add(row + skip);
            for (d, total) in totals.iter_mut().enumerate() {
                let factor = simd.splat_f32s(*row.add(d));
                total[0] = simd.mul_add_e_f32s(factor, left, total[0]);
                total[1] = simd.mul_add_e_f32s(factor, right, total[1]);
            }
        }
    }
    for (total, end) in totals.iter().zip(vectors.chunks_exact_mut(2)) {
        end.copy_from_slice(total);
    }
    DEPTHS
}
