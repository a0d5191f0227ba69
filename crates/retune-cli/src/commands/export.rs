//! `retune export`: writes a model as a file of another runtime.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use retune::export::{self, Exported, OnnxOptions, Output};
use retune::run;

use crate::arguments::model::{ModelArguments, PreprocessingArguments};
use crate::arguments::parse::named;
use crate::failure::Failure;
use crate::output::Console;

/// Options of `retune export`.
#[derive(Args)]
pub struct ExportArguments {
    /// Run or model, in the place of --model
    #[arg(value_name = "MODEL", conflicts_with = "model")]
    exported: Option<String>,
    /// Format to write
    #[arg(long, value_name = "FORMAT", default_value = "onnx")]
    to: Format,
    /// File to write, .onnx; one that is there is replaced
    #[arg(short, long, value_name = "FILE", value_parser = onnx_file, default_value = "model.onnx")]
    out: PathBuf,
    /// What the graph gives: logits, probabilities (at the model's temperature), or features (what the head sees)
    #[arg(long, value_name = "NAME", default_value = "logits",
          value_parser = named::<Output>(Output::ALL.map(Output::name)))]
    output: Output,
    /// Make the graph resize, crop, and normalize decoded images itself
    #[arg(long)]
    with_preprocessing: bool,
    /// Version of ONNX's operators, from 17 to 22
    #[arg(long, value_name = "N", default_value_t = export::DEFAULT_OPSET, value_parser = opset,
          allow_hyphen_values = true)]
    opset: u32,
    /// Write the weights to FILE.data. Those of 2 GiB or more always go there
    #[arg(long)]
    external_data: bool,
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    preprocessing: PreprocessingArguments,
}

/// A format of another runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// ONNX
    Onnx,
}

fn onnx_file(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    match path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("onnx")) {
        true => Ok(path),
        false => Err("must end with .onnx, after a name, as in model.onnx".to_owned()),
    }
}

fn opset(text: &str) -> Result<u32, String> {
    let (first, last) = (export::OPSETS.start(), export::OPSETS.end());
    let known = text.parse().ok().filter(|opset| export::OPSETS.contains(opset));
    known.ok_or_else(|| format!("must be a whole number from {first} to {last}"))
}

/// Writes the file.
pub fn run(arguments: ExportArguments, console: &Console) -> Result<(), Failure> {
    let ExportArguments { exported, to: Format::Onnx, out, output, with_preprocessing, opset, external_data, .. } =
        arguments;
    let model_arguments = arguments.model.or_named(exported);
    let method = model_arguments.run().and_then(|run| run::finished(run).ok().flatten()).map(|summary| summary.method);
    let model = model_arguments.load(&arguments.preprocessing.change(), console)?;
    let options = OnnxOptions { output, opset, with_preprocessing, external_data, method };
    let written = export::write_onnx(&model, &out, &options)?;
    console.print(&written, || describe(&written))
}

fn describe(written: &Exported) -> String {
    let shape = |port: &export::Port| format!("{} [{}]", port.name, port.shape.join(", "));
    let mut text = format!("{} → {}, opset {}\n", shape(&written.input), shape(&written.output), written.opset);
    text.push_str(&format!("model: {}\n", written.path.display()));
    if let Some(weights) = &written.weights {
        text.push_str(&format!("weights: {}\n", weights.display()));
    }
    if let Some(preprocessor) = &written.preprocessor {
        text.push_str(&format!("preprocessing: {}\n", preprocessor.display()));
    }
    text
}
