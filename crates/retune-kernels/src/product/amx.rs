//! Products on AMX, the matrix unit of Intel's server processors since Sapphire Rapids.
//!
//! The unit multiplies tiles of bfloat16 and sums in 32 bits. A 32-bit float is the sum of three bfloat16 to the last bit,
//! so six products of such parts make a product of floats: what is left out is below 2⁻²⁴ of it, the rounding of a single
//! multiplication. A running sum is rounded six times in 32 products, where fused multiply-adds round it 32 times, so a result
//! is as close to the exact one as theirs. An infinite factor makes a sum NaN, where other kernels keep it infinite.
//!
//! Intel, *Intel 64 and IA-32 Architectures Software Developer's Manual*, volume 1, chapter 18.

mod outer;
mod parts;
mod rows;
mod transposed;

use std::arch::asm;
use std::marker::PhantomData;
use std::sync::OnceLock;

use pulp::x86::V4;

pub(super) use self::outer::{outer_products, suits_outer};
pub(crate) use self::parts::{Packed, pack_columns, pack_depths, pack_row};
pub(super) use self::rows::{row_products, suits_rows};
pub(super) use self::transposed::{division, run_transposed, suits_transposed};
use crate::instructions::{Instructions, kept_to};

/// Rows of a tile, and columns of a tile of sums.
pub(crate) const TILE: usize = 16;
/// Rows and columns of a block of sums: two by two tiles. The other four of the eight hold factors.
pub(crate) const BLOCK: usize = 2 * TILE;
/// Depths that a tile's row holds.
pub(crate) const STEP: usize = 32;

/// Sixteen pairs of bfloat16, a row of a tile.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line([u16; STEP]);

/// A block of sums, row by row.
#[derive(Clone)]
#[repr(C, align(64))]
pub(crate) struct Block(pub [[f32; BLOCK]; BLOCK]);

impl Default for Block {
    fn default() -> Self {
        Self([[0.0; BLOCK]; BLOCK])
    }
}

/// Proof that this process may use the unit, and AVX-512 with bfloat16 beside it.
#[derive(Clone, Copy)]
pub(crate) struct Unit {
    /// The vectors.
    simd: V4,
}

impl Unit {
    /// The unit, if this machine has it, the operating system allows its use, and the kernels are not kept from it.
    pub fn available() -> Option<Self> {
        static AVAILABLE: OnceLock<Option<Unit>> = OnceLock::new();
        *AVAILABLE.get_or_init(|| {
            let simd = V4::try_new().filter(|_| super::Bfloat16Unit::available().is_some())?;
            (kept_to() == Instructions::All && has_unit() && system_allows()).then_some(Self { simd })
        })
    }
}

/// Whether the processor multiplies tiles of bfloat16.
fn has_unit() -> bool {
    const BFLOAT16: u32 = 1 << 22;
    const TILES: u32 = 1 << 24;
    let leaf = std::arch::x86_64::__cpuid_count(7, 0);
    leaf.edx & BFLOAT16 != 0 && leaf.edx & TILES != 0
}

/// Asks for the tiles' 8 KiB of state, which Linux gives to processes that ask.
#[cfg(target_os = "linux")]
fn system_allows() -> bool {
    const REQUEST_PERMISSION: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;
    // SAFETY: the call changes what the process may do, and no memory.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn system_allows() -> bool {
    false
}

/// Where the sums of a block lie, or what they start with: `stride` values from row to row.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub start: *mut f32,
    pub stride: usize,
}

impl Place {
    /// A row of zeros for every row.
    pub fn zeros() -> Self {
        static ZEROS: [f32; BLOCK] = [0.0; BLOCK];
        Self { start: ZEROS.as_ptr().cast_mut(), stride: 0 }
    }
}

impl Block {
    pub fn place(&mut self) -> Place {
        Place { start: self.0.as_flattened_mut().as_mut_ptr(), stride: BLOCK }
    }
}

/// Loads two tiles of the left side, `$first` and `$second` bytes from the step's first.
macro_rules! left_part {
    ($first:literal, $second:literal) => {
        concat!("tileloadd tmm4, [{left} + {line} + ", $first, "]\ntileloadd tmm5, [{left} + {line} + ", $second, "]")
    };
}

/// The same of the right side.
macro_rules! right_part {
    ($first:literal, $second:literal) => {
        concat!("tileloadd tmm6, [{right} + {line} + ", $first, "]\ntileloadd tmm7, [{right} + {line} + ", $second, "]")
    };
}

/// Adds the products of the tiles that are loaded.
macro_rules! products {
    () => {
        "tdpbf16ps tmm0, tmm4, tmm6\ntdpbf16ps tmm1, tmm4, tmm7\ntdpbf16ps tmm2, tmm5, tmm6\ntdpbf16ps tmm3, tmm5, tmm7"
    };
}

/// Loads what the sums start with, runs the instructions of a step for every step, each `$bytes` long on either side, and
/// stores the sums.
macro_rules! multiply {
    (($left:expr, $right:expr, $steps:expr), ($from:expr, $to:expr), $bytes:literal, $($step:expr),+) => {
        asm!(
            "tileloadd tmm0, [{from} + {from_stride}]",
            "tileloadd tmm1, [{from} + {from_stride} + 64]",
            "tileloadd tmm2, [{from_below} + {from_stride}]",
            "tileloadd tmm3, [{from_below} + {from_stride} + 64]",
            "2:",
            $($step,)+
            concat!("add {left}, ", $bytes),
            concat!("add {right}, ", $bytes),
            "dec {steps}",
            "jnz 2b",
            "tilestored [{to} + {to_stride}], tmm0",
            "tilestored [{to} + {to_stride} + 64], tmm1",
            "tilestored [{to_below} + {to_stride}], tmm2",
            "tilestored [{to_below} + {to_stride} + 64], tmm3",
            left = inout(reg) $left => _,
            right = inout(reg) $right => _,
            steps = inout(reg) $steps => _,
            from = in(reg) $from.start,
            from_below = in(reg) $from.start.wrapping_add(TILE * $from.stride),
            from_stride = in(reg) $from.stride * size_of::<f32>(),
            to = in(reg) $to.start,
            to_below = in(reg) $to.start.wrapping_add(TILE * $to.stride),
            to_stride = in(reg) $to.stride * size_of::<f32>(),
            line = in(reg) 64usize,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack)
        )
    };
}

/// The tiles of this thread, in use.
pub(crate) struct Tiles {
    /// They are the thread's.
    thread: PhantomData<*const ()>,
}

impl Tiles {
    /// Lays all tiles out with rows of 64 bytes.
    pub fn new(_: Unit) -> Self {
        #[repr(C, align(64))]
        struct Configuration {
            palette: u8,
            start_row: u8,
            reserved: [u8; 14],
            bytes_of_row: [u16; 16],
            rows: [u8; 16],
        }
        let mut configuration =
            Configuration { palette: 1, start_row: 0, reserved: [0; 14], bytes_of_row: [0; 16], rows: [0; 16] };
        configuration.bytes_of_row[..8].fill(64);
        configuration.rows[..8].fill(TILE as u8);
        // SAFETY: the unit is there, and the configuration is one of palette 1. The tiles belong to this thread; whoever
        // had them before has dropped them.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const configuration, options(nostack, readonly)) };
        Self { thread: PhantomData }
    }

    /// `to = from + left · right` for a block of rows and a block of columns, over all steps of depths. With one part a factor
    /// is a bfloat16, with three a float.
    ///
    /// # Safety
    /// A whole block must be readable at `from` and writable at `to`.
    #[inline(always)]
    pub unsafe fn multiply<const PARTS: usize>(&self, left: &[Line], right: &[Line], from: Place, to: Place) {
        const { assert!(PARTS == 1 || PARTS == 3) };
        let steps = left.len() / (PARTS * BLOCK);
        assert!(steps > 0 && left.len() == steps * PARTS * BLOCK && right.len() == left.len(), "whole steps");
        let (left, right) = (left.as_ptr(), right.as_ptr());
        // SAFETY: either side has that many steps of `PARTS` times two tiles, and the places hold two by two by the contract.
        // The tiles are laid out.
        unsafe {
            if PARTS == 1 {
                multiply!(
                    (left, right, steps),
                    (from, to),
                    "2048",
                    left_part!("0", "1024"),
                    right_part!("0", "1024"),
                    products!()
                );
            } else {
                // The smallest products first; from one to the next, one part changes.
                multiply!(
                    (left, right, steps),
                    (from, to),
                    "6144",
                    left_part!("4096", "5120"),
                    right_part!("0", "1024"),
                    products!(),
                    left_part!("2048", "3072"),
                    products!(),
                    right_part!("2048", "3072"),
                    products!(),
                    left_part!("0", "1024"),
                    products!(),
                    right_part!("0", "1024"),
                    products!(),
                    right_part!("4096", "5120"),
                    products!()
                );
            }
        }
    }
}

impl Drop for Tiles {
    fn drop(&mut self) {
        // SAFETY: whoever has tiles has the unit.
        unsafe { asm!("tilerelease", options(nostack, nomem)) };
    }
}

#[cfg(test)]
mod tests {
    use super::{Unit, outer, rows};
    use crate::convolution::ConvolutionShape;
    use crate::precision::{Precision, rounded};
    use crate::product::outer::Side;
    use crate::product::source::Weights;
    use crate::product::{Axis, Destination, Epilogue, Gather, MatrixLayout, Output, Panels, Scale, Threads, product};
    use crate::shared::SharedSlice;

    /// Values whose magnitudes lie up to 2²⁴ apart.
    pub(super) fn values(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state
        };
        (0..count).map(|_| (next() as i32 as f32 / 2f32.powi(31)) * 2f32.powi((next() % 24) as i32 - 12)).collect()
    }

    /// A convolution of almost square maps, with half a window of padding.
    pub(super) fn padded(
        batch: usize,
        side: usize,
        (inputs, outputs): (usize, usize),
        (kernel, stride): (usize, usize),
    ) -> ConvolutionShape {
        let padding = (kernel / 2, kernel / 2);
        ConvolutionShape {
            batch,
            input: (side, side + 1),
            inputs,
            outputs,
            kernel,
            stride,
            vertical_padding: padding,
            horizontal_padding: padding,
            groups: 1,
        }
    }

    /// Every output pixel with every tap of its window, and the input pixel that it reads there.
    pub(super) fn windows(shape: &ConvolutionShape) -> Vec<(usize, usize, usize)> {
        let ((height, width), (rows, columns)) = (shape.input, shape.output());
        let place = |at: usize, tap: usize, padding: usize, length: usize| {
            (at * shape.stride + tap).checked_sub(padding).filter(|at| *at < length)
        };
        let read = |(pixel, tap): (usize, usize)| {
            let (image, y, x) = (pixel / (rows * columns), pixel / columns % rows, pixel % columns);
            let line = place(y, tap / shape.kernel, shape.vertical_padding.0, height)?;
            let column = place(x, tap % shape.kernel, shape.horizontal_padding.0, width)?;
            Some((pixel, tap, (image * height + line) * width + column))
        };
        let taps = shape.kernel * shape.kernel;
        let pixels = 0..shape.batch * rows * columns;
        pixels.flat_map(|pixel| (0..taps).map(move |tap| (pixel, tap))).filter_map(read).collect()
    }

    /// The rows of a matrix times another, by the unit or by vectors.
    fn products(unit: Option<Unit>, precision: Precision, (left, right): (&[f32], &[f32]), depth: usize) -> Vec<f32> {
        let (rows, columns) = (left.len() / depth, right.len() / depth);
        let layout =
            MatrixLayout { taps: 1, depth, columns, start: 0, tap_stride: 0, depth_stride: columns, column_stride: 1 };
        let mut out = vec![f32::NAN; rows * columns];
        let destination = SharedSlice::new(&mut out);
        let gather = Gather::matrix(rows, depth, 0);
        let place = Destination { offset: 0, stride: columns };
        let output =
            Output { gather: &gather, epilogue: Epilogue::default(), destination: &destination, place, columns };
        match unit {
            Some(unit) => {
                let weights = Weights { matrix: right, layout, scale: Scale::None };
                rows::row_products(unit, precision, left, weights, output);
            }
            None => product(left, &Panels::pack(right, layout, Scale::None, Threads::All), output, Threads::All),
        }
        out
    }

    /// The largest error of a product's elements, as a part of the sum of the magnitudes of what each adds up.
    fn error(found: &[f32], (left, right): (&[f32], &[f32]), depth: usize) -> f64 {
        let columns = right.len() / depth;
        let mut worst = 0.0f64;
        for (row, found) in left.chunks(depth).zip(found.chunks(columns)) {
            for (column, &found) in found.iter().enumerate() {
                let terms = || (0..depth).map(|k| f64::from(row[k]) * f64::from(right[k * columns + column]));
                let magnitude = terms().map(f64::abs).sum::<f64>();
                worst = worst.max((f64::from(found) - terms().sum::<f64>()).abs() / magnitude.max(f64::MIN_POSITIVE));
            }
        }
        worst
    }

    #[test]
    fn products_of_floats_are_at_least_as_close_to_the_exact_ones_as_those_of_vectors() {
        let Some(unit) = Unit::available() else { return };
        // Below, at, and above whole blocks and steps; more steps than go together.
        for (rows, depth, columns) in
            [(1, 1, 1), (31, 31, 16), (33, 32, 17), (40, 70, 50), (64, 96, 64), (70, 800, 33), (100, 2000, 40)]
        {
            let (left, right) = (values(rows * depth, 1), values(depth * columns, 2));
            let sides = (left.as_slice(), right.as_slice());
            let of = |unit| error(&products(unit, Precision::Float32, sides, depth), sides, depth);
            let (of_unit, of_vectors) = (of(Some(unit)), of(None));
            // What is left out of a product is 2⁻²⁴ of it, and the parts are rounded when they are summed.
            let allowed = of_vectors.max(2f64.powi(-23));
            assert!(of_unit <= allowed, "{rows} {depth} {columns}: {of_unit:e}, vectors {of_vectors:e}");
        }
    }

    #[test]
    fn products_of_rounded_floats_lose_nothing_more() {
        let Some(unit) = Unit::available() else { return };
        let (left, right) = (values(50 * 300, 3), values(300 * 70, 4));
        let found = products(Some(unit), Precision::Bfloat16, (&left, &right), 300);
        let [left, right] = [left, right].map(|side| side.into_iter().map(rounded).collect::<Vec<_>>());
        // Sums of 32 bits.
        assert!(error(&found, (&left, &right), 300) < 2f64.powi(-20));
    }

    #[test]
    fn a_row_is_the_same_among_any_others() {
        let Some(unit) = Unit::available() else { return };
        let (left, right) = (values(77 * 100, 5), values(100 * 64, 6));
        let all = products(Some(unit), Precision::Float32, (&left, &right), 100);
        for row in [0, 31, 32, 76] {
            let alone = products(Some(unit), Precision::Float32, (&left[row * 100..][..100], &right), 100);
            assert_eq!(alone, all[row * 64..][..64]);
        }
    }

    #[test]
    fn windows_scales_and_what_follows_are_those_of_vectors() {
        let Some(unit) = Unit::available() else { return };
        // A window of 3 × 3 with padding over two images of 5 × 7 pixels, 6 channels to 40.
        let (height, width, depth, columns) = (5, 7, 6, 40);
        let axis = |length| Axis::forward(length, length, 3, 1, 1);
        let gather = Gather::new(2, height * width * depth, (axis(height), width * depth), (axis(width), depth), 0);
        let layout = MatrixLayout {
            taps: 9,
            depth,
            columns,
            start: 0,
            tap_stride: 1,
            depth_stride: 9,
            column_stride: 9 * depth,
        };
        let rows = 2 * height * width;
        let (source, matrix) = (values(rows * depth, 7), values(9 * depth * columns, 8));
        let (scale, shift, residual) = (values(columns, 9), values(columns, 10), values(rows * columns, 11));
        let scale = Scale::Columns(&scale);
        for (shift, residual, limits, accumulate) in [
            (None, None, None, false),
            (Some(shift.as_slice()), None, None, false),
            (Some(shift.as_slice()), Some(residual.as_slice()), Some((0.0, 6.0)), false),
            (None, None, None, true),
        ] {
            let [of_unit, of_vectors] = [Some(unit), None].map(|unit| {
                let mut out = values(rows * columns, 12);
                let destination = SharedSlice::new(&mut out);
                let epilogue = Epilogue { shift, residual, limits, accumulate };
                let place = Destination { offset: 0, stride: columns };
                let output = Output { gather: &gather, epilogue, destination: &destination, place, columns };
                match unit {
                    Some(unit) => {
                        let weights = Weights { matrix: &matrix, layout, scale };
                        rows::row_products(unit, Precision::Float32, &source, weights, output);
                    }
                    None => product(&source, &Panels::pack(&matrix, layout, scale, Threads::All), output, Threads::All),
                }
                out
            });
            let largest = of_vectors.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
            for (found, expected) in of_unit.iter().zip(&of_vectors) {
                // Sums of 54 products, added in another order.
                assert!((found - expected).abs() <= 1e-5 * largest, "{found} {expected} of up to {largest}");
            }
        }
    }

    #[test]
    fn rows_of_images_that_take_turns_go_where_they_belong() {
        let Some(unit) = Unit::available() else { return };
        // A block of 32 rows: sixteen places of two images, of which the first row and the last are the destination's.
        let (depth, columns, rows) = (32, 64, 32);
        let axis = || Axis::strided(4, 1);
        let gather = Gather::new(2, 16 * depth, (axis(), 4 * depth), (axis(), depth), 0);
        let layout =
            MatrixLayout { taps: 1, depth, columns, start: 0, tap_stride: 0, depth_stride: columns, column_stride: 1 };
        let (source, matrix) = (values(rows * depth, 15), values(depth * columns, 16));
        let mut out = vec![f32::NAN; rows * columns];
        let destination = SharedSlice::new(&mut out);
        let place = Destination { offset: 0, stride: columns };
        let output =
            Output { gather: &gather, epilogue: Epilogue::default(), destination: &destination, place, columns };
        let weights = Weights { matrix: &matrix, layout, scale: Scale::None };
        rows::row_products(unit, Precision::Float32, &source, weights, output);
        assert_eq!(out, products(Some(unit), Precision::Float32, (&source, &matrix), depth));
    }

    #[test]
    fn outer_products_are_those_of_double_precision_on_any_number_of_threads() {
        let Some(unit) = Unit::available() else { return };
        for (count, of_left, of_right) in [(1, 1, 1), (7, 33, 17), (256, 32, 64), (300, 50, 90), (1000, 70, 600)] {
            let (left, right) = (values(count * of_left, 13), values(count * of_right, 14));
            let sides = (Side { values: &left, width: of_left }, Side { values: &right, width: of_right });
            let computed = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
                let (mut out, mut sums) = (vec![f32::NAN; of_left * of_right], vec![f32::NAN; of_left]);
                let places = (&SharedSlice::new(&mut out), &SharedSlice::new(&mut sums));
                pool.install(|| outer::outer_products(unit, Precision::Float32, count, sides, places, Threads::All));
                (out, sums)
            };
            let (out, sums) = computed(1);
            for column in 0..of_left {
                let of_column = |row: usize| f64::from(left[row * of_left + column]);
                // Up to a thousand values, summed in 32 bits one after the other.
                let close = |found: f32, terms: &dyn Fn(usize) -> f64, allowed: f64| {
                    let magnitude = (0..count).map(|row| terms(row).abs()).sum::<f64>();
                    let expected = (0..count).map(terms).sum::<f64>();
                    assert!((f64::from(found) - expected).abs() <= allowed * magnitude, "{found} {expected}");
                };
                close(sums[column], &of_column, 1e-5);
                for other in 0..of_right {
                    let term = |row: usize| of_column(row) * f64::from(right[row * of_right + other]);
                    // Six roundings for each of up to 32 steps.
                    close(out[column * of_right + other], &term, 2f64.powi(-20));
                }
            }
            for threads in [2, 5] {
                assert!(
                    computed(threads) == (out.clone(), sums.clone()),
                    "{count} {of_left} {of_right}, {threads} threads"
                );
            }
        }
    }
}
