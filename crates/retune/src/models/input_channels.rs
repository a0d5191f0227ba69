//! The stem's weights for another number of input channels, as timm adapts them (`adapt_input_conv` of timm 1.0.31).

use std::collections::BTreeMap;
use std::path::Path;

use super::architectures::Network;
use super::checkpoint::{LoadNote, file_name};
use super::weights::NamedTensor;

/// Adapts the stem's weight among a file's tensors to the network's number of channels, and says so. A weight that has
/// the network's shape stays as it is; one of another kernel is left to the check of shapes.
pub(super) fn adapt(tensors: &mut BTreeMap<String, NamedTensor>, network: &Network, path: &Path) -> Option<LoadNote> {
    let spec = network.input_weight()?;
    let tensor = tensors.get_mut(&spec.name)?;
    let (&[outputs, to, ..], &[own_outputs, from, ..]) = (spec.shape.as_slice(), tensor.shape.as_slice()) else {
        return None;
    };
    if from == to || from == 0 || outputs != own_outputs || spec.shape[2..] != tensor.shape[2..] {
        return None;
    }
    tensor.values = adapted(&tensor.values, from, to, spec.shape[2..].iter().product());
    tensor.shape.clone_from(&spec.shape);
    Some(LoadNote::InputChannels { file: file_name(path), tensor: spec.name.clone(), from, to })
}

/// Weights `[outputs, from, kernel]` for `to` channels: for one channel the sum over the channels, which sees a gray image
/// as the model saw it in color; for more, the weights repeated and cut, times `from / to`.
fn adapted(weights: &[f32], from: usize, to: usize, kernel: usize) -> Vec<f32> {
    let scale = from as f32 / to as f32;
    let outputs = weights.chunks_exact(from * kernel);
    let adapted = outputs.flat_map(|output| match to {
        1 => (0..kernel).map(|at| (0..from).map(|channel| output[channel * kernel + at]).sum()).collect::<Vec<f32>>(),
        _ => output.iter().cycle().take(to * kernel).map(|weight| weight * scale).collect(),
    });
    adapted.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand, from timm's rule. Whole checkpoints are compared with timm in `tests/input_channels.rs`.
    #[test]
    fn weights_are_summed_or_repeated() {
        // Two outputs, three channels, a kernel of 1 × 2.
        let weights = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0];
        assert_eq!(adapted(&weights, 3, 1, 2), [9.0, 12.0, 90.0, 120.0]);
        assert_eq!(adapted(&weights, 3, 2, 2), [1.5, 3.0, 4.5, 6.0, 15.0, 30.0, 45.0, 60.0]);
        let four = [0.75, 1.5, 2.25, 3.0, 3.75, 4.5, 0.75, 1.5, 7.5, 15.0, 22.5, 30.0, 37.5, 45.0, 7.5, 15.0];
        assert_eq!(adapted(&weights, 3, 4, 2), four);
        assert_eq!(adapted(&[4.0, 8.0], 1, 2, 1), [2.0, 2.0, 4.0, 4.0]);
    }
}
