//! Pictures of one run.

use std::fmt;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use retune_pixels::decode::catching_panics;

use super::calibration::Calibration;
use super::confusion::Confusion;
use super::layer_rates::RateLines;
use super::names::visible;
use super::plot::{LogAxes, Plot, Series, confusion_map, heat_map, lines, point_map, table_map};
use crate::files::{self, FileError};
use crate::models::imagenet;
use crate::run::PLOTS_FOLDER;
use crate::run::record::{Predictions, SampleMap};
use crate::run::{CurvePoint, Summary};
use crate::train::metrics::{self, MetricsRow};

/// Most classes whose confusion matrix shows a number in every cell.
const MOST_WITH_NUMBERS: usize = 30;

/// A picture that could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingPicture {
    /// The file, or the folder of all that are missing.
    pub path: PathBuf,
    /// Why it is missing.
    pub reason: String,
}

impl fmt::Display for MissingPicture {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} is missing: {}", self.path.display(), self.reason)
    }
}

/// Pictures in a folder, made one after the other, and those that fail.
pub(crate) struct Pictures {
    folder: PathBuf,
    /// Those that failed.
    pub missing: Vec<MissingPicture>,
}

impl Pictures {
    /// None yet.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, missing: Vec::new() }
    }

    /// Draws a picture and saves it as `name.svg` and `name.png`. Whatever goes wrong, a panic of the drawing library
    /// too, leaves the other pictures alone.
    pub fn add(&mut self, name: &str, draw: impl FnOnce() -> Plot) {
        let made = catching_panics(|| draw().save_both(&self.folder, name));
        let reason = match made {
            Some(Ok(())) => return,
            Some(Err(error)) => error.to_string(),
            None => "the drawing library cannot cope with it".to_owned(),
        };
        self.missing.push(MissingPicture { path: self.folder.join(name), reason });
    }
}

/// Draws a finished run into its folder `plots/`: loss by epoch, the blocks' learning rates, the
/// multipliers of adaptive rates, confusion and calibration of every set, the map of the images, and the curve of an
/// interpolation; each where the run has it, as SVG and PNG. Says which of them could not be made: a run is none the
/// worse for that.
pub fn draw(run: &Path, summary: &Summary) -> Vec<MissingPicture> {
    let mut pictures = Pictures::new(run.join(PLOTS_FOLDER));
    if let Err(error) = draw_all(run, summary, &mut pictures) {
        pictures.missing.push(MissingPicture { path: run.join(PLOTS_FOLDER), reason: error.to_string() });
    }
    pictures.missing
}

fn draw_all(run: &Path, summary: &Summary, pictures: &mut Pictures) -> Result<(), FileError> {
    files::create_folder(&pictures.folder)?;
    if let Some(curve) = &summary.interpolation {
        pictures.add("interpolation", || interpolation(curve));
    }
    training(run, summary, pictures)?;
    images(run, summary, pictures)
}

/// The course of training.
fn training(run: &Path, summary: &Summary, pictures: &mut Pictures) -> Result<(), FileError> {
    let rows = metrics::read(&run.join("metrics.jsonl"))?;
    for (number, outcome) in summary.phases.iter().enumerate() {
        let Some(rate) = outcome.learning_rate.or(outcome.soup.as_ref().and_then(|rates| rates.first().copied()))
        else {
            continue;
        };
        let chosen: Vec<&MetricsRow> =
            rows.iter().filter(|row| row.phase == outcome.phase && row.learning_rate == Some(rate)).collect();
        // Most plans have one phase of gradient descent; its files need no number.
        let only =
            summary.phases.iter().filter(|phase| phase.learning_rate.is_some() || phase.soup.is_some()).count() == 1;
        let suffix = if only { String::new() } else { format!("_{}", number + 1) };
        let title = format!("{}, learning rate {rate:e}", outcome.phase);
        pictures.add(&format!("loss{suffix}"), || losses(&title, &chosen));
        pictures.add(&format!("rates{suffix}"), || block_rates(&title, &chosen));
        if chosen.iter().any(|row| row.rate_multipliers.is_some()) {
            pictures.add(&format!("rate_multipliers{suffix}"), || multipliers(&title, &chosen));
        }
    }
    Ok(())
}

/// Confusion and calibration of every set, and the map of the samples, where the run has what they need.
fn images(run: &Path, summary: &Summary, pictures: &mut Pictures) -> Result<(), FileError> {
    let Some(predictions) = Predictions::read(run, &summary.classes)? else { return Ok(()) };
    let classes = imagenet::shown(&summary.classes);
    for ((set, name), safe) in predictions.sets.iter().enumerate().zip(file_names(&predictions.sets)) {
        let pairs = predictions.of_set(set).map(|row| (row.label, row.predicted));
        let found = Confusion::count(pairs);
        pictures.add(&format!("confusion_{safe}"), || confusion(name, &classes, &found));
        let answers = predictions.of_set(set).map(|row| (row.probability, row.predicted == row.label));
        if let Some(found) = Calibration::measure(answers) {
            pictures.add(&format!("calibration_{safe}"), || calibration(name, &found));
        }
    }
    if let Some(map) = SampleMap::read(run)? {
        let mut rows: Vec<_> = predictions.rows.iter().filter(|row| row.sample.is_some()).collect();
        rows.sort_by_key(|row| row.sample);
        if rows.len() == map.points.len() {
            let labels: Vec<usize> = rows.iter().map(|row| row.label).collect();
            let title = format!("UMAP of {} images", rows.len());
            pictures.add("map", || point_map(&title, &map.points, &labels, &classes));
        }
    }
    Ok(())
}

/// For each set a part of a file's name of its own: its letters and digits, and a number where others have the same.
fn file_names(sets: &[String]) -> Vec<String> {
    // Some file systems do not tell large letters from small ones.
    let taken = |names: &[String], name: &str| names.iter().any(|other| other.eq_ignore_ascii_case(name));
    let mut names: Vec<String> = Vec::with_capacity(sets.len());
    for set in sets {
        let plain: String = set.chars().map(|sign| if sign.is_ascii_alphanumeric() { sign } else { '_' }).collect();
        let numbered = (2..).map(|number| format!("{plain}_{number}"));
        let free = std::iter::once(plain.clone()).chain(numbered).find(|name| !taken(&names, name));
        names.extend(free);
    }
    names
}

/// Shares of each true class, the first class at the top.
fn confusion(set: &str, classes: &[String], found: &Confusion) -> Plot {
    let title = format!("{}: predicted class by true class", visible(set));
    if classes.len() > MOST_WITH_NUMBERS {
        return confusion_map(&title, classes, found);
    }
    let totals = found.totals(classes.len());
    let mut shares = vec![vec![0.0; classes.len()]; classes.len()];
    for &(label, predicted, n) in &found.counts {
        shares[label][predicted] = n as f64 / totals[label] as f64;
    }
    table_map(&title, classes, classes, &shares)
}

/// Accuracy by confidence, and the line on which they are the same.
fn calibration(set: &str, found: &Calibration) -> Plot {
    let bins = found.bins.iter().filter(|bin| bin.n > 0);
    let series = [
        Series { name: "model".into(), points: bins.map(|bin| (bin.confidence, bin.accuracy)).collect() },
        Series { name: "calibrated".into(), points: vec![(0.0, 0.0), (1.0, 1.0)] },
    ];
    let set = visible(set);
    let title = format!("{set}: calibration error {:.1} %", 100.0 * found.expected_error);
    lines(&title, "confidence", "accuracy", LogAxes::default(), &series)
}

fn losses(title: &str, rows: &[&MetricsRow]) -> Plot {
    let series = ["train", "val"].map(|split| Series {
        name: split.to_owned(),
        points: rows.iter().filter(|row| row.split == split).map(|row| (row.epoch as f64, row.loss)).collect(),
    });
    lines(title, "epoch", "loss", LogAxes::default(), &series)
}

fn block_rates(title: &str, rows: &[&MetricsRow]) -> Plot {
    let rates = RateLines::of(rows.iter().copied());
    let title = if rates.lines.len() < rates.of {
        format!("{title}: {} of {} layers", rates.lines.len(), rates.of)
    } else {
        title.to_owned()
    };
    let series: Vec<Series> = rates.lines.into_iter().map(|(name, points)| Series { name, points }).collect();
    lines(&title, "epoch", "mean learning rate", LogAxes { x: false, y: true }, &series)
}

fn multipliers(title: &str, rows: &[&MetricsRow]) -> Plot {
    let measured: Vec<(usize, &IndexMap<String, f64>)> =
        rows.iter().filter_map(|row| Some((row.epoch, row.rate_multipliers.as_ref()?))).collect();
    // Blocks may join in later; the longest measure names them all.
    let layers: Vec<String> = measured
        .iter()
        .map(|(_, multipliers)| multipliers.keys().cloned().collect::<Vec<_>>())
        .max_by_key(Vec::len)
        .unwrap_or_default();
    let epochs: Vec<String> = measured.iter().map(|(epoch, _)| epoch.to_string()).collect();
    let values: Vec<Vec<f64>> = layers
        .iter()
        .map(|layer| measured.iter().map(|(_, of_layers)| of_layers.get(layer).copied().unwrap_or(0.0)).collect())
        .collect();
    heat_map(&format!("{title}: factors on rates"), "epoch", &layers, &epochs, &values)
}

/// Accuracy along a line of weights, for every set.
pub fn interpolation(curve: &[CurvePoint]) -> Plot {
    let sets = curve.first().map(|point| point.splits.keys().cloned().collect::<Vec<_>>()).unwrap_or_default();
    let series: Vec<Series> = sets
        .into_iter()
        .map(|set| {
            let points = curve.iter().filter_map(|point| Some((point.alpha, point.splits.get(&set)?.accuracy)));
            Series { points: points.collect(), name: set }
        })
        .collect();
    lines("Between the two ends, in weights", "share of the end (alpha)", "accuracy", LogAxes::default(), &series)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_that_fails_leaves_the_others_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut pictures = Pictures::new(folder.path().to_owned());
        let plot = || lines("", "", "", LogAxes::default(), &[]);
        pictures.add("first", plot);
        pictures.add("broken", || panic!("on purpose"));
        pictures.add("nowhere/second", plot);
        pictures.add("third", plot);
        let missing: Vec<_> = pictures.missing.iter().map(|missing| missing.path.file_name().unwrap()).collect();
        assert_eq!(missing, ["broken", "second"]);
        assert!(["first.svg", "first.png", "third.svg"].iter().all(|name| folder.path().join(name).is_file()));
    }

    #[test]
    fn sets_whose_names_differ_in_signs_alone_have_files_of_their_own() {
        let sets = ["test/a", "test_a", "Test a", "test_a_2", "val"].map(str::to_owned);
        assert_eq!(file_names(&sets), ["test_a", "test_a_2", "Test_a_3", "test_a_2_2", "val"]);
    }
}
