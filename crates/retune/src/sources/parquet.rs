//! Parquet files of images, as the Hugging Face hub keeps data sets.
//!
//! The images are a column of encoded files: a struct of `bytes` and `path`, or plain binary, named `image` or `img` or
//! the only one of its kind. Where bytes are null, or where there is only a column of paths, images are read from the
//! files at these paths, relative to the Parquet file's folder or absolute. Labels are a column of text, booleans or
//! whole numbers, which the names in the file's `huggingface` metadata (`ClassLabel`) explain; a negative number or a
//! null is an unknown label. Where images may have several labels, lists of text or whole numbers are read too. Columns `split` and `group` mean what they mean in a manifest. Without a `split` column,
//! files are sorted into splits by their names, as `train-00000-of-00002.parquet`, or by their folders'
//! (<https://huggingface.co/docs/hub/datasets-file-names-and-splits>).

mod bounds;
mod decompress;
mod delta;
pub(crate) mod file;
mod images;
mod label_lists;
mod labels;
mod layout;
pub(super) mod metadata;
mod scalars;
mod structure;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::file::ParquetFile;
pub use self::images::ParquetImages;
use self::images::{BlockStore, EncodedColumns};
use self::labels::{Classes, Labels};
use self::layout::{ImageColumns, LabelColumn, LabelListColumn, Layout};
use self::scalars::Scalars;
use super::folder::{is_hidden, is_image, is_output};
use super::format::{Format, Missing, Reading};
use super::image::ImageSource;
use super::shards::{is_parquet, split_of_file};
use super::source::{DataSource, Sample, SampleList, SplitName, slashed};
use super::{DataError, DataNote};

/// How far below a folder its files are searched for: `CONFIGURATION/SPLIT/FILE` on the hub.
const DEEPEST: usize = 2;

/// Parquet files, as data sets of the Hugging Face hub are.
pub(super) struct Parquet;

impl Format for Parquet {
    fn open_folder(&self, path: &Path, reading: Reading) -> Result<Option<DataSource>, DataError> {
        open_folder(path, reading)
    }

    fn open_file(&self, path: &Path, reading: Reading) -> Result<Option<DataSource>, DataError> {
        is_parquet(path).then(|| open_file(path, reading)).transpose()
    }
}

/// Lists the images of one file.
fn open_file(path: &Path, reading: Reading) -> Result<DataSource, DataError> {
    open_files(path.parent().unwrap_or(Path::new("")), &[path.to_owned()], reading)
}

/// Lists the images of a folder of Parquet files, or `None` where the folder has none, or image files as well.
fn open_folder(root: &Path, reading: Reading) -> Result<Option<DataSource>, DataError> {
    let mut files = Vec::new();
    if !collect(root, 0, &mut files)? || files.is_empty() {
        return Ok(None);
    }
    open_files(root, &files, reading).map(Some)
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
    path: PathBuf,
    images: RowImages,
    labels: Labels,
    /// A column of several labels for each image, where one is wanted.
    unused_lists: Option<String>,
    splits: Option<Vec<Option<Arc<str>>>>,
    groups: Option<Vec<Option<Arc<str>>>>,
}

/// The images of a file's rows.
enum RowImages {
    Encoded(Arc<ParquetImages>),
    /// As their paths are written.
    Paths(Vec<Arc<str>>),
}

impl Rows {
    fn len(&self) -> usize {
        match &self.images {
            RowImages::Encoded(images) => images.len(),
            RowImages::Paths(paths) => paths.len(),
        }
    }

    /// The image of a row and its name. `relative` is the file's own name below the root.
    fn image(&self, row: usize, relative: &str) -> Result<(ImageSource, Arc<str>), String> {
        match &self.images {
            RowImages::Encoded(images) => {
                let image = ImageSource::Stored { images: images.clone(), item: row };
                Ok((image, format!("{relative}/{row:06}").into()))
            }
            RowImages::Paths(paths) => {
                let path = images::image_beside(folder_of(&self.path), &paths[row])?;
                Ok((ImageSource::File(path.into()), Arc::clone(&paths[row])))
            }
        }
    }
}

fn folder_of(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

fn open_files(root: &Path, paths: &[PathBuf], reading: Reading) -> Result<DataSource, DataError> {
    let store = Arc::new(BlockStore::default());
    let files = paths.iter().map(|path| open_rows(path, &store, reading)).collect::<Result<Vec<_>, _>>()?;
    let classes = Classes::of(files.iter().map(|rows| (&*rows.path, &rows.labels)))?;
    let splits_of_files: Vec<Option<SplitName>> = paths.iter().map(|path| split_of_file(root, path)).collect();
    let is_split = files.iter().any(|rows| rows.splits.is_some()) || splits_of_files.iter().any(Option::is_some);
    let notes = files.iter().find_map(|rows| {
        let column = rows.unused_lists.clone()?;
        Some(DataNote::SeveralLabels { path: rows.path.clone(), column })
    });

    let mut splits: BTreeMap<SplitName, SampleList> = BTreeMap::new();
    for (rows, split_of_file) in files.iter().zip(splits_of_files) {
        let problem = |problem: String| DataError::Parquet { path: rows.path.clone(), problem };
        let relative = slashed(&rows.path.strip_prefix(root).unwrap_or(&rows.path).with_extension(""));
        for row in 0..rows.len() {
            let of_row = |reason: String| problem(format!("row {row}: {reason}"));
            let split = match (rows.splits.as_ref().and_then(|splits| splits[row].as_deref()), &split_of_file) {
                (Some(name), _) => SplitName::from(name),
                (None, _) if rows.splits.is_some() => return Err(of_row("`split` is missing".to_owned())),
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
            let (image, name) = rows.image(row, &relative).map_err(of_row)?;
            splits.entry(split).or_default().push(Sample {
                image,
                label: classes.label(&rows.labels, row).map_err(of_row)?,
                group: rows.groups.as_ref().and_then(|groups| groups[row].clone()),
                name,
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
        notes: notes.into_iter().collect(),
        corruptions: Vec::new(),
    })
}

/// Opens a file and reads every column but the images.
fn open_rows(path: &Path, store: &Arc<BlockStore>, reading: Reading) -> Result<Rows, DataError> {
    let problem = |problem| DataError::Parquet { path: path.to_owned(), problem };
    let file = ParquetFile::open(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    let file = file.map_err(problem)?;
    let layout = Layout::of(&file).map_err(problem)?;
    let several = reading.labels == super::format::Labels::Several;
    let (labels, unused_lists) = match layout.label_lists {
        Some(LabelListColumn::Lists(column)) if several => {
            (Labels::Names(label_lists::read(&file, &column).map_err(problem)?), None)
        }
        Some(LabelListColumn::Other(name)) if several => {
            return Err(problem(format!(
                "the column `{name}` is neither text, numbers, nor a list of these: it cannot be read as labels"
            )));
        }
        lists => {
            let labels = Labels::read(&file, layout.label.as_ref()).map_err(problem)?;
            let name = lists.map(|lists| match lists {
                LabelListColumn::Lists(LabelColumn { name, .. }) | LabelListColumn::Other(name) => name,
            });
            (if several { labels.of_several() } else { labels }, name)
        }
    };
    let splits = layout.split.map(|column| scalars::texts(&file, column)).transpose().map_err(problem)?;
    let groups = layout.group.map(|(column, kind)| Scalars::read(&file, column, kind).map(Scalars::into_texts));
    let groups = groups.transpose().map_err(|reason| problem(format!("column `group`, {reason}")))?;
    let images = match layout.image {
        ImageColumns::Encoded { name, bytes, path: path_column } => {
            let columns = EncodedColumns { bytes, path: path_column, name };
            RowImages::Encoded(Arc::new(ParquetImages::new(path, file, columns, Arc::clone(store))))
        }
        ImageColumns::Paths { name, path: column } => {
            let paths = image_paths(&file, column).map_err(|reason| problem(format!("column `{name}`, {reason}")))?;
            if reading.missing == Missing::Refused {
                first_is_there(path, &paths, &name, &file).map_err(problem)?;
            }
            RowImages::Paths(paths)
        }
    };
    Ok(Rows { path: path.to_owned(), images, labels, unused_lists, splits, groups })
}

fn image_paths(file: &ParquetFile, column: usize) -> Result<Vec<Arc<str>>, String> {
    let paths = scalars::texts(file, column)?.into_iter().enumerate();
    paths.map(|(row, path)| path.ok_or_else(|| format!("row {row}: the path is missing"))).collect()
}

/// A column of text may hold anything; whether its first row names a file tells paths from other words. A missing file of
/// another row is an error of loading.
fn first_is_there(parquet: &Path, paths: &[Arc<str>], column: &str, file: &ParquetFile) -> Result<(), String> {
    let Some(first) = paths.first() else { return Ok(()) };
    let image = images::image_beside(folder_of(parquet), first).map_err(|reason| format!("row 0: {reason}"))?;
    match image.is_file() {
        true => Ok(()),
        false => Err(format!(
            "{}; and there is no file {}, which the first row of `{column}` would name",
            layout::no_images(file),
            image.display()
        )),
    }
}

#[cfg(test)]
mod tests;
