//! See what a model sees: a map of its features, and how much they depend on the way images are resized.
//!
//!     cargo run --release -p retune --example data_visualization -- FOLDER
//!
//! Writes `map.svg`, `shift.svg`, `enlarged.svg` and `shrunk.svg`, each also as PNG, into FOLDER (without one,
//! `data_visualization` in the folder for temporary files). Everything is embedded: a small ResNet, pretrained on
//! Fashion-MNIST, a thousand garments, and the same garments corrupted.

use std::error::Error;
use std::path::{Path, PathBuf};

use retune::analysis::neighbors::Metric;
use retune::analysis::trustworthiness::trustworthiness;
use retune::analysis::umap::{UmapOptions, umap};
use retune::inference::{Features, Layer, extract};
use retune::models::Model;
use retune::monitor::Silent;
use retune::pixels::preprocess::Preprocessing;
use retune::pixels::resize::Interpolation;
use retune::report::plot::{point_map, table_map};
use retune::run::evaluation_loader;
use retune::similarity::{CkaOptions, View, between_views};
use retune::sources::Dataset;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).map_or_else(|| std::env::temp_dir().join("data_visualization"), PathBuf::from);
    std::fs::create_dir_all(&folder)?;
    let model = retune::demo::backbone()?;
    let task = retune::demo::input_shift()?;

    map(&model, &task.test, &task.shifted, &folder)?;
    resizings(&model, &task.test, &folder)?;
    println!("\nthe pictures are in {}", folder.display());
    Ok(())
}

/// Where images lie to each other in the model's eyes, before and after they are corrupted.
fn map(model: &Model, clean: &Dataset, corrupted: &Dataset, folder: &Path) -> Result<(), Box<dyn Error>> {
    // Features are what the model makes of an image at some layer. `Pooled` is what its head sees, the richest in
    // meaning; any block can be asked for, and so can the input and the logits.
    let features = |images: &Dataset| -> Result<Features, Box<dyn Error>> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let loader = evaluation_loader(images.clone(), model, 64, threads)?;
        Ok(extract(model, &loader, Layer::Pooled, "features", &Silent)?)
    };
    let (before, after) = (features(clean)?, features(corrupted)?);
    println!("features: {} clean and {} corrupted images × {} values", clean.len(), corrupted.len(), before.width);

    // Both sets in one map: two maps made apart would not be comparable, as UMAP turns and mirrors as it likes.
    let together = [before.values, after.values].concat();
    let points = umap(&together, before.width, &UmapOptions::default())?;
    // A map of two dimensions always tears something apart. This says how far neighbors on it are neighbors in truth,
    // from 0 to 1.
    let trust = trustworthiness(&together, before.width, &points, 15, Metric::Euclidean)?;
    println!("map: trustworthiness {trust:.3} over 15 neighbors");

    // By class: do kinds of garments form groups?
    let classes: Vec<usize> = [clean.labels()?, corrupted.labels()?].concat();
    point_map("Garments as the model sees them", &points, &classes, &clean.classes).save_both(folder, "map")?;
    // By set: where do corrupted images go? Where they leave their class's group, the model will be wrong.
    let sets: Vec<usize> = (0..points.len()).map(|image| usize::from(image >= clean.len())).collect();
    let names = ["clean".to_owned(), "corrupted".to_owned()];
    point_map("The same, clean and corrupted", &points, &sets, &names).save_both(folder, "shift")?;
    Ok(())
}

/// How much the features depend on how images are resized, which often differs between training and deployment.
fn resizings(model: &Model, images: &Dataset, folder: &Path) -> Result<(), Box<dyn Error>> {
    // Pillow's filters look at all pixels that a new one covers when they shrink an image (antialiasing). OpenCV's and
    // PyTorch's of the same names look at the nearest few only.
    let ways = [
        Interpolation::Nearest,
        Interpolation::Box,
        Interpolation::Bilinear,
        Interpolation::Hamming,
        Interpolation::Bicubic,
        Interpolation::Lanczos,
        Interpolation::OpencvBilinear,
        Interpolation::PytorchBicubic,
    ];
    let own = model.config().preprocessing();
    // The images have 28 pixels a side. The model's own input has 32, so they are enlarged; at 20 they are shrunk.
    for (name, side) in [("enlarged", own.width), ("shrunk", 20)] {
        let view = |&interpolation: &Interpolation| View {
            name: interpolation.to_string(),
            model,
            preprocessing: Preprocessing { interpolation, width: side, height: side, ..own.clone() },
        };
        let views: Vec<View> = ways.iter().map(view).collect();

        // CKA says how alike two representations of the same images are: 1 if they differ by a rotation and a scale, 0
        // if they have nothing in common. The default estimator is not fooled by few images of many features.
        let options = CkaOptions { resamples: 0, ..CkaOptions::default() };
        let layers = [("pooled".to_owned(), Layer::Pooled)];
        let found = between_views(&views, &layers, images, &options, &Silent)?;
        for matrix in found {
            let values: Vec<Vec<f64>> =
                matrix.matrix.iter().map(|row| row.iter().map(|cell| cell.unwrap_or(f64::NAN)).collect()).collect();
            let title = format!("CKA, images {name} to {side} pixels");
            table_map(&title, "CKA", &matrix.names, &matrix.names, &values).save_both(folder, name)?;

            println!("\n{title}, with bilinear:");
            let bilinear = matrix.names.iter().position(|name| name == "bilinear").unwrap_or(0);
            for (other, cka) in matrix.names.iter().zip(&values[bilinear]) {
                println!("  {other:<18} {cka:.3}");
            }
        }
    }
    Ok(())
}
