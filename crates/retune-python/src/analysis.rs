//! UMAP, trustworthiness, and CKA of arrays.

use numpy::{PyArray1, PyArray2, PyArrayMethods, PyReadonlyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;
use retune::analysis::cka::{Estimator, Kernel, Rows, compare};
use retune::analysis::neighbors::Metric;
use retune::analysis::trustworthiness as trust;
use retune::analysis::umap::{UmapOptions, umap as map};

use crate::failure::IntoPython;

pub fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(umap, module)?)?;
    module.add_function(wrap_pyfunction!(trustworthiness, module)?)?;
    module.add_function(wrap_pyfunction!(cka, module)?)
}

/// Values of an array by row, and the length of a row. Copied only where the array is not C-contiguous.
fn rows<'a>(array: &'a PyReadonlyArray2<'_, f32>, copy: &'a mut Vec<f32>) -> (&'a [f32], usize) {
    let width = array.shape()[1];
    match array.as_slice() {
        Ok(values) => (values, width),
        Err(_) => {
            copy.extend(array.as_array().iter());
            (copy, width)
        }
    }
}

/// A map `[n, 2]` of features `[n, width]`.
#[pyfunction]
fn umap<'py>(
    py: Python<'py>,
    features: PyReadonlyArray2<'py, f32>,
    neighbors: usize,
    minimum_distance: f64,
    metric: &str,
    seed: u64,
    epochs: Option<usize>,
) -> PyResult<Bound<'py, PyArray2<f32>>> {
    let metric: Metric = metric.parse().into_python()?;
    let options = UmapOptions { neighbors, minimum_distance, metric, seed, epochs };
    let mut copy = Vec::new();
    let (values, width) = rows(&features, &mut copy);
    let layout = py.detach(|| map(values, width, &options)).into_python()?;
    PyArray1::from_vec(py, layout.into_flattened()).reshape([features.shape()[0], 2])
}

/// How far neighbors on a map `[n, 2]` are neighbors by their features, 0 to 1.
#[pyfunction]
fn trustworthiness(
    py: Python<'_>,
    features: PyReadonlyArray2<'_, f32>,
    layout: PyReadonlyArray2<'_, f32>,
    neighbors: usize,
    metric: &str,
) -> PyResult<f64> {
    let metric: Metric = metric.parse().into_python()?;
    let layout: Vec<[f32; 2]> = layout.as_array().rows().into_iter().map(|row| [row[0], row[1]]).collect();
    let mut copy = Vec::new();
    let (values, width) = rows(&features, &mut copy);
    py.detach(|| trust::trustworthiness(values, width, &layout, neighbors, metric)).into_python()
}

/// CKA of two arrays of features of the same images; with a bandwidth, by the RBF kernel.
#[pyfunction]
fn cka(
    py: Python<'_>,
    one: PyReadonlyArray2<'_, f32>,
    other: PyReadonlyArray2<'_, f32>,
    estimator: &str,
    bandwidth: Option<f64>,
) -> PyResult<f64> {
    let estimator: Estimator = estimator.parse().into_python()?;
    let kernel = bandwidth.map_or(Kernel::Linear, |bandwidth| Kernel::Rbf { bandwidth });
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let ((a, width), (b, other_width)) = (rows(&one, &mut first), rows(&other, &mut second));
    let (a, b) = (Rows { values: a, width }, Rows { values: b, width: other_width });
    py.detach(|| compare(a, b, kernel, estimator)).into_python()
}
