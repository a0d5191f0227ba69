//! Dense convolutions as matrix products (im2col), made of Burn's operations.
//!
//! The values under each window are copied to a row, and the rows are multiplied with the weights. Graphics cards multiply
//! matrices by units of their own; Burn's convolutions do not use them unless it may try dozens of kernels for each shape.

use std::ops::Range;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Shape, Slice, Tensor};

use crate::convolution::ConvolutionShape;

/// Values that rows take at once, a gigabyte; a batch that needs more goes in parts. Many of WebGPU's devices bind no more than twice
/// that.
const VALUES_AT_ONCE: usize = 1 << 28;

/// Values of a weight's gradient that are summed apart before they are added up. The sum over all windows is long and its result
/// small, so a card would have too little to do side by side.
const VALUES_APART: usize = 1 << 24;

/// The convolution of `x` `[batch, height, width, inputs]` with `weight` `[outputs, inputs, kernel, kernel]`, without groups.
///
/// # Panics
/// If the sizes do not fit the shape, or it has groups or no images.
pub(super) fn convolution_by_rows(x: Tensor<4>, weight: Tensor<4>, shape: ConvolutionShape) -> Tensor<4> {
    assert_eq!(shape.groups, 1, "groups are not made of one product");
    assert!(shape.batch > 0, "a batch has an image");
    Tensor::from_dispatch(Dispatch::convolution_by_rows(x.into_dispatch(), weight.into_dispatch(), shape))
}

/// Backends with convolutions by rows.
#[backend_extension(Flex, Cube: cfg(any(feature = "cuda", feature = "wgpu")), Autodiff)]
pub trait RowsBackend: Backend {
    /// The convolution of `x` with `weight`.
    fn convolution_by_rows(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        shape: ConvolutionShape,
    ) -> FloatTensor<Self> {
        forward::<Self>(x, weight, &shape)
    }
}

impl RowsBackend for Flex {}

#[cfg(any(feature = "cuda", feature = "wgpu"))]
impl RowsBackend for burn::backend::Cube {}

impl<B: Backend, C: CheckpointStrategy> RowsBackend for Autodiff<B, C> {
    fn convolution_by_rows(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        shape: ConvolutionShape,
    ) -> FloatTensor<Self> {
        let [x_is_tracked, weight_is_tracked] = [&x, &weight].map(is_tracked::<B, C>);
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let output = forward::<B>(x.clone(), weight.clone(), &shape);
        match Backward::<B, 2>::prepare::<C>(ConvolutionBackward, [x_node, weight_node]).compute_bound().stateful() {
            OpsKind::Tracked(tracked) => {
                let (x, weight) = (weight_is_tracked.then_some(x), x_is_tracked.then_some(weight));
                tracked.finish(State { x, weight, shape }, output)
            }
            OpsKind::UnTracked(untracked) => untracked.finish(output),
        }
    }
}

/// Whether a tensor depends on one that gradients are asked for. Burn tells only an operation in preparation, so one is prepared and
/// dropped.
fn is_tracked<B: Backend, C: CheckpointStrategy>(tensor: &FloatTensor<Autodiff<B, C>>) -> bool {
    let preparation = Backward::<B, 2>::prepare::<C>(ConvolutionBackward, [tensor.node(), tensor.node()]);
    matches!(preparation.compute_bound().stateful(), OpsKind::Tracked(_))
}

#[derive(Debug)]
struct ConvolutionBackward;

/// Each side is kept where the other one gets a gradient.
#[derive(Clone, Debug)]
struct State<B: Backend> {
    x: Option<FloatTensor<B>>,
    weight: Option<FloatTensor<B>>,
    shape: ConvolutionShape,
}

impl<B: Backend> Backward<B, 2> for ConvolutionBackward {
    type State = State<B>;

    fn backward(self, ops: Ops<State<B>, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let State { x, weight, shape } = ops.state;
        let gradient = gradients.consume::<B>(&ops.node);
        let [x_parent, weight_parent] = ops.parents;
        if let Some((parent, x)) = weight_parent.zip(x) {
            gradients.register::<B>(parent.id, weight_gradient::<B>(x, gradient.clone(), &shape));
        }
        if let Some((parent, weight)) = x_parent.zip(weight) {
            gradients.register::<B>(parent.id, input_gradient::<B>(gradient, weight, &shape));
        }
    }
}

fn forward<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>, shape: &ConvolutionShape) -> FloatTensor<B> {
    let (height, width) = shape.output();
    let matrix = B::float_reshape(B::float_permute(weight, &[2, 3, 1, 0]), Shape::new([row_len(shape), shape.outputs]));
    let of_part = |(part, images): (ConvolutionShape, Range<usize>)| {
        let sums = B::float_matmul(rows::<B>(of_images::<B>(x.clone(), images), &part), matrix.clone());
        B::float_reshape(sums, Shape::new([part.batch, height, width, shape.outputs]))
    };
    joined::<B>(parts(shape).map(of_part).collect())
}

/// The weight's gradient, in its shape.
fn weight_gradient<B: Backend>(
    x: FloatTensor<B>,
    gradient: FloatTensor<B>,
    shape: &ConvolutionShape,
) -> FloatTensor<B> {
    let (kernel, outputs) = (shape.kernel, shape.outputs);
    let of_part = |(part, images): (ConvolutionShape, Range<usize>)| {
        let apart = sums_apart(&part);
        let windows = windows(&part) / apart;
        let in_parts = |rows, columns| B::float_reshape(rows, Shape::new([apart, windows, columns]));
        let rows = in_parts(rows::<B>(of_images::<B>(x.clone(), images.clone()), &part), row_len(shape));
        let gradient = in_parts(of_images::<B>(gradient.clone(), images), outputs);
        B::float_sum_dim(B::float_matmul(B::float_transpose(rows), gradient), 0)
    };
    let sum = parts(shape).map(of_part).reduce(B::float_add).expect("a batch has an image, and so a part");
    let by_tap = B::float_reshape(sum, Shape::new([kernel, kernel, shape.inputs, outputs]));
    B::float_permute(by_tap, &[3, 2, 0, 1])
}

fn input_gradient<B: Backend>(
    gradient: FloatTensor<B>,
    weight: FloatTensor<B>,
    shape: &ConvolutionShape,
) -> FloatTensor<B> {
    if let Some(transposed) = transposed(shape) {
        let weight = B::float_swap_dims(B::float_flip(weight, &[2, 3]), 0, 1);
        return forward::<B>(gradient, weight, &transposed);
    }
    let (taps, inputs, outputs) = (shape.kernel * shape.kernel, shape.inputs, shape.outputs);
    let matrix = B::float_reshape(B::float_permute(weight, &[0, 2, 3, 1]), Shape::new([outputs, taps * inputs]));
    let of_part = |(part, images): (ConvolutionShape, Range<usize>)| {
        let gradient = of_images::<B>(gradient.clone(), images);
        let gradient = B::float_reshape(gradient, Shape::new([windows(&part), outputs]));
        from_rows::<B>(B::float_matmul(gradient, matrix.clone()), &part)
    };
    joined::<B>(parts(shape).map(of_part).collect())
}

/// The convolution that makes the input's gradient of the output's, with the weight turned around; `None` if windows step over places,
/// or are padded beyond their own size.
fn transposed(shape: &ConvolutionShape) -> Option<ConvolutionShape> {
    let around = |(before, after): (usize, usize)| {
        Some(((shape.kernel - 1).checked_sub(before)?, (shape.kernel - 1).checked_sub(after)?))
    };
    (shape.stride == 1).then_some(())?;
    Some(ConvolutionShape {
        input: shape.output(),
        inputs: shape.outputs,
        outputs: shape.inputs,
        vertical_padding: around(shape.vertical_padding)?,
        horizontal_padding: around(shape.horizontal_padding)?,
        ..*shape
    })
}

fn row_len(shape: &ConvolutionShape) -> usize {
    shape.kernel * shape.kernel * shape.inputs
}

/// Windows of all images.
fn windows(shape: &ConvolutionShape) -> usize {
    let (height, width) = shape.output();
    shape.batch * height * width
}

/// Parts of the batch whose rows are not too many at once, as convolutions and ranges of images.
fn parts(shape: &ConvolutionShape) -> impl Iterator<Item = (ConvolutionShape, Range<usize>)> {
    let shape = *shape;
    let of_image = windows(&ConvolutionShape { batch: 1, ..shape }) * row_len(&shape);
    let images = if shape.is_linear() { shape.batch } else { (VALUES_AT_ONCE / of_image.max(1)).max(1) };
    (0..shape.batch).step_by(images.max(1)).map(move |start| {
        let end = (start + images).min(shape.batch);
        (ConvolutionShape { batch: end - start, ..shape }, start..end)
    })
}

/// Into how many sums over as many images a weight's gradient is divided.
fn sums_apart(shape: &ConvolutionShape) -> usize {
    let most = VALUES_APART / (row_len(shape) * shape.outputs).max(1);
    (1..=shape.batch.min(most)).rev().find(|&apart| shape.batch.is_multiple_of(apart)).unwrap_or(1)
}

fn of_images<B: Backend>(maps: FloatTensor<B>, images: Range<usize>) -> FloatTensor<B> {
    if maps.shape()[0] == images.len() { maps } else { B::float_slice(maps, &[Slice::from(images)]) }
}

fn joined<B: Backend>(mut parts: Vec<FloatTensor<B>>) -> FloatTensor<B> {
    if parts.len() == 1 { parts.remove(0) } else { B::float_cat(parts, 0) }
}

/// What each window sees, `[windows, kernel · kernel · inputs]`.
fn rows<B: Backend>(x: FloatTensor<B>, shape: &ConvolutionShape) -> FloatTensor<B> {
    let (height, width) = shape.output();
    let (kernel, inputs) = (shape.kernel, shape.inputs);
    let matrix = Shape::new([windows(shape), row_len(shape)]);
    if shape.is_linear() {
        return B::float_reshape(x, matrix);
    }
    if tiles(shape) {
        let tiles = B::float_reshape(x, Shape::new([shape.batch, height, kernel, width, kernel, inputs]));
        return B::float_reshape(B::float_permute(tiles, &[0, 1, 3, 2, 4, 5]), matrix);
    }
    let rows = Shape::new([shape.batch, height, width, row_len(shape)]);
    let zeros = B::float_zeros(rows, &x.device(), x.dtype().into());
    let rows = taps(shape)
        .fold(zeros, |rows, tap| B::float_slice_assign(rows, &tap.in_rows, B::float_slice(x.clone(), &tap.in_input)));
    B::float_reshape(rows, matrix)
}

/// The sums of what the windows that see a place have for it, from `[windows, kernel · kernel · inputs]`.
fn from_rows<B: Backend>(rows: FloatTensor<B>, shape: &ConvolutionShape) -> FloatTensor<B> {
    let (height, width) = shape.output();
    let (kernel, inputs) = (shape.kernel, shape.inputs);
    let map = Shape::new([shape.batch, shape.input.0, shape.input.1, inputs]);
    if tiles(shape) {
        let tiles = B::float_reshape(rows, Shape::new([shape.batch, height, width, kernel, kernel, inputs]));
        return B::float_reshape(B::float_permute(tiles, &[0, 1, 3, 2, 4, 5]), map);
    }
    let zeros = B::float_zeros(map, &rows.device(), rows.dtype().into());
    let rows = B::float_reshape(rows, Shape::new([shape.batch, height, width, row_len(shape)]));
    taps(shape).fold(zeros, |sums, tap| {
        let found = B::float_slice(rows.clone(), &tap.in_rows);
        let sum = if kernel > shape.stride {
            B::float_add(B::float_slice(sums.clone(), &tap.in_input), found)
        } else {
            found
        };
        B::float_slice_assign(sums, &tap.in_input, sum)
    })
}

/// Whether the windows divide the map among them.
fn tiles(shape: &ConvolutionShape) -> bool {
    let pads = (shape.vertical_padding, shape.horizontal_padding) != ((0, 0), (0, 0));
    let divides = |length: usize| length.is_multiple_of(shape.kernel);
    shape.stride == shape.kernel && !pads && divides(shape.input.0) && divides(shape.input.1)
}

/// A place in a window: what all windows see there.
struct Tap {
    /// Its part of the rows `[batch, height, width, kernel · kernel · inputs]`, without windows that see padding there.
    in_rows: [Slice; 4],
    /// The places of the input that it is a copy of.
    in_input: [Slice; 4],
}

/// The places in a window, except those that no window has inside the map.
fn taps(shape: &ConvolutionShape) -> impl Iterator<Item = Tap> {
    let (shape, output) = (*shape, shape.output());
    let places = (0..shape.kernel).flat_map(move |y| (0..shape.kernel).map(move |x| (y, x)));
    places.filter_map(move |(y, x)| {
        let (rows, lines) = seen(y, output.0, shape.input.0, shape.stride, shape.vertical_padding.0)?;
        let (columns, places) = seen(x, output.1, shape.input.1, shape.stride, shape.horizontal_padding.0)?;
        let first = (y * shape.kernel + x) * shape.inputs;
        let images = Slice::from(0..shape.batch);
        Some(Tap {
            in_rows: [images, rows, columns, Slice::from(first..first + shape.inputs)],
            in_input: [images, lines, places, Slice::from(0..shape.inputs)],
        })
    })
}

/// The windows along a direction that see the map at `tap`, and the places that they see there; `None` if none does.
fn seen(tap: usize, windows: usize, places: usize, stride: usize, padding: usize) -> Option<(Slice, Slice)> {
    let first = padding.saturating_sub(tap).div_ceil(stride);
    let last = ((places + padding).checked_sub(tap + 1)? / stride).min(windows.checked_sub(1)?);
    let count = (last + 1).checked_sub(first).filter(|&count| count > 0)?;
    let start = first * stride + tap - padding;
    let end = start + (count - 1) * stride + 1;
    Some((Slice::from(first..first + count), Slice::new(start as isize, Some(end as isize), stride as isize)))
}

#[cfg(test)]
mod tests {
    use burn::tensor::module::conv2d;
    use burn::tensor::ops::ConvOptions;
    use burn::tensor::{Device, TensorData};
    use proptest::prelude::*;

    use super::*;
    use crate::operators::{channels_first, channels_last};

    fn tensor(shape: [usize; 4], phase: f32) -> Tensor<4> {
        let count = shape.iter().product::<usize>();
        let values: Vec<f32> = (0..count).map(|index| (index as f32).mul_add(0.7, phase).sin()).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex().autodiff()).require_grad()
    }

    fn weight_shape(shape: &ConvolutionShape) -> [usize; 4] {
        [shape.outputs, shape.inputs, shape.kernel, shape.kernel]
    }

    /// The output, and the gradients of both sides.
    fn all_of(shape: &ConvolutionShape, operator: impl Fn(Tensor<4>, Tensor<4>) -> Tensor<4>) -> [Tensor<4>; 3] {
        let x = tensor([shape.batch, shape.input.0, shape.input.1, shape.inputs], 0.2);
        let weight = tensor(weight_shape(shape), 0.5);
        let output = operator(x.clone(), weight.clone());
        let factors = tensor(output.dims(), 0.9);
        let gradients = (output.clone() * factors).sum().backward();
        [output.inner(), x.grad(&gradients).unwrap(), weight.grad(&gradients).unwrap()]
    }

    /// The largest difference from Burn's own convolution.
    fn difference(shape: &ConvolutionShape) -> f32 {
        let padding = [shape.vertical_padding, shape.horizontal_padding];
        let options = ConvOptions::new_with_padding([shape.stride; 2], padding, [1, 1], 1);
        let expected =
            all_of(shape, |x, weight| channels_last(conv2d(channels_first(x), weight, None, options.clone())));
        let found = all_of(shape, |x, weight| convolution_by_rows(x, weight, *shape));
        let apart = found.into_iter().zip(expected).map(|(found, expected)| {
            assert_eq!(found.dims(), expected.dims());
            (found - expected).abs().max().into_scalar::<f32>()
        });
        apart.fold(0.0, f32::max)
    }

    fn shapes() -> impl Strategy<Value = ConvolutionShape> {
        let sizes = (1usize..4, 1usize..12, 1usize..12, 1usize..6, 1usize..6);
        let padding = ((0usize..4, 0usize..4), (0usize..4, 0usize..4));
        (sizes, 1usize..5, 1usize..5, padding).prop_filter_map(
            "windows fit",
            |((batch, height, width, inputs, outputs), kernel, stride, (vertical_padding, horizontal_padding))| {
                let input = (height, width);
                let shape = ConvolutionShape {
                    batch,
                    input,
                    inputs,
                    outputs,
                    kernel,
                    stride,
                    vertical_padding,
                    horizontal_padding,
                    groups: 1,
                };
                let (height, width) = shape.output();
                (height * width > 0).then_some(shape)
            },
        )
    }

    proptest! {
        /// Sums of up to 432 products of values up to 1, in another order.
        #[test]
        fn convolutions_and_their_gradients_are_burns(shape in shapes()) {
            prop_assert!(difference(&shape) < 2e-4, "{}", difference(&shape));
        }
    }

    /// Windows side by side (the first layer of a vision transformer), points (with steps, too), and a deep window.
    #[test]
    fn kinds_of_windows_are_burns() {
        for (kernel, stride, padding) in [(4, 4, 0), (1, 1, 0), (1, 2, 0), (7, 2, 3), (3, 1, 1), (3, 1, 0)] {
            let padding = (padding, padding);
            let shape = ConvolutionShape {
                batch: 2,
                input: (12, 16),
                inputs: 3,
                outputs: 5,
                kernel,
                stride,
                vertical_padding: padding,
                horizontal_padding: padding,
                groups: 1,
            };
            assert!(difference(&shape) < 2e-4, "{kernel} by {kernel}, steps of {stride}");
        }
    }
}
