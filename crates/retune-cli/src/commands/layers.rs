//! `retune layers`: the names that other commands take as layers.

use clap::Args;
use indicatif::HumanCount;
use retune::data::Batch;
use retune::inference;
use retune::models::{Activation, Model};
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
}

#[derive(Serialize)]
struct Document<'a> {
    architecture: &'a str,
    /// Channels, height and width.
    input: [u32; 3],
    layers: Vec<LayerRow<'a>>,
}

#[derive(Serialize)]
struct LayerRow<'a> {
    stage: &'a str,
    name: &'a str,
    parameters: usize,
    /// Of one image's output: channels × height × width, tokens × width, or the length of a vector.
    output: Vec<usize>,
}

/// Prints the model's stages and blocks from input to output.
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
        input: [3, preprocessing.height, preprocessing.width],
        layers: rows.collect(),
    };
    console.print(&document, || describe(&document))
}

/// What each block makes of one image, by running a black one.
fn output_shapes(model: &Model) -> Vec<Vec<usize>> {
    let preprocessing = model.config().preprocessing();
    let (height, width) = (preprocessing.height as usize, preprocessing.width as usize);
    let images = vec![0.0; 3 * height * width];
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
    let mut activation = Activation::of_images(inference::images(&image, &device));
    (0..model.blocks().len())
        .map(|block| {
            activation = model.forward_range(activation.clone(), block..block + 1);
            activation.example_shape()
        })
        .collect()
}

fn describe(document: &Document) -> String {
    let mut table = Table::new([
        ("stage", Align::Left),
        ("block", Align::Left),
        ("parameters", Align::Right),
        ("output", Align::Left),
    ]);
    let mut stage = "";
    for layer in &document.layers {
        let shown = if layer.stage == stage { "" } else { layer.stage };
        stage = layer.stage;
        let parameters = HumanCount(layer.parameters as u64).to_string();
        table.row([shown, layer.name, &parameters, &product(&layer.output)]);
    }
    let total: usize = document.layers.iter().map(|layer| layer.parameters).sum();
    let [channels, height, width] = document.input;
    format!(
        "{} for images of {channels} × {height} × {width}, {} parameters\n\n{table}\n\
         features can also be taken at: input, pooled (what the head sees), logits\n",
        document.architecture,
        HumanCount(total as u64),
    )
}

fn product(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ")
}
