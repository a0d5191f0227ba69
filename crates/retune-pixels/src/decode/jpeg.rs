//! JPEG, to the pixels that Pillow gives.

use image::RgbImage;
use image::metadata::Orientation;
use retune_jpeg::{Decoded, Jpeg, JpegError};

use super::{DecodeError, DecodeLimits, FilePixels, check_size};

/// Decodes a JPEG file, or the first picture of several in one file (MPO).
pub(super) fn decode(bytes: &[u8], limits: &DecodeLimits) -> Result<FilePixels, DecodeError> {
    let jpeg = Jpeg::parse(bytes).map_err(to_error)?;
    let (width, height) = (jpeg.width() as u32, jpeg.height() as u32);
    check_size(width.into(), height.into(), limits)?;
    let orientation = jpeg.exif().and_then(Orientation::from_exif_chunk).unwrap_or(Orientation::NoTransforms);
    let Decoded { pixels, damages } = jpeg.decode().map_err(to_error)?;
    let image = RgbImage::from_raw(width, height, pixels).ok_or_else(|| DecodeError::Damaged {
        format: "JPEG",
        reason: "fewer pixels than the header says".to_owned(),
    })?;
    Ok(FilePixels { pixels: (image, None), orientation, damages })
}

fn to_error(error: JpegError) -> DecodeError {
    match error {
        JpegError::Unsupported(reason) => DecodeError::UnsupportedContents { format: "JPEG", reason },
        error => DecodeError::Damaged { format: "JPEG", reason: error.to_string() },
    }
}
