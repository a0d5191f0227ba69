//! A model as a file of [ONNX](https://onnx.ai): its graph, its weights, and what it is called.

pub(super) mod messages;
mod operations;
mod preprocessing;
mod writer;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use prost::Message;

use self::messages::{ElementType, GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto, ValueInfoProto};
use self::writer::Writer;
use super::{ExportError, OnnxOptions, Output, Port, metadata};
use crate::files::{self, FileError};
use crate::models::Model;

/// Protocol buffers end at 2 GiB; the rest of the file needs a little room.
const MAX_WEIGHTS: usize = (1 << 31) - (1 << 26);

/// Where weights outside of the graph's file begin: on a page, so that runtimes can map them into memory.
const ALIGNMENT: usize = 4096;
/// What the file with the weights ends in, after the name of the graph's.
const WEIGHTS_EXTENSION: &str = "data";

/// A file that is ready to be written.
pub(super) struct Document {
    model: ModelProto,
    /// What the graph takes.
    pub input: Port,
    /// What the graph gives.
    pub output: Port,
}

impl Document {
    /// The file of a model.
    pub fn of(model: &Model, options: &OnnxOptions) -> Result<Self, ExportError> {
        let mut writer = Writer::new(model, options.opset);
        let preprocessing = model.config().preprocessing();
        let own = [preprocessing.channels.count(), preprocessing.height as usize, preprocessing.width as usize];
        let (input, kind, images) = if options.with_preprocessing {
            let input = port(preprocessing::INPUT, ["height".into(), "width".into(), own[0].to_string()]);
            let images = preprocessing::write(preprocessing, &mut writer)?;
            (input, ElementType::Uint8, images)
        } else {
            let input = port("pixel_values", own.map(|side| side.to_string()));
            (input, ElementType::Float, "pixel_values".to_owned())
        };
        let (graph, result) = model.graph(options.output != Output::Features);
        let last = operations::write(&graph, &images, &mut writer);
        let last = match options.output {
            Output::Probabilities => probabilities(model, &last, &mut writer),
            Output::Logits | Output::Features => last,
        };
        writer.rename(&last, options.output.name());
        let output = port(options.output.name(), [graph.shape(result)[0].to_string()]);
        let (nodes, initializers) = writer.finish();
        let graph = GraphProto {
            name: model.config().architecture().to_owned(),
            node: nodes,
            initializer: initializers,
            input: vec![value_info(&input, kind)],
            output: vec![value_info(&output, ElementType::Float)],
        };
        Ok(Self { model: model_proto(model, graph, options), input, output })
    }

    /// Writes the file, and the weights beside it where they do not fit or are to be apart. Returns where those are.
    pub fn write(&self, path: &Path, apart: bool) -> Result<Option<PathBuf>, ExportError> {
        let bytes: usize = self.weights().map(<[u8]>::len).sum();
        if !apart && bytes <= MAX_WEIGHTS {
            let bytes = self.model.encode_to_vec();
            files::write_atomically(path, |file| file.write_all(&bytes))?;
            return Ok(None);
        }
        let name = path.file_name().and_then(OsStr::to_str).ok_or_else(|| {
            let reason =
                io::Error::new(io::ErrorKind::InvalidFilename, "its name, which its weights share, is not Unicode");
            FileError::new("write", path, reason)
        })?;
        let name = format!("{name}.{WEIGHTS_EXTENSION}");
        let beside = path.with_file_name(&name);
        files::write_atomically(&beside, |file| {
            for weights in self.weights() {
                file.write_all(weights)?;
                file.write_all(&vec![0; padding(weights.len())])?;
            }
            Ok(())
        })?;
        let bytes = self.without_weights(&name).encode_to_vec();
        files::write_atomically(path, |file| file.write_all(&bytes))?;
        Ok(Some(beside))
    }

    /// The bytes of each tensor.
    fn weights(&self) -> impl Iterator<Item = &[u8]> {
        let initializers = self.model.graph.iter().flat_map(|graph| &graph.initializer);
        initializers.filter(|tensor| tensor.is_weight()).map(|tensor| tensor.raw_data.as_slice())
    }

    /// The same file, whose weights are in another one.
    fn without_weights(&self, location: &str) -> ModelProto {
        let graph = self.model.graph.as_ref();
        let mut offset = 0;
        let initializer = graph.into_iter().flat_map(|graph| &graph.initializer).map(|tensor| {
            if !tensor.is_weight() {
                return tensor.clone();
            }
            let length = tensor.raw_data.len();
            let place =
                [("location", location.to_owned()), ("offset", offset.to_string()), ("length", length.to_string())];
            offset += length + padding(length);
            tensor.elsewhere(place.into_iter().map(StringStringEntryProto::from).collect())
        });
        let initializer = initializer.collect();
        let graph = graph.map(|graph| GraphProto {
            initializer,
            name: graph.name.clone(),
            node: graph.node.clone(),
            input: graph.input.clone(),
            output: graph.output.clone(),
        });
        ModelProto { graph, ..self.model.without_graph() }
    }
}

/// Removes the weights that the file of another export had beside it; there may be none.
pub fn remove_weights_beside(path: &Path) -> Result<(), FileError> {
    let beside = path.with_added_extension(WEIGHTS_EXTENSION);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(FileError::new("remove", &beside, error)),
        _ => Ok(()),
    }
}

/// Bytes between the end of a tensor and the beginning of the next.
fn padding(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT) - length
}

fn port<const N: usize>(name: &'static str, example: [String; N]) -> Port {
    Port { name, shape: std::iter::once("batch".to_owned()).chain(example).collect() }
}

fn value_info(port: &Port, kind: ElementType) -> ValueInfoProto {
    ValueInfoProto::new(port.name, kind, &port.shape)
}

fn model_proto(model: &Model, graph: GraphProto, options: &OnnxOptions) -> ModelProto {
    let entries = metadata::of(model, options.method.as_deref());
    ModelProto {
        ir_version: ir_version(options.opset),
        producer_name: "retune".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto { domain: String::new(), version: options.opset.into() }],
        metadata_props: entries.into_iter().map(StringStringEntryProto::from).collect(),
    }
}

/// The version of the file format that came with a version of the operators (ONNX's `helper.py`, `VERSION_TABLE`).
fn ir_version(opset: u32) -> i64 {
    match opset {
        ..=18 => 8,
        19..=20 => 9,
        _ => 10,
    }
}

/// The probabilities of logits, as `retune predict` computes them.
fn probabilities(model: &Model, logits: &str, writer: &mut Writer) -> String {
    writer.enter("probabilities");
    if model.config().is_multi_label() {
        return writer.node("Sigmoid", &[logits], []);
    }
    let logits = match model.config().temperature() {
        Some(temperature) => {
            let temperature = writer.float(temperature as f32);
            writer.node("Div", &[logits, &temperature], [])
        }
        None => logits.to_owned(),
    };
    writer.node("Softmax", &[&logits], [("axis", (-1).into())])
}
