//! CIFAR-10 and CIFAR-100 as their authors publish them and torchvision keeps them.
//!
//! Each has a Python version (`cifar-10-batches-py/`, `cifar-100-python/`: pickled dictionaries, read by [`super::pickle`])
//! and a binary one (`cifar-10-batches-bin/`, `cifar-100-binary/`: a record for each image, 1 or 2 label bytes and then its
//! pixels), as Alex Krizhevsky's page describes them. Both hold images of 32 × 32 pixels, red before green before blue.
//! Pixels are read where they lie. Of CIFAR-100's two labels the fine one is taken. Classes keep the order of the
//! published numbers.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::RgbImage;

use super::folder::has_images;
use super::format::{Format, Reading};
use super::image::{ImageSource, ImageStore, StoredImage};
use super::pickle::{Bytes, Pickle};
use super::positional::read_exact_at;
use super::source::{DataSource, Sample, SplitName};
use super::{DataError, DataNote};
use crate::wording::counted;

const SIDE: u32 = 32;
const PIXELS: usize = (SIDE * SIDE) as usize;
const IMAGE_BYTES: usize = 3 * PIXELS;

/// The largest file that is read: CIFAR-100's training images have 155 MB.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// One of the four published versions.
struct Version {
    /// The folder that its archive makes.
    folder: &'static str,
    training: &'static [&'static str],
    test: &'static str,
    /// The file with the names of the classes.
    names: &'static str,
    encoding: Encoding,
}

#[derive(Clone, Copy)]
enum Encoding {
    /// Pickles; the names of the classes are under the first of these keys.
    Python { names: [&'static str; 2] },
    /// Records with so many bytes of labels before the pixels, of which the last counts.
    Binary { label_bytes: u64 },
}

static VERSIONS: [Version; 4] = [
    Version {
        folder: "cifar-10-batches-py",
        training: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
        test: "test_batch",
        names: "batches.meta",
        encoding: Encoding::Python { names: ["label_names", "fine_label_names"] },
    },
    Version {
        folder: "cifar-100-python",
        training: &["train"],
        test: "test",
        names: "meta",
        encoding: Encoding::Python { names: ["fine_label_names", "label_names"] },
    },
    Version {
        folder: "cifar-10-batches-bin",
        training: &["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"],
        test: "test_batch.bin",
        names: "batches.meta.txt",
        encoding: Encoding::Binary { label_bytes: 1 },
    },
    Version {
        folder: "cifar-100-binary",
        training: &["train.bin"],
        test: "test.bin",
        names: "fine_label_names.txt",
        encoding: Encoding::Binary { label_bytes: 2 },
    },
];

/// Keys of labels in pickles, the most telling first.
const LABELS: [&str; 3] = ["fine_labels", "labels", "coarse_labels"];

/// CIFAR-10 and CIFAR-100 as published, in Python's pickles or in binary, or torchvision's folder of one of them.
pub(super) struct Cifar;

impl Format for Cifar {
    fn open_folder(&self, root: &Path, _: Reading) -> Result<Option<DataSource>, DataError> {
        open(root)
    }
}

/// Lists the images of a folder of CIFAR files or of one that holds such a folder (torchvision's `root`), or `None` where
/// there is none.
fn open(root: &Path) -> Result<Option<DataSource>, DataError> {
    if let Some(version) = VERSIONS.iter().find(|version| version.is_in(root)) {
        return version.open(root).map(Some);
    }
    let below: Vec<&Version> = VERSIONS.iter().filter(|version| version.is_in(&root.join(version.folder))).collect();
    // Beside folders of images it is one folder of many.
    if below.is_empty() || has_images(root, 2)? {
        return Ok(None);
    }
    match below[..] {
        [version] => version.open(&root.join(version.folder)).map(Some),
        _ => {
            let sets = below.iter().map(|version| version.folder.to_owned()).collect();
            Err(DataError::SeveralSets { path: root.to_owned(), sets })
        }
    }
}

impl Version {
    /// Whether the folder has the names of the classes and images. The files of CIFAR-100 have names that others may have
    /// too; their contents tell.
    fn is_in(&self, folder: &Path) -> bool {
        let has = |name: &str| folder.join(name).is_file();
        let telling = match self.encoding {
            Encoding::Python { .. } => is_pickle(&folder.join(self.names)),
            Encoding::Binary { .. } => has(self.names),
        };
        let is_batch = self.training.len() > 1;
        (telling || is_batch) && (has(self.training[0]) || has(self.test))
    }

    fn open(&self, root: &Path) -> Result<DataSource, DataError> {
        let mut splits: BTreeMap<SplitName, Vec<Sample>> = BTreeMap::new();
        let names = self.class_names(root)?;
        let (mut largest, mut missing) = (None, Vec::new());
        let test = SplitName::Other("test".to_owned());
        let files = self.training.iter().map(|name| (SplitName::Train, *name)).chain([(test, self.test)]);
        for (split, name) in files {
            let path = root.join(name);
            if !path.is_file() {
                missing.push(name.to_owned());
                continue;
            }
            let (images, labels) = match self.encoding {
                Encoding::Python { .. } => CifarImages::open_pickle(&path)?,
                Encoding::Binary { label_bytes } => CifarImages::open_records(&path, label_bytes)?,
            };
            let last = labels.iter().max().copied();
            let classes = names.as_ref().map_or(usize::MAX, Vec::len);
            if let Some(label) = last.filter(|&label| usize::from(label) >= classes) {
                let problem = format!("the label {label} is none of the {classes} class names");
                return Err(DataError::Cifar { path, problem });
            }
            largest = largest.max(last);
            let (images, stem): (Arc<dyn ImageStore>, _) = (Arc::new(images), name.trim_end_matches(".bin"));
            splits.entry(split).or_default().extend(labels.iter().enumerate().map(|(item, &label)| Sample {
                image: ImageSource::Stored { images: images.clone(), item },
                label: Some(usize::from(label)),
                group: None,
                name: format!("{stem}/{item:04}").into(),
            }));
        }
        splits.retain(|_, samples| !samples.is_empty());
        if splits.is_empty() {
            let problem = "there is no image in any of its files".to_owned();
            return Err(DataError::Cifar { path: root.to_owned(), problem });
        }
        let numbers = || (0..=largest.unwrap_or(0)).map(|label| label.to_string()).collect();
        let notes = match missing.is_empty() {
            true => Vec::new(),
            false => vec![DataNote::MissingFiles { folder: root.to_owned(), files: missing }],
        };
        Ok(DataSource {
            root: root.to_owned(),
            classes: names.unwrap_or_else(numbers),
            splits: splits.into_iter().map(|(split, samples)| (split, samples.into())).collect(),
            empty_class_folders: Vec::new(),
            notes,
            corruptions: Vec::new(),
        })
    }

    /// The names of the classes in the order of their numbers, or `None` without the file that has them.
    fn class_names(&self, root: &Path) -> Result<Option<Vec<String>>, DataError> {
        let path = root.join(self.names);
        let bad = |problem| DataError::Cifar { path: path.clone(), problem };
        let bytes = match read(&path) {
            Err(DataError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => return Ok(None),
            read => read?,
        };
        let names = match self.encoding {
            Encoding::Python { names } => {
                let pickle = Pickle::read(&bytes).map_err(bad)?;
                let key = pickle.first_of(&names).ok_or_else(|| bad("it has no names of classes".to_owned()))?;
                pickle.texts(key).map_err(bad)?
            }
            Encoding::Binary { .. } => {
                let text = String::from_utf8(bytes).map_err(|_| bad("it is not text in UTF-8".to_owned()))?;
                text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
            }
        };
        let mut sorted = names.clone();
        sorted.sort();
        sorted.dedup();
        if sorted.len() < names.len() {
            return Err(bad("a class name is listed twice".to_owned()));
        }
        Ok(Some(names))
    }
}

fn is_pickle(path: &Path) -> bool {
    let mut first = [0; 2];
    File::open(path).and_then(|file| read_exact_at(&file, &mut first, 0)).is_ok() && matches!(first, [0x80, 2..=5])
}

fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    let unreadable = |source| DataError::Io { path: path.to_owned(), source };
    let bytes = fs::metadata(path).map_err(unreadable)?.len();
    if bytes > MAX_FILE_BYTES {
        return Err(DataError::FileTooLarge { path: path.to_owned(), bytes, limit: MAX_FILE_BYTES });
    }
    fs::read(path).map_err(unreadable)
}

/// The images of one CIFAR file, read by position.
#[derive(Debug)]
pub struct CifarImages {
    path: PathBuf,
    count: usize,
    pixels: Pixels,
}

#[derive(Debug)]
enum Pixels {
    /// Images one after the other, `stride` bytes from one to the next, the first at `start`.
    File { file: File, start: u64, stride: u64 },
    /// Images that the file holds in an encoded form.
    Memory(Vec<u8>),
}

impl CifarImages {
    /// A pickled dictionary with `data` (images × 3072 unsigned bytes) and labels.
    fn open_pickle(path: &Path) -> Result<(Self, Vec<u8>), DataError> {
        let bad = |problem| DataError::Cifar { path: path.to_owned(), problem };
        let bytes = read(path)?;
        let pickle = Pickle::read(&bytes).map_err(bad)?;
        let data = pickle.array("data").map_err(bad)?;
        let count = match data.shape[..] {
            [count, IMAGE_BYTES] | [count, 3, 32, 32] if data.has_bytes() => count,
            _ => return Err(bad(format!("`data` has the shape {:?}, not images × {IMAGE_BYTES} bytes", data.shape))),
        };
        let key = pickle.first_of(&LABELS).ok_or_else(|| bad("it has no labels".to_owned()))?;
        let number = |label: i64| u8::try_from(label).map_err(|_| bad(format!("a label is {label}")));
        let labels: Vec<u8> = pickle.integers(key).map_err(bad)?.into_iter().map(number).collect::<Result<_, _>>()?;
        if labels.len() != count {
            return Err(bad(format!(
                "{} and {} do not match",
                counted(labels.len(), "label"),
                counted(count, "image")
            )));
        }
        let pixels = match pickle.elements(data) {
            Bytes::InFile(range) => {
                let file = File::open(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
                Pixels::File { file, start: range.start as u64, stride: IMAGE_BYTES as u64 }
            }
            Bytes::Decoded(bytes) => Pixels::Memory(bytes),
        };
        Ok((Self { path: path.to_owned(), count, pixels }, labels))
    }

    /// Records of labels and pixels.
    fn open_records(path: &Path, label_bytes: u64) -> Result<(Self, Vec<u8>), DataError> {
        let bad = |problem| DataError::Cifar { path: path.to_owned(), problem };
        let bytes = read(path)?;
        let stride = label_bytes + IMAGE_BYTES as u64;
        if !(bytes.len() as u64).is_multiple_of(stride) {
            return Err(bad(format!("its {} bytes are no whole number of records of {stride} bytes", bytes.len())));
        }
        let records = bytes.chunks_exact(stride as usize);
        let labels: Vec<u8> = records.map(|record| record[label_bytes as usize - 1]).collect();
        let file = File::open(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
        let pixels = Pixels::File { file, start: label_bytes, stride };
        Ok((Self { path: path.to_owned(), count: labels.len(), pixels }, labels))
    }

    /// The image at position `item`: 32 × 32 pixels.
    fn image(&self, item: usize) -> Result<RgbImage, DataError> {
        let bad = |problem| DataError::Cifar { path: self.path.clone(), problem };
        if item >= self.count {
            return Err(bad(format!("image {item} was asked for and there are {}", self.count)));
        }
        let mut planes = [0; IMAGE_BYTES];
        match &self.pixels {
            Pixels::File { file, start, stride } => read_exact_at(file, &mut planes, start + item as u64 * stride)
                .map_err(|source| DataError::Io { path: self.path.clone(), source })?,
            Pixels::Memory(all) => {
                let bytes = all.get(item * IMAGE_BYTES..).and_then(|bytes| bytes.first_chunk());
                planes = *bytes.ok_or_else(|| bad(format!("image {item} is missing")))?;
            }
        }
        let interleaved =
            (0..PIXELS).flat_map(|at| [planes[at], planes[PIXELS + at], planes[2 * PIXELS + at]]).collect();
        RgbImage::from_raw(SIDE, SIDE, interleaved).ok_or_else(|| bad(format!("image {item} is missing")))
    }
}

impl ImageStore for CifarImages {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read(&self, item: usize) -> Result<StoredImage, DataError> {
        self.image(item).map(StoredImage::Pixels)
    }
}

#[cfg(test)]
mod tests;
