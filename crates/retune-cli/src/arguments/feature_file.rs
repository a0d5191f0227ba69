//! Feature files of labeled images, some of which tell the classes of others.

use std::path::Path;

use retune::features::{self, FeatureTable};
use retune::wording::counted;

use crate::failure::Failure;

/// A label beyond is no number of a class.
const MAX_CLASSES: usize = 1_000_000;

/// The features of the images that a command learns classes from.
pub struct TrainingFeatures {
    /// What the file holds.
    pub table: FeatureTable,
    /// The class of each image.
    pub labels: Vec<usize>,
    /// Number of classes.
    pub classes: usize,
}

impl TrainingFeatures {
    /// Reads the file of `--train`.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let table = features::read(path)?;
        let labels = labels(&table).ok_or_else(|| Failure::in_file(path, "its images need labels to learn from"))?;
        let classes = labels.iter().max().map_or(0, |most| most.saturating_add(1)).max(table.classes.len());
        if classes > MAX_CLASSES {
            let reason = format!("it has labels up to {}, and no names of classes", classes - 1);
            return Err(Failure::in_file(path, reason));
        }
        Ok(Self { table, labels, classes })
    }

    /// Reads a file of the same features, with labels as `--train` numbers its classes: by name, or by number where either
    /// file has no names.
    pub fn read_alike(&self, path: &Path) -> Result<(FeatureTable, Vec<usize>), Failure> {
        let table = features::read(path)?;
        if table.width != self.table.width {
            let reason =
                format!("its images have {}, those of --train {}", counted(table.width, "feature"), self.table.width);
            return Err(Failure::in_file(path, reason));
        }
        let labels = self.known_labels(&table).map_err(|reason| Failure::in_file(path, reason))?;
        Ok((table, labels))
    }

    fn known_labels(&self, table: &FeatureTable) -> Result<Vec<usize>, String> {
        let labels = labels(table).ok_or("its images need labels to be judged")?;
        let known = &self.table.classes;
        if table.classes.is_empty() || known.is_empty() {
            let unknown = labels.iter().find(|&&label| label >= self.classes);
            return unknown
                .map_or(Ok(labels.clone()), |label| Err(format!("no image of --train has the label {label}")));
        }
        let position = |name: &String| known.iter().position(|class| class == name);
        let positions: Vec<Option<usize>> = table.classes.iter().map(position).collect();
        let number = |label: usize| {
            positions[label].ok_or_else(|| format!("'{}' is none of the classes of --train", table.classes[label]))
        };
        labels.into_iter().map(number).collect()
    }

    /// The names of the classes; their numbers where the file names none.
    pub fn class_names(&self) -> Vec<String> {
        match self.table.classes.is_empty() {
            true => (0..self.classes).map(|class| class.to_string()).collect(),
            false => self.table.classes.clone(),
        }
    }
}

/// The labels, if every image has one.
fn labels(table: &FeatureTable) -> Option<Vec<usize>> {
    table.labels.iter().copied().collect::<Option<Vec<usize>>>().filter(|labels| !labels.is_empty())
}
