//! Maps that new images are placed on: those that `retune umap` wrote, and those of runs.

use std::path::{Path, PathBuf};

use retune::analysis::knn::Neighbors;
use retune::analysis::umap::{Mapped, UmapError, UmapOptions, place};
use retune::features;
use retune::files;
use retune::report::findings::map::Placed;
use retune::run::record::{LabelPredictions, Predictions, SampleMap, read_features};
use retune::run::{self, FitError};
use retune::wording::counted;
use serde::Deserialize;

use crate::failure::Failure;

/// A map, and the features and names of its images.
pub struct KnownMap {
    /// What it is called in tables.
    pub name: String,
    pub features: Vec<f32>,
    pub width: usize,
    pub layout: Vec<[f32; 2]>,
    pub labels: Vec<Option<String>>,
    pub paths: Vec<String>,
}

/// An image of a map's file.
#[derive(Deserialize)]
struct Point {
    x: f32,
    y: f32,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    path: String,
}

impl KnownMap {
    /// The map of a run, or one in a file with the features that it was made of.
    pub fn read(map: &Path, features: &[PathBuf]) -> Result<Self, Failure> {
        let known = match (map.is_dir(), features.is_empty()) {
            (true, true) => Self::of_run(map),
            (true, false) => {
                Err(Failure::Mistake(format!("{} has features of its own; leave out --onto-features", map.display())))
            }
            (false, true) => Err(Failure::in_file(
                map,
                "a map does not hold features; name the files that it was made of with --onto-features",
            )),
            (false, false) => Self::of_file(map, features),
        }?;
        match known.layout.len() * known.width == known.features.len() && known.width > 0 {
            true => Ok(known),
            false => Err(Failure::in_file(map, "its places are not those of the features")),
        }
    }

    fn of_run(run: &Path) -> Result<Self, Failure> {
        run::read_options(run)?;
        let summary = run::finished(run)?.ok_or_else(|| FitError::Unfinished(run.to_owned()))?;
        let none = || {
            Failure::in_file(run, "the run has no map of its images; `retune report` makes one of ten images or more")
        };
        let layout = SampleMap::read(run)?.ok_or_else(none)?.points;
        let features = read_features(run)?.ok_or_else(none)?;
        let predictions = Predictions::read(run, &summary.classes)?.unwrap_or_default();
        let (mut labels, mut paths) = (vec![None; layout.len()], vec![String::new(); layout.len()]);
        for row in &predictions.rows {
            if let Some(sample) = row.sample.filter(|&sample| sample < layout.len()) {
                labels[sample] = summary.classes.get(row.label).cloned();
                paths[sample].clone_from(&row.path);
            }
        }
        // Labels that an image has together are no class, which neighbors could vote for.
        if let Some(predictions) = LabelPredictions::read(run)? {
            for ((_, image), path) in predictions.sampled().into_iter().zip(&mut paths) {
                path.clone_from(&image.path);
            }
        }
        let name = run.display().to_string();
        Ok(Self { name, features: features.values, width: features.width, layout, labels, paths })
    }

    fn of_file(map: &Path, feature_files: &[PathBuf]) -> Result<Self, Failure> {
        let points = read_points(map)?;
        let mut known = Self {
            name: map.display().to_string(),
            features: Vec::new(),
            width: 0,
            layout: points.iter().map(|point| [point.x, point.y]).collect(),
            labels: Vec::new(),
            paths: Vec::new(),
        };
        let mut paths = Vec::new();
        for path in feature_files {
            let table = features::read(path)?;
            if known.width > 0 && table.width != known.width {
                let reason =
                    format!("its images have {}, those before {}", counted(table.width, "feature"), known.width);
                return Err(Failure::in_file(path, reason));
            }
            known.width = table.width;
            paths.extend((0..table.len()).map(|row| table.paths.get(row).cloned().unwrap_or_default()));
            known.features.extend(table.features);
        }
        if points.len() != paths.len() {
            let reason = format!(
                "it has {}, and --onto-features {}; name the files that the map was made of",
                counted(points.len(), "image"),
                paths.len()
            );
            return Err(Failure::in_file(map, reason));
        }
        for (point, path) in points.into_iter().zip(&paths) {
            if point.path != *path {
                let reason = format!(
                    "its image {} is not {path}, as in --onto-features; name the files that the map was made of, in order",
                    point.path
                );
                return Err(Failure::in_file(map, reason));
            }
            known.labels.push(point.label.filter(|label| !label.is_empty()));
            known.paths.push(point.path);
        }
        Ok(known)
    }

    /// What new images have in common with those of the map, by the votes of the `neighbors` nearest (by cosine).
    /// `labels` and `predictions` are those of the new images; predictions may be missing.
    pub fn compared(
        &self,
        features: &[f32],
        labels: &[Option<String>],
        predictions: &[String],
        neighbors: usize,
    ) -> Placed {
        let mut classes: Vec<&String> = self.labels.iter().flatten().collect();
        classes.sort();
        classes.dedup();
        let class = |label: &Option<String>| classes.binary_search(&label.as_ref()?).ok();
        let (mut rows, mut voters) = (Vec::new(), Vec::new());
        for (row, label) in self.features.chunks_exact(self.width).zip(&self.labels) {
            if let Some(class) = class(label) {
                rows.extend_from_slice(row);
                voters.push(class);
            }
        }
        // At an infinite temperature, every vote counts the same.
        let votes = Neighbors::new(&rows, self.width, &voters).votes(features, classes.len(), neighbors, f64::INFINITY);
        let most = votes.chunks_exact(classes.len().max(1)).map(|votes| {
            // Of equal ones, the first.
            (0..votes.len()).rev().max_by(|&one, &other| votes[one].total_cmp(&votes[other]))
        });
        let voted = labels.iter().zip(most).filter(|(label, _)| label.is_some());
        let predicted = labels.iter().zip(predictions).filter(|(label, _)| label.is_some());
        let right = |(label, predicted): &(&Option<String>, &String)| label.as_ref() == Some(*predicted);
        Placed {
            images: labels.len(),
            known: self.layout.len(),
            map: self.name.clone(),
            predicted: (predicted.clone().filter(right).count(), predicted.count()),
            voted: (
                voted.clone().filter(|(label, most)| class(label).is_some() && class(label) == *most).count(),
                voted.count(),
            ),
            neighbors,
        }
    }

    /// The places of new images on it.
    pub fn place(&self, features: &[f32], width: usize, options: &UmapOptions) -> Result<Vec<[f32; 2]>, Failure> {
        if width != self.width {
            let reason = format!("its images have {}, the new ones {width}", counted(self.width, "feature"));
            return Err(Failure::in_file(Path::new(&self.name), reason));
        }
        let mapped = Mapped { features: &self.features, width, layout: &self.layout };
        place(mapped, features, options).map_err(|error| match error {
            UmapError::Places { .. } => Failure::in_file(Path::new(&self.name), error),
            other => Failure::Mistake(other.to_string()),
        })
    }
}

fn read_points(map: &Path) -> Result<Vec<Point>, Failure> {
    let text = files::read_text(map)?;
    let unfit = |reason: String| Failure::in_file(map, format!("this is no map that `retune umap` wrote: {reason}"));
    match map.extension().and_then(|extension| extension.to_str()) {
        Some("csv") => {
            let mut reader = csv::Reader::from_reader(text.as_bytes());
            reader.deserialize().map(|row| row.map_err(|error| unfit(error.to_string()))).collect()
        }
        Some("json") => {
            #[derive(Deserialize)]
            struct Document {
                points: Vec<Point>,
            }
            let document: Document = serde_json::from_str(&text).map_err(|error| unfit(error.to_string()))?;
            Ok(document.points)
        }
        _ => Err(unfit("it is neither .csv nor .json".to_owned())),
    }
}
