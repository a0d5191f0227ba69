//! Convolution over channels-last maps, with what usually follows it: a scale and a shift for each
//! output channel (a BatchNorm whose statistics are fixed), a residual, and limits (ReLU, ReLU6).

mod depthwise;
mod winograd;

use std::borrow::Cow;

use rayon::prelude::*;

use crate::elementwise::dot;
use crate::precision::Precision;
use crate::product::{
    Axis, Destination, Epilogue, Gather, MatrixLayout, Part, Scale, Side, Source, Threads, TransposedProduct, Weights,
    outer_products, suits_outer, transposed_product,
};
use crate::shared::{SharedSlice, filled};

/// Fewer input channels than this are read together with their neighbors along the line.
const FEW_CHANNELS: usize = 8;

/// The sizes of a convolution. Maps are `[batch, height, width, channels]`, weights
/// `[outputs, inputs / groups, kernel, kernel]` as PyTorch keeps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvolutionShape {
    /// Images in the batch.
    pub batch: usize,
    /// Height and width of the input.
    pub input: (usize, usize),
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Side of the window.
    pub kernel: usize,
    /// Step of the window.
    pub stride: usize,
    /// Zeros above and below the input.
    pub vertical_padding: (usize, usize),
    /// Zeros left and right of the input.
    pub horizontal_padding: (usize, usize),
    /// Groups of channels that are convolved by themselves.
    pub groups: usize,
}

impl ConvolutionShape {
    /// A linear layer of as many rows.
    pub fn linear(rows: usize, inputs: usize, outputs: usize) -> Self {
        Self {
            batch: 1,
            input: (1, rows),
            inputs,
            outputs,
            kernel: 1,
            stride: 1,
            vertical_padding: (0, 0),
            horizontal_padding: (0, 0),
            groups: 1,
        }
    }

    /// Height and width of the output.
    pub fn output(&self) -> (usize, usize) {
        let length = |input: usize, (before, after): (usize, usize)| {
            (input + before + after).checked_sub(self.kernel).map_or(0, |rest| rest / self.stride + 1)
        };
        (length(self.input.0, self.vertical_padding), length(self.input.1, self.horizontal_padding))
    }

    /// Values of the output.
    pub fn output_len(&self) -> usize {
        let (height, width) = self.output();
        self.batch * height * width * self.outputs
    }

    /// Values of the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.input.0 * self.input.1 * self.inputs
    }

    /// Values of the weight.
    pub fn weight_len(&self) -> usize {
        self.outputs * self.inputs / self.groups * self.kernel * self.kernel
    }

    /// Whether each of several channels is convolved by itself.
    pub(crate) fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.inputs && self.groups == self.outputs
    }

    fn window(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Whether every pixel is multiplied with the same matrix, as the rows of a linear layer are.
    pub(crate) fn is_linear(&self) -> bool {
        let pads = (self.vertical_padding, self.horizontal_padding) != ((0, 0), (0, 0));
        self.kernel == 1 && self.stride == 1 && self.groups == 1 && !pads
    }

    /// Pixels of all images.
    fn pixels(&self) -> usize {
        self.batch * self.input.0 * self.input.1
    }

    /// Input channels that a group reads, and output channels that it writes.
    fn of_group(&self) -> (usize, usize) {
        (self.inputs / self.groups, self.outputs / self.groups)
    }

    fn forward_axes(&self) -> (Axis, Axis) {
        let (height, width) = self.output();
        (
            Axis::forward(height, self.input.0, self.kernel, self.stride, self.vertical_padding.0),
            Axis::forward(width, self.input.1, self.kernel, self.stride, self.horizontal_padding.0),
        )
    }

    fn backward_axes(&self) -> (Axis, Axis) {
        let (height, width) = self.output();
        (
            Axis::backward(height, self.input.0, self.kernel, self.stride, self.vertical_padding.0),
            Axis::backward(width, self.input.1, self.kernel, self.stride, self.horizontal_padding.0),
        )
    }
}

/// Whether a convolution is computed by Winograd's transforms. They do not go with bfloat16: what they
/// add and subtract is larger than the result, and rounding it loses too much.
fn transforms(shape: &ConvolutionShape, precision: Precision) -> bool {
    precision == Precision::Float32 && winograd::suits(shape)
}

/// What follows the sums of a convolution.
#[derive(Clone, Copy, Debug, Default)]
pub struct After<'a> {
    /// Factor on each output channel.
    pub scale: Option<&'a [f32]>,
    /// Added to each output channel.
    pub shift: Option<&'a [f32]>,
    /// Added element by element, `[batch, height, width, outputs]`.
    pub residual: Option<&'a [f32]>,
    /// Least and largest result.
    pub limits: Option<(f32, f32)>,
}

/// `limits(convolution(x, weight) · scale + shift + residual)`, `[batch, height, width, outputs]`.
///
/// # Panics
/// If the sizes do not fit the shape.
pub fn forward(shape: &ConvolutionShape, x: &[f32], weight: &[f32], after: After, precision: Precision) -> Vec<f32> {
    assert_eq!((x.len(), weight.len()), (shape.input_len(), shape.weight_len()), "sizes of the convolution");
    // SAFETY: every output channel of every pixel is written, by the group that it is in.
    unsafe { filled(shape.output_len(), |y| forward_into(shape, x, weight, after, precision, y)) }
}

fn forward_into(
    shape: &ConvolutionShape,
    x: &[f32],
    weight: &[f32],
    after: After,
    precision: Precision,
    y: &SharedSlice,
) {
    if shape.is_depthwise() {
        return depthwise::forward(shape, x, weight, after, y);
    }
    if transforms(shape, precision) {
        return winograd::forward(shape, x, weight, after, y);
    }
    let reading = Reading::new(shape, x);
    let source = Source::new(precision, reading.source());
    let arranged = reading.arrange(shape, weight);
    let (_, outputs) = shape.of_group();
    for group in 0..shape.groups {
        let scale = after.scale.map_or(Scale::None, |scale| Scale::Columns(&scale[group * outputs..][..outputs]));
        let weights = Weights { matrix: &arranged, layout: reading.weight_layout(shape, group), scale };
        let epilogue = Epilogue {
            shift: after.shift.map(|shift| &shift[group * outputs..][..outputs]),
            residual: after.residual,
            limits: after.limits,
            accumulate: false,
        };
        let place = Destination { offset: group * outputs, stride: shape.outputs };
        source.product(&reading.gather(shape, group), weights, epilogue, y, place);
    }
}

/// The gradient of the input, `[batch, height, width, inputs]`, from `gradient` of the scaled sums.
pub fn input_gradient(
    shape: &ConvolutionShape,
    gradient: &[f32],
    weight: &[f32],
    scale: Option<&[f32]>,
    precision: Precision,
) -> Vec<f32> {
    assert_eq!((gradient.len(), weight.len()), (shape.output_len(), shape.weight_len()), "sizes of the convolution");
    // SAFETY: every input channel of every pixel is written, by the group that it is in.
    unsafe { filled(shape.input_len(), |dx| input_gradient_into(shape, gradient, weight, scale, precision, dx)) }
}

fn input_gradient_into(
    shape: &ConvolutionShape,
    gradient: &[f32],
    weight: &[f32],
    scale: Option<&[f32]>,
    precision: Precision,
    dx: &SharedSlice,
) {
    if shape.is_depthwise() {
        return depthwise::input_gradient(shape, gradient, weight, scale, dx);
    }
    if transforms(shape, precision) {
        return winograd::input_gradient(shape, gradient, weight, scale, dx);
    }
    let (inputs, outputs) = shape.of_group();
    let source = Source::new(precision, gradient);
    for group in 0..shape.groups {
        let layout = MatrixLayout {
            taps: shape.window(),
            depth: outputs,
            columns: inputs,
            start: group * outputs * inputs * shape.window(),
            tap_stride: 1,
            depth_stride: inputs * shape.window(),
            column_stride: shape.window(),
        };
        let scale = scale.map_or(Scale::None, |scale| Scale::Depth(&scale[group * outputs..][..outputs]));
        let gather = gradient_gather(shape, group);
        let place = Destination { offset: group * inputs, stride: shape.inputs };
        let weights = Weights { matrix: weight, layout, scale };
        source.product(&gather, weights, Epilogue::default(), dx, place);
    }
}

/// The outputs that each input pixel reads in the backward pass.
fn gradient_gather(shape: &ConvolutionShape, group: usize) -> Gather {
    if shape.is_linear() {
        return Gather::matrix(shape.pixels(), shape.outputs, 0);
    }
    let (_, outputs) = shape.of_group();
    let (height, width) = shape.output();
    let (vertical, horizontal) = shape.backward_axes();
    Gather::new(
        shape.batch,
        height * width * shape.outputs,
        (vertical, width * shape.outputs),
        (horizontal, shape.outputs),
        group * outputs,
    )
}

/// The gradients of a convolution's weight and of its scale.
pub struct WeightGradient {
    /// As the weight.
    pub weight: Vec<f32>,
    /// One for each output channel, where it was asked for.
    pub scale: Option<Vec<f32>>,
    /// The sum of the gradient for each output channel, where it comes with the weight's.
    pub sums: Option<Vec<f32>>,
}

/// The gradient of the weight from `gradient` of the scaled sums; with the `weight` itself, the
/// gradient of the scale too.
pub fn weight_gradient(
    shape: &ConvolutionShape,
    x: &[f32],
    gradient: &[f32],
    scale: Option<&[f32]>,
    weight: Option<&[f32]>,
    precision: Precision,
) -> WeightGradient {
    assert_eq!((x.len(), gradient.len()), (shape.input_len(), shape.output_len()), "sizes of the convolution");
    let mut sums = None;
    let (left, right) = (Side { values: gradient, width: shape.outputs }, Side { values: x, width: shape.inputs });
    let mut dw = if shape.is_depthwise() {
        let mut dw = vec![0.0; shape.weight_len()];
        sums = Some(depthwise::weight_gradient(shape, x, gradient, &mut dw));
        dw
    } else if shape.is_linear() && suits_outer(precision, shape.pixels(), left, right) {
        let of_outputs = SharedSlice::new(sums.insert(vec![0.0; shape.outputs]));
        let products =
            |dw: &SharedSlice| outer_products(precision, shape.pixels(), left, right, dw, &of_outputs, Threads::All);
        // SAFETY: every sum is written before more is added to it, and is zero where there are no rows.
        unsafe { filled(shape.weight_len(), products) }
    } else {
        // SAFETY: the parts of all groups are the whole weight, and each is written whole.
        let dw = unsafe { filled(shape.weight_len(), |dw| window_gradient(shape, x, gradient, precision, dw)) };
        Reading::restore(shape, dw)
    };
    let scale_gradient = finish_rows(&mut dw, (shape.weight_len() / shape.outputs.max(1)).max(1), scale, weight);
    WeightGradient { weight: dw, scale: scale_gradient, sums }
}

/// Multiplies each output channel's row of a weight gradient by its scale, and returns the gradients of the scales if there is
/// a weight. A row is still in the cache when it is read for the second time.
fn finish_rows(dw: &mut [f32], row: usize, scale: Option<&[f32]>, weight: Option<&[f32]>) -> Option<Vec<f32>> {
    if scale.is_none() && weight.is_none() {
        return None;
    }
    let finish = |(index, dw): (usize, &mut [f32])| {
        let of_scale = weight.map_or(0.0, |weight| dot(dw, &weight[index * row..][..dw.len()]));
        if let Some(scale) = scale {
            dw.iter_mut().for_each(|dw| *dw *= scale[index]);
        }
        of_scale
    };
    let gradients = dw.par_chunks_mut(row).enumerate().map(finish).collect();
    weight.is_some().then_some(gradients)
}

/// The gradient of a weight that is no matrix, as the product leaves it.
fn window_gradient(shape: &ConvolutionShape, x: &[f32], gradient: &[f32], precision: Precision, dw: &SharedSlice) {
    if transforms(shape, precision) {
        let layout = Reading::Pixels(x).weight_layout(shape, 0);
        return winograd::weight_gradient(shape, x, gradient, |part| unpack(&part, layout, dw));
    }
    let reading = Reading::new(shape, x);
    let (_, outputs) = shape.of_group();
    for group in 0..shape.groups {
        let layout = reading.weight_layout(shape, group);
        let product = TransposedProduct {
            gather: &reading.gather(shape, group),
            source: reading.source(),
            depth: layout.depth,
            gradient,
            gradient_offset: group * outputs,
            gradient_stride: shape.outputs,
            columns: outputs,
            precision,
        };
        transposed_product(product, Threads::All, |part| unpack(&part, layout, dw));
    }
}

/// Depths that are unpacked together, so that what is read of a tap stays in the cache.
const DEPTHS_TOGETHER: usize = 16;

/// Writes a part of a weight gradient where the weight keeps it.
fn unpack(part: &Part, layout: MatrixLayout, weight: &SharedSlice) {
    let MatrixLayout { taps, tap_stride, depth_stride, .. } = layout;
    match (taps, tap_stride, depth_stride) {
        (9, 1, 9) => unpack_side_by_side::<9>(part, layout, weight),
        _ => unpack_apart(part, layout, weight),
    }
}

/// The same where the taps of a depth are neighbors, and so are the depths of a column.
fn unpack_side_by_side<const TAPS: usize>(part: &Part, layout: MatrixLayout, weight: &SharedSlice) {
    let (depths, strides) = (part.depths.len(), part.strides);
    for block in (0..depths).step_by(DEPTHS_TOGETHER) {
        let count = DEPTHS_TOGETHER.min(depths - block);
        for (lane, column) in part.columns.clone().enumerate() {
            let at = layout.start + column * layout.column_stride + (part.depths.start + block) * TAPS;
            // SAFETY: parts differ in their columns or depths, so their elements do too.
            let out = unsafe { weight.part(at, count * TAPS) }.as_chunks_mut::<TAPS>().0;
            let first = block * strides.depth + lane * strides.column;
            for tap in 0..TAPS {
                let values = part.values[first + tap * strides.tap..].iter().step_by(strides.depth);
                out.iter_mut().zip(values).for_each(|(out, value)| out[tap] = *value);
            }
        }
    }
}

/// The same of elements that lie in any order.
fn unpack_apart(part: &Part, layout: MatrixLayout, weight: &SharedSlice) {
    let MatrixLayout { taps, start, tap_stride, depth_stride, column_stride, .. } = layout;
    let (depths, strides) = (part.depths.len(), part.strides);
    for block in (0..depths).step_by(DEPTHS_TOGETHER) {
        for (lane, column) in part.columns.clone().enumerate() {
            for k in block..depths.min(block + DEPTHS_TOGETHER) {
                let at = start + (part.depths.start + k) * depth_stride + column * column_stride;
                for tap in 0..taps {
                    // SAFETY: parts differ in their columns or depths, so their elements do too.
                    let out = unsafe { weight.part(at + tap * tap_stride, 1) };
                    out[0] = part.values[tap * strides.tap + k * strides.depth + lane * strides.column];
                }
            }
        }
    }
}

/// The input as the product reads it.
enum Reading<'a> {
    /// Pixel by pixel, a tap for each place of the window.
    Pixels(&'a [f32]),
    /// The lines of a window whole, a tap for each: with few channels a pixel is too short a row.
    /// The copy has the padding in it.
    Lines { padded: Cow<'a, [f32]>, height: usize, width: usize },
}

impl<'a> Reading<'a> {
    /// Whether a window's lines are read whole.
    fn are_lines(shape: &ConvolutionShape) -> bool {
        shape.groups == 1 && shape.inputs < FEW_CHANNELS && shape.kernel > 1
    }

    fn new(shape: &ConvolutionShape, x: &'a [f32]) -> Self {
        if !Self::are_lines(shape) {
            return Self::Pixels(x);
        }
        let (out_height, out_width) = shape.output();
        let height = out_height.saturating_sub(1) * shape.stride + shape.kernel;
        let width = out_width.saturating_sub(1) * shape.stride + shape.kernel;
        let (top, left) = (shape.vertical_padding.0, shape.horizontal_padding.0);
        if (height, width) == shape.input && (top, left) == (0, 0) {
            return Self::Lines { padded: x.into(), height, width };
        }
        let line = width * shape.inputs;
        let before = left.min(width) * shape.inputs;
        let copied = shape.input.1 * shape.inputs;
        let line_of = |index: usize| {
            let (image, y) = (index / height, (index % height).checked_sub(top).filter(|y| *y < shape.input.0)?);
            Some(&x[(image * shape.input.0 + y) * copied..][..copied])
        };
        let fill = |padded: &SharedSlice| {
            (0..shape.batch * height).into_par_iter().for_each(|index| {
                // SAFETY: every task has a line of its own.
                let to = unsafe { padded.part(index * line, line) };
                let from = line_of(index).unwrap_or_default();
                let end = line.min(before + from.len());
                to[..before].fill(0.0);
                to[before..end].copy_from_slice(&from[..end - before]);
                to[end..].fill(0.0);
            });
        };
        // SAFETY: every line is written whole.
        let padded = unsafe { filled(shape.batch * height * line, fill) };
        Self::Lines { padded: padded.into(), height, width }
    }

    fn source(&self) -> &[f32] {
        match self {
            Self::Pixels(x) => x,
            Self::Lines { padded, .. } => padded,
        }
    }

    fn gather(&self, shape: &ConvolutionShape, group: usize) -> Gather {
        let channels = shape.inputs;
        match self {
            Self::Pixels(_) if shape.is_linear() => Gather::matrix(shape.pixels(), channels, 0),
            Self::Pixels(_) => {
                let (vertical, horizontal) = shape.forward_axes();
                let (height, width) = shape.input;
                let start = group * shape.of_group().0;
                Gather::new(
                    shape.batch,
                    height * width * channels,
                    (vertical, width * channels),
                    (horizontal, channels),
                    start,
                )
            }
            Self::Lines { height, width, .. } => {
                let (out_height, out_width) = shape.output();
                let vertical = Axis::forward(out_height, *height, shape.kernel, shape.stride, 0);
                let horizontal = Axis::strided(out_width, shape.stride);
                let image = height * width * channels;
                Gather::new(shape.batch, image, (vertical, width * channels), (horizontal, channels), 0)
            }
        }
    }

    /// How the arranged weight of a group lies in memory, taps and depths as this reading has them.
    fn weight_layout(&self, shape: &ConvolutionShape, group: usize) -> MatrixLayout {
        let (inputs, outputs) = shape.of_group();
        let window = shape.window();
        match self {
            Self::Pixels(_) => MatrixLayout {
                taps: window,
                depth: inputs,
                columns: outputs,
                start: group * outputs * inputs * window,
                tap_stride: 1,
                depth_stride: window,
                column_stride: inputs * window,
            },
            Self::Lines { .. } => MatrixLayout {
                taps: shape.kernel,
                depth: shape.kernel * inputs,
                columns: outputs,
                start: 0,
                tap_stride: shape.kernel * inputs,
                depth_stride: 1,
                column_stride: inputs * window,
            },
        }
    }

    /// The weight in the order in which this reading meets its elements.
    fn arrange<'w>(&self, shape: &ConvolutionShape, weight: &'w [f32]) -> Cow<'w, [f32]> {
        match self {
            Self::Pixels(_) => weight.into(),
            Self::Lines { .. } => swap_inner(weight, shape.inputs, shape.window()).into(),
        }
    }

    /// The opposite of `arrange`, for a gradient.
    fn restore(shape: &ConvolutionShape, gradient: Vec<f32>) -> Vec<f32> {
        match Self::are_lines(shape) {
            false => gradient,
            true => swap_inner(&gradient, shape.window(), shape.inputs),
        }
    }
}

/// `[…, rows, columns]` to `[…, columns, rows]`.
fn swap_inner(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut swapped = vec![0.0; values.len()];
    let size = (rows * columns).max(1);
    for (from, to) in values.chunks_exact(size).zip(swapped.chunks_exact_mut(size)) {
        for (index, value) in from.iter().enumerate() {
            to[index % columns * rows + index / columns] = *value;
        }
    }
    swapped
}
