//! What kind of file weights are in, by its first bytes: endings say little (`.pth.tar` is no tar).

use std::fmt;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use zip::ZipArchive;

use crate::files::FileError;
use crate::models::weights::WeightsError;

/// A format that weights are read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// A JSON header and the tensors behind it.
    Safetensors,
    /// What `torch.save` writes or wrote: a zip archive (since 1.6), a stream of pickles, or a tar archive of them
    /// (before 0.1.10).
    PyTorch,
}

/// A file that is no checkpoint, or none that can be read, but that people have where one belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ForeignFormat {
    /// Nothing at all.
    Empty,
    /// A program and its weights (`torch.jit.save`).
    TorchScript,
    /// NumPy's arrays in a zip archive.
    Npz,
    /// One of NumPy's arrays.
    Npy,
    /// A zip archive of something else.
    Zip,
    /// A tar archive of something else.
    Tar,
    /// A file that gzip compressed.
    Gzip,
    /// HDF5, as Keras keeps weights.
    Hdf5,
    /// GGUF, as llama.cpp keeps weights.
    Gguf,
    /// What Git keeps in the place of a large file.
    LfsPointer,
    /// A web page.
    Html,
    /// None of those that are known.
    Unknown,
}

impl fmt::Display for ForeignFormat {
    /// What it is and what to do instead.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Empty => "is empty; download it again",
            Self::TorchScript => {
                "is a TorchScript program, not a checkpoint; save its weights with \
                 torch.save(torch.jit.load(FILE).state_dict(), NEW)"
            }
            Self::Npz => {
                "is an .npz archive of NumPy arrays, which JAX models are kept in; let timm load it and save its \
                 state_dict()"
            }
            Self::Npy => "is a NumPy array, not a model's weights",
            Self::Zip => "is a zip archive without PyTorch's data.pkl; if a checkpoint is in it, unpack it first",
            Self::Tar => "is a tar archive; unpack it and name the checkpoint that is in it",
            Self::Gzip => "is compressed with gzip; unpack it and name the checkpoint that is in it",
            Self::Hdf5 => "is an HDF5 file, which Keras keeps weights in; PyTorch's or safetensors' are needed",
            Self::Gguf => "is a GGUF file, which language models are kept in; PyTorch's or safetensors' are needed",
            Self::LfsPointer => "is what Git keeps in the place of a large file; run `git lfs pull` to get the file",
            Self::Html => "is a web page, not a checkpoint; download the file itself",
            Self::Unknown => "is neither a safetensors file nor a checkpoint of PyTorch; convert it to safetensors",
        })
    }
}

/// Bytes that tell every format but archives, whose lists are looked into.
const HEAD: u64 = 512;

/// The format that a file's contents have.
///
/// # Errors
/// A file that cannot be read, or is in none of the formats.
pub(super) fn detect(path: &Path) -> Result<Format, WeightsError> {
    let unreadable = |error| WeightsError::File(FileError::new("read", path, error));
    let mut file = File::open(path).map_err(unreadable)?;
    let mut head = Vec::new();
    file.by_ref().take(HEAD).read_to_end(&mut head).map_err(unreadable)?;
    let foreign = match of_head(&head) {
        Ok(Head::Format(format)) => return Ok(format),
        Ok(Head::Zip) => foreign_zip(file),
        Ok(Head::Tar) => foreign_tar(file),
        Err(foreign) => Some(foreign),
    };
    match foreign {
        Some(format) => Err(WeightsError::Foreign { path: path.to_owned(), format }),
        None => Ok(Format::PyTorch),
    }
}

/// What the first bytes tell.
enum Head {
    Format(Format),
    /// An archive, of PyTorch or of something else.
    Zip,
    /// An archive, of PyTorch or of something else.
    Tar,
}

/// The magic number of a stream of pickles, 0x1950a86a20f9469cfc6c, as protocols from 2 on write it and as text.
const PICKLES: [&[u8]; 2] =
    [&[0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19], b"119547037146038801333356"];

fn of_head(head: &[u8]) -> Result<Head, ForeignFormat> {
    let holds = |magic: &[u8]| head[..head.len().min(64)].windows(magic.len()).any(|bytes| bytes == magic);
    let text = || head.trim_ascii_start().get(..9).unwrap_or_default().to_ascii_lowercase();
    match head {
        [] => Err(ForeignFormat::Empty),
        // A JSON header of at most 100 MB behind its length, which safetensors allows.
        [_, _, _, _, 0, 0, 0, 0, b'{', ..] => Ok(Head::Format(Format::Safetensors)),
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Ok(Head::Zip),
        _ if head.get(257..262) == Some(&b"ustar"[..]) => Ok(Head::Tar),
        _ if PICKLES.iter().any(|magic| holds(magic)) => Ok(Head::Format(Format::PyTorch)),
        [0x1f, 0x8b, ..] => Err(ForeignFormat::Gzip),
        [0x89, b'H', b'D', b'F', ..] => Err(ForeignFormat::Hdf5),
        [0x93, b'N', b'U', b'M', ..] => Err(ForeignFormat::Npy),
        [b'G', b'G', b'U', b'F', ..] => Err(ForeignFormat::Gguf),
        _ if head.starts_with(b"version https://git-lfs") => Err(ForeignFormat::LfsPointer),
        _ if text() == b"<!doctype" || text().starts_with(b"<html") => Err(ForeignFormat::Html),
        // A plain pickle: `PROTO`, or what one of protocol 0 begins with.
        [0x80 | b'(' | b'}' | b']' | b'c', ..] => Ok(Head::Format(Format::PyTorch)),
        _ => Err(ForeignFormat::Unknown),
    }
}

/// What a zip archive is, if it is not PyTorch's. One that is damaged is left to the reader to complain of.
fn foreign_zip(file: File) -> Option<ForeignFormat> {
    let archive = ZipArchive::new(BufReader::new(file)).ok()?;
    let names: Vec<_> = archive.file_names().collect::<Result<_, _>>().ok()?;
    let some = |end: &str| names.iter().any(|name| name.ends_with(end));
    let within = |folder: &str| names.iter().any(|name| name.split('/').nth(1) == Some(folder));
    if some("constants.pkl") && within("code") {
        Some(ForeignFormat::TorchScript)
    } else if some("data.pkl") {
        None
    } else if some(".npy") {
        Some(ForeignFormat::Npz)
    } else {
        Some(ForeignFormat::Zip)
    }
}

/// What a tar archive is, if it is not PyTorch's, whose first members have names of their own.
fn foreign_tar(mut file: File) -> Option<ForeignFormat> {
    const BLOCK: u64 = 512;
    const MEMBERS: usize = 16;
    let mut at = 0;
    for _ in 0..MEMBERS {
        let mut header = [0; BLOCK as usize];
        if file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut header)).is_err() {
            break;
        }
        let name = header[..100].split(|&byte| byte == 0).next().unwrap_or_default();
        if matches!(name.strip_prefix(b"./").unwrap_or(name), b"sys_info" | b"pickle" | b"storages" | b"tensors") {
            return None;
        }
        let digits = header[124..136].iter().filter(|&&byte| matches!(byte, b'0'..=b'7'));
        let size = digits.fold(0u64, |size, digit| size.saturating_mul(8).saturating_add(u64::from(digit - b'0')));
        at = size.div_ceil(BLOCK).saturating_mul(BLOCK).saturating_add(at + BLOCK);
    }
    Some(ForeignFormat::Tar)
}
