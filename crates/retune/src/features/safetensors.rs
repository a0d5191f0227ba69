//! `.safetensors`: a JSON header that says where each tensor lies, then the tensors
//! (<https://huggingface.co/docs/safetensors>).
//!
//! The header needs the number of images and the width of a row, and both are known when the first rows come; so rows
//! can be written as they come, which the `safetensors` crate (all tensors in memory at once) cannot do.

mod read;

use std::fs::File;
use std::io::{self, BufWriter, Write};

use serde_json::json;

use super::listing::Listing;
use super::{FeatureFormat, Target};
use crate::files;

/// Readers refuse a longer header.
const LONGEST_HEADER: usize = 100_000_000;

pub(super) const FORMAT: FeatureFormat = FeatureFormat {
    extension: "safetensors",
    begin: |file, listing| Ok(Box::new(SafetensorsFile::new(file, listing))),
    read: read::read,
};

/// A file whose `features` are under way.
struct SafetensorsFile<'a> {
    out: BufWriter<&'a File>,
    listing: &'a Listing,
    begun: bool,
}

impl<'a> SafetensorsFile<'a> {
    fn new(file: &'a File, listing: &'a Listing) -> Self {
        Self { out: BufWriter::with_capacity(1 << 20, file), listing, begun: false }
    }
}

impl Target for SafetensorsFile<'_> {
    fn append(&mut self, rows: &[f32], width: usize) -> io::Result<()> {
        if !self.begun {
            self.begin(width)?;
        }
        self.out.write_all(&files::little_endian(rows))
    }

    fn finish(mut self: Box<Self>) -> io::Result<()> {
        if !self.begun {
            self.begin(0)?;
        }
        self.out.flush()
    }
}

impl SafetensorsFile<'_> {
    /// Writes the header and the labels. Labels come first because tensors of wider types must.
    fn begin(&mut self, width: usize) -> io::Result<()> {
        self.begun = true;
        self.out.write_all(&header(self.listing, width)?)?;
        for label in &self.listing.labels {
            self.out.write_all(&label.to_le_bytes())?;
        }
        Ok(())
    }
}

fn header(listing: &Listing, width: usize) -> io::Result<Vec<u8>> {
    let n = listing.len();
    let paths: Vec<&str> = listing.paths.iter().map(|path| &**path).collect();
    let labels_end = n * size_of::<i64>();
    let features_end = labels_end + n * width * size_of::<f32>();
    let mut document = json!({
        "__metadata__": {
            "paths": serde_json::to_string(&paths)?,
            "classes": serde_json::to_string(&listing.classes)?,
        },
        "labels": { "dtype": "I64", "shape": [n], "data_offsets": [0, labels_end] },
        "features": { "dtype": "F32", "shape": [n, width], "data_offsets": [labels_end, features_end] },
    });
    if let Some(precision) = listing.precision {
        document["__metadata__"]["precision"] = precision.into();
    }
    if let Some(origin) = &listing.origin {
        document["__metadata__"]["origin"] = origin.as_str().into();
    }
    let mut text = serde_json::to_vec(&document)?;
    text.resize(text.len().next_multiple_of(size_of::<u64>()), b' ');
    if text.len() > LONGEST_HEADER {
        return Err(io::Error::other(
            "the paths are too many for the metadata of .safetensors; name a .npz file instead",
        ));
    }
    let length = (text.len() as u64).to_le_bytes();
    Ok([&length, text.as_slice()].concat())
}
