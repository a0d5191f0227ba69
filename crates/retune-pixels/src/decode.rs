//! Bytes of an image file in, upright 8-bit RGB pixels out.
//!
//! What a file holds is told from its contents; its name is not looked at. Where this differs from
//! `Image.open(path).convert("RGB")`, which timm's data sets do:
//!
//! | | here | Pillow |
//! | --- | --- | --- |
//! | transparency | laid over white | dropped, which shows whatever color lies under it |
//! | 16-bit gray | the high byte | values over 255 become 255: a nearly white image |
//! | Exif orientation | applied | ignored |
//!
//! TIFF colors that are multiplied by their transparency already are laid over white as such.
//!
//! 16-bit color takes the high byte in both, unless a white level is given. Everything else agrees to the bit, JPEG
//! included, also where a JPEG is damaged and what is missing is filled in.

use std::cell::Cell;
use std::io::Cursor;
use std::num::NonZeroU16;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::sync::Arc;

use image::metadata::Orientation;
use image::{
    DynamicImage, GrayImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, Pixel, Rgb, RgbImage,
};

use super::picture::Picture;

mod jpeg;
mod tiff;

/// What a file may ask for before it is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeLimits {
    /// Most pixels (width × height) of an image. Checked against the file's header before any pixel
    /// is decoded, so that a small file cannot claim all memory.
    pub max_pixels: u64,
    /// The value of 16-bit images that becomes 255, and every value above it; 65535 without one.
    pub white: Option<NonZeroU16>,
}

impl Default for DecodeLimits {
    /// 178,956,970 pixels, at which Pillow raises its decompression bomb error.
    fn default() -> Self {
        DecodeLimits { max_pixels: 178_956_970, white: None }
    }
}

/// Why bytes could not be made into pixels. The caller adds which file they came from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The contents begin like no image format.
    #[error("not an image: the contents are none of JPEG, PNG, WebP, BMP, GIF, TIFF or PNM")]
    NotAnImage,
    /// An image, but in a format that is not read.
    #[error("{format} images are not supported: convert to JPEG or PNG")]
    UnsupportedFormat {
        /// The format's name.
        format: &'static str,
    },
    /// A supported format with contents that are not read.
    #[error("unsupported {format} image: {reason}; save it as 8-bit RGB")]
    UnsupportedContents {
        /// The format's name.
        format: &'static str,
        /// What is not supported.
        reason: String,
    },
    /// More pixels than [`DecodeLimits`] allow.
    #[error("{width}×{height} pixels are more than the limit of {max_pixels}: make the image smaller")]
    TooManyPixels {
        /// Width in pixels.
        width: u64,
        /// Height in pixels.
        height: u64,
        /// The limit.
        max_pixels: u64,
    },
    /// The file ends early or its contents contradict themselves.
    #[error("damaged or truncated {format} image: {reason}")]
    Damaged {
        /// The format's name.
        format: &'static str,
        /// The decoder's own words.
        reason: String,
    },
    /// The file could not be read at all.
    #[error("cannot read the file: {0}")]
    Read(#[from] std::io::Error),
}

/// Decodes an image file.
///
/// # Errors
/// [`DecodeError::Read`] if the file cannot be read, else as [`decode`].
pub fn decode_file(path: &Path, limits: &DecodeLimits) -> Result<RgbImage, DecodeError> {
    decode(&std::fs::read(path)?, limits)
}

/// Decodes the contents of an image file: JPEG (of several pictures the first), PNG, WebP, BMP, GIF (the first
/// frame), TIFF (the first page) or PNM, gray, palette or color, turned upright as Exif says.
///
/// # Errors
/// If the contents are not an image of these formats, are damaged or cut short, or have more pixels
/// than `limits` allow.
pub fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<RgbImage, DecodeError> {
    let decoded = decode_counting(bytes, Transparency::OverWhite, limits)?;
    Ok(Arc::unwrap_or_clone(decoded.picture.color))
}

/// As [`decode`], with the opacity of each pixel beside its color: what `convert("RGBA")` makes of it in Pillow.
///
/// # Errors
/// As [`decode`].
pub fn decode_with_alpha(bytes: &[u8], limits: &DecodeLimits) -> Result<Picture, DecodeError> {
    decode_counting(bytes, Transparency::Kept, limits).map(|decoded| decoded.picture)
}

/// An image, and whether its file is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The image.
    pub picture: Picture,
    /// At how many places its JPEG data is damaged, so that some of its pixels are missing or wrong. Damaged files of other
    /// formats are refused.
    pub damages: usize,
}

/// What becomes of transparency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transparency {
    /// It is laid over white.
    OverWhite,
    /// It is kept beside the colors.
    Kept,
}

/// Colors, and the opacity of each pixel where the file has it and it is kept.
type Pixels = (RgbImage, Option<GrayImage>);

/// What a decoder makes of a file.
#[derive(Debug)]
struct FilePixels {
    pixels: Pixels,
    /// How they become upright.
    orientation: Orientation,
    damages: usize,
}

/// As [`decode`] or [`decode_with_alpha`], with the number of places at which the file is damaged.
///
/// # Errors
/// As [`decode`].
pub fn decode_counting(
    bytes: &[u8],
    transparency: Transparency,
    limits: &DecodeLimits,
) -> Result<Decoded, DecodeError> {
    if let Some(format) = unsupported_container(bytes) {
        return Err(DecodeError::UnsupportedFormat { format });
    }
    let format = match bytes {
        // TIFF with offsets of 64 bits.
        [b'I', b'I', 43, 0, ..] | [b'M', b'M', 0, 43, ..] => ImageFormat::Tiff,
        _ => image::guess_format(bytes).map_err(|_| DecodeError::NotAnImage)?,
    };
    let decoded = catching_panics(|| match format {
        ImageFormat::Jpeg => jpeg::decode(bytes, limits),
        ImageFormat::Tiff => tiff::decode(bytes, transparency, limits),
        ImageFormat::Png | ImageFormat::WebP | ImageFormat::Bmp | ImageFormat::Gif | ImageFormat::Pnm => {
            decode_other(bytes, format, transparency, limits)
        }
        _ => Err(DecodeError::UnsupportedFormat { format: name(format) }),
    });
    let FilePixels { pixels: (color, alpha), orientation, damages } = decoded.unwrap_or_else(|| {
        let reason = "the decoder cannot cope with its contents".to_owned();
        Err(DecodeError::Damaged { format: name(format), reason })
    })?;
    let upright = |mut pixels: DynamicImage| {
        pixels.apply_orientation(orientation);
        pixels
    };
    let color = upright(DynamicImage::ImageRgb8(color)).into_rgb8();
    let picture = match alpha.map(|alpha| upright(DynamicImage::ImageLuma8(alpha)).into_luma8()) {
        Some(alpha) => Picture::new(color, alpha),
        None => color.into(),
    };
    Ok(Decoded { picture, damages })
}

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic on this thread is one of a decoder's, of images or of Parquet files, or of the drawing of a picture,
/// and will be caught, so that a panic hook need not report it.
pub fn catches_panics() -> bool {
    CATCHING.get()
}

/// What `decode` returns, or nothing where it panics: fuzzing found damaged files on which the
/// decoders do.
pub fn catching_panics<T>(decode: impl FnOnce() -> T) -> Option<T> {
    CATCHING.set(true);
    // Nothing that the decoder has touched is used after a panic.
    let decoded = panic::catch_unwind(AssertUnwindSafe(decode));
    CATCHING.set(false);
    decoded.ok()
}

fn name(format: ImageFormat) -> &'static str {
    match format {
        ImageFormat::Jpeg => "JPEG",
        ImageFormat::Png => "PNG",
        ImageFormat::WebP => "WebP",
        ImageFormat::Bmp => "BMP",
        ImageFormat::Gif => "GIF",
        ImageFormat::Tiff => "TIFF",
        ImageFormat::Pnm => "PNM",
        other => other.extensions_str().first().copied().unwrap_or("such"),
    }
}

/// The name of a format of phones and browsers that is not read, told from the brand in its first box.
fn unsupported_container(bytes: &[u8]) -> Option<&'static str> {
    let brand = bytes.get(4..12)?.strip_prefix(b"ftyp")?;
    match brand {
        b"avif" | b"avis" => Some("AVIF"),
        b"heic" | b"heix" | b"hevc" | b"hevx" | b"heim" | b"heis" | b"mif1" | b"msf1" => Some("HEIC"),
        _ => None,
    }
}

fn check_size(width: u64, height: u64, limits: &DecodeLimits) -> Result<(), DecodeError> {
    if width.saturating_mul(height) > limits.max_pixels {
        return Err(DecodeError::TooManyPixels { width, height, max_pixels: limits.max_pixels });
    }
    Ok(())
}

fn decode_other(
    bytes: &[u8],
    format: ImageFormat,
    transparency: Transparency,
    limits: &DecodeLimits,
) -> Result<FilePixels, DecodeError> {
    let to_error = |error: ImageError| match error {
        ImageError::Unsupported(reason) => {
            DecodeError::UnsupportedContents { format: name(format), reason: reason.to_string() }
        }
        error => DecodeError::Damaged { format: name(format), reason: error.to_string() },
    };
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    // The decoders' own buffers: 16 bytes a pixel hold RGBA in 32-bit floats.
    let mut memory = Limits::no_limits();
    memory.max_alloc = Some(limits.max_pixels.saturating_mul(16).max(1 << 20));
    reader.limits(memory);
    let mut decoder = reader.into_decoder().map_err(to_error)?;
    let (width, height) = decoder.dimensions();
    check_size(u64::from(width), u64::from(height), limits)?;
    // An image with damaged metadata is still an image.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let decoded = DynamicImage::from_decoder(decoder).map_err(to_error)?;
    let pixels = match transparency {
        Transparency::Kept if decoded.color().has_alpha() => with_alpha(&decoded, limits.white),
        _ => to_rgb8(decoded, limits.white).map(|pixels| (pixels, None)),
    };
    let pixels = pixels.ok_or_else(|| DecodeError::UnsupportedContents {
        format: name(format),
        reason: "its pixels are floating-point numbers".to_owned(),
    })?;
    Ok(FilePixels { pixels, orientation, damages: 0 })
}

/// Converts pixels to 8-bit RGB; `None` for floating-point pixels, which have no agreed range.
/// 16-bit values become their [`level`].
fn to_rgb8(image: DynamicImage, white: Option<NonZeroU16>) -> Option<RgbImage> {
    let (width, height) = (image.width(), image.height());
    let high = |value: u16| (value >> 8) as u8;
    let level = |value: u16| level(value, white);
    let rgb = match image {
        DynamicImage::ImageRgb8(image) => image,
        DynamicImage::ImageLuma8(image) => convert(&image, |&[gray]: &[u8; 1]| [gray; 3]),
        DynamicImage::ImageLumaA8(image) => convert(&image, |&[gray, alpha]: &[u8; 2]| over_white([gray; 3], alpha)),
        DynamicImage::ImageRgba8(image) => convert(&image, |&[r, g, b, alpha]: &[u8; 4]| over_white([r, g, b], alpha)),
        DynamicImage::ImageLuma16(image) => convert(&image, |&[gray]: &[u16; 1]| [level(gray); 3]),
        DynamicImage::ImageLumaA16(image) => {
            convert(&image, |&[gray, alpha]: &[u16; 2]| over_white([level(gray); 3], high(alpha)))
        }
        DynamicImage::ImageRgb16(image) => convert(&image, |&[r, g, b]: &[u16; 3]| [level(r), level(g), level(b)]),
        DynamicImage::ImageRgba16(image) => {
            convert(&image, |&[r, g, b, alpha]: &[u16; 4]| over_white([level(r), level(g), level(b)], high(alpha)))
        }
        _ => return None,
    };
    debug_assert_eq!(rgb.dimensions(), (width, height));
    Some(rgb)
}

/// As [`to_rgb8`], with colors as they are under their transparency, and the opacity.
fn with_alpha(image: &DynamicImage, white: Option<NonZeroU16>) -> Option<Pixels> {
    let high = |value: u16| (value >> 8) as u8;
    let level = |value: u16| level(value, white);
    let (color, alpha) = match image {
        DynamicImage::ImageLumaA8(image) => {
            (convert(image, |&[gray, _]: &[u8; 2]| [gray; 3]), opacity(image, |&[_, alpha]: &[u8; 2]| alpha))
        }
        DynamicImage::ImageRgba8(image) => {
            (convert(image, |&[r, g, b, _]: &[u8; 4]| [r, g, b]), opacity(image, |&[.., alpha]: &[u8; 4]| alpha))
        }
        DynamicImage::ImageLumaA16(image) => {
            let color = convert(image, |&[gray, _]: &[u16; 2]| [level(gray); 3]);
            (color, opacity(image, |&[_, alpha]: &[u16; 2]| high(alpha)))
        }
        DynamicImage::ImageRgba16(image) => {
            let color = convert(image, |&[r, g, b, _]: &[u16; 4]| [level(r), level(g), level(b)]);
            (color, opacity(image, |&[.., alpha]: &[u16; 4]| high(alpha)))
        }
        _ => return None,
    };
    Some((color, Some(alpha)))
}

/// A 16-bit value in 8 bits: `round(min(value, white) · 255 / white)`, or without a white level its high byte.
fn level(value: u16, white: Option<NonZeroU16>) -> u8 {
    match white.map(|white| u32::from(white.get())) {
        Some(white) => ((u32::from(value).min(white) * 255 + white / 2) / white) as u8,
        None => (value >> 8) as u8,
    }
}

/// Converts each pixel, given as an array of its channels.
fn convert<P: Pixel, const N: usize>(
    image: &image::ImageBuffer<P, Vec<P::Subpixel>>,
    to_rgb: impl Fn(&[P::Subpixel; N]) -> [u8; 3],
) -> RgbImage {
    let mut converted = RgbImage::new(image.width(), image.height());
    let sources = image.as_raw().as_chunks().0;
    for (out, source) in converted.pixels_mut().zip(sources) {
        *out = Rgb(to_rgb(source));
    }
    converted
}

/// The opacity of each pixel, given as an array of its channels.
fn opacity<P: Pixel, const N: usize>(
    image: &image::ImageBuffer<P, Vec<P::Subpixel>>,
    of: impl Fn(&[P::Subpixel; N]) -> u8,
) -> GrayImage {
    let mut opacity = GrayImage::new(image.width(), image.height());
    for (out, source) in opacity.iter_mut().zip(image.as_raw().as_chunks().0) {
        *out = of(source);
    }
    opacity
}

/// A color with transparency, seen on white paper.
fn over_white(color: [u8; 3], alpha: u8) -> [u8; 3] {
    let alpha = u32::from(alpha);
    color.map(|value| ((u32::from(value) * alpha + 255 * (255 - alpha) + 127) / 255) as u8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::resize::fixtures::{bytes, cases, path};

    fn decode_fixture(name: &str) -> Result<RgbImage, DecodeError> {
        decode_file(&path("formats").join(name), &DecodeLimits::default())
    }

    #[test]
    fn every_format_decodes_to_the_recorded_pixels() {
        for case in cases("decode") {
            let decoded = decode_fixture(&case.file).unwrap_or_else(|e| panic!("{}: {e}", case.file));
            case.assert_matches(&decoded, case.tolerance);
        }
    }

    #[test]
    fn a_white_level_spreads_16_bit_values() {
        use image::{Luma, Rgba};
        // NumPy: `np.round(np.minimum(v, n) * 255 / n)` with v = 0, 5, 9, 2048, 4000, 4095, 5000, 65535.
        let values = [0u16, 5, 9, 2048, 4000, 4095, 5000, 65535];
        let cases = [(4095, [0, 0, 1, 128, 249, 255, 255, 255]), (1023, [0, 1, 2, 255, 255, 255, 255, 255])];
        let folder = tempfile::tempdir().unwrap();
        let gray = image::ImageBuffer::from_fn(8, 1, |x, _| Luma([values[x as usize]]));
        let color = image::ImageBuffer::from_fn(8, 1, |x, _| Rgba([values[x as usize], 0, 65535, 65535]));
        for name in ["gray.png", "gray.tif"] {
            gray.save(folder.path().join(name)).unwrap();
        }
        color.save(folder.path().join("color.png")).unwrap();
        for (white, expected) in cases {
            let limits = DecodeLimits { white: NonZeroU16::new(white), ..DecodeLimits::default() };
            for name in ["gray.png", "gray.tif"] {
                let decoded = decode_file(&folder.path().join(name), &limits).unwrap();
                assert_eq!(
                    decoded.pixels().map(|pixel| pixel.0).collect::<Vec<_>>(),
                    expected.map(|v| [v; 3]),
                    "{name}"
                );
            }
            let decoded = decode_file(&folder.path().join("color.png"), &limits).unwrap();
            let red: Vec<[u8; 3]> = decoded.pixels().map(|pixel| pixel.0).collect();
            assert_eq!(red, expected.map(|value| [value, 0, 255]));
        }
        // Images of 8 bits stay as they are.
        let limits = DecodeLimits { white: NonZeroU16::new(100), ..DecodeLimits::default() };
        let path = path("formats").join("gray.png");
        assert_eq!(decode_file(&path, &limits).unwrap(), decode_file(&path, &DecodeLimits::default()).unwrap());
    }

    #[test]
    fn truncated_files_are_damaged() {
        for case in cases("decode") {
            let whole = bytes(&format!("formats/{}", case.file));
            // Only the first of two frames is needed, and it fills the first half of the file.
            let shares: &[f64] = match case.file.as_str() {
                "animated.gif" => &[0.2, 0.4],
                _ => &[0.3, 0.6, 0.9],
            };
            for share in shares {
                let part = &whole[..(whole.len() as f64 * share) as usize];
                let result = decode(part, &DecodeLimits::default());
                assert!(
                    matches!(result, Err(DecodeError::Damaged { .. })),
                    "{} cut to {share}: {:?}",
                    case.file,
                    result.map(|image| image.dimensions())
                );
            }
        }
    }

    #[test]
    fn damages_of_jpegs_are_counted() {
        let damages = |file: &[u8]| {
            let limits = DecodeLimits::default();
            [Transparency::OverWhite, Transparency::Kept]
                .map(|transparency| decode_counting(file, transparency, &limits).map_or(0, |decoded| decoded.damages))
        };
        let jpeg = |name: &str| bytes(&format!("../../../../retune-jpeg/tests/fixtures/{name}.jpg"));
        assert_eq!(damages(&jpeg("baseline-420")), [0; 2]);
        let [one, other] = damages(&jpeg("damaged/baseline-441-205"));
        assert!(one > 0 && one == other, "{one} {other}");
        // A JPEG in a TIFF file, with a bit changed somewhere.
        let whole = bytes("formats/jpeg-gray.tiff");
        assert_eq!(damages(&whole), [0; 2]);
        let changed = |at: usize| {
            let mut file = whole.clone();
            file[at] ^= 64;
            file
        };
        assert!((0..whole.len()).any(|at| damages(&changed(at))[0] > 0));
    }

    #[test]
    fn stray_bytes_between_jpeg_segments_are_forgiven() {
        let mut file = bytes("formats/rgb.jpg");
        let tables = file.windows(2).position(|pair| pair == [0xFF, 0xDB]).unwrap();
        file.splice(tables..tables, [0; 6]);
        let decoded = decode(&file, &DecodeLimits::default()).unwrap();
        assert_eq!(decoded, decode_fixture("rgb.jpg").unwrap());
    }

    #[test]
    fn pnm_is_read_as_text_and_as_bytes() {
        // Two pixels, as Pillow 13 reads them.
        let red_and_gray = [255, 0, 0, 7, 8, 9];
        for file in [&b"P3\n2 1\n255\n255 0 0 7 8 9\n"[..], b"P6\n2 1\n255\n\xff\0\0\x07\x08\x09"] {
            assert_eq!(decode(file, &DecodeLimits::default()).unwrap().into_raw(), red_and_gray);
        }
        for file in [&b"P2\n2 1\n255\n3 200\n"[..], b"P5\n2 1\n255\n\x03\xc8"] {
            assert_eq!(decode(file, &DecodeLimits::default()).unwrap().into_raw(), [3, 3, 3, 200, 200, 200]);
        }
    }

    /// All pixels are there without the end marker, and are not where zeros stand for the second half.
    #[test]
    fn what_a_jpeg_lacks_at_its_end_decides() {
        let decode = |bytes: &[u8]| decode(bytes, &DecodeLimits::default());
        for name in ["progressive.jpg", "rgb.jpg"] {
            let whole = bytes(&format!("formats/{name}"));
            let [unmarked @ .., 0xFF, 0xD9] = &whole[..] else { panic!("{name} has no end marker") };
            assert_eq!(decode(unmarked).unwrap(), decode_fixture(name).unwrap(), "{name}");
            for padding in [whole.len() / 2, 1 << 16] {
                let mut half = whole[..whole.len() / 2].to_vec();
                half.resize(half.len() + padding, 0);
                let error = decode(&half).unwrap_err();
                assert!(matches!(error, DecodeError::Damaged { .. }), "{name}: {error}");
            }
        }
    }

    #[test]
    fn size_is_checked_before_pixels_are_decoded() {
        let limits = DecodeLimits { max_pixels: 32 * 24 - 1, ..DecodeLimits::default() };
        for case in cases("decode") {
            let whole = bytes(&format!("formats/{}", case.file));
            let error = decode(&whole, &limits).unwrap_err();
            assert!(matches!(error, DecodeError::TooManyPixels { .. }), "{}: {error}", case.file);
        }
        // A BMP header that claims 32768 × 32768 pixels, and no pixels at all.
        let mut bomb = bytes("formats/rgb.bmp");
        bomb.truncate(54);
        bomb[18..26].copy_from_slice(&[0, 0x80, 0, 0, 0, 0x80, 0, 0]);
        let error = decode(&bomb, &DecodeLimits::default()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "32768×32768 pixels are more than the limit of 178956970: make the image smaller"
        );
    }

    /// What fuzzing found: a JPEG on which another decoder indexed past the end of a buffer.
    #[test]
    fn a_file_on_which_a_decoder_panicked_is_damaged() {
        let found = path("../found/decoder-panic.jpg");
        let result = decode_file(&found, &DecodeLimits { max_pixels: 1 << 16, ..DecodeLimits::default() });
        assert!(matches!(result, Err(DecodeError::Damaged { .. })), "{:?}", result.map(|image| image.dimensions()));
        assert!(!catches_panics());
    }

    #[test]
    fn other_contents_are_told_apart() {
        let decode = |bytes: &[u8]| decode(bytes, &DecodeLimits::default()).unwrap_err();
        assert!(matches!(decode(b""), DecodeError::NotAnImage));
        assert!(matches!(decode(b"path,label\ncat.jpg,0\n"), DecodeError::NotAnImage));
        let avif = decode(b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1B");
        assert_eq!(avif.to_string(), "AVIF images are not supported: convert to JPEG or PNG");
        let heic = decode(b"\0\0\0\x20ftypheic\0\0\0\0mif1heic");
        assert_eq!(heic.to_string(), "HEIC images are not supported: convert to JPEG or PNG");
        let missing = decode_fixture("missing.png").unwrap_err();
        assert!(matches!(missing, DecodeError::Read(_)));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn mutated_files_never_panic(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        ) {
            for case in cases("decode") {
                let mut file = bytes(&format!("formats/{}", case.file));
                for (position, value) in &changes {
                    let position = position.index(file.len());
                    file[position] = *value;
                }
                // A small limit keeps a header that claims millions of pixels from slowing the test.
                let _ = decode(&file, &DecodeLimits { max_pixels: 1 << 16, ..DecodeLimits::default() });
            }
        }

        #[test]
        fn random_bytes_never_panic(contents in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&contents, &DecodeLimits::default());
        }
    }
}
