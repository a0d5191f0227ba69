//! `retune layers`: lists the names that other commands take as layers.

use clap::Args;
use indicatif::HumanCount;
use retune::inference;
use retune::loading::Batch;
use retune::models::{Activation, Model, Role};
use serde::Serialize;

use crate::arguments::model::{ModelArguments, PreprocessingArguments};
use crate::failure::Failure;
use crate::output::Console;
use crate::output::table::{Align, Table};

/// Options of `retune layers`.
#[derive(Args)]
pub struct LayersArguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    preprocessing: PreprocessingArguments,
    /// List the parameter tensors, in the order of PyTorch's named_parameters()
    #[arg(long)]
    tensors: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    architecture: &'a str,
    /// Channels, height and width.
    input: [u32; 3],
    layers: Vec<LayerRow<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tensors: Option<Vec<TensorRow<'a>>>,
}

#[derive(Serialize)]
struct LayerRow<'a> {
    stage: &'a str,
    name: &'a str,
    parameters: usize,
    /// Of one image's output: channels × height × width, tokens × width, or the length of a vector.
    output: Vec<usize>,
}

#[derive(Serialize)]
struct TensorRow<'a> {
    name: &'a str,
    /// PyTorch's shape.
    shape: &'a [usize],
    /// Its scalars.
    parameters: usize,
    block: &'a str,
    /// What it is to its layer.
    role: &'static str,
}

/// Prints the model's stages and blocks, or its tensors, from input to output.
pub fn run(arguments: &LayersArguments, console: &Console) -> Result<(), Failure> {
    let model = arguments.model.load(&arguments.preprocessing.change(), console)?;
    let preprocessing = model.config().preprocessing();
    let sizes = model.block_parameters().into_iter().zip(output_shapes(&model));
    let rows = model.blocks().iter().zip(sizes).map(|(block, (parameters, output))| LayerRow {
        stage: &block.stage,
        name: &block.name,
        parameters,
        output,
    });
    let document = Document {
        architecture: model.config().architecture(),
        input: [preprocessing.channels.count() as u32, preprocessing.height, preprocessing.width],
        layers: rows.collect(),
        tensors: arguments.tensors.then(|| tensor_rows(&model)),
    };
    console.print(&document, || describe(&document))
}

/// The tensors that can train; running statistics are none of them.
fn tensor_rows(model: &Model) -> Vec<TensorRow<'_>> {
    let tensors = model.blocks().iter().flat_map(|block| block.parameters.iter().map(move |spec| (block, spec)));
    let rows = tensors.map(|(block, spec)| TensorRow {
        name: &spec.name,
        shape: &spec.shape,
        parameters: spec.len(),
        block: &block.name,
        role: role(spec.role),
    });
    rows.collect()
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Weight => "weight",
        Role::GroupedWeight => "grouped-weight",
        Role::Bias => "bias",
        Role::NormWeight => "norm-weight",
        Role::NormBias => "norm-bias",
        Role::Embedding => "embedding",
        Role::LayerScale => "layer-scale",
        Role::Statistic => "statistic",
    }
}

/// What each block makes of one image, by running a black one.
fn output_shapes(model: &Model) -> Vec<Vec<usize>> {
    let preprocessing = model.config().preprocessing();
    let (height, width) = (preprocessing.height as usize, preprocessing.width as usize);
    let images = vec![0.0; height * width * preprocessing.channels.count()];
    let image = Batch {
        number: 0,
        images,
        labels: Vec::new(),
        indices: vec![0],
        targets: None,
        mixed: false,
        n: 1,
        height,
        width,
    };
    let device = model.parameters.tensors()[0].device();
    let mut activation = Activation::Map(inference::images(&image, &device));
    (0..model.blocks().len())
        .map(|block| {
            activation = model.forward_range(activation.clone(), block..block + 1);
            activation.example_shape()
        })
        .collect()
}

fn describe(document: &Document) -> String {
    let total: usize = document.layers.iter().map(|layer| layer.parameters).sum();
    let [channels, height, width] = document.input;
    let (table, more) = match &document.tensors {
        Some(tensors) => (
            tensor_table(tensors),
            "--first, --last, and --layers take these names, and the names of blocks and stages",
        ),
        None => (
            layer_table(&document.layers),
            "features are also available at: input, pooled (what the head sees), logits\n\
             --tensors lists the tensors, which can also be tuned one by one",
        ),
    };
    format!(
        "{} for images of {channels} × {height} × {width}, {} parameters\n\n{table}\n{more}\n",
        document.architecture,
        HumanCount(total as u64),
    )
}

fn layer_table(layers: &[LayerRow]) -> Table {
    let mut table = Table::new([
        ("stage", Align::Left),
        ("block", Align::Left),
        ("parameters", Align::Right),
        ("output", Align::Left),
    ]);
    let mut stage = "";
    for layer in layers {
        let shown = if layer.stage == stage { "" } else { layer.stage };
        stage = layer.stage;
        let parameters = HumanCount(layer.parameters as u64).to_string();
        table.row([shown, layer.name, &parameters, &product(&layer.output)]);
    }
    table
}

fn tensor_table(tensors: &[TensorRow]) -> Table {
    let mut table = Table::new([
        ("block", Align::Left),
        ("tensor", Align::Left),
        ("shape", Align::Left),
        ("parameters", Align::Right),
        ("role", Align::Left),
    ]);
    let mut block = "";
    for tensor in tensors {
        let shown = if tensor.block == block { "" } else { tensor.block };
        block = tensor.block;
        let parameters = HumanCount(tensor.parameters as u64).to_string();
        table.row([shown, tensor.name, &product(tensor.shape), &parameters, tensor.role]);
    }
    table
}

fn product(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ")
}
