//! What a model says of an image does not depend on the images beside it: kernels take rows of several images together, and
//! choose by the sizes of a layer, never by the number of images.

use burn::tensor::{Tensor, TensorData};
use retune::models::{Model, ModelConfig};

const IMAGES: usize = 5;
const CLASSES: usize = 10;

/// The logits of some images, to the bit.
fn logits(model: &Model, images: &[f32], side: usize) -> Vec<u32> {
    let device = retune::device::by_name("cpu").unwrap();
    let count = images.len() / (3 * side * side);
    let images = TensorData::new(images.to_vec(), [count, side, side, 3]);
    let logits: Vec<f32> = model.logits(Tensor::from_data(images, &device)).into_data().iter().collect();
    logits.into_iter().map(f32::to_bits).collect()
}

#[test]
fn an_image_has_the_same_logits_in_any_batch() {
    let device = retune::device::by_name("cpu").unwrap();
    // A ViT's tokens at 224 pixels are enough for attention on a matrix unit.
    for (architecture, side) in [
        ("resnet18", 64),
        ("resnet50", 64),
        ("vit_tiny_patch16_224", 224),
        ("convnext_atto", 64),
        ("efficientnet_lite0", 96),
    ] {
        let classes: Vec<String> = (0..CLASSES).map(|class| class.to_string()).collect();
        let config = ModelConfig::of_architecture(architecture).unwrap().with_classes(&classes);
        let model = Model::initialize(config, 0, &device).unwrap();
        let of_image = 3 * side * side;
        // Any values that are not all alike will do.
        let images: Vec<f32> = (0..IMAGES * of_image).map(|at| (at as f32 * 0.618).fract() * 4.0 - 2.0).collect();
        let together = logits(&model, &images, side);
        assert_ne!(together[..CLASSES], together[CLASSES..2 * CLASSES], "{architecture}: images tell nothing apart");
        for size in 1..IMAGES {
            let apart: Vec<u32> =
                images.chunks(size * of_image).flat_map(|images| logits(&model, images, side)).collect();
            assert!(apart == together, "{architecture}: batches of {size}");
        }
    }
}
