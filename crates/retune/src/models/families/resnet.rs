//! ResNet and its variants: He et al. 2016 (arXiv 1512.03385); ResNeXt (arXiv 1611.05431); the
//! `d` variants' deep stem and averaging downsample (arXiv 1812.01187). Parameter names and
//! numerics follow timm's `resnet.py`.
//!
//! Chain: `stem → layer1.0 → … → layer4.n → head`.

use burn::tensor::Tensor;
use retune_kernels::operators::max_pool;
use serde::Deserialize;

use super::{FamilyConfig, check_depth, check_sizes};
use crate::models::chain::{Activation, Block, Chain};
use crate::models::dropping::depth_share;
use crate::models::graph::{Graph, Value};
use crate::models::layers::{ActivationFunction, Branch, Classifier, ConvNorm, ConvShape, Pass, average_pool_2};
use crate::models::parameters::ParameterBuilder;

/// PyTorch's default for BatchNorm.
const EPSILON: f64 = 1e-5;

/// timm's arguments of a ResNet (its names and defaults).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ResNetConfig {
    pub block: BlockKinds,
    /// Number of blocks in each stage.
    pub layers: Vec<usize>,
    /// Width of each stage before a bottleneck's expansion.
    pub channels: Vec<usize>,
    /// Groups of the 3×3 convolution in a bottleneck (ResNeXt).
    pub cardinality: usize,
    /// Bottleneck width for 64 channels (Wide ResNet and ResNeXt).
    pub base_width: usize,
    pub stem_width: usize,
    pub stem_type: StemKind,
    /// Downsample shortcuts by averaging before a 1×1 convolution (ResNet-D).
    pub avg_down: bool,
    /// Channels of its images.
    pub in_chans: usize,
    pub num_classes: usize,
}

impl Default for ResNetConfig {
    fn default() -> Self {
        Self {
            block: BlockKinds::Everywhere(BlockKind::BasicBlock),
            layers: vec![2, 2, 2, 2],
            channels: vec![64, 128, 256, 512],
            cardinality: 1,
            base_width: 64,
            stem_width: 64,
            stem_type: StemKind::Plain,
            avg_down: false,
            in_chans: 3,
            num_classes: 1000,
        }
    }
}

impl FamilyConfig for ResNetConfig {
    fn check(&self) -> Result<(), String> {
        if self.layers.len() != self.channels.len() || self.layers.is_empty() {
            return Err("layers and channels must be lists of the same length".into());
        }
        check_sizes(self.layers.iter().map(|&depth| ("layers", depth)))?;
        check_depth(self.layers.iter().copied())?;
        check_sizes(self.channels.iter().map(|&width| ("channels", width)))?;
        check_sizes([
            ("in_chans", self.in_chans),
            ("cardinality", self.cardinality),
            ("base_width", self.base_width),
            ("stem_width / 4", self.stem_width / 4),
        ])?;
        let narrowest = self.channels.iter().min().copied().unwrap_or(0);
        check_sizes([("channels × base_width / 64", narrowest * self.base_width / 64)])
    }

    fn chain(&self, builder: &mut ParameterBuilder) -> Box<dyn Chain> {
        Box::new(ResNet::new(self, builder))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum BlockKind {
    #[serde(rename = "basic", alias = "BasicBlock")]
    BasicBlock,
    #[serde(rename = "bottleneck", alias = "Bottleneck")]
    Bottleneck,
}

/// One kind of block, or one for each stage.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum BlockKinds {
    Everywhere(BlockKind),
    PerStage(Vec<BlockKind>),
}

impl BlockKinds {
    fn of_stage(&self, stage: usize) -> BlockKind {
        match self {
            Self::Everywhere(kind) => *kind,
            Self::PerStage(kinds) => kinds.get(stage).copied().unwrap_or(BlockKind::BasicBlock),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum StemKind {
    /// One 7×7 convolution.
    #[serde(rename = "")]
    Plain,
    /// Three 3×3 convolutions.
    #[serde(rename = "deep")]
    Deep,
    /// Three 3×3 convolutions of growing width.
    #[serde(rename = "deep_tiered")]
    DeepTiered,
}

/// A residual network as a chain of blocks.
pub(crate) struct ResNet {
    blocks: Vec<Block>,
    stem: Stem,
    residuals: Vec<Residual>,
    head: Classifier,
}

impl ResNet {
    pub fn new(config: &ResNetConfig, builder: &mut ParameterBuilder) -> Self {
        let mut blocks = vec![Block::alone("stem")];
        builder.enter_block(0);
        let (stem, mut inputs) = Stem::new(config, builder);

        let mut residuals: Vec<Residual> = Vec::new();
        let count = config.layers.iter().sum();
        for (stage, (&depth, &width)) in config.layers.iter().zip(&config.channels).enumerate() {
            let stage_name = format!("layer{}", stage + 1);
            let kind = config.block.of_stage(stage);
            for index in 0..depth {
                builder.enter_block(blocks.len());
                let name = format!("{stage_name}.{index}");
                let stride = if index == 0 && stage > 0 { 2 } else { 1 };
                let mut residual = builder
                    .within(name.as_str(), |builder| Residual::new(config, builder, kind, inputs, width, stride));
                residual.drop_share = depth_share(residuals.len(), count);
                inputs = residual.outputs;
                residuals.push(residual);
                blocks.push(Block::new(name, stage_name.as_str()));
            }
        }

        builder.enter_block(blocks.len());
        let head = Classifier::new(builder, "fc", inputs, config.num_classes);
        blocks.push(Block::alone("head"));
        Self { blocks, stem, residuals, head }
    }
}

impl Chain for ResNet {
    fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    fn forward_block(&self, block: usize, x: Activation, pass: &mut Pass) -> Activation {
        if block == 0 {
            return Activation::Map(self.stem.forward(x.into_map(), pass));
        }
        match self.residuals.get(block - 1) {
            Some(residual) => Activation::Map(residual.forward(x.into_map(), pass)),
            None => self.head.forward(x, pass),
        }
    }

    fn export_block(&self, block: usize, x: Value, graph: &mut Graph) -> Value {
        if block == 0 {
            return self.stem.export(x, graph);
        }
        match self.residuals.get(block - 1) {
            Some(residual) => residual.export(x, graph),
            None => self.head.export(x, graph),
        }
    }
}

/// Convolutions to a quarter of the size: one 7×7 or three 3×3, then max-pooling.
struct Stem {
    convolutions: Vec<ConvNorm>,
}

impl Stem {
    fn new(config: &ResNetConfig, builder: &mut ParameterBuilder) -> (Self, usize) {
        let width = config.stem_width;
        if config.stem_type == StemKind::Plain {
            let shape = ConvShape::new(config.in_chans, 64, 7).stride(2);
            let convolution = ConvNorm::new(builder, ("conv1", "bn1"), shape, EPSILON);
            return (Self { convolutions: vec![convolution] }, 64);
        }
        let first = match config.stem_type {
            StemKind::DeepTiered => 3 * (width / 4),
            _ => width,
        };
        let outputs = width * 2;
        // timm keeps the three convolutions in one sequence whose last norm is the stem's `bn1`.
        let layers = [
            (("conv1.0", "conv1.1"), ConvShape::new(config.in_chans, first, 3).stride(2)),
            (("conv1.3", "conv1.4"), ConvShape::new(first, width, 3)),
            (("conv1.6", "bn1"), ConvShape::new(width, outputs, 3)),
        ];
        let convolutions = layers.map(|(names, shape)| ConvNorm::new(builder, names, shape, EPSILON)).into();
        (Self { convolutions }, outputs)
    }

    fn forward(&self, image: Tensor<4>, pass: &mut Pass) -> Tensor<4> {
        let x = self
            .convolutions
            .iter()
            .fold(image, |x, convolution| convolution.forward_activated(x, ActivationFunction::Relu, pass));
        max_pool(x, 3, 2, 1)
    }

    fn export(&self, image: Value, graph: &mut Graph) -> Value {
        let relu = ActivationFunction::Relu;
        let x = self.convolutions.iter().fold(image, |x, convolution| convolution.export_activated(x, relu, graph));
        graph.max_pool(x, 3, 2, 1)
    }
}

/// A residual block: convolutions on the branch, the input or its projection on the shortcut.
struct Residual {
    branch: Vec<ConvNorm>,
    shortcut: Option<Shortcut>,
    outputs: usize,
    /// Part of the rate of stochastic depth.
    drop_share: f64,
}

impl Residual {
    fn new(
        config: &ResNetConfig,
        builder: &mut ParameterBuilder,
        kind: BlockKind,
        inputs: usize,
        width: usize,
        stride: usize,
    ) -> Self {
        let (shapes, outputs) = match kind {
            BlockKind::BasicBlock => basic_shapes(inputs, width, stride),
            BlockKind::Bottleneck => bottleneck_shapes(config, inputs, width, stride),
        };
        let names = [("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")];
        let branch =
            shapes.into_iter().zip(names).map(|(shape, names)| ConvNorm::new(builder, names, shape, EPSILON)).collect();
        let shortcut = (stride != 1 || inputs != outputs)
            .then(|| Shortcut::new(config.avg_down, builder, inputs, outputs, stride));
        Self { branch, shortcut, outputs, drop_share: 0.0 }
    }

    fn forward(&self, x: Tensor<4>, pass: &mut Pass) -> Tensor<4> {
        let relu = ActivationFunction::Relu;
        let (last, first) = self.branch.split_last().expect("a branch has two or three convolutions");
        let branch = first.iter().fold(x.clone(), |x, convolution| convolution.forward_activated(x, relu, pass));
        let shortcut = match &self.shortcut {
            Some(shortcut) => shortcut.forward(x, pass),
            None => x,
        };
        let dropped = Branch { share: self.drop_share, number: 0 };
        last.forward_onto(branch, shortcut, dropped, relu, pass)
    }

    fn export(&self, x: Value, graph: &mut Graph) -> Value {
        let relu = ActivationFunction::Relu;
        let (last, first) = self.branch.split_last().expect("a branch has two or three convolutions");
        let branch = first.iter().fold(x, |x, convolution| convolution.export_activated(x, relu, graph));
        let shortcut = match &self.shortcut {
            Some(shortcut) => shortcut.export(x, graph),
            None => x,
        };
        last.export_onto(branch, shortcut, relu, graph)
    }
}

fn basic_shapes(inputs: usize, width: usize, stride: usize) -> (Vec<ConvShape>, usize) {
    let shapes = vec![ConvShape::new(inputs, width, 3).stride(stride), ConvShape::new(width, width, 3)];
    (shapes, width)
}

fn bottleneck_shapes(config: &ResNetConfig, inputs: usize, width: usize, stride: usize) -> (Vec<ConvShape>, usize) {
    let inner = width * config.base_width / 64 * config.cardinality;
    let outputs = width * 4;
    let shapes = vec![
        ConvShape::new(inputs, inner, 1),
        ConvShape::new(inner, inner, 3).stride(stride).groups(config.cardinality),
        ConvShape::new(inner, outputs, 1),
    ];
    (shapes, outputs)
}

/// Projection of a block's input to its output's shape.
struct Shortcut {
    /// Stride of the averaging that comes before the convolution; none where it strides itself.
    average: Option<usize>,
    projection: ConvNorm,
}

impl Shortcut {
    fn new(averages: bool, builder: &mut ParameterBuilder, inputs: usize, outputs: usize, stride: usize) -> Self {
        let shape = ConvShape::new(inputs, outputs, 1);
        if averages {
            let names = ("downsample.1", "downsample.2");
            let projection = ConvNorm::new(builder, names, shape, EPSILON);
            return Self { average: (stride > 1).then_some(stride), projection };
        }
        let names = ("downsample.0", "downsample.1");
        let projection = ConvNorm::new(builder, names, shape.stride(stride), EPSILON);
        Self { average: None, projection }
    }

    fn forward(&self, x: Tensor<4>, pass: &mut Pass) -> Tensor<4> {
        let x = match self.average {
            Some(stride) => average_pool_2(x, stride),
            None => x,
        };
        self.projection.forward(x, pass)
    }

    fn export(&self, x: Value, graph: &mut Graph) -> Value {
        let x = match self.average {
            Some(stride) => graph.average_pool_2(x, stride),
            None => x,
        };
        self.projection.export(x, graph)
    }
}
