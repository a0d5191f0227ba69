//! Convolutions and linear layers.

use burn::tensor::module::{self, conv2d};
use burn::tensor::ops::ConvOptions;
use burn::tensor::{DType, Tensor, activation};

use super::{channels_first, channels_last, on_card, run_on};
use crate::convolution::{After, ConvolutionShape, forward, input_gradient, weight_gradient};
use crate::elementwise::{column_sums, mask_by_limits};
use crate::operator::{Array, Kept, Needs, Operator, run};
use crate::precision::{self, Precision};

/// How a window moves over a map.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Step between windows.
    pub stride: usize,
    /// Zeros above and below the map.
    pub vertical_padding: (usize, usize),
    /// Zeros left and right of the map.
    pub horizontal_padding: (usize, usize),
    /// Groups of channels that are convolved by themselves.
    pub groups: usize,
}

/// What follows the sums of a convolution, in this order.
#[derive(Clone, Debug, Default)]
pub struct Following<const D: usize> {
    /// Factor on each output channel, `[outputs]`.
    pub scale: Option<Tensor<1>>,
    /// Added to each output channel, `[outputs]`.
    pub shift: Option<Tensor<1>>,
    /// Added element by element, in the output's shape.
    pub residual: Option<Tensor<D>>,
    /// Least and largest result: `(0, ∞)` for ReLU, `(0, 6)` for ReLU6.
    pub limits: Option<(f32, f32)>,
}

/// `limits(convolution(x, weight) · scale + shift + residual)` of `x` `[batch, height, width,
/// inputs]` and `weight` `[outputs, inputs / groups, kernel, kernel]`, a map with `outputs` channels.
///
/// # Panics
/// If the shapes do not fit together.
pub fn convolution(x: Tensor<4>, weight: Tensor<4>, window: Window, following: Following<4>) -> Tensor<4> {
    if !run_on(&x.device()) {
        return plain_convolution(x, weight, window, following);
    }
    let shape = shape_of(&x, &weight, window);
    let (height, width) = shape.output();
    FusedConvolution::apply(shape, x, weight, following, vec![shape.batch, height, width, shape.outputs])
}

fn shape_of(x: &Tensor<4>, weight: &Tensor<4>, window: Window) -> ConvolutionShape {
    let [batch, height, width, inputs] = x.dims();
    let [outputs, _, kernel, _] = weight.dims();
    let Window { stride, vertical_padding, horizontal_padding, groups } = window;
    let input = (height, width);
    ConvolutionShape { batch, input, inputs, outputs, kernel, stride, vertical_padding, horizontal_padding, groups }
}

/// `limits((x · weightᵀ) · scale + shift + residual)` over the last dimension of `x`, `weight` being
/// `[outputs, inputs]`.
///
/// # Panics
/// If the shapes do not fit together.
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, following: Following<D>) -> Tensor<D> {
    if !run_on(&x.device()) {
        return plain_linear(x, weight, following);
    }
    let [outputs, inputs] = weight.dims();
    let mut output_shape = x.dims();
    output_shape[D - 1] = outputs;
    let rows = output_shape[..D - 1].iter().product();
    let shape = ConvolutionShape::linear(rows, inputs, outputs);
    FusedConvolution::apply(shape, x, weight, following, output_shape.to_vec())
}

fn plain_convolution(x: Tensor<4>, weight: Tensor<4>, window: Window, following: Following<4>) -> Tensor<4> {
    let Following { scale, shift, residual, limits } = following;
    let weight = scaled(weight, scale);
    let y = if window.groups == 1 && rounds_factors(&x) {
        sums(x.cast(DType::BF16), weight.cast(DType::BF16), window).cast(DType::F32)
    } else {
        sums(x, weight, window)
    };
    plain_end(plus(y, shift), residual, limits)
}

/// The sums of a convolution. Burn's own convolutions are slow on graphics cards.
fn sums(x: Tensor<4>, weight: Tensor<4>, window: Window) -> Tensor<4> {
    let Window { stride, vertical_padding, horizontal_padding, groups } = window;
    let shape = shape_of(&x, &weight, window);
    if on_card::is_card(&x.device()) && (groups == 1 || shape.is_depthwise()) {
        return on_card::convolution(x, weight, shape);
    }
    let padding = [vertical_padding, horizontal_padding];
    let options = ConvOptions::new_with_padding([stride, stride], padding, [1, 1], groups);
    channels_last(conv2d(channels_first(x), weight, None, options))
}

fn plain_linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, following: Following<D>) -> Tensor<D> {
    let Following { scale, shift, residual, limits } = following;
    let weight = scaled(weight, scale);
    let y = if rounds_factors(&x) {
        product(x.cast(DType::BF16), weight.cast(DType::BF16)).cast(DType::F32)
    } else {
        product(x, weight)
    };
    plain_end(plus(y, shift), residual, limits)
}

/// A weight with a factor for each output. A factor on a channel is a factor on its weights, which are fewer than its values.
fn scaled<const D: usize>(weight: Tensor<D>, scale: Option<Tensor<1>>) -> Tensor<D> {
    let mut shape = [1; D];
    shape[0] = weight.dims()[0];
    match scale {
        Some(scale) if on_card::is_card(&weight.device()) => on_card::scale_outputs(weight, scale),
        Some(scale) => weight * scale.reshape(shape),
        None => weight,
    }
}

/// `x · weightᵀ` over the last dimension of `x`.
fn product<const D: usize>(x: Tensor<D>, weight: Tensor<2>) -> Tensor<D> {
    if !on_card::is_card(&x.device()) {
        return module::linear(x, weight.transpose(), None);
    }
    let ([outputs, inputs], mut shape) = (weight.dims(), x.dims());
    shape[D - 1] = outputs;
    let rows = shape[..D - 1].iter().product();
    let (x, weight) = (x.reshape([1, 1, rows, inputs]), weight.reshape([outputs, inputs, 1, 1]));
    on_card::convolution(x, weight, ConvolutionShape::linear(rows, inputs, outputs)).reshape(shape)
}

/// Whether products with `x` are of bfloat16: where that is the present precision, and the device has it. Such a device may
/// round the sums, too.
fn rounds_factors<const D: usize>(x: &Tensor<D>) -> bool {
    precision::present() == Precision::Bfloat16 && x.device().supports_dtype(DType::BF16)
}

/// The sum with a number for each value of the last dimension.
fn plus<const D: usize>(y: Tensor<D>, shift: Option<Tensor<1>>) -> Tensor<D> {
    match shift {
        Some(shift) if on_card::is_card(&y.device()) => on_card::add_to_channels(y, shift),
        Some(shift) => y + shift.unsqueeze(),
        None => y,
    }
}

fn plain_end<const D: usize>(y: Tensor<D>, residual: Option<Tensor<D>>, limits: Option<(f32, f32)>) -> Tensor<D> {
    let y = match residual {
        Some(residual) => y + residual,
        None => y,
    };
    match limits {
        Some((0.0, f32::INFINITY)) => activation::relu(y),
        Some((0.0, 6.0)) => activation::relu6(y),
        Some((low, high)) => y.clamp(low, high),
        None => y,
    }
}

/// Inputs: x, weight, and what follows of scale, shift and residual.
#[derive(Debug)]
struct FusedConvolution {
    shape: ConvolutionShape,
    input_shape: Vec<usize>,
    weight_shape: Vec<usize>,
    output_shape: Vec<usize>,
    has_scale: bool,
    has_shift: bool,
    has_residual: bool,
    limits: Option<(f32, f32)>,
    precision: Precision,
}

const X: usize = 0;
const WEIGHT: usize = 1;

impl FusedConvolution {
    fn apply<const D: usize, const W: usize>(
        shape: ConvolutionShape,
        x: Tensor<D>,
        weight: Tensor<W>,
        following: Following<D>,
        output_shape: Vec<usize>,
    ) -> Tensor<D> {
        let Following { scale, shift, residual, limits } = following;
        let operator = Self {
            shape,
            input_shape: x.dims().to_vec(),
            weight_shape: weight.dims().to_vec(),
            output_shape,
            has_scale: scale.is_some(),
            has_shift: shift.is_some(),
            has_residual: residual.is_some(),
            limits,
            precision: precision::present(),
        };
        let mut inputs = vec![x.into_dispatch(), weight.into_dispatch()];
        inputs.extend(scale.map(Tensor::into_dispatch));
        inputs.extend(shift.map(Tensor::into_dispatch));
        inputs.extend(residual.map(Tensor::into_dispatch));
        run(inputs, operator)
    }

    fn scale_place(&self) -> Option<usize> {
        self.has_scale.then_some(2)
    }

    fn shift_place(&self) -> Option<usize> {
        self.has_shift.then_some(2 + usize::from(self.has_scale))
    }

    fn residual_place(&self) -> Option<usize> {
        self.has_residual.then_some(2 + usize::from(self.has_scale) + usize::from(self.has_shift))
    }
}

impl Operator for FusedConvolution {
    fn forward(&self, inputs: &[Array]) -> Array {
        let at = |place: Option<usize>| place.map(|place| inputs[place].values());
        let after = After {
            scale: at(self.scale_place()),
            shift: at(self.shift_place()),
            residual: at(self.residual_place()),
            limits: self.limits,
        };
        let y = forward(&self.shape, inputs[X].values(), inputs[WEIGHT].values(), after, self.precision);
        Array::new(y, &self.output_shape)
    }

    fn needs(&self, wanted: &[bool]) -> Needs {
        let scale_is_wanted = self.scale_place().is_some_and(|place| wanted[place]);
        let differentiates_weight = wanted[WEIGHT] || scale_is_wanted;
        let mut inputs = vec![false; wanted.len()];
        inputs[X] = differentiates_weight;
        inputs[WEIGHT] = wanted[X] || scale_is_wanted;
        if let Some(place) = self.scale_place() {
            inputs[place] = wanted[X] || differentiates_weight;
        }
        Needs { inputs, output: self.limits.is_some() }
    }

    fn backward(&self, kept: Kept, gradient: Array, wanted: &[bool]) -> Vec<Option<Array>> {
        let mut found = vec![None; wanted.len()];
        let gradient = match (self.limits, &kept.output) {
            (Some(limits), Some(output)) => {
                let mut values = gradient.into_values();
                mask_by_limits(&mut values, output.values(), limits);
                Array::new(values, &self.output_shape)
            }
            _ => gradient,
        };
        if let Some(place) = self.residual_place().filter(|&place| wanted[place]) {
            found[place] = Some(gradient.clone());
        }
        let mut sums = None;
        let scale_place = self.scale_place();
        let scale = scale_place.and_then(|place| kept.inputs[place].as_ref()).map(Array::values);
        let scale_is_wanted = scale_place.is_some_and(|place| wanted[place]);
        if wanted[WEIGHT] || scale_is_wanted {
            let x = kept.input(X);
            let weight = kept.inputs[WEIGHT].as_ref().filter(|_| scale_is_wanted).map(Array::values);
            let gradients = weight_gradient(&self.shape, x.values(), gradient.values(), scale, weight, self.precision);
            if let Some((place, scale)) = scale_place.zip(gradients.scale) {
                found[place] = Some(Array::new(scale, &[self.shape.outputs]));
            }
            found[WEIGHT] = wanted[WEIGHT].then(|| Array::new(gradients.weight, &self.weight_shape));
            sums = gradients.sums;
        }
        if let Some(place) = self.shift_place().filter(|&place| wanted[place]) {
            let sums = sums.unwrap_or_else(|| column_sums(gradient.values(), self.shape.outputs));
            found[place] = Some(Array::new(sums, &[self.shape.outputs]));
        }
        if wanted[X] {
            let dx = input_gradient(&self.shape, gradient.values(), kept.input(WEIGHT).values(), scale, self.precision);
            found[X] = Some(Array::new(dx, &self.input_shape));
        }
        found
    }
}
