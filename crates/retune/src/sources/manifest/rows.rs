//! The rows of a manifest, in either syntax.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use serde_json::Value;

use crate::sources::DataError;
use crate::sources::format::Labels;
use crate::sources::label_sets::joined;

/// The syntax of a manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sources) enum Syntax {
    /// Comma-separated values (RFC 4180) with a header line.
    Csv,
    /// One JSON object on each line.
    JsonLines,
}

impl Syntax {
    /// The format that a file's extension stands for.
    pub(in crate::sources) fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "csv" => Some(Syntax::Csv),
            "jsonl" | "ndjson" => Some(Syntax::JsonLines),
            _ => None,
        }
    }
}

/// One image as a manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::sources) struct Row<'a> {
    pub line: u64,
    pub path: &'a str,
    pub label: Option<&'a str>,
    pub split: Option<&'a str>,
    pub group: Option<&'a str>,
}

/// A line that cannot be used, and why.
#[derive(Debug)]
pub(in crate::sources) struct LineError {
    pub line: u64,
    pub problem: String,
}

impl LineError {
    pub fn of_file(self, path: &Path) -> DataError {
        DataError::Manifest { path: path.to_owned(), line: self.line, problem: self.problem }
    }
}

/// Tells `each` row of a manifest in turn; the names of columns that say nothing about images here.
pub(in crate::sources) fn read_rows(
    format: Syntax,
    text: &[u8],
    labels: Labels,
    each: impl FnMut(Row) -> Result<(), LineError>,
) -> Result<Vec<String>, LineError> {
    match format {
        Syntax::Csv => read_csv(text, labels, each),
        Syntax::JsonLines => read_json_lines(text, labels, each).map(|()| Vec::new()),
    }
}

/// Where the columns of a CSV manifest are.
struct Columns {
    path: usize,
    label: Option<usize>,
    /// A column of 0 and 1 for each label, where images may have several and no column holds them all.
    flags: Vec<(usize, String)>,
    split: Option<usize>,
    group: Option<usize>,
    /// The names of the others.
    unused: Vec<String>,
}

/// What other programs call the column of paths, beside `path` and `file_name`.
const OTHER_NAMES_OF_PATH: [&str; 6] = ["file", "filename", "filepath", "file_path", "image_path", "image"];
/// The same for the column of classes, beside `label` and `labels`. Of several labels, each may have a column of such a name.
const OTHER_NAMES_OF_LABEL: [&str; 3] = ["class", "target", "category"];

impl Columns {
    fn of(header: &csv::StringRecord, labels: Labels) -> Result<Self, LineError> {
        // Spreadsheet programs begin a UTF-8 file with a byte order mark.
        let names: Vec<&str> = header.iter().map(|column| column.trim_start_matches('\u{feff}').trim()).collect();
        let find = |name: &str| names.iter().position(|column| column.eq_ignore_ascii_case(name));
        let path = find("path").or_else(|| names.iter().position(|column| is_file_name(column)));
        let path = path.or_else(|| OTHER_NAMES_OF_PATH.into_iter().find_map(find));
        let path = path.ok_or_else(|| LineError {
            line: 1,
            problem: format!(
                "the column names are `{}` and lack `path`: begin the file with a line like `path,label`",
                header.iter().collect::<Vec<_>>().join(",")
            ),
        })?;
        let other_label = || OTHER_NAMES_OF_LABEL.into_iter().find_map(find).filter(|_| labels == Labels::One);
        let label = find("label").or_else(|| find("labels")).or_else(other_label);
        let (split, group) = (find("split"), find("group"));
        let is_flag = |column: &usize| *column != path && ![split, group].contains(&Some(*column));
        let flags: Vec<(usize, String)> = match (labels, label) {
            (Labels::Several, None) => {
                (0..names.len()).filter(is_flag).map(|column| (column, names[column].to_owned())).collect()
            }
            _ => Vec::new(),
        };
        let is_twice =
            |(place, (_, name)): &(usize, &(usize, String))| flags[..*place].iter().any(|(_, own)| own == name);
        if let Some((_, (_, name))) = flags.iter().enumerate().find(is_twice) {
            return Err(LineError { line: 1, problem: format!("two columns are called `{name}`") });
        }
        let used = [Some(path), label, split, group];
        let is_unused =
            |column: &usize| flags.is_empty() && !used.contains(&Some(*column)) && !names[*column].is_empty();
        let unused = (0..names.len()).filter(is_unused).map(|column| names[column].to_owned()).collect();
        Ok(Self { path, label, flags, split, group, unused })
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
pub(in crate::sources) fn is_file_name(column: &str) -> bool {
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

/// Tells `each` row in turn.
fn read_csv(
    text: &[u8],
    labels: Labels,
    mut each: impl FnMut(Row) -> Result<(), LineError>,
) -> Result<Vec<String>, LineError> {
    let line_at = |position: Option<&csv::Position>| position.map_or(1, |position| line_of_record(text, position));
    let unreadable = |error: csv::Error| LineError { line: line_at(error.position()), problem: csv_problem(&error) };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).delimiter(delimiter(text)).from_reader(text);
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
    Ok(columns.unused)
}

/// What stands between the column names: a comma, or where there is none, what spreadsheet programs write instead in
/// countries with a decimal comma, or a tab.
fn delimiter(text: &[u8]) -> u8 {
    let header = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    [b',', b';', b'\t'].into_iter().find(|delimiter| header.contains(delimiter)).unwrap_or(b',')
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
                "it has {len} {fields}, and there are {expected_len} column names: a field with a comma (or whatever stands \
                 between the column names) needs quotes around it"
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
pub(in crate::sources) fn labels_of(row: &serde_json::Map<String, Value>, key: &str) -> Result<Option<String>, String> {
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
pub(in crate::sources) fn text_of(value: &Value) -> Result<Option<Cow<'_, str>>, String> {
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
