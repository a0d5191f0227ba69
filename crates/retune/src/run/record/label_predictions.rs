//! `label_predictions.csv`: what a model said of each label of each image, of a run on images with several labels.

use std::path::Path;

use super::HARDEST;
use super::kept::Share;
use crate::files::{self, FileError};
use crate::inference;

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
    /// What a model says by its logits, and the `labels` (ascending positions) that the image has.
    pub fn of(path: String, labels: &[usize], logits: &[f32], thresholds: &[f64]) -> Self {
        let probabilities: Vec<f64> = logits.iter().map(|&logit| inference::sigmoid(logit)).collect();
        Self {
            path,
            has: (0..logits.len()).map(|label| labels.binary_search(&label).is_ok()).collect(),
            predicted: probabilities.iter().zip(thresholds).map(|(found, least)| found >= least).collect(),
            probabilities,
        }
    }

    /// The binary cross-entropy of a label. A probability that rounds to 0 or 1 counts as the number next to it, so that
    /// every loss is finite.
    pub fn loss_of(&self, label: usize) -> f64 {
        let found = self.probabilities[label];
        match self.has[label] {
            true => -found.max(f64::MIN_POSITIVE).ln(),
            false => -(-found.min(1.0 - f64::EPSILON / 2.0)).ln_1p(),
        }
    }

    /// The sum of the labels' binary cross-entropies.
    pub fn loss(&self) -> f64 {
        (0..self.has.len()).map(|label| self.loss_of(label)).sum()
    }

    /// The names of the labels that it has, of all `labels`, with commas.
    pub fn listed(&self, labels: &[String]) -> String {
        let names: Vec<&str> = labels.iter().zip(&self.has).filter(|(_, has)| **has).map(|(name, _)| &**name).collect();
        names.join(", ")
    }

    /// Labels that it has and the model does not give it, the least probable first.
    pub fn missed(&self) -> Vec<usize> {
        let mut found = self.positions(|label| self.has[label] && !self.predicted[label]);
        found.sort_by(|&one, &other| self.probabilities[one].total_cmp(&self.probabilities[other]));
        found
    }

    /// Labels that the model gives it and it does not have, the most probable first.
    pub fn wrongly_given(&self) -> Vec<usize> {
        let mut found = self.positions(|label| self.predicted[label] && !self.has[label]);
        found.sort_by(|&one, &other| self.probabilities[other].total_cmp(&self.probabilities[one]));
        found
    }

    fn positions(&self, on: impl Fn(usize) -> bool) -> Vec<usize> {
        (0..self.has.len()).filter(|&label| on(label)).collect()
    }

    /// Whether the model is right about every label.
    pub fn is_right(&self) -> bool {
        self.has == self.predicted
    }

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

    /// The images whose features and thumbnails a run keeps, in their order: each with the position of its set.
    pub fn sampled(&self) -> Vec<(usize, &LabeledImage)> {
        let all = self.sets.iter().map(|(_, images)| images.len()).sum();
        let of_set = |(set, (_, images)): (usize, &'_ (String, Vec<LabeledImage>))| {
            let share = Share::of(images.len(), all);
            (0..images.len())
                .filter(move |&image| share.takes(image))
                .map(move |image| (set, image))
                .collect::<Vec<_>>()
        };
        let places = self.sets.iter().enumerate().flat_map(of_set);
        places.map(|(set, image)| (set, &self.sets[set].1[image])).collect()
    }

    /// A set's images of highest loss, the highest first and of equal ones the first.
    pub fn hardest(&self, set: usize) -> Vec<&LabeledImage> {
        let Some((_, images)) = self.sets.get(set) else { return Vec::new() };
        let mut losses: Vec<(f64, &LabeledImage)> = images.iter().map(|image| (image.loss(), image)).collect();
        losses.sort_by(|one, other| other.0.total_cmp(&one.0));
        losses.truncate(HARDEST);
        losses.into_iter().map(|(_, image)| image).collect()
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
    fn losses_are_binary_cross_entropies_and_finite() {
        let image = LabeledImage::of("a".into(), &[0, 2], &[1.0, -2.0, -0.5], &[0.5, 0.5, 0.3]);
        assert_eq!((&image.has[..], &image.predicted[..]), (&[true, false, true][..], &[true, false, true][..]));
        // ln(1 + e^−x) where the image has the label, ln(1 + eˣ) where it does not.
        let expected = [(-1.0f64).exp(), (-2.0f64).exp(), 0.5f64.exp()].map(f64::ln_1p);
        assert!((0..3).all(|label| (image.loss_of(label) - expected[label]).abs() < 1e-12));
        assert!((image.loss() - expected.iter().sum::<f64>()).abs() < 1e-12 && image.is_right());
        let sure = LabeledImage::of("b".into(), &[0], &[-800.0, 800.0], &[0.5, 0.5]);
        assert!(sure.loss().is_finite() && sure.loss_of(0) > 700.0 && sure.loss_of(1) > 36.0, "{}", sure.loss());
    }

    #[test]
    fn the_hardest_come_first_and_few_images_are_all_sampled() {
        let image = |logit: f32| LabeledImage::of(logit.to_string(), &[0], &[logit], &[0.5]);
        let images = |logits: &[f32]| logits.iter().map(|&logit| image(logit)).collect::<Vec<_>>();
        let sets = vec![("val".to_owned(), images(&[3.0, -1.0, 0.0])), ("test".to_owned(), images(&[2.0]))];
        let predictions = LabelPredictions { labels: vec!["a".into()], sets };
        let paths: Vec<&str> = predictions.hardest(0).iter().map(|image| image.path.as_str()).collect();
        assert_eq!(paths, ["-1", "0", "3"]);
        let sampled: Vec<(usize, &str)> =
            predictions.sampled().iter().map(|(set, image)| (*set, image.path.as_str())).collect();
        assert_eq!(sampled, [(0, "3"), (0, "-1"), (0, "0"), (1, "2")]);
        assert!(predictions.hardest(2).is_empty());
    }

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
