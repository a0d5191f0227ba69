//! Times the linear probe on features from files, for `benches/probe_against_sklearn.py`.
//!
//! Usage: `probe_path FOLDER COLUMNS CLASSES [STRENGTHS]`. The folder holds `train.f32`, `val.f32` (little-endian, one row
//! an image) and `train.u32`, `val.u32` (labels). Prints one line of JSON.

use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use retune::train::probe::{FeatureMatrix, ProbeOptions, fit_path};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, columns, classes, ..] = arguments.as_slice() else {
        return Err("usage: probe_path FOLDER COLUMNS CLASSES".into());
    };
    let (folder, columns, classes) = (Path::new(folder), columns.parse()?, classes.parse()?);
    let numbers =
        |name: &str| -> std::io::Result<Vec<[u8; 4]>> { Ok(std::fs::read(folder.join(name))?.as_chunks().0.to_vec()) };
    let features =
        |name: &str| -> std::io::Result<Vec<f32>> { Ok(numbers(name)?.into_iter().map(f32::from_le_bytes).collect()) };
    let labels = |name: &str| -> std::io::Result<Vec<usize>> {
        Ok(numbers(name)?.into_iter().map(|label| u32::from_le_bytes(label) as usize).collect())
    };
    let (train, validation) = (features("train.f32")?, features("val.f32")?);
    let (train_labels, validation_labels) = (labels("train.u32")?, labels("val.u32")?);
    let started = Instant::now();
    let probe = fit_path(
        FeatureMatrix::new(&train, columns)?,
        &train_labels,
        FeatureMatrix::new(&validation, columns)?,
        &validation_labels,
        classes,
        &ProbeOptions::default(),
        |_| ControlFlow::Continue(()),
    )?;
    let seconds = started.elapsed().as_secs_f64();
    if std::env::var_os("PROBE_PATH_POINTS").is_some() {
        for point in &probe.path {
            eprintln!(
                "C {:.2e}: {} iterations, converged {}, objective {:.8e}, validation {:.4} loss {:.4}",
                point.inverse_strength,
                point.diagnostics.iterations,
                point.diagnostics.converged,
                point.diagnostics.objective,
                point.validation_accuracy,
                point.validation_loss,
            );
        }
    }
    let iterations: usize = probe.path.iter().map(|point| point.diagnostics.iterations).sum();
    let chosen = probe.path.iter().find(|point| point.inverse_strength == probe.inverse_strength);
    let (accuracy, objective) =
        chosen.map_or((0.0, 0.0), |point| (point.validation_accuracy, point.diagnostics.objective));
    println!(
        "{{\"seconds\": {seconds}, \"inverse_strength\": {}, \"accuracy\": {accuracy}, \"objective\": {objective}, \
         \"iterations\": {iterations}, \"strengths\": {}}}",
        probe.inverse_strength,
        probe.path.len(),
    );
    Ok(())
}
