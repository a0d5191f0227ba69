//! What a file's name, or failing that its first bytes, say of its being an image.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use image::ImageFormat;

/// The file name extensions of images, compared without regard to case.
pub(super) const IMAGES: [&str; 16] = [
    "jpg", "jpeg", "jpe", "jfif", "mpo", "png", "apng", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm", "pbm", "pnm",
];

/// The extensions of pictures, films and documents that hold pictures, none of which can be read. Whatever else lies
/// beside images (lists, notes, annotations) is nobody's picture.
const FOREIGN: [&str; 74] = [
    "heic", "heif", "hif", "avif", "jxl", "jp2", "j2k", "j2c", "jpf", "jpx", "jls", "psd", "psb", "xcf", "ai", "eps",
    "svg", "svgz", "pdf", "exr", "hdr", "dds", "tga", "ico", "icns", "cur", "emf", "wmf", "pcx", "sgi", "xbm", "xpm",
    "pam", "pfm", "qoi", "ff", "fits", "dcm", "nii", "npy", "mat", "cr2", "cr3", "crw", "nef", "nrw", "arw", "srf",
    "sr2", "dng", "orf", "raf", "raw", "rw2", "pef", "srw", "x3f", "3fr", "iiq", "erf", "kdc", "mrw", "mp4", "mov",
    "avi", "mkv", "webm", "mpg", "mpeg", "m4v", "wmv", "3gp", "mts", "flv",
];

/// As many first bytes as tell what a file holds.
pub(in crate::sources) const SNIFFED: usize = 16;

/// Whether the name of a file is that of an image.
pub(crate) fn is_image(path: &Path) -> bool {
    extension(path).is_some_and(|extension| IMAGES.iter().any(|known| known.eq_ignore_ascii_case(extension)))
}

/// The extension, in lower case, of a file that looks like a picture or film and cannot be read.
pub(in crate::sources) fn foreign(path: &Path) -> Option<&'static str> {
    let extension = extension(path)?;
    FOREIGN.into_iter().find(|known| known.eq_ignore_ascii_case(extension))
}

/// Whether a file whose name has no extension begins as an image does; one that cannot be opened does not.
pub(in crate::sources) fn begins_as_image(path: &Path) -> bool {
    if path.extension().is_some() {
        return false;
    }
    let mut bytes = Vec::with_capacity(SNIFFED);
    let read = File::open(path).and_then(|file| file.take(SNIFFED as u64).read_to_end(&mut bytes));
    read.is_ok() && is_beginning_of_image(&bytes)
}

/// Whether these are the first bytes of an image.
pub(in crate::sources) fn is_beginning_of_image(bytes: &[u8]) -> bool {
    match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg | ImageFormat::Png | ImageFormat::WebP | ImageFormat::Gif | ImageFormat::Tiff) => true,
        // Two letters say little. The reserved fields of a bitmap are zero, and space follows the letters of a pixmap.
        Ok(ImageFormat::Bmp) => bytes.get(6..10) == Some(&[0; 4]),
        Ok(ImageFormat::Pnm) => bytes.get(2).is_some_and(u8::is_ascii_whitespace),
        _ => false,
    }
}

fn extension(path: &Path) -> Option<&str> {
    path.extension().and_then(OsStr::to_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_images_whatever_their_case() {
        for name in ["a.jpg", "a.JFIF", "a.jpe", "a.mpo", "a.PPM", "a.pgm", "a.pnm", "a.pbm", "a.Tiff"] {
            assert!(is_image(Path::new(name)) && foreign(Path::new(name)).is_none(), "{name}");
        }
        for (name, ending) in [("a.HEIC", "heic"), ("b.avif", "avif"), ("c.Mp4", "mp4"), ("d.CR2", "cr2")] {
            assert_eq!(foreign(Path::new(name)), Some(ending));
            assert!(!is_image(Path::new(name)));
        }
        for name in ["a.txt", "a.csv", "a.json", "a.xml", "Thumbs.db", "desktop.ini", "README"] {
            assert!(!is_image(Path::new(name)) && foreign(Path::new(name)).is_none(), "{name}");
        }
        assert!(IMAGES.iter().all(|image| !FOREIGN.contains(image)));
    }

    /// First bytes as the formats' specifications have them.
    #[test]
    fn contents_tell_images_without_an_extension() {
        let images: [&[u8]; 7] = [
            b"\xff\xd8\xff\xe0\0\x10JFIF",
            b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR",
            b"GIF89a\x01\0\x01\0",
            b"II*\0\x08\0\0\0",
            b"RIFF\x24\0\0\0WEBPVP8 ",
            b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0",
            b"P6\n2 2\n255\n",
        ];
        assert!(images.iter().all(|bytes| is_beginning_of_image(bytes)));
        let others: [&[u8]; 6] = [b"", b"BM", b"BMI of patients", b"P6a", b"path,label\n", b"\0\0\0\x18ftypheic"];
        assert!(!others.iter().any(|bytes| is_beginning_of_image(bytes)));
    }
}
