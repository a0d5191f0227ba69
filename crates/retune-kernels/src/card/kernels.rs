//! Kernels in CubeCL. Maps are `[batch, height, width, channels]`; each thread writes one vector of channels, and threads that are
//! neighbors write neighbors.

use burn::tensor::{DType, Shape};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::{ElemType, FloatKind};
use cubecl::num_traits::Zero;
use cubecl::prelude::*;
use cubecl::{CubeCount, CubeDim, calculate_cube_count_elemwise};

use super::pitch;
use crate::convolution::ConvolutionShape;

/// Rows that a thread adds up. Many more leave a card too few threads, many fewer take more launches.
const ROWS_OF_A_SUM: usize = 64;

/// Threads that add up a column together.
const THREADS_OF_A_COLUMN: usize = 256;

/// More columns, in vectors, are not added up by a group of threads each; there are enough threads then.
const MOST_COLUMNS: usize = 4096;

/// Threads that a card needs to be busy.
const MANY_THREADS: usize = 1 << 17;

/// How windows move over a map. Of both maps, `pitch` is the step from a place to the next one, in vectors.
#[derive(CubeLaunch, CubeType)]
struct Windows {
    input_height: usize,
    input_width: usize,
    input_pitch: usize,
    output_height: usize,
    output_width: usize,
    output_pitch: usize,
    kernel: usize,
    stride: usize,
    above: usize,
    left: usize,
}

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
    #[define(E)] _numbers: ElemType,
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
    #[define(E)] _numbers: ElemType,
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

/// Whether the tap `(y, x)` of a window sees a place of the map, and which one; the first one if it sees padding.
#[cube]
fn place(windows: &Windows, image: usize, line: usize, column: usize, y: usize, x: usize) -> (bool, usize) {
    let line = line * windows.stride + y;
    let column = column * windows.stride + x;
    let below = line >= windows.above && line < windows.above + windows.input_height;
    let inside = below && column >= windows.left && column < windows.left + windows.input_width;
    let line = select(inside, line - windows.above, 0);
    let column = select(inside, column - windows.left, 0);
    (inside, (image * windows.input_height + line) * windows.input_width + column)
}

/// What each window sees, tap by tap.
#[cube(launch, address_type = "dynamic")]
fn copy_windows<E: Float, N: Size>(
    x: &Tensor<Vector<E, N>>,
    rows: &mut Tensor<Vector<E, N>>,
    windows: &Windows,
    channels: usize,
    threads: usize,
    #[define(E)] _numbers: ElemType,
) {
    if ABSOLUTE_POS >= threads {
        terminate!();
    }
    let channel = ABSOLUTE_POS % channels;
    let rest = ABSOLUTE_POS / channels;
    let tap_x = rest % windows.kernel;
    let rest = rest / windows.kernel;
    let tap_y = rest % windows.kernel;
    let window = rest / windows.kernel;
    let column = window % windows.output_width;
    let rest = window / windows.output_width;
    let line = rest % windows.output_height;
    let image = rest / windows.output_height;
    let (inside, place) = place(windows, image, line, column, tap_y, tap_x);
    let mut value = Vector::<E, N>::zero();
    if inside {
        value = x[place * windows.input_pitch + channel];
    }
    rows[ABSOLUTE_POS] = value;
}

/// For each place of the map, the sum of what the windows that see it have for it; times `weight` `[taps, channels]` where there is one.
/// Without it, `output` has rows of taps for each window.
#[cube(launch, address_type = "dynamic")]
fn add_windows<E: Float, N: Size>(
    output: &Tensor<Vector<E, N>>,
    weight: ComptimeOption<&Tensor<Vector<E, N>>>,
    map: &mut Tensor<Vector<E, N>>,
    windows: &Windows,
    channels: usize,
    threads: usize,
    #[define(E)] _numbers: ElemType,
) {
    if ABSOLUTE_POS >= threads {
        terminate!();
    }
    let channel = ABSOLUTE_POS % channels;
    let rest = ABSOLUTE_POS / channels;
    let column = rest % windows.input_width + windows.left;
    let rest = rest / windows.input_width;
    let line = rest % windows.input_height + windows.above;
    let image = rest / windows.input_height;
    let mut sum = Vector::<f32, N>::zero();
    for tap_y in 0..windows.kernel {
        if line >= tap_y
            && (line - tap_y).is_multiple_of(windows.stride)
            && (line - tap_y) / windows.stride < windows.output_height
        {
            let window = (image * windows.output_height + (line - tap_y) / windows.stride) * windows.output_width;
            for tap_x in 0..windows.kernel {
                if column >= tap_x
                    && (column - tap_x).is_multiple_of(windows.stride)
                    && (column - tap_x) / windows.stride < windows.output_width
                {
                    let window = window + (column - tap_x) / windows.stride;
                    let tap = tap_y * windows.kernel + tap_x;
                    #[comptime]
                    match weight {
                        ComptimeOption::Some(weight) => {
                            let gradient: Vector<f32, N> =
                                Vector::cast_from(output[window * windows.output_pitch + channel]);
                            sum += gradient * Vector::cast_from(weight[tap * channels + channel]);
                        }
                        ComptimeOption::None => {
                            sum += Vector::cast_from(output[window * windows.output_pitch + tap * channels + channel]);
                        }
                    }
                }
            }
        }
    }
    map[ABSOLUTE_POS] = Vector::cast_from(sum);
}

/// A convolution of each channel by itself, with `weight` `[taps, channels]`.
#[cube(launch, address_type = "dynamic")]
fn depthwise_forward<E: Float, N: Size>(
    x: &Tensor<Vector<E, N>>,
    weight: &Tensor<Vector<E, N>>,
    output: &mut Tensor<Vector<E, N>>,
    windows: &Windows,
    channels: usize,
    threads: usize,
    #[define(E)] _numbers: ElemType,
) {
    if ABSOLUTE_POS >= threads {
        terminate!();
    }
    let channel = ABSOLUTE_POS % channels;
    let window = ABSOLUTE_POS / channels;
    let column = window % windows.output_width;
    let rest = window / windows.output_width;
    let line = rest % windows.output_height;
    let image = rest / windows.output_height;
    let mut sum = Vector::<f32, N>::zero();
    for tap_y in 0..windows.kernel {
        for tap_x in 0..windows.kernel {
            let (inside, place) = place(windows, image, line, column, tap_y, tap_x);
            if inside {
                let value: Vector<f32, N> = Vector::cast_from(x[place * windows.input_pitch + channel]);
                sum += value * Vector::cast_from(weight[(tap_y * windows.kernel + tap_x) * channels + channel]);
            }
        }
    }
    output[ABSOLUTE_POS] = Vector::cast_from(sum);
}

/// For each block of `length` lines of windows, what it adds to the gradient of a weight `[taps, channels]`.
#[cube(launch, address_type = "dynamic")]
fn depthwise_weight_blocks<E: Float, N: Size>(
    x: &Tensor<Vector<E, N>>,
    gradient: &Tensor<Vector<E, N>>,
    blocks: &mut Tensor<Vector<E, N>>,
    windows: &Windows,
    channels: usize,
    lines: usize,
    length: usize,
    threads: usize,
    #[define(E)] _numbers: ElemType,
) {
    if ABSOLUTE_POS >= threads {
        terminate!();
    }
    let channel = ABSOLUTE_POS % channels;
    let rest = ABSOLUTE_POS / channels;
    let tap_x = rest % windows.kernel;
    let rest = rest / windows.kernel;
    let tap_y = rest % windows.kernel;
    let start = rest / windows.kernel * length;
    let end = clamp_max(start + length, lines);
    let mut sum = Vector::<f32, N>::zero();
    for line in start..end {
        let image = line / windows.output_height;
        let y = line % windows.output_height * windows.stride + tap_y;
        if y >= windows.above && y < windows.above + windows.input_height {
            let source = (image * windows.input_height + y - windows.above) * windows.input_width;
            for column in 0..windows.output_width {
                let x_place = column * windows.stride + tap_x;
                if x_place >= windows.left && x_place < windows.left + windows.input_width {
                    let value: Vector<f32, N> =
                        Vector::cast_from(x[(source + x_place - windows.left) * windows.input_pitch + channel]);
                    let window = line * windows.output_width + column;
                    sum += value * Vector::cast_from(gradient[window * windows.output_pitch + channel]);
                }
            }
        }
    }
    blocks[ABSOLUTE_POS] = Vector::cast_from(sum);
}

/// A tensor as rows of its last dimension, in memory at equal steps.
pub(super) struct Rows {
    pub(super) tensor: CubeTensor,
    pub(super) rows: usize,
    pub(super) columns: usize,
    /// From a row to the next.
    pub(super) pitch: usize,
}

impl Rows {
    /// Copies what does not lie in rows.
    pub(super) fn of(tensor: CubeTensor) -> Self {
        let shape: Vec<usize> = tensor.meta.shape().iter().copied().collect();
        let columns = shape.last().copied().unwrap_or(1);
        let rows = shape.iter().rev().skip(1).product();
        match pitch(&shape, tensor.meta.strides()) {
            Some(pitch) => Self { tensor, rows, columns, pitch },
            None => Self { tensor: into_contiguous(tensor), rows, columns, pitch: columns },
        }
    }

    /// Numbers that a thread can handle at once.
    pub(super) fn vector(&self) -> usize {
        [4, 2]
            .into_iter()
            .find(|vector| self.columns.is_multiple_of(*vector) && self.pitch.is_multiple_of(*vector))
            .unwrap_or(1)
    }
}

/// What a launch needs: how many threads, and how many in a group.
fn threads(like: &CubeTensor, count: usize) -> (CubeCount, CubeDim) {
    let group = CubeDim::new(&like.client, count);
    (calculate_cube_count_elemwise(&like.client, count, group), group)
}

/// How wide the indices of these tensors are.
pub(super) fn addresses(tensors: &[&CubeTensor]) -> AddressType {
    tensors.iter().map(|tensor| tensor.required_address_type()).max().unwrap_or_default()
}

pub(super) fn numbers(tensor: &CubeTensor) -> ElemType {
    ElemType::Float(match tensor.dtype {
        DType::F32 => FloatKind::F32,
        DType::BF16 => FloatKind::BF16,
        DType::F16 => FloatKind::F16,
        other => panic!("kernels compute with floats of 16 and 32 bits, not with {other:?}"),
    })
}

pub(super) fn empty(like: &CubeTensor, shape: impl Into<Shape>) -> CubeTensor {
    empty_device_contiguous_dtype(like.client.clone(), like.device.clone(), shape.into(), like.dtype)
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
        let ((groups, group), of) = (threads(&sums, count), numbers(&sums));
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
            of,
        );
        Self { tensor: sums, rows: blocks, columns: self.columns, pitch: self.columns }
    }

    /// The sum of all rows.
    fn summed_by_groups(self) -> Self {
        let vector = self.vector();
        let sums = empty(&self.tensor, [1, self.columns]);
        let of = numbers(&sums);
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
            of,
        );
        Self { tensor: sums, rows: 1, columns: self.columns, pitch: self.columns }
    }
}

/// What each window sees, `[windows, kernel · kernel · inputs]`.
pub(super) fn window_rows(x: CubeTensor, shape: &ConvolutionShape) -> CubeTensor {
    let x = Rows::of(x);
    let (vector, columns) = (x.vector(), x.columns);
    let (height, width) = shape.output();
    let windows = shape.batch * height * width;
    let rows = empty(&x.tensor, [windows, shape.kernel * shape.kernel * columns]);
    let channels = columns / vector;
    let count = windows * shape.kernel * shape.kernel * channels;
    let ((groups, group), of) = (threads(&rows, count), numbers(&rows));
    copy_windows::launch(
        &rows.client.clone(),
        groups,
        group,
        addresses(&[&x.tensor, &rows]),
        vector,
        x.tensor.into_tensor_arg(),
        rows.clone().into_tensor_arg(),
        launched(shape, x.pitch / vector, 0),
        channels,
        count,
        of,
    );
    rows
}

/// For each place of a map, the sum of what windows have for it in `rows` `[windows, kernel · kernel · inputs]`.
pub(super) fn add_rows(rows: CubeTensor, shape: &ConvolutionShape) -> CubeTensor {
    added(rows, None, shape)
}

/// The gradient of the input of a convolution of each channel by itself.
pub(super) fn depthwise_input_gradient(
    gradient: CubeTensor,
    weight: CubeTensor,
    shape: &ConvolutionShape,
) -> CubeTensor {
    added(gradient, Some(by_tap(weight)), shape)
}

fn added(output: CubeTensor, weight: Option<CubeTensor>, shape: &ConvolutionShape) -> CubeTensor {
    let output = Rows::of(output);
    let vector = if shape.inputs.is_multiple_of(output.vector()) { output.vector() } else { 1 };
    let map = empty(&output.tensor, [shape.batch, shape.input.0, shape.input.1, shape.inputs]);
    let channels = shape.inputs / vector;
    let count = shape.batch * shape.input.0 * shape.input.1 * channels;
    let ((groups, group), of) = (threads(&map, count), numbers(&map));
    add_windows::launch(
        &map.client.clone(),
        groups,
        group,
        addresses(&[&output.tensor, &map]),
        vector,
        output.tensor.into_tensor_arg(),
        weight.map(CubeTensor::into_tensor_arg).into(),
        map.clone().into_tensor_arg(),
        launched(shape, 0, output.pitch / vector),
        channels,
        count,
        of,
    );
    map
}

/// A convolution of each channel by itself.
pub(super) fn depthwise(x: CubeTensor, weight: CubeTensor, shape: &ConvolutionShape) -> CubeTensor {
    let x = Rows::of(x);
    let (vector, columns) = (x.vector(), x.columns);
    let (height, width) = shape.output();
    let output = empty(&x.tensor, [shape.batch, height, width, columns]);
    let channels = columns / vector;
    let count = shape.batch * height * width * channels;
    let ((groups, group), of) = (threads(&output, count), numbers(&output));
    depthwise_forward::launch(
        &output.client.clone(),
        groups,
        group,
        addresses(&[&x.tensor, &output]),
        vector,
        x.tensor.into_tensor_arg(),
        by_tap(weight).into_tensor_arg(),
        output.clone().into_tensor_arg(),
        launched(shape, x.pitch / vector, 0),
        channels,
        count,
        of,
    );
    output
}

/// The gradient of the weight `[channels, 1, kernel, kernel]` of a convolution of each channel by itself.
pub(super) fn depthwise_weight_gradient(x: CubeTensor, gradient: CubeTensor, shape: &ConvolutionShape) -> CubeTensor {
    let (x, gradient) = (Rows::of(x), Rows::of(gradient));
    let vector = x.vector().min(gradient.vector());
    let (channels, taps) = (x.columns / vector, shape.kernel * shape.kernel);
    let lines = shape.batch * shape.output().0;
    let blocks = MANY_THREADS.div_ceil((taps * channels).max(1)).min(lines);
    let length = lines.div_ceil(blocks);
    let blocks = lines.div_ceil(length);
    let parts = empty(&x.tensor, [blocks, taps * x.columns]);
    let count = blocks * taps * channels;
    let ((groups, group), of) = (threads(&parts, count), numbers(&parts));
    depthwise_weight_blocks::launch(
        &parts.client.clone(),
        groups,
        group,
        addresses(&[&x.tensor, &gradient.tensor, &parts]),
        vector,
        x.tensor.into_tensor_arg(),
        gradient.tensor.into_tensor_arg(),
        parts.clone().into_tensor_arg(),
        launched(shape, x.pitch / vector, gradient.pitch / vector),
        channels,
        lines,
        length,
        count,
        of,
    );
    let by_tap = burn_cubecl::ops::reshape(sum_rows(parts), Shape::new([shape.kernel, shape.kernel, 1, shape.inputs]));
    burn_cubecl::ops::permute(by_tap, &[3, 2, 0, 1])
}

/// `[channels, 1, kernel, kernel]` as `[taps, channels]`.
fn by_tap(weight: CubeTensor) -> CubeTensor {
    into_contiguous(burn_cubecl::ops::permute(weight, &[2, 3, 1, 0]))
}

fn launched(shape: &ConvolutionShape, input_pitch: usize, output_pitch: usize) -> WindowsLaunch {
    let (height, width) = shape.output();
    WindowsLaunch::new(
        shape.input.0,
        shape.input.1,
        input_pitch,
        height,
        width,
        output_pitch,
        shape.kernel,
        shape.stride,
        shape.vertical_padding.0,
        shape.horizontal_padding.0,
    )
}
