//! Operators for graphics cards, with backward passes of their own.
//!
//! They are made of Burn's operations and of [kernels](CardKernels) for what those are slow at: rows, windows, and long sums to few
//! numbers, which are the gradients of per-channel parameters.

mod attention;
mod normalization;

use burn::backend::autodiff::checkpoint::{base::Checkpointer, strategy::CheckpointStrategy};
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, NodeGuard, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Device, Shape, Tensor};

pub(super) use self::attention::{attention, attention_of};
pub(super) use self::normalization::{batch_norm, layer_norm};
use super::{im2col, is_cpu};
use crate::card::{CardKernels, along_last};
use crate::convolution::ConvolutionShape;

/// Whether operators on `device` are these.
pub(super) fn is_card(device: &Device) -> bool {
    cfg!(any(feature = "cuda", feature = "wgpu")) && !is_cpu(device)
}

/// The convolution of `x` `[batch, height, width, inputs]` with `weight` `[outputs, inputs / groups, kernel, kernel]`, with one group or
/// as many as inputs and outputs.
///
/// # Panics
/// If the sizes do not fit the shape, or it has other groups or no images.
pub(super) fn convolution(x: Tensor<4>, weight: Tensor<4>, shape: ConvolutionShape) -> Tensor<4> {
    assert!(shape.batch > 0, "a batch has an image");
    let (x, weight) = (x.into_dispatch(), weight.into_dispatch());
    Tensor::from_dispatch(if shape.groups == 1 {
        Dispatch::dense_convolution(x, weight, shape)
    } else {
        assert!(shape.is_depthwise(), "each channel is a group");
        Dispatch::depthwise_convolution(x, weight, shape)
    })
}

/// `x + shift`, with a number for each value of the last dimension.
pub(super) fn add_to_channels<const D: usize>(x: Tensor<D>, shift: Tensor<1>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::add_to_channels(x.into_dispatch(), shift.into_dispatch()))
}

/// A weight `[outputs, ..]` with a factor for each output.
pub(super) fn scale_outputs<const D: usize>(weight: Tensor<D>, scale: Tensor<1>) -> Tensor<D> {
    Tensor::from_dispatch(Dispatch::scale_outputs(weight.into_dispatch(), scale.into_dispatch()))
}

/// A number whose gradient with respect to `x` is `gradient`.
pub(super) fn gradient_seed<const D: usize>(x: Tensor<D>, gradient: Tensor<D>) -> Tensor<1> {
    Tensor::from_dispatch(Dispatch::seeded(x.into_dispatch(), gradient.into_dispatch()))
}

/// Operators with backward passes of their own.
#[backend_extension(Flex, Cube: cfg(any(feature = "cuda", feature = "wgpu")), Autodiff)]
pub trait CardOperators: Backend {
    /// A convolution without groups.
    fn dense_convolution(x: FloatTensor<Self>, weight: FloatTensor<Self>, of: ConvolutionShape) -> FloatTensor<Self>;

    /// A convolution of each channel by itself.
    fn depthwise_convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        of: ConvolutionShape,
    ) -> FloatTensor<Self>;

    /// The sum with a number for each value of the last dimension.
    fn add_to_channels(x: FloatTensor<Self>, shift: FloatTensor<Self>) -> FloatTensor<Self> {
        let rank = x.rank();
        Self::float_add(x, along_last::<Self>(shift, rank))
    }

    /// A weight `[outputs, ..]` with a factor for each output.
    fn scale_outputs(weight: FloatTensor<Self>, scale: FloatTensor<Self>) -> FloatTensor<Self> {
        let mut shape = vec![1; weight.rank()];
        shape[0] = scale.shape().num_elements();
        Self::float_mul(weight, Self::float_reshape(scale, Shape::from(shape)))
    }

    /// A number whose gradient with respect to `x` is `gradient`.
    fn seeded(x: FloatTensor<Self>, _gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::float_zeros(Shape::new([1]), &x.device(), x.dtype().into())
    }
}

macro_rules! forward_passes {
    ($backend:ty) => {
        impl CardOperators for $backend {
            fn dense_convolution(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                of: ConvolutionShape,
            ) -> FloatTensor<Self> {
                im2col::forward::<Self>(x, weight, &of)
            }

            fn depthwise_convolution(
                x: FloatTensor<Self>,
                weight: FloatTensor<Self>,
                of: ConvolutionShape,
            ) -> FloatTensor<Self> {
                Self::depthwise(x, weight, of)
            }
        }
    };
}

forward_passes!(Flex);
#[cfg(any(feature = "cuda", feature = "wgpu"))]
forward_passes!(burn::backend::Cube);

impl<B: CardKernels + CardOperators, C: CheckpointStrategy> CardOperators for Autodiff<B, C> {
    fn dense_convolution(x: FloatTensor<Self>, weight: FloatTensor<Self>, of: ConvolutionShape) -> FloatTensor<Self> {
        let tracked = [&x, &weight].map(|tensor| tensor.is_tracked());
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let output = B::dense_convolution(x.clone(), weight.clone(), of);
        let [x, weight] = sides(tracked, [x, weight]);
        with_backward::<B, C, 2, _>(Convolution, [x_node, weight_node], output, Sides { x, weight, of })
    }

    fn depthwise_convolution(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        of: ConvolutionShape,
    ) -> FloatTensor<Self> {
        let tracked = [&x, &weight].map(|tensor| tensor.is_tracked());
        let ((x, x_node), (weight, weight_node)) = (x.into_parts(), weight.into_parts());
        let output = B::depthwise_convolution(x.clone(), weight.clone(), of);
        let [x, weight] = sides(tracked, [x, weight]);
        with_backward::<B, C, 2, _>(Convolution, [x_node, weight_node], output, Sides { x, weight, of })
    }

    fn add_to_channels(x: FloatTensor<Self>, shift: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((x, x_node), (shift, shift_node)) = (x.into_parts(), shift.into_parts());
        let output = B::add_to_channels(x, shift);
        with_backward::<B, C, 2, _>(AddToChannels, [x_node, shift_node], output, ())
    }

    fn scale_outputs(weight: FloatTensor<Self>, scale: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((weight, weight_node), (scale, scale_node)) = (weight.into_parts(), scale.into_parts());
        let output = B::scale_outputs(weight.clone(), scale.clone());
        with_backward::<B, C, 2, _>(ScaleOutputs, [weight_node, scale_node], output, (weight, scale))
    }

    fn seeded(x: FloatTensor<Self>, gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        let ((x, node), gradient) = (x.into_parts(), gradient.into_primitive());
        let output = B::seeded(x, gradient.clone());
        with_backward::<B, C, 1, _>(Seed, [node], output, gradient)
    }
}

/// The output of an operator that has a backward pass if one of its inputs gets a gradient.
fn with_backward<B: Backend, C: CheckpointStrategy, const N: usize, O: Backward<B, N>>(
    operator: O,
    inputs: [NodeGuard; N],
    output: FloatTensor<B>,
    state: O::State,
) -> FloatTensor<Autodiff<B, C>> {
    match operator.prepare::<C>(inputs).compute_bound().stateful() {
        OpsKind::Tracked(tracked) => tracked.finish(state, output),
        OpsKind::UnTracked(untracked) => untracked.finish(output),
    }
}

/// The sides of a product that its backward pass needs: each where the other one gets a gradient.
fn sides<T>([x_is_tracked, weight_is_tracked]: [bool; 2], [x, weight]: [T; 2]) -> [Option<T>; 2] {
    [weight_is_tracked.then_some(x), x_is_tracked.then_some(weight)]
}

#[derive(Clone, Debug)]
struct Sides<B: Backend> {
    x: Option<FloatTensor<B>>,
    weight: Option<FloatTensor<B>>,
    of: ConvolutionShape,
}

#[derive(Debug)]
struct Convolution;

impl<B: CardKernels> Backward<B, 2> for Convolution {
    type State = Sides<B>;

    fn backward(self, ops: Ops<Sides<B>, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let Sides { x, weight, of } = ops.state;
        let gradient = gradients.consume::<B>(&ops.node);
        let [x_parent, weight_parent] = ops.parents;
        if let Some((parent, x)) = weight_parent.zip(x) {
            let gradient = gradient.clone();
            gradients.register::<B>(
                parent.id,
                if of.groups == 1 {
                    im2col::weight_gradient::<B>(x, gradient, &of)
                } else {
                    B::depthwise_weight_gradient(x, gradient, of)
                },
            );
        }
        if let Some((parent, weight)) = x_parent.zip(weight) {
            gradients.register::<B>(
                parent.id,
                if of.groups == 1 {
                    im2col::input_gradient::<B>(gradient, weight, &of)
                } else {
                    B::depthwise_input_gradient(gradient, weight, of)
                },
            );
        }
    }
}

#[derive(Debug)]
struct AddToChannels;

impl<B: CardKernels> Backward<B, 2> for AddToChannels {
    type State = ();

    fn backward(self, ops: Ops<(), 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let [x_parent, shift_parent] = ops.parents;
        if let Some(parent) = shift_parent {
            gradients.register::<B>(parent.id, B::sum_rows(gradient.clone()));
        }
        if let Some(parent) = x_parent {
            gradients.register::<B>(parent.id, gradient);
        }
    }
}

#[derive(Debug)]
struct ScaleOutputs;

impl<B: CardKernels + CardOperators> Backward<B, 2> for ScaleOutputs {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 2>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let gradient = gradients.consume::<B>(&ops.node);
        let (weight, scale) = ops.state;
        let [weight_parent, scale_parent] = ops.parents;
        let of_weight = match scale_parent {
            Some(parent) => {
                let (of_weight, of_scale) = B::scale_rows_backward(weight, scale, gradient);
                gradients.register::<B>(parent.id, of_scale);
                of_weight
            }
            None => B::scale_outputs(gradient, scale),
        };
        if let Some(parent) = weight_parent {
            gradients.register::<B>(parent.id, of_weight);
        }
    }
}

#[derive(Debug)]
struct Seed;

impl<B: Backend> Backward<B, 1> for Seed {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<FloatTensor<B>, 1>, gradients: &mut Gradients, _: &mut Checkpointer) {
        let [parent] = ops.parents;
        if let Some(parent) = parent {
            gradients.register::<B>(parent.id, ops.state);
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use burn::tensor::activation::softmax;
    use burn::tensor::module::{self, conv2d};
    use burn::tensor::ops::ConvOptions;
    use proptest::prelude::*;

    use super::*;
    use crate::operators::{channels_first, channels_last};

    fn tensor(shape: [usize; 4], phase: f32) -> Tensor<4> {
        let count = shape.iter().product::<usize>();
        let values: Vec<f32> = (0..count).map(|index| (index as f32).mul_add(0.7, phase).sin()).collect();
        Tensor::from_data(TensorData::new(values, shape), &Device::flex().autodiff()).require_grad()
    }

    fn weight_shape(shape: &ConvolutionShape) -> [usize; 4] {
        [shape.outputs, shape.inputs / shape.groups, shape.kernel, shape.kernel]
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
        let options = ConvOptions::new_with_padding([shape.stride; 2], padding, [1, 1], shape.groups);
        let expected =
            all_of(shape, |x, weight| channels_last(conv2d(channels_first(x), weight, None, options.clone())));
        let found = all_of(shape, |x, weight| convolution(x, weight, *shape));
        let apart = found.into_iter().zip(expected).map(|(found, expected)| {
            assert_eq!(found.dims(), expected.dims());
            (found - expected).abs().max().into_scalar::<f32>()
        });
        apart.fold(0.0, f32::max)
    }

    fn shapes() -> impl Strategy<Value = ConvolutionShape> {
        let sizes = (1usize..4, 1usize..12, 1usize..12, 1usize..6, 1usize..6);
        let padding = ((0usize..4, 0usize..4), (0usize..4, 0usize..4));
        (sizes, 1usize..5, 1usize..5, padding, proptest::bool::ANY).prop_filter_map(
            "windows fit",
            |(sizes, kernel, stride, (vertical_padding, horizontal_padding), depthwise)| {
                let (batch, height, width, inputs, outputs) = sizes;
                let (input, outputs) = ((height, width), if depthwise { inputs } else { outputs });
                let shape = ConvolutionShape {
                    batch,
                    input,
                    inputs,
                    outputs,
                    kernel,
                    stride,
                    vertical_padding,
                    horizontal_padding,
                    groups: if depthwise { inputs } else { 1 },
                };
                let (height, width) = shape.output();
                (height * width > 0).then_some(shape)
            },
        )
    }

    /// The output, and the gradients of all inputs, by two operators; the largest difference between them.
    fn apart<const N: usize>(
        shapes: [[usize; 4]; N],
        one: impl Fn([Tensor<4>; N]) -> Tensor<4>,
        other: impl Fn([Tensor<4>; N]) -> Tensor<4>,
    ) -> f32 {
        let all_of = |operator: &dyn Fn([Tensor<4>; N]) -> Tensor<4>| {
            let inputs: [Tensor<4>; N] = std::array::from_fn(|place| tensor(shapes[place], place as f32));
            let output = operator(inputs.clone());
            let factors = tensor(output.dims(), 0.9);
            let gradients = (output.clone() * factors).sum().backward();
            let mut found = vec![output.inner()];
            found.extend(inputs.iter().map(|input| input.grad(&gradients).unwrap()));
            found
        };
        let differences = all_of(&one).into_iter().zip(all_of(&other)).map(|(one, other)| {
            assert_eq!(one.dims(), other.dims());
            (one - other).abs().max().into_scalar::<f32>()
        });
        differences.fold(0.0, f32::max)
    }

    #[test]
    fn normalization_and_its_gradients_are_burns() {
        let shapes = [[3, 4, 5, 7], [1, 1, 1, 7], [1, 1, 1, 7]];
        let flat = |x: &Tensor<4>| x.clone().reshape([-1]);
        let rows = apart(
            shapes,
            |[x, weight, bias]| layer_norm(x, flat(&weight), flat(&bias), 1e-5),
            |[x, weight, bias]| module::layer_norm(x, flat(&weight), Some(flat(&bias)), 1e-5),
        );
        assert!(rows < 1e-5, "{rows}");
        let columns = apart(
            shapes,
            |[x, weight, bias]| batch_norm(x, flat(&weight), flat(&bias), 1e-5).0,
            |[x, weight, bias]| {
                channels_last(module::batch_norm_train(channels_first(x), flat(&weight), flat(&bias), 1e-5).output)
            },
        );
        assert!(columns < 1e-5, "{columns}");
    }

    #[test]
    fn attention_and_its_gradients_are_burns() {
        let shapes = [[2, 3, 7, 4]; 3];
        let found = apart(
            shapes,
            |[query, key, value]| attention_of(query, key, value),
            |[query, key, value]| {
                let scores = query.mul_scalar(0.5).matmul(key.swap_dims(2, 3));
                softmax(scores, 3).matmul(value)
            },
        );
        assert!(found < 1e-5, "{found}");
        let found = apart(
            [[2, 7, 9, 4]],
            |[parts]| attention(parts.reshape([2, 7, 3, 3, 4])),
            |[parts]| {
                let part = |part: usize| parts.clone().narrow(2, 3 * part, 3).swap_dims(1, 2);
                attention_of(part(0), part(1), part(2))
            },
        );
        assert!(found < 1e-5, "{found}");
    }

    /// The gradients go to the numbers of a channel, and on to what a seed stands for.
    #[test]
    fn numbers_of_channels_and_seeds_have_burns_gradients() {
        let flat = |x: &Tensor<4>| x.clone().reshape([-1]);
        let found =
            apart([[2, 3, 4, 5], [1, 1, 1, 5]], |[x, shift]| add_to_channels(x, flat(&shift)), |[x, shift]| x + shift);
        assert!(found < 1e-5, "{found}");
        let found = apart(
            [[5, 3, 2, 4], [1, 1, 1, 5]],
            |[weight, scale]| scale_outputs(weight, flat(&scale)),
            |[weight, scale]| weight * flat(&scale).reshape([5, 1, 1, 1]),
        );
        assert!(found < 1e-5, "{found}");
        let (x, gradient) = (tensor([1, 2, 3, 4], 0.1), tensor([1, 2, 3, 4], 0.7).inner());
        let seed = gradient_seed(x.clone(), Tensor::from_inner(gradient.clone()));
        assert_eq!(x.grad(&seed.backward()).unwrap().into_data(), gradient.into_data());
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
