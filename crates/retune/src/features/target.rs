//! A feature file under way, in any format.

use std::fs::File;
use std::io;

use super::FeatureFormat;
use super::npz::NpzFile;
use super::parquet::ParquetFeatures;
use super::safetensors::SafetensorsFile;
use crate::sources::Dataset;

/// A file that takes rows in their order.
pub(super) enum Target<'a> {
    Npz(Box<NpzFile<'a>>),
    Safetensors(SafetensorsFile<'a>),
    Parquet(Box<ParquetFeatures<'a>>),
}

impl<'a> Target<'a> {
    pub fn new(format: FeatureFormat, file: &'a File, dataset: &'a Dataset) -> io::Result<Self> {
        Ok(match format {
            FeatureFormat::Npz => Self::Npz(Box::new(NpzFile::new(file, dataset))),
            FeatureFormat::Safetensors => Self::Safetensors(SafetensorsFile::new(file, dataset)),
            FeatureFormat::Parquet => Self::Parquet(Box::new(ParquetFeatures::new(file, dataset)?)),
        })
    }

    /// Adds rows of `width` values each.
    pub fn append(&mut self, rows: &[f32], width: usize) -> io::Result<()> {
        match self {
            Self::Npz(file) => file.append(rows, width),
            Self::Safetensors(file) => file.append(rows, width),
            Self::Parquet(file) => file.append(rows, width),
        }
    }

    pub fn finish(self) -> io::Result<()> {
        match self {
            Self::Npz(file) => file.finish(),
            Self::Safetensors(file) => file.finish(),
            Self::Parquet(file) => file.finish(),
        }
    }
}
