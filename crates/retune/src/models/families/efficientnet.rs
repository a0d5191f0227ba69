//! EfficientNet (Tan & Le 2019, arXiv 1905.11946), EfficientNet-Lite, EfficientNetV2 (arXiv
//! 2104.00298) and their relatives made of inverted residuals (MobileNetV2, arXiv 1801.04381).
//! Parameter names and numerics follow timm's `efficientnet.py`, with the `tf_` variants' `SAME`
//! padding and epsilon.
//!
//! Chain: `stem → blocks.0.0 → … → blocks.s.n → conv_head → head`. The `conv_head` block ends with
//! pooled features.

use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;
use retune_kernels::operators::global_average;
use serde::Deserialize;

use super::{Convention, FamilyConfig, check_depth, check_sizes};
use crate::models::chain::{Activation, Block, Chain, Neighbor};
use crate::models::graph::{Graph, Value};
use crate::models::layers::{
    ActivationFunction, Branch, Classifier, Conv2d, ConvNorm, ConvShape, Padding, Pass, add_branch,
};
use crate::models::parameters::ParameterBuilder;

/// The sizes of an EfficientNet as built (timm derives them by scaling and rounding; the table of
/// architectures holds the results).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EfficientNetConfig {
    pub stem_size: usize,
    /// Channels of the last convolution; 0 where there is none.
    pub num_features: usize,
    pub pad_type: PadType,
    pub act_layer: ActivationFunction,
    pub norm_eps: f64,
    pub stages: Vec<Vec<BlockRow>>,
    /// Channels of its images.
    #[serde(default = "three")]
    pub in_chans: usize,
    pub num_classes: usize,
}

fn three() -> usize {
    3
}

impl FamilyConfig for EfficientNetConfig {
    fn check(&self) -> Result<(), String> {
        check_sizes([("in_chans", self.in_chans), ("stem_size", self.stem_size)])?;
        for row in self.stages.iter().flatten() {
            check_sizes([
                ("kernel", row.kernel),
                ("stride", row.stride),
                ("out", row.out),
                ("repeats", row.repeats),
                ("squeeze", row.squeeze.unwrap_or(1)),
            ])?;
            if matches!(row.kind, BlockKind::InvertedResidual | BlockKind::EdgeResidual) {
                check_sizes([("expanded", row.expanded)])?;
            }
        }
        check_depth(self.stages.iter().flatten().map(|row| row.repeats))
    }

    fn chain(&self, builder: &mut ParameterBuilder) -> Box<dyn Chain> {
        Box::new(EfficientNet::new(self, builder))
    }

    fn convention(&self) -> Option<Convention> {
        Some(Convention { pads_as_tensorflow: self.pad_type == PadType::Same, epsilon: self.norm_eps })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum PadType {
    /// PyTorch's symmetric padding.
    #[serde(rename = "")]
    Symmetric,
    /// TensorFlow's.
    #[serde(rename = "same")]
    Same,
}

impl PadType {
    fn of(self, kernel: usize) -> Padding {
        match self {
            Self::Same if kernel > 1 => Padding::Same,
            _ => Padding::centered(kernel),
        }
    }
}

/// Consecutive equal blocks of a stage.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BlockRow {
    #[serde(rename = "type")]
    pub kind: BlockKind,
    /// Size of the spatial convolution.
    pub kernel: usize,
    #[serde(default = "one")]
    pub stride: usize,
    /// Channels between expansion and projection.
    #[serde(default)]
    pub expanded: usize,
    pub out: usize,
    /// Channels of the squeeze-and-excitation bottleneck.
    #[serde(default)]
    pub squeeze: Option<usize>,
    /// The block's input is added to its output.
    #[serde(default)]
    pub skip: bool,
    #[serde(default = "one")]
    pub repeats: usize,
}

fn one() -> usize {
    1
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum BlockKind {
    #[serde(rename = "ds")]
    DepthwiseSeparable,
    #[serde(rename = "ir")]
    InvertedResidual,
    /// Expansion and spatial convolution fused into one (EfficientNetV2's fused MBConv).
    #[serde(rename = "er")]
    EdgeResidual,
    #[serde(rename = "cn")]
    Convolution,
}

/// An EfficientNet as a chain of blocks.
pub(crate) struct EfficientNet {
    blocks: Vec<Block>,
    activation: ActivationFunction,
    stem: ConvNorm,
    body: Vec<MobileBlock>,
    conv_head: Option<ConvNorm>,
    head: Classifier,
}

impl EfficientNet {
    pub fn new(config: &EfficientNetConfig, builder: &mut ParameterBuilder) -> Self {
        let mut blocks = vec![Block::alone("stem")];
        builder.enter_block(0);
        let stem_shape = ConvShape::new(config.in_chans, config.stem_size, 3).stride(2).padding(config.pad_type.of(3));
        let stem = ConvNorm::new(builder, ("conv_stem", "bn1"), stem_shape, config.norm_eps);

        let mut body: Vec<MobileBlock> = Vec::new();
        let count: usize = config.stages.iter().flatten().map(|row| row.repeats).sum();
        let mut inputs = config.stem_size;
        for (stage, rows) in config.stages.iter().enumerate() {
            let stage_name = format!("blocks.{stage}");
            let repeated = rows.iter().flat_map(|row| std::iter::repeat_n(row, row.repeats));
            for (index, row) in repeated.enumerate() {
                let name = format!("{stage_name}.{index}");
                builder.enter_block(blocks.len());
                let mut block = builder.within(name.as_str(), |builder| MobileBlock::new(config, builder, row, inputs));
                // timm's EfficientNet divides by the number of blocks, so that no block has the whole rate.
                block.drop_share = body.len() as f64 / count as f64;
                body.push(block);
                blocks.push(Block::new(name, stage_name.as_str()));
                inputs = row.out;
            }
        }

        let conv_head = (config.num_features > 0).then(|| {
            builder.enter_block(blocks.len());
            blocks.push(Block::alone("conv_head").joining(Neighbor::Previous));
            let shape = ConvShape::new(inputs, config.num_features, 1);
            inputs = config.num_features;
            ConvNorm::new(builder, ("conv_head", "bn2"), shape, config.norm_eps)
        });

        builder.enter_block(blocks.len());
        blocks.push(Block::alone("head"));
        let head = Classifier::new(builder, "classifier", inputs, config.num_classes);
        Self { blocks, activation: config.act_layer, stem, body, conv_head, head }
    }
}

impl Chain for EfficientNet {
    fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    fn forward_block(&self, block: usize, x: Activation, pass: &mut Pass) -> Activation {
        if block == 0 {
            return Activation::Map(self.stem.forward_activated(x.into_map(), self.activation, pass));
        }
        if let Some(body) = self.body.get(block - 1) {
            return Activation::Map(body.forward(x.into_map(), pass));
        }
        match &self.conv_head {
            Some(conv_head) if block == self.body.len() + 1 => {
                let maps = conv_head.forward_activated(x.into_map(), self.activation, pass);
                Activation::Vector(global_average(maps))
            }
            _ => self.head.forward(x, pass),
        }
    }

    fn export_block(&self, block: usize, x: Value, graph: &mut Graph) -> Value {
        if block == 0 {
            return self.stem.export_activated(x, self.activation, graph);
        }
        if let Some(body) = self.body.get(block - 1) {
            return body.export(x, graph);
        }
        match &self.conv_head {
            Some(conv_head) if block == self.body.len() + 1 => {
                let maps = conv_head.export_activated(x, self.activation, graph);
                graph.global_average(maps)
            }
            _ => self.head.export(x, graph),
        }
    }
}

/// One block of the body: convolutions, an optional squeeze-and-excitation after the spatial one,
/// an optional skip.
struct MobileBlock {
    /// Convolutions up to and including the spatial one, each followed by the nonlinearity.
    activated: Vec<ConvNorm>,
    activation: ActivationFunction,
    squeeze: Option<SqueezeExcitation>,
    /// The last convolution, which no nonlinearity follows.
    projection: Option<ConvNorm>,
    skip: bool,
    /// Part of the rate of stochastic depth.
    drop_share: f64,
}

impl MobileBlock {
    fn new(config: &EfficientNetConfig, builder: &mut ParameterBuilder, row: &BlockRow, inputs: usize) -> Self {
        let epsilon = config.norm_eps;
        let pointwise = |inputs, outputs| ConvShape::new(inputs, outputs, 1);
        let spatial = |inputs, outputs| {
            ConvShape::new(inputs, outputs, row.kernel).stride(row.stride).padding(config.pad_type.of(row.kernel))
        };
        let mut layer = |names, shape| ConvNorm::new(builder, names, shape, epsilon);
        // In the order in which timm registers them.
        let activated = match row.kind {
            BlockKind::DepthwiseSeparable => {
                vec![layer(("conv_dw", "bn1"), spatial(inputs, inputs).groups(inputs))]
            }
            BlockKind::InvertedResidual => {
                let depthwise = spatial(row.expanded, row.expanded).groups(row.expanded);
                vec![layer(("conv_pw", "bn1"), pointwise(inputs, row.expanded)), layer(("conv_dw", "bn2"), depthwise)]
            }
            BlockKind::EdgeResidual => {
                vec![layer(("conv_exp", "bn1"), spatial(inputs, row.expanded))]
            }
            BlockKind::Convolution => vec![layer(("conv", "bn1"), spatial(inputs, row.out))],
        };
        let (width, projection) = match row.kind {
            BlockKind::DepthwiseSeparable => (inputs, Some(("conv_pw", "bn2"))),
            BlockKind::InvertedResidual => (row.expanded, Some(("conv_pwl", "bn3"))),
            BlockKind::EdgeResidual => (row.expanded, Some(("conv_pwl", "bn2"))),
            BlockKind::Convolution => (row.out, None),
        };
        let squeeze = row.squeeze.map(|squeezed| SqueezeExcitation::new(builder, width, squeezed, config.act_layer));
        let projection = projection.map(|names| ConvNorm::new(builder, names, pointwise(width, row.out), epsilon));
        Self { activated, activation: config.act_layer, squeeze, projection, skip: row.skip, drop_share: 0.0 }
    }

    fn forward(&self, x: Tensor<4>, pass: &mut Pass) -> Tensor<4> {
        let shortcut = self.skip.then(|| x.clone());
        let x = self.activated.iter().fold(x, |x, layer| layer.forward_activated(x, self.activation, pass));
        let x = match &self.squeeze {
            Some(squeeze) => squeeze.forward(x, pass),
            None => x,
        };
        let branch = Branch { share: self.drop_share, number: 0 };
        match (&self.projection, shortcut) {
            (Some(projection), Some(shortcut)) => {
                projection.forward_onto(x, shortcut, branch, ActivationFunction::Identity, pass)
            }
            (Some(projection), None) => projection.forward(x, pass),
            (None, Some(shortcut)) => add_branch(x, shortcut, branch, pass),
            (None, None) => x,
        }
    }

    fn export(&self, x: Value, graph: &mut Graph) -> Value {
        let shortcut = self.skip.then_some(x);
        let x = self.activated.iter().fold(x, |x, layer| layer.export_activated(x, self.activation, graph));
        let x = match &self.squeeze {
            Some(squeeze) => squeeze.export(x, graph),
            None => x,
        };
        let x = match &self.projection {
            Some(projection) => projection.export(x, graph),
            None => x,
        };
        match shortcut {
            Some(shortcut) => graph.add(x, shortcut),
            None => x,
        }
    }
}

/// Channel-wise gates computed from the pooled channels (arXiv 1709.01507).
struct SqueezeExcitation {
    reduce: Conv2d,
    activation: ActivationFunction,
    expand: Conv2d,
}

impl SqueezeExcitation {
    fn new(builder: &mut ParameterBuilder, width: usize, squeezed: usize, activation: ActivationFunction) -> Self {
        builder.within("se", |builder| Self {
            reduce: Conv2d::new(builder, "conv_reduce", ConvShape::new(width, squeezed, 1), true),
            activation,
            expand: Conv2d::new(builder, "conv_expand", ConvShape::new(squeezed, width, 1), true),
        })
    }

    fn forward(&self, x: Tensor<4>, pass: &Pass) -> Tensor<4> {
        let [batch, _, _, channels] = x.dims();
        let pooled = global_average(x.clone()).reshape([batch, 1, 1, channels]);
        let squeezed = self.activation.apply(self.reduce.forward(pooled, pass));
        x * sigmoid(self.expand.forward(squeezed, pass))
    }

    fn export(&self, x: Value, graph: &mut Graph) -> Value {
        let pooled = graph.global_average_map(x);
        let squeezed = self.reduce.export(pooled, graph);
        let squeezed = self.activation.export(squeezed, graph);
        let expanded = self.expand.export(squeezed, graph);
        let gates = graph.sigmoid(expanded);
        graph.multiply(x, gates)
    }
}
