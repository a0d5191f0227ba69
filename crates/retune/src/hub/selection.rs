//! Which files of a data set repository are the data, told by their names.
//!
//! Parquet files are preferred, as the hub's own tools write them; else image files, with the `metadata.*` beside them;
//! else tar archives (WebDataset). Files of one configuration share a folder, in which folders named like splits may lie
//! (<https://huggingface.co/docs/hub/datasets-data-files-configuration>): `data/train-00000-of-00002.parquet`,
//! `CONFIGURATION/train-00000-of-00001.parquet`, `CONFIGURATION/train/0000.parquet`.

use std::collections::BTreeSet;
use std::path::Path;

use crate::sources::folder::{is_image, split_of_folder};
use crate::sources::shards::{is_parquet, sharded};
use crate::wording::counted;

/// The name of the configuration that is taken where none is named.
const DEFAULT: &str = "default";

/// A folder that says nothing of what lies in it.
const PLAIN_FOLDER: &str = "data";

/// The files of one data set.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Selection {
    /// The folder to open, relative to the repository's root; empty for the root itself.
    pub folder: String,
    /// Positions in the list of files.
    pub files: Vec<usize>,
}

/// Why no files can be told to be the data.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoSelection {
    /// There are several configurations, and none was named.
    Several(Vec<String>),
    /// There is no such configuration, but these.
    NoSuch(Vec<String>),
    /// There is neither a Parquet file, an image, nor a tar archive; in words, what there is.
    NoImages(String),
}

/// Picks the files of a configuration, or of the only or default one.
pub(super) fn select(names: &[&str], configuration: Option<&str>) -> Result<Selection, NoSelection> {
    let at = |is_kind: fn(&Path) -> bool| -> Vec<usize> {
        (0..names.len()).filter(|&index| is_kind(Path::new(names[index])) && !is_metadata(names[index])).collect()
    };
    let parquet = at(is_parquet);
    if !parquet.is_empty() {
        return of_configuration(names, parquet, configuration);
    }
    let images = at(is_image);
    let archives: Vec<&str> = names.iter().copied().filter(|name| is_archive(name)).collect();
    // Few images beside an archive are pictures of a description.
    if images.is_empty() || images.len() < archives.len() * 10 {
        let tar = at(is_tar);
        return match tar.is_empty() {
            true => Err(NoSelection::NoImages(in_words(names, &archives))),
            false => of_configuration(names, tar, configuration),
        };
    }
    image_folder(names, &images, configuration)
}

fn of_configuration(names: &[&str], candidates: Vec<usize>, wanted: Option<&str>) -> Result<Selection, NoSelection> {
    let known: BTreeSet<String> = candidates.iter().map(|&index| configuration_of(names[index])).collect();
    let named = || known.iter().filter(|name| !name.is_empty()).cloned().collect::<Vec<_>>();
    let chosen = match wanted {
        Some(wanted) => {
            let is_meant = |known: &&String| **known == wanted || known.rsplit('/').next() == Some(wanted);
            Some(known.iter().find(is_meant).ok_or_else(|| NoSelection::NoSuch(named()))?)
        }
        // Files at the top belong to no configuration; all are then one data set.
        None if known.len() == 1 || known.contains("") => None,
        None => Some(known.get(DEFAULT).ok_or_else(|| NoSelection::Several(named()))?),
    };
    let is_chosen = |index: &usize| chosen.is_none_or(|chosen| configuration_of(names[*index]) == *chosen);
    let files: Vec<usize> = candidates.into_iter().filter(is_chosen).collect();
    let mut folder = common_folder(files.iter().map(|&index| names[index]));
    strip_splits(&mut folder);
    Ok(Selection { folder: folder.join("/"), files })
}

/// The folders that a file lies in, but for one called `data` at the top and those named like splits at the bottom.
fn configuration_of(name: &str) -> String {
    let mut folders = folders_of(name);
    strip_splits(&mut folders);
    let from = usize::from(folders.first() == Some(&PLAIN_FOLDER));
    folders[from..].join("/")
}

fn folders_of(name: &str) -> Vec<&str> {
    let mut parts: Vec<&str> = name.split('/').collect();
    parts.pop();
    parts
}

fn strip_splits(folders: &mut Vec<&str>) {
    while folders.last().is_some_and(|folder| split_of_folder(folder).is_some()) {
        folders.pop();
    }
}

/// The innermost folder that holds all files.
fn common_folder<'a>(mut names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut common = names.next().map(folders_of).unwrap_or_default();
    for name in names {
        let folders = folders_of(name);
        let shared = common.iter().zip(&folders).take_while(|(one, other)| one == other).count();
        common.truncate(shared);
    }
    common
}

/// All images, or those in the folder that is named like a configuration, and the lists of them.
fn image_folder(names: &[&str], images: &[usize], wanted: Option<&str>) -> Result<Selection, NoSelection> {
    let is_wanted = |name: &str| {
        wanted.is_none_or(|wanted| {
            let below = name.strip_prefix(PLAIN_FOLDER).and_then(|name| name.strip_prefix('/')).unwrap_or(name);
            [name, below].iter().any(|name| name.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('/')))
        })
    };
    let lists = (0..names.len()).filter(|&index| is_metadata(names[index]));
    let mut files: Vec<usize> = images.iter().copied().chain(lists).filter(|&index| is_wanted(names[index])).collect();
    files.sort_unstable();
    if files.is_empty() {
        let folders: BTreeSet<&str> =
            images.iter().filter_map(|&index| names[index].split_once('/')).map(|(top, _)| top).collect();
        return Err(NoSelection::NoSuch(folders.into_iter().map(str::to_owned).collect()));
    }
    let mut folder = common_folder(files.iter().map(|&index| names[index]));
    strip_splits(&mut folder);
    Ok(Selection { folder: folder.join("/"), files })
}

/// Whether a file lists the images beside it, as the `datasets` library has it.
fn is_metadata(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    ["metadata.csv", "metadata.jsonl", "metadata.parquet"].contains(&file)
}

fn is_tar(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("tar"))
}

fn is_archive(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [".zip", ".tar", ".tar.gz", ".tgz", ".rar", ".7z", ".arrow", ".h5", ".npz"].iter().any(|end| name.ends_with(end))
}

/// What there is instead of images, for an error.
fn in_words(names: &[&str], archives: &[&str]) -> String {
    match (archives, names) {
        ([], []) => " (it is empty)".to_owned(),
        ([first, ..], _) => format!(" ({first} is another archive)"),
        ([], [first, ..]) => format!(" ({}, such as {first})", counted(names.len(), "file")),
    }
}

/// The name of a shard that is missing among files of which some tell in their names how many there are.
pub(super) fn missing_shard(names: &[&str]) -> Option<String> {
    let known: BTreeSet<&str> = names.iter().copied().collect();
    known.iter().find_map(|name| {
        let stem = Path::new(name).file_stem()?.to_str()?;
        let split = sharded(stem)?;
        let (before, after) = name.rsplit_once("-of-")?;
        let digits = after.split(['-', '.']).next()?;
        let count: usize = digits.parse().ok().filter(|&count| count <= 100_000)?;
        // A hash may follow, which is each shard's own: then the number is looked for alone.
        let number = stem.split_once("-of-")?.0.len() - split.len();
        let prefix = before.get(..before.len().checked_sub(number)?)?;
        (0..count).find_map(|number| {
            let start = format!("{prefix}-{number:05}-of-{digits}");
            let is_there = known.range(start.as_str()..).next().is_some_and(|name| name.starts_with(&start));
            (!is_there).then(|| format!("{start}.parquet"))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected<'a>(names: &[&'a str], configuration: Option<&str>) -> Result<(String, Vec<&'a str>), NoSelection> {
        let selection = select(names, configuration)?;
        Ok((selection.folder, selection.files.iter().map(|&index| names[index]).collect()))
    }

    #[test]
    fn parquet_files_of_one_configuration_are_taken_wherever_they_lie() {
        for (names, folder) in [
            (vec!["README.md", "data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet"], "data"),
            (vec!["plain_text/train-00000-of-00001.parquet", "logo.png"], "plain_text"),
            (vec!["train.parquet", "test.parquet"], ""),
            (vec!["train/0000.parquet", "train/0001.parquet"], ""),
            (vec!["default/train/0000.parquet", "default/test/0000.parquet"], "default"),
            (vec!["data/plain/train-00000-of-00001.parquet"], "data/plain"),
            // What lies at the top belongs to no configuration.
            (vec!["all.parquet", "more/all.parquet"], ""),
        ] {
            let expected: Vec<&str> = names.iter().copied().filter(|name| name.ends_with(".parquet")).collect();
            assert_eq!(selected(&names, None), Ok((folder.to_owned(), expected)));
        }
    }

    #[test]
    fn of_several_configurations_one_must_be_named_unless_one_is_the_default() {
        let names = ["cropped/train-00000-of-00001.parquet", "full/train/0000.parquet", "full/test/0000.parquet"];
        let several = vec!["cropped".to_owned(), "full".to_owned()];
        assert_eq!(selected(&names, None), Err(NoSelection::Several(several.clone())));
        assert_eq!(selected(&names, Some("full")), Ok(("full".to_owned(), names[1..].to_vec())));
        assert_eq!(selected(&names, Some("fill")), Err(NoSelection::NoSuch(several)));
        let names = ["data/a/train.parquet", "data/b/train.parquet", "default/train.parquet"];
        assert_eq!(selected(&names, None), Ok(("default".to_owned(), vec![names[2]])));
        assert_eq!(selected(&names, Some("b")), Ok(("data/b".to_owned(), vec![names[1]])));
    }

    #[test]
    fn images_are_taken_where_there_is_no_parquet_file() {
        let names = ["README.md", "train/cat/1.jpg", "train/dog/1.png", "metadata.csv", "test/cat/2.jpg"];
        assert_eq!(selected(&names, None), Ok((String::new(), names[1..].to_vec())));
        let names = ["data/train/cat/1.jpg", "data/train/dog/1.png", "metadata.parquet"];
        assert_eq!(selected(&names[..2], None), Ok(("data".to_owned(), names[..2].to_vec())));
        assert_eq!(selected(&names, None), Ok((String::new(), names.to_vec())));
        let names = ["small/cat/1.jpg", "small/dog/1.jpg", "large/cat/1.jpg"];
        assert_eq!(selected(&names, Some("small")), Ok(("small".to_owned(), names[..2].to_vec())));
        assert_eq!(selected(&names, Some("tiny")), Err(NoSelection::NoSuch(vec!["large".into(), "small".into()])));
        let names = ["train-0001.tar", "train-0000.tar", "example.png", "val/0000.tar"];
        assert_eq!(selected(&names, None), Ok((String::new(), vec![names[0], names[1], names[3]])));
        for names in [&["images.zip", "example.png"][..], &["data.csv"], &[]] {
            assert!(matches!(select(names, None), Err(NoSelection::NoImages(_))), "{names:?}");
        }
    }

    #[test]
    fn a_missing_shard_is_named() {
        let shards = ["data/train-00000-of-00003.parquet", "data/train-00002-of-00003.parquet"];
        assert_eq!(missing_shard(&shards).as_deref(), Some("data/train-00001-of-00003.parquet"));
        let whole = ["a/test-00000-of-00001-0a1b.parquet", "train.parquet"];
        assert_eq!(missing_shard(&whole), None);
    }
}
