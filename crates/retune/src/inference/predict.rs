//! The classes that a model sees in one image.

use image::RgbImage;
use retune_pixels::picture::Picture;

use super::{sigmoid, softmax_at};
use crate::device::{self, DeviceError};
use crate::models::Model;

/// A class and its probability.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassProbability {
    /// The model's name for the class; its number where the model names none.
    pub class: String,
    /// Its position among the model's classes.
    pub index: usize,
    /// From 0 to 1.
    pub probability: f64,
}

impl Model {
    /// The probability of each class for an image of any size, the most likely first, at the model's temperature where it
    /// has one. Those of a model for several labels do not add up to 1.
    ///
    /// # Errors
    /// What the device failed in; the CPU does not.
    ///
    /// ```
    /// use image::RgbImage;
    /// use retune::models::Model;
    ///
    /// let cpu = retune::device::by_name("cpu")?;
    /// let model = Model::from_scratch(None, Some("test_resnet"), Clone::clone, 0, &cpu)?;
    /// let classes = model.predict(&RgbImage::new(120, 80))?;
    /// assert!(classes[0].probability >= classes[1].probability);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn predict(&self, image: &RgbImage) -> Result<Vec<ClassProbability>, DeviceError> {
        let preprocessing = self.config().preprocessing();
        let picture = Picture::from(image.clone()).for_channels(preprocessing.channels);
        let (height, width) = (preprocessing.height as usize, preprocessing.width as usize);
        let channels = preprocessing.channels.count();
        let mut values = vec![0.0; height * width * channels];
        preprocessing.normalize_into(&preprocessing.apply(&picture), &mut values);
        let device = self.parameters.tensors()[0].device();
        let input = device::tensor(values, [1, height, width, channels], &device);
        let temperature = self.config().temperature().unwrap_or(1.0);
        let logits = device::read(self.logits(input))?;
        let probabilities = match self.config().is_multi_label() {
            true => logits.iter().map(|&logit| sigmoid(logit)).collect(),
            false => softmax_at(temperature, &logits),
        };
        let names = self.config().label_names().unwrap_or_default();
        let class = |(index, probability): (usize, f64)| {
            let class = names.get(index).cloned().unwrap_or_else(|| index.to_string());
            ClassProbability { class, index, probability }
        };
        let mut classes: Vec<ClassProbability> = probabilities.into_iter().enumerate().map(class).collect();
        classes.sort_by(|one, other| other.probability.total_cmp(&one.probability));
        Ok(classes)
    }
}
