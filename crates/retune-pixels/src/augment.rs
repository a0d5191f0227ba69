//! Training augmentation: what happens to an image on its way into a training batch.
//!
//! Follows timm's training transform (`timm/data/transforms_factory.py::transforms_imagenet_train`,
//! 1.0.31) in order and in distribution: a random resized crop, a random horizontal flip, RandAugment.
//! Every random number comes from a generator that depends only on the run's seed, the epoch and the
//! sample, so that a batch is the same whichever thread makes it, and after a resumed interruption.

use std::fmt;
use std::str::FromStr;

use image::{RgbImage, imageops};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use super::picture::Picture;
use super::preprocess::Preprocessing;
use super::randaugment::RandAugment;
use super::resize::Window;

/// Attempts at a random crop before the central one is taken.
const CROP_ATTEMPTS: u32 = 10;

/// Which augmentation training images get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AugmentPolicy {
    /// None: the evaluation transform.
    None,
    /// The evaluation transform and a random horizontal flip.
    Flip,
    /// A random resized crop and a random horizontal flip.
    #[default]
    Standard,
    /// As `standard`, then RandAugment.
    RandAugment,
}

impl AugmentPolicy {
    /// Every policy, from none to the strongest.
    pub const ALL: [AugmentPolicy; 4] =
        [AugmentPolicy::None, AugmentPolicy::Flip, AugmentPolicy::Standard, AugmentPolicy::RandAugment];

    /// The name used on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            AugmentPolicy::None => "none",
            AugmentPolicy::Flip => "flip",
            AugmentPolicy::Standard => "standard",
            AugmentPolicy::RandAugment => "randaugment",
        }
    }
}

impl fmt::Display for AugmentPolicy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// The error of [`AugmentPolicy::from_str`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown augmentation `{name}`: use one of none, flip, standard, randaugment")]
pub struct UnknownAugmentPolicy {
    /// The name that was given.
    pub name: String,
}

impl FromStr for AugmentPolicy {
    type Err = UnknownAugmentPolicy;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        AugmentPolicy::ALL
            .into_iter()
            .find(|policy| policy.name() == name)
            .ok_or_else(|| UnknownAugmentPolicy { name: name.to_owned() })
    }
}

/// A policy with its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Augmentation {
    /// What is done at all.
    pub policy: AugmentPolicy,
    /// Smallest and largest share of an image's area that a random crop covers.
    pub scale: (f64, f64),
    /// Smallest and largest ratio of a random crop's width to its height.
    pub ratio: (f64, f64),
    /// Probability of a horizontal flip.
    pub hflip: f64,
    /// The operations of the policy `randaugment`.
    pub rand_augment: RandAugment,
}

impl Default for Augmentation {
    /// `standard` with timm's parameters: scale 0.08 to 1, ratio 3/4 to 4/3, flips half of the time.
    fn default() -> Self {
        Augmentation {
            policy: AugmentPolicy::default(),
            scale: (0.08, 1.0),
            ratio: (3.0 / 4.0, 4.0 / 3.0),
            hflip: 0.5,
            rand_augment: RandAugment::default(),
        }
    }
}

/// What is wrong with an [`Augmentation`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AugmentationError {
    /// The crop's scale is not a range of shares.
    #[error("crop scale {0}..{1} is out of range: shares from above 0 to 1, the smaller first")]
    Scale(f64, f64),
    /// The crop's ratio is not a range of ratios.
    #[error("crop ratio {0}..{1} is out of range: finite and above 0, the smaller first")]
    Ratio(f64, f64),
    /// A probability is not one.
    #[error("{name} {value} is not a probability: it must be from 0 to 1")]
    Probability {
        /// Which one.
        name: &'static str,
        /// Its value.
        value: f64,
    },
    /// RandAugment's magnitude is out of range.
    #[error("RandAugment magnitude {mean} ± {std} is out of range: 0 to 10, the deviation 0 or more")]
    Magnitude {
        /// The mean.
        mean: f64,
        /// The standard deviation.
        std: f64,
    },
}

impl Augmentation {
    /// A policy with its default parameters.
    pub fn new(policy: AugmentPolicy) -> Self {
        Augmentation { policy, ..Augmentation::default() }
    }

    /// Checks that the parameters make sense; [`Augmentation::apply`] relies on it.
    ///
    /// # Errors
    /// The first parameter that is out of its range.
    pub fn validate(&self) -> Result<(), AugmentationError> {
        let (low, high) = self.scale;
        if !(low > 0.0 && low <= high && high <= 1.0) {
            return Err(AugmentationError::Scale(low, high));
        }
        let (low, high) = self.ratio;
        if !(low > 0.0 && low <= high && high.is_finite()) {
            return Err(AugmentationError::Ratio(low, high));
        }
        let probabilities = [("hflip", self.hflip), ("RandAugment probability", self.rand_augment.probability)];
        for (name, value) in probabilities {
            if !(0.0..=1.0).contains(&value) {
                return Err(AugmentationError::Probability { name, value });
            }
        }
        let (mean, std) = (self.rand_augment.magnitude, self.rand_augment.magnitude_std);
        if !((0.0..=10.0).contains(&mean) && std.is_finite() && std >= 0.0) {
            return Err(AugmentationError::Magnitude { mean, std });
        }
        Ok(())
    }

    /// Whether an image always becomes the same pixels, so that what is computed from it can be kept.
    pub fn is_deterministic(&self) -> bool {
        match self.policy {
            AugmentPolicy::None => true,
            AugmentPolicy::Flip => self.hflip == 0.0 || self.hflip == 1.0,
            AugmentPolicy::Standard | AugmentPolicy::RandAugment => false,
        }
    }

    /// Makes a training input of exactly `preprocessing.width` × `preprocessing.height` pixels.
    ///
    /// Crops are resized by the model's own interpolation. (timm's training script draws bilinear or
    /// bicubic at random; a model that is fine-tuned to keep what it knows should see in training
    /// what it will see in evaluation.)
    pub fn apply(&self, picture: &Picture, preprocessing: &Preprocessing, random: &mut impl Rng) -> Picture {
        let fitted = match self.policy {
            AugmentPolicy::None => return preprocessing.apply(picture),
            AugmentPolicy::Flip => preprocessing.apply(picture),
            AugmentPolicy::Standard | AugmentPolicy::RandAugment => {
                let crop = self.draw_crop(picture.width(), picture.height(), random);
                let cut = |image: &RgbImage| {
                    imageops::crop_imm(image, crop.left, crop.top, crop.width, crop.height).to_image()
                };
                preprocessing.resize_whole(&picture.map(cut))
            }
        };
        let flips = random.random::<f64>() < self.hflip;
        let flipped = if flips { fitted.map(imageops::flip_horizontal) } else { fitted };
        if self.policy != AugmentPolicy::RandAugment {
            return flipped;
        }
        let [red, green, blue] = preprocessing.mean_color();
        let fill = [red, green, blue, preprocessing.mean_alpha()];
        self.rand_augment.apply(flipped, preprocessing.interpolation, fill, random)
    }

    /// torchvision's `RandomResizedCrop`: area uniform, ratio log-uniform, place uniform; after ten
    /// attempts that do not fit, the largest central crop with an allowed ratio.
    fn draw_crop(&self, width: u32, height: u32, random: &mut impl Rng) -> Window {
        let area = f64::from(width) * f64::from(height);
        for _ in 0..CROP_ATTEMPTS {
            let crop_area = area * uniform(self.scale, random);
            let ratio = uniform((self.ratio.0.ln(), self.ratio.1.ln()), random).exp();
            let crop_width = (crop_area * ratio).sqrt().round_ties_even() as u32;
            let crop_height = (crop_area / ratio).sqrt().round_ties_even() as u32;
            // An extremely narrow image may round to a crop of nothing.
            let fits = (1..=width).contains(&crop_width) && (1..=height).contains(&crop_height);
            if fits {
                return Window {
                    left: random.random_range(0..=width - crop_width),
                    top: random.random_range(0..=height - crop_height),
                    width: crop_width,
                    height: crop_height,
                };
            }
        }
        self.central_crop(width, height)
    }

    fn central_crop(&self, width: u32, height: u32) -> Window {
        let image_ratio = f64::from(width) / f64::from(height);
        let (crop_width, crop_height) = if image_ratio < self.ratio.0 {
            let fitted = (f64::from(width) / self.ratio.0).round_ties_even();
            (width, (fitted as u32).clamp(1, height))
        } else if image_ratio > self.ratio.1 {
            let fitted = (f64::from(height) * self.ratio.1).round_ties_even();
            ((fitted as u32).clamp(1, width), height)
        } else {
            (width, height)
        };
        Window {
            left: (width - crop_width) / 2,
            top: (height - crop_height) / 2,
            width: crop_width,
            height: crop_height,
        }
    }
}

fn uniform((low, high): (f64, f64), random: &mut impl Rng) -> f64 {
    low + (high - low) * random.random::<f64>()
}

/// The random numbers for one sample in one epoch.
///
/// A ChaCha8 stream whose key is the three numbers themselves: streams of different samples, epochs or
/// seeds have nothing in common, and any of them can be started without the others.
pub fn augmentation_rng(seed: u64, epoch: u64, sample_index: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    let numbers = [seed, epoch, sample_index].map(u64::to_le_bytes);
    key[..24].copy_from_slice(numbers.as_flattened());
    // Tells these streams from others that are keyed by the same numbers.
    key[24..].copy_from_slice(b"augment\0");
    ChaCha8Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::channels::Channels;
    use crate::preprocess::CropMode;
    use crate::resize::fixtures::source;
    use crate::resize::{Interpolation, resize};

    fn preprocessing() -> Preprocessing {
        Preprocessing {
            width: 20,
            height: 16,
            interpolation: Interpolation::Bilinear,
            crop_pct: 0.875,
            crop_mode: CropMode::Center,
            channels: Channels::Rgb,
            mean: vec![0.485, 0.456, 0.406],
            std: vec![0.229, 0.224, 0.225],
            white: None,
        }
    }

    fn augment(augmentation: Augmentation, sample: u64) -> RgbImage {
        let mut random = augmentation_rng(3, 1, sample);
        RgbImage::clone(&augmentation.apply(&source("photo").into(), &preprocessing(), &mut random).color)
    }

    #[test]
    fn none_is_the_evaluation_transform() {
        let expected = RgbImage::clone(&preprocessing().apply(&source("photo").into()).color);
        assert_eq!(augment(Augmentation::new(AugmentPolicy::None), 0), expected);
    }

    #[test]
    fn flip_is_the_evaluation_transform_or_its_mirror_image() {
        let upright = RgbImage::clone(&preprocessing().apply(&source("photo").into()).color);
        let mirrored = imageops::flip_horizontal(&upright);
        let flips = (0..400)
            .map(|sample| augment(Augmentation::new(AugmentPolicy::Flip), sample))
            .inspect(|image| assert!(*image == upright || *image == mirrored))
            .filter(|image| *image == mirrored)
            .count();
        // Four standard deviations of 400 tosses of a coin.
        assert!((160..=240).contains(&flips), "{flips}");
    }

    #[test]
    fn standard_resizes_the_drawn_crop() {
        let augmentation = Augmentation { hflip: 0.0, ..Augmentation::default() };
        let photo = source("photo");
        let crop = augmentation.draw_crop(61, 47, &mut augmentation_rng(3, 1, 5));
        let crop = imageops::crop_imm(&photo, crop.left, crop.top, crop.width, crop.height);
        let expected = resize(&crop.to_image(), 20, 16, Interpolation::Bilinear);
        assert_eq!(augment(augmentation, 5), expected);
    }

    #[test]
    fn crops_have_the_stated_distribution() {
        let augmentation = Augmentation::default();
        let mut random = augmentation_rng(0, 0, 0);
        let (side, draws) = (1000, 4000);
        let mut areas = 0.0;
        let mut log_ratios = 0.0;
        for _ in 0..draws {
            let crop = augmentation.draw_crop(side, side, &mut random);
            let (width, height) = (f64::from(crop.width), f64::from(crop.height));
            assert!(crop.left + crop.width <= side && crop.top + crop.height <= side);
            // Sides are rounded to whole pixels, at least 245 of them.
            assert!((0.745..=1.34).contains(&(width / height)));
            assert!(width * height >= 0.0795 * 1e6);
            areas += width * height / 1e6;
            log_ratios += (width / height).ln();
        }
        // Uniform from 0.08 to 1 has mean 0.54; large crops with ratios far from 1 do not fit in a
        // square, which lowers it to 0.478 with a standard deviation of 0.233 (numerical integration
        // over what fits). Four standard errors are 0.015.
        let mean_area = areas / f64::from(draws);
        assert!((mean_area - 0.478).abs() < 0.015, "{mean_area}");
        // Log-uniform and symmetric: mean 0 with a standard error of 0.17 / √4000 = 0.003.
        let mean_log_ratio = log_ratios / f64::from(draws);
        assert!(mean_log_ratio.abs() < 0.012, "{mean_log_ratio}");
    }

    #[test]
    fn long_images_fall_back_to_the_central_crop() {
        let augmentation = Augmentation { scale: (0.9, 1.0), ..Augmentation::default() };
        let wide = augmentation.draw_crop(1000, 30, &mut augmentation_rng(0, 0, 0));
        let expected = Window { left: 480, top: 0, width: 40, height: 30 };
        assert_eq!(wide, expected);
        let tall = augmentation.draw_crop(30, 1000, &mut augmentation_rng(0, 0, 0));
        assert_eq!(tall, Window { left: 0, top: 480, width: 30, height: 40 });
    }

    #[test]
    fn the_same_numbers_give_the_same_image_and_others_another() {
        let augmentation = Augmentation::new(AugmentPolicy::RandAugment);
        assert_eq!(augment(augmentation, 7), augment(augmentation, 7));
        assert_ne!(augment(augmentation, 7), augment(augmentation, 8));
        let first = |seed, epoch, sample| augmentation_rng(seed, epoch, sample).random::<u64>();
        let streams = [first(1, 0, 0), first(0, 1, 0), first(0, 0, 1), first(0, 0, 0)];
        let distinct: std::collections::BTreeSet<u64> = streams.into_iter().collect();
        assert_eq!(distinct.len(), streams.len());
    }

    #[test]
    fn the_stream_stays_the_same_across_versions() {
        // A resumed run must go on with the numbers it began with.
        let mut random = augmentation_rng(1, 2, 3);
        assert_eq!(random.random::<u64>(), 11_176_121_722_097_623_209);
    }

    #[test]
    fn only_none_is_deterministic() {
        let deterministic = AugmentPolicy::ALL.map(|p| Augmentation::new(p).is_deterministic());
        assert_eq!(deterministic, [true, false, false, false]);
    }

    #[test]
    fn names_round_trip() {
        for policy in AugmentPolicy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
            assert_eq!(serde_json::to_value(policy).unwrap(), policy.name());
        }
        let error = "autoaugment".parse::<AugmentPolicy>().unwrap_err();
        assert!(error.to_string().contains("none, flip, standard, randaugment"));
    }

    #[test]
    fn parameters_out_of_range_are_refused() {
        let refused = |change: fn(&mut Augmentation)| {
            let mut augmentation = Augmentation::default();
            assert_eq!(augmentation.validate(), Ok(()));
            change(&mut augmentation);
            augmentation.validate().unwrap_err()
        };
        assert_eq!(refused(|a| a.scale = (0.0, 1.0)), AugmentationError::Scale(0.0, 1.0));
        assert_eq!(refused(|a| a.ratio = (2.0, 1.0)), AugmentationError::Ratio(2.0, 1.0));
        assert!(matches!(refused(|a| a.hflip = f64::NAN), AugmentationError::Probability { .. }));
        let strong = refused(|a| a.rand_augment.magnitude = 11.0);
        assert!(matches!(strong, AugmentationError::Magnitude { .. }));
    }

    proptest! {
        #[test]
        fn any_image_becomes_an_input(
            size in (1u32..40, 1u32..40),
            seed in any::<u64>(),
            policy in prop::sample::select(AugmentPolicy::ALL.to_vec()),
        ) {
            let image = RgbImage::new(size.0, size.1).into();
            let mut random = augmentation_rng(seed, 0, 0);
            let input = Augmentation::new(policy).apply(&image, &preprocessing(), &mut random);
            prop_assert_eq!(input.dimensions(), (20, 16));
        }
    }
}
