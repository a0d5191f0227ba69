//! Kernels in CubeCL for windows that move over maps `[batch, height, width, channels]`. Each thread writes one vector of channels, and
//! threads that are neighbors write neighbors.

use burn::tensor::Shape;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::tensor::CubeTensor;
use cubecl::ir::ElemType;
use cubecl::num_traits::Zero;
use cubecl::prelude::*;

use super::layout::{Rows, addresses, element_type, empty, threads};
use super::sums::sum_rows;
use crate::convolution::ConvolutionShape;

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

/// The image, line and column of a window.
#[cube]
fn window_at(windows: &Windows, number: usize) -> (usize, usize, usize) {
    let column = number % windows.output_width;
    let rest = number / windows.output_width;
    (rest / windows.output_height, rest % windows.output_height, column)
}

/// What each window sees, tap by tap.
#[cube(launch, address_type = "dynamic")]
fn copy_windows<E: Float, N: Size>(
    x: &Tensor<Vector<E, N>>,
    rows: &mut Tensor<Vector<E, N>>,
    windows: &Windows,
    channels: usize,
    threads: usize,
    #[define(E)] _element: ElemType,
) {
    if ABSOLUTE_POS >= threads {
        terminate!();
    }
    let channel = ABSOLUTE_POS % channels;
    let rest = ABSOLUTE_POS / channels;
    let tap_x = rest % windows.kernel;
    let rest = rest / windows.kernel;
    let tap_y = rest % windows.kernel;
    let (image, line, column) = window_at(windows, rest / windows.kernel);
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
    #[define(E)] _element: ElemType,
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
    #[define(E)] _element: ElemType,
) {
    if ABSOLUTE_POS >= threads {
        terminate!();
    }
    let channel = ABSOLUTE_POS % channels;
    let (image, line, column) = window_at(windows, ABSOLUTE_POS / channels);
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
    #[define(E)] _element: ElemType,
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

/// What each window sees, `[windows, kernel · kernel · inputs]`.
pub(super) fn window_rows(x: CubeTensor, shape: &ConvolutionShape) -> CubeTensor {
    let x = Rows::of(x);
    let (vector, columns) = (x.vector(), x.columns);
    let (height, width) = shape.output();
    let windows = shape.batch * height * width;
    let rows = empty(&x.tensor, [windows, shape.kernel * shape.kernel * columns]);
    let channels = columns / vector;
    let count = windows * shape.kernel * shape.kernel * channels;
    let ((groups, group), element) = (threads(&rows, count), element_type(&rows));
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
        element,
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

/// The map of what windows add to each place: rows of `output`, or with a weight `[taps, channels]` the output times its taps.
fn added(output: CubeTensor, weight: Option<CubeTensor>, shape: &ConvolutionShape) -> CubeTensor {
    let output = Rows::of(output);
    let vector = if shape.inputs.is_multiple_of(output.vector()) { output.vector() } else { 1 };
    let map = empty(&output.tensor, [shape.batch, shape.input.0, shape.input.1, shape.inputs]);
    let channels = shape.inputs / vector;
    let count = shape.batch * shape.input.0 * shape.input.1 * channels;
    let ((groups, group), element) = (threads(&map, count), element_type(&map));
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
        element,
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
    let ((groups, group), element) = (threads(&output, count), element_type(&output));
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
        element,
    );
    output
}

/// The gradient of the weight `[channels, 1, kernel, kernel]` of a convolution of each channel by itself.
pub(super) fn depthwise_weight_gradient(x: CubeTensor, gradient: CubeTensor, shape: &ConvolutionShape) -> CubeTensor {
    let (x, gradient) = (Rows::of(x), Rows::of(gradient));
    let vector = x.vector().min(gradient.vector());
    let (channels, taps) = (x.columns / vector, shape.kernel * shape.kernel);
    let lines = shape.batch * shape.output().0;
    let blocks = MANY_THREADS.div_ceil((taps * channels).max(1)).min(lines).max(1);
    let length = lines.div_ceil(blocks).max(1);
    // Without windows, one block of zeros.
    let blocks = lines.div_ceil(length).max(1);
    let parts = empty(&x.tensor, [blocks, taps * x.columns]);
    let count = blocks * taps * channels;
    let ((groups, group), element) = (threads(&parts, count), element_type(&parts));
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
        element,
    );
    let by_tap = burn_cubecl::ops::reshape(sum_rows(parts), Shape::new([shape.kernel, shape.kernel, 1, shape.inputs]));
    burn_cubecl::ops::permute(by_tap, &[3, 2, 0, 1])
}

/// `[channels, 1, kernel, kernel]` as `[taps, channels]`.
fn by_tap(weight: CubeTensor) -> CubeTensor {
    into_contiguous(burn_cubecl::ops::permute(weight, &[2, 3, 1, 0]))
}

/// The windows of a shape as a kernel takes them, with the pitches of input and output in vectors.
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
