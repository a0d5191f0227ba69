//! `.safetensors`: a JSON header that says where each tensor lies, then the tensors
//! (<https://huggingface.co/docs/safetensors>).
//!
//! The header needs the number of images and the width of a row, and both are known when the first rows come; so rows
//! can be written as they come, which the `safetensors` crate (all tensors in memory at once) cannot do.

mod read;

use std::fs::File;
use std::io::{self, BufWriter, Write};

use serde_json::json;

use super::{FeatureFormat, Target, stored_label};
use crate::files;
use crate::sources::Dataset;

/// Readers refuse a longer header.
const LONGEST_HEADER: usize = 100_000_000;

pub(super) const FORMAT: FeatureFormat = FeatureFormat {
    extension: "safetensors",
    begin: |file, dataset| Ok(Box::new(SafetensorsFile::new(file, dataset))),
    read: read::read,
};

/// A file whose `features` are under way.
struct SafetensorsFile<'a> {
    out: BufWriter<&'a File>,
    dataset: &'a Dataset,
    begun: bool,
}

impl<'a> SafetensorsFile<'a> {
    fn new(file: &'a File, dataset: &'a Dataset) -> Self {
        Self { out: BufWriter::with_capacity(1 << 20, file), dataset, begun: false }
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
        self.out.write_all(&header(self.dataset, width)?)?;
        for sample in &self.dataset.samples {
            self.out.write_all(&stored_label(sample.label).to_le_bytes())?;
        }
        Ok(())
    }
}

fn header(dataset: &Dataset, width: usize) -> io::Result<Vec<u8>> {
    let n = dataset.len();
    let paths: Vec<&str> = dataset.samples.iter().map(|sample| &*sample.name).collect();
    let labels_end = n * size_of::<i64>();
    let features_end = labels_end + n * width * size_of::<f32>();
    let document = json!({
        "__metadata__": {
            "paths": serde_json::to_string(&paths)?,
            "classes": serde_json::to_string(&dataset.classes)?,
        },
        "labels": { "dtype": "I64", "shape": [n], "data_offsets": [0, labels_end] },
        "features": { "dtype": "F32", "shape": [n, width], "data_offsets": [labels_end, features_end] },
    });
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
