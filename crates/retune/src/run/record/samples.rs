//! `samples/`: features and thumbnails of some of a run's images.

use std::io;
use std::path::Path;

use half::f16;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::heat_maps::HeatMaps;
use super::tiles::{Sheet, columns};
use super::{
    FEATURES_FILE, HARDEST_FILE, HARDEST_SIDE, LabelPredictions, Predictions, SAMPLES_FOLDER, THUMBNAILS_FILE,
};
use crate::files::{self, FileError};
use crate::inference::Features;

/// Thumbnails of a run's images.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// Those of the images with a [`sample`](super::Prediction::sample), at that place.
    pub thumbnails: Option<Sheet>,
    /// Those of every set's images of highest loss, in the order of [`Predictions::hardest`], set after set.
    pub hardest: Option<Sheet>,
    /// What the model looked at in the images of highest loss, in the same order.
    pub heat_maps: Option<HeatMaps>,
}

impl Samples {
    /// Reads a run's thumbnails; what it lacks is left out.
    ///
    /// # Errors
    /// A file that cannot be read or is no picture.
    pub fn read(run: &Path, predictions: &Predictions) -> Result<Self, FileError> {
        let kept = predictions.rows.iter().filter(|row| row.sample.is_some()).count();
        let hardest = (0..predictions.sets.len()).map(|set| predictions.hardest(set).len()).sum();
        Self::read_files(run, kept, hardest)
    }

    /// The same of a run on images with several labels.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_of_labels(run: &Path, predictions: &LabelPredictions) -> Result<Self, FileError> {
        let hardest = (0..predictions.sets.len()).map(|set| predictions.hardest(set).len()).sum();
        Self::read_files(run, predictions.sampled().len(), hardest)
    }

    fn read_files(run: &Path, kept: usize, hardest: usize) -> Result<Self, FileError> {
        let folder = run.join(SAMPLES_FOLDER);
        Ok(Self {
            thumbnails: read_sheet(&folder.join(THUMBNAILS_FILE), kept, None)?,
            hardest: read_sheet(&folder.join(HARDEST_FILE), hardest, Some(HARDEST_SIDE))?,
            heat_maps: HeatMaps::read(run, hardest)?,
        })
    }
}

fn read_sheet(path: &Path, count: usize, side: Option<u32>) -> Result<Option<Sheet>, FileError> {
    if count == 0 || !path.is_file() {
        return Ok(None);
    }
    let jpeg = files::read(path)?;
    let invalid = |reason: String| FileError::new("understand", path, io::Error::other(reason));
    let size = image::ImageReader::new(io::Cursor::new(&jpeg)).with_guessed_format();
    let (width, height) = size
        .map_err(|error| invalid(error.to_string()))?
        .into_dimensions()
        .map_err(|error| invalid(error.to_string()))?;
    let columns = columns(count);
    let found = width / columns as u32;
    let fits = found > 0
        && width == found * columns as u32
        && height == found * count.div_ceil(columns) as u32
        && side.is_none_or(|side| side == found);
    if !fits {
        return Err(invalid(format!("{width}×{height} pixels are no grid of {count} thumbnails")));
    }
    Ok(Some(Sheet { jpeg, side: found, columns }))
}

/// Writes the features, `width` of each image.
pub(super) fn write_features(folder: &Path, values: &[f16], width: usize) -> Result<(), FileError> {
    let path = folder.join(FEATURES_FILE);
    let bytes = values.iter().map(|value| value.to_le_bytes()).collect::<Vec<_>>().into_flattened();
    let shape = vec![values.len() / width.max(1), width];
    let invalid = |error: safetensors::SafeTensorError| FileError::new("write", &path, io::Error::other(error));
    let view = TensorView::new(Dtype::F16, shape, &bytes).map_err(invalid)?;
    let file = safetensors::serialize([("features", view)], None).map_err(invalid)?;
    files::write_atomically(&path, |out| out.write_all(&file))
}

/// Reads the features of a run's samples; `None` of a run that has none.
///
/// # Errors
/// A file that cannot be read or does not hold float16 features.
pub fn read_features(run: &Path) -> Result<Option<Features>, FileError> {
    let path = run.join(SAMPLES_FOLDER).join(FEATURES_FILE);
    if !path.is_file() {
        return Ok(None);
    }
    let bytes = files::read(&path)?;
    let invalid = |reason: String| FileError::new("understand", &path, io::Error::other(reason));
    let tensors = SafeTensors::deserialize(&bytes).map_err(|error| invalid(error.to_string()))?;
    let tensor = tensors.tensor("features").map_err(|error| invalid(error.to_string()))?;
    let (Dtype::F16, &[_, width]) = (tensor.dtype(), tensor.shape()) else {
        return Err(invalid("its features are no float16 matrix".into()));
    };
    let (pairs, _) = tensor.data().as_chunks::<2>();
    let values = pairs.iter().map(|&pair| f16::from_le_bytes(pair).to_f32()).collect();
    Ok(Some(Features { values, width }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_survive_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let samples = folder.path().join(SAMPLES_FOLDER);
        std::fs::create_dir(&samples).unwrap();
        let values = [0.0, -1.5, 3.25, 65504.0, 1e-3, 7.0].map(f16::from_f32);
        write_features(&samples, &values, 3).unwrap();
        let read = read_features(folder.path()).unwrap().unwrap();
        assert_eq!((read.width, read.values), (3, values.map(f16::to_f32).to_vec()));
        assert!(read_features(&samples).unwrap().is_none());

        std::fs::write(samples.join(FEATURES_FILE), b"nothing").unwrap();
        assert!(read_features(folder.path()).unwrap_err().to_string().contains("cannot understand"));
    }
}
