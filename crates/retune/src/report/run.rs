//! Pictures of one run.

use std::path::Path;

use indexmap::IndexMap;

use super::calibration::Calibration;
use super::confusion::Confusion;
use super::plot::{LogAxes, PlotError, Series, heat_map, lines, point_map, table_map};
use crate::files;
use crate::fit::record::{Predictions, SampleMap};
use crate::fit::{CurvePoint, Summary};
use crate::models::imagenet;
use crate::train::metrics::{self, MetricsRow};

/// Name of the folder in a run directory.
pub const PLOTS_FOLDER: &str = "plots";

/// Draws a finished run into its folder `plots/`: loss by epoch, the blocks' learning rates, the
/// multipliers of adaptive rates, and the curve of an interpolation; each where the run has it, as
/// SVG and PNG.
///
/// # Errors
/// A file that cannot be read or written.
pub fn draw(run: &Path, summary: &Summary) -> Result<(), PlotError> {
    let rows = metrics::read(&run.join("metrics.jsonl"))?;
    let folder = run.join(PLOTS_FOLDER);
    for (number, outcome) in summary.phases.iter().enumerate() {
        let Some(rate) = outcome.learning_rate.or(outcome.soup.as_ref().and_then(|rates| rates.first().copied()))
        else {
            continue;
        };
        let chosen: Vec<&MetricsRow> =
            rows.iter().filter(|row| row.phase == outcome.phase && row.learning_rate == Some(rate)).collect();
        files::create_folder(&folder)?;
        // Most plans have one phase of gradient descent; its files need no number.
        let only =
            summary.phases.iter().filter(|phase| phase.learning_rate.is_some() || phase.soup.is_some()).count() == 1;
        let suffix = if only { String::new() } else { format!("_{}", number + 1) };
        let title = format!("{}, learning rate {rate:e}", outcome.phase);
        losses(&title, &chosen).save_both(&folder, &format!("loss{suffix}"))?;
        block_rates(&title, &chosen).save_both(&folder, &format!("rates{suffix}"))?;
        if chosen.iter().any(|row| row.rate_multipliers.is_some()) {
            multipliers(&title, &chosen).save_both(&folder, &format!("rate_multipliers{suffix}"))?;
        }
    }
    images(run, summary, &folder)?;
    if let Some(curve) = &summary.interpolation {
        files::create_folder(&folder)?;
        interpolation(curve).save_both(&folder, "interpolation")?;
    }
    Ok(())
}

/// Confusion and calibration of every set, and the map of the samples, where the run has what they need.
fn images(run: &Path, summary: &Summary, folder: &Path) -> Result<(), PlotError> {
    let Some(predictions) = Predictions::read(run, &summary.classes)? else { return Ok(()) };
    let classes = imagenet::shown(&summary.classes);
    files::create_folder(folder)?;
    for ((set, name), safe) in predictions.sets.iter().enumerate().zip(file_names(&predictions.sets)) {
        let pairs = predictions.of_set(set).map(|row| (row.label, row.predicted));
        let found = Confusion::count(pairs);
        confusion(name, &classes, &found).save_both(folder, &format!("confusion_{safe}"))?;
        let answers = predictions.of_set(set).map(|row| (row.probability, row.predicted == row.label));
        if let Some(found) = Calibration::measure(answers) {
            calibration(name, &found).save_both(folder, &format!("calibration_{safe}"))?;
        }
    }
    if let Some(map) = SampleMap::read(run)? {
        let mut rows: Vec<_> = predictions.rows.iter().filter(|row| row.sample.is_some()).collect();
        rows.sort_by_key(|row| row.sample);
        if rows.len() == map.points.len() {
            let labels: Vec<usize> = rows.iter().map(|row| row.label).collect();
            let title = format!("UMAP of {} images", rows.len());
            point_map(&title, &map.points, &labels, &classes).save_both(folder, "map")?;
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
fn confusion(set: &str, classes: &[String], found: &Confusion) -> super::plot::Plot {
    let totals = found.totals(classes.len());
    let mut shares = vec![vec![0.0; classes.len()]; classes.len()];
    for &(label, predicted, n) in &found.counts {
        shares[label][predicted] = n as f64 / totals[label] as f64;
    }
    table_map(&format!("{set}: predicted class by true class"), classes, classes, &shares)
}

/// Accuracy by confidence, and the line on which they are the same.
fn calibration(set: &str, found: &Calibration) -> super::plot::Plot {
    let bins = found.bins.iter().filter(|bin| bin.n > 0);
    let series = [
        Series { name: "model".into(), points: bins.map(|bin| (bin.confidence, bin.accuracy)).collect() },
        Series { name: "calibrated".into(), points: vec![(0.0, 0.0), (1.0, 1.0)] },
    ];
    let title = format!("{set}: calibration error {:.1} %", 100.0 * found.expected_error);
    lines(&title, "confidence", "accuracy", LogAxes::default(), &series)
}

fn losses(title: &str, rows: &[&MetricsRow]) -> super::plot::Plot {
    let series = ["train", "val"].map(|split| Series {
        name: split.to_owned(),
        points: rows.iter().filter(|row| row.split == split).map(|row| (row.epoch as f64, row.loss)).collect(),
    });
    lines(title, "epoch", "loss", LogAxes::default(), &series)
}

fn block_rates(title: &str, rows: &[&MetricsRow]) -> super::plot::Plot {
    let mut blocks: IndexMap<&str, Vec<(f64, f64)>> = IndexMap::new();
    for row in rows {
        for (block, &rate) in row.rates.iter().flatten() {
            blocks.entry(block).or_default().push((row.epoch as f64, rate));
        }
    }
    let series: Vec<Series> =
        blocks.into_iter().map(|(name, points)| Series { name: name.to_owned(), points }).collect();
    lines(title, "epoch", "mean learning rate", LogAxes { x: false, y: true }, &series)
}

fn multipliers(title: &str, rows: &[&MetricsRow]) -> super::plot::Plot {
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
pub fn interpolation(curve: &[CurvePoint]) -> super::plot::Plot {
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
    fn sets_whose_names_differ_in_signs_alone_have_files_of_their_own() {
        let sets = ["test/a", "test_a", "Test a", "test_a_2", "val"].map(str::to_owned);
        assert_eq!(file_names(&sets), ["test_a", "test_a_2", "Test_a_3", "test_a_2_2", "val"]);
    }
}
