//! Tensors out of a `.safetensors` file, without the whole file in memory.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use ::safetensors::Dtype;
use ::safetensors::tensor::{Metadata, TensorInfo};

use super::super::elements::{self, ByteOrder, Element};
use super::super::table::Arrays;
use super::LONGEST_HEADER;
use crate::wording::first_of;

const LENGTH_BYTES: u64 = size_of::<u64>() as u64;

/// Reads the tensors of a file of `bytes` bytes.
pub(super) fn read(path: &Path) -> io::Result<Result<Arrays, String>> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    Ok(arrays(file, bytes))
}

fn arrays(file: File, bytes: u64) -> Result<Arrays, String> {
    let mut tensors = Tensors::open(BufReader::with_capacity(1 << 20, file), bytes)?;
    let info = tensors.info("features").ok_or_else(|| {
        format!("there is no tensor `features`: the file holds {}", first_of(&tensors.metadata.offset_keys()))
    })?;
    let [rows, columns] = info.shape[..] else {
        return Err(format!(
            "the tensor `features` has the shape {:?} where rows and columns are expected",
            info.shape
        ));
    };
    let features = tensors.numbers("features", &info, elements::floats, "floating-point numbers")?;
    let labels = match tensors.info("labels") {
        Some(info) => Some(tensors.numbers("labels", &info, elements::integers, "integers")?),
        None => None,
    };
    let [paths, classes] = ["paths", "classes"].map(|name| tensors.strings(name));
    let origin = tensors.metadata.metadata().as_ref().and_then(|metadata| metadata.get("origin").cloned());
    Ok(Arrays { features, shape: [rows, columns], labels, paths: paths?, classes: classes?, origin })
}

struct Tensors {
    input: BufReader<File>,
    /// Checked: tensors lie one after the other, each as long as its shape says.
    metadata: Metadata,
    data_start: u64,
}

impl Tensors {
    fn open(mut input: BufReader<File>, bytes: u64) -> Result<Self, String> {
        let early = |_| "not a .safetensors file: it ends within its header".to_owned();
        let mut length = [0; 8];
        input.read_exact(&mut length).map_err(early)?;
        let length = u64::from_le_bytes(length);
        if length > LONGEST_HEADER as u64 || length > bytes.saturating_sub(LENGTH_BYTES) {
            return Err(format!("not a .safetensors file, or a damaged one: its header would have {length} bytes"));
        }
        let mut header = vec![0; length as usize];
        input.read_exact(&mut header).map_err(early)?;
        let metadata: Metadata = serde_json::from_slice(&header)
            .map_err(|error| format!("not a .safetensors file, or a damaged one: {error}"))?;
        let data_start = LENGTH_BYTES + length;
        let expected = data_start.saturating_add(metadata.data_len() as u64);
        if expected != bytes {
            let cut_off = if bytes < expected { "it is cut off: " } else { "" };
            return Err(format!("{cut_off}the file has {bytes} bytes where its header announces {expected}"));
        }
        Ok(Self { input, metadata, data_start })
    }

    fn info(&self, name: &str) -> Option<TensorInfo> {
        self.metadata.info(name).cloned()
    }

    fn numbers<T>(
        &mut self,
        name: &str,
        info: &TensorInfo,
        read: impl Fn(&mut dyn Read, Element, ByteOrder, usize) -> std::io::Result<Option<Vec<T>>>,
        expected: &str,
    ) -> Result<Vec<T>, String> {
        let other = || format!("the tensor `{name}` is of the type {:?} where {expected} are expected", info.dtype);
        let element = element(info.dtype).ok_or_else(other)?;
        let (start, end) = info.data_offsets;
        let values = self
            .input
            .seek(SeekFrom::Start(self.data_start + start as u64))
            .and_then(|_| read(&mut self.input, element, ByteOrder::Little, (end - start) / element.size()));
        values.map_err(|error| format!("the tensor `{name}` cannot be read: {error}"))?.ok_or_else(other)
    }

    /// A JSON list of text in the metadata.
    fn strings(&self, name: &str) -> Result<Option<Vec<String>>, String> {
        let text = self.metadata.metadata().as_ref().and_then(|metadata| metadata.get(name));
        let parsed = text.map(|text| serde_json::from_str(text)).transpose();
        parsed.map_err(|error| format!("`{name}` in the metadata is not a JSON list of text: {error}"))
    }
}

fn element(dtype: Dtype) -> Option<Element> {
    Some(match dtype {
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::BF16,
        Dtype::F32 => Element::F32,
        Dtype::F64 => Element::F64,
        Dtype::U8 => Element::U8,
        Dtype::I8 => Element::I8,
        Dtype::U16 => Element::U16,
        Dtype::I16 => Element::I16,
        Dtype::U32 => Element::U32,
        Dtype::I32 => Element::I32,
        Dtype::U64 => Element::U64,
        Dtype::I64 => Element::I64,
        _ => return None,
    })
}
