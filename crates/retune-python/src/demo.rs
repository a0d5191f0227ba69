//! The model and the images that the library carries.

use std::path::PathBuf;

use image::RgbImage;
use numpy::{PyArray1, PyArray4, PyArrayMethods};
use pyo3::prelude::*;
use retune::demo::{self, Task};
use retune::pixels::decode::DecodeLimits;
use retune::sources::Dataset;

use crate::failure::{self, IntoPython};

pub fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(demo_backbone, module)?)?;
    module.add_function(wrap_pyfunction!(demo_task, module)?)
}

/// Writes the pretrained model to a folder.
#[pyfunction]
fn demo_backbone(folder: PathBuf) -> PyResult<()> {
    demo::backbone().into_python()?.save(&folder).into_python()
}

/// Images `[n, 28, 28, 3]` and labels.
type Part<'py> = (Bound<'py, PyArray4<u8>>, Bound<'py, PyArray1<i64>>);

/// A task: its classes, what it is, and its sets by name.
type Sets<'py> = (Vec<String>, &'static str, Vec<(&'static str, Part<'py>)>);

/// The task whose name begins with `subpopulation` or `input`.
#[pyfunction]
fn demo_task<'py>(py: Python<'py>, shift: &str) -> PyResult<Sets<'py>> {
    let task: Task = match shift {
        "subpopulation" => demo::subpopulation_shift().into_python()?,
        "input" => demo::input_shift().into_python()?,
        _ => {
            let reason = format!("there is no demo of the shift '{shift}'; choose subpopulation or input");
            return Err(failure::mistake(py, &reason));
        }
    };
    let sets = [("train", &task.train), ("test", &task.test), ("shifted", &task.shifted)];
    let parts = sets.into_iter().map(|(name, dataset)| Ok((name, part(py, dataset)?))).collect::<PyResult<Vec<_>>>()?;
    Ok((task.train.classes.clone(), task.title, parts))
}

fn part<'py>(py: Python<'py>, dataset: &Dataset) -> PyResult<Part<'py>> {
    let limits = DecodeLimits::default();
    let images: Vec<RgbImage> =
        dataset.samples.iter().map(|sample| sample.image.load(&limits)).collect::<Result<_, _>>().into_python()?;
    let (width, height) = images.first().map_or((0, 0), RgbImage::dimensions);
    let shape = [images.len(), height as usize, width as usize, 3];
    let pixels = images.into_iter().flat_map(RgbImage::into_raw).collect();
    let labels = dataset.labels().into_python()?.into_iter().map(|label| label as i64).collect();
    Ok((PyArray1::from_vec(py, pixels).reshape(shape)?, PyArray1::from_vec(py, labels)))
}
