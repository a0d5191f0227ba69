use std::path::Path;

use super::*;

fn model(name: &str) -> Model {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(name);
    Model::load(&folder, None, Clone::clone, &device::by_name("cpu").unwrap()).unwrap()
}

/// Three images of a wave that no two share.
fn batch(model: &Model) -> Batch {
    let preprocessing = model.config().preprocessing();
    let (height, width) = (preprocessing.height as usize, preprocessing.width as usize);
    let values = 3 * height * width * preprocessing.channels.count();
    Batch {
        number: 0,
        images: (0..values).map(|place| (place as f32 * 0.37).sin()).collect(),
        labels: vec![0, 1, 2],
        indices: vec![0, 1, 2],
        targets: None,
        mixed: false,
        n: 3,
        height,
        width,
    }
}

/// The gradients of a single graph from the first trained block to the loss.
fn of_one_graph(model: &Model, batch: &Batch, what: &Differentiation) -> Vec<Option<Vec<f32>>> {
    let device = model.parameters.tensors()[0].device();
    let first = first_trained(model, what.trained);
    let images = Activation::Map(inference::images_of(batch, 0..batch.n, &device));
    let entry = model.forward_range(images, 0..first).into_autodiff();
    let tracked = tracked_parameters(model, what.trained);
    let mut pass = Pass::training(&tracked, what.batch_statistics);
    let logits = model.network().forward_range(entry, first..model.blocks().len(), &mut pass).pool();
    let targets = what.loss.targets(batch, model.config().num_classes());
    let mut found = what.loss.value(logits, &targets, 0..batch.n, &device).backward();
    let gradients = tracked.tensors().iter().map(|tensor| tensor.grad_remove(&mut found));
    gradients.map(|gradient| gradient.map(device::host_values)).collect()
}

#[test]
fn blocks_have_the_gradients_of_one_graph_and_are_told_from_the_last_to_the_first() {
    for name in ["resnet_basic", "resnext", "efficientnet", "vit", "convnext_v2"] {
        let model = model(name);
        let (batch, specs) = (batch(&model), &model.network().specs);
        let blocks = model.blocks().len();
        for first in [0, blocks / 2, blocks - 1] {
            let trained: Vec<bool> = specs.iter().map(|spec| spec.block >= first && spec.role.is_trainable()).collect();
            let what = Differentiation { batch_statistics: &vec![true; blocks], ..Differentiation::new(&trained) };
            let mut told = Vec::new();
            let found =
                BatchInParts::new(&model, &batch, None, &what).gradients(0..batch.n, &mut |block, gradients| {
                    let known = |index: usize| gradients[index].is_some();
                    let mut own = (0..specs.len()).filter(|&index| trained[index] && specs[index].block == block);
                    told.push((block, own.all(known)));
                });
            let expected: Vec<(usize, bool)> = (first..blocks).rev().map(|block| (block, true)).collect();
            assert_eq!(told, expected, "{name} from block {first}");
            assert!(found.gradient_values() == of_one_graph(&model, &batch, &what), "{name} from block {first}");
        }
    }
}
