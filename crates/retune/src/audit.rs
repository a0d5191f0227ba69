//! What changes if a deployed pipeline prepares images otherwise than training did.
//!
//! A model is trained with one library's resizing and served with another's. The audit shows the model the same images
//! both ways and measures how far apart inputs, features, logits and predictions are, and what that does to accuracy or,
//! where images have several labels, to mean average precision.

mod tally;

use retune_analysis::cka::{Alignment, Estimate, Gram, Kernel, Rows};
use retune_analysis::intervals::{Estimate as Difference, wilson_interval};
use retune_pixels::resize::Interpolation;
use serde::{Deserialize, Serialize};

use crate::inference::layers::{Positions, for_each_batch_at};
use crate::inference::{InferenceError, Layer};
use crate::monitor::Monitor;
use crate::similarity::{CkaOptions, Minibatches, ModelCkaError, View};
use crate::sources::Dataset;
use tally::{Labels, Tally, precisions};

/// A share of images, and where it may lie.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// From 0 to 1.
    pub value: f64,
    /// The 95 % interval; Wilson's of a share of images.
    pub interval: [f64; 2],
}

impl Share {
    fn of(count: usize, n: usize) -> Self {
        Self { value: count as f64 / n.max(1) as f64, interval: wilson_interval(count, n) }
    }
}

/// How far one way of preparing images is from the model's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditRow {
    /// Its name.
    pub name: String,
    /// How images are resized.
    pub interpolation: Interpolation,
    /// Height and width of the input, in pixels.
    pub size: [u32; 2],
    /// The part of the resized image's side that is kept.
    pub crop_pct: f64,
    /// Share of images that the model gets right, of images with several labels those with all of them right; none where
    /// labels or a classifier are missing.
    pub accuracy: Option<Share>,
    /// How much more of the same images the model gets right than with its own preprocessing, with its 95 % interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy_difference: Option<Difference>,
    /// The mean over labels of their average precision, where images have several labels. Its interval is from the
    /// bootstrap over images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_average_precision: Option<Share>,
    /// How much higher that is on the same images than with the model's own preprocessing, with its 95 % interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_average_precision_difference: Option<Difference>,
    /// Share of images for which the model predicts another class, or gives other labels, than with its own preprocessing.
    pub changed_predictions: Option<Share>,
    /// Mean over images and classes of the logits' absolute change, in units of the logits' spread: their standard
    /// deviation over the classes of an image, root mean square over images. Each image's logits are taken from their
    /// mean, which no probability depends on. Of several labels, the probability of each depends on its logit alone: the
    /// change is that of the logits as they are, and the spread is the standard deviation of a label's logits over images,
    /// root mean square over labels.
    pub logit_change: Option<f64>,
    /// Mean absolute difference of the input's pixels, in gray levels (0 to 255); none where its size differs.
    pub pixel_difference: Option<f64>,
    /// Debiased linear CKA of what the head sees, with the model's own preprocessing.
    pub cka: Option<f64>,
    /// 95 % interval of the CKA.
    pub cka_interval: Option<[f64; 2]>,
    /// Why there is no CKA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cka_undefined: Option<String>,
}

impl AuditRow {
    /// The share that tells first how good the model is: mean average precision where images have several labels, else
    /// accuracy.
    pub fn score(&self) -> Option<Share> {
        self.mean_average_precision.or(self.accuracy)
    }

    /// How much higher that is than with the model's own preprocessing.
    pub fn score_difference(&self) -> Option<Difference> {
        self.mean_average_precision_difference.or(self.accuracy_difference)
    }
}

/// The model's own preprocessing and others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// Images.
    pub n: usize,
    /// Minibatches that CKA was computed in.
    pub minibatches: usize,
    /// Whether images may have several labels.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub several_labels: bool,
    /// The model's own first.
    pub rows: Vec<AuditRow>,
}

impl Audit {
    /// What [`AuditRow::score`] is.
    pub fn score_name(&self) -> &'static str {
        if self.several_labels { "mean average precision" } else { "accuracy" }
    }

    /// Whether other ways of resizing were asked for, and each gave the same pixels as the model's own.
    pub fn resizing_changes_nothing(&self) -> bool {
        let Some((own, others)) = self.rows.split_first() else { return false };
        let mut resized = others.iter().filter(|row| (row.size, row.crop_pct) == (own.size, own.crop_pct)).peekable();
        resized.peek().is_some() && resized.all(|row| row.pixel_difference == Some(0.0))
    }
}

/// Compares the model's own preprocessing with `variants`. Labels, where all images have one, must be positions in the
/// model's classes or, of a model for several labels, classes must be combinations of its labels. Of `options`, the kernel, the estimator and the positions are not used.
///
/// # Errors
/// As [`crate::similarity::between_views`].
pub fn audit(
    own: &View,
    variants: &[View],
    dataset: &Dataset,
    options: &CkaOptions,
    monitor: &dyn Monitor,
) -> Result<Audit, ModelCkaError> {
    let options = CkaOptions {
        kernel: Kernel::Linear,
        estimator: Default::default(),
        positions: Positions::All,
        ..options.clone()
    };
    let pairs = (0..=variants.len()).map(|view| (0, view)).collect();
    let mut alignment = Alignment::new(variants.len() + 1, pairs, options.estimator, options.resamples, options.seed);
    let width = || Ok(values_of_an_image(own, dataset, &options)?);
    let plan = Minibatches::plan(dataset, &options, variants.len() + 1, width)?;
    let labels = Labels::of(own.model, dataset)?;
    let mut tallies = vec![Tally::default(); variants.len() + 1];
    monitor.start("auditing", plan.images * (variants.len() + 1));
    for chosen in &plan.chosen {
        let part = dataset.select(chosen);
        let reference = Seen::by(own, &part, &options, monitor)?;
        let mut grams = vec![reference.gram(chosen.len())];
        tallies[0].add(&reference, &reference, &part, labels.as_ref());
        for (view, tally) in variants.iter().zip(&mut tallies[1..]) {
            let seen = Seen::by(view, &part, &options, monitor)?;
            tally.add(&seen, &reference, &part, labels.as_ref());
            grams.push(seen.gram(chosen.len()));
        }
        alignment.add(grams);
    }
    monitor.finish();
    let views = std::iter::once(own).chain(variants);
    let precisions = precisions(&tallies, options.seed);
    let row = |(((view, tally), precision), cka): (((&View, &Tally), _), Estimate)| {
        tally.row(view, &tallies[0], precision, cka)
    };
    let rows = views.zip(&tallies).zip(precisions).zip(alignment.finish()).map(row).collect();
    let several_labels = labels.is_some();
    Ok(Audit { n: plan.images, minibatches: plan.chosen.len(), several_labels, rows })
}

/// Single-precision values that are kept of each image, for two views.
fn values_of_an_image(own: &View, dataset: &Dataset, options: &CkaOptions) -> Result<usize, InferenceError> {
    let one = Seen::by(own, &dataset.select(&[0]), options, &crate::monitor::Silent)?;
    Ok(2 * (one.features.len() + one.logits.len() + one.pixels.len() / size_of::<f32>()))
}

/// What a model makes of a minibatch, looking at it in one way.
struct Seen {
    /// Gray levels of the inputs, pixel by pixel.
    pixels: Vec<u8>,
    size: [u32; 2],
    features: Vec<f32>,
    /// Empty where there is no classifier.
    logits: Vec<f32>,
    classes: usize,
}

impl Seen {
    fn by(view: &View, images: &Dataset, options: &CkaOptions, monitor: &dyn Monitor) -> Result<Self, InferenceError> {
        let classes = view.model.config().num_classes();
        let layers = if classes > 0 { vec![Layer::Pooled, Layer::Logits] } else { vec![Layer::Pooled] };
        let loader = view.loader(images.clone(), options.batch_size, options.threads)?;
        let preprocessing = &view.preprocessing;
        let size = [preprocessing.height, preprocessing.width];
        let mut seen = Self { pixels: Vec::new(), size, features: Vec::new(), logits: Vec::new(), classes };
        for_each_batch_at(view.model, &loader, &layers, options.positions, monitor, |batch, outputs| {
            let statistics = preprocessing.mean.iter().zip(&preprocessing.std).cycle();
            let level = |(value, (mean, std)): (&f32, (&f32, &f32))| ((value * std + mean) * 255.0).round() as u8;
            seen.pixels.extend(batch.images.iter().zip(statistics).map(level));
            let mut outputs = outputs.into_iter();
            seen.features.extend(outputs.next().unwrap_or_default());
            seen.logits.extend(outputs.next().unwrap_or_default());
        })?;
        Ok(seen)
    }

    fn gram(&self, images: usize) -> Result<Gram, retune_analysis::cka::Undefined> {
        Gram::of(Rows { values: &self.features, width: self.features.len() / images }, Kernel::Linear)
    }
}

#[cfg(test)]
mod tests;
