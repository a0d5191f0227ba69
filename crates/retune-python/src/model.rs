//! Models in memory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use numpy::{
    PyArray1, PyArray2, PyArrayDyn, PyArrayMethods, PyReadonlyArray2, PyReadonlyArrayDyn, PyUntypedArrayMethods,
};
use pyo3::prelude::*;
use pyo3::types::PyDict;
use retune::features::FeatureTable;
use retune::inference::{sigmoid, softmax_at};
use retune::models::Model;
use retune::models::weights::{self, NamedTensor};
use retune_cli::embedded;

use crate::failure::IntoPython;
use crate::work;

pub fn add_to(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<LoadedModel>()?;
    module.add_function(wrap_pyfunction!(features, module)?)?;
    module.add_function(wrap_pyfunction!(write_tensors, module)?)
}

/// Features `[n, width]`, labels (−1 where unknown), names of the images, and of the classes.
type Table<'py> = (Bound<'py, PyArray2<f32>>, Bound<'py, PyArray1<i64>>, Vec<String>, Vec<String>);

fn to_python(py: Python<'_>, table: FeatureTable) -> PyResult<Table<'_>> {
    let (n, width) = (table.len(), table.width);
    let label = |label: &Option<usize>| label.and_then(|label| i64::try_from(label).ok()).unwrap_or(-1);
    let labels = table.labels.iter().map(label).collect();
    let features = PyArray1::from_vec(py, table.features).reshape([n, width])?;
    Ok((features, PyArray1::from_vec(py, labels), table.paths, table.classes))
}

/// What `retune features` writes to a file, of a model that is loaded for it.
#[pyfunction]
fn features<'py>(py: Python<'py>, typed: Vec<OsString>, progress: Option<Bound<'py, PyAny>>) -> PyResult<Table<'py>> {
    let typed = work::with_name(typed);
    to_python(py, work::run(py, progress, |program| embedded::features(&typed, None, program))?)
}

/// A model in memory.
#[pyclass(frozen, module = "retune._retune")]
struct LoadedModel {
    model: Model,
}

#[pymethods]
impl LoadedModel {
    /// Loads the model that the options of `retune layers` name.
    #[staticmethod]
    fn load(py: Python<'_>, typed: Vec<OsString>, progress: Option<Bound<'_, PyAny>>) -> PyResult<Self> {
        let typed = work::with_name(typed);
        Ok(Self { model: work::run(py, progress, |program| embedded::load_model(&typed, program))? })
    }

    /// timm's name of the architecture.
    #[getter]
    fn architecture(&self) -> &str {
        self.model.config().architecture()
    }

    /// The number of classes; 0 without a classifier.
    #[getter]
    fn num_classes(&self) -> usize {
        self.model.config().num_classes()
    }

    /// The names of the classes in the order of the logits, as people know them; none where the model has no names.
    #[getter]
    fn classes(&self) -> Option<Vec<String>> {
        self.model.config().shown_classes()
    }

    /// The temperature of its probabilities, where it has one.
    #[getter]
    fn temperature(&self) -> Option<f64> {
        self.model.config().temperature()
    }

    /// How it prepares images, as JSON.
    #[getter]
    fn preprocessing(&self) -> PyResult<String> {
        serde_json::to_string(self.model.config().preprocessing()).into_python()
    }

    /// Every tensor by its name, running statistics included.
    fn state_dict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let (tensors, parameters) = (PyDict::new(py), self.model.parameters.on_cpu().into_python()?);
        for (index, spec) in parameters.specs().iter().enumerate() {
            let values = PyArray1::from_vec(py, parameters.values(index));
            tensors.set_item(&spec.name, values.reshape(spec.shape.as_slice())?)?;
        }
        Ok(tensors)
    }

    /// Writes the model to a folder, as timm loads it.
    fn save(&self, py: Python<'_>, folder: PathBuf) -> PyResult<()> {
        py.detach(|| self.model.save(&folder)).into_python()
    }

    /// What `retune features` writes to a file, of this model.
    fn features<'py>(
        &self,
        py: Python<'py>,
        typed: Vec<OsString>,
        progress: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Table<'py>> {
        let typed = work::with_name(typed);
        to_python(py, work::run(py, progress, |program| embedded::features(&typed, Some(&self.model), program))?)
    }

    /// Probabilities `[n, classes]` of logits of the same shape, at the model's temperature or at another; of a model whose
    /// images may have several labels, those of each label.
    fn probabilities<'py>(
        &self,
        py: Python<'py>,
        logits: PyReadonlyArray2<'py, f32>,
        temperature: Option<f64>,
    ) -> PyResult<Bound<'py, PyArray2<f64>>> {
        let config = self.model.config();
        let temperature = temperature.or(config.temperature()).unwrap_or(1.0);
        let of_image = |logits: Vec<f32>| match config.is_multi_label() {
            true => logits.into_iter().map(sigmoid).collect(),
            false => softmax_at(temperature, &logits),
        };
        let rows = logits.as_array();
        let probabilities = rows.rows().into_iter().flat_map(|row| of_image(row.to_vec())).collect();
        PyArray1::from_vec(py, probabilities).reshape([logits.shape()[0], logits.shape()[1]])
    }
}

/// Writes arrays of floats to a `.safetensors` file under their names.
#[pyfunction]
fn write_tensors(path: PathBuf, tensors: &Bound<'_, PyDict>) -> PyResult<()> {
    let mut named = BTreeMap::new();
    for (name, array) in tensors.iter() {
        let array: PyReadonlyArrayDyn<'_, f32> = array.cast::<PyArrayDyn<f32>>()?.try_readonly()?;
        let values = array.as_array().iter().copied().collect();
        named.insert(name.extract()?, NamedTensor { shape: array.shape().to_vec(), values });
    }
    weights::write_tensors(&path, named).into_python()
}
