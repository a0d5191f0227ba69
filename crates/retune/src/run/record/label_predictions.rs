//! `label_predictions.csv`: what a model said of each label of each image, of a run on images with several labels.

use std::path::Path;

use crate::files::{self, FileError};
use crate::inference;
use crate::sources::{Dataset, LabelSets};

/// The file, in a run directory.
pub const LABEL_PREDICTIONS_FILE: &str = "label_predictions.csv";
/// The columns before those of the labels.
const COLUMNS: [&str; 4] = ["set", "path", "labels", "predicted"];

/// What a model said of the labels of the images of several sets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabelPredictions {
    /// The labels.
    pub labels: Vec<String>,
    /// Each set with its images, in the order of the summary.
    pub sets: Vec<(String, Vec<LabeledImage>)>,
}

/// What a model said of the labels of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct LabeledImage {
    /// Its path within the set's data.
    pub path: String,
    /// Whether it has each label.
    pub has: Vec<bool>,
    /// Whether the model says so, by the labels' thresholds.
    pub predicted: Vec<bool>,
    /// The probability of each label, 0 to 1.
    pub probabilities: Vec<f64>,
}

impl LabeledImage {
    /// The logits of the probabilities, which tell apart those near 1 that single precision does not.
    pub fn logits(&self) -> impl Iterator<Item = f32> + '_ {
        self.probabilities.iter().map(|&probability| (probability.ln() - (-probability).ln_1p()) as f32)
    }
}

impl LabelPredictions {
    /// Without any set.
    pub fn new(labels: Vec<String>) -> Self {
        Self { labels, sets: Vec::new() }
    }

    /// The images of a set.
    pub fn of_set(&self, name: &str) -> Option<&[LabeledImage]> {
        self.sets.iter().find(|(set, _)| set == name).map(|(_, images)| images.as_slice())
    }

    /// Adds a set by the logits of its images, row-major, in the order of the dataset.
    pub fn add(&mut self, name: &str, dataset: &Dataset, logits: &[f32], sets: &LabelSets, thresholds: &[f64]) {
        let rows = logits.chunks_exact(self.labels.len().max(1)).zip(&dataset.samples);
        let image = |(row, sample): (&[f32], &crate::sources::Sample)| {
            let probabilities: Vec<f64> = row.iter().map(|&logit| inference::sigmoid(logit)).collect();
            let own = sample.label.map_or(&[][..], |class| sets.of_class(class));
            LabeledImage {
                path: sample.name.to_string(),
                has: (0..row.len()).map(|label| own.binary_search(&label).is_ok()).collect(),
                predicted: probabilities.iter().zip(thresholds).map(|(found, least)| found >= least).collect(),
                probabilities,
            }
        };
        self.sets.push((name.to_owned(), rows.map(image).collect()));
    }

    /// The labels that are on, as a JSON list, since a label may hold any character.
    fn listed(&self, on: &[bool]) -> String {
        let names: Vec<&String> = self.labels.iter().zip(on).filter(|(_, on)| **on).map(|(name, _)| name).collect();
        serde_json::to_string(&names).unwrap_or_default()
    }

    /// Writes the file into a run directory: a row for each image, with the probability of each label in a column of its
    /// own.
    ///
    /// # Errors
    /// Names the path and the reason.
    pub fn write(&self, run: &Path) -> Result<(), FileError> {
        files::write_atomically(&run.join(LABEL_PREDICTIONS_FILE), |file| {
            let mut writer = csv::Writer::from_writer(file);
            let header = COLUMNS.map(str::to_owned).into_iter().chain(self.labels.iter().cloned());
            writer.write_record(header).map_err(std::io::Error::other)?;
            for (set, images) in &self.sets {
                for image in images {
                    let own = [set.clone(), image.path.clone(), self.listed(&image.has), self.listed(&image.predicted)];
                    let probabilities = image.probabilities.iter().map(f64::to_string);
                    writer.write_record(own.into_iter().chain(probabilities)).map_err(std::io::Error::other)?;
                }
            }
            writer.flush()
        })
    }

    /// Reads the file of a run directory; `None` of a run that has none.
    ///
    /// # Errors
    /// A file that cannot be read or understood.
    pub fn read(run: &Path) -> Result<Option<Self>, FileError> {
        let path = run.join(LABEL_PREDICTIONS_FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let invalid = |reason: String| FileError::new("understand", &path, std::io::Error::other(reason));
        let text = files::read_text(&path)?;
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let header = reader.headers().map_err(|error| invalid(error.to_string()))?;
        if !header.iter().take(COLUMNS.len()).eq(COLUMNS) {
            return Err(invalid(format!("its columns do not begin with {}", COLUMNS.join(", "))));
        }
        let mut found = Self::new(header.iter().skip(COLUMNS.len()).map(str::to_owned).collect());
        for row in reader.records() {
            let row = row.map_err(|error| invalid(error.to_string()))?;
            let on = |column: usize| -> Result<Vec<bool>, FileError> {
                let names: Vec<String> =
                    serde_json::from_str(&row[column]).map_err(|error| invalid(error.to_string()))?;
                Ok(found.labels.iter().map(|label| names.contains(label)).collect())
            };
            let number = |text: &str| text.parse().map_err(|_| invalid(format!("'{text}' is no probability")));
            let image = LabeledImage {
                path: row[1].to_owned(),
                has: on(2)?,
                predicted: on(3)?,
                probabilities: row.iter().skip(COLUMNS.len()).map(number).collect::<Result<_, _>>()?,
            };
            match found.sets.last_mut() {
                Some((set, images)) if *set == row[0] => images.push(image),
                _ => found.sets.push((row[0].to_owned(), vec![image])),
            }
        }
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_label_survives_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let labels = ["a|b".to_owned(), "pet, \"small\"".to_owned(), "set".to_owned()];
        let image = |path: &str, has: [bool; 3]| LabeledImage {
            path: path.into(),
            has: has.to_vec(),
            predicted: vec![true, false, has[0]],
            probabilities: vec![0.1 + 0.2, 1.0 / 3.0, 1e-300],
        };
        let mut written = LabelPredictions::new(labels.to_vec());
        written.sets.push(("val".into(), vec![image("x,y.png", [true, true, false]), image("z", [false; 3])]));
        written.sets.push(("test".into(), vec![image("x,y.png", [false, false, true])]));
        written.write(folder.path()).unwrap();
        assert_eq!(LabelPredictions::read(folder.path()).unwrap().unwrap(), written);
        assert_eq!(LabelPredictions::read(&folder.path().join("absent")).unwrap(), None);
        std::fs::write(folder.path().join(LABEL_PREDICTIONS_FILE), "set,path\n").unwrap();
        let error = LabelPredictions::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("do not begin with set, path, labels, predicted"), "{error}");
    }
}
