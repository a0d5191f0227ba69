//! IDX files: the format of MNIST and of the data sets made in its likeness.
//!
//! A file holds one array of bytes: two zero bytes, the element type (8 for unsigned bytes), the
//! number of dimensions, each dimension as a big-endian 32-bit number, and the elements with the
//! last dimension varying fastest (as Yann LeCun's page on MNIST describes it). Images are
//! `n × height × width` (gray), `n × height × width × 3` or `n × 3 × height × width`. Any file may be
//! compressed with gzip.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::RgbImage;

use super::DataError;
use super::format::{Format, Reading};
use super::image::{ImageSource, ImageStore, StoredImage};
use super::positional::read_exact_at;
use super::source::{DataSource, Sample, SampleList, SplitName};
use crate::wording::counted;

/// Decompressed images up to this size stay in memory; larger ones go to an unnamed temporary file.
const MAX_BYTES_IN_MEMORY: u64 = 256 << 20;

/// The images of one IDX file, read by position.
#[derive(Debug)]
pub struct IdxImages {
    path: PathBuf,
    count: usize,
    width: u32,
    height: u32,
    layout: Layout,
    pixels: Pixels,
}

/// How the bytes of one image lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Gray,
    ChannelsLast,
    ChannelsFirst,
}

#[derive(Debug)]
enum Pixels {
    Memory(Vec<u8>),
    /// A file and the position of its first pixel.
    File(File, u64),
}

impl IdxImages {
    /// Opens a file of images. An uncompressed file is read where it lies; only its header is read here.
    fn open(path: &Path) -> Result<Self, DataError> {
        let bad = |problem| DataError::Idx { path: path.to_owned(), problem };
        let unreadable = |source| DataError::Io { path: path.to_owned(), source };
        let mut input = BufReader::new(File::open(path).map_err(unreadable)?);
        let is_compressed = is_gzip(&mut input).map_err(unreadable)?;
        let (shape, pixels) = if is_compressed {
            let mut input = flate2::bufread::MultiGzDecoder::new(input);
            let shape = ImageShape::read(&mut input).map_err(bad)?;
            let pixels = read_pixels(&mut input, shape.bytes).map_err(bad)?;
            (shape, pixels)
        } else {
            let shape = ImageShape::read(&mut input).map_err(bad)?;
            let file = input.into_inner();
            let actual = file.metadata().map_err(unreadable)?.len();
            let expected = shape.header_bytes.saturating_add(shape.bytes);
            if actual != expected {
                return Err(bad(format!("the file has {actual} bytes where its header announces {expected}")));
            }
            (shape, Pixels::File(file, shape.header_bytes))
        };
        let ImageShape { count, width, height, layout, .. } = shape;
        Ok(Self { path: path.to_owned(), count, width, height, layout, pixels })
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The image at position `item`, gray ones with three equal channels.
    fn image(&self, item: usize) -> Result<RgbImage, DataError> {
        let bad = |problem| DataError::Idx { path: self.path.clone(), problem };
        if item >= self.count {
            return Err(bad(format!("image {item} was asked for and there are {}", self.count)));
        }
        let area = self.width as usize * self.height as usize;
        let size = area * if self.layout == Layout::Gray { 1 } else { 3 };
        let bytes = match &self.pixels {
            Pixels::Memory(all) => all[item * size..][..size].to_vec(),
            Pixels::File(file, start) => {
                let mut bytes = vec![0; size];
                read_exact_at(file, &mut bytes, start + (item * size) as u64)
                    .map_err(|source| DataError::Io { path: self.path.clone(), source })?;
                bytes
            }
        };
        let interleaved = match self.layout {
            Layout::ChannelsLast => bytes,
            Layout::Gray => bytes.into_iter().flat_map(|gray| [gray; 3]).collect(),
            Layout::ChannelsFirst => {
                (0..area).flat_map(|at| [bytes[at], bytes[area + at], bytes[2 * area + at]]).collect()
            }
        };
        RgbImage::from_raw(self.width, self.height, interleaved)
            .ok_or_else(|| bad(format!("image {item} does not have the size that the header announces")))
    }
}

impl ImageStore for IdxImages {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read(&self, item: usize) -> Result<StoredImage, DataError> {
        self.image(item).map(StoredImage::Pixels)
    }
}

/// The dimensions of an array of unsigned bytes, from a file's header.
fn read_dimensions(input: &mut impl Read) -> Result<Vec<usize>, String> {
    let too_short = |_| "the file ends within its header".to_owned();
    let mut magic = [0; 4];
    input.read_exact(&mut magic).map_err(too_short)?;
    let [0, 0, element, dimensions] = magic else {
        return Err("this is no IDX file: the first two bytes are not zero".to_owned());
    };
    if element != 8 {
        return Err(format!("the elements have type {element:#04x}, and only unsigned bytes (0x08) can be read"));
    }
    let dimension = |_| {
        let mut size = [0; 4];
        input.read_exact(&mut size).map_err(too_short)?;
        Ok(u32::from_be_bytes(size) as usize)
    };
    (0..dimensions).map(dimension).collect()
}

/// What the header of a file of images says.
#[derive(Clone, Copy, Debug)]
struct ImageShape {
    count: usize,
    width: u32,
    height: u32,
    layout: Layout,
    /// The size of the header, in bytes.
    header_bytes: u64,
    /// The size of all images together, in bytes.
    bytes: u64,
}

impl ImageShape {
    fn read(input: &mut impl Read) -> Result<Self, String> {
        let dimensions = read_dimensions(input)?;
        let (count, height, width, layout) = match dimensions[..] {
            [count, height, width] => (count, height, width, Layout::Gray),
            [count, height, width, 3] => (count, height, width, Layout::ChannelsLast),
            [count, 3, height, width] => (count, height, width, Layout::ChannelsFirst),
            [count, height, width, 1] | [count, 1, height, width] => (count, height, width, Layout::Gray),
            _ => return Err(format!("dimensions {dimensions:?} are not those of images (n×h×w, n×h×w×3 or n×3×h×w)")),
        };
        if width == 0 || height == 0 {
            return Err(format!("images of {width}×{height} pixels have no pixel"));
        }
        let sizes = dimensions.iter().try_fold(1u64, |product, &size| product.checked_mul(size as u64));
        let side = |size| u32::try_from(size).map_err(|_| format!("a side of {size} pixels is too long"));
        let bytes = sizes.filter(|&bytes| usize::try_from(bytes).is_ok_and(|bytes| bytes <= isize::MAX as usize));
        Ok(Self {
            count,
            width: side(width)?,
            height: side(height)?,
            layout,
            header_bytes: 4 + 4 * dimensions.len() as u64,
            bytes: bytes.ok_or_else(|| format!("the dimensions {dimensions:?} are too large"))?,
        })
    }
}

/// Reads exactly `bytes` bytes up to the end of `input`, into memory or, past a limit, a temporary file.
fn read_pixels(input: &mut impl Read, bytes: u64) -> Result<Pixels, String> {
    let unreadable = |error: io::Error| format!("the file is damaged or ends early: {error}");
    let mut limited = input.by_ref().take(bytes);
    // Nothing is reserved ahead: a header may announce more than the file holds.
    let (read, pixels) = if bytes <= MAX_BYTES_IN_MEMORY {
        let mut pixels = Vec::new();
        let read = limited.read_to_end(&mut pixels).map_err(unreadable)? as u64;
        (read, Pixels::Memory(pixels))
    } else {
        let spilled = tempfile::tempfile().and_then(|mut file| Ok((io::copy(&mut limited, &mut file)?, file)));
        let (read, file) =
            spilled.map_err(|error| format!("the images cannot be unpacked to a temporary file: {error}"))?;
        (read, Pixels::File(file, 0))
    };
    if read < bytes {
        return Err(format!("the file has {read} bytes of pixels where its header announces {bytes}"));
    }
    // Reading on to the end also makes the decompressor verify its checksum.
    match input.read(&mut [0]).map_err(unreadable)? {
        0 => Ok(pixels),
        _ => Err(format!("the file goes on after the {bytes} bytes of pixels that its header announces")),
    }
}

/// Whether the input begins as gzip does (RFC 1952); nothing is consumed.
fn is_gzip(input: &mut impl BufRead) -> io::Result<bool> {
    Ok(input.fill_buf()?.starts_with(&[0x1f, 0x8b]))
}

/// The labels of a file, one byte each.
fn read_labels(mut input: impl BufRead) -> Result<Vec<u8>, String> {
    fn parse(mut input: impl Read) -> Result<Vec<u8>, String> {
        let dimensions = read_dimensions(&mut input)?;
        let [count] = dimensions[..] else {
            return Err(format!("labels have one dimension, and this file has {}", dimensions.len()));
        };
        let mut labels = Vec::new();
        // One byte more than announced, to notice a file that goes on.
        let damaged = |error| format!("the file is damaged or ends early: {error}");
        input.take((count as u64).saturating_add(1)).read_to_end(&mut labels).map_err(damaged)?;
        if labels.len() != count {
            let actual = if labels.len() > count { "more".to_owned() } else { labels.len().to_string() };
            return Err(format!("the header announces {} and the file has {actual}", counted(count, "label")));
        }
        Ok(labels)
    }
    match is_gzip(&mut input) {
        Ok(true) => parse(flate2::bufread::MultiGzDecoder::new(input)),
        Ok(false) => parse(input),
        Err(error) => Err(format!("the file cannot be read: {error}")),
    }
}

/// Folders of IDX files, the format of MNIST.
///
/// Files are named as MNIST's: `train-images-idx3-ubyte` with `train-labels-idx1-ubyte`, `t10k-…` or
/// `test…-…` for the test split, `val…-…` for validation; a `.gz` may follow, and `.idx3` may stand
/// for `-idx3`. Labels are named by their numbers, or by the lines of a `classes.txt`; the order of
/// the classes is that of the numbers, so that published label numbers keep their meaning.
pub(super) struct Idx;

impl Format for Idx {
    fn open_folder(&self, root: &Path, _: Reading) -> Result<Option<DataSource>, DataError> {
        open(root)
    }
}

fn open(root: &Path) -> Result<Option<DataSource>, DataError> {
    let files = find_files(root)?;
    if files.is_empty() {
        return Ok(None);
    }
    let mut splits: BTreeMap<SplitName, SampleList> = BTreeMap::new();
    let mut largest_label = None;
    for IdxFiles { split, prefix, images, labels } in files {
        let images = Arc::new(IdxImages::open(&images)?);
        let labels = labels.map(|path| open_labels(&path, images.len())).transpose()?;
        largest_label = largest_label.max(labels.iter().flatten().max().copied());
        let sample = |item: usize| Sample {
            image: ImageSource::Stored { images: images.clone(), item },
            label: labels.as_ref().map(|labels| usize::from(labels[item])),
            group: None,
            name: format!("{prefix}/{item:06}").into(),
        };
        splits.entry(split).or_default().extend((0..images.len()).map(sample));
    }
    splits.retain(|_, samples| !samples.is_empty());
    let class_count = largest_label.map_or(0, |label| usize::from(label) + 1);
    let classes = class_names(root, class_count)?;
    Ok(Some(DataSource {
        root: root.to_owned(),
        classes,
        splits,
        empty_class_folders: Vec::new(),
        notes: Vec::new(),
        corruptions: Vec::new(),
    }))
}

fn open_labels(path: &Path, images: usize) -> Result<Vec<u8>, DataError> {
    let file = File::open(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    let bad = |problem| DataError::Idx { path: path.to_owned(), problem };
    let labels = read_labels(BufReader::new(file)).map_err(bad)?;
    if labels.len() != images {
        let (count, fit) = (counted(labels.len(), "label"), if labels.len() == 1 { "does" } else { "do" });
        return Err(bad(format!("{count} {fit} not fit the {}", counted(images, "image"))));
    }
    Ok(labels)
}

/// The files of one split.
struct IdxFiles {
    split: SplitName,
    /// What the files' names begin with, as `t10k`.
    prefix: String,
    images: PathBuf,
    labels: Option<PathBuf>,
}

fn find_files(root: &Path) -> Result<Vec<IdxFiles>, DataError> {
    let unreadable = |source| DataError::Io { path: root.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(root).map_err(unreadable)? {
        names.extend(entry.map_err(unreadable)?.file_name().into_string());
    }
    // Sorted, an uncompressed file comes before its compressed twin and is the one that is read.
    names.sort();
    let mut files: Vec<IdxFiles> = Vec::new();
    for name in &names {
        let Some((prefix, split)) = split_of_file(name, "images", &["idx3", "idx4"]) else { continue };
        if files.iter().any(|other| other.prefix == prefix) {
            continue;
        }
        let is_labels =
            |name: &&String| split_of_file(name, "labels", &["idx1"]).is_some_and(|(other, _)| other == prefix);
        let labels = names.iter().find(is_labels).map(|name| root.join(name));
        files.push(IdxFiles { split, prefix: prefix.to_owned(), images: root.join(name), labels });
    }
    Ok(files)
}

/// The prefix and the split of a file named `PREFIX-KIND-IDXn-ubyte`, or `None` for other names.
fn split_of_file<'a>(name: &'a str, kind: &str, idx: &[&str]) -> Option<(&'a str, SplitName)> {
    let stem = name.strip_suffix(".gz").unwrap_or(name).strip_suffix("-ubyte")?;
    let stem = idx.iter().find_map(|idx| stem.strip_suffix(idx))?.strip_suffix(['-', '.'])?;
    let prefix = stem.strip_suffix(kind)?.strip_suffix('-')?;
    let split = match prefix {
        "t10k" => SplitName::Other("test".to_owned()),
        _ => match SplitName::from(prefix) {
            SplitName::Other(name) if !name.starts_with("test") => return None,
            split => split,
        },
    };
    Some((prefix, split))
}

/// The names of the classes numbered `0..count`: lines of `classes.txt`, or else the numbers.
fn class_names(root: &Path, count: usize) -> Result<Vec<String>, DataError> {
    let path = root.join("classes.txt");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok((0..count).map(|label| label.to_string()).collect());
        }
        Err(source) => return Err(DataError::Io { path, source }),
    };
    let names: Vec<String> = text.lines().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    if names.len() < count {
        let problem = format!("{} class names do not cover the labels 0 to {}", names.len(), count - 1);
        return Err(DataError::Idx { path, problem });
    }
    let distinct: std::collections::BTreeSet<&String> = names.iter().collect();
    if distinct.len() < names.len() {
        return Err(DataError::Idx { path, problem: "a class name is listed twice".to_owned() });
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
