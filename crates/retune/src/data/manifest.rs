//! Manifests: CSV files and JSON-lines files that list images.
//!
//! The columns (or keys) are `path` and, each optional, `label`, `split` and `group`, in any order;
//! others are ignored. Paths are relative to the manifest's folder or absolute. An empty label means
//! an unlabelled image. Labels are class names; numbers are taken as their decimal text.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::DataError;
use super::distinct::Distinct;
use super::folder::sorted_classes;
use super::source::{DataSource, ImageSource, Sample, SampleList, SplitName};

/// The two kinds of manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Comma-separated values (RFC 4180) with a header line.
    Csv,
    /// One JSON object on each line.
    JsonLines,
}

impl Format {
    /// The format that a file's extension stands for.
    pub(super) fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(Format::Csv),
            "jsonl" | "ndjson" => Some(Format::JsonLines),
            _ => None,
        }
    }
}

/// Reads a manifest and, unless missing files are left to loading, checks that its images exist.
pub(super) fn open(path: &Path, format: Format, missing: Missing) -> Result<DataSource, DataError> {
    let text = fs::read(path).map_err(|source| DataError::Io { path: path.to_owned(), source })?;
    parse(path, format, &text, missing)
}

/// A manifest's content as if it lay at `path`.
pub(super) fn parse(path: &Path, format: Format, text: &[u8], missing: Missing) -> Result<DataSource, DataError> {
    let rows = match format {
        Format::Csv => read_csv(text),
        Format::JsonLines => read_json_lines(text),
    }
    .map_err(|LineError { line, problem }| DataError::Manifest { path: path.to_owned(), line, problem })?;
    let root = path.parent().unwrap_or(Path::new("")).to_owned();
    source_from_rows(path, root, rows, missing)
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
struct Row {
    line: u64,
    path: Arc<str>,
    label: Option<Arc<str>>,
    split: Option<Arc<str>>,
    group: Option<Arc<str>>,
}

/// A line that cannot be used, and why.
#[derive(Debug)]
struct LineError {
    line: u64,
    problem: String,
}

fn source_from_rows(manifest: &Path, root: PathBuf, rows: Vec<Row>, missing: Missing) -> Result<DataSource, DataError> {
    let problem = |line, problem| DataError::Manifest { path: manifest.to_owned(), line, problem };
    if rows.is_empty() {
        return Err(problem(1, "no image is listed: add lines below the column names".to_owned()));
    }
    let classes = sorted_classes(rows.iter().filter_map(|row| row.label.as_deref()));
    let is_split = rows.iter().any(|row| row.split.is_some());
    let mut splits: BTreeMap<SplitName, SampleList> = BTreeMap::new();
    let mut folders = (rows.len() > MANY_ROWS).then(Folders::default);
    for row in rows {
        let image = root.join(&*row.path);
        if missing == Missing::Refused
            && !folders.as_mut().is_some_and(|folders| folders.lists(&image))
            && !image.is_file()
        {
            return Err(problem(row.line, format!("there is no file {}", image.display())));
        }
        let split = match row.split {
            Some(name) => SplitName::from(&*name),
            None if !is_split => SplitName::All,
            None => return Err(problem(row.line, "the split is missing here and given on other lines".to_owned())),
        };
        splits.entry(split).or_default().push(Sample {
            image: ImageSource::File(image.into()),
            label: row.label.and_then(|label| classes.binary_search_by(|class| (**class).cmp(&label)).ok()),
            group: row.group,
            name: row.path,
        });
    }
    Ok(DataSource { root, classes, splits, empty_class_folders: Vec::new(), corruptions: Vec::new() })
}

/// Rows from which on folders are listed whole, rather than each file asked for: of a million files
/// that the system has not looked at lately, that takes seconds and not minutes.
const MANY_ROWS: usize = 10_000;

/// The files of folders, each listed once.
#[derive(Default)]
struct Folders(HashMap<PathBuf, HashSet<OsString>>);

impl Folders {
    /// Whether the file is certainly there; links, and whatever is spelt otherwise, have to be asked for.
    fn lists(&mut self, file: &Path) -> bool {
        let Some((folder, name)) = file.parent().zip(file.file_name()) else { return false };
        if !self.0.contains_key(folder) {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
            self.0.insert(folder.to_owned(), files.map(|entry| entry.file_name()).collect());
        }
        self.0.get(folder).is_some_and(|files| files.contains(name))
    }
}

/// Where the columns of a CSV manifest are.
struct Columns {
    path: usize,
    label: Option<usize>,
    split: Option<usize>,
    group: Option<usize>,
}

impl Columns {
    fn of(header: &csv::StringRecord) -> Result<Self, LineError> {
        let find = |name: &str| {
            // Spreadsheet programs begin a UTF-8 file with a byte order mark.
            header.iter().position(|column| column.trim_start_matches('\u{feff}').trim().eq_ignore_ascii_case(name))
        };
        let path = find("path").ok_or_else(|| LineError {
            line: 1,
            problem: format!(
                "the column names are `{}` and lack `path`: begin the file with a line like `path,label`",
                header.iter().collect::<Vec<_>>().join(",")
            ),
        })?;
        Ok(Self { path, label: find("label"), split: find("split"), group: find("group") })
    }
}

fn read_csv(text: &[u8]) -> Result<Vec<Row>, LineError> {
    let line_at = |position: Option<&csv::Position>| position.map_or(1, |position| line_of_record(text, position));
    let unreadable = |error: csv::Error| LineError { line: line_at(error.position()), problem: csv_problem(&error) };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
    let columns = Columns::of(reader.headers().map_err(unreadable)?)?;
    let mut rows = Vec::new();
    let mut distinct = Distinct::default();
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(unreadable)? {
        let line = line_at(record.position());
        let field = |column: Option<usize>| record.get(column?).filter(|text| !text.is_empty());
        let path = field(Some(columns.path));
        let mut shared = |column: Option<usize>| field(column).map(|text| distinct.shared(text));
        rows.push(Row {
            line,
            path: path.ok_or_else(|| LineError { line, problem: "the path is empty".to_owned() })?.into(),
            label: shared(columns.label),
            split: shared(columns.split),
            group: shared(columns.group),
        });
    }
    Ok(rows)
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
            format!(
                "{len} fields where the column names are {expected_len}: a comma within a field needs quotes around it"
            )
        }
        csv::ErrorKind::Utf8 { .. } => "the text is not valid UTF-8".to_owned(),
        _ => format!("the line cannot be read: {error}"),
    }
}

/// A line of a JSON-lines manifest.
#[derive(serde::Deserialize)]
struct JsonRow {
    path: String,
    label: Option<Text>,
    split: Option<Text>,
    group: Option<Text>,
}

/// A JSON string, or a number taken as its decimal text.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Text {
    Text(String),
    Number(serde_json::Number),
}

impl Text {
    fn into_text(self) -> String {
        match self {
            Text::Text(text) => text,
            Text::Number(number) => number.to_string(),
        }
    }
}

fn read_json_lines(text: &[u8]) -> Result<Vec<Row>, LineError> {
    let mut rows = Vec::new();
    let mut distinct = Distinct::default();
    for (line, text) in (1..).zip(text.split(|&byte| byte == b'\n')) {
        let problem = |problem: String| LineError { line, problem };
        let text = str::from_utf8(text).map_err(|_| problem("the text is not valid UTF-8".to_owned()))?;
        let text = text.trim_start_matches('\u{feff}').trim();
        if text.is_empty() {
            continue;
        }
        let row: JsonRow = serde_json::from_str(text)
            .map_err(|error| problem(format!("expected an object like {{\"path\": …, \"label\": …}}: {error}")))?;
        if row.path.is_empty() {
            return Err(problem("the path is empty".to_owned()));
        }
        let mut shared = |text: Option<Text>| {
            let text = text.map(Text::into_text).filter(|text| !text.is_empty())?;
            Some(distinct.shared(&text))
        };
        rows.push(Row {
            line,
            path: row.path.into(),
            label: shared(row.label),
            split: shared(row.split),
            group: shared(row.group),
        });
    }
    Ok(rows)
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
    fn both_formats_read_the_same() {
        let csv = read_csv("path,label,split\na.png,3,train\n\nb.png,,test\n".as_bytes()).unwrap();
        let json = "{\"path\": \"a.png\", \"label\": 3, \"split\": \"train\"}\n\n\
                    {\"path\": \"b.png\", \"label\": null, \"split\": \"test\", \"more\": []}\n";
        let json = read_json_lines(json.as_bytes()).unwrap();
        let without_line = |rows: Vec<Row>| rows.into_iter().map(|row| Row { line: 0, ..row }).collect::<Vec<_>>();
        assert_eq!(without_line(csv), without_line(json));
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
            let _ = read_csv(&bytes);
            let _ = read_json_lines(&bytes);
        }

        #[test]
        fn almost_valid_text_never_panics(text in "(path|label|split|a\\.png|[,\"\n\r{}:\\\\ ]){0,40}") {
            let _ = read_csv(text.as_bytes());
            let _ = read_json_lines(text.as_bytes());
        }

        #[test]
        fn what_is_written_as_csv_is_read_back(rows in proptest::collection::vec(("[a-z,\" ]{0,6}[a-z]", "[a-z\"]{1,5}"), 1..10)) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(["path", "label"]).unwrap();
            for (path, label) in &rows {
                writer.write_record([path, label]).unwrap();
            }
            let read = read_csv(&writer.into_inner().unwrap()).unwrap();
            let read: Vec<(String, String)> = read.into_iter().map(|row| (row.path.to_string(), row.label.unwrap().to_string())).collect();
            // Blanks around a field are not kept.
            let expected: Vec<(String, String)> = rows.into_iter().map(|(path, label)| (path.trim().to_owned(), label)).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
