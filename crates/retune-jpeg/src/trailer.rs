//! What follows a scan: another scan, the end of the image, or what is neither.

use crate::error::JpegError;
use crate::frame::Frame;
use crate::scan::{Scan, ScanEnd};
use crate::segments::{END_OF_IMAGE, START_OF_SCAN, Segments, define, is_skipped};
use crate::tables::Tables;

/// Bytes after the last scan that cameras write as padding; more are image data that the scan did not need.
const MAX_PADDING: usize = 4096;

/// Bytes that Pillow reads at a time. When all pixels are there, it looks no further than these reach.
const PILLOWS_BUFFER: usize = 1 << 16;

/// Goes to the next scan's data. Returns the scan, or `None` at the end of the image, and how many bytes belonged to
/// nothing.
pub(crate) fn next_scan(
    segments: &mut Segments,
    frame: &Frame,
    tables: &mut Tables,
) -> Result<(Option<Scan>, usize), JpegError> {
    let mut skipped = 0;
    loop {
        let start = segments.position;
        let marker = segments.marker().ok_or(JpegError::EndsEarly)?;
        skipped += stray(&segments.bytes[start..segments.position - 2]);
        match marker {
            END_OF_IMAGE => return Ok((None, skipped)),
            START_OF_SCAN => return Ok((Some(Scan::parse(segments.contents(marker)?, frame)?), skipped)),
            _ => pass(segments, tables, marker)?,
        }
    }
}

/// Goes past a segment that is no scan, or tells why libjpeg would stop there.
fn pass(segments: &mut Segments, tables: &mut Tables, marker: u8) -> Result<(), JpegError> {
    match marker {
        // A restart marker, or one of arithmetic coding's: nothing belongs to them.
        0xD0..=0xD7 | 0x01 => Ok(()),
        0xC4 | 0xCC | 0xDB | 0xDD => define(tables, marker, segments.contents(marker)?),
        _ if is_skipped(marker) => segments.contents(marker).map(drop),
        _ => Err(JpegError::Damaged("a marker follows its image data that has no place there")),
    }
}

/// Looks at what follows the only scan, as far as Pillow does. Returns 1 if image data is left over, and 0 if not.
///
/// # Errors
/// If Pillow would refuse the file for it, unless the scan was whole and is followed by some marker or by nothing.
pub(crate) fn check(
    segments: &Segments,
    frame: &Frame,
    tables: &mut Tables,
    end: &ScanEnd,
) -> Result<usize, JpegError> {
    let Segments { bytes, position } = *segments;
    let mut after = Segments { bytes, position };
    let marker = after.marker();
    let rest = &bytes[position..after.position - if marker.is_some() { 2 } else { 0 }];
    let padding = rest.len() <= MAX_PADDING && rest.iter().all(|byte| matches!(byte, 0 | 0xFF));
    let left_over = !padding || end.ahead > 0;
    let followed = match marker {
        Some(marker) => marker >= 0xC0 && rest.len() <= MAX_PADDING,
        None => matches!(rest, [] | [0xFF]),
    };
    // Arithmetic coding does not show where data is missing.
    let whole = end.damages == 0 && followed && !frame.coding.arithmetic;
    let seen = position.next_multiple_of(PILLOWS_BUFFER).min(bytes.len());
    match rest_is_legal(&mut Segments { bytes: &bytes[..seen], position }, tables) {
        Err(error) if !whole => Err(error),
        _ => Ok(usize::from(left_over)),
    }
}

/// Whether libjpeg reads what follows an image without complaint, up to the end of the image or of the bytes.
fn rest_is_legal(segments: &mut Segments, tables: &mut Tables) -> Result<(), JpegError> {
    while let Some(marker) = segments.marker() {
        match marker {
            END_OF_IMAGE => break,
            marker => match pass(segments, tables, marker) {
                Ok(()) => {}
                Err(JpegError::EndsEarly) => break,
                Err(error) => return Err(error),
            },
        }
    }
    Ok(())
}

/// How many bytes are not the 0xFF that may fill the space before a marker.
fn stray(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte != 0xFF).count()
}
