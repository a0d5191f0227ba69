//! What a user should hear about data that can be used all the same.

use std::fmt;

/// Something about data that is worth a line, but does not stop anything.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataNote {
    /// 16-bit images whose values would hardly show in 8 bits.
    UnusedRange {
        /// Bits that values need.
        bits: u32,
        /// The largest value that was seen.
        largest: u16,
    },
}

impl DataNote {
    /// The largest value that so many bits hold: what should look white.
    pub fn white_level(&self) -> Option<u32> {
        match self {
            Self::UnusedRange { bits, .. } => Some((1 << bits) - 1),
        }
    }
}

impl fmt::Display for DataNote {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnusedRange { bits, largest } => {
                let white = (1 << bits) - 1;
                write!(
                    formatter,
                    "16-bit images use at most {bits} bits (largest value {largest} of 65535): they will look nearly \
                     black; set the white level to {white}"
                )
            }
        }
    }
}
