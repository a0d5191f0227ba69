//! Where the pixels of a sample come from.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use image::RgbImage;
use retune_pixels::decode::{DecodeError, DecodeLimits, Decoded, Transparency, decode, decode_counting};
use retune_pixels::picture::Picture;

use super::DataError;

/// The largest image file that is read, in bytes. No photograph comes near it; a mistaken path might.
pub(super) const MAX_FILE_BYTES: u64 = 1 << 30;

/// A file that holds many images. Each format of such files has one implementation.
pub trait ImageStore: fmt::Debug + Send + Sync {
    /// The file.
    fn path(&self) -> &Path;

    /// The image at position `item`, as the file holds it.
    ///
    /// # Errors
    /// A position past the last image, or a file that can no longer be read.
    fn read(&self, item: usize) -> Result<StoredImage, DataError>;

    /// How many bytes the encoded image has; `None` if images are pixels, or there is no such image.
    fn encoded_bytes(&self, _item: usize) -> Option<u64> {
        None
    }

    /// Whether images are pixels, so that loading one costs next to nothing.
    fn holds_pixels(&self) -> bool {
        true
    }

    /// Whether an image costs the reading of those before it.
    fn reads_in_order(&self) -> bool {
        false
    }

    /// The error of an image that cannot be decoded.
    fn undecodable(&self, item: usize, source: DecodeError) -> DataError {
        DataError::Decode { path: self.path().join(item.to_string()), source }
    }
}

/// An image as a file of many images holds it.
#[derive(Debug)]
pub enum StoredImage {
    /// A JPEG, PNG or the like.
    Encoded(Vec<u8>),
    /// Pixels.
    Pixels(RgbImage),
}

/// Where the pixels of a sample come from.
#[derive(Clone, Debug)]
pub enum ImageSource {
    /// An image file.
    File(Arc<Path>),
    /// One image of a file that holds many.
    Stored {
        /// The file's images, shared by all its samples.
        images: Arc<dyn ImageStore>,
        /// The position among them, from 0.
        item: usize,
    },
    /// Pixels already in memory.
    Memory(Arc<RgbImage>),
}

impl ImageSource {
    /// Reads and decodes the image. Opacity is laid over white.
    ///
    /// # Errors
    /// An unreadable, oversized or corrupt file; the error names it.
    pub fn load(&self, limits: &DecodeLimits) -> Result<RgbImage, DataError> {
        match self.read()? {
            StoredImage::Encoded(bytes) => decode(&bytes, limits).map_err(|source| self.undecodable(source)),
            StoredImage::Pixels(image) => Ok(image),
        }
    }

    /// As [`ImageSource::load`] with opacity as asked for, and whether the file is damaged.
    ///
    /// # Errors
    /// As [`ImageSource::load`].
    pub fn load_counting(&self, transparency: Transparency, limits: &DecodeLimits) -> Result<Decoded, DataError> {
        let whole = |picture: Picture| Ok(Decoded { picture, damages: 0 });
        if let Self::Memory(image) = self {
            return whole(Arc::clone(image).into());
        }
        match self.read()? {
            StoredImage::Encoded(bytes) => {
                decode_counting(&bytes, transparency, limits).map_err(|source| self.undecodable(source))
            }
            StoredImage::Pixels(image) => whole(image.into()),
        }
    }

    /// The image as it is stored.
    ///
    /// # Errors
    /// An unreadable or oversized file; the error names it.
    pub fn read(&self) -> Result<StoredImage, DataError> {
        match self {
            Self::File(path) => read_limited(path).map(StoredImage::Encoded),
            Self::Stored { images, item } => images.read(*item),
            Self::Memory(image) => Ok(StoredImage::Pixels(RgbImage::clone(image))),
        }
    }

    /// Whether loading costs next to nothing, because there is no file format to decode.
    pub fn holds_pixels(&self) -> bool {
        match self {
            Self::File(_) => false,
            Self::Stored { images, .. } => images.holds_pixels(),
            Self::Memory(_) => true,
        }
    }

    /// How many bytes the encoded image has; `None` for pixels, and for what cannot be read.
    pub(super) fn encoded_bytes(&self) -> Option<u64> {
        match self {
            Self::File(path) => fs::metadata(path).ok().map(|metadata| metadata.len()),
            Self::Stored { images, item } => images.encoded_bytes(*item),
            Self::Memory(_) => None,
        }
    }

    fn undecodable(&self, source: DecodeError) -> DataError {
        match self {
            Self::File(path) => DataError::Decode { path: path.to_path_buf(), source },
            Self::Stored { images, item } => images.undecodable(*item, source),
            Self::Memory(_) => DataError::Decode { path: "memory".into(), source },
        }
    }
}

/// The bytes of a file no larger than [`MAX_FILE_BYTES`]. What is no regular file may never end, and is refused.
pub(super) fn read_limited(path: &Path) -> Result<Vec<u8>, DataError> {
    let unreadable = |source| DataError::Io { path: path.to_owned(), source };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(unreadable(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file")));
    }
    let bytes = metadata.len();
    if bytes > MAX_FILE_BYTES {
        return Err(DataError::FileTooLarge { path: path.to_owned(), bytes, limit: MAX_FILE_BYTES });
    }
    fs::read(path).map_err(unreadable)
}
