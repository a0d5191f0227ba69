//! Failures as Python's exceptions. Their classes, and how sentences about options become sentences about keywords, are in
//! `python/retune/_errors.py`.

use std::fmt::Display;

use pyo3::prelude::*;
use retune::sources::DataError;
use retune_cli::Failure;

/// The module with the classes.
const ERRORS: &str = "retune._errors";

/// A failure of a command as an exception.
pub fn exception(py: Python<'_>, failure: Failure) -> PyErr {
    let class = match &failure {
        Failure::Missing(_) => "NotFoundError",
        Failure::Diverged(_) => "Diverged",
        Failure::Interrupted(advice) => return interruption(py, advice.as_deref().unwrap_or_default()),
        Failure::Mistake(_) | Failure::Broken(_) | Failure::OutputClosed => "Error",
    };
    made(py, class, &failure.into_reason().unwrap_or_default())
}

/// `KeyboardInterrupt`, with advice on how to go on.
pub fn interruption(py: Python<'_>, advice: &str) -> PyErr {
    made(py, "interruption", advice)
}

/// A mistake in what was passed.
pub fn mistake(py: Python<'_>, reason: &dyn Display) -> PyErr {
    made(py, "Error", &reason.to_string())
}

fn made(py: Python<'_>, class: &str, reason: &str) -> PyErr {
    let made = py.import(ERRORS).and_then(|errors| errors.getattr(class)?.call1((reason,)));
    made.map_or_else(|error| error, PyErr::from_value)
}

/// An error of the library as an exception.
pub trait IntoPython<T> {
    /// The value, or the error as `retune.Error`.
    fn into_python(self) -> PyResult<T>;
}

impl<T, E: Display> IntoPython<T> for Result<T, E> {
    fn into_python(self) -> PyResult<T> {
        self.map_err(|error| Python::attach(|py| mistake(py, &error)))
    }
}

/// What stands for an image of an array in sentences.
pub fn unreadable(path: &std::path::Path, reason: impl Display) -> DataError {
    DataError::Io { path: path.to_owned(), source: std::io::Error::other(reason.to_string()) }
}
