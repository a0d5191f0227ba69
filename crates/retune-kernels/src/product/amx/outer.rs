//! Outer products of rows, summed.

use std::ops::Range;

use super::parts::{Packed, pack_columns, pack_row};
use super::{BLOCK, Block, Place, STEP, Tiles, Unit};
use crate::precision::Precision;
use crate::product::outer::Side;
use crate::product::threads::Threads;
use crate::shared::SharedSlice;
use crate::transpose::transpose_rows;
use crate::workspace::Workspace;

/// Rows that are packed together.
const ROWS_TOGETHER: usize = 256;
/// Blocks of columns of the right side that are packed together, 768 KiB of a second-level cache.
const BLOCKS_TOGETHER: usize = 16;

/// Least columns of either side that go to the unit. Below, packing them takes longer than multiplying them saves.
const MIN_COLUMNS: usize = 96;

/// Whether the unit computes a product faster than vectors do.
pub(in crate::product) fn suits_outer(rows: usize, left: Side, right: Side) -> bool {
    rows > 0 && left.width >= MIN_COLUMNS && right.width >= MIN_COLUMNS
}

/// What `product::outer_products` says, of at least one row.
pub(in crate::product) fn outer_products(
    unit: Unit,
    precision: Precision,
    rows: usize,
    (left, right): (Side, Side),
    (out, left_sums): (&SharedSlice, &SharedSlice),
    threads: Threads,
) {
    let blocks = [left, right].map(|side| side.width.div_ceil(BLOCK));
    let [of_left, of_right] = shares(blocks, threads.count());
    threads.for_each(of_left * of_right, |task| {
        let (at_left, at_right) = (task / of_right, task % of_right);
        let share = |at: usize, of: usize, blocks: usize| at * blocks / of..(at + 1) * blocks / of;
        let task = Task {
            unit,
            rows,
            left,
            right,
            left_blocks: share(at_left, of_left, blocks[0]),
            right_blocks: share(at_right, of_right, blocks[1]),
            out,
            left_sums: (at_right == 0).then_some(left_sums),
        };
        // SAFETY: the unit is there, and AVX-512 beside it.
        unsafe {
            match precision {
                Precision::Float32 => task.run::<3>(),
                Precision::Bfloat16 => task.run::<1>(),
            }
        }
    });
}

/// Into how many parts the blocks of either side are divided: a part for every thread, and no more of the right than fit
/// into the cache, so that as little as possible is packed twice.
fn shares([left, right]: [usize; 2], threads: usize) -> [usize; 2] {
    let packed = |of_left: usize, of_right: usize| of_left * right + of_right * left;
    let fewest_right = right.div_ceil(BLOCKS_TOGETHER).max(1);
    let candidates = (1..=threads).map(|of_left| [of_left, threads.div_ceil(of_left).max(fewest_right)]);
    let [of_left, of_right] = candidates.min_by_key(|[l, r]| packed(*l, *r)).unwrap_or([1, fewest_right]);
    [of_left.clamp(1, left.max(1)), of_right.clamp(1, right.max(1))]
}

struct Task<'a> {
    unit: Unit,
    rows: usize,
    left: Side<'a>,
    right: Side<'a>,
    left_blocks: Range<usize>,
    right_blocks: Range<usize>,
    out: &'a SharedSlice<'a>,
    left_sums: Option<&'a SharedSlice<'a>>,
}

impl Task<'_> {
    /// # Safety
    /// The machine must have the instructions.
    #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    unsafe fn run<const PARTS: usize>(&self) {
        let together = ROWS_TOGETHER.min(self.rows);
        let mut right = Packed::<PARTS>::new(self.right_blocks.len(), together);
        let mut left = Packed::<PARTS>::new(1, together);
        let mut turned = Workspace::new(BLOCK * together);
        let tiles = Tiles::new(self.unit);
        let mut sums = Block::default();
        for first in (0..self.rows).step_by(ROWS_TOGETHER) {
            let rows = first..self.rows.min(first + ROWS_TOGETHER);
            let steps = 0..rows.len().div_ceil(STEP);
            self.pack_right(rows.clone(), &mut right);
            for at_left in self.left_blocks.clone() {
                self.pack_left(rows.clone(), at_left, &mut turned, &mut left);
                let left = left.steps_of(0, steps.clone());
                for (index, at_right) in self.right_blocks.clone().enumerate() {
                    let right = right.steps_of(index, steps.clone());
                    let zeros = Place::zeros();
                    match self.direct(at_left, at_right) {
                        // SAFETY: there is room for a block, no other task has it, and the zeros are a row of one.
                        Some(out) => unsafe {
                            tiles.multiply::<PARTS>(left, right, if first > 0 { out } else { zeros }, out);
                        },
                        None => {
                            // SAFETY: as above.
                            unsafe { tiles.multiply::<PARTS>(left, right, zeros, sums.place()) };
                            self.add(&sums, at_left, at_right, first > 0);
                        }
                    }
                }
            }
        }
    }

    /// Where a block lies in the result, if it is a whole one.
    #[inline(always)]
    fn direct(&self, at_left: usize, at_right: usize) -> Option<Place> {
        let width = self.right.width;
        ((at_left + 1) * BLOCK <= self.left.width && (at_right + 1) * BLOCK <= width).then(|| {
            let at = at_left * BLOCK * width + at_right * BLOCK;
            Place { start: self.out.place(at, (BLOCK - 1) * width + BLOCK), stride: width }
        })
    }

    #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    fn pack_right<const PARTS: usize>(&self, rows: Range<usize>, packed: &mut Packed<PARTS>) {
        for (at, block) in self.right_blocks.clone().zip(packed.blocks_mut()) {
            let columns = at * BLOCK..self.right.width.min((at + 1) * BLOCK);
            let row = |at: usize| &self.right.values[(rows.start + at) * self.right.width..][columns.clone()];
            pack_columns::<PARTS>(rows.len(), row, block);
        }
    }

    /// Turns columns into rows, packs them, and sums them up.
    #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
    fn pack_left<const PARTS: usize>(
        &self,
        rows: Range<usize>,
        at: usize,
        turned: &mut [f32],
        packed: &mut Packed<PARTS>,
    ) {
        let columns = at * BLOCK..self.left.width.min((at + 1) * BLOCK);
        let row = |at: usize| &self.left.values[(rows.start + at) * self.left.width..][columns.clone()];
        transpose_rows(rows.len(), row, turned, rows.len());
        for (column, values) in turned.chunks_exact(rows.len()).take(columns.len()).enumerate() {
            pack_row::<PARTS>(values, column, packed.only_block_mut());
        }
        if let Some(left_sums) = self.left_sums {
            let mut sums = [0.0f32; BLOCK];
            for at in 0..rows.len() {
                sums.iter_mut().zip(row(at)).for_each(|(sum, value)| *sum += value);
            }
            // SAFETY: tasks that sum have different columns of the left side.
            let out = unsafe { left_sums.part(columns.start, columns.len()) };
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = if rows.start == 0 { sum } else { *out + sum };
            }
        }
    }

    /// Writes a block of sums, or adds it to what is there.
    fn add(&self, sums: &Block, at_left: usize, at_right: usize, adds: bool) {
        let columns = at_right * BLOCK..self.right.width.min((at_right + 1) * BLOCK);
        for (sums, row) in sums.0.iter().zip(at_left * BLOCK..self.left.width.min((at_left + 1) * BLOCK)) {
            // SAFETY: tasks have different blocks.
            let out = unsafe { self.out.part(row * self.right.width + columns.start, columns.len()) };
            if adds {
                out.iter_mut().zip(sums).for_each(|(out, sum)| *out += sum);
            } else {
                out.copy_from_slice(&sums[..columns.len()]);
            }
        }
    }
}
