//! `.npz`: an uncompressed zip archive of `.npy` arrays.
//!
//! The array format is version 1.0 of NumPy's documentation (`numpy.lib.format`).

mod read;

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::listing::Listing;
use super::{FeatureFormat, Target};
use crate::files;

/// Arrays start at a multiple of this many bytes, so that they can be mapped into memory.
const ALIGNMENT: usize = 64;

pub(super) const FORMAT: FeatureFormat = FeatureFormat {
    extension: "npz",
    begin: |file, listing| Ok(Box::new(NpzFile::new(file, listing))),
    read: read::read,
};

/// An archive whose `features` are under way.
struct NpzFile<'a> {
    archive: ZipWriter<OneFailure<BufWriter<&'a File>>>,
    listing: &'a Listing,
    begun: bool,
}

/// Fails once, then swallows what comes. An archive that is dropped after a failure would try to
/// finish itself, fail again, and print that on standard error.
struct OneFailure<W> {
    file: W,
    failed: bool,
}

impl<W> OneFailure<W> {
    fn unless_failed<T>(&mut self, swallowed: T, act: impl FnOnce(&mut W) -> io::Result<T>) -> io::Result<T> {
        if self.failed {
            return Ok(swallowed);
        }
        let result = act(&mut self.file);
        self.failed = result.is_err();
        result
    }
}

impl<W: Write> Write for OneFailure<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unless_failed(bytes.len(), |file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unless_failed((), Write::flush)
    }
}

impl<W: Seek> Seek for OneFailure<W> {
    fn seek(&mut self, position: SeekFrom) -> io::Result<u64> {
        self.unless_failed(0, |file| file.seek(position))
    }
}

impl<'a> NpzFile<'a> {
    fn new(file: &'a File, listing: &'a Listing) -> Self {
        let file = OneFailure { file: BufWriter::with_capacity(1 << 20, file), failed: false };
        Self { archive: ZipWriter::new(file), listing, begun: false }
    }
}

impl Target for NpzFile<'_> {
    fn append(&mut self, rows: &[f32], width: usize) -> io::Result<()> {
        if !self.begun {
            self.begin("features", "<f4", &[self.listing.len(), width])?;
            self.begun = true;
        }
        self.archive.write_all(&files::little_endian(rows))
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        if !self.begun {
            self.begin("features", "<f4", &[0, 0])?;
        }
        let listing = self.listing;
        self.begin("labels", "<i8", &[listing.len()])?;
        for label in &listing.labels {
            self.archive.write_all(&label.to_le_bytes())?;
        }
        self.strings("paths", || listing.paths.iter().map(|path| &**path))?;
        self.strings("classes", || listing.classes.iter().map(String::as_str))?;
        if let Some(precision) = listing.precision {
            self.strings("precision", || std::iter::once(precision))?;
        }
        if let Some(origin) = listing.origin.as_deref() {
            self.strings("origin", || std::iter::once(origin))?;
        }
        self.archive.finish()?.flush()
    }
}

impl NpzFile<'_> {
    /// Starts the array `name` with its header.
    fn begin(&mut self, name: &str, kind: &str, shape: &[usize]) -> io::Result<()> {
        let options = SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored)
            // Features of a large dataset pass the 4 GiB of the plain zip format.
            .large_file(true);
        self.archive.start_file(format!("{name}.npy"), options)?;
        self.archive.write_all(&array_header(kind, shape)?)
    }

    /// Writes an array of strings of equal width, four bytes a character, as NumPy keeps them.
    fn strings<'s, I: Iterator<Item = &'s str>>(&mut self, name: &str, texts: impl Fn() -> I) -> io::Result<()> {
        // NumPy has no strings of width 0.
        let width = texts().map(|text| text.chars().count()).max().unwrap_or(0).max(1);
        self.begin(name, &format!("<U{width}"), &[texts().count()])?;
        for text in texts() {
            let mut characters: Vec<u8> = text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
            characters.resize(width * 4, 0);
            self.archive.write_all(&characters)?;
        }
        Ok(())
    }
}

/// The header of an array in row-major order.
fn array_header(kind: &str, shape: &[usize]) -> io::Result<Vec<u8>> {
    const MAGIC: &[u8] = b"\x93NUMPY\x01\x00";
    let shape = match shape {
        // A tuple of one is written with a comma in Python.
        [length] => format!("({length},)"),
        lengths => format!("({})", lengths.iter().map(usize::to_string).collect::<Vec<_>>().join(", ")),
    };
    let mut text = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
    let before = MAGIC.len() + size_of::<u16>();
    let length = (before + text.len() + 1).next_multiple_of(ALIGNMENT) - before;
    while text.len() + 1 < length {
        text.push(' ');
    }
    text.push('\n');
    let length = u16::try_from(length).map_err(io::Error::other)?;
    Ok([MAGIC, &length.to_le_bytes(), text.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_once() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Err(io::ErrorKind::StorageFull.into())
            }
        }
        let mut file = OneFailure { file: Full, failed: false };
        assert_eq!(file.write(b"features").unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.write(b"more").unwrap(), 4);
        assert!(file.flush().is_ok());
    }

    #[test]
    fn headers_are_aligned_and_end_in_a_line_break() {
        for shape in [vec![3], vec![1_000_000, 2048], vec![0]] {
            let header = array_header("<f4", &shape).unwrap();
            assert_eq!(header.len() % ALIGNMENT, 0);
            assert_eq!(usize::from(u16::from_le_bytes([header[8], header[9]])), header.len() - 10);
            assert_eq!(header.last(), Some(&b'\n'));
        }
        let text = String::from_utf8_lossy(&array_header("<i8", &[3]).unwrap()).into_owned();
        assert!(text.contains("{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }"), "{text}");
    }
}
