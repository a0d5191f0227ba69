//! Folders of images: split folders of class folders, class folders, or plain images.
//!
//! The habits are those of torchvision's `ImageFolder` and timm: a class is a folder, its images lie
//! anywhere below it, classes and files are sorted, symbolic links are followed. Hidden files and
//! folders are skipped, and so are folders that systems make and that hold this program's outputs. What looks as if it
//! were meant to be read and is not becomes a note. A `metadata.csv`, `.jsonl` or `.parquet` may give labels of its own
//! ([`super::metadata`]).

mod endings;
mod outputs;

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(crate) use self::endings::is_image;
pub(super) use self::endings::{SNIFFED, begins_as_image, foreign, is_beginning_of_image};
pub(super) use self::outputs::{is_hidden, is_output};
use super::format::{Format, Labels, Reading};
use super::image::ImageSource;
use super::source::{DataSource, Sample, SplitName, slashed};
use super::{DataError, DataNote, metadata};

/// Folders of images, and single image files.
pub(super) struct ImageFolder;

impl Format for ImageFolder {
    fn open_folder(&self, root: &Path, reading: Reading) -> Result<Option<DataSource>, DataError> {
        open(root, reading.labels).map(Some)
    }

    fn open_file(&self, path: &Path, _: Reading) -> Result<Option<DataSource>, DataError> {
        Ok((is_image(path) || begins_as_image(path)).then(|| DataSource::single_image(path)))
    }
}

/// Lists a folder's images by split and class.
fn open(root: &Path, labels: Labels) -> Result<DataSource, DataError> {
    let entries = Entries::of(root)?;
    let mut listing = Listing::of(root);
    match split_folders(&entries)? {
        Some(folders) => {
            for (split, folder) in &folders {
                listing.add_split(split, folder, Entries::of(folder)?)?;
                metadata::apply(folder, &mut listing, labels)?;
            }
            listing.note_beside_splits(entries, &folders);
        }
        None => listing.add_split(&SplitName::All, root, entries)?,
    }
    metadata::apply(root, &mut listing, labels)?;
    listing.into_source()
}

/// Whether an image lies in `folder` or up to `depth` folders below it, told by its name.
pub(super) fn has_images(folder: &Path, depth: usize) -> Result<bool, DataError> {
    let mut folders = Vec::new();
    let unreadable = |source| DataError::Io { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        match is_hidden(&path) {
            true => {}
            false if path.is_dir() => folders.push(path),
            false if is_image(&path) => return Ok(true),
            false => {}
        }
    }
    if depth > 0 {
        for folder in folders.iter().filter(|folder| !is_output(folder)) {
            if has_images(folder, depth - 1)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// What lies directly in a folder, sorted by name, so that the order does not depend on the file system.
struct Entries {
    folders: Vec<PathBuf>,
    /// Folders that hold what this program wrote.
    outputs: Vec<PathBuf>,
    images: Vec<PathBuf>,
    /// How many files look like images and cannot be read, by extension.
    foreign: Endings,
}

/// Numbers of files by their extensions.
type Endings = BTreeMap<&'static str, usize>;

impl Entries {
    fn of(folder: &Path) -> Result<Self, DataError> {
        let unreadable = |source| DataError::Io { path: folder.to_owned(), source };
        let mut entries =
            Self { folders: Vec::new(), outputs: Vec::new(), images: Vec::new(), foreign: Endings::new() };
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let path = entry.path();
            if is_hidden(&path) {
                continue;
            }
            // The folder says most kinds; only links have to be followed. A broken link is neither.
            let kind = entry.file_type().map_err(unreadable)?;
            if kind.is_dir() || (kind.is_symlink() && path.is_dir()) {
                let list = if is_output(&path) { &mut entries.outputs } else { &mut entries.folders };
                list.push(path);
            } else if (kind.is_file() || path.is_file()) && (is_image(&path) || begins_as_image(&path)) {
                entries.images.push(path);
            } else if let Some(extension) = foreign(&path) {
                *entries.foreign.entry(extension).or_default() += 1;
            }
        }
        for list in [&mut entries.folders, &mut entries.outputs, &mut entries.images] {
            list.sort();
        }
        Ok(entries)
    }
}

/// The split folders among `entries`, or `None` where the folder is not split.
///
/// A folder is split when it has a training folder, or when all its folders are named like splits
/// and have folders in them (evaluation data alone, as `test/CLASS/`). Then folders of other names,
/// such as `labels/`, are no data and are left out.
fn split_folders(entries: &Entries) -> Result<Option<Vec<(SplitName, PathBuf)>>, DataError> {
    let named: Vec<(SplitName, PathBuf)> = entries
        .folders
        .iter()
        .filter_map(|folder| Some((split_of_folder(folder.file_name()?.to_str()?)?, folder.clone())))
        .collect();
    if named.iter().any(|(split, _)| *split == SplitName::Train) {
        return Ok(Some(named));
    }
    if named.is_empty() || named.len() < entries.folders.len() {
        return Ok(None);
    }
    for (_, folder) in &named {
        if Entries::of(folder)?.folders.is_empty() {
            return Ok(None);
        }
    }
    Ok(Some(named))
}

/// The split that a folder's name stands for: `train`, `val|valid|validation`, `test*`.
pub(crate) fn split_of_folder(name: &str) -> Option<SplitName> {
    match SplitName::from(name) {
        SplitName::Other(_) if name.to_ascii_lowercase().starts_with("test") => Some(SplitName::Other(name.to_owned())),
        SplitName::Other(_) | SplitName::All => None,
        split => Some(split),
    }
}

/// A sample's file with its class by name, before the class list is known.
pub(super) struct Listed {
    pub path: PathBuf,
    pub class: Option<Arc<str>>,
    pub group: Option<Arc<str>>,
}

/// The images found so far.
pub(super) struct Listing {
    pub root: PathBuf,
    pub splits: BTreeMap<SplitName, Vec<Listed>>,
    /// Class folders without images, relative to the root.
    pub empty_class_folders: Vec<String>,
    /// What looks like images and cannot be read, by folder, relative to the root.
    foreign: BTreeMap<String, Endings>,
    outputs: Vec<PathBuf>,
    pub notes: Vec<DataNote>,
}

impl Listing {
    fn of(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            splits: BTreeMap::new(),
            empty_class_folders: Vec::new(),
            foreign: BTreeMap::new(),
            outputs: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// A path below the root as messages have it.
    fn relative(&self, path: &Path) -> String {
        match path.strip_prefix(&self.root) {
            Ok(below) if below != Path::new("") => slashed(below),
            _ => slashed(path),
        }
    }

    fn note_beside_splits(&mut self, entries: Entries, splits: &[(SplitName, PathBuf)]) {
        let is_split = |folder: &&PathBuf| splits.iter().any(|(_, split)| split == *folder);
        let beside = entries.folders.iter().filter(|folder| !is_split(folder));
        let folders: Vec<String> = beside.map(|folder| self.relative(folder)).collect();
        if !folders.is_empty() || !entries.images.is_empty() {
            let splits = splits.iter().map(|(_, folder)| self.relative(folder)).collect();
            let images = entries.images.len();
            self.notes.push(DataNote::BesideSplits { root: self.root.clone(), splits, folders, images });
        }
        self.outputs.extend(entries.outputs);
    }

    /// Adds the class folders of one split, which lie in `parent`, or its plain images where it has none.
    fn add_split(&mut self, split: &SplitName, parent: &Path, entries: Entries) -> Result<(), DataError> {
        let mut samples = Vec::new();
        for folder in &entries.folders {
            samples.extend(self.class_folder(folder)?);
        }
        if samples.is_empty() {
            samples.extend(entries.images.into_iter().map(|path| Listed { path, class: None, group: None }));
        } else if let Some(first) = entries.images.first() {
            let (images, example) = (entries.images.len(), self.relative(first));
            self.notes.push(DataNote::BesideClasses { folder: parent.to_owned(), images, example });
        }
        if !entries.foreign.is_empty() {
            self.foreign.insert(self.relative(parent), entries.foreign);
        }
        self.outputs.extend(entries.outputs);
        // Two spellings of one split (`val/` and `valid/`) are one split.
        self.splits.entry(split.clone()).or_default().extend(samples);
        Ok(())
    }

    /// The images of a class; none of a folder that holds nothing but outputs of this program.
    fn class_folder(&mut self, folder: &Path) -> Result<impl Iterator<Item = Listed> + use<>, DataError> {
        let class: Arc<str> = class_name(folder)?.into();
        let mut found = Found::default();
        found.search(folder)?;
        let name = self.relative(folder);
        if found.images.is_empty() && !found.outputs.is_empty() {
            found.outputs = vec![folder.to_owned()];
        } else if found.images.is_empty() {
            self.empty_class_folders.push(name.clone());
        }
        if !found.foreign.is_empty() {
            self.foreign.insert(name, found.foreign);
        }
        self.outputs.extend(found.outputs);
        Ok(found.images.into_iter().map(move |path| Listed { path, class: Some(Arc::clone(&class)), group: None }))
    }

    /// Files that look like images and cannot be read.
    fn not_images(&self) -> Option<DataNote> {
        let folders = self.foreign.iter().map(|(folder, endings)| {
            let mut endings: Vec<_> = endings.iter().map(|(ending, count)| ((*ending).to_owned(), *count)).collect();
            endings.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
            (folder.clone(), endings)
        });
        (!self.foreign.is_empty()).then(|| DataNote::NotImages { folders: folders.collect() })
    }

    fn into_source(mut self) -> Result<DataSource, DataError> {
        let not_images = self.not_images();
        self.splits.retain(|_, samples| !samples.is_empty());
        if self.splits.is_empty() {
            let extensions = endings::IMAGES.join(", ");
            return Err(DataError::NoImages { path: self.root, extensions, found: not_images.map(Box::new) });
        }
        if !self.outputs.is_empty() {
            let folders = self.outputs.iter().map(|folder| self.relative(folder)).collect();
            self.notes.push(DataNote::Outputs { root: self.root.clone(), folders });
        }
        self.notes.extend(not_images);
        let root = self.root;
        let names = self.splits.values().flatten().filter_map(|listed| listed.class.as_deref());
        let classes = sorted_classes(names);
        let label = |class: Arc<str>| classes.binary_search_by(|known| known.as_str().cmp(&class)).ok();
        let to_sample = |listed: Listed| Sample {
            name: slashed(listed.path.strip_prefix(&root).unwrap_or(&listed.path)).into(),
            label: listed.class.and_then(label),
            group: listed.group,
            image: ImageSource::File(listed.path.into()),
        };
        let splits = self
            .splits
            .into_iter()
            .map(|(split, samples)| (split, samples.into_iter().map(to_sample).collect()))
            .collect();
        Ok(DataSource {
            root: root.clone(),
            splits,
            empty_class_folders: self.empty_class_folders,
            notes: self.notes,
            classes,
            corruptions: Vec::new(),
        })
    }
}

/// The distinct names in the order of their code points.
pub(super) fn sorted_classes<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let distinct: std::collections::BTreeSet<&str> = names.collect();
    distinct.into_iter().map(str::to_owned).collect()
}

fn class_name(folder: &Path) -> Result<String, DataError> {
    let name = folder.file_name().and_then(OsStr::to_str);
    name.map(str::to_owned).ok_or_else(|| DataError::NameNotUnicode { path: folder.to_owned() })
}

/// What lies in a class folder and below it.
#[derive(Default)]
struct Found {
    images: Vec<PathBuf>,
    outputs: Vec<PathBuf>,
    foreign: Endings,
    /// The resolved folders searched so far: none is searched twice, so that symbolic links in circles end, and links
    /// to each other do not multiply.
    seen: HashSet<PathBuf>,
}

impl Found {
    fn search(&mut self, folder: &Path) -> Result<(), DataError> {
        let resolved = folder.canonicalize().map_err(|source| DataError::Io { path: folder.to_owned(), source })?;
        if !self.seen.insert(resolved) {
            return Ok(());
        }
        let entries = Entries::of(folder)?;
        self.images.extend(entries.images);
        self.outputs.extend(entries.outputs);
        for (ending, count) in entries.foreign {
            *self.foreign.entry(ending).or_default() += count;
        }
        for folder in &entries.folders {
            self.search(folder)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
