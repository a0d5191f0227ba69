//! A file of weights, opened: what its tensors are called, before any is read.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use pytorch_reader::{DType, PickleValue, PytorchReader};
use safetensors::SafeTensorError;
use safetensors::tensor::{Dtype, SafeTensors};

use super::format::{self, Format};
use super::named_architecture;
use crate::files;
use crate::models::weights::{NamedTensor, WeightsError, widen};

/// How many times a file's size its tensors may take together: tied weights are stored once.
const SHARED_STORAGES: u64 = 2;

/// A file of weights whose tensors are known by name and shape, and are read when they are asked for.
///
/// A tensor in dictionaries within dictionaries goes by all keys on the way to it, joined by dots.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    size: u64,
    /// All of a safetensors file; empty for PyTorch's, whose tensors are read from the file.
    content: Vec<u8>,
    tensors: BTreeMap<String, StoredTensor>,
    dictionaries: BTreeSet<String>,
    architecture: Option<String>,
}

#[derive(Debug)]
struct StoredTensor {
    shape: Vec<usize>,
    stored: Stored,
}

#[derive(Debug)]
enum Stored {
    Bytes { kind: Dtype, range: Range<usize> },
    Pickled(pytorch_reader::Tensor),
    Values(Vec<f32>),
}

impl Checkpoint {
    /// Opens a file in any format that weights are kept in, whatever its ending; no code in it is run.
    ///
    /// # Errors
    /// A file that cannot be read, is damaged, or is something else (and then what it is).
    pub fn open(path: &Path) -> Result<Self, WeightsError> {
        match format::detect(path)? {
            Format::Safetensors => Self::of_safetensors(files::read(path)?, path),
            Format::PyTorch => Self::of_pytorch(path),
        }
    }

    /// The content of a safetensors file; `path` is for messages.
    ///
    /// # Errors
    /// Content that is damaged.
    pub fn of_safetensors(content: Vec<u8>, path: &Path) -> Result<Self, WeightsError> {
        let (header, metadata) = SafeTensors::read_metadata(&content).map_err(|error| WeightsError::Unreadable {
            path: path.to_owned(),
            format: "safetensors",
            reason: reason(&error),
        })?;
        let data = header + size_of::<u64>();
        let stored = metadata.tensors().into_iter().map(|(name, info)| {
            let range = data + info.data_offsets.0..data + info.data_offsets.1;
            (name, StoredTensor { shape: info.shape.clone(), stored: Stored::Bytes { kind: info.dtype, range } })
        });
        Ok(Self {
            path: path.to_owned(),
            size: content.len() as u64,
            tensors: stored.collect(),
            dictionaries: BTreeSet::from([String::new()]),
            architecture: None,
            content,
        })
    }

    fn of_pytorch(path: &Path) -> Result<Self, WeightsError> {
        let unreadable = |reason: String| WeightsError::Unreadable { path: path.to_owned(), format: "PyTorch", reason };
        let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
        let reader = PytorchReader::new(path).map_err(|error| unreadable(error.to_string()))?;
        let values = PytorchReader::read_pickle_data(path, None).map_err(|error| unreadable(error.to_string()))?;
        let mut dictionaries = BTreeSet::new();
        list_dictionaries(&values, &mut String::new(), &mut dictionaries);
        let stored = reader.into_tensors().into_iter().map(|(name, tensor)| {
            let shape = tensor.shape().to_vec();
            (name, StoredTensor { shape, stored: Stored::Pickled(tensor) })
        });
        Ok(Self {
            path: path.to_owned(),
            size,
            content: Vec::new(),
            tensors: stored.collect(),
            dictionaries,
            architecture: named_architecture::find(&values, path),
        })
    }

    /// The same file with other tensors, which were made of its own.
    pub(super) fn with_tensors(&self, tensors: BTreeMap<String, NamedTensor>) -> Self {
        let stored = tensors.into_iter().map(|(name, NamedTensor { shape, values })| {
            (name, StoredTensor { shape, stored: Stored::Values(values) })
        });
        Self {
            path: self.path.clone(),
            size: self.size,
            content: Vec::new(),
            tensors: stored.collect(),
            dictionaries: BTreeSet::from([String::new()]),
            architecture: self.architecture.clone(),
        }
    }

    /// Whether a tensor that is there holds numbers of a kind that weights are kept in.
    pub(super) fn is_float(&self, name: &str) -> bool {
        self.tensors.get(name).is_some_and(|tensor| match &tensor.stored {
            Stored::Bytes { kind, .. } => matches!(kind, Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16),
            Stored::Pickled(pickled) => self.float_kind(name, pickled.dtype()).is_ok(),
            Stored::Values(_) => true,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor that is there.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|tensor| tensor.shape.as_slice())
    }

    /// The architecture that the training script wrote down beside the weights, as it calls it.
    pub fn architecture(&self) -> Option<&str> {
        self.architecture.as_deref()
    }

    /// The innermost dictionary in which a tensor lies, or all of a prefix; empty for the outermost.
    pub(super) fn dictionary_of<'a>(&self, name: &'a str) -> &'a str {
        let mut ends = name.rmatch_indices('.').map(|(at, _)| &name[..at]);
        ends.find(|path| self.dictionaries.contains(*path)).unwrap_or_default()
    }

    /// Reads the tensors of these names that are there, as `f32`.
    ///
    /// # Errors
    /// A tensor of another type than floats, damaged data, or tensors that take more than the file can hold.
    pub fn read<'a>(
        &self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<BTreeMap<String, NamedTensor>, WeightsError> {
        let mut read = BTreeMap::new();
        let mut wanted: u64 = 0;
        for (name, tensor) in names.into_iter().filter_map(|name| Some((name, self.tensors.get(name)?))) {
            let values = match &tensor.stored {
                Stored::Bytes { kind, range } => self.widened(name, *kind, &self.content[range.clone()])?,
                Stored::Pickled(pickled) => {
                    // A view that repeats its storage, and a compressed storage, can be of any size.
                    wanted = wanted.saturating_add(pickled.byte_len() as u64);
                    if wanted > SHARED_STORAGES * self.size {
                        let held = self.size;
                        return Err(
                            self.unreadable(format!("its tensors would take more than the {held} bytes that it has"))
                        );
                    }
                    let kind = self.float_kind(name, pickled.dtype())?;
                    let bytes = pickled.read().map_err(|error| self.unreadable(error.to_string()))?;
                    self.widened(name, kind, &bytes)?
                }
                Stored::Values(values) => values.clone(),
            };
            read.insert(name.to_owned(), NamedTensor { shape: tensor.shape.clone(), values });
        }
        Ok(read)
    }

    fn widened(&self, name: &str, kind: Dtype, bytes: &[u8]) -> Result<Vec<f32>, WeightsError> {
        widen(kind, bytes).ok_or_else(|| self.no_floats(name, format!("{kind:?}")))
    }

    fn float_kind(&self, name: &str, kind: DType) -> Result<Dtype, WeightsError> {
        match kind {
            DType::F64 => Ok(Dtype::F64),
            DType::F32 => Ok(Dtype::F32),
            DType::F16 => Ok(Dtype::F16),
            DType::BF16 => Ok(Dtype::BF16),
            other => Err(self.no_floats(name, format!("{other:?}"))),
        }
    }

    fn no_floats(&self, name: &str, kind: String) -> WeightsError {
        WeightsError::ElementType { path: self.path.clone(), name: name.to_owned(), kind }
    }

    fn unreadable(&self, reason: String) -> WeightsError {
        WeightsError::Unreadable { path: self.path.clone(), format: "PyTorch", reason }
    }
}

/// Bytes of a dictionary's path that a name may have in front; longer ones are no model's, and would add up.
const LONGEST_PATH: usize = 1024;

/// Collects the paths of all dictionaries, the outermost's being empty. The reader bounds how deep they go.
fn list_dictionaries(value: &PickleValue, path: &mut String, found: &mut BTreeSet<String>) {
    if path.len() > LONGEST_PATH {
        return;
    }
    let mut enter = |key: &str, value: &PickleValue| {
        let end = path.len();
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key);
        list_dictionaries(value, path, found);
        path.truncate(end);
    };
    match value {
        PickleValue::Dict(entries) => {
            entries.iter().for_each(|(key, value)| enter(key, value));
            found.insert(path.clone());
        }
        PickleValue::List(items) => items.iter().enumerate().for_each(|(at, value)| enter(&at.to_string(), value)),
        _ => {}
    }
}

/// What is wrong with a `.safetensors` file.
fn reason(error: &SafeTensorError) -> String {
    match error {
        SafeTensorError::MetadataIncompleteBuffer => "it is cut off, or longer than its header says".to_owned(),
        SafeTensorError::HeaderTooSmall | SafeTensorError::InvalidHeaderLength => {
            "it ends within its header".to_owned()
        }
        other => other.to_string(),
    }
}
