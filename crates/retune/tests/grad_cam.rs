//! Grad-CAM of every family against PyTorch's gradients. The fixture and the program that made it are in
//! `tests/fixtures/grad_cam`.

mod common;

use burn::tensor::{Device, Tensor, TensorData};
use retune::inference::grad_cam;
use retune::models::weights::read_tensors;

use common::{fixtures, load};

/// Convolutional networks see larger images than their own, so that the maps have several places.
const SIZE: [usize; 2] = [96, 80];

/// Two images of values from −1 to 1, as the fixture's program makes them.
fn images(height: usize, width: usize, channels: usize) -> Tensor<4> {
    let value = |position: usize| ((position * position % 1009) as f64 / 504.0 - 1.0) as f32;
    let values: Vec<f32> = (0..2 * height * width * channels).map(value).collect();
    Tensor::from_data(TensorData::new(values, [2, height, width, channels]), &Device::flex())
}

#[test]
fn maps_are_those_of_pytorch() {
    let expected = read_tensors(&fixtures().join("../grad_cam/grad_cam.safetensors")).unwrap();
    assert!(expected.len() > 12, "several models of each family");
    for (name, expected) in &expected {
        let model = load(name, (!name.starts_with("vit")).then_some(SIZE));
        let seen = model.config().preprocessing();
        let images = images(seen.height as usize, seen.width as usize, seen.channels.count());
        let size = expected.shape[2] * expected.shape[3];
        for (class, expected_maps) in expected.values.chunks_exact(2 * size).enumerate() {
            let [maps] = grad_cam(&model, &images, [&[class, class]]).unwrap();
            for (map, expected_map) in maps.iter().zip(expected_maps.chunks_exact(size)) {
                assert_eq!([map.height, map.width], expected.shape[2..], "{name}");
                // Of the maps of all classes, since one alone may be zero everywhere. Single precision against double.
                let largest = expected.values.iter().fold(0.0f32, |largest, value| largest.max(*value));
                let differences = map.values.iter().zip(expected_map).map(|(found, known)| (found - known).abs());
                let difference = differences.fold(0.0, f32::max) / largest;
                assert!(difference < 1e-4, "{name}, class {class}: the map differs by {difference:e}");
            }
        }
    }
}

#[test]
fn an_image_has_the_same_map_whatever_is_beside_it() {
    let model = load("resnet_basic", Some(SIZE));
    let pair = images(SIZE[0], SIZE[1], 3);
    let many = Tensor::cat(vec![pair.clone(); 6], 0);
    let classes: Vec<usize> = (0..12).map(|image| image % 5).collect();
    let others: Vec<usize> = classes.iter().map(|class| (class + 1) % 5).collect();
    let [of_others, together] = grad_cam(&model, &many, [&others, &classes]).unwrap();
    assert_eq!((together.len(), of_others.len()), (12, 12));
    for (image, map) in together.iter().enumerate() {
        let image_alone = pair.clone().slice_dim(0, image % 2..image % 2 + 1);
        for (class, map) in [(classes[image], map), (others[image], &of_others[image])] {
            let [alone] = grad_cam(&model, &image_alone, [&[class]]).unwrap();
            assert_eq!(alone[0], *map, "image {image}, class {class}");
        }
    }
    // All but the class is equal in these two.
    assert_ne!(together[0], together[2]);
}
