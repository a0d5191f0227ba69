//! Whether 16-bit images use the range that their format has.
//!
//! Microscopes and X-ray detectors give 10 or 12 bits, which files keep as 16. The high byte of such values is nearly
//! black, and only a white level brings them to the range that a model expects.

use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Seek, SeekFrom};

use image::{ColorType, DynamicImage, ImageDecoder, ImageFormat, ImageReader};
use retune_pixels::decode::catching_panics;

use super::image::{ImageSource, StoredImage};
use super::note::DataNote;
use super::source::Dataset;

/// Images whose first bytes are looked at.
const LOOKED_AT: usize = 64;
/// 16-bit images that are decoded.
const DECODED: usize = 16;
/// Pixels that are decoded, but for the first image.
const MAX_PIXELS: u64 = 1 << 24;
/// Pixels of an image that is still decoded.
const LARGEST: u64 = 1 << 27;
/// Values that use more bits are left alone: they are dark, but not black.
const MAX_BITS: u32 = 12;

/// What to say where the 16-bit images among some of the dataset's use few of their bits, and no image uses more.
/// Looks at images that are spread over the dataset, and decodes at most 16. What cannot be read is passed over.
pub fn unused_range(dataset: &Dataset) -> Option<DataNote> {
    let (mut decoded, mut pixels, mut largest) = (0, 0, 0);
    for image in spread(dataset) {
        let found = match image {
            ImageSource::File(path) => File::open(path).ok().and_then(|file| brightest(BufReader::new(file))),
            ImageSource::Stored { images, item } if !images.holds_pixels() => match images.read(*item) {
                Ok(StoredImage::Encoded(bytes)) => brightest(Cursor::new(bytes)),
                _ => None,
            },
            ImageSource::Stored { .. } | ImageSource::Memory(_) => None,
        };
        let Some((value, size)) = found else { continue };
        largest = largest.max(value);
        (decoded, pixels) = (decoded + 1, pixels + size);
        if decoded == DECODED || pixels > MAX_PIXELS {
            break;
        }
    }
    let bits = u16::BITS - largest.leading_zeros();
    (1..=MAX_BITS).contains(&bits).then_some(DataNote::UnusedRange { bits, largest })
}

/// Some images, in order: the first ones where each costs the reading of those before it.
fn spread(dataset: &Dataset) -> impl Iterator<Item = &ImageSource> {
    let first = dataset.samples.first().map(|sample| &sample.image);
    let in_order = matches!(first, Some(ImageSource::Stored { images, .. }) if images.reads_in_order());
    let count = dataset.len().min(if in_order { DECODED } else { LOOKED_AT });
    let step = if in_order { 1 } else { dataset.len() / count.max(1) };
    (0..count).map(move |index| &dataset.samples[index * step].image)
}

/// The largest value of a 16-bit image, transparency aside, and the number of its pixels; `None` for all others.
fn brightest<R: BufRead + Seek>(mut contents: R) -> Option<(u16, u64)> {
    const DEPTH_OF_PNG: usize = 24;
    let mut start = [0; DEPTH_OF_PNG + 1];
    contents.read_exact(&mut start).ok()?;
    contents.seek(SeekFrom::Start(0)).ok()?;
    let format = image::guess_format(&start).ok()?;
    let may_have_16_bits = match format {
        ImageFormat::Png => start[DEPTH_OF_PNG] == 16,
        ImageFormat::Tiff => true,
        _ => false,
    };
    if !may_have_16_bits {
        return None;
    }
    catching_panics(|| {
        let decoder = ImageReader::with_format(contents, format).into_decoder().ok()?;
        let pixels = u64::from(decoder.dimensions().0) * u64::from(decoder.dimensions().1);
        let has_16_bits =
            matches!(decoder.color_type(), ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16);
        if !has_16_bits || pixels > LARGEST {
            return None;
        }
        let largest = match DynamicImage::from_decoder(decoder).ok()? {
            DynamicImage::ImageLuma16(image) => image.into_raw().into_iter().max(),
            DynamicImage::ImageRgb16(image) => image.into_raw().into_iter().max(),
            DynamicImage::ImageLumaA16(image) => image.pixels().map(|pixel| pixel.0[0]).max(),
            DynamicImage::ImageRgba16(image) => image.pixels().flat_map(|pixel| pixel.0[..3].to_vec()).max(),
            _ => None,
        };
        Some((largest?, pixels))
    })?
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use image::{ImageBuffer, Luma, Rgba};

    use super::*;

    /// A ramp from 0 to `white` in 16 bits.
    fn ramp(folder: &Path, name: &str, white: u16) -> PathBuf {
        let path = folder.join(name);
        let image = ImageBuffer::from_fn(32, 2, |x, _| Luma([(u32::from(white) * x / 31) as u16]));
        image.save(&path).unwrap();
        path
    }

    #[test]
    fn bits_that_no_image_uses_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let note = |white: u16, name: &str| unused_range(&Dataset::from_files(&[ramp(folder.path(), name, white)]));
        for name in ["12.png", "12.tif"] {
            assert_eq!(note(4095, name), Some(DataNote::UnusedRange { bits: 12, largest: 4095 }));
        }
        assert_eq!(note(200, "8.png"), Some(DataNote::UnusedRange { bits: 8, largest: 200 }));
        assert_eq!(note(4096, "13.png"), None);
        assert_eq!(note(65535, "16.tif"), None);
        // Black images say nothing.
        assert_eq!(note(0, "0.png"), None);
    }

    #[test]
    fn one_bright_image_is_enough() {
        let folder = tempfile::tempdir().unwrap();
        let mut paths: Vec<PathBuf> = (0..3).map(|n| ramp(folder.path(), &format!("{n}.png"), 1000)).collect();
        assert!(unused_range(&Dataset::from_files(&paths)).is_some());
        paths.push(ramp(folder.path(), "bright.png", 60_000));
        assert_eq!(unused_range(&Dataset::from_files(&paths)), None);
    }

    #[test]
    fn transparency_and_8_bit_images_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alpha.png");
        ImageBuffer::from_pixel(4, 4, Rgba([900u16, 20, 30, 65535])).save(&path).unwrap();
        let bright = folder.path().join("bright.png");
        image::RgbImage::from_pixel(4, 4, image::Rgb([255; 3])).save(&bright).unwrap();
        let note = unused_range(&Dataset::from_files(&[&bright, &path]));
        assert_eq!(note, Some(DataNote::UnusedRange { bits: 10, largest: 900 }));
        let missing = folder.path().join("missing.png");
        assert_eq!(unused_range(&Dataset::from_files(&[&bright, &missing])), None);
    }
}
