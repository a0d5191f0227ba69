//! TIFF: what the `image` crate reads, and what it refuses or takes for something else.
//!
//! Decoded here are palettes, JPEG inside (to Pillow's pixels), tiles in planes of one color each, one-dimensional
//! CCITT fax group 3, gray with transparency, and colors already multiplied by their transparency. Source of the
//! layout: TIFF 6.0, and its supplement 2 for JPEG.

use std::io::Cursor;
use std::num::NonZeroU16;

use image::metadata::Orientation;
use image::{GrayImage, ImageFormat, Luma, Rgb, RgbImage};
use retune_jpeg::{ColorSpace, Decoded, Jpeg, JpegError};
use tiff::TiffError;
use tiff::decoder::Decoder;
use tiff::tags::{ByteOrder, Tag};

use super::{DecodeError, DecodeLimits, FilePixels, Pixels, Transparency, check_size, decode_other, level, over_white};
use crate::picture::divided;

mod chunk;
mod refusal;

use chunk::{Coding, FAX_GROUP_3, FAX_RUNS, JPEG};

const WHITE_IS_ZERO: u16 = 0;
const BLACK_IS_ZERO: u16 = 1;
const RGB: u16 = 2;
const PALETTE: u16 = 3;
const YCBCR: u16 = 6;
/// Samples without a sign, in the tag `SampleFormat`.
const WHOLE_NUMBERS: u16 = 1;

/// Most samples of a pixel: more take memory and have no colors.
const MAX_SAMPLES: usize = 8;

const PREMULTIPLIED: u16 = 1;
const STRAIGHT: u16 = 2;

type Tags<'a> = Decoder<Cursor<&'a [u8]>>;

/// Decodes the first page.
pub(super) fn decode(
    bytes: &[u8],
    transparency: Transparency,
    limits: &DecodeLimits,
) -> Result<FilePixels, DecodeError> {
    // What has no readable tags gets the error of the other decoder.
    let page = Decoder::new(Cursor::new(bytes)).and_then(|mut tags| Ok((Page::read(&mut tags)?, tags)));
    match page {
        Ok((page, tags)) if page.is_decoded_here() => {
            check_size(page.width.into(), page.height.into(), limits)?;
            check_size(page.chunk_width.into(), page.chunk_height.into(), limits)?;
            let (pixels, damages) = PageDecoder::new(&page, tags, bytes, limits)?.decode(transparency)?;
            Ok(FilePixels { pixels, orientation: page.orientation, damages })
        }
        page => decode_other(bytes, ImageFormat::Tiff, transparency, limits).map_err(|error| match (error, page) {
            // The other decoder speaks of its own types.
            (DecodeError::UnsupportedContents { format, reason }, Ok((page, _))) => {
                DecodeError::UnsupportedContents { format, reason: refusal::reason(&page).unwrap_or(reason) }
            }
            (error, _) => error,
        }),
    }
}

/// What the tags say of a page's layout.
struct Page {
    width: u32,
    height: u32,
    tiled: bool,
    /// Size of a tile, or of a strip, which is as wide as the page.
    chunk_width: u32,
    chunk_height: u32,
    photometric: u16,
    compression: u16,
    samples: usize,
    bits: u16,
    /// What kind of number a sample is; 1 stands for whole numbers without a sign.
    sample_format: u16,
    /// Each sample has chunks of its own.
    planar: bool,
    /// What the samples after the colors are.
    extra: Vec<u16>,
    orientation: Orientation,
}

impl Page {
    fn read(tags: &mut Tags) -> Result<Self, TiffError> {
        let (width, height) = tags.dimensions()?;
        let mut tag = |tag| tags.find_tag_unsigned::<u32>(tag);
        let tile = tag(Tag::TileWidth)?.zip(tag(Tag::TileLength)?);
        let rows = tag(Tag::RowsPerStrip)?.unwrap_or(height).clamp(1, height);
        let (chunk_width, chunk_height) = tile.unwrap_or((width, rows));
        let mut tag = |tag, missing| Ok::<_, TiffError>(tags.find_tag_unsigned::<u16>(tag)?.unwrap_or(missing));
        let photometric = tag(Tag::PhotometricInterpretation, BLACK_IS_ZERO)?;
        let compression = tag(Tag::Compression, 1)?;
        let samples = tag(Tag::SamplesPerPixel, 1)?.into();
        let planar = tag(Tag::PlanarConfiguration, 1)? == 2 && samples > 1;
        let orientation =
            tag(Tag::Orientation, 1).ok().and_then(|value| Orientation::from_exif(u8::try_from(value).ok()?));
        let mut list = |tag| Ok::<_, TiffError>(tags.find_tag_unsigned_vec::<u16>(tag)?.unwrap_or_default());
        Ok(Page {
            width,
            height,
            tiled: tile.is_some(),
            chunk_width,
            chunk_height,
            photometric,
            compression,
            samples,
            bits: list(Tag::BitsPerSample)?.first().copied().unwrap_or(1),
            sample_format: list(Tag::SampleFormat)?
                .into_iter()
                .find(|&format| format != WHOLE_NUMBERS)
                .unwrap_or(WHOLE_NUMBERS),
            planar,
            extra: list(Tag::ExtraSamples)?,
            orientation: orientation.unwrap_or(Orientation::NoTransforms),
        })
    }

    fn is_decoded_here(&self) -> bool {
        let alpha = self.extra.first().copied();
        let jpeg = self.compression == JPEG;
        self.sample_format == WHOLE_NUMBERS
            && self.samples <= MAX_SAMPLES
            && (self.photometric == PALETTE
                || matches!(self.compression, FAX_GROUP_3 | FAX_RUNS)
                || (jpeg && matches!((self.photometric, self.samples), (0 | 1, 1) | (RGB | YCBCR, 3)))
                || (self.tiled && self.planar)
                || (!jpeg && self.photometric == RGB && self.bits <= 16 && alpha == Some(PREMULTIPLIED))
                || (!jpeg && self.photometric == BLACK_IS_ZERO && self.samples == 2 && self.alpha(1).is_some()))
    }

    /// What the sample after the `colors` is, if it is transparency.
    fn alpha(&self, colors: usize) -> Option<u16> {
        let kind = self.extra.first().copied()?;
        (self.samples > colors && matches!(kind, PREMULTIPLIED | STRAIGHT)).then_some(kind)
    }
}

struct PageDecoder<'a> {
    page: &'a Page,
    bytes: &'a [u8],
    limits: &'a DecodeLimits,
    coding: Coding,
    /// Where each chunk lies in the file, and how long it is.
    offsets: Vec<u64>,
    lengths: Vec<u64>,
    colors: Colors,
    jpeg_tables: Option<Vec<u8>>,
}

impl<'a> PageDecoder<'a> {
    fn new(page: &'a Page, mut tags: Tags, bytes: &'a [u8], limits: &'a DecodeLimits) -> Result<Self, DecodeError> {
        let (offsets, lengths) = match page.tiled {
            true => (Tag::TileOffsets, Tag::TileByteCounts),
            false => (Tag::StripOffsets, Tag::StripByteCounts),
        };
        let number = |tags: &mut Tags, tag| tags.find_tag_unsigned::<u16>(tag).map_err(to_error);
        let coding = Coding {
            compression: page.compression,
            bits: page.bits,
            samples: if page.planar { 1 } else { page.samples },
            big_endian: matches!(tags.byte_order(), ByteOrder::BigEndian),
            predictor: number(&mut tags, Tag::Predictor)?.unwrap_or(1),
            low_bit_first: number(&mut tags, Tag::FillOrder)? == Some(2),
            fax_options: tags.find_tag_unsigned(Tag::from_u16_exhaustive(292)).map_err(to_error)?.unwrap_or(0),
        };
        let jpeg_tables = match page.compression {
            JPEG => tags.find_tag(Tag::JPEGTables).map_err(to_error)?,
            _ => None,
        };
        Ok(PageDecoder {
            page,
            bytes,
            limits,
            coding,
            offsets: tags.get_tag_u64_vec(offsets).map_err(to_error)?,
            lengths: tags.get_tag_u64_vec(lengths).map_err(to_error)?,
            colors: Colors::read(page, &mut tags, limits.white)?,
            jpeg_tables: jpeg_tables.map(|tables| tables.into_u8_vec()).transpose().map_err(to_error)?,
        })
    }

    /// The pixels, and at how many places the JPEGs in the file are damaged.
    fn decode(&self, transparency: Transparency) -> Result<(Pixels, usize), DecodeError> {
        let page = self.page;
        if page.chunk_width == 0 || page.chunk_height == 0 {
            return Err(damaged("its tiles have no size"));
        }
        let mut image = RgbImage::new(page.width, page.height);
        let keeps_alpha = transparency == Transparency::Kept && self.colors.alpha.is_some();
        let mut alpha = keeps_alpha.then(|| GrayImage::new(page.width, page.height));
        let across = page.width.div_ceil(page.chunk_width) as usize;
        let down = page.height.div_ceil(page.chunk_height) as usize;
        let mut damages = 0;
        for index in 0..across * down {
            let left = (index % across) as u32 * page.chunk_width;
            let top = (index / across) as u32 * page.chunk_height;
            let rows = page.chunk_height.min(page.height - top) as usize;
            let columns = page.chunk_width.min(page.width - left) as usize;
            let mut put = |column: usize, row: usize, color: [u8; 3]| {
                image.put_pixel(left + column as u32, top + row as u32, Rgb(color));
            };
            if page.compression == JPEG {
                damages += self.decode_jpeg(index, columns, rows, &mut put)?;
                continue;
            }
            let planes = if page.planar { self.colors.samples() } else { 1 };
            let planes = (0..planes)
                .map(|plane| {
                    let contents = self.contents(plane * across * down + index)?;
                    self.coding.samples(contents, page.chunk_width as usize, rows)
                })
                .collect::<Result<Vec<_>, _>>()?;
            for row in 0..rows {
                for column in 0..columns {
                    let pixel = row * page.chunk_width as usize + column;
                    let sample = |sample: usize| match page.planar {
                        true => planes[sample][pixel],
                        false => planes[0][pixel * page.samples + sample],
                    };
                    match &mut alpha {
                        None => put(column, row, self.colors.over_white(sample)),
                        Some(alpha) => {
                            let (color, opacity) = self.colors.with_alpha(sample);
                            put(column, row, color);
                            alpha.put_pixel(left + column as u32, top + row as u32, Luma([opacity]));
                        }
                    }
                }
            }
        }
        Ok(((image, alpha), damages))
    }

    /// The bytes of a chunk.
    fn contents(&self, chunk: usize) -> Result<&'a [u8], DecodeError> {
        let range = || {
            let start = usize::try_from(*self.offsets.get(chunk)?).ok()?;
            let length = usize::try_from(*self.lengths.get(chunk)?).ok()?;
            self.bytes.get(start..start.checked_add(length)?)
        };
        range().ok_or_else(|| damaged("it ends before its pixels do"))
    }

    /// Puts the pixels of a JPEG; returns at how many places it is damaged.
    fn decode_jpeg(
        &self,
        chunk: usize,
        columns: usize,
        rows: usize,
        put: &mut impl FnMut(usize, usize, [u8; 3]),
    ) -> Result<usize, DecodeError> {
        let page = self.page;
        let space = match (page.photometric, page.samples) {
            (WHITE_IS_ZERO | BLACK_IS_ZERO, 1) => ColorSpace::Gray,
            (RGB, 3) if !page.planar => ColorSpace::Rgb,
            (YCBCR, 3) if !page.planar => ColorSpace::YCbCr,
            _ => {
                let reason = refusal::reason(page);
                return Err(unsupported(
                    reason.as_deref().unwrap_or("the JPEGs in it hold neither gray, RGB nor YCbCr"),
                ));
            }
        };
        let contents = self.contents(chunk)?;
        let jpeg = match &self.jpeg_tables {
            Some(tables) => Jpeg::parse_with_tables(tables, contents),
            None => Jpeg::parse(contents),
        };
        let jpeg = jpeg.map_err(jpeg_error)?;
        let (width, height) = (jpeg.width(), jpeg.height());
        check_size(width as u64, height as u64, self.limits)?;
        // Nor larger, by more than whole blocks: each tile of many could claim the limit.
        let too_large = |size: usize, place: u32| size > place.next_multiple_of(16) as usize;
        if width < columns
            || height < rows
            || too_large(width, page.chunk_width)
            || too_large(height, page.chunk_height)
        {
            return Err(damaged("a JPEG in it has not the size of its place"));
        }
        let Decoded { pixels, damages } = jpeg.decode_as(space).map_err(jpeg_error)?;
        for (row, line) in pixels.chunks_exact(width * 3).take(rows).enumerate() {
            for (column, &color) in line.as_chunks::<3>().0.iter().take(columns).enumerate() {
                let inverted = page.photometric == WHITE_IS_ZERO;
                put(column, row, if inverted { color.map(|value| 255 - value) } else { color });
            }
        }
        Ok(damages)
    }
}

/// How samples become a color.
struct Colors {
    photometric: u16,
    bits: u16,
    /// What the sample after the colors does to them: [`PREMULTIPLIED`] or [`STRAIGHT`].
    alpha: Option<u16>,
    palette: Vec<[u8; 3]>,
    white: Option<NonZeroU16>,
}

impl Colors {
    fn read(page: &Page, tags: &mut Tags, white: Option<NonZeroU16>) -> Result<Self, DecodeError> {
        let colors = match page.photometric {
            WHITE_IS_ZERO | BLACK_IS_ZERO | PALETTE => 1,
            RGB => 3,
            YCBCR if page.compression == JPEG => 3,
            _ => return Err(unsupported("its colors are neither gray, RGB nor a palette")),
        };
        if page.samples < colors {
            return Err(damaged("it has fewer values for a pixel than its colors need"));
        }
        let palette = match page.photometric {
            PALETTE if page.bits > 8 => return Err(unsupported("its palette has more than 256 colors")),
            PALETTE => palette(&tags.get_tag_u16_vec(Tag::ColorMap).map_err(to_error)?, page.bits)?,
            _ => Vec::new(),
        };
        Ok(Colors { photometric: page.photometric, bits: page.bits, alpha: page.alpha(colors), palette, white })
    }

    /// How many samples of a pixel have a part in its color.
    fn samples(&self) -> usize {
        let colors = if self.photometric == RGB { 3 } else { 1 };
        colors + usize::from(self.alpha.is_some())
    }

    /// The color of a pixel as it lies in the file.
    fn rgb(&self, sample: impl Fn(usize) -> u16) -> [u8; 3] {
        match self.photometric {
            RGB => [0, 1, 2].map(|channel| self.level(sample(channel))),
            // `palette` has a color for each index of `bits`.
            PALETTE => self.palette[usize::from(sample(0))],
            WHITE_IS_ZERO => [255 - self.level(sample(0)); 3],
            _ => [self.level(sample(0)); 3],
        }
    }

    /// The opacity of a pixel of a page that has it.
    fn opacity(&self, sample: impl Fn(usize) -> u16) -> u8 {
        let value = sample(if self.photometric == RGB { 3 } else { 1 });
        if self.bits == 16 { (value >> 8) as u8 } else { self.level(value) }
    }

    fn over_white(&self, sample: impl Fn(usize) -> u16) -> [u8; 3] {
        let color = self.rgb(&sample);
        match self.alpha {
            Some(PREMULTIPLIED) => color.map(|value| value.saturating_add(255 - self.opacity(&sample))),
            Some(_) => over_white(color, self.opacity(&sample)),
            None => color,
        }
    }

    /// The color, not multiplied by the opacity, and the opacity.
    fn with_alpha(&self, sample: impl Fn(usize) -> u16) -> ([u8; 3], u8) {
        let (color, opacity) = (self.rgb(&sample), self.opacity(&sample));
        match self.alpha {
            Some(PREMULTIPLIED) => (color.map(|value| divided(value, opacity)), opacity),
            _ => (color, opacity),
        }
    }

    fn level(&self, value: u16) -> u8 {
        match self.bits {
            16 => level(value, self.white),
            8 => value as u8,
            bits => (u32::from(value) * 255 / ((1 << bits) - 1)) as u8,
        }
    }
}

/// The colors of a palette: all reds, all greens, all blues of 16 bits, of which Pillow takes the high byte.
fn palette(map: &[u16], bits: u16) -> Result<Vec<[u8; 3]>, DecodeError> {
    let colors = 1 << bits;
    if map.len() < 3 * colors {
        return Err(damaged("its palette lacks colors"));
    }
    let high = |index: usize| (map[index] >> 8) as u8;
    Ok((0..colors).map(|index| [high(index), high(colors + index), high(2 * colors + index)]).collect())
}

fn damaged(reason: &str) -> DecodeError {
    DecodeError::Damaged { format: "TIFF", reason: reason.to_owned() }
}

fn unsupported(reason: &str) -> DecodeError {
    DecodeError::UnsupportedContents { format: "TIFF", reason: reason.to_owned() }
}

fn to_error(error: TiffError) -> DecodeError {
    damaged(match error {
        TiffError::IoError(_) => "it ends before its header does",
        _ => "its header contradicts itself",
    })
}

fn jpeg_error(error: JpegError) -> DecodeError {
    match error {
        JpegError::Unsupported(reason) => unsupported(&format!("of a JPEG in it: {reason}")),
        error => damaged(&format!("of a JPEG in it: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resize::fixtures::bytes;

    /// The fixture `name`, with the value of a tag of one 16-bit number changed.
    fn with_tag(name: &str, tag: u16, old: u16, new: u16) -> Vec<u8> {
        let mut file = bytes(&format!("formats/{name}"));
        let entry = |value: u16| [&tag.to_le_bytes()[..], &[3, 0, 1, 0, 0, 0], &value.to_le_bytes()].concat();
        let place = file.windows(10).position(|window| window == entry(old)).unwrap();
        file[place..place + 10].copy_from_slice(&entry(new));
        file
    }

    /// A page of 4 × 4 pixels in one strip, 8-bit gray but for the tags given.
    fn page(changed: &[(u16, u16)]) -> Vec<u8> {
        let mut tags = std::collections::BTreeMap::from([
            (256, 4),
            (257, 4),
            (258, 8),
            (259, 1),
            (262, BLACK_IS_ZERO),
            (273, 8),
            (277, 1),
            (278, 4),
            (279, 1024),
        ]);
        tags.extend(changed.iter().copied());
        let samples = tags[&277];
        let planes = if tags.get(&284) == Some(&2) { samples } else { 1 };
        let mut file = b"II*\0".to_vec();
        // The directory comes after 1 KiB of pixels, and its lists of numbers after it.
        file.extend((8_u32 + 1024).to_le_bytes());
        file.resize(8 + 1024, 0);
        file.extend((tags.len() as u16).to_le_bytes());
        let mut lists = Vec::new();
        let lists_start = file.len() + tags.len() * 12 + 4;
        for (tag, value) in tags {
            let count = match tag {
                258 | 339 => samples,
                273 | 279 => planes,
                _ => 1,
            };
            file.extend([tag.to_le_bytes(), 3_u16.to_le_bytes()].concat());
            file.extend(u32::from(count).to_le_bytes());
            let values: Vec<u8> = (0..count).flat_map(|_| value.to_le_bytes()).collect();
            if values.len() <= 4 {
                file.extend([&values[..], &[0; 4]].concat()[..4].iter());
            } else {
                file.extend(((lists_start + lists.len()) as u32).to_le_bytes());
                lists.extend(values);
            }
        }
        file.extend([0; 4]);
        file.extend(lists);
        file
    }

    #[test]
    fn what_is_not_read_is_refused_in_plain_words() {
        let error =
            |file: &[u8]| decode(file, Transparency::OverWhite, &DecodeLimits::default()).unwrap_err().to_string();
        assert_eq!(
            error(&with_tag("group-3.tiff", 259, FAX_GROUP_3, FAX_RUNS)),
            "unsupported TIFF image: it is a fax whose rows have no ends between them (modified Huffman); save it as 8-bit RGB"
        );
        assert_eq!(
            error(&with_tag("palette.tiff", 259, 1, 34925)),
            "unsupported TIFF image: its pixels are compressed with LZMA, which is not read; save it as 8-bit RGB"
        );
        assert_eq!(
            error(&page(&[(258, 32), (339, 3)])),
            "unsupported TIFF image: its values are 32-bit floating-point numbers, none of which is agreed to be white; \
             map the range that matters to 0–255; save it as 8-bit RGB"
        );
        assert_eq!(
            error(&page(&[(258, 16), (339, 2)])),
            "unsupported TIFF image: its values are 16-bit numbers with a sign; map the range that matters to 0–255; \
             save it as 8-bit RGB"
        );
        assert_eq!(
            error(&page(&[(277, 13)])),
            "unsupported TIFF image: each of its pixels has 13 values, where gray has 1; choose the bands to show as RGB; \
             save it as 8-bit RGB"
        );
        assert_eq!(
            error(&page(&[(258, 16), (262, PALETTE)])),
            "unsupported TIFF image: its palette has more than 256 colors; save it as 8-bit RGB"
        );
        assert_eq!(
            error(&page(&[(259, JPEG), (262, RGB), (277, 3), (284, 2)])),
            "unsupported TIFF image: each of its colors is a JPEG of its own (separate planes); save it as 8-bit RGB"
        );
        assert_eq!(
            error(&page(&[(258, 1), (259, FAX_GROUP_3), (292, 1)])),
            "unsupported TIFF image: it is a fax of group 3 whose rows are coded by their difference from the row before \
             (2-D); save it as 8-bit RGB"
        );
        assert_eq!(
            error(&page(&[(259, 50_001)])),
            "unsupported TIFF image: its pixels are compressed with WebP, which is not read; save it as 8-bit RGB"
        );
        assert_eq!(
            error(&with_tag("palette-lzw.tiff", 259, 5, 8)),
            "damaged or truncated TIFF image: its compressed pixels end early or make no sense"
        );
    }

    /// Black and white change places; a fax says what is a run of which by the same tag.
    #[test]
    fn white_may_be_zero() {
        let decode = |file: &[u8]| decode(file, Transparency::OverWhite, &DecodeLimits::default()).unwrap().pixels.0;
        for name in ["group-3.tiff", "jpeg-gray.tiff"] {
            let inverted = decode(&with_tag(name, 262, BLACK_IS_ZERO, WHITE_IS_ZERO));
            let mut expected = decode(&bytes(&format!("formats/{name}")));
            image::imageops::invert(&mut expected);
            assert_eq!(inverted, expected, "{name}");
        }
    }
}
