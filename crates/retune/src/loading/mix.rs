//! Mixing the images of a batch: mixup and CutMix.
//!
//! - mixup: Zhang et al. 2017, <https://arxiv.org/abs/1710.09412>: each image is blended with another.
//! - CutMix: Yun et al. 2019, <https://arxiv.org/abs/1905.04899>: a rectangle of each image is replaced
//!   by the same rectangle of another.
//!
//! As in timm's `Mixup` in its `batch` mode (`timm/data/mixup.py`, 1.0.31): one share λ for the whole
//! batch, an image's partner is the one as far from the other end of the batch, and λ is corrected for
//! what of the rectangle lies outside the image.

use std::ops::Range;

use rand::{Rng, RngExt};
use rand_distr::Beta;
use serde::{Deserialize, Serialize};

/// Probability of CutMix for a batch when both are on.
const CUTMIX_PROBABILITY: f64 = 0.5;

/// How the images of a batch are mixed. Both at 0 leave them as they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mix {
    /// mixup draws its share from Beta(`mixup_alpha`, `mixup_alpha`); 0 turns it off.
    pub mixup_alpha: f64,
    /// CutMix draws its share from Beta(`cutmix_alpha`, `cutmix_alpha`); 0 turns it off.
    pub cutmix_alpha: f64,
}

/// What is wrong with a [`Mix`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{name} {value} is out of range: it must be 0 (off) or above")]
pub struct MixError {
    /// Which parameter.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
}

/// What is done to one batch.
#[derive(Clone, Debug, PartialEq)]
enum Mixing {
    /// Each image keeps this share of itself.
    Blend(f64),
    /// Each image gets these rows and columns from its partner.
    Paste(Range<usize>, Range<usize>),
}

impl Mix {
    /// Checks that the parameters make sense; [`Mix::apply`] relies on it.
    ///
    /// # Errors
    /// The first parameter that is negative or not a finite number.
    pub fn validate(&self) -> Result<(), MixError> {
        let parameters = [("mixup alpha", self.mixup_alpha), ("cutmix alpha", self.cutmix_alpha)];
        for (name, value) in parameters {
            if !(value.is_finite() && value >= 0.0) {
                return Err(MixError { name, value });
            }
        }
        Ok(())
    }

    /// Whether anything is mixed at all.
    pub fn is_active(&self) -> bool {
        self.mixup_alpha > 0.0 || self.cutmix_alpha > 0.0
    }

    /// Mixes `images` (n × height × width × channels, `shape` being height and width) in place and returns
    /// the targets, n × `classes`, each row summing to 1: the labels' one-hot rows, smoothed to
    /// `1 − smoothing + smoothing / classes` and `smoothing / classes`, in the shares of the mixture.
    ///
    /// # Panics
    /// If `images` does not hold n images of the shape, n being the number of labels, or a label is
    /// not below `classes`.
    pub fn apply(
        &self,
        images: &mut [f32],
        labels: &[usize],
        shape: [usize; 2],
        classes: usize,
        smoothing: f64,
        random: &mut impl Rng,
    ) -> Vec<f32> {
        let image_length = images.len().checked_div(labels.len()).unwrap_or(0);
        assert_eq!(images.len(), labels.len() * image_length, "one label for each image");
        assert!(image_length.is_multiple_of((shape[0] * shape[1]).max(1)), "every channel of each pixel");
        let own_share = match self.draw(shape, random) {
            None => 1.0,
            Some(Mixing::Blend(share)) => {
                blend(images, image_length, share as f32);
                share
            }
            Some(Mixing::Paste(rows, columns)) => {
                let pasted = (rows.len() * columns.len()) as f64;
                paste(images, image_length, shape, rows, columns);
                1.0 - pasted / (shape[0] * shape[1]) as f64
            }
        };
        targets(labels, classes, smoothing, own_share)
    }

    fn draw(&self, shape: [usize; 2], random: &mut impl Rng) -> Option<Mixing> {
        let mixup = Beta::new(self.mixup_alpha, self.mixup_alpha).ok();
        let cutmix = Beta::new(self.cutmix_alpha, self.cutmix_alpha).ok();
        let pastes = match (mixup, cutmix) {
            (Some(_), Some(_)) => random.random::<f64>() < CUTMIX_PROBABILITY,
            (_, cutmix) => cutmix.is_some(),
        };
        if pastes {
            let share = random.sample(cutmix?);
            Some(draw_rectangle(shape, share, random))
        } else {
            Some(Mixing::Blend(random.sample(mixup?)))
        }
    }
}

/// A rectangle of the image's proportions that covers 1 − `share` of its area, around a point anywhere
/// in the image, less what of it lies outside.
fn draw_rectangle([height, width]: [usize; 2], share: f64, random: &mut impl Rng) -> Mixing {
    let side = (1.0 - share).sqrt();
    let mut span = |size: usize| {
        let cut = (size as f64 * side) as usize;
        let center = random.random_range(0..size.max(1));
        center.saturating_sub(cut / 2)..(center + cut.div_ceil(2)).min(size)
    };
    let rows = span(height);
    Mixing::Paste(rows, span(width))
}

/// Every image with its partner from the other end of the batch; an odd batch's middle has none.
fn partners(images: &mut [f32], image_length: usize) -> impl Iterator<Item = (&mut [f32], &mut [f32])> {
    let count = images.len().checked_div(image_length).unwrap_or(0);
    let (front, back) = images.split_at_mut(count / 2 * image_length);
    // `max(1)` because chunks cannot be empty; images without pixels have no partners.
    let front = front.chunks_exact_mut(image_length.max(1));
    front.zip(back.chunks_exact_mut(image_length.max(1)).rev())
}

fn blend(images: &mut [f32], image_length: usize, share: f32) {
    for (one, other) in partners(images, image_length) {
        for (a, b) in one.iter_mut().zip(other) {
            (*a, *b) = (*a * share + *b * (1.0 - share), *b * share + *a * (1.0 - share));
        }
    }
}

fn paste(
    images: &mut [f32],
    image_length: usize,
    [height, width]: [usize; 2],
    rows: Range<usize>,
    columns: Range<usize>,
) {
    let channels = image_length / (height * width).max(1);
    for (one, other) in partners(images, image_length) {
        for row in rows.clone() {
            let pasted = (row * width + columns.start) * channels..(row * width + columns.end) * channels;
            one[pasted.clone()].swap_with_slice(&mut other[pasted]);
        }
    }
}

/// Smoothed one-hot rows, each with its partner's in the rest of `own_share`.
fn targets(labels: &[usize], classes: usize, smoothing: f64, own_share: f64) -> Vec<f32> {
    let elsewhere = smoothing / classes as f64;
    let mut targets = vec![elsewhere as f32; labels.len() * classes];
    let on_label = 1.0 - smoothing;
    let partners = labels.iter().rev();
    for (row, (&label, &partner)) in labels.iter().zip(partners).enumerate() {
        let row = &mut targets[row * classes..][..classes];
        row[label] += (on_label * own_share) as f32;
        row[partner] += (on_label * (1.0 - own_share)) as f32;
    }
    targets
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    use super::*;

    const SHAPE: [usize; 2] = [12, 10];
    const IMAGE_LENGTH: usize = 3 * 12 * 10;

    /// Images of a constant each: 0, 1, 2, …
    fn constant_images(count: usize) -> Vec<f32> {
        (0..count).flat_map(|index| vec![index as f32; IMAGE_LENGTH]).collect()
    }

    fn sums_to_one(targets: &[f32], classes: usize) -> bool {
        // Single precision, a few additions.
        targets.chunks(classes).all(|row| (row.iter().sum::<f32>() - 1.0).abs() < 1e-5)
    }

    #[test]
    fn nothing_to_mix_leaves_images_and_smooths_labels() {
        let mut images = constant_images(2);
        let mut random = ChaCha8Rng::seed_from_u64(0);
        let targets = Mix::default().apply(&mut images, &[2, 0], SHAPE, 4, 0.2, &mut random);
        assert_eq!(images, constant_images(2));
        assert_eq!(targets, [0.05, 0.05, 0.85, 0.05, 0.85, 0.05, 0.05, 0.05]);
    }

    #[test]
    fn mixup_blends_images_and_targets_in_one_share() {
        let mix = Mix { mixup_alpha: 0.8, cutmix_alpha: 0.0 };
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for count in [1, 2, 5] {
            let labels: Vec<usize> = (0..count).collect();
            let mut images = constant_images(count);
            let targets = mix.apply(&mut images, &labels, SHAPE, count, 0.0, &mut random);
            assert!(sums_to_one(&targets, count));
            // With image i constant at i and class i, the target's mean class is the pixel's value.
            for (row, image) in targets.chunks(count).zip(images.chunks(IMAGE_LENGTH)) {
                let mean: f32 = row.iter().enumerate().map(|(class, share)| class as f32 * share).sum();
                assert!(image.iter().all(|value| (value - mean).abs() < 1e-5));
            }
        }
    }

    #[test]
    fn cutmix_pastes_a_rectangle_and_counts_its_pixels() {
        let mix = Mix { mixup_alpha: 0.0, cutmix_alpha: 1.0 };
        let mut random = ChaCha8Rng::seed_from_u64(2);
        for _ in 0..50 {
            let mut images = constant_images(4);
            let targets = mix.apply(&mut images, &[0, 1, 2, 3], SHAPE, 4, 0.0, &mut random);
            assert!(sums_to_one(&targets, 4));
            for index in 0..4 {
                let image = &images[index * IMAGE_LENGTH..][..IMAGE_LENGTH];
                let partner = 3 - index;
                let pasted = image.iter().filter(|value| **value == partner as f32).count();
                let kept = image.iter().filter(|value| **value == index as f32).count();
                assert_eq!(pasted + kept, IMAGE_LENGTH);
                let share = pasted as f32 / IMAGE_LENGTH as f32;
                assert!((targets[index * 4 + partner] - share).abs() < 1e-6);
                assert!(image.as_chunks::<3>().0.iter().all(|[red, green, blue]| red == green && green == blue));
            }
        }
    }

    #[test]
    fn rectangles_match_timm() {
        // timm: rand_bbox((12, 10), 0.75) halves the sides to 6 × 5; around the point (1, 8) that is
        // rows −2..4 and columns 6..11 before clipping.
        let mut found = false;
        for seed in 0..400 {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let center = (random.random_range(0..12usize), random.random_range(0..10usize));
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            let rectangle = draw_rectangle(SHAPE, 0.75, &mut random);
            if center == (1, 8) {
                assert_eq!(rectangle, Mixing::Paste(0..4, 6..10));
                found = true;
            }
        }
        assert!(found);
    }

    #[test]
    fn both_take_turns() {
        let mix = Mix { mixup_alpha: 0.2, cutmix_alpha: 1.0 };
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let pastes = (0..400).filter(|_| matches!(mix.draw(SHAPE, &mut random), Some(Mixing::Paste(..)))).count();
        // Four standard deviations of 400 tosses of a coin.
        assert!((160..=240).contains(&pastes), "{pastes}");
    }

    #[test]
    fn shares_follow_the_beta_distribution() {
        let mix = Mix { mixup_alpha: 0.2, cutmix_alpha: 0.0 };
        let mut random = ChaCha8Rng::seed_from_u64(4);
        let shares: Vec<f64> = (0..4000)
            .filter_map(|_| match mix.draw(SHAPE, &mut random) {
                Some(Mixing::Blend(share)) => Some(share),
                _ => None,
            })
            .collect();
        assert_eq!(shares.len(), 4000);
        let mean = shares.iter().sum::<f64>() / 4000.0;
        let variance = shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / 4000.0;
        // Beta(a, a): mean ½, variance 1 / (4 (2a + 1)) = 0.179. Four standard errors of the mean are
        // 0.027; those of the variance are smaller.
        assert!((mean - 0.5).abs() < 0.027, "{mean}");
        assert!((variance - 0.25 / 1.4).abs() < 0.027, "{variance}");
    }

    #[test]
    fn empty_batches_and_images_are_left_alone() {
        let mix = Mix { mixup_alpha: 1.0, cutmix_alpha: 1.0 };
        let mut random = ChaCha8Rng::seed_from_u64(5);
        for _ in 0..8 {
            assert!(mix.apply(&mut [], &[], SHAPE, 3, 0.1, &mut random).is_empty());
        }
    }

    #[test]
    fn negative_alphas_are_refused() {
        let mix = Mix { mixup_alpha: 0.2, cutmix_alpha: -1.0 };
        assert_eq!(
            mix.validate().unwrap_err().to_string(),
            "cutmix alpha -1 is out of range: it must be 0 (off) or above"
        );
        assert!(Mix { mixup_alpha: f64::NAN, cutmix_alpha: 0.0 }.validate().is_err());
        assert_eq!(Mix::default().validate(), Ok(()));
        assert!(!Mix::default().is_active());
    }
}
