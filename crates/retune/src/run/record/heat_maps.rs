//! `samples/heat_maps.safetensors`: what a model looked at in the images of highest loss.

use std::io;
use std::path::{Path, PathBuf};

use half::f16;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{HEAT_MAPS_FILE, SAMPLES_FOLDER};
use crate::files::{self, FileError};
use crate::inference::GradCam;
use crate::wording::counted;

/// Grad-CAM of some images, each map scaled to 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeatMaps {
    /// What speaks for the most likely class of each image.
    pub predicted: Vec<GradCam>,
    /// What speaks for the class of each image.
    pub label: Vec<GradCam>,
}

const NAMES: [&str; 2] = ["predicted", "label"];

impl HeatMaps {
    /// The maps of these images, then those of others.
    #[must_use]
    pub(super) fn followed_by(mut self, other: Self) -> Self {
        self.predicted.extend(other.predicted);
        self.label.extend(other.label);
        self
    }

    fn path(run: &Path) -> PathBuf {
        run.join(SAMPLES_FOLDER).join(HEAT_MAPS_FILE)
    }

    /// Writes the maps into a run directory, if there are any.
    pub(super) fn write(&self, run: &Path) -> Result<(), FileError> {
        let Some(GradCam { height, width, .. }) = self.predicted.first() else { return Ok(()) };
        let path = Self::path(run);
        let invalid = |error: safetensors::SafeTensorError| FileError::new("write", &path, io::Error::other(error));
        let bytes = |maps: &[GradCam]| -> Vec<u8> {
            let values = maps.iter().flat_map(|map| &map.values);
            values.flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect()
        };
        let bytes = [&self.predicted, &self.label].map(|maps| bytes(maps));
        let shape = vec![self.predicted.len(), *height, *width];
        let view = |bytes| TensorView::new(Dtype::F16, shape.clone(), bytes).map_err(invalid);
        let views = [view(&bytes[0])?, view(&bytes[1])?];
        let file = safetensors::serialize(NAMES.into_iter().zip(views), None).map_err(invalid)?;
        files::write_atomically(&path, |out| out.write_all(&file))
    }

    /// Reads the maps of a run's `count` images of highest loss; `None` of a run that has none, as older ones.
    ///
    /// # Errors
    /// A file that cannot be read or holds other maps.
    pub(super) fn read(run: &Path, count: usize) -> Result<Option<Self>, FileError> {
        let path = Self::path(run);
        if !path.is_file() {
            return Ok(None);
        }
        let bytes = files::read(&path)?;
        let invalid = |reason: String| FileError::new("understand", &path, io::Error::other(reason));
        let tensors = SafeTensors::deserialize(&bytes).map_err(|error| invalid(error.to_string()))?;
        let maps = |name: &str| {
            let tensor = tensors.tensor(name).map_err(|error| invalid(error.to_string()))?;
            match (tensor.dtype(), tensor.shape()) {
                (Dtype::F16, &[n, height, width]) if n == count && height * width > 0 => {
                    Ok(maps_of(tensor.data(), height, width))
                }
                _ => Err(invalid(format!("'{name}' does not hold float16 maps of {}", counted(count, "image")))),
            }
        };
        Ok(Some(Self { predicted: maps(NAMES[0])?, label: maps(NAMES[1])? }))
    }
}

fn maps_of(bytes: &[u8], height: usize, width: usize) -> Vec<GradCam> {
    let (pairs, _) = bytes.as_chunks::<2>();
    let values = |pairs: &[[u8; 2]]| pairs.iter().map(|&pair| f16::from_le_bytes(pair).to_f32()).collect();
    pairs.chunks_exact(height * width).map(|pairs| GradCam { height, width, values: values(pairs) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_survive_the_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(SAMPLES_FOLDER)).unwrap();
        // Powers of two, which float16 holds as they are.
        let map = |values: [f32; 2]| GradCam { height: 2, width: 1, values: values.to_vec() };
        let first = HeatMaps { predicted: vec![map([1.0, 0.5])], label: vec![map([0.0, 0.0])] };
        let maps = first.followed_by(HeatMaps { predicted: vec![map([0.25, 1.0])], label: vec![map([1.0, 0.125])] });
        maps.write(folder.path()).unwrap();
        assert_eq!(HeatMaps::read(folder.path(), 2).unwrap().unwrap(), maps);
        let error = HeatMaps::read(folder.path(), 3).unwrap_err().to_string();
        assert!(error.contains("'predicted' does not hold float16 maps of 3 images"), "{error}");
        assert_eq!(HeatMaps::read(&folder.path().join("absent"), 2).unwrap(), None);
    }
}
