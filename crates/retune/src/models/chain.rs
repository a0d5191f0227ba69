//! The one shape that every architecture has: an ordered chain of blocks that can be entered and
//! left anywhere.

use std::ops::Range;

use burn::tensor::{Gradients, Tensor};
use retune_kernels::operators::{channels_first, global_average, gradient_seed};

use super::graph::{Graph, Value};
use super::layers::Pass;
use super::parameters::ParameterSpec;
use crate::names::suggestion;

/// What flows from one block to the next.
#[derive(Clone, Debug)]
pub enum Activation {
    /// Feature maps, or the images that the first block takes, `[batch, height, width, channels]`.
    Map(Tensor<4>),
    /// Tokens of a transformer, `[batch, tokens, width]`.
    Tokens(Tensor<3>),
    /// Pooled features or logits, `[batch, width]`.
    Vector(Tensor<2>),
}

impl Activation {
    /// Shape of one example, without the batch; of a map `[channels, height, width]`.
    pub fn example_shape(&self) -> Vec<usize> {
        match self {
            Self::Map(x) => {
                let [_, height, width, channels] = x.dims();
                vec![channels, height, width]
            }
            Self::Tokens(x) => x.dims()[1..].to_vec(),
            Self::Vector(x) => x.dims()[1..].to_vec(),
        }
    }

    /// All values of an example in a row, `[batch, …]` flattened; maps channel by channel, as
    /// PyTorch keeps them.
    pub fn flatten(self) -> Tensor<2> {
        match self {
            Self::Map(x) => channels_first(x).flatten(1, 3),
            Self::Tokens(x) => x.flatten(1, 2),
            Self::Vector(x) => x,
        }
    }

    /// The mean over positions or tokens, `[batch, width]`; a vector stays as it is.
    pub fn pool(self) -> Tensor<2> {
        match self {
            Self::Map(x) => global_average(x),
            Self::Tokens(x) => {
                let [batch, _, width] = x.dims();
                x.mean_dim(1).reshape([batch, width])
            }
            Self::Vector(x) => x,
        }
    }

    /// Some examples of the batch.
    pub(crate) fn examples(&self, range: Range<usize>) -> Self {
        match self {
            Self::Map(x) => Self::Map(x.clone().slice_dim(0, range)),
            Self::Tokens(x) => Self::Tokens(x.clone().slice_dim(0, range)),
            Self::Vector(x) => Self::Vector(x.clone().slice_dim(0, range)),
        }
    }

    /// The same values, cut off from automatic differentiation.
    pub fn inner(self) -> Self {
        match self {
            Self::Map(x) => Self::Map(x.inner()),
            Self::Tokens(x) => Self::Tokens(x.inner()),
            Self::Vector(x) => Self::Vector(x.inner()),
        }
    }

    /// The same values as a constant on the device's differentiating side.
    pub fn into_autodiff(self) -> Self {
        match self {
            Self::Map(x) => Self::Map(Tensor::from_inner(x)),
            Self::Tokens(x) => Self::Tokens(Tensor::from_inner(x)),
            Self::Vector(x) => Self::Vector(Tensor::from_inner(x)),
        }
    }

    /// The same values on the differentiating side, tracked, so that a backward pass finds their gradient.
    pub(crate) fn into_tracked(self) -> Self {
        match self.into_autodiff() {
            Self::Map(x) => Self::Map(x.require_grad()),
            Self::Tokens(x) => Self::Tokens(x.require_grad()),
            Self::Vector(x) => Self::Vector(x.require_grad()),
        }
    }

    /// Takes the gradient of a tracked activation out of what a backward pass found.
    pub(crate) fn take_gradient(&self, found: &mut Gradients) -> Option<Self> {
        match self {
            Self::Map(x) => x.grad_remove(found).map(Self::Map),
            Self::Tokens(x) => x.grad_remove(found).map(Self::Tokens),
            Self::Vector(x) => x.grad_remove(found).map(Self::Vector),
        }
    }

    /// The backward pass from this activation, whose gradient is known.
    ///
    /// # Panics
    /// If they differ in shape.
    pub(crate) fn backward_from(self, gradient: Self) -> Gradients {
        let seed = match (self, gradient) {
            (Self::Map(x), Self::Map(gradient)) => gradient_seed(x, gradient),
            (Self::Tokens(x), Self::Tokens(gradient)) => gradient_seed(x, gradient),
            (Self::Vector(x), Self::Vector(gradient)) => gradient_seed(x, gradient),
            (x, gradient) => panic!(
                "a gradient has the shape of its activation, not {:?} for {:?}",
                gradient.example_shape(),
                x.example_shape()
            ),
        };
        seed.backward()
    }

    /// The feature maps.
    ///
    /// # Panics
    /// If the chain brings something else here: a mistake in an architecture, not in its input.
    pub(crate) fn into_map(self) -> Tensor<4> {
        match self {
            Self::Map(x) => x,
            other => panic!(
                "every network is built so that a block that takes feature maps follows one that gives them, not shape {:?}",
                other.example_shape()
            ),
        }
    }

    /// The tokens; panics as [`Activation::into_map`] does.
    pub(crate) fn into_tokens(self) -> Tensor<3> {
        match self {
            Self::Tokens(x) => x,
            other => panic!(
                "every network is built so that a block that takes tokens follows one that gives them, not shape {:?}",
                other.example_shape()
            ),
        }
    }
}

/// A block's name, the stage that it belongs to, and its parameters.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Block {
    /// Name at block granularity, such as `layer1.0`.
    pub name: String,
    /// Name at stage granularity, such as `layer1`.
    pub stage: String,
    /// Whether layer-wise learning rates count it as one layer with the block before or after it,
    /// as timm's `group_matcher` does with a transformer's last norm.
    #[serde(skip)]
    pub joins: Option<Neighbor>,
    /// The parameters that gradients can train, in the order of PyTorch's `named_parameters()`.
    #[serde(skip)]
    pub parameters: Vec<ParameterSpec>,
}

/// The block with which another counts as one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Neighbor {
    /// The block before it.
    Previous,
    /// The block after it.
    Next,
}

/// No block, stage or tensor has the name.
#[derive(Debug, thiserror::Error)]
#[error("unknown layer '{name}'{suggestion}; `retune layers` lists them")]
pub struct UnknownLayer {
    /// The name asked for.
    pub name: String,
    /// The closest known name, as a clause.
    pub suggestion: String,
}

impl Block {
    pub(crate) fn new(name: impl Into<String>, stage: impl Into<String>) -> Self {
        Self { name: name.into(), stage: stage.into(), joins: None, parameters: Vec::new() }
    }

    /// A block that is a stage by itself.
    pub(crate) fn alone(name: impl Into<String>) -> Self {
        let name = name.into();
        Self { stage: name.clone(), name, joins: None, parameters: Vec::new() }
    }

    pub(crate) fn joining(self, neighbor: Neighbor) -> Self {
        Self { joins: Some(neighbor), ..self }
    }

    /// The block called `name`, or the blocks of the stage called so.
    ///
    /// # Errors
    /// An unknown name, with the closest known one.
    pub fn find(blocks: &[Self], name: &str) -> Result<Range<usize>, UnknownLayer> {
        if let Some(index) = blocks.iter().position(|block| block.name == name) {
            return Ok(index..index + 1);
        }
        if let Some(first) = blocks.iter().position(|block| block.stage == name) {
            let count = blocks[first..].iter().take_while(|block| block.stage == name).count();
            return Ok(first..first + count);
        }
        let names = blocks.iter().flat_map(|block| [block.name.as_str(), block.stage.as_str()]);
        Err(UnknownLayer::among(name, names))
    }

    /// Position of the parameter called `name` in [`Block::parameters`].
    pub(crate) fn parameter(&self, name: &str) -> Option<usize> {
        self.parameters.iter().position(|spec| spec.name == name)
    }
}

impl UnknownLayer {
    /// That `name` is none of `known`.
    pub(crate) fn among<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        Self { name: name.to_owned(), suggestion: suggestion(name, known) }
    }
}

/// An architecture: from the image through its blocks to the logits. The last block is the
/// classifier.
pub(crate) trait Chain: Send + Sync {
    /// The blocks from input to output; the last is called `head`.
    fn blocks(&self) -> &[Block];

    /// Runs one block.
    fn forward_block(&self, block: usize, x: Activation, pass: &mut Pass) -> Activation;

    /// The operations of one block in evaluation: what [`Chain::forward_block`] computes, as a graph.
    fn export_block(&self, block: usize, x: Value, graph: &mut Graph) -> Value;

    /// The normalized class token and the mean of the normalized patches, side by side, from what enters the block before
    /// the head; `None` where there are no such tokens.
    fn class_token_and_mean(&self, _x: &Activation, _pass: &Pass) -> Option<Tensor<2>> {
        None
    }

    /// Whether it has a class token beside its patches.
    fn has_class_token(&self) -> bool {
        false
    }
}

/// Runs a range of blocks.
pub(crate) fn forward_range(chain: &dyn Chain, x: Activation, blocks: Range<usize>, pass: &mut Pass) -> Activation {
    blocks.fold(x, |x, block| {
        pass.enter_block(block);
        chain.forward_block(block, x, pass)
    })
}

/// The operations of a range of blocks.
pub(crate) fn export_range(chain: &dyn Chain, x: Value, blocks: Range<usize>, graph: &mut Graph) -> Value {
    blocks.fold(x, |x, block| {
        graph.enter_block(block);
        chain.export_block(block, x, graph)
    })
}
