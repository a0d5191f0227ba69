//! Nodes and tensors of an ONNX file while it is made.

use std::collections::{BTreeMap, BTreeSet};

use super::messages::{Attribute, AttributeProto, DataLocation, ElementType, NodeProto, TensorProto};
use crate::files::little_endian;
use crate::models::Model;
use crate::models::parameters::ParameterId;

/// What goes into a graph. Values go by their names.
pub(super) struct Writer<'a> {
    model: &'a Model,
    opset: u32,
    nodes: Vec<NodeProto>,
    tensors: Vec<TensorProto>,
    /// Names of the tensors that are there.
    known: BTreeSet<String>,
    scope: String,
    /// How many nodes have a name, but for the number that follows.
    counts: BTreeMap<String, usize>,
}

impl<'a> Writer<'a> {
    pub fn new(model: &'a Model, opset: u32) -> Self {
        Self {
            model,
            opset,
            nodes: Vec::new(),
            tensors: Vec::new(),
            known: BTreeSet::new(),
            scope: String::new(),
            counts: BTreeMap::new(),
        }
    }

    pub fn opset(&self) -> u32 {
        self.opset
    }

    /// The name of a block of the model.
    pub fn block_name(&self, block: usize) -> &'a str {
        &self.model.blocks()[block].name
    }

    /// From here on, names of nodes begin with this one.
    pub fn enter(&mut self, scope: &str) {
        scope.clone_into(&mut self.scope);
    }

    /// Adds a node, and gives the name of its output.
    pub fn node<const N: usize>(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: [(&str, Attribute); N],
    ) -> String {
        let stem = format!("{}/{operator}", self.scope);
        let count = self.counts.entry(stem.clone()).or_default();
        let name = if *count == 0 { stem } else { format!("{stem}_{count}") };
        *count += 1;
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: operator.to_owned(),
            attribute: attributes.into_iter().map(|(name, value)| AttributeProto::new(name, value)).collect(),
        });
        name
    }

    /// Gives a value another name, which nothing has used so far.
    pub fn rename(&mut self, value: &str, name: &str) {
        for output in self.nodes.iter_mut().flat_map(|node| &mut node.output).filter(|output| *output == value) {
            name.clone_into(output);
        }
    }

    /// A parameter in its own shape, by timm's name.
    pub fn parameter(&mut self, id: ParameterId) -> String {
        let spec = &self.model.parameters.specs()[id.index()];
        let (name, shape) = (spec.name.clone(), spec.shape.clone());
        let model = self.model;
        self.tensor(name, &shape, ElementType::Float, || little_endian(&model.parameters.values(id.index())))
    }

    /// The weight of a linear layer, `[outputs, inputs]` or the same as a 1×1 convolution, as `[inputs, outputs]`.
    pub fn transposed(&mut self, id: ParameterId, inputs: usize, outputs: usize) -> String {
        let name = format!("{}.transposed", self.model.parameters.specs()[id.index()].name);
        let model = self.model;
        self.tensor(name, &[inputs, outputs], ElementType::Float, || {
            let weight = model.parameters.values(id.index());
            let value = |index: usize| weight[index % outputs * inputs + index / outputs];
            little_endian(&(0..weight.len()).map(value).collect::<Vec<_>>())
        })
    }

    /// A number.
    pub fn float(&mut self, value: f32) -> String {
        self.tensor(format!("float {value}"), &[], ElementType::Float, || little_endian(&[value]))
    }

    /// A value for each channel, in front of which other dimensions may be.
    pub fn floats(&mut self, name: &str, shape: &[usize], values: &[f32]) -> String {
        self.tensor(name.to_owned(), shape, ElementType::Float, || little_endian(values))
    }

    /// Numbers of double precision.
    pub fn doubles(&mut self, name: &str, values: &[f64]) -> String {
        let bytes = || values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name.to_owned(), &[values.len()], ElementType::Double, bytes)
    }

    /// Whole numbers.
    pub fn integers<const N: usize>(&mut self, values: [i64; N]) -> String {
        let name = format!("integers {}", values.map(|value| value.to_string()).join(" "));
        let bytes = || values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(name, &[N], ElementType::Int64, bytes)
    }

    /// A whole number without a dimension.
    pub fn integer(&mut self, value: i64) -> String {
        self.tensor(format!("integer {value}"), &[], ElementType::Int64, || value.to_le_bytes().to_vec())
    }

    fn tensor(&mut self, name: String, shape: &[usize], kind: ElementType, bytes: impl FnOnce() -> Vec<u8>) -> String {
        if self.known.insert(name.clone()) {
            self.tensors.push(TensorProto {
                dims: shape.iter().map(|&size| size as i64).collect(),
                data_type: kind.into(),
                name: name.clone(),
                raw_data: bytes(),
                external_data: Vec::new(),
                data_location: DataLocation::Default.into(),
            });
        }
        name
    }

    /// The nodes and tensors.
    pub fn finish(self) -> (Vec<NodeProto>, Vec<TensorProto>) {
        (self.nodes, self.tensors)
    }
}
