//! Restart markers, and how decoding goes on where they are out of turn.

use crate::error::JpegError;
use crate::scan::BlockDecoder;
use crate::segments::Segments;

/// Counts MCUs to the next restart marker.
pub(crate) struct Restarts {
    interval: usize,
    left: usize,
    next: u8,
    /// How many markers were out of turn, or had data left over before them.
    pub damages: usize,
}

impl Restarts {
    pub fn new(interval: usize) -> Self {
        Restarts { interval, left: interval, next: 0, damages: 0 }
    }

    /// Whether the scan has restart markers at all.
    pub fn any(&self) -> bool {
        self.interval > 0
    }

    /// Whether a restart marker comes before the next MCU.
    #[inline(always)]
    pub fn due(&mut self) -> bool {
        if self.interval == 0 {
            return false;
        }
        if self.left == 0 {
            return true;
        }
        self.left -= 1;
        false
    }

    /// Goes past the restart marker, which should be the next in turn. If it is another, libjpeg's rules decide: one
    /// that is a little late was passed over before, so the data goes on behind the marker after it; one that is a
    /// little early means that markers in between were lost, so there is no data until its turn comes, as before
    /// any marker of another kind; one that is far off is taken for the right one.
    #[cold]
    pub fn pass(&mut self, bytes: &[u8], decoder: &mut impl BlockDecoder) -> Result<(), JpegError> {
        let wanted = self.next;
        self.next = (self.next + 1) % 8;
        self.left = self.interval - 1;
        let mut segments = Segments { bytes, position: decoder.end() };
        let start = segments.position;
        let mut found = segments.marker().ok_or(JpegError::EndsEarly)?;
        let skipped = bytes[start..segments.position - 2].iter().any(|byte| *byte != 0xFF);
        if skipped || decoder.ahead() > 0 || found != 0xD0 + wanted {
            self.damages += 1;
        }
        let left_unread = loop {
            match found {
                0xD0..=0xD7 => match (found - 0xD0 + 8 - wanted) % 8 {
                    1 | 2 => break true,
                    6 | 7 => found = segments.marker().ok_or(JpegError::EndsEarly)?,
                    _ => break false,
                },
                0xC0.. => break true,
                _ => found = segments.marker().ok_or(JpegError::EndsEarly)?,
            }
        };
        if left_unread {
            decoder.restart(segments.position - 2, true);
        } else {
            decoder.restart(segments.position, false);
        }
        Ok(())
    }
}
