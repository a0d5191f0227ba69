//! `predictions.csv`: what a model said of each image.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{HARDEST, PREDICTIONS_FILE};
use crate::files::{self, FileError};

/// A row of `predictions.csv`.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The image's set, a position in [`Predictions::sets`].
    pub set: usize,
    /// Its path within the set's data.
    pub path: String,
    /// Its class, a position in the run's classes.
    pub label: usize,
    /// The most likely class, a position in the run's classes.
    pub predicted: usize,
    /// The probability of the most likely class, 0 to 1.
    pub probability: f64,
    /// The probability of the image's own class, 0 to 1.
    pub label_probability: f64,
    /// Cross-entropy.
    pub loss: f64,
    /// The row of the image's features, and the place of its thumbnail, where they are kept.
    pub sample: Option<usize>,
    /// Its group, where it has one.
    pub group: Option<String>,
}

/// What a model said of the images of several sets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Predictions {
    /// Names of the sets: `val`, then as in the summary.
    pub sets: Vec<String>,
    /// A row for each image, set after set.
    pub rows: Vec<Prediction>,
}

/// A row as the file has it, with names in the place of positions.
#[derive(Serialize, Deserialize)]
struct Row {
    set: String,
    path: String,
    label: String,
    predicted: String,
    probability: f64,
    label_probability: f64,
    loss: f64,
    sample: Option<usize>,
    /// A column of files with any groups; empty where an image has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
}

impl Predictions {
    /// The rows of a set, by its position.
    pub fn of_set(&self, set: usize) -> impl Iterator<Item = &Prediction> {
        self.rows.iter().filter(move |row| row.set == set)
    }

    /// Rows of a set's images of highest loss, the highest first and of equal ones the first.
    pub fn hardest(&self, set: usize) -> Vec<&Prediction> {
        let mut rows: Vec<&Prediction> = self.of_set(set).collect();
        rows.sort_by(|one, other| other.loss.total_cmp(&one.loss));
        rows.truncate(HARDEST);
        rows
    }

    /// Writes `predictions.csv` into a run directory.
    ///
    /// # Errors
    /// Names the path and the reason.
    pub(super) fn write(&self, run: &Path, classes: &[String]) -> Result<(), FileError> {
        files::write_atomically(&run.join(PREDICTIONS_FILE), |file| {
            let mut writer = csv::Writer::from_writer(file);
            let grouped = self.rows.iter().any(|row| row.group.is_some());
            for row in &self.rows {
                writer
                    .serialize(Row {
                        set: self.sets[row.set].clone(),
                        path: row.path.clone(),
                        label: classes[row.label].clone(),
                        predicted: classes[row.predicted].clone(),
                        probability: row.probability,
                        label_probability: row.label_probability,
                        loss: row.loss,
                        sample: row.sample,
                        group: grouped.then(|| row.group.clone().unwrap_or_default()),
                    })
                    .map_err(std::io::Error::other)?;
            }
            writer.flush()
        })
    }

    /// Reads `predictions.csv` of a run directory; `None` of a run that has none, as older ones.
    ///
    /// # Errors
    /// A file that cannot be read, or that names a class that is none of `classes`.
    pub fn read(run: &Path, classes: &[String]) -> Result<Option<Self>, FileError> {
        let path = run.join(PREDICTIONS_FILE);
        if !path.is_file() {
            return Ok(None);
        }
        let invalid = |reason: String| FileError::new("understand", &path, std::io::Error::other(reason));
        let text = files::read_text(&path)?;
        let positions: HashMap<&str, usize> =
            classes.iter().enumerate().map(|(position, class)| (class.as_str(), position)).collect();
        let position = |class: &str| {
            positions.get(class).copied().ok_or_else(|| invalid(format!("'{class}' is no class of the run")))
        };
        let mut predictions = Self::default();
        for row in csv::Reader::from_reader(text.as_bytes()).deserialize() {
            let row: Row = row.map_err(|error| invalid(error.to_string()))?;
            let set = predictions.sets.iter().rposition(|set| *set == row.set).unwrap_or_else(|| {
                predictions.sets.push(row.set.clone());
                predictions.sets.len() - 1
            });
            predictions.rows.push(Prediction {
                set,
                label: position(&row.label)?,
                predicted: position(&row.predicted)?,
                path: row.path,
                probability: row.probability,
                label_probability: row.label_probability,
                loss: row.loss,
                sample: row.sample,
                group: row.group.filter(|group| !group.is_empty()),
            });
        }
        Ok(Some(predictions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_survive_the_file_and_the_hardest_come_first() {
        let folder = tempfile::tempdir().unwrap();
        let classes = ["a,\"b\"".to_owned(), "</script>".to_owned()];
        let row = |set, loss, sample| Prediction {
            set,
            path: "a/ünï,code\n.png".into(),
            label: 0,
            predicted: 1,
            probability: 0.7,
            label_probability: 0.1 + 0.2,
            loss,
            sample,
            group: None,
        };
        let rows = vec![row(0, 0.5, Some(0)), row(0, 2.5, None), row(1, 1.0 / 3.0, Some(1))];
        let mut predictions = Predictions { sets: vec!["val".into(), "shifted".into()], rows };
        predictions.write(folder.path(), &classes).unwrap();
        assert_eq!(Predictions::read(folder.path(), &classes).unwrap().unwrap(), predictions);
        let header = |folder: &Path| files::read_text(&folder.join(PREDICTIONS_FILE)).unwrap();
        assert!(
            header(folder.path()).starts_with("set,path,label,predicted,probability,label_probability,loss,sample\n")
        );
        assert_eq!(predictions.hardest(0).iter().map(|row| row.loss).collect::<Vec<_>>(), [2.5, 0.5]);

        let error = Predictions::read(folder.path(), &classes[..1]).unwrap_err().to_string();
        assert!(error.contains("'</script>' is no class of the run"), "{error}");
        assert_eq!(Predictions::read(&folder.path().join("absent"), &classes).unwrap(), None);

        predictions.rows[1].group = Some("snow, fog".into());
        predictions.write(folder.path(), &classes).unwrap();
        assert_eq!(Predictions::read(folder.path(), &classes).unwrap().unwrap(), predictions);
        assert!(header(folder.path()).contains(",sample,group\n"));
    }
}
