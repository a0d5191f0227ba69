//! A network as plain data: the operations from the images to the logits, in the field's own terms.
//!
//! A family describes its graph beside its forward pass, with the same layers, and knows no file format. A format of
//! [`export`](crate::export) says each operation in its own terms. Shapes are those of one example, without the batch.
//! Feature maps have their channels first, as PyTorch's and ONNX's do; [`Graph::channels_last`] turns them.

use super::layers::{ActivationFunction, ConvShape};
use super::parameters::ParameterId;

/// What an operation of a graph gives: its place in [`Graph::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Value(usize);

impl Value {
    /// The place of its operation in [`Graph::nodes`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// An operation and where its inputs come from.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub operation: Operation,
    pub inputs: Vec<Value>,
    /// Shape of what it gives for one example.
    pub shape: Vec<usize>,
    /// Index of the block that it belongs to.
    pub block: usize,
}

/// Zeros before and after a side.
pub(crate) type Sides = (usize, usize);

/// What an operation computes of its inputs, with the parameters that it uses.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// The images, `[channels, height, width]`; every graph begins with them.
    Images,
    /// A convolution over `[channels, height, width]`; the padding is `(vertical, horizontal)`.
    Convolution { weight: ParameterId, bias: Option<ParameterId>, shape: ConvShape, padding: (Sides, Sides) },
    /// Normalization of each channel by its running statistics.
    BatchNorm { weight: ParameterId, bias: ParameterId, mean: ParameterId, variance: ParameterId, epsilon: f64 },
    /// Normalization over the last dimension.
    LayerNorm { weight: ParameterId, bias: ParameterId, epsilon: f64 },
    /// `x · weightᵀ + bias` over the last dimension; the weight is `[outputs, inputs]`, or the same as a 1×1 convolution.
    Linear { weight: ParameterId, bias: Option<ParameterId>, inputs: usize, outputs: usize },
    /// Each value of the last dimension times its own factor (layer scale).
    Scale(ParameterId),
    /// A nonlinearity.
    Activation(ActivationFunction),
    /// `1 / (1 + exp(−x))`.
    Sigmoid,
    /// The maximum of windows of `[channels, height, width]`.
    MaxPool { kernel: usize, stride: usize, padding: usize },
    /// The mean of windows, the last ones cut at the border and averaged over what is there.
    AveragePool { kernel: usize, stride: usize, padding_after: (usize, usize) },
    /// The mean of each channel: `[channels]`, or `[channels, 1, 1]` where it keeps its dimensions.
    GlobalAverage { keeps_dimensions: bool },
    /// `x + weight · x · relative norm + bias` over `[height, width, channels]` (arXiv 2301.00808, section 3.2).
    GlobalResponseNorm { weight: ParameterId, bias: ParameterId, epsilon: f64 },
    /// The sum of two values; the second may be broadcast.
    Add,
    /// The product of two values; the second may be broadcast.
    Multiply,
    /// `[channels, height, width]` to `[height, width, channels]`.
    ChannelsLast,
    /// `[height, width, channels]` to `[channels, height, width]`.
    ChannelsFirst,
    /// The positions of a map, row by row, as tokens: `[channels, height, width]` to `[tokens, channels]`.
    Tokens,
    /// The sum with an embedding of each token.
    AddEmbedding(ParameterId),
    /// Tokens that are the same for every image, `count` of them, in front of its own.
    Prepend { tokens: ParameterId, count: usize },
    /// The part of the last dimension that is queries (0), keys (1), or values (2), by head:
    /// `[tokens, 3 · width]` to `[heads, tokens, head width]`.
    Heads { part: usize, heads: usize },
    /// `softmax(query · keyᵀ / √head width) · value` of each head, and the heads side by side, `[tokens, width]`.
    Attention,
    /// One token.
    Token(usize),
    /// The mean of the tokens from one on.
    MeanToken { from: usize },
}

impl Operation {
    /// The parameters that it uses.
    #[cfg(test)]
    fn parameters(&self) -> Vec<ParameterId> {
        match *self {
            Self::Convolution { weight, bias, .. } | Self::Linear { weight, bias, .. } => {
                std::iter::once(weight).chain(bias).collect()
            }
            Self::BatchNorm { weight, bias, mean, variance, .. } => vec![weight, bias, mean, variance],
            Self::LayerNorm { weight, bias, .. } | Self::GlobalResponseNorm { weight, bias, .. } => vec![weight, bias],
            Self::Scale(parameter) | Self::AddEmbedding(parameter) | Self::Prepend { tokens: parameter, .. } => {
                vec![parameter]
            }
            _ => Vec::new(),
        }
    }
}

/// The operations of a network, each after those that it takes its inputs from.
#[derive(Clone, Debug)]
pub(crate) struct Graph {
    nodes: Vec<Node>,
    block: usize,
}

impl Graph {
    /// A graph of nothing but the images, `[channels, height, width]`.
    pub fn of_images(shape: [usize; 3]) -> (Self, Value) {
        let mut graph = Self { nodes: Vec::new(), block: 0 };
        let images = graph.push(Operation::Images, &[], shape.into());
        (graph, images)
    }

    /// The operations in their order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Shape of a value for one example.
    pub fn shape(&self, value: Value) -> &[usize] {
        &self.nodes[value.0].shape
    }

    /// From here on, operations belong to the block with this index.
    pub fn enter_block(&mut self, block: usize) {
        self.block = block;
    }

    fn push(&mut self, operation: Operation, inputs: &[Value], shape: Vec<usize>) -> Value {
        self.nodes.push(Node { operation, inputs: inputs.into(), shape, block: self.block });
        Value(self.nodes.len() - 1)
    }

    /// An operation that keeps the shape of its first input.
    fn alike(&mut self, operation: Operation, inputs: &[Value]) -> Value {
        let shape = self.shape(inputs[0]).to_vec();
        self.push(operation, inputs, shape)
    }

    /// Channels, height, and width of a feature map.
    ///
    /// # Panics
    /// If the value is no map: a mistake in an architecture, not in its input.
    fn map(&self, value: Value) -> [usize; 3] {
        self.shape(value).try_into().expect("a family gives maps to what takes maps")
    }

    /// Number and width of tokens; panics as [`Graph::map`] does.
    fn tokens_of(&self, value: Value) -> [usize; 2] {
        self.shape(value).try_into().expect("a family gives tokens to what takes tokens")
    }

    /// A convolution; `weight` is `[outputs, inputs / groups, kernel, kernel]`.
    pub fn convolution(&mut self, x: Value, weight: ParameterId, bias: Option<ParameterId>, shape: ConvShape) -> Value {
        let ConvShape { kernel, stride, outputs, .. } = shape;
        let [_, height, width] = self.map(x);
        let [vertical, horizontal] = [height, width].map(|side| shape.padding.before_and_after(side, kernel, stride));
        let left = |side: usize, (before, after): Sides| (side + before + after - kernel) / stride + 1;
        let result = vec![outputs, left(height, vertical), left(width, horizontal)];
        let padding = (vertical, horizontal);
        self.push(Operation::Convolution { weight, bias, shape, padding }, &[x], result)
    }

    /// BatchNorm of a map by its running statistics.
    pub fn batch_norm(&mut self, x: Value, parameters: [ParameterId; 4], epsilon: f64) -> Value {
        let [weight, bias, mean, variance] = parameters;
        self.alike(Operation::BatchNorm { weight, bias, mean, variance, epsilon }, &[x])
    }

    /// Layer normalization over the last dimension.
    pub fn layer_norm(&mut self, x: Value, weight: ParameterId, bias: ParameterId, epsilon: f64) -> Value {
        self.alike(Operation::LayerNorm { weight, bias, epsilon }, &[x])
    }

    /// A linear layer over the last dimension.
    pub fn linear(
        &mut self,
        x: Value,
        weight: ParameterId,
        bias: Option<ParameterId>,
        (inputs, outputs): (usize, usize),
    ) -> Value {
        let mut shape = self.shape(x).to_vec();
        *shape.last_mut().expect("a value has a dimension") = outputs;
        self.push(Operation::Linear { weight, bias, inputs, outputs }, &[x], shape)
    }

    /// Layer scale, where there is one.
    pub fn scale(&mut self, x: Value, factor: Option<ParameterId>) -> Value {
        match factor {
            Some(factor) => self.alike(Operation::Scale(factor), &[x]),
            None => x,
        }
    }

    pub fn activation(&mut self, x: Value, function: ActivationFunction) -> Value {
        match function {
            ActivationFunction::Identity => x,
            function => self.alike(Operation::Activation(function), &[x]),
        }
    }

    pub fn sigmoid(&mut self, x: Value) -> Value {
        self.alike(Operation::Sigmoid, &[x])
    }

    /// The maximum of windows.
    pub fn max_pool(&mut self, x: Value, kernel: usize, stride: usize, padding: usize) -> Value {
        let [channels, height, width] = self.map(x);
        let left = |side: usize| (side + 2 * padding - kernel) / stride + 1;
        let shape = vec![channels, left(height), left(width)];
        self.push(Operation::MaxPool { kernel, stride, padding }, &[x], shape)
    }

    /// The mean of 2×2 windows, as [`average_pool_2`](super::layers::average_pool_2).
    pub fn average_pool_2(&mut self, x: Value, stride: usize) -> Value {
        const KERNEL: usize = 2;
        let [channels, height, width] = self.map(x);
        let left = |side: usize| side.saturating_sub(KERNEL).div_ceil(stride) + 1;
        let missing = |side: usize| ((left(side) - 1) * stride + KERNEL).saturating_sub(side);
        let padding_after = (missing(height), missing(width));
        let shape = vec![channels, left(height), left(width)];
        self.push(Operation::AveragePool { kernel: KERNEL, stride, padding_after }, &[x], shape)
    }

    /// The mean of each channel of a map, `[channels]`.
    pub fn global_average(&mut self, x: Value) -> Value {
        let [channels, ..] = self.map(x);
        self.push(Operation::GlobalAverage { keeps_dimensions: false }, &[x], vec![channels])
    }

    /// The mean of each channel as a map of one pixel, `[channels, 1, 1]`.
    pub fn global_average_map(&mut self, x: Value) -> Value {
        let [channels, ..] = self.map(x);
        self.push(Operation::GlobalAverage { keeps_dimensions: true }, &[x], vec![channels, 1, 1])
    }

    /// Global response normalization of a map with its channels last.
    pub fn global_response_norm(&mut self, x: Value, weight: ParameterId, bias: ParameterId, epsilon: f64) -> Value {
        self.alike(Operation::GlobalResponseNorm { weight, bias, epsilon }, &[x])
    }

    pub fn add(&mut self, x: Value, other: Value) -> Value {
        self.alike(Operation::Add, &[x, other])
    }

    pub fn multiply(&mut self, x: Value, other: Value) -> Value {
        self.alike(Operation::Multiply, &[x, other])
    }

    pub fn channels_last(&mut self, x: Value) -> Value {
        let [channels, height, width] = self.map(x);
        self.push(Operation::ChannelsLast, &[x], vec![height, width, channels])
    }

    pub fn channels_first(&mut self, x: Value) -> Value {
        let [height, width, channels] = self.map(x);
        self.push(Operation::ChannelsFirst, &[x], vec![channels, height, width])
    }

    /// The positions of a map as tokens.
    pub fn tokens(&mut self, x: Value) -> Value {
        let [channels, height, width] = self.map(x);
        self.push(Operation::Tokens, &[x], vec![height * width, channels])
    }

    /// The sum of tokens and an embedding of each.
    pub fn add_embedding(&mut self, x: Value, embedding: ParameterId) -> Value {
        self.alike(Operation::AddEmbedding(embedding), &[x])
    }

    /// Learned tokens in front of an image's own.
    pub fn prepend(&mut self, x: Value, tokens: ParameterId, count: usize) -> Value {
        let [own, width] = self.tokens_of(x);
        self.push(Operation::Prepend { tokens, count }, &[x], vec![count + own, width])
    }

    /// Queries, keys, and values of each head, from a linear layer's output.
    pub fn heads(&mut self, qkv: Value, heads: usize) -> [Value; 3] {
        let [tokens, width] = self.tokens_of(qkv);
        let shape = vec![heads, tokens, width / 3 / heads];
        [0, 1, 2].map(|part| self.push(Operation::Heads { part, heads }, &[qkv], shape.clone()))
    }

    /// Attention of each head, and the heads side by side.
    pub fn attention(&mut self, [query, key, value]: [Value; 3]) -> Value {
        let [heads, tokens, width] = self.map(query);
        self.push(Operation::Attention, &[query, key, value], vec![tokens, heads * width])
    }

    /// One token, `[width]`.
    pub fn token(&mut self, x: Value, index: usize) -> Value {
        let [_, width] = self.tokens_of(x);
        self.push(Operation::Token(index), &[x], vec![width])
    }

    /// The mean of the tokens from one on, `[width]`.
    pub fn mean_token(&mut self, x: Value, from: usize) -> Value {
        let [_, width] = self.tokens_of(x);
        self.push(Operation::MeanToken { from }, &[x], vec![width])
    }

    /// The mean over positions or tokens, `[width]`; a vector stays as it is. As [`Activation::pool`](super::Activation::pool).
    pub fn pool(&mut self, x: Value) -> Value {
        match self.shape(x).len() {
            3 => self.global_average(x),
            2 => self.mean_token(x, 0),
            _ => x,
        }
    }
}

#[cfg(test)]
mod tests;
