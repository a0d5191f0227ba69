//! Resizing and corruptions of single images.

use numpy::{PyArray3, PyReadonlyArray3};
use pyo3::prelude::*;
use retune::pixels::corruption::Corruption;
use retune::pixels::resize::{Interpolation, resize as resized};

use crate::failure::{self, IntoPython};
use crate::images::{array, copied};

/// The largest side that an image can be resized to.
const MAX_SIDE: u32 = 65_535;

pub fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(resize, module)?)?;
    module.add_function(wrap_pyfunction!(corrupt, module)?)?;
    module.add("INTERPOLATIONS", Interpolation::ALL.map(Interpolation::name).to_vec())
}

/// An image `[height, width, 3]` at another size.
#[pyfunction]
fn resize<'py>(
    py: Python<'py>,
    image: PyReadonlyArray3<'py, u8>,
    width: u32,
    height: u32,
    interpolation: &str,
) -> PyResult<Bound<'py, PyArray3<u8>>> {
    let interpolation: Interpolation = interpolation.parse().into_python()?;
    if [width, height].iter().any(|side| !(1..=MAX_SIDE).contains(side)) {
        return Err(failure::mistake(py, &format!("an image cannot be {width}×{height}")));
    }
    let image = copied(&image)?;
    let smaller = py.detach(|| resized(&image, width, height, interpolation));
    array(py, smaller)
}

/// An image `[height, width, 3]` with a corruption `name:severity`, the same for the same seed and index.
#[pyfunction]
fn corrupt<'py>(
    py: Python<'py>,
    image: PyReadonlyArray3<'py, u8>,
    corruption: &str,
    seed: u64,
    index: u64,
) -> PyResult<Bound<'py, PyArray3<u8>>> {
    let corruption: Corruption = corruption.parse().into_python()?;
    let image = copied(&image)?;
    let corrupted = py.detach(|| corruption.apply(&image, seed, index));
    array(py, corrupted)
}
