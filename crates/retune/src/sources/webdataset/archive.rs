//! One tar archive: which members are samples, and where their images lie.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use retune_pixels::decode::DecodeError;
use serde_json::Value;

use super::labels::Label;
use crate::sources::DataError;
use crate::sources::distinct::Distinct;
use crate::sources::folder::{SNIFFED, foreign, is_beginning_of_image, is_hidden, is_image};
use crate::sources::format::Labels;
use crate::sources::image::{ImageStore, MAX_FILE_BYTES, StoredImage};
use crate::sources::manifest::{labels_of, text_of};
use crate::sources::positional::read_exact_at;

/// The most bytes of a member that tells a label.
const MAX_LABEL_BYTES: u64 = 1 << 20;

/// The most bytes of a `.txt` member that may be the name of a class.
const MAX_NAME_BYTES: u64 = 256;

/// First bytes of compressed files: gzip, Zstandard, bzip2, xz, LZ4.
const COMPRESSED: [&[u8]; 5] = [b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ", b"\x04\x22\x4d\x18"];

/// The images of one tar archive, read by position. The archive is opened for each, as an image file would be: data sets
/// have more archives than a process may have open files.
#[derive(Debug)]
pub struct TarImages {
    path: PathBuf,
    places: Vec<Place>,
}

/// Where a member lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    offset: u64,
    bytes: u64,
}

impl Place {
    fn read(self, path: &Path, file: &File) -> Result<Vec<u8>, DataError> {
        if self.bytes > MAX_FILE_BYTES {
            return Err(DataError::FileTooLarge { path: path.to_owned(), bytes: self.bytes, limit: MAX_FILE_BYTES });
        }
        let mut bytes = vec![0; self.bytes as usize];
        read_exact_at(file, &mut bytes, self.offset).map_err(|source| unreadable(path, source))?;
        Ok(bytes)
    }
}

impl TarImages {
    /// The encoded bytes of the image at position `item`.
    ///
    /// # Errors
    /// A position past the last image, or an archive that can no longer be read.
    pub fn encoded(&self, item: usize) -> Result<Vec<u8>, DataError> {
        let place = self.places.get(item).ok_or_else(|| DataError::Tar {
            path: self.path.clone(),
            problem: format!("image {item} was asked for and there are {}", self.places.len()),
        })?;
        let file = File::open(&self.path).map_err(|source| unreadable(&self.path, source))?;
        place.read(&self.path, &file)
    }
}

impl ImageStore for TarImages {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read(&self, item: usize) -> Result<StoredImage, DataError> {
        self.encoded(item).map(StoredImage::Encoded)
    }

    fn encoded_bytes(&self, item: usize) -> Option<u64> {
        self.places.get(item).map(|place| place.bytes)
    }

    fn holds_pixels(&self) -> bool {
        false
    }

    fn undecodable(&self, item: usize, source: DecodeError) -> DataError {
        DataError::Tar { path: self.path.clone(), problem: format!("image {item}: {source}") }
    }
}

/// What is known of an image besides its place.
pub(super) struct Member {
    /// Its name in the archive.
    pub name: Box<str>,
    pub label: Label,
    pub group: Option<Arc<str>>,
}

/// An archive's images and what belongs to them, in the same order.
pub(super) struct Archive {
    pub images: TarImages,
    pub members: Vec<Member>,
    /// How many members look like images and cannot be read, by extension.
    pub foreign: BTreeMap<&'static str, usize>,
}

impl Archive {
    /// Reads the headers of all members, and the members that tell labels: of several of an image, those in JSON.
    pub fn read(path: &Path, labels: Labels) -> Result<Self, DataError> {
        let problem = |problem: String| DataError::Tar { path: path.to_owned(), problem };
        let file = File::open(path).map_err(|source| unreadable(path, source))?;
        let length = file.metadata().map_err(|source| unreadable(path, source))?.len();
        check_uncompressed(path, &file, length)?;
        // Of a second handle the position is the reader's own.
        let headers = File::open(path).map_err(|source| unreadable(path, source))?;
        let mut reading = Reading::new(path, &file, labels);
        let mut headers = tar::Archive::new(headers);
        let damaged = |error: std::io::Error| problem(format!("the archive is damaged: {error}"));
        for entry in headers.entries_with_seek().map_err(damaged)? {
            let entry = entry.map_err(damaged)?;
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let place = Place { offset: entry.raw_file_position(), bytes: entry.size() };
            if place.offset.checked_add(place.bytes).is_none_or(|end| end > length) {
                return Err(problem(format!("the archive ends within {name}")));
            }
            reading.member(name.trim_start_matches("./"), place)?;
        }
        Ok(reading.finish())
    }
}

fn unreadable(path: &Path, source: std::io::Error) -> DataError {
    DataError::Io { path: path.to_owned(), source }
}

fn check_uncompressed(path: &Path, file: &File, length: u64) -> Result<(), DataError> {
    let mut first = [0; 6];
    let known = first.len().min(usize::try_from(length).unwrap_or(usize::MAX));
    read_exact_at(file, &mut first[..known], 0).map_err(|source| unreadable(path, source))?;
    if COMPRESSED.iter().any(|magic| first.starts_with(magic)) {
        let problem =
            "the archive is compressed, and images are read from where they lie: decompress it to a .tar first";
        return Err(DataError::Tar { path: path.to_owned(), problem: problem.to_owned() });
    }
    Ok(())
}

/// The members of one sample so far.
#[derive(Default)]
struct Parts {
    key: String,
    image: Option<(String, Place)>,
    class: Option<Label>,
    in_json: Option<Label>,
    text: Option<Label>,
    group: Option<Arc<str>>,
}

/// An archive that is being read.
struct Reading<'a> {
    path: &'a Path,
    file: &'a File,
    labels: Labels,
    parts: Parts,
    texts: Distinct,
    archive: Archive,
}

impl<'a> Reading<'a> {
    fn new(path: &'a Path, file: &'a File, labels: Labels) -> Self {
        let images = TarImages { path: path.to_owned(), places: Vec::new() };
        let archive = Archive { images, members: Vec::new(), foreign: BTreeMap::new() };
        Self { path, file, labels, parts: Parts::default(), texts: Distinct::default(), archive }
    }

    fn member(&mut self, name: &str, place: Place) -> Result<(), DataError> {
        let start = name.rfind('/').map_or(0, |slash| slash + 1);
        if is_hidden(Path::new(&name[start..])) {
            return Ok(());
        }
        let dot = name[start..].find('.').map_or(name.len(), |dot| start + dot);
        let (key, ending) = name.split_at(dot);
        if key != self.parts.key {
            self.end_sample();
            self.parts.key = key.to_owned();
        }
        // What comes before the last dot tells members of one kind apart: `0001.left.jpg`.
        let kind = ending.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
        match kind.as_str() {
            "cls" => self.parts.class = Some(self.class(name, place)?),
            "json" => self.json(name, place)?,
            "txt" => self.parts.text = Some(self.text(name, place)?),
            _ if is_image(Path::new(name)) => self.image(name, place),
            _ => match foreign(Path::new(name)) {
                Some(ending) => *self.archive.foreign.entry(ending).or_default() += 1,
                None if self.begins_as_image(place)? => self.image(name, place),
                None => {}
            },
        }
        Ok(())
    }

    /// The first image of a sample is the one that counts.
    fn image(&mut self, name: &str, place: Place) {
        self.parts.image.get_or_insert_with(|| (name.to_owned(), place));
    }

    fn begins_as_image(&self, place: Place) -> Result<bool, DataError> {
        let first = Place { bytes: place.bytes.min(SNIFFED as u64), ..place };
        Ok(is_beginning_of_image(&first.read(self.path, self.file)?))
    }

    /// A small member's text.
    fn small(&self, name: &str, place: Place) -> Result<String, DataError> {
        let problem =
            |problem: &str| DataError::Tar { path: self.path.to_owned(), problem: format!("{name}: {problem}") };
        if place.bytes > MAX_LABEL_BYTES {
            return Err(problem("it is too large to tell a label"));
        }
        let bytes = place.read(self.path, self.file)?;
        String::from_utf8(bytes).map_err(|_| problem("it is not text in UTF-8"))
    }

    fn label(&mut self, text: &str) -> Label {
        match text.parse::<i64>() {
            // As in Parquet files, a negative number is an unknown label.
            Ok(number) => u32::try_from(number).map_or(Label::Unknown, Label::Number),
            Err(_) if text.is_empty() => Label::Unknown,
            Err(_) => Label::Name(self.texts.shared(text)),
        }
    }

    fn class(&mut self, name: &str, place: Place) -> Result<Label, DataError> {
        let text = self.small(name, place)?;
        Ok(self.label(text.trim()))
    }

    fn text(&mut self, name: &str, place: Place) -> Result<Label, DataError> {
        // A caption need not be read to its end.
        let text = if place.bytes > MAX_NAME_BYTES { "\n".to_owned() } else { self.small(name, place)? };
        let text = text.trim();
        let is_name = !text.is_empty() && !text.contains('\n');
        Ok(if is_name { Label::Text(self.texts.shared(text)) } else { Label::Unknown })
    }

    fn json(&mut self, name: &str, place: Place) -> Result<(), DataError> {
        let problem =
            |problem: String| DataError::Tar { path: self.path.to_owned(), problem: format!("{name}: {problem}") };
        let text = self.small(name, place)?;
        let value: Value = serde_json::from_str(&text).map_err(|error| problem(format!("it is not JSON: {error}")))?;
        let Value::Object(fields) = value else { return Ok(()) };
        let text_of = |key: &str| match fields.get(key) {
            Some(value) => text_of(value).map_err(|found| problem(format!("the {key} is {found}"))),
            None => Ok(None),
        };
        let key = ["label", "labels", "class", "cls"].into_iter().find(|key| fields.contains_key(*key));
        let label = match (self.labels, key) {
            (_, None) => None,
            (Labels::One, Some(key)) => text_of(key)?.map(|text| self.label(&text)),
            // Several numbers are a combination, which is no number.
            (Labels::Several, Some(key)) => {
                labels_of(&fields, key).map_err(problem)?.map(|text| Label::Name(self.texts.shared(&text)))
            }
        };
        let group = text_of("group")?;
        if label.is_some() {
            self.parts.in_json = label;
        }
        self.parts.group = group.map(|group| self.texts.shared(&group));
        Ok(())
    }

    fn end_sample(&mut self) {
        let Parts { image, class, in_json, text, group, .. } = std::mem::take(&mut self.parts);
        if let Some((name, place)) = image {
            let label = class.or(in_json).or(text).unwrap_or(Label::Unknown);
            self.archive.images.places.push(place);
            self.archive.members.push(Member { name: name.into(), label, group });
        }
    }

    fn finish(mut self) -> Archive {
        self.end_sample();
        self.archive
    }
}
