//! What a precision loses: the output of a model that multiplies in bfloat16 beside its output in float32, for the first
//! images that go by.

use std::fmt;
use std::ops::RangeInclusive;

use serde::Serialize;

use super::{Layer, images_of, most_likely, sigmoid, thresholds};
use crate::device;
use crate::loading::Batch;
use crate::models::{Model, Precision};
use crate::wording::{counted, grouped};

/// Images that are compared: a tenth of those that go by, so that float32 costs about as much of the time, between these.
const COMPARED_IMAGES: RangeInclusive<usize> = 64..=256;

/// The model in float32, until it has seen the images that are compared.
struct InFloat32 {
    model: Model,
    layer: Layer,
    images_left: usize,
}

impl InFloat32 {
    /// `None` of a model that computes in float32 anyway. So many images go by.
    fn of(model: &Model, layer: Layer, images: usize) -> Option<Self> {
        let rounds = model.precision() != Precision::Float32;
        let images_left = (images / 10).clamp(*COMPARED_IMAGES.start(), *COMPARED_IMAGES.end());
        rounds.then(|| Self { model: model.in_precision(Precision::Float32), layer, images_left })
    }

    /// The output for the first images of a batch, as far as they are still compared. A batch without pixels has none.
    fn rows(&mut self, batch: &Batch) -> Vec<f32> {
        let n = if batch.images.is_empty() { 0 } else { batch.n.min(self.images_left) };
        self.images_left -= n;
        if n == 0 {
            return Vec::new();
        }
        let device = self.model.parameters.tensors()[0].device();
        // A device that fails here fails for the next batch, too, and whoever reads that says so.
        device::read(self.layer.output(&self.model, images_of(batch, 0..n, &device))).unwrap_or_default()
    }
}

/// Compares the logits of a model that computes in bfloat16 with those in float32.
pub struct LogitComparison {
    in_float32: InFloat32,
    precision: Precision,
    classes: usize,
    /// Probabilities from which on an image has a label, where it may have several.
    thresholds: Option<Vec<f64>>,
    images: usize,
    changed_predictions: usize,
    largest_difference: f64,
    /// The least and the greatest logit in float32.
    range: [f64; 2],
}

impl LogitComparison {
    /// For so many images. `None` of a model that computes in float32, or gives no logits.
    pub fn of(model: &Model, images: usize) -> Option<Self> {
        let classes = model.config().num_classes();
        let in_float32 = InFloat32::of(model, Layer::Logits, images).filter(|_| classes > 0)?;
        Some(Self {
            in_float32,
            precision: model.precision(),
            classes,
            thresholds: model.config().is_multi_label().then(|| thresholds(model, classes)),
            images: 0,
            changed_predictions: 0,
            largest_difference: 0.0,
            range: [f64::INFINITY, f64::NEG_INFINITY],
        })
    }

    /// Compares a batch's logits, row-major, unless enough images were compared already.
    pub fn add(&mut self, batch: &Batch, logits: &[f32]) {
        let expected = self.in_float32.rows(batch);
        for (found, expected) in logits.chunks_exact(self.classes).zip(expected.chunks_exact(self.classes)) {
            self.images += 1;
            self.changed_predictions += usize::from(self.prediction(found) != self.prediction(expected));
            for (&found, &expected) in found.iter().zip(expected) {
                let (found, expected) = (f64::from(found), f64::from(expected));
                self.largest_difference = self.largest_difference.max((found - expected).abs());
                self.range = [self.range[0].min(expected), self.range[1].max(expected)];
            }
        }
    }

    /// The classes that logits stand for: the most likely, or all that reach their thresholds.
    fn prediction(&self, logits: &[f32]) -> Vec<usize> {
        match &self.thresholds {
            None => vec![most_likely(logits)],
            Some(thresholds) => {
                let reaches = |&class: &usize| sigmoid(logits[class]) >= thresholds[class];
                (0..logits.len()).filter(reaches).collect()
            }
        }
    }

    /// What was found; `None` if no image went by.
    pub fn found(&self) -> Option<LogitLoss> {
        (self.images > 0).then(|| LogitLoss {
            precision: self.precision,
            images: self.images,
            changed_predictions: self.changed_predictions,
            largest_logit_difference: self.largest_difference,
            logit_range: self.range[1] - self.range[0],
        })
    }
}

/// What bfloat16 changes in logits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct LogitLoss {
    /// The precision that is compared with float32.
    #[serde(rename = "name")]
    pub precision: Precision,
    /// Images that were compared.
    pub images: usize,
    /// Those whose predicted class, or set of labels, is another than in float32.
    pub changed_predictions: usize,
    /// The largest difference of a logit from that in float32.
    pub largest_logit_difference: f64,
    /// The difference between the greatest and the least logit in float32.
    pub logit_range: f64,
}

impl fmt::Display for LogitLoss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { images, changed_predictions, largest_logit_difference, logit_range, .. } = *self;
        let share = if logit_range > 0.0 { 100.0 * largest_logit_difference / logit_range } else { 0.0 };
        write!(
            formatter,
            "bfloat16: {} of {} differ from float32, logits by at most {} ({} % of their range)",
            grouped(changed_predictions),
            counted(images, "prediction"),
            two_digits(largest_logit_difference),
            two_digits(share)
        )
    }
}

/// Compares the features of a model that computes in bfloat16 with those in float32.
pub struct FeatureComparison {
    in_float32: InFloat32,
    images: usize,
    smallest: f64,
    sum: f64,
}

impl FeatureComparison {
    /// For so many images. `None` of a model that computes in float32.
    pub fn of(model: &Model, layer: Layer, images: usize) -> Option<Self> {
        Some(Self { in_float32: InFloat32::of(model, layer, images)?, images: 0, smallest: 1.0, sum: 0.0 })
    }

    /// Compares a batch's features, row-major, unless enough images were compared already.
    pub fn add(&mut self, batch: &Batch, features: &[f32]) {
        let expected = self.in_float32.rows(batch);
        let width = features.len() / batch.n.max(1);
        for (found, expected) in features.chunks_exact(width.max(1)).zip(expected.chunks_exact(width.max(1))) {
            let similarity = cosine(found, expected);
            self.images += 1;
            self.smallest = self.smallest.min(similarity);
            self.sum += similarity;
        }
    }

    /// What was found; `None` if no image went by.
    pub fn found(&self) -> Option<FeatureLoss> {
        (self.images > 0).then(|| FeatureLoss {
            images: self.images,
            smallest_cosine: self.smallest,
            mean_cosine: self.sum / self.images as f64,
        })
    }
}

/// What bfloat16 changes in features.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FeatureLoss {
    /// Images that were compared.
    pub images: usize,
    /// The smallest cosine similarity of an image's features with those in float32.
    pub smallest_cosine: f64,
    /// The mean of these.
    pub mean_cosine: f64,
}

impl fmt::Display for FeatureLoss {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { images, smallest_cosine, mean_cosine } = *self;
        write!(
            formatter,
            "bfloat16: cosine similarity of features with float32 in {}: at least {smallest_cosine:.5}, {mean_cosine:.5} on \
             average",
            counted(images, "image")
        )
    }
}

/// 1 where both are zero.
fn cosine(one: &[f32], other: &[f32]) -> f64 {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let lengths = (product(one, one) * product(other, other)).sqrt();
    match lengths > 0.0 {
        true => product(one, other) / lengths,
        false => f64::from(u8::from(one == other)),
    }
}

/// A positive number with two significant digits, and no more than six decimals.
fn two_digits(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let decimals = (1.0 - value.log10().floor()).clamp(0.0, 6.0) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::inference::extract;
    use crate::loading::{Loader, LoaderOptions, Order};
    use crate::monitor::Silent;
    use crate::sources::source::tests::memory_dataset;

    fn model(precision: Precision) -> Model {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models/resnet_basic");
        let model = Model::load(&folder, None, Clone::clone, &crate::device::by_name("cpu").unwrap()).unwrap();
        model.with_precision(precision).unwrap()
    }

    /// Seven images in batches of three.
    fn loader(model: &Model) -> Loader {
        let options = LoaderOptions::deterministic(model.config().preprocessing().clone(), 3);
        Loader::new(memory_dataset(&[0, 1, 2, 3, 4, 0, 1], 40, 40), options).unwrap()
    }

    #[test]
    fn nothing_is_compared_in_float32() {
        let model = model(Precision::Float32);
        assert!(LogitComparison::of(&model, 7).is_none() && FeatureComparison::of(&model, Layer::Pooled, 7).is_none());
    }

    /// Against both passes over all images, by the definitions.
    #[test]
    fn what_is_lost_is_the_difference_of_two_passes() {
        let (exact, rounding) = (model(Precision::Float32), model(Precision::Bfloat16));
        let loader = loader(&rounding);
        let classes = rounding.config().num_classes();
        let passes =
            |layer| [&exact, &rounding].map(|model| extract(model, &loader, layer, "", &Silent).unwrap().values);

        let [expected, found] = passes(Layer::Logits);
        let mut comparison = LogitComparison::of(&rounding, 7).unwrap();
        assert_eq!(comparison.found(), None);
        for batch in loader.epoch(0, Order::Sequential, 0).map(Result::unwrap) {
            let rows = batch.indices[0] * classes..(batch.indices[0] + batch.n) * classes;
            comparison.add(&batch, &found[rows]);
        }
        let largest = expected.iter().zip(&found).map(|(a, b)| f64::from(*a) - f64::from(*b));
        let largest = largest.fold(0.0f64, |most, difference| most.max(difference.abs()));
        let [least, most] = [f32::min, f32::max].map(|of| expected.iter().copied().reduce(of).unwrap());
        let changed = expected.chunks(classes).zip(found.chunks(classes));
        let changed = changed.filter(|(a, b)| most_likely(a) != most_likely(b)).count();
        let loss = comparison.found().unwrap();
        assert!(largest > 0.0);
        assert_eq!((loss.images, loss.changed_predictions), (7, changed));
        assert_eq!(loss.largest_logit_difference, largest);
        assert_eq!(loss.logit_range, f64::from(most) - f64::from(least));

        let [expected, found] = passes(Layer::Pooled);
        let width = found.len() / 7;
        let mut comparison = FeatureComparison::of(&rounding, Layer::Pooled, 7).unwrap();
        for batch in loader.epoch(0, Order::Sequential, 0).map(Result::unwrap) {
            comparison.add(&batch, &found[batch.indices[0] * width..(batch.indices[0] + batch.n) * width]);
        }
        let cosines: Vec<f64> = expected.chunks(width).zip(found.chunks(width)).map(|(a, b)| cosine(a, b)).collect();
        let loss = comparison.found().unwrap();
        assert_eq!(loss.images, 7);
        assert_eq!(loss.smallest_cosine, cosines.iter().copied().fold(1.0, f64::min));
        assert!((loss.mean_cosine - cosines.iter().sum::<f64>() / 7.0).abs() < 1e-12);
        assert!(loss.smallest_cosine < 1.0 && loss.smallest_cosine > 0.99, "{}", loss.smallest_cosine);
    }

    #[test]
    fn no_more_images_are_compared_than_are_to_be() {
        let model = model(Precision::Bfloat16);
        for (images, compared) in [(7, 64), (1_000, 100), (1_000_000, 256)] {
            assert_eq!(InFloat32::of(&model, Layer::Input, images).unwrap().images_left, compared);
        }
        let loader = loader(&model);
        let mut comparison = FeatureComparison::of(&model, Layer::Input, 7).unwrap();
        comparison.in_float32.images_left = 4;
        for batch in loader.epoch(0, Order::Sequential, 0).map(Result::unwrap) {
            comparison.add(&batch, &batch.images);
        }
        assert_eq!(comparison.found().unwrap().images, 4);
    }

    #[test]
    fn what_is_lost_is_said_in_a_line() {
        let loss = LogitLoss {
            precision: Precision::Bfloat16,
            images: 256,
            changed_predictions: 2,
            largest_logit_difference: 0.0512,
            logit_range: 12.8,
        };
        assert_eq!(
            loss.to_string(),
            "bfloat16: 2 of 256 predictions differ from float32, logits by at most 0.051 (0.40 % of their range)"
        );
        let loss = FeatureLoss { images: 256, smallest_cosine: 0.99912, mean_cosine: 0.999876 };
        let expected =
            "bfloat16: cosine similarity of features with float32 in 256 images: at least 0.99912, 0.99988 on average";
        assert_eq!(loss.to_string(), expected);
    }

    #[test]
    fn cosines_of_nothing_are_defined() {
        assert_eq!(cosine(&[0.0, 0.0], &[0.0, 0.0]), 1.0);
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 0.0]), 0.0);
        // By hand: (3, 4) and (4, 3) have lengths of 5 and a product of 24.
        assert!((cosine(&[3.0, 4.0], &[4.0, 3.0]) - 0.96).abs() < 1e-15);
    }
}
