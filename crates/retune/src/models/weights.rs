//! Tensors in and out of files: read as `f32`, given to a model strictly, written as `.safetensors`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use burn::tensor::Tensor;
use half::{bf16, f16};
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, Metadata, TensorInfo};

use super::checkpoint::{Checkpoint, ForeignFormat, is_batch_counter};
use super::naming::NamingError;
use super::parameters::{ParameterSpec, Parameters};
use super::position_embedding::{self, PositionGrid};
use crate::device::{self, DeviceError};
use crate::files::{self, FileError};

/// Why weights could not be taken from a file, or written to one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The device did not give the weights.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The file is damaged, or is cut off.
    #[error("{path} is not a readable {format} file: {reason}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// `safetensors` or `PyTorch`.
        format: &'static str,
        /// The parser's reason.
        reason: String,
    },
    /// No such file can be made.
    #[error("cannot write {path}: {reason}", path = path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The file is no checkpoint, or none that can be read.
    #[error("{path} {format}", path = path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        format: ForeignFormat,
    },
    /// The file holds several models.
    #[error(
        "{path} holds two models, and nothing says which is meant: {first}, and {second}; save one of them in a file of \
         its own",
        path = path.display()
    )]
    Ambiguous {
        /// The file.
        path: PathBuf,
        /// Where the one is.
        first: String,
        /// Where the other is.
        second: String,
    },
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

/// Reads all tensors of a file of weights, in any format that they are kept in; half precision is widened to `f32`.
/// PyTorch's counters of batches seen are left out: nothing uses them.
///
/// # Errors
/// Names the file, and the tensor where one is at fault.
pub fn read_tensors(path: &Path) -> Result<BTreeMap<String, NamedTensor>, WeightsError> {
    read_all(&Checkpoint::open(path)?)
}

/// Reads the tensors of a `.safetensors` file's content; `path` is for messages.
///
/// # Errors
/// As [`read_tensors`].
pub fn parse_safetensors(bytes: &[u8], path: &Path) -> Result<BTreeMap<String, NamedTensor>, WeightsError> {
    read_all(&Checkpoint::of_safetensors(bytes.to_vec(), path)?)
}

fn read_all(checkpoint: &Checkpoint) -> Result<BTreeMap<String, NamedTensor>, WeightsError> {
    checkpoint.read(checkpoint.names().filter(|name| !is_batch_counter(name)))
}

/// Little-endian floats of any width as `f32`; `None` for other element types.
pub(super) fn widen(kind: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
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
    refuse_extra(tensors.into_keys().collect(), path)?;
    for (index, values) in taken.into_iter().enumerate() {
        parameters.set_values(index, values);
    }
    Ok(())
}

/// Refuses tensors that a model has no place for.
pub(super) fn refuse_extra(names: Vec<String>, path: &Path) -> Result<(), WeightsError> {
    let others = names.len().saturating_sub(1);
    match names.into_iter().next() {
        Some(first) => Err(WeightsError::Extra { path: path.to_owned(), first, others }),
        None => Ok(()),
    }
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
    let grid = positions.filter(|_| spec.name == "pos_embed");
    if tensor.shape == spec.shape && grid.is_none_or(|grid| grid.is_of(spec.shape[1])) {
        return Ok(tensor.values);
    }
    if let Some(grid) = grid
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
    let parameters = parameters.on_cpu()?;
    write_parameters(path, parameters.specs().iter().zip(parameters.tensors()))
}

/// Writes some parameters in the same way. Their tensors are on the CPU, and are read where they lie.
///
/// # Errors
/// As [`write_safetensors`].
pub(crate) fn write_parameters<'a>(
    path: &Path,
    parameters: impl IntoIterator<Item = (&'a ParameterSpec, &'a Tensor<1>)>,
) -> Result<(), WeightsError> {
    let stored = |(spec, tensor): (&'a ParameterSpec, &'a Tensor<1>)| {
        (spec.name.as_str(), Stored { shape: &spec.shape, values: Values::Tensor(tensor) })
    };
    write(path, &parameters.into_iter().map(stored).collect())
}

/// The parameters at `indices` by name, with their shapes and values.
///
/// # Errors
/// What the device failed in.
pub(crate) fn named_tensors(
    parameters: &Parameters,
    indices: impl IntoIterator<Item = usize>,
) -> Result<BTreeMap<String, NamedTensor>, DeviceError> {
    let indices: Vec<usize> = indices.into_iter().collect();
    let specs = indices.iter().map(|&index| &parameters.specs()[index]);
    let named = |(spec, values): (&ParameterSpec, Vec<f32>)| {
        (spec.name.clone(), NamedTensor { shape: spec.shape.clone(), values })
    };
    Ok(specs.zip(parameters.values_at(&indices)?).map(named).collect())
}

/// Writes named tensors as a `.safetensors` file.
///
/// # Errors
/// Names the path and the reason, such as a full disk, or a tensor whose values do not fill its shape.
pub fn write_tensors(path: &Path, tensors: BTreeMap<String, NamedTensor>) -> Result<(), WeightsError> {
    for (name, tensor) in &tensors {
        let length = tensor.shape.iter().try_fold(1usize, |product, &length| product.checked_mul(length));
        if length != Some(tensor.values.len()) {
            let reason = format!("tensor '{name}': {} values are not {:?}", tensor.values.len(), tensor.shape);
            return Err(WeightsError::Unwritable { path: path.to_owned(), reason });
        }
    }
    let stored = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), Stored { shape: &tensor.shape, values: Values::Slice(&tensor.values) }));
    write(path, &stored.collect())
}

/// A tensor that is to be in a file.
struct Stored<'a> {
    shape: &'a [usize],
    values: Values<'a>,
}

enum Values<'a> {
    Slice(&'a [f32]),
    /// Of the CPU.
    Tensor(&'a Tensor<1>),
}

impl Values<'_> {
    fn count(&self) -> usize {
        match self {
            Self::Slice(values) => values.len(),
            Self::Tensor(tensor) => tensor.dims()[0],
        }
    }

    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Slice(values) => out.write_all(&files::little_endian(values)),
            Self::Tensor(tensor) => device::with_values(tensor, |values| out.write_all(&files::little_endian(values)))
                .map_err(io::Error::other)?,
        }
    }
}

/// Writes a file tensor by tensor: in memory, a file of weights would be a second copy of them.
fn write(path: &Path, tensors: &BTreeMap<&str, Stored>) -> Result<(), WeightsError> {
    let header = header(tensors)
        .map_err(|error| WeightsError::Unwritable { path: path.to_owned(), reason: error.to_string() })?;
    files::write_atomically(path, |out| {
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        tensors.values().try_for_each(|tensor| tensor.values.write(out))
    })?;
    Ok(())
}

/// What stands in front of the values: names, shapes, and places, as `safetensors::serialize` makes it.
fn header(tensors: &BTreeMap<&str, Stored>) -> Result<Vec<u8>, SafeTensorError> {
    /// Values begin at a multiple of it.
    const ALIGNMENT: usize = 8;
    // timm and transformers want to know which framework's layout it is.
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let mut end = 0;
    let places = tensors.iter().map(|(&name, tensor)| {
        let begin = end;
        end += tensor.values.count() * size_of::<f32>();
        let place = TensorInfo { dtype: Dtype::F32, shape: tensor.shape.to_vec(), data_offsets: (begin, end) };
        (name.to_owned(), place)
    });
    let mut text = serde_json::to_vec(&Metadata::new(Some(metadata), places.collect())?)?;
    text.resize(text.len().next_multiple_of(ALIGNMENT), b' ');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    /// A tensor of one stored number seen as a gigabyte of them, as `expand` gives it (made by
    /// `torch.save({"w": torch.zeros(1).expand(1 << 28)}, "expanded-view.pth")`).
    #[test]
    fn a_view_larger_than_its_file_is_refused() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/found/expanded-view.pth");
        let error = read_tensors(&path).unwrap_err().to_string();
        assert!(error.contains("expanded-view.pth") && error.contains("would take more"), "{error}");
    }

    #[test]
    fn a_file_is_as_the_library_writes_it() {
        let folder = tempfile::tempdir().unwrap();
        let tensor = |shape: &[usize]| {
            let values = (0..shape.iter().product()).map(|index: usize| index as f32 - 1.5).collect();
            NamedTensor { shape: shape.to_vec(), values }
        };
        // Names whose lengths make every remainder of the header's.
        for length in 0..9 {
            let named =
                [("layer".to_owned(), vec![2, 3]), ("b\"ias".to_owned(), vec![]), ("x".repeat(length), vec![0, 4])];
            let tensors: BTreeMap<_, _> = named.into_iter().map(|(name, shape)| (name, tensor(&shape))).collect();
            let bytes = tensors.values().map(|tensor| files::little_endian(&tensor.values)).collect::<Vec<_>>();
            let views = tensors.iter().zip(&bytes).map(|((name, tensor), bytes)| {
                (name, TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).unwrap())
            });
            let metadata = [("format".to_owned(), "pt".to_owned())].into();
            let expected = safetensors::serialize(views, Some(metadata)).unwrap();
            let path = folder.path().join("written.safetensors");
            write_tensors(&path, tensors.clone()).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), expected, "{length}");
            assert_eq!(read_tensors(&path).unwrap().len(), tensors.len());
        }
    }
}
