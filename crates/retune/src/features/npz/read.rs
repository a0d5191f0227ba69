//! Arrays out of an `.npz` archive, compressed or not, of format versions 1 to 3.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use zip::ZipArchive;
use zip::read::ZipFile;
use zip::result::ZipError;

use super::super::elements::{self, ByteOrder, Element};
use super::super::table::Arrays;
use crate::wording::first_of;

/// The longest header that is read. NumPy itself refuses one of more than 10,000 bytes by default.
const LONGEST_HEADER: usize = 1 << 16;

/// Deflate cannot make data smaller than by this factor (258 bytes of a repetition in two bits).
const MAX_COMPRESSION: u64 = 1032;

/// Reads the arrays of a file.
pub(super) fn read(path: &Path) -> io::Result<Result<Arrays, String>> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    Ok(arrays(file, bytes))
}

fn arrays(file: File, bytes: u64) -> Result<Arrays, String> {
    let damaged = |error: ZipError| match error {
        // The list of what is in the archive stands at its end.
        ZipError::InvalidArchive(_) => "not an .npz archive, or one that is cut off or damaged".to_owned(),
        other => format!("not an .npz archive, or a damaged one: {other}"),
    };
    let mut archive = ZipArchive::new(BufReader::with_capacity(1 << 20, file)).map_err(damaged)?;
    let (features, shape) = read_array(&mut archive, bytes, "features", |array| array.floats())?.ok_or_else(|| {
        let names: Vec<String> =
            archive.file_names().filter_map(Result::ok).map(std::borrow::Cow::into_owned).collect();
        format!("there is no array `features`: the archive holds {}", first_of(&names))
    })?;
    Ok(Arrays {
        features,
        shape,
        labels: read_array(&mut archive, bytes, "labels", |array| array.integers())?,
        paths: read_array(&mut archive, bytes, "paths", |array| array.strings())?,
        classes: read_array(&mut archive, bytes, "classes", |array| array.strings())?,
        origin: read_array(&mut archive, bytes, "origin", |array| array.strings())?.and_then(|mut texts| texts.pop()),
    })
}

/// Reads the array `name` by `contents`, or nothing where there is none of that name.
fn read_array<T>(
    archive: &mut ZipArchive<BufReader<File>>,
    file_bytes: u64,
    name: &str,
    contents: impl Fn(Array<'_, '_>) -> Result<T, String>,
) -> Result<Option<T>, String> {
    let of_array = |problem: String| format!("the array `{name}` {problem}");
    let mut entry = match archive.by_name(&format!("{name}.npy")) {
        Ok(entry) => entry,
        Err(ZipError::FileNotFound) => return Ok(None),
        Err(error) => return Err(of_array(format!("cannot be read: {error}"))),
    };
    let largest = match entry.compression() {
        zip::CompressionMethod::Stored => file_bytes,
        _ => file_bytes.saturating_mul(MAX_COMPRESSION),
    };
    if entry.size() > largest {
        return Err(of_array(format!("claims {} bytes in a file of {file_bytes}", entry.size())));
    }
    let header = Header::read(&mut entry).map_err(of_array)?;
    contents(Array { entry: &mut entry, header }).map(Some).map_err(of_array)
}

/// What an array's header says.
#[derive(Debug, PartialEq, Eq)]
struct Header {
    /// The type in NumPy's notation, such as `<f4`.
    kind: String,
    column_major: bool,
    shape: Vec<usize>,
    /// Bytes of the header itself.
    length: usize,
}

impl Header {
    fn read(input: &mut impl Read) -> Result<Self, String> {
        let early = |error: io::Error| format!("is damaged or ends early: {error}");
        let mut start = [0; 8];
        input.read_exact(&mut start).map_err(early)?;
        let [magic @ .., version, _] = start;
        if magic != *b"\x93NUMPY" {
            return Err("is not in NumPy's format".to_owned());
        }
        let (text_length, size_bytes) = if version == 1 {
            let mut length = [0; 2];
            input.read_exact(&mut length).map_err(early)?;
            (usize::from(u16::from_le_bytes(length)), length.len())
        } else {
            let mut length = [0; 4];
            input.read_exact(&mut length).map_err(early)?;
            (u32::from_le_bytes(length) as usize, length.len())
        };
        if text_length > LONGEST_HEADER {
            return Err(format!("has a header of {text_length} bytes, more than any array needs"));
        }
        let mut text = vec![0; text_length];
        input.read_exact(&mut text).map_err(early)?;
        let text = String::from_utf8_lossy(&text);
        let (kind, column_major, shape) =
            parse(&text).ok_or_else(|| format!("has a header that cannot be understood: {}", text.trim()))?;
        Ok(Self { kind, column_major, shape, length: start.len() + size_bytes + text_length })
    }

    /// The product of the dimensions.
    fn count(&self) -> Option<usize> {
        self.shape.iter().try_fold(1usize, |product, &length| product.checked_mul(length))
    }

    /// The length of an array of one dimension.
    fn vector_length(&self) -> Result<usize, String> {
        match self.shape[..] {
            [length] => Ok(length),
            _ => Err(format!("has the shape {:?} where a list is expected", self.shape)),
        }
    }

    fn element(&self) -> Option<(Element, ByteOrder)> {
        let (order, kind) = self.kind.split_at_checked(1)?;
        let order = if order == ">" { ByteOrder::Big } else { ByteOrder::Little };
        let element = match kind {
            "f2" => Element::F16,
            "f4" => Element::F32,
            "f8" => Element::F64,
            "u1" => Element::U8,
            "i1" => Element::I8,
            "u2" => Element::U16,
            "i2" => Element::I16,
            "u4" => Element::U32,
            "i4" => Element::I32,
            "u8" => Element::U64,
            "i8" => Element::I64,
            _ => return None,
        };
        Some((element, order))
    }
}

/// Type, order and shape from the text of a header, a Python dictionary.
fn parse(text: &str) -> Option<(String, bool, Vec<usize>)> {
    let after = |key: &str| {
        let at = text.find(&format!("'{key}':"))?;
        Some(text[at + key.len() + 3..].trim_start())
    };
    let kind = after("descr")?.strip_prefix('\'')?.split_once('\'')?.0;
    let order = after("fortran_order")?;
    let column_major = match (order.starts_with("True"), order.starts_with("False")) {
        (true, _) => true,
        (_, true) => false,
        _ => return None,
    };
    let lengths = after("shape")?.strip_prefix('(')?.split_once(')')?.0;
    let lengths = lengths.split(',').map(str::trim).filter(|length| !length.is_empty());
    let shape = lengths.map(|length| length.parse().ok()).collect::<Option<_>>()?;
    Some((kind.to_owned(), column_major, shape))
}

/// An array whose header is read and whose data come next.
struct Array<'a, 'b> {
    entry: &'a mut ZipFile<'b, BufReader<File>>,
    header: Header,
}

impl Array<'_, '_> {
    fn floats(self) -> Result<(Vec<f32>, [usize; 2]), String> {
        let [rows, columns] = self.header.shape[..] else {
            return Err(format!("has the shape {:?} where rows and columns are expected", self.header.shape));
        };
        let column_major = self.header.column_major;
        let values = self.numbers(elements::floats, "floating-point numbers")?;
        let values = if column_major { transposed(&values, rows, columns) } else { values };
        Ok((values, [rows, columns]))
    }

    fn integers(self) -> Result<Vec<i64>, String> {
        self.header.vector_length()?;
        self.numbers(elements::integers, "integers")
    }

    fn numbers<T>(
        self,
        read: impl Fn(&mut dyn Read, Element, ByteOrder, usize) -> io::Result<Option<Vec<T>>>,
        expected: &str,
    ) -> Result<Vec<T>, String> {
        let other = || format!("is of the type `{}` where {expected} are expected", self.header.kind);
        let (element, order) = self.header.element().ok_or_else(other)?;
        let count = self.checked_count(element.size())?;
        let values = read(self.entry, element, order, count).map_err(|error| damaged(&error))?;
        let values = values.ok_or_else(other)?;
        self.end()?;
        Ok(values)
    }

    /// Text of equal width (`U`) or bytes that are UTF-8 (`S`), both filled up with zeros.
    fn strings(self) -> Result<Vec<String>, String> {
        let count = self.header.vector_length()?;
        let kind = self.header.kind.trim_start_matches(['<', '>', '|', '=']);
        let (unit, width) = match kind.split_at_checked(1) {
            Some(("U", width)) => (size_of::<u32>(), width),
            Some(("S", width)) => (1, width),
            _ => {
                let kind = &self.header.kind;
                return Err(format!("is of the type `{kind}`, not text: save it with `numpy.array(…, dtype=str)`"));
            }
        };
        let width: usize = width.parse().map_err(|_| "has text of an unknown width".to_owned())?;
        let bytes = width.checked_mul(unit).ok_or("has text of an impossible width")?;
        self.checked_count(bytes)?;
        let big = self.header.kind.starts_with('>');
        let mut buffer = vec![0; bytes];
        let mut texts = Vec::new();
        // Text of no width takes no byte, so that the file's size would not bound its number.
        for _ in 0..if bytes == 0 { 0 } else { count } {
            self.entry.read_exact(&mut buffer).map_err(|error| damaged(&error))?;
            let text = if unit == 1 { utf8(&buffer) } else { utf32(&buffer, big) };
            texts.push(text.ok_or("has text that is not Unicode")?);
        }
        self.end()?;
        Ok(texts)
    }

    /// The number of elements, of `size` bytes each, if the archive's entry is exactly as long as they need.
    fn checked_count(&self, size: usize) -> Result<usize, String> {
        let Header { shape, length, .. } = &self.header;
        let count = self.header.count();
        let bytes = count.and_then(|count| count.checked_mul(size)?.checked_add(*length));
        match (count, bytes.map(|bytes| bytes as u64)) {
            (Some(count), Some(bytes)) if bytes == self.entry.size() => Ok(count),
            _ => Err(format!("has {} bytes, which do not fit its shape {shape:?}", self.entry.size())),
        }
    }

    /// Reads up to the end, where the archive's checksum is compared.
    fn end(self) -> Result<(), String> {
        match self.entry.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err("is longer than its shape".to_owned()),
            Err(error) => Err(damaged(&error)),
        }
    }
}

fn damaged(error: &io::Error) -> String {
    format!("is damaged or ends early: {error}")
}

fn utf8(bytes: &[u8]) -> Option<String> {
    let length = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    String::from_utf8(bytes[..length].to_vec()).ok()
}

fn utf32(bytes: &[u8], big: bool) -> Option<String> {
    let code = |&bytes: &[u8; 4]| if big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
    let text: String = bytes.as_chunks().0.iter().map(|bytes| char::from_u32(code(bytes))).collect::<Option<_>>()?;
    Some(text.trim_end_matches('\0').to_owned())
}

/// Rows one after the other, from columns one after the other.
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..rows * columns).map(|at| values[at % columns * rows + at / columns]).collect()
}
