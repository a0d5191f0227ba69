//! What Burn computes slowly on graphics cards, by kernels of our own there.

#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod layout;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod product;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod rows;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod sums;
#[cfg(any(feature = "cuda", feature = "wgpu"))]
mod windows;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Shape, Slice};

use crate::convolution::ConvolutionShape;

/// What has kernels on graphics cards: sums, products, normalization, softmax, and windows. Elsewhere it is made of Burn's operations,
/// as a reference.
///
/// Maps are `[batch, height, width, channels]`. None has a gradient.
#[backend_extension(Flex, Cube: cfg(any(feature = "cuda", feature = "wgpu")), Fusion: cfg(feature = "cuda"))]
pub trait CardKernels: Backend {
    /// The sum over all dimensions but the last, `[columns]`.
    #[fusion(dtype = x, shape = Shape::new([x[x.num_dims() - 1]]))]
    fn sum_rows(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let columns = last(&x);
        let rows = x.shape().num_elements() / columns.max(1);
        let sums = Self::float_sum_dim(Self::float_reshape(x, Shape::new([rows, columns])), 0);
        Self::float_reshape(sums, Shape::new([columns]))
    }

    /// The products of matrices `[.., rows, depth]` and `[.., depth, columns]`, with the same dimensions before.
    #[fusion(dtype = left, shape = product_shape(left, right))]
    fn multiply(left: FloatTensor<Self>, right: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_matmul(left, right)
    }

    /// Each row of the last dimension, normalized: `(x − mean) / √(variance + epsilon) · weight + bias`.
    #[fusion(dtype = x, shape = x)]
    fn normalize_rows(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let rank = x.rank();
        let (normalized, _) = normalized_rows::<Self>(x, epsilon);
        let scaled = Self::float_mul(normalized, along_last::<Self>(weight, rank));
        Self::float_add(scaled, along_last::<Self>(bias, rank))
    }

    /// For [`normalize_rows`](Self::normalize_rows): the gradient of `x`; and, for each value, the gradient of the output times what was
    /// normalized, whose sum over rows is the gradient of the weight. Both have the shape of `x`.
    #[fusion(meta = |x, _, _, _| (x.clone(), x.clone()))]
    fn normalize_rows_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let rank = x.rank();
        let (normalized, inverse) = normalized_rows::<Self>(x, epsilon);
        let products = Self::float_mul(gradient.clone(), normalized.clone());
        let gradient = Self::float_mul(gradient, along_last::<Self>(weight, rank));
        let along = Self::float_mean_dim(Self::float_mul(gradient.clone(), normalized.clone()), rank - 1);
        let across = Self::float_sub(gradient.clone(), Self::float_mean_dim(gradient, rank - 1));
        let dx = Self::float_mul(Self::float_sub(across, Self::float_mul(normalized, along)), inverse);
        (dx, products)
    }

    /// The softmax of `x · scale` over the last dimension.
    #[fusion(dtype = x, shape = x)]
    fn softmax_rows(x: FloatTensor<Self>, scale: f64) -> FloatTensor<Self> {
        let last = x.rank() - 1;
        let x = Self::float_mul_scalar(x, scale.into());
        let largest = Self::float_max_dim(x.clone(), last);
        let exponentials = Self::float_exp(Self::float_sub(x, largest));
        let sums = Self::float_sum_dim(exponentials.clone(), last);
        Self::float_div(exponentials, sums)
    }

    /// The gradient of the input of [`softmax_rows`](Self::softmax_rows), from its output `weights`: `scale · weights · (gradient − Σ weights · gradient)`.
    #[fusion(dtype = weights, shape = weights)]
    fn softmax_rows_backward(weights: FloatTensor<Self>, gradient: FloatTensor<Self>, scale: f64) -> FloatTensor<Self> {
        let last = weights.rank() - 1;
        let sums = Self::float_sum_dim(Self::float_mul(weights.clone(), gradient.clone()), last);
        let found = Self::float_mul(weights, Self::float_sub(gradient, sums));
        Self::float_mul_scalar(found, scale.into())
    }

    /// For a weight `[outputs, ..]` that was multiplied by a factor for each output: its gradient and that of the factors.
    #[fusion(meta = |weight, scale, _| (weight.clone(), scale.clone()))]
    fn scale_rows_backward(
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (shape, outputs) = (weight.shape(), scale.shape().num_elements());
        let of_outputs = Shape::new([outputs, shape.num_elements() / outputs.max(1)]);
        let [weight, gradient] = [weight, gradient].map(|side| Self::float_reshape(side, of_outputs.clone()));
        let sums = Self::float_sum_dim(Self::float_mul(gradient.clone(), weight), 1);
        let scaled = Self::float_mul(gradient, Self::float_reshape(scale, Shape::new([outputs, 1])));
        (Self::float_reshape(scaled, shape), Self::float_reshape(sums, Shape::new([outputs])))
    }

    /// What each window sees of `x`, `[windows, kernel · kernel · inputs]`.
    #[fusion(dtype = x, shape = rows_shape(of))]
    fn window_rows(x: FloatTensor<Self>, of: ConvolutionShape) -> FloatTensor<Self> {
        let (height, width) = of.output();
        let rows = Shape::new([of.batch, height, width, of.kernel * of.kernel * of.inputs]);
        let zeros = Self::float_zeros(rows, &x.device(), x.dtype().into());
        let rows = taps(&of).fold(zeros, |rows, tap| {
            Self::float_slice_assign(rows, &tap.in_rows, Self::float_slice(x.clone(), &tap.in_input))
        });
        Self::float_reshape(rows, rows_shape(&of))
    }

    /// The sums of what the windows that see a place have for it in `rows`, which are as in [`window_rows`](Self::window_rows).
    #[fusion(dtype = rows, shape = input_shape(of))]
    fn add_rows(rows: FloatTensor<Self>, of: ConvolutionShape) -> FloatTensor<Self> {
        let (height, width) = of.output();
        let zeros = Self::float_zeros(input_shape(&of), &rows.device(), rows.dtype().into());
        let rows = Self::float_reshape(rows, Shape::new([of.batch, height, width, of.kernel * of.kernel * of.inputs]));
        taps(&of).fold(zeros, |sums, tap| {
            let found = Self::float_slice(rows.clone(), &tap.in_rows);
            let sum = Self::float_add(Self::float_slice(sums.clone(), &tap.in_input), found);
            Self::float_slice_assign(sums, &tap.in_input, sum)
        })
    }

    /// The convolution of each channel of `x` by itself with `weight` `[channels, 1, kernel, kernel]`.
    #[fusion(dtype = x, shape = output_shape(of))]
    fn depthwise(x: FloatTensor<Self>, weight: FloatTensor<Self>, of: ConvolutionShape) -> FloatTensor<Self> {
        let zeros = Self::float_zeros(output_shape(&of), &x.device(), x.dtype().into());
        taps(&of).fold(zeros, |sums, tap| {
            let seen = Self::float_mul(Self::float_slice(x.clone(), &tap.in_input), at_tap::<Self>(&weight, &tap, &of));
            let sum = Self::float_add(Self::float_slice(sums.clone(), &tap.in_output), seen);
            Self::float_slice_assign(sums, &tap.in_output, sum)
        })
    }

    /// The gradient of the input of [`depthwise`](Self::depthwise), a map.
    #[fusion(dtype = gradient, shape = input_shape(of))]
    fn depthwise_input_gradient(
        gradient: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        of: ConvolutionShape,
    ) -> FloatTensor<Self> {
        let zeros = Self::float_zeros(input_shape(&of), &gradient.device(), gradient.dtype().into());
        taps(&of).fold(zeros, |sums, tap| {
            let gradient = Self::float_slice(gradient.clone(), &tap.in_output);
            let found = Self::float_mul(gradient, at_tap::<Self>(&weight, &tap, &of));
            let sum = Self::float_add(Self::float_slice(sums.clone(), &tap.in_input), found);
            Self::float_slice_assign(sums, &tap.in_input, sum)
        })
    }

    /// The gradient of the weight of [`depthwise`](Self::depthwise), `[channels, 1, kernel, kernel]`.
    #[fusion(dtype = gradient, shape = Shape::new([of.inputs, 1, of.kernel, of.kernel]))]
    fn depthwise_weight_gradient(
        x: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        of: ConvolutionShape,
    ) -> FloatTensor<Self> {
        let zeros = Shape::new([of.kernel * of.kernel, of.inputs]);
        let zeros = Self::float_zeros(zeros, &gradient.device(), gradient.dtype().into());
        let by_tap = taps(&of).fold(zeros, |sums, tap| {
            let seen = Self::float_slice(x.clone(), &tap.in_input);
            let products = Self::float_mul(seen, Self::float_slice(gradient.clone(), &tap.in_output));
            let sum = Self::float_reshape(Self::sum_rows(products), Shape::new([1, of.inputs]));
            Self::float_slice_assign(sums, &[Slice::from(tap.number..tap.number + 1), Slice::from(0..of.inputs)], sum)
        });
        let by_tap = Self::float_reshape(by_tap, Shape::new([of.kernel, of.kernel, 1, of.inputs]));
        Self::float_permute(by_tap, &[3, 2, 0, 1])
    }
}

impl CardKernels for Flex {}

#[cfg(any(feature = "cuda", feature = "wgpu"))]
impl CardKernels for burn_cubecl::CubeBackend {
    fn sum_rows(x: FloatTensor<Self>) -> FloatTensor<Self> {
        sums::sum_rows(x)
    }

    fn multiply(left: FloatTensor<Self>, right: FloatTensor<Self>) -> FloatTensor<Self> {
        product::multiply(left, right)
    }

    fn normalize_rows(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        rows::normalize(x, weight, bias, epsilon)
    }

    fn normalize_rows_backward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        rows::normalize_backward(x, weight, gradient, epsilon)
    }

    fn softmax_rows(x: FloatTensor<Self>, scale: f64) -> FloatTensor<Self> {
        rows::softmax(x, scale)
    }

    fn softmax_rows_backward(weights: FloatTensor<Self>, gradient: FloatTensor<Self>, scale: f64) -> FloatTensor<Self> {
        rows::softmax_backward(weights, gradient, scale)
    }

    fn scale_rows_backward(
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        rows::scale_backward(weight, scale, gradient)
    }

    fn window_rows(x: FloatTensor<Self>, of: ConvolutionShape) -> FloatTensor<Self> {
        windows::window_rows(x, &of)
    }

    fn add_rows(rows: FloatTensor<Self>, of: ConvolutionShape) -> FloatTensor<Self> {
        windows::add_rows(rows, &of)
    }

    fn depthwise(x: FloatTensor<Self>, weight: FloatTensor<Self>, of: ConvolutionShape) -> FloatTensor<Self> {
        windows::depthwise(x, weight, &of)
    }

    fn depthwise_input_gradient(
        gradient: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        of: ConvolutionShape,
    ) -> FloatTensor<Self> {
        windows::depthwise_input_gradient(gradient, weight, &of)
    }

    fn depthwise_weight_gradient(
        x: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        of: ConvolutionShape,
    ) -> FloatTensor<Self> {
        windows::depthwise_weight_gradient(x, gradient, &of)
    }
}

/// `[columns]` with dimensions of length one before it.
pub(crate) fn along_last<B: Backend>(vector: FloatTensor<B>, rank: usize) -> FloatTensor<B> {
    let mut shape = vec![1; rank];
    shape[rank - 1] = vector.shape().num_elements();
    B::float_reshape(vector, Shape::from(shape))
}

/// `1 / √(variance + epsilon)`.
pub(crate) fn inverse_deviation<B: Backend>(variance: FloatTensor<B>, epsilon: f64) -> FloatTensor<B> {
    B::float_recip(B::float_sqrt(B::float_add_scalar(variance, epsilon.into())))
}

/// Each row less its mean, over its deviation; and one over that, `[.., 1]`.
fn normalized_rows<B: Backend>(x: FloatTensor<B>, epsilon: f64) -> (FloatTensor<B>, FloatTensor<B>) {
    let last = x.rank() - 1;
    let centered = B::float_sub(x.clone(), B::float_mean_dim(x, last));
    let variance = B::float_mean_dim(B::float_mul(centered.clone(), centered.clone()), last);
    let inverse = inverse_deviation::<B>(variance, epsilon);
    (B::float_mul(centered, inverse.clone()), inverse)
}

fn last<T: TensorMetadata>(tensor: &T) -> usize {
    tensor.shape().iter().last().copied().unwrap_or(1)
}

#[cfg(any(feature = "cuda", feature = "wgpu"))]
fn product_shape(left: &Shape, right: &Shape) -> Shape {
    let mut shape = left.clone();
    let last = left.num_dims() - 1;
    shape[last] = right[last];
    shape
}

fn rows_shape(of: &ConvolutionShape) -> Shape {
    let (height, width) = of.output();
    Shape::new([of.batch * height * width, of.kernel * of.kernel * of.inputs])
}

fn input_shape(of: &ConvolutionShape) -> Shape {
    Shape::new([of.batch, of.input.0, of.input.1, of.inputs])
}

fn output_shape(of: &ConvolutionShape) -> Shape {
    let (height, width) = of.output();
    Shape::new([of.batch, height, width, of.outputs])
}

/// A place in a window: what all windows see there.
struct Tap {
    number: usize,
    /// The windows that see the map there.
    in_output: [Slice; 4],
    /// Their part of the rows `[batch, height, width, kernel · kernel · inputs]`.
    in_rows: [Slice; 4],
    /// The places of the input that they see.
    in_input: [Slice; 4],
}

/// The places in a window, except those that no window has inside the map.
fn taps(of: &ConvolutionShape) -> impl Iterator<Item = Tap> {
    let (of, output) = (*of, of.output());
    let places = (0..of.kernel).flat_map(move |y| (0..of.kernel).map(move |x| (y, x)));
    places.filter_map(move |(y, x)| {
        let (rows, lines) = seen(y, output.0, of.input.0, of.stride, of.vertical_padding.0)?;
        let (columns, places) = seen(x, output.1, of.input.1, of.stride, of.horizontal_padding.0)?;
        let number = y * of.kernel + x;
        let first = number * of.inputs;
        let images = Slice::from(0..of.batch);
        Some(Tap {
            number,
            in_output: [images, rows, columns, Slice::from(0..of.inputs)],
            in_rows: [images, rows, columns, Slice::from(first..first + of.inputs)],
            in_input: [images, lines, places, Slice::from(0..of.inputs)],
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

/// The factors of a depthwise weight at a tap, `[1, 1, 1, channels]`.
fn at_tap<B: Backend>(weight: &FloatTensor<B>, tap: &Tap, of: &ConvolutionShape) -> FloatTensor<B> {
    let (y, x) = (tap.number / of.kernel, tap.number % of.kernel);
    let slices = [Slice::from(0..of.inputs), Slice::from(0..1), Slice::from(y..y + 1), Slice::from(x..x + 1)];
    B::float_reshape(B::float_slice(weight.clone(), &slices), Shape::new([1, 1, 1, of.inputs]))
}

/// The step from a row of the last dimension to the next, if it is the same between all.
#[cfg(any(test, feature = "cuda", feature = "wgpu"))]
fn pitch(shape: &[usize], strides: &[usize]) -> Option<usize> {
    let mut dimensions = shape.iter().zip(strides).rev().filter(|(length, _)| **length != 1);
    let columns = shape.last().copied().unwrap_or(1);
    if columns != 1 && *dimensions.next()?.1 != 1 {
        return None;
    }
    let mut expected = None;
    let mut pitch = None;
    for (&length, &stride) in dimensions {
        if expected.is_some_and(|expected| expected != stride) {
            return None;
        }
        pitch = pitch.or(Some(stride));
        expected = Some(stride * length);
    }
    Some(pitch.unwrap_or(columns)).filter(|&pitch| pitch >= columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_may_be_padded_but_not_permuted() {
        assert_eq!(pitch(&[2, 3, 4], &[12, 4, 1]), Some(4));
        assert_eq!(pitch(&[2, 3, 4], &[24, 8, 1]), Some(8), "each row is padded");
        assert_eq!(pitch(&[2, 3, 4], &[16, 4, 1]), None, "only some rows are padded");
        assert_eq!(pitch(&[2, 3, 4], &[12, 1, 3]), None, "columns are not neighbors");
        assert_eq!(pitch(&[3, 2, 4], &[4, 12, 1]), None, "rows are not in order");
        assert_eq!(pitch(&[1, 3, 4], &[99, 8, 1]), Some(8), "a dimension of one has no step");
        assert_eq!(pitch(&[3, 1], &[5, 7]), Some(5), "a column of a matrix");
        assert_eq!(pitch(&[2, 4], &[0, 1]), None, "the same row twice");
        assert_eq!(pitch(&[4], &[1]), Some(4));
    }
}
