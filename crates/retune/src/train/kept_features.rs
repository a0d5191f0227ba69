//! What the head sees of every image, kept for a linear probe.

use std::fs::File;

use super::TrainError;
use super::probe::{FeatureMatrix, ProbeError};
use crate::collective::Processes;
use crate::files;
use crate::inference::{self, InferenceError, Layer};
use crate::loading::Loader;
use crate::models::Model;
use crate::monitor::Monitor;
use crate::sources::positional::{read_exact_at, write_all_at};

/// The pooled features of a dataset: in memory up to a limit, past it in a temporary file without a name. Of several processes,
/// each keeps those of its own images.
pub(super) struct KeptFeatures {
    storage: Storage,
    width: usize,
    /// Images of all processes.
    images: usize,
    processes: Processes,
}

enum Storage {
    Memory(Vec<f32>),
    /// Little-endian, from the file's start.
    File {
        file: File,
        /// Bytes so far.
        written: u64,
        /// Values that there will be.
        expected: usize,
    },
}

impl KeptFeatures {
    /// Computes the features of every image. Those that take more than `memory_bytes` go to a file, unless there is no
    /// room for one.
    ///
    /// # Errors
    /// As [`inference::for_each_batch_of`]; a model without a classifier.
    pub fn extract(
        model: &Model,
        loader: &Loader,
        memory_bytes: u64,
        task: &str,
        monitor: &dyn Monitor,
    ) -> Result<Self, TrainError> {
        let (weight, _) = model.head_parameters().ok_or(InferenceError::NoClassifier)?;
        let width = model.network().specs[weight].len() / model.config().num_classes().max(1);
        let (images, processes) = (loader.dataset().len(), loader.options().processes.clone());
        let own = FeatureMatrix::rows_held_by(&processes, images, width);
        let storage = Storage::new(own.len() * width, memory_bytes);
        let mut kept = Self { storage, width, images, processes };
        inference::for_each_batch_of(model, loader, Layer::Pooled, own, (task, monitor), |rows| {
            if kept.storage.append(rows)? == Moved::ToMemory {
                monitor.message("no room on the disk for the features: keeping them in memory");
            }
            Ok::<_, TrainError>(())
        })?;
        Ok(kept)
    }

    /// The features, one row an image.
    ///
    /// # Errors
    /// [`ProbeError`] if there are none, or their file cannot be asked for its length.
    pub fn matrix(&self) -> Result<FeatureMatrix<'_>, ProbeError> {
        let own = match &self.storage {
            Storage::Memory(values) => FeatureMatrix::new(values, self.width),
            Storage::File { file, .. } => FeatureMatrix::in_file(file, self.width),
        };
        own?.of_all(self.images, &self.processes)
    }

    /// Memory that the features take.
    pub fn memory_bytes(&self) -> u64 {
        match &self.storage {
            Storage::Memory(values) => size_of_val(values.as_slice()) as u64,
            Storage::File { .. } => 0,
        }
    }
}

#[derive(PartialEq)]
enum Moved {
    Nowhere,
    ToMemory,
}

impl Storage {
    fn new(values: usize, memory_bytes: u64) -> Self {
        if (values * size_of::<f32>()) as u64 > memory_bytes
            && let Ok(file) = tempfile::tempfile()
        {
            return Self::File { file, written: 0, expected: values };
        }
        Self::Memory(Vec::with_capacity(values))
    }

    fn append(&mut self, rows: Vec<f32>) -> Result<Moved, ProbeError> {
        let (file, written, expected) = match self {
            Self::Memory(values) => {
                values.extend(rows);
                return Ok(Moved::Nowhere);
            }
            Self::File { file, written, expected } => (file, written, *expected),
        };
        let bytes = files::little_endian(&rows);
        if write_all_at(file, &bytes, *written).is_ok() {
            *written += bytes.len() as u64;
            return Ok(Moved::Nowhere);
        }
        let mut values = Vec::new();
        if values.try_reserve_exact(expected).is_err() {
            let reason = "neither the disk for temporary files nor memory has room for the features".to_owned();
            return Err(ProbeError::Unreadable { reason });
        }
        read_back(file, *written, &mut values)?;
        values.extend(rows);
        *self = Self::Memory(values);
        Ok(Moved::ToMemory)
    }
}

fn read_back(file: &File, written: u64, values: &mut Vec<f32>) -> Result<(), ProbeError> {
    const CHUNK: usize = 1 << 20;
    let mut bytes = vec![0; CHUNK];
    for start in (0..written).step_by(CHUNK) {
        let bytes = &mut bytes[..CHUNK.min((written - start) as usize)];
        read_exact_at(file, bytes, start).map_err(|error| ProbeError::Unreadable { reason: error.to_string() })?;
        values.extend(files::from_little_endian(bytes));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(storage: Storage, values: usize) -> Vec<f32> {
        let kept = KeptFeatures { storage, width: 3, images: values / 3, processes: Processes::default() };
        let mut all = Vec::new();
        kept.matrix().unwrap().for_each_rows(|values| all.extend_from_slice(values)).unwrap();
        all
    }

    #[test]
    fn features_are_the_same_in_memory_and_in_a_file() {
        let rows: Vec<f32> = (0..300_000).map(|value| value as f32 / 7.0).collect();
        for memory_bytes in [0, u64::MAX] {
            let mut storage = Storage::new(rows.len(), memory_bytes);
            assert_eq!(matches!(storage, Storage::File { .. }), memory_bytes == 0);
            for rows in rows.chunks(999) {
                assert!(storage.append(rows.to_vec()).unwrap() == Moved::Nowhere);
            }
            assert_eq!(values(storage, rows.len()), rows);
        }
    }

    #[test]
    fn a_disk_without_room_hands_the_features_to_memory() {
        let written = tempfile::NamedTempFile::new().unwrap();
        write_all_at(written.as_file(), &[1.0_f32, 2.0, 3.0].map(f32::to_le_bytes).concat(), 0).unwrap();
        // A handle that cannot write stands for a disk that is full.
        let mut storage = Storage::File { file: File::open(written.path()).unwrap(), written: 12, expected: 9 };
        assert!(storage.append(vec![4.0, 5.0, 6.0]).unwrap() == Moved::ToMemory);
        assert!(storage.append(vec![7.0, 8.0, 9.0]).unwrap() == Moved::Nowhere);
        assert_eq!(values(storage, 9), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]);
    }
}
