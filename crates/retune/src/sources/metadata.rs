//! The metadata file of an image folder, as the Hugging Face hub has it: `metadata.csv`, `metadata.jsonl` or
//! `metadata.parquet`, in the folder or in each folder of a split, with a `file_name` for each row, relative to the file
//! (<https://huggingface.co/docs/datasets/image_dataset>).
//!
//! Labels in it (`label` or `labels`) take the place of class folders; without them, class folders stay, and what the file
//! says of `group` is added. A file of that name without a column of file names is something else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::mem;
use std::path::Path;
use std::sync::Arc;

use super::distinct::Distinct;
use super::folder::{Listed, Listing, is_image, split_of_folder};
use super::format::Labels;
use super::manifest::{self, LineError, Row, Syntax};
#[cfg(feature = "parquet")]
use super::parquet::metadata::{self, MetadataRow};
use super::source::{SplitName, slashed};
use super::{DataError, DataNote};

const NAMES: [&str; 3] = ["metadata.csv", "metadata.jsonl", "metadata.parquet"];

/// What a row says of its image.
struct Facts {
    label: Option<Arc<str>>,
    group: Option<Arc<str>>,
    split: Option<SplitName>,
}

type Rows = HashMap<String, Facts>;

/// Adds what the metadata file in `folder` says, if there is one, of the images listed below the folder.
///
/// # Errors
/// A file that cannot be read; a row that cannot be used, with its line.
pub(super) fn apply(folder: &Path, listing: &mut Listing, labels: Labels) -> Result<(), DataError> {
    let Some(path) = NAMES.map(|name| folder.join(name)).into_iter().find(|path| path.is_file()) else { return Ok(()) };
    if let Some(rows) = rows_of(&path, labels)? {
        merge(&path, folder, rows, listing);
    }
    Ok(())
}

/// The rows by the files that they name, relative to the metadata file's folder; `None` where the file names none.
fn rows_of(path: &Path, labels: Labels) -> Result<Option<Rows>, DataError> {
    let Some(format) = Syntax::of(path) else {
        return rows_of_parquet(path);
    };
    let text = fs::read(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    if !names_files(format, &text) {
        return Ok(None);
    }
    read_text(format, &text, labels).map(Some).map_err(|error| error.of_file(path))
}

/// Whether the file begins as metadata of images does.
fn names_files(format: Syntax, text: &[u8]) -> bool {
    let first = text.split(|&byte| byte == b'\n').find(|line| !line.trim_ascii().is_empty()).unwrap_or_default();
    let first = first.strip_prefix("\u{feff}".as_bytes()).unwrap_or(first).trim_ascii();
    match format {
        Syntax::Csv => {
            let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(first);
            reader.headers().is_ok_and(|header| header.iter().any(manifest::is_file_name))
        }
        Syntax::JsonLines => serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(first)
            .is_ok_and(|row| row.keys().any(|key| manifest::is_file_name(key))),
    }
}

fn read_text(format: Syntax, text: &[u8], of_image: Labels) -> Result<Rows, LineError> {
    let (mut labels, mut groups) = (Distinct::default(), Distinct::default());
    let mut rows = Rows::new();
    manifest::read_rows(format, text, of_image, |row: Row| {
        let facts = Facts {
            label: row.label.map(|label| labels.shared(label)),
            group: row.group.map(|group| groups.shared(group)),
            split: row.split.map(SplitName::from),
        };
        insert(&mut rows, row.path, facts).map_err(|problem| LineError { line: row.line, problem })
    })?;
    Ok(rows)
}

#[cfg(feature = "parquet")]
fn rows_of_parquet(path: &Path) -> Result<Option<Rows>, DataError> {
    metadata::read(path)?.map(|rows| read_parquet(path, rows)).transpose()
}

#[cfg(not(feature = "parquet"))]
fn rows_of_parquet(path: &Path) -> Result<Option<Rows>, DataError> {
    Err(super::without_parquet::refused(path))
}

#[cfg(feature = "parquet")]
fn read_parquet(path: &Path, listed: Vec<MetadataRow>) -> Result<Rows, DataError> {
    let mut rows = Rows::new();
    for (number, row) in listed.into_iter().enumerate() {
        let facts = Facts { label: row.label, group: row.group, split: row.split.as_deref().map(SplitName::from) };
        insert(&mut rows, &row.file_name, facts).map_err(|problem| DataError::Parquet {
            path: path.to_owned(),
            problem: format!("row {number}: {problem}"),
        })?;
    }
    Ok(rows)
}

/// Adds a row; the problem if the image has another label already.
fn insert(rows: &mut Rows, path: &str, facts: Facts) -> Result<(), String> {
    let label = facts.label.clone();
    let Some(before) = rows.insert(path.trim_start_matches("./").to_owned(), facts) else { return Ok(()) };
    if before.label == label {
        return Ok(());
    }
    Err(format!(
        "{path} is labeled {} here and {} before, and an image has one class",
        label.as_deref().unwrap_or("with nothing"),
        before.label.as_deref().unwrap_or("with nothing"),
    ))
}

/// Puts what the rows say into the listing.
fn merge(path: &Path, folder: &Path, mut rows: Rows, listing: &mut Listing) {
    let says = |what: fn(&Facts) -> bool| rows.values().any(what);
    let has_labels = says(|facts| facts.label.is_some());
    let decides = has_labels || says(|facts| facts.split.is_some());
    if !decides && !says(|facts| facts.group.is_some()) {
        return;
    }
    let is_split = !listing.splits.contains_key(&SplitName::All);
    let mut covered = BTreeSet::new();
    let mut merged: BTreeMap<SplitName, Vec<Listed>> = BTreeMap::new();
    let mut add = |mut listed: Listed, split: &SplitName, facts: Facts| {
        covered.insert(split.clone());
        if has_labels {
            listed.class = facts.label;
        }
        listed.group = facts.group;
        let split = facts.split.filter(|_| !is_split).unwrap_or_else(|| split.clone());
        merged.entry(split).or_default().push(listed);
    };
    let mut unlisted = Vec::new();
    for (split, samples) in mem::take(&mut listing.splits) {
        for listed in samples {
            match relative(folder, &listed.path).and_then(|name| rows.remove(&name)) {
                Some(facts) => add(listed, &split, facts),
                None => unlisted.push((split.clone(), listed)),
            }
        }
    }
    let mut missing = 0;
    for (name, facts) in rows {
        // Loose images beside folders are in no class folder, and so not listed yet.
        let path = folder.join(name);
        let split = if is_split { split_of(&listing.root, &path) } else { Some(SplitName::All) };
        match split.filter(|_| has_labels && is_image(&path) && path.is_file()) {
            Some(split) => add(Listed { path, class: None, group: None }, &split, facts),
            None => missing += 1,
        }
    }
    // Of a split that the file says nothing about, everything stays.
    let (here, elsewhere): (Vec<_>, Vec<_>) =
        unlisted.into_iter().partition(|(split, listed)| covered.contains(split) && listed.path.starts_with(folder));
    let unlisted = here.len();
    let kept = if decides { Vec::new() } else { here };
    for (split, listed) in elsewhere.into_iter().chain(kept) {
        merged.entry(split).or_default().push(listed);
    }
    if has_labels {
        merged.values_mut().for_each(|samples| samples.sort_by(|one, other| one.path.cmp(&other.path)));
        let root = listing.root.clone();
        listing.empty_class_folders.retain(|name| !root.join(name).starts_with(folder));
        let is_void =
            |note: &DataNote| matches!(note, DataNote::BesideClasses { folder: of, .. } if of.starts_with(folder));
        listing.notes.retain(|note| !is_void(note));
    }
    listing.splits = merged;
    if unlisted > 0 || missing > 0 {
        listing.notes.push(DataNote::Metadata { path: path.to_owned(), unlisted, left_out: decides, missing });
    }
}

/// The name of a file as rows have it, or nothing where it lies elsewhere.
fn relative(folder: &Path, path: &Path) -> Option<String> {
    path.strip_prefix(folder).ok().map(slashed)
}

/// The split of a file below the folder of a split.
fn split_of(root: &Path, path: &Path) -> Option<SplitName> {
    let first = path.strip_prefix(root).ok()?.components().next()?;
    split_of_folder(first.as_os_str().to_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::DataSource;

    /// A folder of empty images with one metadata file.
    fn folder(images: &[&str], metadata: &str, text: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for image in images {
            fs::create_dir_all(root.path().join(image).parent().unwrap()).unwrap();
            fs::write(root.path().join(image), "").unwrap();
        }
        fs::write(root.path().join(metadata), text).unwrap();
        root
    }

    /// Split, name and class of every sample, and the notes.
    fn opened(root: &tempfile::TempDir) -> (Vec<String>, Vec<String>) {
        let source = DataSource::open(root.path()).unwrap();
        let samples = source.splits.iter().flat_map(|(split, samples)| {
            let classes = &source.classes;
            samples.iter().map(move |sample| {
                let class = sample.label.map_or("-", |label| classes[label].as_str());
                format!("{split} {} {class}", sample.name)
            })
        });
        (samples.collect(), source.notes.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn labels_of_a_flat_folder_come_from_its_metadata() {
        let text = "file_name,text,label\nb.png,a dog,dog\n./a.png,\"a cat, asleep\",cat\n";
        let root = folder(&["a.png", "b.png"], "metadata.csv", text);
        assert_eq!(opened(&root), (vec!["all a.png cat".into(), "all b.png dog".into()], vec![]));
        let text = "{\"file_name\": \"a.png\", \"label\": 1}\n{\"file_name\": \"b.png\", \"label\": 0}\n";
        let root = folder(&["a.png", "b.png"], "metadata.jsonl", text);
        assert_eq!(opened(&root).0, ["all a.png 1", "all b.png 0"]);
    }

    #[test]
    fn labels_in_metadata_win_over_folders_and_what_is_not_listed_is_told() {
        let images = ["photos/a.png", "photos/b.png", "masks/a.png", "loose.png"];
        let text = "file_name,labels\nphotos/a.png,cat\nloose.png,dog\ngone.png,dog\n";
        let (samples, notes) = opened(&folder(&images, "metadata.csv", text));
        assert_eq!(samples, ["all loose.png dog", "all photos/a.png cat"]);
        assert_eq!(notes.len(), 1, "{notes:?}");
        let expected = "2 images beside it are not listed and left out and 1 image that it lists is not there";
        assert!(notes[0].ends_with(expected), "{notes:?}");
    }

    #[test]
    fn each_split_folder_may_have_its_own_or_the_root_has_one() {
        let images = ["train/a.png", "train/b.png", "test/c.png"];
        let root = folder(&images, "train/metadata.csv", "file_name,label\na.png,cat\nb.png,dog\n");
        fs::write(root.path().join("test/metadata.csv"), "file_name,label\nc.png,dog\n").unwrap();
        let expected = ["train train/a.png cat", "train train/b.png dog", "test test/c.png dog"];
        assert_eq!(opened(&root), (expected.map(str::to_owned).to_vec(), vec![]));
        let text = "file_name,label\ntest/c.png,dog\ntrain/a.png,cat\ntrain/b.png,dog\n";
        assert_eq!(opened(&folder(&images, "metadata.csv", text)).0, expected);
    }

    #[test]
    fn groups_and_splits_are_taken_and_class_folders_stay_without_labels() {
        let images = ["cat/a.png", "dog/b.png"];
        let root = folder(&images, "metadata.csv", "file_name,group,split\ncat/a.png,ann,train\ndog/b.png,bob,test\n");
        assert_eq!(opened(&root).0, ["train cat/a.png cat", "test dog/b.png dog"]);
        assert_eq!(DataSource::open(root.path()).unwrap().all().groups(), ["ann", "bob"]);
        // Captions, and files of another purpose, change nothing.
        for text in ["file_name,text\ncat/a.png,a cat\n", "path,label\nelsewhere/x.png,y\n", ""] {
            let (samples, notes) = opened(&folder(&images, "metadata.csv", text));
            assert_eq!((samples, notes.len()), (vec!["all cat/a.png cat".into(), "all dog/b.png dog".into()], 0));
        }
    }

    /// Written by `tests/fixtures/parquet/generate.py`: `file_name` is a.png, b.png and c.png; `label` is 1, 0 and -1 of the
    /// classes cat and dog; `group` is ann, bob and ann.
    #[cfg(feature = "parquet")]
    #[test]
    fn metadata_in_parquet_is_read_as_in_text() {
        let root = folder(&["a.png", "b.png", "c.png", "d.png"], "unused.txt", "");
        let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/parquet/metadata.parquet");
        fs::copy(fixture, root.path().join("metadata.parquet")).unwrap();
        let (samples, notes) = opened(&root);
        assert_eq!(samples, ["all a.png dog", "all b.png cat", "all c.png -"]);
        assert_eq!(DataSource::open(root.path()).unwrap().all().groups(), ["ann", "bob"]);
        assert!(notes.iter().any(|note| note.ends_with("1 image beside it is not listed and left out")), "{notes:?}");
    }

    #[test]
    fn two_labels_for_one_image_are_refused_with_their_line() {
        let root = folder(&["a.png"], "metadata.csv", "file_name,label\na.png,cat\na.png,dog\n");
        let error = DataSource::open(root.path()).unwrap_err().to_string();
        assert!(
            error.ends_with("line 3: a.png is labeled dog here and cat before, and an image has one class"),
            "{error}"
        );
    }
}
