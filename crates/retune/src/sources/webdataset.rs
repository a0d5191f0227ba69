//! WebDataset: tar archives whose members, by their names, belong together.
//!
//! All members whose path agrees up to the first dot of the file name are one sample
//! (<https://github.com/webdataset/webdataset>): `0001.jpg` is the image, `0001.cls` its class as a number or name. Failing
//! that, `0001.json` has it under `label`, `class` or `cls`, or `0001.txt` is its name. What class numbers mean may be told
//! by a `classnames.txt` (a line for each) or `dataset_info.json` beside the archives. Splits are told by the names of
//! archives or folders, as `train-000000.tar` or `train/0.tar`.
//!
//! Archives are not unpacked: where each image lies is noted once, and it is read from there. So they must not be compressed.

mod archive;
mod labels;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use self::archive::Archive;
use self::labels::Classes;
use super::folder::{has_images, is_hidden, split_of_folder};
use super::format::{Format, Labels, Reading};
use super::image::ImageSource;
use super::shards::split_of_file;
use super::source::{DataSource, Sample, SplitName, slashed};
use super::{DataError, DataNote};

/// How the names of archives end, compressed ones among them, in lower case.
const ENDINGS: [&str; 9] = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.lz4"];

/// Whether the name of a file is that of a tar archive, compressed or not.
fn is_archive(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// Tar archives, as WebDataset keeps them.
pub(super) struct WebDataset;

impl Format for WebDataset {
    fn open_folder(&self, path: &Path, reading: Reading) -> Result<Option<DataSource>, DataError> {
        open_folder(path, reading.labels)
    }

    fn open_file(&self, path: &Path, reading: Reading) -> Result<Option<DataSource>, DataError> {
        is_archive(path).then(|| open_file(path, reading.labels)).transpose()
    }
}

/// Lists the images of one archive.
fn open_file(path: &Path, labels: Labels) -> Result<DataSource, DataError> {
    open_archives(path.parent().unwrap_or(Path::new("")), &[path.to_owned()], labels)
}

/// Lists the images of a folder of archives, or of such folders for each split; `None` where there is no archive, or where
/// image files lie there as well.
fn open_folder(root: &Path, labels: Labels) -> Result<Option<DataSource>, DataError> {
    let mut archives = archives_in(root)?;
    for folder in folders_of_splits(root)? {
        archives.extend(archives_in(&folder)?);
    }
    if archives.is_empty() || has_images(root, 2)? {
        return Ok(None);
    }
    open_archives(root, &archives, labels).map(Some)
}

/// What lies directly in a folder and is not hidden, sorted by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let unreadable = |source| DataError::Io { path: folder.to_owned(), source };
    let entries = fs::read_dir(folder).map_err(unreadable)?;
    let mut paths = entries
        .map(|entry| Ok(entry.map_err(unreadable)?.path()))
        .filter(|path| !path.as_ref().is_ok_and(|path| is_hidden(path)))
        .collect::<Result<Vec<_>, DataError>>()?;
    paths.sort();
    Ok(paths)
}

fn archives_in(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    Ok(entries(folder)?.into_iter().filter(|path| is_archive(path) && path.is_file()).collect())
}

fn folders_of_splits(root: &Path) -> Result<Vec<PathBuf>, DataError> {
    let is_split = |path: &PathBuf| path.file_name().and_then(|name| split_of_folder(name.to_str()?)).is_some();
    Ok(entries(root)?.into_iter().filter(|path| is_split(path) && path.is_dir()).collect())
}

fn open_archives(root: &Path, paths: &[PathBuf], labels: Labels) -> Result<DataSource, DataError> {
    let archives = paths.par_iter().map(|path| Archive::read(path, labels)).collect::<Result<Vec<_>, _>>()?;
    let splits_of_files: Vec<Option<SplitName>> = paths.iter().map(|path| split_of_file(root, path)).collect();
    let is_split = splits_of_files.iter().any(Option::is_some);
    let (classes, captions) = Classes::of(root, &archives)?;
    let mut notes: Vec<DataNote> = captions.into_iter().collect();
    notes.extend(not_images(root, &archives));

    let mut splits: BTreeMap<SplitName, Vec<Sample>> = BTreeMap::new();
    for ((archive, path), split_of_file) in archives.into_iter().zip(paths).zip(splits_of_files) {
        let problem = |problem: String| DataError::Tar { path: path.clone(), problem };
        let split = match split_of_file {
            Some(split) => split,
            None if is_split => {
                let unknown = "the name tells no split, and those of other archives do: call it like train-000000.tar";
                return Err(problem(unknown.to_owned()));
            }
            None => SplitName::All,
        };
        let relative = slashed(&path.strip_prefix(root).unwrap_or(path).with_extension(""));
        let images = Arc::new(archive.images);
        let samples = splits.entry(split).or_default();
        for (item, member) in archive.members.into_iter().enumerate() {
            samples.push(Sample {
                image: ImageSource::Stored { images: images.clone(), item },
                label: classes.label(&member.label),
                group: member.group,
                name: format!("{relative}/{}", member.name).into(),
            });
        }
    }
    splits.retain(|_, samples| !samples.is_empty());
    if splits.is_empty() {
        let path = paths.first().cloned().unwrap_or_else(|| root.to_owned());
        let problem = "there is no image among its members: expected samples like 0001.jpg with 0001.cls".to_owned();
        return Err(DataError::Tar { path, problem });
    }
    Ok(DataSource {
        root: root.to_owned(),
        classes: classes.into_names(),
        splits: splits.into_iter().map(|(split, samples)| (split, samples.into())).collect(),
        empty_class_folders: Vec::new(),
        notes,
        corruptions: Vec::new(),
    })
}

/// Members that look like images and cannot be read.
fn not_images(root: &Path, archives: &[Archive]) -> Option<DataNote> {
    let mut endings: BTreeMap<&str, usize> = BTreeMap::new();
    for (ending, count) in archives.iter().flat_map(|archive| &archive.foreign) {
        *endings.entry(ending).or_default() += count;
    }
    let endings: Vec<_> = endings.into_iter().map(|(ending, count)| (ending.to_owned(), count)).collect();
    (!endings.is_empty()).then(|| DataNote::NotImages { folders: vec![(slashed(root), endings)] })
}

#[cfg(test)]
mod tests;
