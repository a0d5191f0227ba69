//! Manifests: CSV files and JSON-lines files that list images.
//!
//! The columns (or keys) are `path` (or `file_name`, or in CSV files what other programs call it) and, each optional, `label` (or `labels`), `split` and `group`, in any
//! order; others are ignored. Paths are relative to the manifest's folder or absolute. An empty label means
//! an unlabeled image. Labels are class names; numbers are taken as their decimal text.
//!
//! Where images have several labels, the field holds all of them, or there is a column of 0 and 1 for each label and none
//! called `label`; an empty label then means none of them.

mod rows;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

pub(super) use self::rows::{LineError, Row, Syntax, is_file_name, labels_of, read_rows, text_of};
use super::distinct::Distinct;
use super::folder::sorted_classes;
use super::format::{Format, Missing, Reading};
use super::image::ImageSource;
use super::source::{DataSource, Sample, SplitName};
use super::{DataError, DataNote};

/// CSV and JSON-lines files that list images.
pub(super) struct Manifest;

impl Format for Manifest {
    fn open_file(&self, path: &Path, reading: Reading) -> Result<Option<DataSource>, DataError> {
        Syntax::of(path).map(|syntax| open(path, syntax, reading)).transpose()
    }
}

/// Reads a manifest and, unless missing files are left to loading, checks that its images exist.
fn open(path: &Path, syntax: Syntax, reading: Reading) -> Result<DataSource, DataError> {
    let text = fs::read(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    parse(path, syntax, &text, reading)
}

/// A manifest's content as if it lay at `path`.
pub(super) fn parse(path: &Path, format: Syntax, text: &[u8], reading: Reading) -> Result<DataSource, DataError> {
    // The folder of a bare name has none, and messages speak of it.
    let root = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    let mut listing = Listing::new(root, text, reading.missing);
    let read = read_rows(format, text, reading.labels, |row| listing.add(row));
    let columns = read.map_err(|error| error.of_file(path))?;
    let mut source = listing.finish().map_err(|error| error.of_file(path))?;
    if !columns.is_empty() {
        source.notes.push(DataNote::UnusedColumns { path: path.to_owned(), columns });
    }
    Ok(source)
}

/// The images listed so far. Each row becomes a sample at once: of a million, a list of rows beside
/// that of samples would take a hundred megabytes more.
struct Listing {
    root: PathBuf,
    missing: Missing,
    /// At most so many rows are to come.
    lines: usize,
    folders: Option<Folders>,
    /// Labels in the order in which they occur, which is what samples have until all are known.
    labels: HashMap<String, usize>,
    groups: Distinct,
    splits: BTreeMap<SplitName, Vec<Sample>>,
    is_split: bool,
    /// The first line that names no split.
    without_split: Option<u64>,
}

impl Listing {
    fn new(root: PathBuf, text: &[u8], missing: Missing) -> Self {
        let lines = 1 + text.iter().filter(|&&byte| byte == b'\n').count();
        Self {
            root,
            missing,
            lines,
            folders: (lines > MANY_ROWS).then(Folders::default),
            labels: HashMap::new(),
            groups: Distinct::default(),
            splits: BTreeMap::new(),
            is_split: false,
            without_split: None,
        }
    }

    fn add(&mut self, row: Row) -> Result<(), LineError> {
        let problem = |problem| LineError { line: row.line, problem };
        if row.path.is_empty() {
            return Err(problem("the path is empty".to_owned()));
        }
        let image = self.root.join(row.path);
        if self.missing == Missing::Refused
            && !self.folders.as_mut().is_some_and(|folders| folders.lists(&image))
            && !image.is_file()
        {
            return Err(problem(format!("there is no file {}", image.display())));
        }
        match row.split {
            Some(_) => self.is_split = true,
            None => _ = self.without_split.get_or_insert(row.line),
        }
        let label = row.label.map(|label| match self.labels.get(label) {
            Some(&label) => label,
            None => {
                self.labels.insert(label.to_owned(), self.labels.len());
                self.labels.len() - 1
            }
        });
        let is_first = self.splits.is_empty();
        let samples = self.splits.entry(row.split.map_or(SplitName::All, SplitName::from)).or_default();
        if is_first {
            // Growing would copy, and what is not needed in the end is never touched.
            samples.reserve(self.lines.min(MAX_RESERVED));
        }
        samples.push(Sample {
            image: ImageSource::File(image.into()),
            label,
            group: row.group.map(|group| self.groups.shared(group)),
            name: row.path.into(),
        });
        Ok(())
    }

    fn finish(mut self) -> Result<DataSource, LineError> {
        if self.splits.is_empty() {
            let problem = "no image is listed: add lines below the column names".to_owned();
            return Err(LineError { line: 1, problem });
        }
        if let Some(line) = self.without_split.filter(|_| self.is_split) {
            return Err(LineError { line, problem: "the split is missing here and given on other lines".to_owned() });
        }
        let classes = sorted_classes(self.labels.keys().map(String::as_str));
        let mut sorted = vec![0; classes.len()];
        for (position, class) in classes.iter().enumerate() {
            sorted[self.labels[class]] = position;
        }
        for sample in self.splits.values_mut().flatten() {
            sample.label = sample.label.map(|label| sorted[label]);
        }
        Ok(DataSource {
            root: self.root,
            classes,
            splits: self.splits.into_iter().map(|(split, samples)| (split, samples.into())).collect(),
            empty_class_folders: Vec::new(),
            notes: Vec::new(),
            corruptions: Vec::new(),
        })
    }
}

/// Rows from which on folders are listed whole, rather than each file asked for: of a million files
/// that the system has not looked at lately, that takes seconds and not minutes.
const MANY_ROWS: usize = 10_000;

/// Rows for which room is made ahead: lines may be empty, and a text of nothing else asks for no more.
const MAX_RESERVED: usize = 1 << 20;

/// The files of folders, each listed once, by the hashes of their names.
#[derive(Default)]
struct Folders(HashMap<PathBuf, HashSet<u64>>);

impl Folders {
    /// Whether the file is there, unless two names have one hash of 64 bits; links, and whatever is
    /// spelt otherwise, have to be asked for.
    fn lists(&mut self, file: &Path) -> bool {
        let Some((folder, name)) = file.parent().zip(file.file_name()) else { return false };
        if !self.0.contains_key(folder) {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
            self.0.insert(folder.to_owned(), files.map(|entry| hash_of(&entry.file_name())).collect());
        }
        self.0.get(folder).is_some_and(|files| files.contains(&hash_of(name)))
    }
}

fn hash_of(name: &OsStr) -> u64 {
    retune_random::hash(name.as_encoded_bytes())
}

#[cfg(test)]
mod tests;
