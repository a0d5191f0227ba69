//! JPEG, to the pixels that Pillow gives.

use image::RgbImage;
use image::metadata::Orientation;
use retune_jpeg::{Jpeg, JpegError};

use super::{DecodeError, DecodeLimits, check_size};

/// Decodes a JPEG file, or the first picture of several in one file (MPO).
pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<(RgbImage, Orientation), DecodeError> {
    let jpeg = Jpeg::parse(bytes).map_err(to_error)?;
    let (width, height) = (jpeg.width() as u32, jpeg.height() as u32);
    check_size(width.into(), height.into(), limits)?;
    let orientation = jpeg.exif().and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms);
    let pixels = jpeg.decode().map_err(to_error)?.pixels;
    let image = RgbImage::from_raw(width, height, pixels).ok_or_else(|| DecodeError::Damaged {
        format: "JPEG",
        reason: "fewer pixels than the header says".to_owned(),
    })?;
    Ok((image, orientation))
}

fn to_error(error: JpegError) -> DecodeError {
    match error {
        JpegError::Unsupported(reason) => DecodeError::UnsupportedContents { format: "JPEG", reason },
        error => DecodeError::Damaged { format: "JPEG", reason: error.to_string() },
    }
}
