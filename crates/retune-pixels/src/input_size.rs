//! The height and width that images are brought to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Height and width of a model's input, in pixels. Written as one number where they are equal, else as `HEIGHTxWIDTH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct InputSize {
    /// Height in pixels.
    pub height: u32,
    /// Width in pixels.
    pub width: u32,
}

impl InputSize {
    /// The largest side, in pixels.
    pub const MAX_SIDE: u32 = 16_384;

    /// A square.
    pub fn square(side: u32) -> Self {
        Self { height: side, width: side }
    }
}

/// The error of [`InputSize::from_str`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a side or HEIGHTxWIDTH, such as 224 or 64x256: whole numbers from 1 to 16384")]
pub struct InvalidInputSize;

impl FromStr for InputSize {
    type Err = InvalidInputSize;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let side = |text: &str| {
            let side: Option<u32> = text.parse().ok();
            side.filter(|side| (1..=Self::MAX_SIDE).contains(side)).ok_or(InvalidInputSize)
        };
        match text.split_once(['x', '×']) {
            Some((height, width)) => Ok(Self { height: side(height)?, width: side(width)? }),
            None => side(text).map(Self::square),
        }
    }
}

impl fmt::Display for InputSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.height == self.width {
            true => write!(formatter, "{}", self.height),
            false => write!(formatter, "{}x{}", self.height, self.width),
        }
    }
}

/// As files hold it: squares have always been numbers there.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Side(u32),
    Sides(String),
}

impl From<InputSize> for Written {
    fn from(size: InputSize) -> Self {
        if size.height == size.width { Self::Side(size.height) } else { Self::Sides(size.to_string()) }
    }
}

impl TryFrom<Written> for InputSize {
    type Error = InvalidInputSize;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        match written {
            Written::Side(side) => side.to_string().parse(),
            Written::Sides(sides) => sides.parse(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_are_numbers_and_others_are_height_x_width() {
        for (size, text) in [
            (InputSize::square(96), "96"),
            (InputSize { height: 64, width: 256 }, "\"64x256\""),
            (InputSize { height: 256, width: 64 }, "\"256x64\""),
        ] {
            assert_eq!(serde_json::to_string(&size).unwrap(), text);
            assert_eq!(serde_json::from_str::<InputSize>(text).unwrap(), size);
            assert_eq!(size.to_string().parse(), Ok(size));
        }
        assert_eq!("96x96".parse(), Ok(InputSize::square(96)));
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "0", "x", "64x", "x64", "64x0", "1x2x3", "-1", "16385", "64 x 256", "1e3"] {
            assert_eq!(text.parse::<InputSize>(), Err(InvalidInputSize), "{text}");
        }
        assert!(serde_json::from_str::<InputSize>("0").is_err());
    }
}
