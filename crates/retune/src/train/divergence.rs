//! Where training stopped being finite, in words that help.

use std::fmt;

use crate::sources::Dataset;

/// What was NaN or infinite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotFinite {
    /// The loss of a batch.
    Loss,
    /// The weights after a step.
    Weights,
    /// The measured gradients that adaptive rates follow.
    Measure,
    /// The model's output in validation.
    Validation,
}

/// Where a learning rate stopped being finite.
#[derive(Clone, Debug, PartialEq)]
pub struct Divergence {
    /// What was not finite.
    pub what: NotFinite,
    /// The epoch, from 1.
    pub epoch: usize,
    /// The step of the epoch, from 1; 0 outside the steps.
    pub step: usize,
    /// The images of the batch, or the image, by name.
    pub images: Vec<String>,
}

impl Divergence {
    /// At training images of the batch numbered `batch` (from 0).
    pub(super) fn in_step(what: NotFinite, epoch: usize, batch: usize, indices: &[usize], images: &Dataset) -> Self {
        let images = indices.iter().map(|&index| images.samples[index].name.to_string());
        Self { what, epoch: epoch + 1, step: batch + 1, images: images.collect() }
    }

    /// What to try.
    pub fn advice(&self) -> &'static str {
        match (self.what, self.epoch, self.step) {
            // Nothing has been updated yet, so no rate is at fault.
            (NotFinite::Loss, 1, 1) => {
                "no step was taken yet, so check these images, the mean and standard deviation, and the model's weights"
            }
            _ => "try a smaller learning rate, clipped gradients, or a warm-up, or check these images",
        }
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            NotFinite::Loss => "the loss was not finite",
            NotFinite::Weights => "the weights were not finite after the update",
            NotFinite::Measure => "the measured gradients were not finite",
            NotFinite::Validation => "the output in validation was not finite",
        };
        formatter.write_str(what)?;
        match self.step {
            0 => write!(formatter, " in epoch {}", self.epoch)?,
            step => write!(formatter, " in step {step} of epoch {}", self.epoch)?,
        }
        if self.images.is_empty() { Ok(()) } else { write!(formatter, ", at {}", Names(&self.images)) }
    }
}

/// A few names of many.
struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        let shown = &self.0[..self.0.len().min(SHOWN)];
        formatter.write_str(&shown.join(", "))?;
        match self.0.len() - shown.len() {
            0 => Ok(()),
            more => write!(formatter, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_where_and_what_to_do() {
        let images: Vec<String> = (0..10).map(|number| format!("{number}.png")).collect();
        let divergence = Divergence { what: NotFinite::Loss, epoch: 2, step: 3, images };
        let text = divergence.to_string();
        assert!(text.starts_with("the loss was not finite in step 3 of epoch 2, at 0.png, 1.png"), "{text}");
        assert!(text.ends_with("7.png and 2 more"), "{text}");
        assert!(divergence.advice().contains("smaller learning rate"));
        let first = Divergence { epoch: 1, step: 1, ..divergence };
        assert!(first.advice().contains("the mean and standard deviation"));
    }
}
