//! Parquet files of images, as the Hugging Face hub keeps data sets.
//!
//! The images are a column of encoded files: a struct of `bytes` and `path`, or plain binary, named `image` or `img` or
//! the only one of its kind. Labels are a column of text, or of numbers that the names in the file's `huggingface`
//! metadata (`ClassLabel`) explain; a negative number or a null is an unknown label. Text columns `split` and `group`
//! mean what they mean in a manifest. Without a `split` column, files are sorted into splits by their names, as
//! `train-00000-of-00002.parquet`, or by their folders'
//! (<https://huggingface.co/docs/hub/datasets-file-names-and-splits>).

mod bounds;
mod delta;
pub(crate) mod file;
mod images;
mod labels;
mod layout;
mod structure;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::file::ParquetFile;
use self::images::BlockStore;
pub use self::images::ParquetImages;
use self::labels::{Classes, Labels};
use self::layout::Layout;
use super::DataError;
use super::folder::{is_hidden, is_image, is_output, split_of_folder};
use super::source::{DataSource, ImageSource, Sample, SampleList, SplitName, slashed};

/// How far below a folder its files are searched for: `CONFIGURATION/SPLIT/FILE` on the hub.
const DEEPEST: usize = 2;

/// Whether the name of a file is that of a Parquet file.
pub(super) fn is_parquet(path: &Path) -> bool {
    path.extension().and_then(OsStr::to_str).is_some_and(|extension| extension.eq_ignore_ascii_case("parquet"))
}

/// Lists the images of one file.
pub(super) fn open_file(path: &Path) -> Result<DataSource, DataError> {
    open_files(path.parent().unwrap_or(Path::new("")), &[path.to_owned()])
}

/// Lists the images of a folder of Parquet files, or `None` where the folder has none, or image files as well.
pub(super) fn open_folder(root: &Path) -> Result<Option<DataSource>, DataError> {
    let mut files = Vec::new();
    if !collect(root, 0, &mut files)? || files.is_empty() {
        return Ok(None);
    }
    open_files(root, &files).map(Some)
}

/// Adds the Parquet files in `folder` and below it, in the order of their names. False, and nothing more is searched,
/// as soon as an image file is met: this is then a folder of images, whatever else lies in it.
fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<bool, DataError> {
    let unreadable = |source| DataError::Io { path: folder.to_owned(), source };
    let mut folders = Vec::new();
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if is_hidden(&path) {
            continue;
        }
        if path.is_dir() {
            if !is_output(&path) {
                folders.push(path);
            }
        } else if is_image(&path) {
            return Ok(false);
        } else if is_parquet(&path) {
            found.push(path);
        }
    }
    found.sort();
    files.append(&mut found);
    folders.sort();
    if depth < DEEPEST {
        for folder in &folders {
            if !collect(folder, depth + 1, files)? {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// The rows of one file, before the class list of all is known.
struct Rows {
    images: Arc<ParquetImages>,
    labels: Labels,
    splits: Option<Vec<Option<Arc<str>>>>,
    groups: Option<Vec<Option<Arc<str>>>>,
}

fn open_files(root: &Path, paths: &[PathBuf]) -> Result<DataSource, DataError> {
    let store = Arc::new(BlockStore::default());
    let files = paths.iter().map(|path| open_rows(path, &store)).collect::<Result<Vec<_>, _>>()?;
    let classes = Classes::of(files.iter().map(|rows| (rows.images.path(), &rows.labels)))?;
    let splits_of_files: Vec<Option<SplitName>> = paths.iter().map(|path| split_of_file(root, path)).collect();
    let is_split = files.iter().any(|rows| rows.splits.is_some()) || splits_of_files.iter().any(Option::is_some);

    let mut splits: BTreeMap<SplitName, SampleList> = BTreeMap::new();
    for ((rows, path), split_of_file) in files.into_iter().zip(paths).zip(splits_of_files) {
        let problem = |problem: String| DataError::Parquet { path: path.clone(), problem };
        let relative = slashed(&path.strip_prefix(root).unwrap_or(path).with_extension(""));
        for row in 0..rows.images.len() {
            let split = match (rows.splits.as_ref().and_then(|splits| splits[row].as_deref()), &split_of_file) {
                (Some(name), _) => SplitName::from(name),
                (None, _) if rows.splits.is_some() => return Err(problem(format!("row {row}: `split` is missing"))),
                (None, Some(split)) => split.clone(),
                (None, None) if is_split => {
                    return Err(problem(
                        "the name tells no split, and those of other files do: call it like \
                         train-00000-of-00001.parquet"
                            .to_owned(),
                    ));
                }
                (None, None) => SplitName::All,
            };
            let label = classes.label(&rows.labels, row);
            splits.entry(split).or_default().push(Sample {
                image: ImageSource::Parquet { images: Arc::clone(&rows.images), row },
                label: label.map_err(|reason| problem(format!("row {row}: {reason}")))?,
                group: rows.groups.as_ref().and_then(|groups| groups[row].clone()),
                name: format!("{relative}/{row:06}").into(),
            });
        }
    }
    if splits.is_empty() {
        let path = paths.first().cloned().unwrap_or_else(|| root.to_owned());
        return Err(DataError::Parquet { path, problem: "there is no row".to_owned() });
    }
    Ok(DataSource {
        root: root.to_owned(),
        classes: classes.into_names(),
        splits,
        empty_class_folders: Vec::new(),
        notes: Vec::new(),
        corruptions: Vec::new(),
    })
}

/// Opens a file and reads every column but the images.
fn open_rows(path: &Path, store: &Arc<BlockStore>) -> Result<Rows, DataError> {
    let problem = |problem| DataError::Parquet { path: path.to_owned(), problem };
    let file = ParquetFile::open(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    let file = file.map_err(problem)?;
    let layout = Layout::of(&file).map_err(problem)?;
    let labels = Labels::read(&file, layout.label.as_ref()).map_err(problem)?;
    let texts = |column: Option<usize>| column.map(|column| labels::texts(&file, column)).transpose();
    let splits = texts(layout.split).map_err(problem)?;
    let groups = texts(layout.group).map_err(problem)?;
    let images = Arc::new(ParquetImages::new(path, file, layout.image, &layout.image_name, Arc::clone(store)));
    Ok(Rows { images, labels, splits, groups })
}

/// The split that a file's name or, failing that, one of its folders stands for.
pub(super) fn split_of_file(root: &Path, path: &Path) -> Option<SplitName> {
    let stem = path.file_stem()?.to_str()?;
    let by_name = match sharded(stem) {
        Some(name) => Some(SplitName::from(name)),
        None => stem.split(|c: char| !c.is_ascii_alphabetic()).find_map(split_of_folder),
    };
    let folders = path.strip_prefix(root).unwrap_or(path).parent()?;
    let mut names = folders.components().rev().filter_map(|part| part.as_os_str().to_str());
    by_name.or_else(|| names.find_map(split_of_folder))
}

/// `NAME` of `NAME-00000-of-00002`, which the hub also writes with a hash after it.
fn sharded(stem: &str) -> Option<&str> {
    let (before, after) = stem.split_once("-of-")?;
    let (name, number) = before.rsplit_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(number) && is_number(after.split('-').next()?)).then_some(name)
}

#[cfg(test)]
mod tests;
