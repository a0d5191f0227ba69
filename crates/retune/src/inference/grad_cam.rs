//! What a model looks at: Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391).
//!
//! The last features whose places are those of the image are weighted by what they do for a class: a channel's weight is
//! the mean over places of the logit's gradient. The weighted sum, where it is positive, is the map. The features are those
//! that pytorch-grad-cam's documentation names: the last stage's output of ResNets and ConvNeXts, what the pooling of an
//! EfficientNet sees, and the patches as the last attention of a vision transformer sees them (`norm1` of the last block),
//! without class and register tokens. Behind that attention, the patches do nothing for a class token, and their gradient
//! is zero.

use burn::tensor::Tensor;

use crate::device;
use crate::models::{Activation, Model, Parameters, Pass};

/// How much each place of an image speaks for a class.
#[derive(Clone, Debug, PartialEq)]
pub struct GradCam {
    /// Rows of places.
    pub height: usize,
    /// Places in a row.
    pub width: usize,
    /// What each place adds to the class's logit by its gradient, row by row; places that speak against it have 0.
    pub values: Vec<f32>,
}

impl GradCam {
    /// The map with its largest value as 1; a map of zeros stays one.
    #[must_use]
    pub fn scaled(mut self) -> Self {
        let largest = self.values.iter().copied().fold(0.0, f32::max);
        if largest > 0.0 {
            self.values.iter_mut().for_each(|value| *value /= largest);
        }
        self
    }
}

/// Images that are differentiated at once.
const AT_ONCE: usize = 8;

/// Blocks at the end of a network that hold what it [shows](Pass::watch): at most the last attention, the pooling, and the head.
const LAST_BLOCKS: usize = 3;

/// What in each of some images, `[n, height, width, channels]`, speaks for the class at its place in `classes`; of several
/// choices of classes, each in turn, with one pass to the last blocks for all of them. `None` if the model has no features whose
/// places are those of the image, or gives values that are not finite, and if the device fails.
pub fn grad_cam<const N: usize>(
    model: &Model,
    images: &Tensor<4>,
    classes: [&[usize]; N],
) -> Option<[Vec<GradCam>; N]> {
    let device = model.parameters.tensors()[0].device();
    let constants = model.parameters.tensors().iter().map(|tensor| Tensor::from_inner(tensor.clone())).collect();
    let parameters = Parameters::from_tensors(model.network().specs.clone(), constants);
    let last_blocks = model.blocks().len().saturating_sub(LAST_BLOCKS);
    let mut maps = [(); N].map(|()| Vec::new());
    for first in (0..images.dims()[0]).step_by(AT_ONCE) {
        let together = first..images.dims()[0].min(first + AT_ONCE);
        let images = Activation::Map(images.clone().slice_dim(0, together.clone()));
        let entry = device::compute(&device, || {
            model.network().forward_range(images, 0..last_blocks, &mut Pass::evaluation(&model.parameters))
        });
        for (maps, classes) in maps.iter_mut().zip(classes) {
            let (entry, classes) = (entry.clone(), &classes[together.clone()]);
            maps.extend(device::compute(&device, || maps_of(model, &parameters, (entry, last_blocks), classes))?);
        }
    }
    Some(maps)
}

/// The maps of some images by what enters a block.
fn maps_of(
    model: &Model,
    parameters: &Parameters,
    (entry, block): (Activation, usize),
    classes: &[usize],
) -> Option<Vec<GradCam>> {
    let mut pass = Pass::evaluation(parameters).watching();
    let logits = model.network().forward_range(entry.into_autodiff(), block..model.blocks().len(), &mut pass).pool();
    let features = pass.into_watched()?;
    // Images do not mix in evaluation, so the gradient of the sum is each image's own.
    let mut gradients = of_classes(logits, classes).backward();
    let gradient = device::read(features.grad_remove(&mut gradients)?).ok()?;
    let [_, height, width, channels] = features.dims();
    let values = device::read(features.inner()).ok()?;
    let of_image = |(values, gradient): (&[f32], &[f32])| {
        let weights = channel_means(gradient, channels);
        let place = |values: &[f32]| values.iter().zip(&weights).map(|(value, weight)| value * weight).sum::<f32>();
        let values = values.chunks_exact(channels).map(|values| place(values).max(0.0)).collect();
        GradCam { height, width, values }
    };
    let size = height * width * channels;
    let maps: Vec<GradCam> = values.chunks_exact(size).zip(gradient.chunks_exact(size)).map(of_image).collect();
    maps.iter().all(|map| map.values.iter().all(|value| value.is_finite())).then_some(maps)
}

/// The sum of the logits of a class of each image.
fn of_classes(logits: Tensor<2>, classes: &[usize]) -> Tensor<1> {
    let chosen = classes.iter().enumerate();
    let parts = chosen.map(|(image, &class)| logits.clone().slice([image..image + 1, class..class + 1]));
    Tensor::cat(parts.collect(), 0).sum()
}

/// The mean of each channel over the places.
fn channel_means(values: &[f32], channels: usize) -> Vec<f32> {
    let mut sums = vec![0.0f64; channels];
    for place in values.chunks_exact(channels) {
        sums.iter_mut().zip(place).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    let places = (values.len() / channels.max(1)) as f64;
    sums.into_iter().map(|sum| (sum / places) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_scaled_to_its_largest_value() {
        let map = |values: &[f32]| GradCam { height: 1, width: values.len(), values: values.to_vec() };
        assert_eq!(map(&[0.0, 2.0, 0.5]).scaled(), map(&[0.0, 1.0, 0.25]));
        assert_eq!(map(&[0.0, 0.0]).scaled(), map(&[0.0, 0.0]));
    }

    #[test]
    fn weights_are_means_over_places() {
        assert_eq!(channel_means(&[1.0, -2.0, 3.0, 4.0], 2), [2.0, 1.0]);
    }
}
