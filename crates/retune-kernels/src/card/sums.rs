//! Kernels in CubeCL for long sums to few numbers.

use burn::tensor::Shape;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::num_traits::Zero;
use cubecl::prelude::*;
use cubecl::{CubeCount, CubeDim};

use super::layout::{Rows, addresses, element_type, empty, threads};

/// Rows that a thread adds up. Many more leave a card too few threads, many fewer take more launches.
const ROWS_OF_A_SUM: usize = 64;

/// Threads that add up a column together.
const THREADS_OF_A_COLUMN: usize = 256;

/// More columns, in vectors, are not added up by a group of threads each; there are enough threads then.
const MOST_COLUMNS: usize = 4096;

/// `sums[block] = Σ x[row]` over the rows of a block of `length` rows.
#[cube(launch, address_type = "dynamic")]
fn sum_blocks<E: Float, N: Size>(
    x: &Tensor<Vector<E, N>>,
    sums: &mut Tensor<Vector<E, N>>,
    rows: usize,
    columns: usize,
    pitch: usize,
    length: usize,
    threads: usize,
    #[define(E)] _element: ElemType,
) {
    if ABSOLUTE_POS >= threads {
        terminate!();
    }
    let column = ABSOLUTE_POS % columns;
    let start = ABSOLUTE_POS / columns * length;
    let end = clamp_max(start + length, rows);
    let mut sum = Vector::<f32, N>::zero();
    for row in start..end {
        sum += Vector::cast_from(x[row * pitch + column]);
    }
    sums[ABSOLUTE_POS] = Vector::cast_from(sum);
}

/// The sum of each column, by a group of threads.
#[cube(launch, address_type = "dynamic")]
fn sum_columns<E: Float, N: Size>(
    x: &Tensor<Vector<E, N>>,
    sums: &mut Tensor<Vector<E, N>>,
    rows: usize,
    pitch: usize,
    #[comptime] group: usize,
    #[define(E)] _element: ElemType,
) {
    let thread = UNIT_POS as usize;
    let column = CUBE_POS;
    let mut partial = Shared::<[Vector<f32, N>]>::new_slice(group);
    let mut sum = Vector::<f32, N>::zero();
    let mut row = thread;
    while row < rows {
        sum += Vector::cast_from(x[row * pitch + column]);
        row += group;
    }
    partial[thread] = sum;
    sync_cube();
    let mut half = group.runtime() / 2;
    while half > 0 {
        if thread < half {
            let other = partial[thread + half];
            partial[thread] += other;
        }
        sync_cube();
        half /= 2;
    }
    if thread == 0 {
        sums[column] = Vector::cast_from(partial[0]);
    }
}

/// The sum over all dimensions but the last, `[columns]`.
pub(super) fn sum_rows(x: CubeTensor) -> CubeTensor {
    let mut x = Rows::of(x);
    let has_few_columns = x.columns / x.vector() <= MOST_COLUMNS;
    while x.rows != 1 {
        let one_thread_suffices = x.rows <= ROWS_OF_A_SUM;
        let a_group_suffices = has_few_columns && x.rows <= ROWS_OF_A_SUM * THREADS_OF_A_COLUMN;
        x = if a_group_suffices && !one_thread_suffices { x.summed_by_groups() } else { x.summed_in_blocks() };
    }
    burn_cubecl::ops::reshape(x.tensor, Shape::new([x.columns]))
}

impl Rows {
    /// The sums of every few rows.
    fn summed_in_blocks(self) -> Self {
        let vector = self.vector();
        let columns = self.columns / vector;
        let blocks = self.rows.div_ceil(ROWS_OF_A_SUM).max(1);
        let sums = empty(&self.tensor, [blocks, self.columns]);
        let count = blocks * columns;
        let ((groups, group), element) = (threads(&sums, count), element_type(&sums));
        sum_blocks::launch(
            &sums.client.clone(),
            groups,
            group,
            addresses(&[&self.tensor, &sums]),
            vector,
            self.tensor.into_tensor_arg(),
            sums.clone().into_tensor_arg(),
            self.rows,
            columns,
            self.pitch / vector,
            ROWS_OF_A_SUM,
            count,
            element,
        );
        Self { tensor: sums, rows: blocks, columns: self.columns, pitch: self.columns }
    }

    /// The sum of all rows.
    fn summed_by_groups(self) -> Self {
        let vector = self.vector();
        let sums = empty(&self.tensor, [1, self.columns]);
        let element = element_type(&sums);
        sum_columns::launch(
            &sums.client.clone(),
            CubeCount::new_1d((self.columns / vector) as u32),
            CubeDim::new_1d(THREADS_OF_A_COLUMN as u32),
            addresses(&[&self.tensor, &sums]),
            vector,
            self.tensor.into_tensor_arg(),
            sums.clone().into_tensor_arg(),
            self.rows,
            self.pitch / vector,
            THREADS_OF_A_COLUMN,
            element,
        );
        Self { tensor: sums, rows: 1, columns: self.columns, pitch: self.columns }
    }
}
