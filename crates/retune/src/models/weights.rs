//! Weights in and out: `.safetensors` and PyTorch's `.pth`, by timm's tensor names, strictly.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use pytorch_reader::{DType, PytorchReader};
use safetensors::tensor::{Dtype, SafeTensors, View};

use super::naming::NamingError;
use super::parameters::{ParameterSpec, Parameters};
use super::position_embedding::{self, PositionGrid};
use crate::files::{self, FileError};

/// Why weights could not be taken from a file, or written to one.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not what its name says, or is cut off.
    #[error("{path} is not a readable {format} file: {reason}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// `safetensors` or `PyTorch`.
        format: &'static str,
        /// The parser's reason.
        reason: String,
    },
    /// The extension is none of those that are understood.
    #[error(
        "{path} is neither .safetensors nor .pth/.pt/.bin; convert it to safetensors",
        path = .0.display()
    )]
    UnknownFormat(PathBuf),
    /// The model has tensors that the file lacks.
    #[error(
        "{path} lacks the tensor '{first}'{more}; is it another architecture?",
        path = path.display(), more = and_more(*others)
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// The first tensor that is not there.
        first: String,
        /// How many more are not.
        others: usize,
    },
    /// The file has tensors that the model does not.
    #[error(
        "{path} has the tensor '{first}'{more}, which the model does not; is it another architecture?",
        path = path.display(), more = and_more(*others)
    )]
    Extra {
        /// The file.
        path: PathBuf,
        /// The first tensor that has no place.
        first: String,
        /// How many more have none.
        others: usize,
    },
    /// A tensor has another shape than the model's.
    #[error(
        "the tensor '{name}' in {path} has shape {found:?}, but the model's has {expected:?}",
        path = path.display()
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The model's shape.
        expected: Vec<usize>,
        /// The file's shape.
        found: Vec<usize>,
    },
    /// A tensor holds NaN or infinity.
    #[error(
        "the tensor '{name}' in {path} holds a value that is not finite (element {element})",
        path = path.display()
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Index of the first such element.
        element: usize,
    },
    /// A tensor has an element type that weights never have.
    #[error("the tensor '{name}' in {path} has the element type {kind}; expected floats", path = path.display())]
    ElementType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The type found.
        kind: String,
    },
    /// The tensors have another project's names, and cannot be put under timm's.
    #[error("{path}: {source}", path = path.display())]
    Naming {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: Box<NamingError>,
    },
}

fn and_more(others: usize) -> String {
    if others == 0 { String::new() } else { format!(" and {others} more") }
}

/// A tensor as a file holds it, widened to `f32`.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Its shape, outermost first.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub values: Vec<f32>,
}

/// Reads all float tensors of a `.safetensors`, `.pth`, `.pt` or `.bin` file; half precision is
/// widened to `f32`. PyTorch's counters of batches seen are left out: nothing uses them.
///
/// # Errors
/// Names the file, and the tensor where one is at fault.
pub fn read_tensors(path: &Path) -> Result<BTreeMap<String, NamedTensor>, WeightsError> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension {
        "safetensors" => read_safetensors(path),
        "pth" | "pt" | "bin" => read_pytorch(path),
        _ => Err(WeightsError::UnknownFormat(path.to_owned())),
    }
}

fn is_batch_counter(name: &str) -> bool {
    name.ends_with("num_batches_tracked")
}

fn read_safetensors(path: &Path) -> Result<BTreeMap<String, NamedTensor>, WeightsError> {
    parse_safetensors(&files::read(path)?, path)
}

/// Reads the float tensors of a `.safetensors` file's content; `path` is for messages.
///
/// # Errors
/// As [`read_tensors`].
pub fn parse_safetensors(bytes: &[u8], path: &Path) -> Result<BTreeMap<String, NamedTensor>, WeightsError> {
    let parsed = SafeTensors::deserialize(bytes).map_err(|error| WeightsError::Unreadable {
        path: path.to_owned(),
        format: "safetensors",
        reason: error.to_string(),
    })?;
    let mut tensors = BTreeMap::new();
    for (name, view) in parsed.iter().filter(|(name, _)| !is_batch_counter(name)) {
        let values = widen(view.dtype(), view.data()).ok_or_else(|| WeightsError::ElementType {
            path: path.to_owned(),
            name: name.to_owned(),
            kind: format!("{:?}", view.dtype()),
        })?;
        tensors.insert(name.to_owned(), NamedTensor { shape: view.shape().to_vec(), values });
    }
    Ok(tensors)
}

/// How many times a file's size its tensors may take together: tied weights are stored once.
const SHARED_STORAGES: u64 = 2;

fn read_pytorch(path: &Path) -> Result<BTreeMap<String, NamedTensor>, WeightsError> {
    // Opened first for the plain "no such file" message.
    let file = std::fs::File::open(path).and_then(|file| file.metadata());
    let held = file.map_err(|error| FileError::new("read", path, error))?.len();
    let unreadable = |reason: String| WeightsError::Unreadable { path: path.to_owned(), format: "PyTorch", reason };
    // Training scripts wrap the weights in a dictionary under one of these names.
    let wrapped = ["state_dict_ema", "state_dict", "model"]
        .iter()
        .find_map(|key| PytorchReader::with_top_level_key(path, key).ok().filter(|found| !found.is_empty()));
    let reader = match wrapped {
        Some(reader) => reader,
        None => PytorchReader::new(path).map_err(|error| unreadable(error.to_string()))?,
    };
    let mut tensors = BTreeMap::new();
    let mut wanted: u64 = 0;
    for (name, tensor) in reader.into_tensors() {
        if is_batch_counter(&name) {
            continue;
        }
        // A view that repeats its storage, and a compressed storage, can be of any size.
        wanted = wanted.saturating_add(tensor.byte_len() as u64);
        if wanted > SHARED_STORAGES * held {
            return Err(unreadable(format!("its tensors would take more than the {held} bytes that it has")));
        }
        let kind = match tensor.dtype() {
            DType::F64 => Dtype::F64,
            DType::F32 => Dtype::F32,
            DType::F16 => Dtype::F16,
            DType::BF16 => Dtype::BF16,
            other => {
                let kind = format!("{other:?}");
                return Err(WeightsError::ElementType { path: path.to_owned(), name, kind });
            }
        };
        let shape = tensor.shape().to_vec();
        let bytes = tensor.read().map_err(|error| unreadable(error.to_string()))?;
        let values = widen(kind, &bytes).unwrap_or_default();
        // Data-parallel training puts every name under `module.`.
        let name = name.strip_prefix("module.").map(str::to_owned).unwrap_or(name);
        tensors.insert(name, NamedTensor { shape, values });
    }
    Ok(tensors)
}

/// Little-endian floats of any width as `f32`; `None` for other element types.
fn widen(kind: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let halves =
        |convert: fn(u16) -> f32| bytes.chunks_exact(2).map(|b| convert(u16::from_le_bytes([b[0], b[1]]))).collect();
    Some(match kind {
        Dtype::F32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        Dtype::F64 => bytes
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32)
            .collect(),
        Dtype::F16 => halves(|bits| f16::from_bits(bits).to_f32()),
        Dtype::BF16 => halves(|bits| bf16::from_bits(bits).to_f32()),
        _ => return None,
    })
}

/// Fills `parameters` from a file's tensors.
///
/// # Errors
/// A missing, extra, mis-shaped or non-finite tensor, by name; `parameters` is then unchanged.
pub(crate) fn assign(
    parameters: &mut Parameters,
    mut tensors: BTreeMap<String, NamedTensor>,
    positions: Option<PositionGrid>,
    path: &Path,
) -> Result<(), WeightsError> {
    let specs = parameters.specs().clone();
    let missing: Vec<_> = specs.iter().filter(|spec| !tensors.contains_key(&spec.name)).collect();
    if let Some(first) = missing.first() {
        return Err(WeightsError::Missing {
            path: path.to_owned(),
            first: first.name.clone(),
            others: missing.len() - 1,
        });
    }
    let mut taken = Vec::with_capacity(specs.len());
    for spec in specs.iter() {
        let tensor = tensors.remove(&spec.name).unwrap_or(NamedTensor { shape: vec![], values: vec![] });
        taken.push(checked(spec, tensor, positions, path)?);
    }
    if let Some(first) = tensors.keys().next() {
        return Err(WeightsError::Extra { path: path.to_owned(), first: first.clone(), others: tensors.len() - 1 });
    }
    for (index, values) in taken.into_iter().enumerate() {
        parameters.set_values(index, values);
    }
    Ok(())
}

fn checked(
    spec: &ParameterSpec,
    tensor: NamedTensor,
    positions: Option<PositionGrid>,
    path: &Path,
) -> Result<Vec<f32>, WeightsError> {
    if let Some(element) = tensor.values.iter().position(|value| !value.is_finite()) {
        let name = spec.name.clone();
        return Err(WeightsError::NotFinite { path: path.to_owned(), name, element });
    }
    if tensor.shape == spec.shape {
        return Ok(tensor.values);
    }
    if spec.name == "pos_embed"
        && let Some(grid) = positions
        && let Some(values) = position_embedding::resample(&tensor, grid, spec.shape[2])
    {
        return Ok(values);
    }
    Err(WeightsError::Shape {
        path: path.to_owned(),
        name: spec.name.clone(),
        expected: spec.shape.clone(),
        found: tensor.shape,
    })
}

/// Writes parameters as timm keeps them: `.safetensors`, `f32`, timm's names, whole or not at all.
///
/// # Errors
/// Names the path and the reason, such as a full disk.
pub fn write_safetensors(path: &Path, parameters: &Parameters) -> Result<(), WeightsError> {
    write_tensors(path, (0..parameters.specs().len()).map(|index| named_tensor(parameters, index)).collect())
}

/// The name of the parameter at `index`, its shape and its values.
pub(crate) fn named_tensor(parameters: &Parameters, index: usize) -> (String, NamedTensor) {
    let spec = &parameters.specs()[index];
    (spec.name.clone(), NamedTensor { shape: spec.shape.clone(), values: parameters.values(index) })
}

/// Writes named tensors as a `.safetensors` file.
///
/// # Errors
/// Names the path and the reason, such as a full disk.
pub fn write_tensors(path: &Path, tensors: BTreeMap<String, NamedTensor>) -> Result<(), WeightsError> {
    let unwritable = |reason: String| WeightsError::Unreadable { path: path.to_owned(), format: "safetensors", reason };
    if let Some((name, tensor)) =
        tensors.iter().find(|(_, tensor)| tensor.shape.iter().product::<usize>() != tensor.values.len())
    {
        return Err(unwritable(format!("tensor '{name}': {} values are not {:?}", tensor.values.len(), tensor.shape)));
    }
    // timm and transformers want to know which framework's layout it is.
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let views = tensors.iter().map(|(name, tensor)| (name, SinglePrecision(tensor)));
    let serialized = safetensors::serialize(views, Some(metadata)).map_err(|error| unwritable(error.to_string()))?;
    files::write_atomically(path, |out| out.write_all(&serialized))?;
    Ok(())
}

/// A tensor as a file keeps it.
struct SinglePrecision<'a>(&'a NamedTensor);

impl View for SinglePrecision<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(files::little_endian(&self.0.values))
    }

    fn data_len(&self) -> usize {
        size_of_val(self.0.values.as_slice())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tensor of one stored number seen as a gigabyte of them, as `expand` gives it (made by
    /// `torch.save({"w": torch.zeros(1).expand(1 << 28)}, "expanded-view.pth")`).
    #[test]
    fn a_view_larger_than_its_file_is_refused() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/found/expanded-view.pth");
        let error = read_tensors(&path).unwrap_err().to_string();
        assert!(error.contains("expanded-view.pth") && error.contains("would take more"), "{error}");
    }
}
