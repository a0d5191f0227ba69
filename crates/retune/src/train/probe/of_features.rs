//! A linear probe of features that were extracted before: `fit --method lp` without the model.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use safetensors::tensor::{Dtype, TensorView};

use super::{FeatureMatrix, Probe, ProbeOptions, logits};
use crate::features::FeatureTable;
use crate::files::{self, FileError};
use crate::inference::{Evaluation, evaluate_labeled_rows};
use crate::monitor::Monitor;
use crate::sources::{ImageSource, Sample, SplitFractions, stratified_split};
use crate::train::TrainError;
use crate::train::run::fit_probe;

/// Features with the class of each row.
#[derive(Clone, Debug, PartialEq)]
pub struct LabeledFeatures {
    /// Row-major, a row for each label.
    pub features: Vec<f32>,
    /// Values in each row.
    pub width: usize,
    /// The class of each row.
    pub labels: Vec<usize>,
}

impl LabeledFeatures {
    /// Holds out a fraction of each class for validation, the images that a fit on them would hold out: which these are
    /// depends on the seed and the images' paths, or on their numbers where `table` names no paths. The rest comes first.
    ///
    /// # Errors
    /// A fraction that is none.
    pub fn held_out(self, table: &FeatureTable, fraction: f64, seed: u64) -> Result<(Self, Self), TrainError> {
        let sample = |(row, &label): (usize, &usize)| {
            let name = table.paths.get(row).cloned().unwrap_or_else(|| row.to_string());
            let image = ImageSource::File(Path::new(&name).into());
            Sample { image, label: Some(label), group: None, name: Arc::from(name) }
        };
        let samples: Vec<Sample> = self.labels.iter().enumerate().map(sample).collect();
        let fractions = SplitFractions { validation: fraction, test: 0.0 };
        let split = stratified_split(&samples, fractions, seed)?;
        Ok((self.rows(&split.train), self.rows(&split.validation)))
    }

    fn rows(&self, rows: &[usize]) -> Self {
        let features = rows.iter().flat_map(|row| &self.features[row * self.width..(row + 1) * self.width]);
        Self {
            features: features.copied().collect(),
            width: self.width,
            labels: rows.iter().map(|&row| self.labels[row]).collect(),
        }
    }

    fn matrix(&self) -> Result<FeatureMatrix<'_>, TrainError> {
        Ok(FeatureMatrix::new(&self.features, self.width)?)
    }
}

impl Probe {
    /// Fits a probe to features and chooses its penalty on others, as the method `lp` does.
    ///
    /// # Errors
    /// Sets that do not fit together; an interruption.
    pub fn of_features(
        train: &LabeledFeatures,
        validation: &LabeledFeatures,
        classes: usize,
        options: &ProbeOptions,
        monitor: &dyn Monitor,
    ) -> Result<Self, TrainError> {
        let train = (train.matrix()?, &train.labels[..]);
        let validation = (validation.matrix()?, &validation.labels[..]);
        fit_probe("linear probe", train, validation, classes, options, monitor)
    }

    /// How good the probe is on features.
    pub fn evaluation(&self, of: &LabeledFeatures) -> Evaluation {
        evaluate_labeled_rows(&logits(&of.features, &self.weight, &self.bias), self.bias.len(), &of.labels)
    }

    /// Writes the head as `.safetensors`: `weight`, a row for each class, and `bias`, as `torch.nn.Linear` names them. The
    /// metadata has the names of the `classes` as a JSON list.
    ///
    /// # Errors
    /// Names the path and the reason.
    pub fn save_head(&self, path: &Path, classes: &[String]) -> Result<(), FileError> {
        let failed = |reason: String| FileError::new("write", path, std::io::Error::other(reason));
        let width = self.weight.len() / self.bias.len().max(1);
        let (weight, bias) = (files::little_endian(&self.weight), files::little_endian(&self.bias));
        let view = |shape: Vec<usize>, bytes| {
            TensorView::new(Dtype::F32, shape, bytes).map_err(|error| failed(error.to_string()))
        };
        let tensors =
            [("weight", view(vec![self.bias.len(), width], &weight)?), ("bias", view(vec![self.bias.len()], &bias)?)];
        let names = serde_json::to_string(classes).map_err(|error| failed(error.to_string()))?;
        let metadata = HashMap::from([("classes".to_owned(), names)]);
        let bytes = safetensors::serialize(tensors, Some(metadata)).map_err(|error| failed(error.to_string()))?;
        files::write_atomically(path, |file| file.write_all(&bytes))
    }
}
