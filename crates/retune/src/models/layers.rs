//! The layers that the architectures are made of, with PyTorch's parameter shapes and timm's
//! numerics. A layer knows which parameters it uses; a [`Pass`] brings their values.

use std::sync::Arc;

use burn::tensor::Tensor;
use burn::tensor::activation;
use burn::tensor::module;
use burn::tensor::ops::AvgPoolOptions;
use retune_kernels::operators::{self, Following, Gated, SharedBatch, Window, channels_first, channels_last, gated};

use super::chain::Activation;
use super::dropping::Dropping;
use super::parameters::{Initialization, ParameterBuilder, ParameterId, Parameters, Role};
use crate::device;

mod in_graph;

/// Running statistics that a BatchNorm layer would have after the batch it has just seen.
pub struct ObservedStatistics {
    /// The running mean's parameter.
    pub mean_id: ParameterId,
    /// The running variance's parameter.
    pub variance_id: ParameterId,
    /// Mean over the batch and positions, `[channels]`.
    pub mean: Tensor<1>,
    /// Unbiased variance over the batch and positions, `[channels]`.
    pub variance: Tensor<1>,
}

/// One run through blocks: the parameter values to use, and how BatchNorm behaves.
pub struct Pass<'a> {
    parameters: &'a Parameters,
    /// For each block, whether it normalizes by the batch's own statistics; empty for none.
    batch_statistics: &'a [bool],
    /// Who computes the rest of the batch, where this is a part of one.
    shared_batch: Option<Arc<dyn SharedBatch>>,
    current_block: usize,
    observed: Vec<ObservedStatistics>,
    dropping: Option<Dropping>,
    watched: Watched,
}

/// What a pass keeps of the last features whose places are those of the image.
#[expect(clippy::large_enum_variant, reason = "a pass has one")]
enum Watched {
    /// Nothing is kept.
    Unwanted,
    /// The pass has not come to them yet.
    Awaited,
    /// The features, `[batch, height, width, channels]`, from which gradients are tracked.
    Seen(Tensor<4>),
}

/// A block's branch, as stochastic depth sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Branch {
    /// Part of the rate that holds at its depth, 0 to 1.
    pub share: f64,
    /// Its number in the block.
    pub number: u64,
}

impl<'a> Pass<'a> {
    /// A pass that normalizes by running statistics everywhere, as in evaluation.
    pub fn evaluation(parameters: &'a Parameters) -> Self {
        Self::training(parameters, &[])
    }

    /// A pass in which the blocks marked in `batch_statistics` normalize by the batch's statistics
    /// (PyTorch's training mode) and report them.
    pub fn training(parameters: &'a Parameters, batch_statistics: &'a [bool]) -> Self {
        let (observed, dropping, watched) = (Vec::new(), None, Watched::Unwanted);
        Self { parameters, batch_statistics, shared_batch: None, current_block: 0, observed, dropping, watched }
    }

    /// The same pass for a part of a batch: the statistics, and those that it reports, are those of the whole batch.
    #[must_use]
    pub fn sharing(self, shared_batch: Option<Arc<dyn SharedBatch>>) -> Self {
        Self { shared_batch, ..self }
    }

    /// The same pass, which keeps the last features whose places are those of the image, and tracks gradients from there.
    #[must_use]
    pub fn watching(self) -> Self {
        Self { watched: Watched::Awaited, ..self }
    }

    /// Shows the pass the last features whose places are those of the image, `[batch, height, width, channels]`; what it
    /// gives back flows on.
    pub(crate) fn watch(&mut self, features: Tensor<4>) -> Tensor<4> {
        if !self.is_watching() {
            return features;
        }
        let features = features.detach().require_grad();
        self.watched = Watched::Seen(features.clone());
        features
    }

    /// Whether it wants to be shown these features.
    pub(crate) fn is_watching(&self) -> bool {
        !matches!(self.watched, Watched::Unwanted)
    }

    /// The features that a family has shown; `None` if it has none.
    pub fn into_watched(self) -> Option<Tensor<4>> {
        match self.watched {
            Watched::Seen(features) => Some(features),
            Watched::Unwanted | Watched::Awaited => None,
        }
    }

    /// The same pass, which leaves out branches and features at random.
    #[must_use]
    pub fn dropping(self, dropping: Option<Dropping>) -> Self {
        Self { dropping, ..self }
    }

    /// Factors of the images of a branch, `[batch, 1, …]`, where stochastic depth leaves any out.
    fn branch_factors<const D: usize>(&self, branch: Branch, like: &Tensor<D>) -> Option<Tensor<D>> {
        let mut shape = [1; D];
        shape[0] = like.dims()[0];
        let factors = self.dropping?.of_branch(branch.share, self.current_block, branch.number, shape[0])?;
        Some(device::tensor(factors, shape, &like.device()))
    }

    /// Features as dropout leaves them.
    fn drop_features(&self, x: Tensor<2>) -> Tensor<2> {
        let [images, width] = x.dims();
        match self.dropping.and_then(|dropping| dropping.of_features(self.current_block, images, width)) {
            Some(factors) => {
                let factors = device::tensor(factors, [images, width], &x.device());
                x * factors
            }
            None => x,
        }
    }

    /// What the BatchNorm layers saw, in the order they ran; empty in evaluation.
    pub fn into_observed(self) -> Vec<ObservedStatistics> {
        self.observed
    }

    pub(crate) fn enter_block(&mut self, block: usize) {
        self.current_block = block;
    }

    pub(crate) fn get<const D: usize>(&self, id: ParameterId, shape: [usize; D]) -> Tensor<D> {
        self.parameters.get(id, shape)
    }

    pub(crate) fn flat(&self, id: ParameterId) -> Tensor<1> {
        self.parameters.flat(id)
    }

    fn uses_batch_statistics(&self) -> bool {
        self.batch_statistics.get(self.current_block).copied().unwrap_or(false)
    }
}

/// Nonlinearities by timm's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ActivationFunction {
    Identity,
    Relu,
    Relu6,
    Silu,
    Gelu,
    GeluTanh,
    QuickGelu,
}

impl ActivationFunction {
    /// The limits between which the nonlinearity leaves values as they are, if it is nothing else.
    fn limits(self) -> Option<(f32, f32)> {
        match self {
            Self::Relu => Some((0.0, f32::INFINITY)),
            Self::Relu6 => Some((0.0, 6.0)),
            _ => None,
        }
    }

    pub fn apply<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Identity => x,
            Self::Relu => activation::relu(x),
            Self::Relu6 => activation::relu6(x),
            Self::Silu => gated(x, Gated::Silu),
            Self::Gelu => gated(x, Gated::Gelu),
            Self::GeluTanh => gated(x, Gated::GeluTanh),
            Self::QuickGelu => gated(x, Gated::QuickGelu),
        }
    }
}

/// Padding of a convolution or pooling window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    /// The same number of zeros on every side.
    Symmetric(usize),
    /// TensorFlow's `SAME`: as many zeros as make the output `ceil(input / stride)`, the odd one
    /// at the end.
    Same,
}

impl Padding {
    /// PyTorch's usual padding, which keeps the size at stride 1.
    pub fn centered(kernel: usize) -> Self {
        Self::Symmetric(kernel / 2)
    }

    /// Zeros before and after a side of `input` pixels.
    pub fn before_and_after(self, input: usize, kernel: usize, stride: usize) -> (usize, usize) {
        match self {
            Self::Symmetric(padding) => (padding, padding),
            Self::Same => {
                let output = input.div_ceil(stride);
                let total = ((output - 1) * stride + kernel).saturating_sub(input);
                (total / 2, total - total / 2)
            }
        }
    }
}

/// What a convolution is built from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvShape {
    pub inputs: usize,
    pub outputs: usize,
    pub kernel: usize,
    pub stride: usize,
    pub padding: Padding,
    pub groups: usize,
}

impl ConvShape {
    /// A convolution with PyTorch's usual padding, stride 1 and one group.
    pub fn new(inputs: usize, outputs: usize, kernel: usize) -> Self {
        Self { inputs, outputs, kernel, stride: 1, padding: Padding::centered(kernel), groups: 1 }
    }

    pub fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    pub fn padding(self, padding: Padding) -> Self {
        Self { padding, ..self }
    }

    pub fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }
}

/// 2-D convolution over `[batch, height, width, channels]`.
#[derive(Clone, Debug)]
pub(crate) struct Conv2d {
    weight: ParameterId,
    bias: Option<ParameterId>,
    shape: ConvShape,
}

impl Conv2d {
    pub fn new(builder: &mut ParameterBuilder, name: &str, shape: ConvShape, bias: bool) -> Self {
        let ConvShape { inputs, outputs, kernel, groups, .. } = shape;
        // He et al. 2015 (fan-out), as timm initializes its convolutional networks.
        let fan_out = (kernel * kernel * outputs / groups).max(1);
        let deviation = (2.0 / fan_out as f32).sqrt();
        builder.within(name, |builder| Self {
            weight: builder.parameter(
                "weight",
                &[outputs, inputs / groups, kernel, kernel],
                if groups == 1 { Role::Weight } else { Role::GroupedWeight },
                Initialization::TruncatedNormal(deviation),
            ),
            bias: bias.then(|| builder.parameter("bias", &[outputs], Role::Bias, Initialization::Constant(0.0))),
            shape,
        })
    }

    fn weight(&self, pass: &Pass) -> Tensor<4> {
        let ConvShape { inputs, outputs, kernel, groups, .. } = self.shape;
        pass.get(self.weight, [outputs, inputs / groups, kernel, kernel])
    }

    fn convolve(&self, x: Tensor<4>, following: Following<4>, pass: &Pass) -> Tensor<4> {
        let ConvShape { kernel, stride, padding, groups, .. } = self.shape;
        let [_, height, width, _] = x.dims();
        let vertical_padding = padding.before_and_after(height, kernel, stride);
        let horizontal_padding = padding.before_and_after(width, kernel, stride);
        let window = Window { stride, vertical_padding, horizontal_padding, groups };
        operators::convolution(x, self.weight(pass), window, following)
    }

    pub fn forward(&self, x: Tensor<4>, pass: &Pass) -> Tensor<4> {
        let shift = self.bias.map(|bias| pass.flat(bias));
        self.convolve(x, Following { shift, ..Following::default() }, pass)
    }
}

/// BatchNorm over the channels of `[batch, height, width, channels]`; momentum 0.1 as in PyTorch.
#[derive(Clone, Debug)]
pub(crate) struct BatchNorm {
    weight: ParameterId,
    bias: ParameterId,
    running_mean: ParameterId,
    running_variance: ParameterId,
    epsilon: f64,
}

impl BatchNorm {
    pub fn new(builder: &mut ParameterBuilder, name: &str, channels: usize, epsilon: f64) -> Self {
        let constant = Initialization::Constant;
        builder.within(name, |builder| Self {
            weight: builder.parameter("weight", &[channels], Role::NormWeight, constant(1.0)),
            bias: builder.parameter("bias", &[channels], Role::NormBias, constant(0.0)),
            running_mean: builder.parameter("running_mean", &[channels], Role::Statistic, constant(0.0)),
            running_variance: builder.parameter("running_var", &[channels], Role::Statistic, constant(1.0)),
            epsilon,
        })
    }

    fn normalize_by_batch(&self, x: Tensor<4>, pass: &mut Pass) -> Tensor<4> {
        let [batch, height, width, _] = x.dims();
        let (weight, bias) = (pass.flat(self.weight), pass.flat(self.bias));
        if let Some(shared_batch) = pass.shared_batch.clone() {
            let normalized = operators::shared_batch_norm(x, weight, bias, self.epsilon, shared_batch);
            self.observe(normalized.mean, normalized.variance, pass);
            return normalized.output;
        }
        let normalized = operators::batch_norm(x, weight, bias, self.epsilon);
        // PyTorch keeps the unbiased variance as the running one.
        let count = (batch * height * width) as f64;
        let unbiased = normalized.variance.mul_scalar(count / (count - 1.0).max(1.0));
        self.observe(normalized.mean, unbiased, pass);
        normalized.output
    }

    fn observe(&self, mean: Tensor<1>, variance: Tensor<1>, pass: &mut Pass) {
        let (mean_id, variance_id) = (self.running_mean, self.running_variance);
        pass.observed.push(ObservedStatistics { mean_id, variance_id, mean, variance });
    }

    /// The affine map that the layer is while its statistics are fixed: `(scale, shift)`.
    fn scale_and_shift(&self, pass: &Pass) -> (Tensor<1>, Tensor<1>) {
        let deviation = pass.flat(self.running_variance).add_scalar(self.epsilon).sqrt();
        let scale = pass.flat(self.weight) / deviation;
        let shift = pass.flat(self.bias) - pass.flat(self.running_mean) * scale.clone();
        (scale, shift)
    }
}

/// A convolution without bias followed by BatchNorm.
///
/// While the statistics are fixed, the normalization is a factor and a shift of each channel, and
/// they, a residual and a ReLU are applied to the convolution's sums before these are written.
#[derive(Clone, Debug)]
pub(crate) struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm,
}

impl ConvNorm {
    pub fn new(builder: &mut ParameterBuilder, (conv, norm): (&str, &str), shape: ConvShape, epsilon: f64) -> Self {
        Self {
            conv: Conv2d::new(builder, conv, shape, false),
            norm: BatchNorm::new(builder, norm, shape.outputs, epsilon),
        }
    }

    pub fn forward(&self, x: Tensor<4>, pass: &mut Pass) -> Tensor<4> {
        self.forward_into(x, None, ActivationFunction::Identity, pass)
    }

    pub fn forward_activated(&self, x: Tensor<4>, activation: ActivationFunction, pass: &mut Pass) -> Tensor<4> {
        self.forward_into(x, None, activation, pass)
    }

    /// `activation(norm(convolution(x)) + residual)`, without the branch of images that stochastic depth leaves out.
    pub fn forward_onto(
        &self,
        x: Tensor<4>,
        residual: Tensor<4>,
        branch: Branch,
        activation: ActivationFunction,
        pass: &mut Pass,
    ) -> Tensor<4> {
        match pass.branch_factors(branch, &x) {
            Some(factors) => activation.apply(self.forward(x, pass) * factors + residual),
            None => self.forward_into(x, Some(residual), activation, pass),
        }
    }

    /// `activation(norm(convolution(x)) + residual)`.
    fn forward_into(
        &self,
        x: Tensor<4>,
        residual: Option<Tensor<4>>,
        activation: ActivationFunction,
        pass: &mut Pass,
    ) -> Tensor<4> {
        if pass.uses_batch_statistics() {
            let convolved = self.conv.forward(x, pass);
            let normalized = self.norm.normalize_by_batch(convolved, pass);
            return activation.apply(match residual {
                Some(residual) => normalized + residual,
                None => normalized,
            });
        }
        let (scale, shift) = self.norm.scale_and_shift(pass);
        let limits = activation.limits();
        let following = Following { scale: Some(scale), shift: Some(shift), residual, limits };
        let y = self.conv.convolve(x, following, pass);
        if limits.is_some() { y } else { activation.apply(y) }
    }
}

/// Layer normalization over the last dimension.
#[derive(Clone, Debug)]
pub(crate) struct LayerNorm {
    weight: ParameterId,
    bias: ParameterId,
    epsilon: f64,
}

impl LayerNorm {
    pub fn new(builder: &mut ParameterBuilder, name: &str, channels: usize, epsilon: f64) -> Self {
        let constant = Initialization::Constant;
        builder.within(name, |builder| Self {
            weight: builder.parameter("weight", &[channels], Role::NormWeight, constant(1.0)),
            bias: builder.parameter("bias", &[channels], Role::NormBias, constant(0.0)),
            epsilon,
        })
    }

    pub fn forward<const D: usize>(&self, x: Tensor<D>, pass: &Pass) -> Tensor<D> {
        operators::layer_norm(x, pass.flat(self.weight), pass.flat(self.bias), self.epsilon)
    }
}

/// A linear layer, `x · weightᵀ + bias`, over the last dimension.
#[derive(Clone, Debug)]
pub(crate) struct Linear {
    weight: ParameterId,
    bias: Option<ParameterId>,
    inputs: usize,
    outputs: usize,
}

impl Linear {
    pub fn new(builder: &mut ParameterBuilder, name: &str, (inputs, outputs): (usize, usize), bias: bool) -> Self {
        Self::with_weight_shape(builder, name, &[outputs, inputs], bias)
    }

    /// A linear layer that is stored as a 1×1 convolution, `[outputs, inputs, 1, 1]`.
    pub fn stored_as_convolution(
        builder: &mut ParameterBuilder,
        name: &str,
        (inputs, outputs): (usize, usize),
        bias: bool,
    ) -> Self {
        Self::with_weight_shape(builder, name, &[outputs, inputs, 1, 1], bias)
    }

    fn with_weight_shape(builder: &mut ParameterBuilder, name: &str, shape: &[usize], bias: bool) -> Self {
        let (outputs, inputs) = (shape[0], shape[1]);
        builder.within(name, |builder| Self {
            weight: builder.parameter("weight", shape, Role::Weight, Initialization::TruncatedNormal(0.02)),
            bias: bias.then(|| builder.parameter("bias", &[outputs], Role::Bias, Initialization::Constant(0.0))),
            inputs,
            outputs,
        })
    }

    pub fn forward<const D: usize>(&self, x: Tensor<D>, pass: &Pass) -> Tensor<D> {
        let shift = self.bias.map(|bias| pass.flat(bias));
        self.apply(x, Following { shift, ..Following::default() }, pass)
    }

    /// `residual + layer_scale · linear(x)`, without the branch of images that stochastic depth leaves out; without a
    /// scale, it is 1.
    pub fn forward_onto<const D: usize>(
        &self,
        x: Tensor<D>,
        residual: Tensor<D>,
        layer_scale: Option<ParameterId>,
        branch: Branch,
        pass: &Pass,
    ) -> Tensor<D> {
        let scale = layer_scale.map(|scale| pass.flat(scale));
        let shift = self.bias.map(|bias| match &scale {
            Some(scale) => pass.flat(bias) * scale.clone(),
            None => pass.flat(bias),
        });
        match pass.branch_factors(branch, &x) {
            Some(factors) => {
                let branch = self.apply(x, Following { scale, shift, ..Following::default() }, pass);
                branch * factors + residual
            }
            None => self.apply(x, Following { scale, shift, residual: Some(residual), limits: None }, pass),
        }
    }

    fn apply<const D: usize>(&self, x: Tensor<D>, following: Following<D>, pass: &Pass) -> Tensor<D> {
        operators::linear(x, pass.get(self.weight, [self.outputs, self.inputs]), following)
    }
}

/// The last block: pools what is not pooled yet and classifies it. With no classes (a model that
/// only extracts features) it has no parameters and gives the pooled features.
#[derive(Clone, Debug)]
pub(crate) struct Classifier {
    linear: Option<Linear>,
}

impl Classifier {
    pub fn new(builder: &mut ParameterBuilder, name: &str, features: usize, classes: usize) -> Self {
        let linear = (classes > 0).then(|| Linear::new(builder, name, (features, classes), true));
        Self { linear }
    }

    pub fn forward(&self, x: Activation, pass: &Pass) -> Activation {
        let pooled = x.pool();
        Activation::Vector(match &self.linear {
            Some(linear) => linear.forward(pass.drop_features(pooled), pass),
            None => pooled,
        })
    }
}

/// The sum of a branch and its shortcut, without the branch of images that stochastic depth leaves out.
pub(crate) fn add_branch(x: Tensor<4>, shortcut: Tensor<4>, branch: Branch, pass: &Pass) -> Tensor<4> {
    match pass.branch_factors(branch, &x) {
        Some(factors) => x * factors + shortcut,
        None => x + shortcut,
    }
}

/// Mean of 2×2 windows of `[batch, height, width, channels]`, the last one cut at the border and
/// averaged over what is there (PyTorch's `ceil_mode=True, count_include_pad=False`).
pub(crate) fn average_pool_2(x: Tensor<4>, stride: usize) -> Tensor<4> {
    let options =
        AvgPoolOptions::new([2, 2]).with_stride([stride, stride]).with_ceil_mode(true).with_count_include_pad(false);
    channels_last(module::avg_pool2d(channels_first(x), options))
}
