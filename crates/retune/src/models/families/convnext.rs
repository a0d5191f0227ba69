//! ConvNeXt (Liu et al. 2022, arXiv 2201.03545) and ConvNeXt V2's global response normalization
//! (Woo et al. 2023, arXiv 2301.00808). Parameter names and numerics follow timm's `convnext.py`.
//!
//! Chain: `stem → stages.0.blocks.0 → … → stages.3.blocks.n → norm → head`. A stage's downsampling
//! belongs to its first block, as timm counts it; the norm block ends with pooled features.

use burn::tensor::Tensor;
use retune_kernels::operators::global_average;
use serde::Deserialize;

use super::{FamilyConfig, ImageSizes, check_depth, check_sizes};
use crate::models::chain::{Activation, Block, Chain, Neighbor};
use crate::models::dropping::depth_share;
use crate::models::graph::{Graph, Value};
use crate::models::layers::{
    ActivationFunction, Branch, Classifier, Conv2d, ConvShape, LayerNorm, Linear, Padding, Pass,
};
use crate::models::parameters::{Initialization, ParameterBuilder, ParameterId, Role};

/// timm's arguments of a ConvNeXt (its names and defaults).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ConvNeXtConfig {
    pub depths: Vec<usize>,
    pub dims: Vec<usize>,
    pub kernel_sizes: KernelSizes,
    /// Initial layer scale; without it there is none.
    pub ls_init_value: Option<f32>,
    pub stem_type: StemKind,
    pub patch_size: usize,
    /// Normalize the feature maps before pooling instead of the pooled features after it.
    pub head_norm_first: bool,
    /// Width of a hidden layer in the head.
    pub head_hidden_size: Option<usize>,
    /// Keep the MLP's weights as 1×1 convolutions.
    pub conv_mlp: bool,
    pub conv_bias: bool,
    /// Global response normalization in the MLP (ConvNeXt V2).
    pub use_grn: bool,
    pub act_layer: ActivationFunction,
    pub norm_eps: Option<f64>,
    /// Epsilon of the norm in the head, where it differs: an argument that timm has not, for transformers' models.
    pub head_norm_eps: Option<f64>,
    /// Channels of its images.
    pub in_chans: usize,
    pub num_classes: usize,
}

impl Default for ConvNeXtConfig {
    fn default() -> Self {
        Self {
            depths: vec![3, 3, 9, 3],
            dims: vec![96, 192, 384, 768],
            kernel_sizes: KernelSizes::Everywhere(7),
            ls_init_value: Some(1e-6),
            stem_type: StemKind::Patch,
            patch_size: 4,
            head_norm_first: false,
            head_hidden_size: None,
            conv_mlp: false,
            conv_bias: true,
            use_grn: false,
            act_layer: ActivationFunction::Gelu,
            norm_eps: None,
            head_norm_eps: None,
            in_chans: 3,
            num_classes: 1000,
        }
    }
}

impl FamilyConfig for ConvNeXtConfig {
    fn check(&self) -> Result<(), String> {
        if self.depths.len() != self.dims.len() || self.depths.is_empty() {
            return Err("depths and dims must be lists of the same length".into());
        }
        check_sizes(self.depths.iter().map(|&depth| ("depths", depth)))?;
        check_depth(self.depths.iter().copied())?;
        if self.depths.len() > 8 {
            return Err(format!("{} stages are more than 8", self.depths.len()));
        }
        check_sizes(self.dims.iter().map(|&width| ("dims", width)))?;
        let kernels = (0..self.depths.len()).map(|stage| self.kernel_sizes.of_stage(stage));
        check_sizes(kernels.map(|size| ("kernel_sizes", size)))?;
        check_sizes([("in_chans", self.in_chans), ("patch_size", self.patch_size)])
    }

    fn chain(&self, builder: &mut ParameterBuilder) -> Box<dyn Chain> {
        Box::new(ConvNeXt::new(self, builder))
    }

    /// The unpadded downsampling convolutions would use up the maps of smaller images.
    fn image_sizes(&self) -> ImageSizes {
        let stages = self.depths.len() as u32;
        let least = match self.stem_type {
            StemKind::Patch if self.patch_size == 2 => 2 * 2usize.pow(stages),
            StemKind::Patch => self.patch_size * 2usize.pow(stages - 1),
            // The overlapping stem is padded and rounds up.
            _ => 4 * 2usize.pow(stages - 1) - 3,
        };
        ImageSizes { least, ..ImageSizes::default() }
    }
}

impl ConvNeXtConfig {
    fn epsilon(&self) -> f64 {
        self.norm_eps.unwrap_or(1e-6)
    }
}

/// One kernel size, or one for each stage.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum KernelSizes {
    Everywhere(usize),
    PerStage(Vec<usize>),
}

impl KernelSizes {
    fn of_stage(&self, stage: usize) -> usize {
        match self {
            Self::Everywhere(size) => *size,
            Self::PerStage(sizes) => sizes.get(stage).copied().unwrap_or(7),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum StemKind {
    /// One convolution over patches.
    Patch,
    /// Two overlapping 3×3 convolutions of stride 2.
    Overlap,
    /// The same with a narrower first one.
    OverlapTiered,
    /// The same with a nonlinearity between them.
    OverlapAct,
}

/// A ConvNeXt as a chain of blocks.
pub(crate) struct ConvNeXt {
    blocks: Vec<Block>,
    stem: Stem,
    body: Vec<ConvNeXtBlock>,
    pool: Pool,
    head: Classifier,
}

impl ConvNeXt {
    pub fn new(config: &ConvNeXtConfig, builder: &mut ParameterBuilder) -> Self {
        let mut blocks = vec![Block::alone("stem")];
        builder.enter_block(0);
        let stem = builder.within("stem", |builder| Stem::new(config, builder));

        let mut body: Vec<ConvNeXtBlock> = Vec::new();
        let count = config.depths.iter().sum();
        let mut inputs = config.dims.first().copied().unwrap_or(0);
        for (stage, (&depth, &width)) in config.depths.iter().zip(&config.dims).enumerate() {
            let stage_name = format!("stages.{stage}");
            // A stem of stride 2 leaves the first stage to halve the size too.
            let stem_stride = if config.stem_type == StemKind::Patch { config.patch_size } else { 4 };
            let stride = if stage > 0 || stem_stride == 2 { 2 } else { 1 };
            for index in 0..depth {
                builder.enter_block(blocks.len());
                let downsample = (index == 0 && (stride > 1 || inputs != width)).then_some((inputs, stride));
                let mut block = builder.within(stage_name.as_str(), |builder| {
                    ConvNeXtBlock::new(config, builder, stage, index, width, downsample)
                });
                block.drop_share = depth_share(body.len(), count);
                body.push(block);
                blocks.push(Block::new(format!("{stage_name}.blocks.{index}"), stage_name.as_str()));
            }
            inputs = width;
        }

        builder.enter_block(blocks.len());
        let (pool, features) = Pool::new(config, builder, inputs);
        // timm counts a norm before pooling with the last block, and one after it with the head.
        let neighbor = if config.head_norm_first { Neighbor::Previous } else { Neighbor::Next };
        blocks.push(Block::alone("norm").joining(neighbor));

        builder.enter_block(blocks.len());
        let head = builder.within("head", |builder| Classifier::new(builder, "fc", features, config.num_classes));
        blocks.push(Block::alone("head"));
        Self { blocks, stem, body, pool, head }
    }
}

impl Chain for ConvNeXt {
    fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    fn forward_block(&self, block: usize, x: Activation, pass: &mut Pass) -> Activation {
        let body_end = self.body.len() + 1;
        match block {
            0 => Activation::Map(self.stem.forward(x.into_map(), pass)),
            block if block < body_end => Activation::Map(self.body[block - 1].forward(x.into_map(), pass)),
            block if block == body_end => Activation::Vector(self.pool.forward(x.into_map(), pass)),
            _ => self.head.forward(x, pass),
        }
    }

    fn export_block(&self, block: usize, x: Value, graph: &mut Graph) -> Value {
        let body_end = self.body.len() + 1;
        match block {
            0 => self.stem.export(x, graph),
            block if block < body_end => self.body[block - 1].export(x, graph),
            block if block == body_end => self.pool.export(x, graph),
            _ => self.head.export(x, graph),
        }
    }
}

/// Image to feature maps: a patch convolution, or two overlapping ones.
struct Stem {
    first: Conv2d,
    activation: ActivationFunction,
    second: Option<Conv2d>,
    norm: LayerNorm,
}

impl Stem {
    fn new(config: &ConvNeXtConfig, builder: &mut ParameterBuilder) -> Self {
        let width = config.dims.first().copied().unwrap_or(0);
        let bias = config.conv_bias;
        if config.stem_type == StemKind::Patch {
            let patch = config.patch_size;
            let shape = ConvShape::new(config.in_chans, width, patch).stride(patch).padding(Padding::Symmetric(0));
            return Self {
                first: Conv2d::new(builder, "0", shape, bias),
                activation: ActivationFunction::Identity,
                second: None,
                norm: LayerNorm::new(builder, "1", width, config.epsilon()),
            };
        }
        let middle = match config.stem_type {
            StemKind::OverlapTiered => make_divisible(width / 2),
            _ => width,
        };
        let activates = config.stem_type == StemKind::OverlapAct;
        // timm keeps the layers in a sequence, so the nonlinearity takes up a number.
        let (second, norm) = if activates { ("2", "3") } else { ("1", "2") };
        let stride_2 = |inputs, outputs| ConvShape::new(inputs, outputs, 3).stride(2);
        Self {
            first: Conv2d::new(builder, "0", stride_2(config.in_chans, middle), bias),
            activation: if activates { config.act_layer } else { ActivationFunction::Identity },
            second: Some(Conv2d::new(builder, second, stride_2(middle, width), bias)),
            norm: LayerNorm::new(builder, norm, width, config.epsilon()),
        }
    }

    fn forward(&self, image: Tensor<4>, pass: &Pass) -> Tensor<4> {
        let x = self.activation.apply(self.first.forward(image, pass));
        let x = match &self.second {
            Some(second) => second.forward(x, pass),
            None => x,
        };
        self.norm.forward(x, pass)
    }

    fn export(&self, image: Value, graph: &mut Graph) -> Value {
        let x = self.first.export(image, graph);
        let x = self.activation.export(x, graph);
        let x = match &self.second {
            Some(second) => second.export(x, graph),
            None => x,
        };
        export_map_norm(&self.norm, x, graph)
    }
}

/// Layer normalization over the channels of a map.
fn export_map_norm(norm: &LayerNorm, x: Value, graph: &mut Graph) -> Value {
    let x = graph.channels_last(x);
    let x = norm.export(x, graph);
    graph.channels_first(x)
}

/// The nearest multiple of 8 that is not more than 10 % smaller (timm's `make_divisible`).
fn make_divisible(channels: usize) -> usize {
    let rounded = ((channels + 4) / 8 * 8).max(8);
    if rounded * 10 < channels * 9 { rounded + 8 } else { rounded }
}

/// Depthwise convolution, normalization and a two-layer MLP on a residual branch; the first block
/// of a stage downsamples before it.
struct ConvNeXtBlock {
    downsample: Option<(LayerNorm, Conv2d)>,
    depthwise: Conv2d,
    norm: LayerNorm,
    expand: Linear,
    activation: ActivationFunction,
    response_norm: Option<GlobalResponseNorm>,
    project: Linear,
    scale: Option<ParameterId>,
    /// Part of the rate of stochastic depth.
    drop_share: f64,
}

impl ConvNeXtBlock {
    fn new(
        config: &ConvNeXtConfig,
        builder: &mut ParameterBuilder,
        stage: usize,
        index: usize,
        width: usize,
        downsample: Option<(usize, usize)>,
    ) -> Self {
        let downsample = downsample.map(|(inputs, stride)| {
            let kernel = if stride > 1 { 2 } else { 1 };
            let shape = ConvShape::new(inputs, width, kernel).stride(stride).padding(Padding::Symmetric(0));
            builder.within("downsample", |builder| {
                let norm = LayerNorm::new(builder, "0", inputs, config.epsilon());
                (norm, Conv2d::new(builder, "1", shape, config.conv_bias))
            })
        });
        builder.within(format!("blocks.{index}"), |builder| {
            let kernel = config.kernel_sizes.of_stage(stage);
            let depthwise = ConvShape::new(width, width, kernel).groups(width);
            let linear = if config.conv_mlp { Linear::stored_as_convolution } else { Linear::new };
            let hidden = 4 * width;
            let scale = config.ls_init_value.map(|value| {
                let initialization = Initialization::Constant(value);
                builder.parameter("gamma", &[width], Role::LayerScale, initialization)
            });
            Self {
                downsample,
                depthwise: Conv2d::new(builder, "conv_dw", depthwise, config.conv_bias),
                norm: LayerNorm::new(builder, "norm", width, config.epsilon()),
                expand: linear(builder, "mlp.fc1", (width, hidden), true),
                activation: config.act_layer,
                response_norm: config.use_grn.then(|| GlobalResponseNorm::new(builder, "mlp.grn", hidden)),
                project: linear(builder, "mlp.fc2", (hidden, width), true),
                scale,
                drop_share: 0.0,
            }
        })
    }

    fn forward(&self, x: Tensor<4>, pass: &Pass) -> Tensor<4> {
        let x = match &self.downsample {
            Some((norm, convolution)) => convolution.forward(norm.forward(x, pass), pass),
            None => x,
        };
        let branch = self.depthwise.forward(x.clone(), pass);
        let branch = self.expand.forward(self.norm.forward(branch, pass), pass);
        let branch = self.activation.apply(branch);
        let branch = match &self.response_norm {
            Some(norm) => norm.forward(branch, pass),
            None => branch,
        };
        let dropped = Branch { share: self.drop_share, number: 0 };
        self.project.forward_onto(branch, x, self.scale, dropped, pass)
    }

    fn export(&self, x: Value, graph: &mut Graph) -> Value {
        let x = match &self.downsample {
            Some((norm, convolution)) => {
                let x = export_map_norm(norm, x, graph);
                convolution.export(x, graph)
            }
            None => x,
        };
        let branch = self.depthwise.export(x, graph);
        let branch = graph.channels_last(branch);
        let branch = self.norm.export(branch, graph);
        let branch = self.expand.export(branch, graph);
        let branch = self.activation.export(branch, graph);
        let branch = match &self.response_norm {
            Some(norm) => norm.export(branch, graph),
            None => branch,
        };
        let branch = self.project.export(branch, graph);
        let branch = graph.scale(branch, self.scale);
        let branch = graph.channels_first(branch);
        graph.add(x, branch)
    }
}

/// Global response normalization (arXiv 2301.00808, section 3.2) over
/// `[batch, height, width, channels]`.
struct GlobalResponseNorm {
    weight: ParameterId,
    bias: ParameterId,
}

impl GlobalResponseNorm {
    const EPSILON: f64 = 1e-6;

    fn new(builder: &mut ParameterBuilder, name: &str, channels: usize) -> Self {
        let zero = Initialization::Constant(0.0);
        builder.within(name, |builder| Self {
            weight: builder.parameter("weight", &[channels], Role::NormWeight, zero),
            bias: builder.parameter("bias", &[channels], Role::NormBias, zero),
        })
    }

    fn forward(&self, x: Tensor<4>, pass: &Pass) -> Tensor<4> {
        // The tiny floor keeps the square root's gradient finite for a channel of zeros.
        let energy = x.clone().powi_scalar(2).sum_dim(1).sum_dim(2).clamp_min(1e-30);
        let norm = energy.sqrt();
        let relative = norm.clone() / (norm.mean_dim(3).add_scalar(Self::EPSILON));
        let normalized = x.clone() * relative * pass.flat(self.weight).unsqueeze();
        x + normalized + pass.flat(self.bias).unsqueeze()
    }

    fn export(&self, x: Value, graph: &mut Graph) -> Value {
        graph.global_response_norm(x, self.weight, self.bias, Self::EPSILON)
    }
}

/// Pooling and normalization, in the order that the configuration asks for, and the head's hidden
/// layer where there is one.
struct Pool {
    map_norm: Option<LayerNorm>,
    pooled_norm: Option<LayerNorm>,
    hidden: Option<Linear>,
}

impl Pool {
    fn new(config: &ConvNeXtConfig, builder: &mut ParameterBuilder, width: usize) -> (Self, usize) {
        let epsilon = config.head_norm_eps.unwrap_or(config.epsilon());
        if config.head_norm_first {
            let norm = LayerNorm::new(builder, "norm_pre", width, epsilon);
            return (Self { map_norm: Some(norm), pooled_norm: None, hidden: None }, width);
        }
        builder.within("head", |builder| {
            let pooled_norm = Some(LayerNorm::new(builder, "norm", width, epsilon));
            let hidden =
                config.head_hidden_size.map(|hidden| Linear::new(builder, "pre_logits.fc", (width, hidden), true));
            let features = config.head_hidden_size.unwrap_or(width);
            (Self { map_norm: None, pooled_norm, hidden }, features)
        })
    }

    fn forward(&self, x: Tensor<4>, pass: &Pass) -> Tensor<2> {
        let x = match &self.map_norm {
            Some(norm) => norm.forward(x, pass),
            None => x,
        };
        let pooled = global_average(x);
        let pooled = match &self.pooled_norm {
            Some(norm) => norm.forward(pooled, pass),
            None => pooled,
        };
        match &self.hidden {
            Some(hidden) => ActivationFunction::Gelu.apply(hidden.forward(pooled, pass)),
            None => pooled,
        }
    }

    fn export(&self, x: Value, graph: &mut Graph) -> Value {
        let x = match &self.map_norm {
            Some(norm) => export_map_norm(norm, x, graph),
            None => x,
        };
        let pooled = graph.global_average(x);
        let pooled = match &self.pooled_norm {
            Some(norm) => norm.export(pooled, graph),
            None => pooled,
        };
        match &self.hidden {
            Some(hidden) => {
                let hidden = hidden.export(pooled, graph);
                ActivationFunction::Gelu.export(hidden, graph)
            }
            None => pooled,
        }
    }
}
