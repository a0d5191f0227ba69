//! Manifests: CSV files and JSON-lines files that list images.
//!
//! The columns (or keys) are `path` (or `file_name`) and, each optional, `label` (or `labels`), `split` and `group`, in any
//! order; others are ignored. Paths are relative to the manifest's folder or absolute. An empty label means
//! an unlabeled image. Labels are class names; numbers are taken as their decimal text.
//!
//! Where images have several labels, the field holds all of them, or there is a column of 0 and 1 for each label and none
//! called `label`; an empty label then means none of them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::DataError;
use super::distinct::Distinct;
use super::folder::sorted_classes;
use super::format::Format;
use super::image::ImageSource;
use super::label_sets::SEPARATOR;
use super::source::{DataSource, Sample, SplitName};

/// The syntax of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Syntax {
    /// Comma-separated values (RFC 4180) with a header line.
    Csv,
    /// One JSON object on each line.
    JsonLines,
}

impl Syntax {
    /// The format that a file's extension stands for.
    pub(super) fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(Syntax::Csv),
            "jsonl" | "ndjson" => Some(Syntax::JsonLines),
            _ => None,
        }
    }
}

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
    let root = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut listing = Listing::new(root, text, reading.missing);
    let read = read_rows(format, text, reading.labels, |row| listing.add(row));
    read.and_then(|()| listing.finish()).map_err(|error| error.of_file(path))
}

/// Tells `each` row of a manifest in turn.
pub(super) fn read_rows(
    format: Syntax,
    text: &[u8],
    labels: Labels,
    each: impl FnMut(Row) -> Result<(), LineError>,
) -> Result<(), LineError> {
    match format {
        Syntax::Csv => read_csv(text, labels, each),
        Syntax::JsonLines => read_json_lines(text, labels, each),
    }
}

/// How data is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub missing: Missing,
    pub labels: Labels,
}

/// How many labels an image may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Labels {
    /// One, its class.
    One,
    /// Several, or none.
    Several,
}

/// What becomes of a listed image whose file does not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// The manifest is in error.
    Refused,
    /// Loading it is an error.
    LeftToLoading,
}

/// One image as a manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row<'a> {
    pub line: u64,
    pub path: &'a str,
    pub label: Option<&'a str>,
    pub split: Option<&'a str>,
    pub group: Option<&'a str>,
}

/// A line that cannot be used, and why.
#[derive(Debug)]
pub(super) struct LineError {
    pub line: u64,
    pub problem: String,
}

impl LineError {
    pub fn of_file(self, path: &Path) -> DataError {
        DataError::Manifest { path: path.to_owned(), line: self.line, problem: self.problem }
    }
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

/// Where the columns of a CSV manifest are.
struct Columns {
    path: usize,
    label: Option<usize>,
    /// A column of 0 and 1 for each label, where images may have several and no column holds them all.
    flags: Vec<(usize, String)>,
    split: Option<usize>,
    group: Option<usize>,
}

impl Columns {
    fn of(header: &csv::StringRecord, labels: Labels) -> Result<Self, LineError> {
        // Spreadsheet programs begin a UTF-8 file with a byte order mark.
        let names: Vec<&str> = header.iter().map(|column| column.trim_start_matches('\u{feff}').trim()).collect();
        let find = |name: &str| names.iter().position(|column| column.eq_ignore_ascii_case(name));
        let path = find("path").or_else(|| names.iter().position(|column| is_file_name(column)));
        let path = path.ok_or_else(|| LineError {
            line: 1,
            problem: format!(
                "the column names are `{}` and lack `path`: begin the file with a line like `path,label`",
                header.iter().collect::<Vec<_>>().join(",")
            ),
        })?;
        let label = find("label").or_else(|| find("labels"));
        let (split, group) = (find("split"), find("group"));
        let is_flag = |column: &usize| *column != path && ![split, group].contains(&Some(*column));
        let flags = match (labels, label) {
            (Labels::Several, None) => {
                (0..names.len()).filter(is_flag).map(|column| (column, names[column].to_owned())).collect()
            }
            _ => Vec::new(),
        };
        Ok(Self { path, label, flags, split, group })
    }

    /// The labels of a record that has a column for each, joined; `None` where there are no such columns.
    fn flagged(&self, record: &csv::StringRecord) -> Result<Option<String>, String> {
        let set = self.flags.iter().map(|(column, name)| {
            let value = record.get(*column).unwrap_or_default();
            flag(name, value).map(|is_set| (name, is_set))
        });
        let set: Vec<(&String, bool)> = set.collect::<Result<_, _>>()?;
        let names: Vec<&str> = set.iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name.as_str()).collect();
        Ok((!self.flags.is_empty()).then(|| joined(&names)))
    }
}

/// Whether a column names files as the metadata of an image folder on the Hugging Face hub does: `file_name`, or a name
/// that ends in it (<https://huggingface.co/docs/datasets/image_dataset>).
pub(super) fn is_file_name(column: &str) -> bool {
    let column = column.to_ascii_lowercase();
    column == "file_name" || column.ends_with("_file_name")
}

/// Whether a field of a label's own column says that the image has it.
fn flag(name: &str, value: &str) -> Result<bool, String> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "1.0" | "true" => Ok(true),
        "" | "0" | "0.0" | "false" => Ok(false),
        _ => Err(format!(
            "the column `{name}` holds {value}: where no column is called `label`, each other column is one of a label and \
             holds 0 or 1"
        )),
    }
}

/// Labels of an image as one text.
fn joined(labels: &[&str]) -> String {
    labels.join(&*SEPARATOR.encode_utf8(&mut [0; 4]))
}

/// Tells `each` row in turn.
fn read_csv(text: &[u8], labels: Labels, mut each: impl FnMut(Row) -> Result<(), LineError>) -> Result<(), LineError> {
    let line_at = |position: Option<&csv::Position>| position.map_or(1, |position| line_of_record(text, position));
    let unreadable = |error: csv::Error| LineError { line: line_at(error.position()), problem: csv_problem(&error) };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
    let columns = Columns::of(reader.headers().map_err(unreadable)?, labels)?;
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(unreadable)? {
        let field = |column: Option<usize>| record.get(column?).filter(|text| !text.is_empty());
        let line = line_at(record.position());
        let flagged = columns.flagged(&record).map_err(|problem| LineError { line, problem })?;
        let none = columns.label.filter(|_| labels == Labels::Several).map(|_| "");
        each(Row {
            line,
            path: field(Some(columns.path)).unwrap_or_default(),
            label: flagged.as_deref().or(field(columns.label)).or(none),
            split: field(columns.split),
            group: field(columns.group),
        })?;
    }
    Ok(())
}

/// The line a record begins on. The reader gives the end of the record before; empty lines that it
/// passes over in between are counted here.
fn line_of_record(text: &[u8], position: &csv::Position) -> u64 {
    let after_previous = usize::try_from(position.byte()).ok().and_then(|byte| text.get(byte..)).unwrap_or_default();
    let passed_over = after_previous.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    position.line() + passed_over.filter(|&&byte| byte == b'\n').count() as u64
}

fn csv_problem(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            let fields = if *len == 1 { "field" } else { "fields" };
            format!(
                "it has {len} {fields}, and there are {expected_len} column names: a comma within a field needs quotes \
                 around it"
            )
        }
        csv::ErrorKind::Utf8 { .. } => "the text is not valid UTF-8".to_owned(),
        _ => format!("the line cannot be read: {error}"),
    }
}

/// Tells `each` row in turn.
fn read_json_lines(
    text: &[u8],
    labels: Labels,
    mut each: impl FnMut(Row) -> Result<(), LineError>,
) -> Result<(), LineError> {
    for (line, text) in (1..).zip(text.split(|&byte| byte == b'\n')) {
        let problem = |problem: String| LineError { line, problem };
        let text = str::from_utf8(text).map_err(|_| problem("the text is not valid UTF-8".to_owned()))?;
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            continue;
        }
        let expected = |found: &dyn fmt::Display| {
            problem(format!("expected an object like {{\"path\": …, \"label\": …}}: {found}"))
        };
        let row: serde_json::Map<String, Value> = serde_json::from_str(text).map_err(|error| expected(&error))?;
        let path = row.get("path").or_else(|| row.iter().find_map(|(key, value)| is_file_name(key).then_some(value)));
        let path = match path {
            Some(Value::String(path)) => path,
            Some(_) => return Err(expected(&"the path is not text")),
            None => return Err(expected(&"there is no `path`")),
        };
        let text_of = |key: &str| match row.get(key) {
            Some(value) => text_of(value).map_err(|found| problem(format!("the {key} is {found}"))),
            None => Ok(None),
        };
        let key = if row.contains_key("label") { "label" } else { "labels" };
        let label = match labels {
            Labels::One => text_of(key)?,
            Labels::Several => labels_of(&row, key).map_err(problem)?.map(Cow::from),
        };
        let (split, group) = (text_of("split")?, text_of("group")?);
        each(Row { line, path, label: label.as_deref(), split: split.as_deref(), group: group.as_deref() })?;
    }
    Ok(())
}

/// The labels of a row as one text: those under `key`, or the keys of 0 and 1 where there is no such key. `None` where there
/// is nothing of the kind.
fn labels_of(row: &serde_json::Map<String, Value>, key: &str) -> Result<Option<String>, String> {
    fn text(value: &Value) -> Result<Option<Cow<'_, str>>, String> {
        text_of(value).map_err(|found| format!("a label is {found}"))
    }

    match row.get(key) {
        Some(Value::Array(values)) => {
            let texts = values.iter().map(text).collect::<Result<Vec<_>, _>>()?;
            Ok(Some(joined(&texts.iter().flatten().map(|text| &**text).collect::<Vec<&str>>())))
        }
        Some(value) => Ok(Some(text(value)?.unwrap_or_default().into_owned())),
        None => {
            let others = ["path", "split", "group"];
            let flags = row.iter().filter(|(key, _)| !others.contains(&key.as_str()) && !is_file_name(key));
            let mut names = Vec::new();
            let mut any = false;
            for (name, value) in flags {
                any = true;
                if flag(name, &text(value)?.unwrap_or_default())? {
                    names.push(name.as_str());
                }
            }
            Ok(any.then(|| joined(&names)))
        }
    }
}

/// A JSON value as text: numbers in decimals, a list of one as its entry, nothing for null and the empty text.
///
/// # Errors
/// What the value is instead, in words.
pub(super) fn text_of(value: &Value) -> Result<Option<Cow<'_, str>>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(Cow::from(text)).filter(|text| !text.is_empty())),
        Value::Number(number) => Ok(Some(number.to_string().into())),
        Value::Bool(truth) => Ok(Some(if *truth { "true" } else { "false" }.into())),
        Value::Array(values) => match &values[..] {
            [] => Ok(None),
            [value] => text_of(value),
            [first, ..] => Err(format!(
                "a list of {} ({first}, …), and an image has one class: give one label for each image",
                values.len()
            )),
        },
        Value::Object(_) => Err("an object and should be text or a number".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folder_with(manifest: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        for image in ["a.png", "b.png", "c, d.png"] {
            fs::write(folder.path().join(image), "").unwrap();
        }
        let path = folder.path().join(manifest);
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    /// Path, label, split and group of each row, `-` for what is missing.
    fn rows_of(format: Syntax, text: &[u8]) -> Result<Vec<[String; 4]>, LineError> {
        let mut rows = Vec::new();
        let add = |row: Row| {
            let fields = [Some(row.path), row.label, row.split, row.group];
            rows.push(fields.map(|field| field.unwrap_or("-").to_owned()));
            Ok(())
        };
        match format {
            Syntax::Csv => read_csv(text, Labels::One, add),
            Syntax::JsonLines => read_json_lines(text, Labels::One, add),
        }?;
        Ok(rows)
    }

    fn open_text(manifest: &str, text: &str) -> Result<DataSource, DataError> {
        let (_folder, path) = folder_with(manifest, text);
        DataSource::open(path)
    }

    #[test]
    fn a_csv_manifest_may_order_its_columns_freely() {
        let text = "\u{feff}label, path ,split,group,score\ndog,a.png,train,day,1\ncat,b.png,train,,2\ndog,\"c, d.png\",valid,night,3\n";
        let source = open_text("list.csv", text).unwrap();
        assert_eq!(source.classes, ["cat", "dog"]);
        let train = source.split(&SplitName::Train).unwrap();
        assert_eq!(train.labels().unwrap(), [1, 0]);
        assert_eq!(train.samples[0].group.as_deref(), Some("day"));
        assert_eq!(train.samples[1].group, None);
        assert_eq!(&*source.split(&SplitName::Validation).unwrap().samples[0].name, "c, d.png");
        assert_eq!(source.all().groups(), ["day", "night"]);
    }

    #[test]
    fn several_labels_are_in_one_field_or_in_a_column_each() {
        let labels = |manifest: &str, text: &str| {
            let (_folder, path) = folder_with(manifest, text);
            let source = DataSource::open_multi_label(&path).unwrap();
            assert!(source.notes.is_empty(), "{:?}", source.notes);
            let sets = crate::sources::LabelSets::of(&source.classes);
            let of = |label: Option<usize>| sets.of_class(label.unwrap()).to_vec();
            let found = source.all().samples.iter().map(|sample| of(sample.label)).collect::<Vec<_>>();
            (sets.names().to_vec(), found)
        };
        let expected = (vec!["cat".to_owned(), "dog".to_owned()], vec![vec![0, 1], vec![], vec![1]]);
        for (manifest, text) in [
            ("list.csv", "path,labels\na.png,dog|cat\nb.png,\n\"c, d.png\",dog\n"),
            ("list.csv", "path,dog,group,cat\na.png,1,x,1.0\nb.png,0,x,\n\"c, d.png\",1,y,0\n"),
            (
                "list.jsonl",
                "{\"path\": \"a.png\", \"label\": [\"dog\", \"cat\"]}\n{\"path\": \"b.png\", \"label\": []}\n\
                 {\"path\": \"c, d.png\", \"label\": \"dog\"}\n",
            ),
            (
                "list.jsonl",
                "{\"path\": \"a.png\", \"dog\": 1, \"cat\": true}\n{\"path\": \"b.png\", \"dog\": 0, \"cat\": 0}\n\
                 {\"path\": \"c, d.png\", \"dog\": true, \"cat\": false}\n",
            ),
        ] {
            assert_eq!(labels(manifest, text), expected, "{text}");
        }
        let (_folder, path) = folder_with("list.csv", "path,dog,score\na.png,1,0.7\n");
        let error = DataSource::open_multi_label(&path).unwrap_err().to_string();
        assert!(error.contains("line 2: the column `score` holds 0.7"), "{error}");
    }

    #[test]
    fn both_formats_read_the_same() {
        let csv = rows_of(Syntax::Csv, b"path,label,split\na.png,3,train\n\nb.png,,test\n").unwrap();
        let json = "{\"path\": \"a.png\", \"label\": 3, \"split\": \"train\"}\n\n\
                    {\"path\": \"b.png\", \"label\": null, \"split\": \"test\", \"more\": []}\n";
        assert_eq!(csv, rows_of(Syntax::JsonLines, json.as_bytes()).unwrap());
        let b = ["b.png", "-", "test", "-"];
        assert_eq!(csv, [["a.png", "3", "train", "-"], b].map(|row| row.map(str::to_owned)));
    }

    #[test]
    fn the_names_and_lists_of_one_that_the_hub_uses_are_understood() {
        let csv = rows_of(Syntax::Csv, b"file_name,labels\na.png,cat\nb.png,dog\n").unwrap();
        let json = "{\"image_file_name\": \"a.png\", \"labels\": [\"cat\"]}\n{\"file_name\": \"b.png\", \"labels\": \"dog\"}\n";
        assert_eq!(csv, rows_of(Syntax::JsonLines, json.as_bytes()).unwrap());
        assert_eq!(csv[0], ["a.png", "cat", "-", "-"]);
    }

    #[test]
    fn unsplit_manifests_are_whole() {
        let source = open_text("list.csv", "path\na.png\nb.png\n").unwrap();
        assert_eq!(source.splits.keys().collect::<Vec<_>>(), [&SplitName::All]);
        assert_eq!(source.all().samples[0].label, None);
    }

    /// Each mistake gives an error that names the file, the line and the remedy or reason.
    #[test]
    fn mistakes_are_reported_with_their_line() {
        let cases = [
            ("l.csv", "a.png,dog\nb.png,cat\n", 1, "lack `path`"),
            ("l.csv", "path,label\na.png,dog\nabsent.png,cat\n", 3, "there is no file"),
            ("l.csv", "path,label\na.png,dog\n,cat\n", 3, "path is empty"),
            ("l.csv", "path,label\na.png,dog\n\nb.png,cat,x\n", 4, "3 fields"),
            ("l.csv", "\u{feff}path,label\r\n\r\n\r\na.png,dog\r\n\r\nb.png,cat,x", 6, "3 fields"),
            ("l.csv", "path,label,split\na.png,dog,train\nb.png,cat,\n", 3, "split is missing"),
            ("l.csv", "path,label\n", 1, "no image"),
            ("l.csv", "", 1, "lack `path`"),
            ("l.jsonl", "{\"path\": \"a.png\"}\n{\"path\": 3}\n", 2, "expected an object"),
            ("l.jsonl", "{\"path\": \"a.png\"}\n\n{\"label\": \"x\"}\n", 3, "path"),
            ("l.jsonl", "not json\n", 1, "expected an object"),
            (
                "l.jsonl",
                "\n{\"path\": \"a.png\", \"label\": [\"cat\", \"dog\"]}\n",
                2,
                "the label is a list of 2 (\"cat\", …)",
            ),
            ("l.jsonl", "{\"path\": \"a.png\", \"label\": {\"cat\": 1}}\n", 1, "the label is an object"),
        ];
        for (name, text, line, expected) in cases {
            let error = open_text(name, text).unwrap_err().to_string();
            assert!(error.contains(&format!("{name}, line {line}: ")), "{text:?}: {error}");
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    /// Long manifests list folders in place of asking for each file; the answers are the same.
    #[test]
    fn a_long_manifest_names_its_missing_file_too() {
        let mut text = "path,label\n".to_owned();
        (0..MANY_ROWS).for_each(|row| text.push_str(if row % 2 == 0 { "a.png,x\n" } else { "./b.png,y\n" }));
        assert_eq!(open_text("list.csv", &text).unwrap().all().len(), MANY_ROWS);
        text.push_str("a.png,x\nabsent/c.png,y\n");
        let error = open_text("list.csv", &text).unwrap_err().to_string();
        assert!(error.contains(&format!("line {}: ", MANY_ROWS + 3)) && error.contains("there is no file"), "{error}");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = rows_of(Syntax::Csv, &bytes);
            let _ = rows_of(Syntax::JsonLines, &bytes);
        }

        #[test]
        fn almost_valid_text_never_panics(text in "(path|label|split|a\\.png|[,\"\n\r{}:\\\\ ]){0,40}") {
            let _ = rows_of(Syntax::Csv, text.as_bytes());
            let _ = rows_of(Syntax::JsonLines, text.as_bytes());
        }

        #[test]
        fn what_is_written_as_csv_is_read_back(rows in proptest::collection::vec(("[a-z,\" ]{0,6}[a-z]", "[a-z\"]{1,5}"), 1..10)) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(["path", "label"]).unwrap();
            for (path, label) in &rows {
                writer.write_record([path, label]).unwrap();
            }
            let read = rows_of(Syntax::Csv, &writer.into_inner().unwrap()).unwrap();
            let read: Vec<(String, String)> = read.into_iter().map(|[path, label, ..]| (path, label)).collect();
            // Blanks around a field are not kept.
            let expected: Vec<(String, String)> = rows.into_iter().map(|(path, label)| (path.trim().to_owned(), label)).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
