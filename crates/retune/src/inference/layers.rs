//! What a model makes of a batch at several layers, in one forward pass.

use super::{InferenceError, Layer, class_token_and_mean, images};
use crate::device::{self, DeviceError};
use crate::loading::{Batch, Loader, Order};
use crate::models::{Activation, Model};
use crate::monitor::Monitor;

/// What becomes of a block's output, which is larger than what the head sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Positions {
    /// Every value of every position or token.
    #[default]
    All,
    /// The mean over positions or tokens.
    Mean,
}

/// Runs the model over every image in order and hands each batch on with its output at each of `layers`, row-major with
/// one row an image, in the order of `layers`.
///
/// # Errors
/// The first image that cannot be loaded or whose output is not finite; an interruption.
pub fn for_each_batch_at(
    model: &Model,
    loader: &Loader,
    layers: &[Layer],
    positions: Positions,
    monitor: &dyn Monitor,
    mut take: impl FnMut(&Batch, Vec<Vec<f32>>),
) -> Result<(), InferenceError> {
    for batch in loader.epoch(0, Order::Sequential, 0) {
        let batch = batch?;
        if monitor.canceled() {
            return Err(InferenceError::Interrupted);
        }
        let outputs = outputs(model, &batch, layers, positions)?;
        for rows in &outputs {
            let width = rows.len() / batch.n;
            if let Some(at) = rows.iter().position(|value| !value.is_finite()) {
                let image = loader.dataset().samples[batch.indices[at / width]].name.to_string();
                return Err(InferenceError::NotFinite { image });
            }
        }
        take(&batch, outputs);
        monitor.advance(batch.n);
    }
    Ok(())
}

/// Each block runs once, however many layers are asked for.
fn outputs(model: &Model, batch: &Batch, layers: &[Layer], positions: Positions) -> Result<Vec<Vec<f32>>, DeviceError> {
    let device = model.parameters.tensors()[0].device();
    let mut order: Vec<usize> = (0..layers.len()).collect();
    order.sort_by_key(|&index| blocks_before(layers[index], model));
    let mut outputs = vec![Vec::new(); layers.len()];
    let (mut x, mut reached) = (Activation::Map(images(batch, &device)), 0);
    for index in order {
        let end = blocks_before(layers[index], model);
        x = model.forward_range(x, reached..end);
        reached = end;
        let pooled = layers[index] == Layer::Pooled
            || (positions == Positions::Mean && matches!(layers[index], Layer::Block(_)));
        let output = match layers[index] {
            Layer::ClassTokenAndMean => class_token_and_mean(model, x.clone()),
            _ if pooled => x.clone().pool(),
            _ => x.clone().flatten(),
        };
        outputs[index] = device::read(output)?;
    }
    Ok(outputs)
}

/// How many blocks run until the layer's output is there.
fn blocks_before(layer: Layer, model: &Model) -> usize {
    match layer {
        Layer::Input => 0,
        Layer::Block(block) => block + 1,
        Layer::ClassTokenAndMean => model.head() - 1,
        Layer::Pooled => model.head(),
        Layer::Logits => model.head() + 1,
    }
}

/// Every place of a model that has a name: the input, each block but the head, what the head sees, and the logits where
/// there is a classifier.
pub fn every_layer(model: &Model) -> Vec<(String, Layer)> {
    let blocks = model.blocks()[..model.head()].iter().enumerate();
    let mut layers = vec![("input".to_owned(), Layer::Input)];
    layers.extend(blocks.map(|(index, block)| (block.name.clone(), Layer::Block(index))));
    layers.push(("pooled".to_owned(), Layer::Pooled));
    if model.config().num_classes() > 0 {
        layers.push(("logits".to_owned(), Layer::Logits));
    }
    layers
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use burn::tensor::{Device, Tensor, TensorData};
    use serde_json::Value;

    use super::*;
    use crate::device::host_values;
    use crate::models::ModelConfig;

    /// Either pooling alone is compared with timm's in `tests/timm_parity.rs`; they are the halves of this one.
    #[test]
    fn a_class_token_and_the_mean_of_the_patches_are_both_poolings() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/vit_dinov2_registers");
        let model = Model::load(&folder, None, Clone::clone, &Device::flex()).unwrap();
        // The same weights, pooled by the average after the same norm.
        let mut config: Value = serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
        config["model_args"]["global_pool"] = "avg".into();
        config["model_args"]["fc_norm"] = false.into();
        let config = ModelConfig::parse(&config.to_string(), "config.json").unwrap();
        let averaged = Model::initialize(config, 0, &Device::flex()).unwrap();
        let averaged = averaged.with_parameters(model.parameters.clone());

        let seen = model.config().preprocessing();
        let (height, width) = (seen.height as usize, seen.width as usize);
        let pixels =
            (0..2 * 3 * height * width).map(|index| (index * 37 % 101) as f32 / 50.0 - 1.0).collect::<Vec<_>>();
        let images = || Tensor::<4>::from_data(TensorData::new(pixels.clone(), [2, height, width, 3]), &Device::flex());
        let both = host_values(Layer::parse("cls+mean", &model).unwrap().output(&model, images()));
        let [token, mean] = [&model, &averaged].map(|model| host_values(Layer::Pooled.output(model, images())));
        let width = token.len() / 2;
        assert_ne!(token, mean);
        for image in 0..2 {
            let halves = both[2 * image * width..2 * (image + 1) * width].split_at(width);
            assert_eq!(halves, (&token[image * width..][..width], &mean[image * width..][..width]));
        }

        let resnet = Model::from_scratch(None, Some("test_resnet"), Clone::clone, 0, &Device::flex()).unwrap();
        let error = Layer::parse("cls+mean", &resnet).unwrap_err().to_string();
        assert_eq!(error, "test_resnet has no class token beside its patches; take its pooled features");
    }
}
