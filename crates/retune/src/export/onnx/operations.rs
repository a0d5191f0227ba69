//! Each operation of a model's graph in ONNX's operators.

use super::messages::Attribute;
use super::writer::Writer;
use crate::models::graph::{Graph, Node, Operation, Sides};
use crate::models::layers::{ActivationFunction, ConvShape};
use crate::models::parameters::ParameterId;

/// The first opset with the operator `Gelu`.
const FIRST_WITH_GELU: u32 = 20;
/// The first opset whose reductions take their axes as an input.
const FIRST_WITH_AXES_AS_INPUT: u32 = 18;

/// Writes the nodes of a graph that takes its images from the value `images`, and gives the name of its last value.
pub(super) fn write(graph: &Graph, images: &str, writer: &mut Writer) -> String {
    let mut names: Vec<String> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let inputs: Vec<&str> = node.inputs.iter().map(|input| names[input.index()].as_str()).collect();
        writer.enter(writer.block_name(node.block));
        let name = match inputs.first() {
            None => images.to_owned(),
            Some(x) => operation(graph, node, x, &inputs, writer),
        };
        names.push(name);
    }
    names.pop().unwrap_or_default()
}

/// Writes one operation; `x` is the first of its inputs.
fn operation(graph: &Graph, node: &Node, x: &str, inputs: &[&str], writer: &mut Writer) -> String {
    match node.operation {
        Operation::Images => x.to_owned(),
        Operation::Convolution { weight, bias, shape, padding } => convolution(x, weight, bias, shape, padding, writer),
        Operation::BatchNorm { weight, bias, mean, variance, epsilon } => {
            let [weight, bias, mean, variance] = [weight, bias, mean, variance].map(|id| writer.parameter(id));
            let inputs = [x, &weight, &bias, &mean, &variance];
            writer.node("BatchNormalization", &inputs, [("epsilon", (epsilon as f32).into())])
        }
        Operation::LayerNorm { weight, bias, epsilon } => {
            let [weight, bias] = [weight, bias].map(|id| writer.parameter(id));
            let attributes = [("axis", (-1).into()), ("epsilon", (epsilon as f32).into())];
            writer.node("LayerNormalization", &[x, &weight, &bias], attributes)
        }
        Operation::Linear { weight, bias, inputs, outputs } => {
            linear(x, weight, bias, [inputs, outputs], node.shape.len(), writer)
        }
        Operation::Scale(factor) => {
            let factor = writer.parameter(factor);
            writer.node("Mul", &[x, &factor], [])
        }
        Operation::Activation(function) => activation(function, x, writer),
        Operation::Sigmoid => writer.node("Sigmoid", &[x], []),
        Operation::MaxPool { kernel, stride, padding } => {
            let attributes =
                [("kernel_shape", [kernel; 2].into()), ("strides", [stride; 2].into()), ("pads", [padding; 4].into())];
            writer.node("MaxPool", &[x], attributes)
        }
        Operation::AveragePool { kernel, stride, padding_after: (bottom, right) } => {
            let attributes = [
                ("kernel_shape", [kernel; 2].into()),
                ("strides", [stride; 2].into()),
                ("pads", [0, 0, bottom, right].into()),
                ("count_include_pad", 0.into()),
            ];
            writer.node("AveragePool", &[x], attributes)
        }
        Operation::GlobalAverage { keeps_dimensions } => {
            let pooled = writer.node("GlobalAveragePool", &[x], []);
            if keeps_dimensions { pooled } else { writer.node("Flatten", &[&pooled], [("axis", 1.into())]) }
        }
        Operation::GlobalResponseNorm { weight, bias, epsilon } => {
            global_response_norm(x, [weight, bias], epsilon, writer)
        }
        Operation::Add => writer.node("Add", inputs, []),
        Operation::Multiply => writer.node("Mul", inputs, []),
        Operation::ChannelsLast => transposed(x, [0, 2, 3, 1], writer),
        Operation::ChannelsFirst => transposed(x, [0, 3, 1, 2], writer),
        Operation::Tokens => {
            let shape = writer.integers([0, 0, -1]);
            let positions = writer.node("Reshape", &[x, &shape], []);
            transposed(&positions, [0, 2, 1], writer)
        }
        Operation::AddEmbedding(embedding) => {
            let embedding = writer.parameter(embedding);
            writer.node("Add", &[x, &embedding], [])
        }
        Operation::Prepend { tokens, count } => prepend(x, tokens, count, node.shape[1], writer),
        Operation::Heads { part, heads } => head_part(x, part, heads, node.shape[2], writer),
        Operation::Attention => attention(inputs, graph.shape(node.inputs[0]), writer),
        Operation::Token(index) => {
            let index = writer.integer(index as i64);
            writer.node("Gather", &[x, &index], [("axis", 1.into())])
        }
        Operation::MeanToken { from } => mean_token(x, from, writer),
    }
}

fn convolution(
    x: &str,
    weight: ParameterId,
    bias: Option<ParameterId>,
    shape: ConvShape,
    ((top, bottom), (left, right)): (Sides, Sides),
    writer: &mut Writer,
) -> String {
    let weight = writer.parameter(weight);
    let bias = bias.map(|bias| writer.parameter(bias));
    let inputs: Vec<&str> = [x, &weight].into_iter().chain(bias.as_deref()).collect();
    let attributes = [
        ("kernel_shape", [shape.kernel; 2].into()),
        ("strides", [shape.stride; 2].into()),
        ("pads", [top, left, bottom, right].into()),
        ("group", (shape.groups as i64).into()),
    ];
    writer.node("Conv", &inputs, attributes)
}

/// `Gemm` of vectors, for which the weight keeps its layout; `MatMul` of more dimensions.
fn linear(
    x: &str,
    weight: ParameterId,
    bias: Option<ParameterId>,
    [inputs, outputs]: [usize; 2],
    dimensions: usize,
    writer: &mut Writer,
) -> String {
    let bias = bias.map(|bias| writer.parameter(bias));
    if dimensions == 1 {
        let weight = writer.parameter(weight);
        let inputs: Vec<&str> = [x, &weight].into_iter().chain(bias.as_deref()).collect();
        return writer.node("Gemm", &inputs, [("transB", 1.into())]);
    }
    let weight = writer.transposed(weight, inputs, outputs);
    let product = writer.node("MatMul", &[x, &weight], []);
    match bias {
        Some(bias) => writer.node("Add", &[&product, &bias], []),
        None => product,
    }
}

fn activation(function: ActivationFunction, x: &str, writer: &mut Writer) -> String {
    match function {
        ActivationFunction::Identity => x.to_owned(),
        ActivationFunction::Relu => writer.node("Relu", &[x], []),
        ActivationFunction::Relu6 => {
            let [least, most] = [0.0, 6.0].map(|limit| writer.float(limit));
            writer.node("Clip", &[x, &least, &most], [])
        }
        ActivationFunction::Silu => {
            let gate = writer.node("Sigmoid", &[x], []);
            writer.node("Mul", &[x, &gate], [])
        }
        ActivationFunction::QuickGelu => {
            let steepness = writer.float(1.702);
            let steep = writer.node("Mul", &[x, &steepness], []);
            let gate = writer.node("Sigmoid", &[&steep], []);
            writer.node("Mul", &[x, &gate], [])
        }
        ActivationFunction::Gelu if writer.opset() >= FIRST_WITH_GELU => writer.node("Gelu", &[x], []),
        ActivationFunction::GeluTanh if writer.opset() >= FIRST_WITH_GELU => {
            writer.node("Gelu", &[x], [("approximate", "tanh".into())])
        }
        ActivationFunction::Gelu => {
            let root = writer.float(std::f32::consts::SQRT_2);
            let scaled = writer.node("Div", &[x, &root], []);
            let erf = writer.node("Erf", &[&scaled], []);
            gelu_of(x, &erf, writer)
        }
        ActivationFunction::GeluTanh => {
            // tanh(√(2/π) · (x + 0.044715 · x³))
            let [three, cubic, root] =
                [3.0, 0.044_715, std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2]
                    .map(|value| writer.float(value));
            let cube = writer.node("Pow", &[x, &three], []);
            let cube = writer.node("Mul", &[&cube, &cubic], []);
            let sum = writer.node("Add", &[x, &cube], []);
            let scaled = writer.node("Mul", &[&sum, &root], []);
            let tanh = writer.node("Tanh", &[&scaled], []);
            gelu_of(x, &tanh, writer)
        }
    }
}

/// `x · (1 + s) / 2`, in the order of operators by which ONNX Runtime recognizes GELU.
fn gelu_of(x: &str, s: &str, writer: &mut Writer) -> String {
    let [one, half] = [1.0, 0.5].map(|value| writer.float(value));
    let gate = writer.node("Add", &[s, &one], []);
    let product = writer.node("Mul", &[x, &gate], []);
    writer.node("Mul", &[&product, &half], [])
}

fn transposed<const N: usize>(x: &str, order: [usize; N], writer: &mut Writer) -> String {
    writer.node("Transpose", &[x], [("perm", order.into())])
}

/// A reduction over some axes.
fn reduced<const N: usize>(
    operator: &str,
    x: &str,
    axes: [i64; N],
    keeps_dimensions: bool,
    writer: &mut Writer,
) -> String {
    let keepdims = ("keepdims", i64::from(keeps_dimensions).into());
    if writer.opset() < FIRST_WITH_AXES_AS_INPUT {
        return writer.node(operator, &[x], [keepdims, ("axes", Attribute::Ints(axes.into()))]);
    }
    let axes = writer.integers(axes);
    writer.node(operator, &[x, &axes], [keepdims])
}

fn global_response_norm(x: &str, parameters: [ParameterId; 2], epsilon: f64, writer: &mut Writer) -> String {
    let norm = reduced("ReduceL2", x, [1, 2], true, writer);
    let mean = reduced("ReduceMean", &norm, [-1], true, writer);
    let epsilon = writer.float(epsilon as f32);
    let mean = writer.node("Add", &[&mean, &epsilon], []);
    let relative = writer.node("Div", &[&norm, &mean], []);
    let normalized = writer.node("Mul", &[x, &relative], []);
    let [weight, bias] = parameters.map(|id| writer.parameter(id));
    let scaled = writer.node("Mul", &[&normalized, &weight], []);
    let shifted = writer.node("Add", &[&scaled, &bias], []);
    writer.node("Add", &[x, &shifted], [])
}

/// Tokens in front of those of each image; the number of images is known only when the graph runs.
fn prepend(x: &str, tokens: ParameterId, count: usize, width: usize, writer: &mut Writer) -> String {
    let tokens = writer.parameter(tokens);
    let batch = writer.node("Shape", &[x], [("start", 0.into()), ("end", 1.into())]);
    let example = writer.integers([count as i64, width as i64]);
    let shape = writer.node("Concat", &[&batch, &example], [("axis", 0.into())]);
    let repeated = writer.node("Expand", &[&tokens, &shape], []);
    writer.node("Concat", &[&repeated, x], [("axis", 1.into())])
}

fn head_part(x: &str, part: usize, heads: usize, head_width: usize, writer: &mut Writer) -> String {
    let width = heads * head_width;
    let [from, to] = [part, part + 1].map(|edge| writer.integers([(edge * width) as i64]));
    let axis = writer.integers([-1]);
    let own = writer.node("Slice", &[x, &from, &to, &axis], []);
    let shape = writer.integers([0, 0, heads as i64, head_width as i64]);
    let by_head = writer.node("Reshape", &[&own, &shape], []);
    transposed(&by_head, [0, 2, 1, 3], writer)
}

/// Attention of parts of `[heads, tokens, head width]`.
fn attention(parts: &[&str], shape: &[usize], writer: &mut Writer) -> String {
    let (&[query, key, value], &[heads, _, head_width]) = (parts, shape) else {
        unreachable!("a graph gives attention queries, keys, and values by head")
    };
    let scale = writer.float((head_width as f32).sqrt().recip());
    let query = writer.node("Mul", &[query, &scale], []);
    let key = transposed(key, [0, 1, 3, 2], writer);
    let scores = writer.node("MatMul", &[&query, &key], []);
    let shares = writer.node("Softmax", &[&scores], [("axis", (-1).into())]);
    let mixed = writer.node("MatMul", &[&shares, value], []);
    let by_token = transposed(&mixed, [0, 2, 1, 3], writer);
    let shape = writer.integers([0, 0, (heads * head_width) as i64]);
    writer.node("Reshape", &[&by_token, &shape], [])
}

fn mean_token(x: &str, from: usize, writer: &mut Writer) -> String {
    let tokens = if from == 0 {
        x.to_owned()
    } else {
        let [from, end, axis] = [from as i64, i64::MAX, 1].map(|value| writer.integers([value]));
        writer.node("Slice", &[x, &from, &end, &axis], [])
    };
    reduced("ReduceMean", &tokens, [1], false, writer)
}
