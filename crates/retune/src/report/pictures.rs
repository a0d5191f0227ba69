//! Pictures of one run.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use retune_analysis::calibration::Calibration;
use retune_figures::Axis;
use retune_figures::figure::{ContactSheet, Lines, Tile};
use retune_pixels::decode::catching_panics;

use super::confusion::Confusion;
use super::figures;
use super::heat_maps;
use super::page::ColorBy;
use super::plot::Plot;
use super::run_page::{described_label_map, described_map};
use super::verdict::percent;
use crate::files::{self, FileError};
use crate::models::imagenet;
use crate::run::PLOTS_FOLDER;
use crate::run::record::{LabelPredictions, LabeledImage, Prediction, Predictions, SampleMap, Samples, Sheet};
use crate::run::{CurvePoint, Summary};
use crate::train::metrics;
use crate::wording::counted;

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
        write!(formatter, "{} is not written: {}", self.path.display(), self.reason)
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

    /// Draws a picture and saves it as `name.svg` and `name.png`. A failure, even a panic of the renderer, does
    /// not affect the other pictures.
    pub fn add(&mut self, name: &str, draw: impl FnOnce() -> Plot) {
        let made = catching_panics(|| draw().save_both(&self.folder, name));
        let reason = match made {
            Some(Ok(())) => return,
            Some(Err(error)) => error.to_string(),
            None => "the renderer cannot cope with it".to_owned(),
        };
        self.missing.push(MissingPicture { path: self.folder.join(name), reason });
    }
}

/// Draws a finished run into its folder `plots/`, as SVG and PNG: loss by epoch, the blocks' learning rates, the
/// multipliers of adaptive rates, confusion, calibration, images of highest loss and what the model looked at in them of
/// every set, the map of the images, and the curve of an interpolation, as far as the run has them. Returns those that could not be made; they do not fail the run.
pub fn draw(run: &Path, summary: &Summary) -> Vec<MissingPicture> {
    let folder = run.join(PLOTS_FOLDER);
    // Whoever is killed meanwhile leaves no folder of this name, so that where there is one, it is whole.
    let partial = run.join(format!("{PLOTS_FOLDER}.partial"));
    let drawn_in = if folder.is_dir() { &folder } else { &partial };
    // What a killed process drew there, half a file of it perhaps, is no part of this run's pictures.
    let _ = fs::remove_dir_all(&partial);
    let mut pictures = Pictures::new(drawn_in.clone());
    let drawn = draw_all(run, summary, &mut pictures).and_then(|()| match *drawn_in == folder {
        true => Ok(()),
        false => fs::rename(&partial, &folder).map_err(|error| FileError::new("write", &folder, error)),
    });
    let missing = pictures.missing.into_iter().map(|missing| MissingPicture {
        path: missing.path.strip_prefix(&partial).map(|picture| folder.join(picture)).unwrap_or(missing.path),
        ..missing
    });
    let failed = drawn.err().map(|error| MissingPicture { path: folder.clone(), reason: error.to_string() });
    missing.chain(failed).collect()
}

fn draw_all(run: &Path, summary: &Summary, pictures: &mut Pictures) -> Result<(), FileError> {
    files::create_folder(&pictures.folder)?;
    if let Some(curve) = &summary.interpolation {
        let chosen = summary.phases.iter().rev().find_map(|phase| phase.alpha);
        let title = format!("{} on {}: between linear probe and fine-tuning", summary.method, summary.architecture);
        pictures.add("interpolation", || interpolation(&title, curve, chosen));
    }
    training(run, summary, pictures)?;
    images(run, summary, pictures)
}

/// Loss and rates over training.
fn training(run: &Path, summary: &Summary, pictures: &mut Pictures) -> Result<(), FileError> {
    let rows = metrics::read(&run.join("metrics.jsonl"))?;
    for (number, outcome) in summary.phases.iter().enumerate() {
        let Some(rate) = outcome.learning_rate.or(outcome.soup.as_ref().and_then(|rates| rates.first().copied()))
        else {
            continue;
        };
        // Most plans have one phase of gradient descent; its files need no number.
        let only =
            summary.phases.iter().filter(|phase| phase.learning_rate.is_some() || phase.soup.is_some()).count() == 1;
        let suffix = if only { String::new() } else { format!("_{}", number + 1) };
        let title = format!("{}, learning rate {rate:e}", outcome.phase);
        let rows = || metrics::in_full(&rows, &outcome.phase, rate);
        let kept = (outcome.epoch as f64, "kept".to_owned());
        pictures.add(&format!("loss{suffix}"), || {
            let lines = figures::by_split(rows(), Axis::new("loss"), |row| row.loss);
            Plot::from(Lines { title: title.clone(), marks: vec![kept], ..lines })
        });
        if let Some(rates) = figures::layer_rates(&title, rows()) {
            pictures.add(&format!("rates{suffix}"), || rates.into());
        }
        if let Some(factors) = figures::multipliers(&format!("{title}: factors on rates"), rows()) {
            pictures.add(&format!("rate_multipliers{suffix}"), || factors.into());
        }
    }
    Ok(())
}

/// Confusion and calibration of every set, and the map of the samples, where the run has what they need.
fn images(run: &Path, summary: &Summary, pictures: &mut Pictures) -> Result<(), FileError> {
    if let Some(labels) = LabelPredictions::read(run)? {
        return images_of_labels(run, &labels, pictures);
    }
    let Some(predictions) = Predictions::read(run, &summary.classes)? else { return Ok(()) };
    let classes = imagenet::shown(&summary.classes);
    let samples = Samples::read(run, &predictions)?;
    let tiles = |sheet: Option<Sheet>| sheet.and_then(|sheet| sheet.tiles()).unwrap_or_default().into_iter();
    let maps = samples.hardest.as_ref().zip(samples.heat_maps.as_ref());
    let mut maps = tiles(maps.and_then(|(sheet, maps)| heat_maps::painted(sheet, &maps.predicted)));
    let mut tiles = tiles(samples.hardest);
    for ((set, name), safe) in predictions.sets.iter().enumerate().zip(file_names(&predictions.sets)) {
        let pairs = predictions.of_set(set).map(|row| (row.label, row.predicted));
        let found = Confusion::count(pairs);
        let title = |what: &str| format!("{name}: {what}");
        pictures.add(&format!("confusion_{safe}"), || {
            figures::confusion(&title("predicted class by true class"), &classes, &found).into()
        });
        let answers = predictions.of_set(set).map(|row| (row.probability, row.predicted == row.label));
        if let Some(found) = Calibration::measure(answers) {
            pictures.add(&format!("calibration_{safe}"), || {
                figures::reliability(&title("confidence against accuracy"), &found).into()
            });
        }
        let rows = predictions.hardest(set);
        let key = heat_maps::key();
        for (file, what, images, key) in [
            ("hardest", "images of highest loss", &mut tiles, None),
            ("heat_maps", "Grad-CAM for the predicted class, images of highest loss", &mut maps, Some(key)),
        ] {
            let images: Vec<Vec<u8>> = images.take(rows.len()).collect();
            if !images.is_empty() {
                pictures.add(&format!("{file}_{safe}"), || {
                    ContactSheet { key, ..hardest(&title(what), &rows, &classes, images) }.into()
                });
            }
        }
    }
    let map = SampleMap::read(run)?.and_then(|places| described_map(&predictions, &places, &classes));
    if let Some(map) = map {
        let title = format!("UMAP of {}", counted(map.x.len(), "image"));
        pictures.add("map", || map.figure(&title, ColorBy::Class).into());
    }
    Ok(())
}

/// The images of highest loss of every set and the map of the samples, where images have several labels.
fn images_of_labels(run: &Path, labels: &LabelPredictions, pictures: &mut Pictures) -> Result<(), FileError> {
    let samples = Samples::read_of_labels(run, labels)?;
    let mut tiles = samples.hardest.and_then(|sheet| sheet.tiles()).unwrap_or_default().into_iter();
    let names: Vec<String> = labels.sets.iter().map(|(name, _)| name.clone()).collect();
    for ((set, name), safe) in names.iter().enumerate().zip(file_names(&names)) {
        let rows = labels.hardest(set);
        let images: Vec<Vec<u8>> = tiles.by_ref().take(rows.len()).collect();
        if !images.is_empty() {
            let title = format!("{name}: images of highest loss");
            pictures
                .add(&format!("hardest_{safe}"), || hardest_of_labels(&title, &rows, &labels.labels, images).into());
        }
    }
    let map = SampleMap::read(run)?.and_then(|places| described_label_map(labels, &places));
    if let Some(map) = map {
        let title = format!("UMAP of {}", counted(map.x.len(), "image"));
        pictures.add("map", || map.figure(&title, ColorBy::Correctness).into());
    }
    Ok(())
}

/// Lines below an image about labels that the model missed or gave wrongly.
const MAX_MISTAKES: usize = 3;

/// The images of highest loss of a set, each with its labels and what the model said wrongly of them.
fn hardest_of_labels(title: &str, rows: &[&LabeledImage], labels: &[String], images: Vec<Vec<u8>>) -> ContactSheet {
    let tile = |(row, image): (&&LabeledImage, Vec<u8>)| {
        let has = if row.has.contains(&true) { row.listed(labels) } else { "no label".to_owned() };
        let missed = row.missed().into_iter().map(|label| format!("missed: {}", labels[label]));
        let wrong = row.wrongly_given().into_iter().map(|label| format!("wrong: {}", labels[label]));
        let mut mistakes: Vec<String> = missed.chain(wrong).collect();
        if mistakes.len() > MAX_MISTAKES {
            let more = mistakes.split_off(MAX_MISTAKES - 1).len();
            mistakes.push(format!("{more} more"));
        }
        Tile { image, caption: [vec![has], mistakes].concat(), right: Some(row.is_right()) }
    };
    let tiles = rows.iter().zip(images).map(tile).collect();
    ContactSheet { title: title.to_owned(), tiles, side: 112.0, key: None }
}

/// For each set, a unique part of a file name: its letters and digits, and a number if another set has the same.
pub(crate) fn file_names(sets: &[String]) -> Vec<String> {
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

/// Accuracy along a line of weights, for every set, with a mark at the share that was chosen.
pub fn interpolation(title: &str, curve: &[CurvePoint], chosen: Option<f64>) -> Plot {
    figures::interpolation(title, curve, chosen).into()
}

/// The images of highest loss of a set, with what the model said of them.
fn hardest(title: &str, rows: &[&Prediction], classes: &[String], images: Vec<Vec<u8>>) -> ContactSheet {
    let tile = |(row, image): (&&Prediction, Vec<u8>)| {
        // On lines of their own, because a tile has room for little more than a name.
        let said = [format!("as {}", classes[row.predicted]), percent(row.probability)];
        let caption = [classes[row.label].clone()].into_iter().chain(said).collect();
        Tile { image, caption, right: Some(row.predicted == row.label) }
    };
    let tiles = rows.iter().zip(images).map(tile).collect();
    ContactSheet { title: title.to_owned(), tiles, side: 112.0, key: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_that_fails_leaves_the_others_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut pictures = Pictures::new(folder.path().to_owned());
        let plot = || Plot::from(Lines::default());
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
