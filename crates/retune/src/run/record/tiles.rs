//! Small images in a square grid, in one JPEG file.

use std::io;

use image::RgbImage;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use retune_pixels::decode::{DecodeLimits, decode};
use retune_pixels::preprocess::Preprocessing;
use retune_pixels::resize::{Interpolation, resize};

use crate::loading::Batch;

/// Bytes that a sheet of thumbnails may have; a page that embeds it stays under ten million.
pub(super) const SHEET_BYTES: usize = 5_500_000;

/// Qualities to try, best first, until a sheet is small enough.
const QUALITIES: [u8; 4] = [85, 75, 60, 45];

/// Side of the thumbnails of `count` images, in pixels. JPEG's blocks are 8 pixels wide, so that
/// tiles of these sides do not run into each other.
pub(super) fn side_for(count: usize) -> u32 {
    match count {
        0..=2_500 => 64,
        2_501..=5_000 => 48,
        _ => 32,
    }
}

/// Tiles in each row of a sheet with `count` tiles.
pub fn columns(count: usize) -> usize {
    count.isqrt() + usize::from(count.isqrt().pow(2) < count)
}

/// Square tiles of one side, in order.
pub(super) struct Tiles {
    side: u32,
    pixels: Vec<u8>,
}

impl Tiles {
    pub fn new(side: u32) -> Self {
        Self { side, pixels: Vec::new() }
    }

    pub fn len(&self) -> usize {
        self.pixels.len() / self.bytes()
    }

    /// Bytes of a tile.
    fn bytes(&self) -> usize {
        3 * (self.side * self.side) as usize
    }

    /// The image as a tile, which [`Tiles::push`] takes.
    pub fn tile(image: &RgbImage, side: u32) -> Vec<u8> {
        resize(image, side, side, Interpolation::Bilinear).into_raw()
    }

    pub fn push(&mut self, tile: &[u8]) {
        debug_assert_eq!(tile.len(), self.bytes());
        self.pixels.extend_from_slice(tile);
    }

    /// The grid as JPEG of at most `limit` bytes, or as small as the lowest quality makes it.
    pub fn jpeg(&self, limit: usize) -> io::Result<Vec<u8>> {
        let columns = columns(self.len());
        let rows = self.len().div_ceil(columns.max(1));
        let side = self.side as usize;
        // What is left of the last row is white, as the pages and papers around it are.
        let mut grid = vec![255; columns * rows * self.bytes()];
        for (tile, pixels) in self.pixels.chunks_exact(self.bytes()).enumerate() {
            let (row, column) = (tile / columns, tile % columns);
            for (y, line) in pixels.chunks_exact(3 * side).enumerate() {
                let start = 3 * side * ((row * side + y) * columns + column);
                grid[start..start + 3 * side].copy_from_slice(line);
            }
        }
        let size = |tiles: usize| u16::try_from(tiles * side).map_err(io::Error::other);
        let (width, height) = (size(columns)?, size(rows)?);
        let mut bytes = Vec::new();
        for quality in QUALITIES {
            bytes.clear();
            let mut encoder = Encoder::new(&mut bytes, quality);
            // Decoders smooth halved color over the borders of blocks, and so of tiles; whole color stays inside.
            encoder.set_sampling_factor(SamplingFactor::F_1_1);
            encoder.encode(&grid, width, height, ColorType::Rgb).map_err(io::Error::other)?;
            if bytes.len() <= limit {
                break;
            }
        }
        Ok(bytes)
    }
}

/// Thumbnails that are made as images go by.
pub struct Thumbnails(Tiles);

impl Thumbnails {
    /// Those of `count` images, the smaller the more there are.
    pub fn for_images(count: usize) -> Self {
        Self(Tiles::new(side_for(count)))
    }

    /// Adds an image.
    pub fn add(&mut self, image: &RgbImage) {
        self.0.push(&Tiles::tile(image, self.0.side));
    }

    /// Adds the images of a batch, as a model with this preprocessing sees them.
    pub fn add_batch(&mut self, batch: &Batch, preprocessing: &Preprocessing) {
        for pixels in batch.images.chunks_exact(batch.images.len() / batch.n.max(1)) {
            self.add(&image_of(pixels, preprocessing));
        }
    }

    /// The thumbnails in one file.
    ///
    /// # Errors
    /// More images than a picture has room for.
    pub fn sheet(&self) -> io::Result<Sheet> {
        Ok(Sheet { jpeg: self.0.jpeg(SHEET_BYTES)?, side: self.0.side, columns: columns(self.0.len()) })
    }
}

/// The pixels that a model was given, as an image again: one channel as gray, opacity left out.
pub(super) fn image_of(normalized: &[f32], preprocessing: &Preprocessing) -> RgbImage {
    let (width, height) = (preprocessing.width, preprocessing.height);
    let channels = preprocessing.channels.count();
    RgbImage::from_fn(width, height, |x, y| {
        let at = (y * width + x) as usize * channels;
        let channel = |channel: usize| {
            let value = normalized[at + channel] * preprocessing.std[channel] + preprocessing.mean[channel];
            (255.0 * value).round().clamp(0.0, 255.0) as u8
        };
        image::Rgb(if preprocessing.channels.is_gray() { [channel(0); 3] } else { [0, 1, 2].map(channel) })
    })
}

/// A JPEG file with square tiles, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sheet {
    /// The file's bytes.
    pub jpeg: Vec<u8>,
    /// Side of a tile in pixels.
    pub side: u32,
    /// Tiles in a row.
    pub columns: usize,
}

impl Sheet {
    /// Each tile as a PNG file, the empty ones at the end included; `None` where the sheet cannot be decoded.
    pub fn tiles(&self) -> Option<Vec<Vec<u8>>> {
        let tile = |pixels: RgbImage| {
            let mut png = io::Cursor::new(Vec::new());
            pixels.write_to(&mut png, image::ImageFormat::Png).ok()?;
            Some(png.into_inner())
        };
        self.images()?.into_iter().map(tile).collect()
    }

    /// The same with something painted on each of its first `count` tiles; `None` where the sheet cannot be decoded.
    pub fn painted(&self, count: usize, paint: impl Fn(usize, &mut RgbImage)) -> Option<Self> {
        let mut tiles = Tiles::new(self.side);
        for (number, mut image) in self.images()?.into_iter().take(count).enumerate() {
            paint(number, &mut image);
            tiles.push(image.as_raw());
        }
        Some(Self { jpeg: tiles.jpeg(SHEET_BYTES).ok()?, side: self.side, columns: columns(tiles.len()) })
    }

    fn images(&self) -> Option<Vec<RgbImage>> {
        let sheet = decode(&self.jpeg, &DecodeLimits::default()).ok()?;
        let rows = sheet.height().checked_div(self.side)?;
        let places = (0..rows).flat_map(|row| (0..self.columns as u32).map(move |column| (row, column)));
        let side = self.side;
        let tile = |(row, column)| image::imageops::crop_imm(&sheet, column * side, row * side, side, side).to_image();
        Some(places.map(tile).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_lie_row_by_row_and_do_not_run_into_each_other() {
        let mut tiles = Tiles::new(32);
        let colors = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255], [0, 0, 0]];
        for color in colors {
            tiles.push(&Tiles::tile(&RgbImage::from_pixel(20, 30, image::Rgb(color)), 32));
        }
        let sheet = image::load_from_memory(&tiles.jpeg(usize::MAX).unwrap()).unwrap().into_rgb8();
        assert_eq!((columns(5), sheet.dimensions()), (3, (96, 64)));
        for (tile, color) in colors.into_iter().enumerate() {
            let (left, top) = (tile as u32 % 3 * 32, tile as u32 / 3 * 32);
            for (x, y) in [(0, 0), (31, 0), (0, 31), (31, 31)] {
                let found = sheet.get_pixel(left + x, top + y).0;
                // A tile of one color is a constant block, which JPEG keeps up to rounding.
                assert!(found.iter().zip(color).all(|(a, b)| a.abs_diff(b) <= 3), "{tile}: {found:?}");
            }
        }
    }

    #[test]
    fn a_sheet_that_is_too_large_is_compressed_more() {
        let mut tiles = Tiles::new(64);
        for seed in 0..20u32 {
            let noise = RgbImage::from_fn(64, 64, |x, y| {
                let value = (x * 7 + y * 13 + seed * 31).wrapping_mul(2_654_435_761) >> 24;
                image::Rgb([value as u8, (value * 3) as u8, (value * 7) as u8])
            });
            tiles.push(&Tiles::tile(&noise, 64));
        }
        let best = tiles.jpeg(usize::MAX).unwrap().len();
        let limited = tiles.jpeg(best * 3 / 4).unwrap().len();
        assert!(limited <= best * 3 / 4, "{limited} of {best}");
    }

    #[test]
    fn more_images_make_smaller_tiles() {
        assert_eq!([100, 4_000, 10_000].map(side_for), [64, 48, 32]);
        assert_eq!([0, 1, 4, 5, 9, 10].map(columns), [0, 1, 2, 3, 3, 4]);
    }
}
