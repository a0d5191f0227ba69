//! Dense convolutions as matrix products (im2col).
//!
//! The values under each window are copied to a row, and the rows are multiplied with the weights. Graphics cards multiply
//! matrices by units of their own; Burn's convolutions do not use them unless it may try dozens of kernels for each shape.

use std::ops::Range;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{Shape, Slice};

use crate::card::CardKernels;
use crate::convolution::ConvolutionShape;

/// Values that rows take at once, 128 MiB; a batch that needs more goes in parts. On an H200, ResNet-18's steps took 14 to 20 % less
/// time than with a gigabyte.
const VALUES_AT_ONCE: usize = 1 << 25;

/// Values of a weight's gradient that are summed apart before they are added up. The sum over all windows is long and its result
/// small, so a card would have too little to do side by side.
const VALUES_APART: usize = 1 << 24;

/// Windows that are summed together at least.
const WINDOWS_OF_A_SUM: usize = 128;

/// The convolution of `x` `[batch, height, width, inputs]` with `weight` `[outputs, inputs, kernel, kernel]`, without groups.
pub(super) fn forward<B: CardKernels>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    shape: &ConvolutionShape,
) -> FloatTensor<B> {
    let (height, width) = shape.output();
    let matrix = if shape.kernel == 1 {
        B::float_swap_dims(B::float_reshape(weight, Shape::new([shape.outputs, shape.inputs])), 0, 1)
    } else {
        B::float_reshape(B::float_permute(weight, &[2, 3, 1, 0]), Shape::new([row_len(shape), shape.outputs]))
    };
    let of_part = |(part, images): (ConvolutionShape, Range<usize>)| {
        let sums = B::multiply(rows::<B>(of_images::<B>(x.clone(), images), &part), matrix.clone());
        B::float_reshape(sums, Shape::new([part.batch, height, width, shape.outputs]))
    };
    joined::<B>(parts(shape).map(of_part).collect())
}

/// The weight's gradient, in its shape.
pub(super) fn weight_gradient<B: CardKernels>(
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
        let products = B::multiply(B::float_transpose(gradient), rows);
        B::sum_rows(B::float_reshape(products, Shape::new([apart, outputs * row_len(&part)])))
    };
    let sum = parts(shape).map(of_part).reduce(B::float_add).expect("a batch has an image, and so a part");
    let by_tap = B::float_reshape(sum, Shape::new([outputs, kernel, kernel, shape.inputs]));
    B::float_permute(by_tap, &[0, 3, 1, 2])
}

/// The input's gradient, in its shape.
pub(super) fn input_gradient<B: CardKernels>(
    gradient: FloatTensor<B>,
    weight: FloatTensor<B>,
    shape: &ConvolutionShape,
) -> FloatTensor<B> {
    if let Some(transposed) = transposed(shape) {
        let turned = if shape.kernel == 1 { weight } else { B::float_flip(weight, &[2, 3]) };
        return forward::<B>(gradient, B::float_swap_dims(turned, 0, 1), &transposed);
    }
    let (taps, inputs, outputs) = (shape.kernel * shape.kernel, shape.inputs, shape.outputs);
    let matrix = B::float_reshape(B::float_permute(weight, &[0, 2, 3, 1]), Shape::new([outputs, taps * inputs]));
    let of_part = |(part, images): (ConvolutionShape, Range<usize>)| {
        let gradient = of_images::<B>(gradient.clone(), images);
        let gradient = B::float_reshape(gradient, Shape::new([windows(&part), outputs]));
        B::add_rows(B::multiply(gradient, matrix.clone()), part)
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

/// Into how many sums over as many windows a weight's gradient is divided.
fn sums_apart(shape: &ConvolutionShape) -> usize {
    let windows = windows(shape);
    let most = (VALUES_APART / (row_len(shape) * shape.outputs).max(1)).min(windows / WINDOWS_OF_A_SUM);
    (1..=most).rev().find(|&apart| windows.is_multiple_of(apart)).unwrap_or(1)
}

fn of_images<B: Backend>(maps: FloatTensor<B>, images: Range<usize>) -> FloatTensor<B> {
    if maps.shape()[0] == images.len() { maps } else { B::float_slice(maps, &[Slice::from(images)]) }
}

fn joined<B: Backend>(mut parts: Vec<FloatTensor<B>>) -> FloatTensor<B> {
    if parts.len() == 1 { parts.remove(0) } else { B::float_cat(parts, 0) }
}

/// What each window sees, `[windows, kernel · kernel · inputs]`.
fn rows<B: CardKernels>(x: FloatTensor<B>, shape: &ConvolutionShape) -> FloatTensor<B> {
    if shape.is_linear() {
        return B::float_reshape(x, Shape::new([windows(shape), row_len(shape)]));
    }
    B::window_rows(x, *shape)
}
