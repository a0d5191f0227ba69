//! What changes if a deployed pipeline prepares images otherwise than training did.
//!
//! A model is trained with one library's resizing and served with another's. The audit shows the model the same images
//! both ways and measures how far apart inputs, features, logits and predictions are, and what that does to accuracy.

use retune_analysis::cka::{Alignment, Estimate, Gram, Kernel, Rows};
use retune_analysis::intervals::{Estimate as Difference, matched_difference, wilson_interval};
use retune_pixels::resize::Interpolation;
use serde::{Deserialize, Serialize};

use crate::inference::layers::{Positions, for_each_batch_at};
use crate::inference::{InferenceError, Layer, most_likely};
use crate::monitor::Monitor;
use crate::similarity::{CkaOptions, Minibatches, ModelCkaError, View};
use crate::sources::Dataset;

/// A share of images, and where it may lie.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// From 0 to 1.
    pub value: f64,
    /// Wilson's 95 % interval.
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
    /// Share of images that the model gets right; none where labels or a classifier are missing.
    pub accuracy: Option<Share>,
    /// How much more of the same images the model gets right than with its own preprocessing, with its 95 % interval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy_difference: Option<Difference>,
    /// Share of images for which the model predicts another class than with its own preprocessing.
    pub changed_predictions: Option<Share>,
    /// Mean over images and classes of the logits' absolute change, in units of the logits' spread: their standard
    /// deviation over the classes of an image, root mean square over images. Each image's logits are taken from their
    /// mean, which no probability depends on.
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

/// The model's own preprocessing and others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// Images.
    pub n: usize,
    /// Minibatches that CKA was computed in.
    pub minibatches: usize,
    /// The model's own first.
    pub rows: Vec<AuditRow>,
}

impl Audit {
    /// Whether other ways of resizing were asked for, and each gave the same pixels as the model's own.
    pub fn resizing_changes_nothing(&self) -> bool {
        let Some((own, others)) = self.rows.split_first() else { return false };
        let mut resized = others.iter().filter(|row| (row.size, row.crop_pct) == (own.size, own.crop_pct)).peekable();
        resized.peek().is_some() && resized.all(|row| row.pixel_difference == Some(0.0))
    }
}

/// Compares the model's own preprocessing with `variants`. Labels, where all images have one, must be positions in the
/// model's classes. Of `options`, the kernel, the estimator and the positions are not used.
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
    let mut tallies = vec![Tally::default(); variants.len() + 1];
    monitor.start("auditing", plan.images * (variants.len() + 1));
    for chosen in &plan.chosen {
        let part = dataset.select(chosen);
        let reference = Seen::by(own, &part, &options, monitor)?;
        let mut grams = vec![reference.gram(chosen.len())];
        tallies[0].add(&reference, &reference, &part);
        for (view, tally) in variants.iter().zip(&mut tallies[1..]) {
            let seen = Seen::by(view, &part, &options, monitor)?;
            tally.add(&seen, &reference, &part);
            grams.push(seen.gram(chosen.len()));
        }
        alignment.add(grams);
    }
    monitor.finish();
    let views = std::iter::once(own).chain(variants);
    let own_right = tallies[0].right.clone();
    let row = |((view, tally), cka): ((&View, Tally), Estimate)| tally.row(view, &own_right, cka);
    let rows = views.zip(tallies).zip(alignment.finish()).map(row).collect();
    Ok(Audit { n: plan.images, minibatches: plan.chosen.len(), rows })
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

/// Sums over images.
#[derive(Clone, Default)]
struct Tally {
    images: usize,
    labeled: usize,
    /// Whether each image is right.
    right: Vec<bool>,
    changed: usize,
    logit_change: f64,
    logit_squares: f64,
    logits: usize,
    pixel_change: f64,
    pixels: usize,
}

impl Tally {
    fn add(&mut self, seen: &Seen, reference: &Seen, images: &Dataset) {
        self.images += images.len();
        if seen.size == reference.size {
            let change = |(one, other): (&u8, &u8)| u64::from(one.abs_diff(*other));
            self.pixel_change += seen.pixels.iter().zip(&reference.pixels).map(change).sum::<u64>() as f64;
            self.pixels += seen.pixels.len();
        }
        if seen.classes == 0 {
            return;
        }
        let rows = seen.logits.chunks_exact(seen.classes).zip(reference.logits.chunks_exact(seen.classes));
        for ((logits, own), sample) in rows.zip(&images.samples) {
            let predicted = most_likely(logits);
            self.changed += usize::from(predicted != most_likely(own));
            self.labeled += usize::from(sample.label.is_some());
            self.right.push(sample.label == Some(predicted));
            let (mean, own_mean) = (mean_of(logits), mean_of(own));
            for (&logit, &own) in logits.iter().zip(own) {
                let own = f64::from(own) - own_mean;
                self.logit_change += (f64::from(logit) - mean - own).abs();
                self.logit_squares += own * own;
            }
            self.logits += seen.classes;
        }
    }

    fn row(self, view: &View, own_right: &[bool], cka: Estimate) -> AuditRow {
        let classified = self.logits > 0;
        let labeled = classified && self.labeled == self.images;
        let spread = (self.logit_squares / self.logits as f64).sqrt();
        AuditRow {
            name: view.name.clone(),
            interpolation: view.preprocessing.interpolation,
            size: [view.preprocessing.height, view.preprocessing.width],
            crop_pct: view.preprocessing.crop_pct,
            accuracy: labeled.then(|| Share::of(self.right.iter().filter(|right| **right).count(), self.images)),
            accuracy_difference: labeled.then(|| matched_difference(&self.right, own_right)),
            changed_predictions: classified.then(|| Share::of(self.changed, self.images)),
            // Logits that are all alike have no spread to measure a change by.
            logit_change: (classified && spread > 0.0).then(|| self.logit_change / self.logits as f64 / spread),
            pixel_difference: (self.pixels > 0).then(|| self.pixel_change / self.pixels as f64),
            cka: cka.value.ok(),
            cka_interval: cka.interval,
            cka_undefined: cka.value.err().map(|reason| reason.to_string()),
        }
    }
}

fn mean_of(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value)).sum::<f64>() / values.len() as f64
}

#[cfg(test)]
mod tests;
