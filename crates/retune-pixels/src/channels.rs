//! What the channels of a model's images are.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The channels of the images that a model takes: timm's `in_chans`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub enum Channels {
    /// One: Pillow's mode `L`.
    Gray,
    /// Two, gray and opacity: Pillow's mode `LA`.
    GrayAlpha,
    /// Three: Pillow's mode `RGB`.
    #[default]
    Rgb,
    /// Four, color and opacity: Pillow's mode `RGBA`.
    Rgba,
}

/// A number of channels that images do not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("models take 1 (gray), 2 (gray and opacity), 3 (RGB), or 4 (RGB and opacity) channels, not {0}")]
pub struct UnknownChannels(
    /// The number.
    pub u64,
);

impl Channels {
    /// How many there are.
    pub fn count(self) -> usize {
        match self {
            Self::Gray => 1,
            Self::GrayAlpha => 2,
            Self::Rgb => 3,
            Self::Rgba => 4,
        }
    }

    /// Whether colors become gray levels.
    pub fn is_gray(self) -> bool {
        matches!(self, Self::Gray | Self::GrayAlpha)
    }

    /// Whether the last channel is the opacity.
    pub fn has_alpha(self) -> bool {
        matches!(self, Self::GrayAlpha | Self::Rgba)
    }

    /// Means or standard deviations for these channels, made of those of other channels. Values for each channel stay; one
    /// value is repeated, as timm repeats it. One channel gets the mean of the values, because the stem's weights are
    /// summed. More get them repeated and cut, as the weights are, so that a copied weight meets the scale that it was
    /// trained with. (timm keeps three values beside another number of channels, with which normalizing then fails.)
    pub fn statistics(self, values: &[f32]) -> Vec<f32> {
        match self.count() {
            count if values.len() == count => values.to_vec(),
            1 => {
                let sum: f64 = values.iter().map(|&value| f64::from(value)).sum();
                vec![(sum / values.len() as f64) as f32]
            }
            count => values.iter().copied().cycle().take(count).collect(),
        }
    }
}

impl TryFrom<u64> for Channels {
    type Error = UnknownChannels;

    fn try_from(count: u64) -> Result<Self, UnknownChannels> {
        match count {
            1 => Ok(Self::Gray),
            2 => Ok(Self::GrayAlpha),
            3 => Ok(Self::Rgb),
            4 => Ok(Self::Rgba),
            _ => Err(UnknownChannels(count)),
        }
    }
}

impl From<Channels> for u64 {
    fn from(channels: Channels) -> u64 {
        channels.count() as u64
    }
}

/// As in `1 channel (gray)`.
impl fmt::Display for Channels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Gray => "1 channel (gray)",
            Self::GrayAlpha => "2 channels (gray and opacity)",
            Self::Rgb => "3 channels (RGB)",
            Self::Rgba => "4 channels (RGB and opacity)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_without_a_meaning_are_refused() {
        for count in 1..=4 {
            assert_eq!(Channels::try_from(count).unwrap().count() as u64, count);
        }
        for count in [0, 5, 1 << 40] {
            assert_eq!(Channels::try_from(count), Err(UnknownChannels(count)));
        }
        assert!(UnknownChannels(5).to_string().ends_with("channels, not 5"));
    }

    #[test]
    fn statistics_follow_the_stems_weights() {
        let imagenet = [0.485, 0.456, 0.406];
        // (0.485 + 0.456 + 0.406) / 3
        assert_eq!(Channels::Gray.statistics(&imagenet), [0.449]);
        assert_eq!(Channels::GrayAlpha.statistics(&imagenet), [0.485, 0.456]);
        assert_eq!(Channels::Rgb.statistics(&imagenet), imagenet);
        assert_eq!(Channels::Rgba.statistics(&imagenet), [0.485, 0.456, 0.406, 0.485]);
        assert_eq!(Channels::Rgba.statistics(&[0.5]), [0.5; 4]);
        assert_eq!(Channels::Gray.statistics(&[0.1307]), [0.1307]);
    }
}
