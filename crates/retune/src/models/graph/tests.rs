//! That a graph has the shapes of the forward pass, for every family.

use std::collections::BTreeSet;

use burn::tensor::{Device, Tensor};
use serde_json::Map;

use crate::models::architectures;
use crate::models::chain::export_range;
use crate::models::graph::Graph;
use crate::models::{Activation, Model};

#[test]
fn each_block_of_each_family_has_the_shape_of_its_forward_pass() {
    let device = Device::flex();
    for (name, _) in architectures::smallest_of_each_family() {
        let model = Model::from_scratch(None, Some(name), Clone::clone, 0, &device).unwrap();
        let preprocessing = model.config().preprocessing();
        let (height, width) = (preprocessing.height as usize, preprocessing.width as usize);
        let mut x = Activation::Map(Tensor::zeros([1, height, width, 3], &device));
        let (mut graph, mut value) = Graph::of_images([3, height, width]);
        for block in 0..model.blocks().len() {
            x = model.forward_range(x, block..block + 1);
            value = export_range(model.network().chain.as_ref(), value, block..block + 1, &mut graph);
            assert_eq!(graph.shape(value), x.example_shape(), "{name}: {}", model.blocks()[block].name);
        }
    }
}

/// A parameter that no operation uses would be missing from an exported file.
#[test]
fn the_graph_of_each_architecture_uses_every_parameter_once() {
    for (name, entry) in architectures::all() {
        let cfg = entry.pretrained_cfg();
        let size = cfg["input_size"].as_array().unwrap();
        let [height, width] = [1, 2].map(|side| size[side].as_u64().unwrap() as usize);
        let network = architectures::build(name, &Map::new(), 5, Some((height, width))).unwrap();
        let (mut graph, images) = Graph::of_images([3, height, width]);
        export_range(network.chain.as_ref(), images, 0..network.blocks().len(), &mut graph);
        let used: Vec<usize> =
            graph.nodes().iter().flat_map(|node| node.operation.parameters()).map(|id| id.index()).collect();
        assert_eq!(used.len(), used.iter().collect::<BTreeSet<_>>().len(), "{name} uses a parameter twice");
        assert_eq!(used.len(), network.specs.len(), "{name}");
    }
}
