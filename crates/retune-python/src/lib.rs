//! The extension module of the Python package: everything that `python/retune` cannot do in Python.
//!
//! Options, checks, defaults, and results come from `retune_cli`, so that Python and the command line cannot differ.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod analysis;
mod demo;
mod failure;
mod images;
mod model;
mod pixels;
mod work;

use std::ffi::OsString;
use std::panic;

use pyo3::prelude::*;
use retune::pixels::decode;
use retune_cli::embedded;

use crate::failure::IntoPython;

#[global_allocator]
static ALLOCATOR: retune_kernels::memory::KeepLargeBlocks = retune_kernels::memory::KeepLargeBlocks::new();

/// Runs a command. `typed` are its name and arguments as on the command line. Returns its result as JSON, and as text.
#[pyfunction]
fn run(py: Python<'_>, typed: Vec<OsString>, progress: Option<Bound<'_, PyAny>>) -> PyResult<(String, String)> {
    let found = work::run(py, progress, |program| embedded::run(&work::with_name(typed), program))?;
    Ok((found.json, found.text))
}

/// The options of every command, as JSON.
#[pyfunction]
fn declarations() -> PyResult<String> {
    serde_json::to_string(&embedded::declarations()).into_python()
}

/// Runs the program `retune` and returns its exit status. `typed` begins with the program's name.
#[pyfunction]
fn main(py: Python<'_>, typed: Vec<OsString>) -> u8 {
    py.detach(|| retune_cli::main(&typed))
}

#[pymodule]
fn _retune(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |defect| {
        // A decoder's panic on a damaged image is caught and reported as an error of that image.
        if !decode::catches_panics() {
            report(defect);
        }
    }));
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(run, module)?)?;
    module.add_function(wrap_pyfunction!(declarations, module)?)?;
    module.add_function(wrap_pyfunction!(main, module)?)?;
    images::add_to(module)?;
    model::add_to(module)?;
    analysis::add_to(module)?;
    pixels::add_to(module)?;
    demo::add_to(module)
}
