//! The segments of a file: what stands before, between and after the scans.

use crate::color::{ColorSpace, Hints};
use crate::error::JpegError;
use crate::frame::{Coding, Frame};
use crate::scan;
use crate::tables::Tables;

const START_OF_IMAGE: u8 = 0xD8;
pub(crate) const END_OF_IMAGE: u8 = 0xD9;
pub(crate) const START_OF_SCAN: u8 = 0xDA;

/// A JPEG whose headers have been read and whose pixels have not been decoded.
#[derive(Debug)]
pub struct Jpeg<'a> {
    pub(crate) segments: Segments<'a>,
    pub(crate) frame: Frame,
    pub(crate) tables: Tables,
    /// The contents of the first scan's header.
    pub(crate) first_scan: &'a [u8],
    hints: Hints,
    exif: Option<&'a [u8]>,
}

impl<'a> Jpeg<'a> {
    /// Reads everything before the first scan.
    ///
    /// # Errors
    /// If this is no JPEG, one of a kind that is not read, or is damaged or cut short.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, JpegError> {
        Self::parse_after(Tables::default(), bytes)
    }

    /// As [`Jpeg::parse`] for an image whose tables stand in a stream of their own, as TIFF keeps them.
    ///
    /// # Errors
    /// As [`Jpeg::parse`], for either stream.
    pub fn parse_with_tables(tables: &[u8], bytes: &'a [u8]) -> Result<Self, JpegError> {
        let mut known = Tables::default();
        let mut segments = Segments::new(tables)?;
        while let Some((marker, contents)) = segments.next()? {
            if marker == END_OF_IMAGE {
                break;
            }
            define(&mut known, marker, contents)?;
        }
        Self::parse_after(known, bytes)
    }

    fn parse_after(mut tables: Tables, bytes: &'a [u8]) -> Result<Self, JpegError> {
        let mut segments = Segments::new(bytes)?;
        let (mut frame, mut hints, mut exif) = (None, Hints::default(), None);
        loop {
            let (marker, contents) = segments.next()?.ok_or(JpegError::EndsEarly)?;
            match marker {
                0xC0 | 0xC1 | 0xC2 | 0xC9 | 0xCA if frame.is_some() => {
                    return Err(JpegError::Damaged("it has two frame headers"));
                }
                0xC0..=0xC2 => frame = Some(Frame::parse(contents, coding(marker == 0xC2, false))?),
                0xC9 | 0xCA => frame = Some(Frame::parse(contents, coding(marker == 0xCA, true))?),
                0xC3 | 0xC7 | 0xCB | 0xCF => return Err(unsupported("it is a lossless JPEG")),
                0xC5 | 0xC6 | 0xCD | 0xCE => return Err(unsupported("it is a hierarchical JPEG")),
                0xE0 if contents.len() >= 14 && contents.starts_with(b"JFIF\0") => hints.jfif = true,
                0xE1 if exif.is_none() => exif = contents.strip_prefix(b"Exif\0\0"),
                0xEE => {
                    if let [b'A', b'd', b'o', b'b', b'e', _, _, _, _, _, _, transform, ..] = contents {
                        hints.adobe_transform = Some(*transform);
                    }
                }
                START_OF_SCAN => {
                    let frame = frame.ok_or(JpegError::Damaged("a scan begins before the frame header"))?;
                    return Ok(Jpeg { segments, frame, tables, first_scan: contents, hints, exif });
                }
                END_OF_IMAGE => return Err(JpegError::Damaged("it has no image data")),
                _ => define(&mut tables, marker, contents)?,
            }
        }
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.frame.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.frame.height
    }

    /// The contents of the first Exif segment, which are a TIFF structure.
    pub fn exif(&self) -> Option<&'a [u8]> {
        self.exif
    }

    /// What the file's components are, by what it says and, where it says nothing, by libjpeg's rules.
    pub fn color_space(&self) -> ColorSpace {
        let ids: Vec<u8> = self.frame.components.iter().map(|component| component.id).collect();
        self.hints.color_space(&ids)
    }

    /// Decodes to RGB, three bytes a pixel in rows.
    ///
    /// Gray gives three equal values. Four components are taken as inverted, as Adobe writes and Pillow
    /// reads them, and are converted as Pillow's `convert("RGB")` does.
    ///
    /// # Errors
    /// If the file ends before its image does, or if what stands between its scans is broken.
    pub fn decode(self) -> Result<Decoded, JpegError> {
        let color_space = self.color_space();
        self.decode_as(color_space)
    }

    /// As [`Jpeg::decode`], for components that a container says are `color_space`.
    ///
    /// # Errors
    /// As [`Jpeg::decode`], and if there are more or fewer components.
    pub fn decode_as(self, color_space: ColorSpace) -> Result<Decoded, JpegError> {
        if color_space.components() != self.frame.components.len() {
            return Err(JpegError::Damaged("the number of components is not that of the color space"));
        }
        scan::decode(self, color_space)
    }
}

/// The pixels of an image, and how much of it was damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// RGB, three bytes a pixel in rows.
    pub pixels: Vec<u8>,
    /// At how many places the image data was damaged: codes that are in no table, data that is missing or left
    /// over, restart markers out of turn, missing or repeated scans. The pixels after such a place are libjpeg's
    /// guess. 0 if the image is whole.
    pub damages: usize,
}

fn coding(progressive: bool, arithmetic: bool) -> Coding {
    Coding { progressive, arithmetic }
}

fn unsupported(reason: &str) -> JpegError {
    JpegError::Unsupported(reason.to_owned())
}

/// Takes in a segment that defines tables; any other has no say in the pixels.
pub(crate) fn define(tables: &mut Tables, marker: u8, contents: &[u8]) -> Result<(), JpegError> {
    match marker {
        0xC4 => tables.define_huffman(contents),
        0xCC => tables.define_conditioning(contents),
        0xDB => tables.define_quantization(contents),
        0xDD => {
            let interval =
                contents.try_into().map_err(|_| JpegError::Damaged("the restart interval has no two bytes"))?;
            tables.restart_interval = usize::from(u16::from_be_bytes(interval));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Whether a marker begins a segment that has no say in how data is decoded: a number of lines, a segment of an
/// application, a comment.
pub(crate) fn is_skipped(marker: u8) -> bool {
    matches!(marker, 0xDC | 0xE0..=0xEF | 0xFE)
}

/// Goes from marker to marker.
#[derive(Debug)]
pub(crate) struct Segments<'a> {
    pub bytes: &'a [u8],
    pub position: usize,
}

impl<'a> Segments<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, JpegError> {
        if !bytes.starts_with(&[0xFF, START_OF_IMAGE]) {
            return Err(JpegError::Damaged("it does not begin as a JPEG does"));
        }
        Ok(Segments { bytes, position: 2 })
    }

    /// Goes past the next marker, over whatever stands before it; `None` at the end of the file.
    pub fn marker(&mut self) -> Option<u8> {
        let rest = &self.bytes[self.position..];
        let Some(found) = rest.windows(2).position(|pair| pair[0] == 0xFF && !matches!(pair[1], 0 | 0xFF)) else {
            self.position = self.bytes.len();
            return None;
        };
        self.position += found + 2;
        Some(rest[found + 1])
    }

    /// The contents of the segment whose marker was passed. One of no consequence that claims to be shorter than its
    /// own length is taken as empty, as libjpeg does.
    pub fn contents(&mut self, marker: u8) -> Result<&'a [u8], JpegError> {
        let rest = &self.bytes[self.position..];
        let length = rest.first_chunk::<2>().ok_or(JpegError::EndsEarly)?;
        let length = usize::from(u16::from_be_bytes(*length));
        if length < 2 && !is_skipped(marker) {
            return Err(JpegError::Damaged("a segment is shorter than its own length"));
        }
        let length = length.max(2);
        let contents = rest.get(2..length).ok_or(JpegError::EndsEarly)?;
        self.position += length;
        Ok(contents)
    }

    /// The next marker and the contents of its segment; `None` at the end of the file. Markers below 0xC0 stand for
    /// nothing in the files of today, and come from stray bytes.
    pub fn next(&mut self) -> Result<Option<(u8, &'a [u8])>, JpegError> {
        loop {
            return match self.marker() {
                None => Ok(None),
                Some(0..0xC0) => continue,
                Some(marker @ 0xD0..=0xD9) => Ok(Some((marker, &[]))),
                Some(marker) => Ok(Some((marker, self.contents(marker)?))),
            };
        }
    }
}
