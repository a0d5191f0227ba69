//! Columns of lists: several labels for each image, as `list<string>`, `list<int64>`, or the hub's lists of class labels.

use std::sync::Arc;

use ::parquet::data_type::{ByteArrayType, DataType, Int32Type, Int64Type};

use super::file::ParquetFile;
use super::layout::LabelColumn;
use super::scalars::ScalarKind;
use crate::sources::distinct::Distinct;
use crate::sources::label_sets::joined;

/// The labels of every row as one text each; the empty text where a row has none. A null or an empty list has none, and
/// entries that are null or negative do not count.
///
/// # Errors
/// Entries that are neither text nor whole numbers, or numbers without a name among those that the file gives; a damaged
/// file.
pub(super) fn read(file: &ParquetFile, column: &LabelColumn) -> Result<Vec<Option<Arc<str>>>, String> {
    let LabelColumn { number, name, kind, names } = column;
    let in_column = |problem: String| format!("column `{name}`, {problem}");
    let mut distinct = Distinct::default();
    let mut texts = |rows: Vec<Vec<String>>| -> Vec<Option<Arc<str>>> {
        let text = |labels: Vec<String>| Some(distinct.shared(&joined(&labels)));
        rows.into_iter().map(text).collect()
    };
    let of_number = |label: i64| match names {
        _ if label < 0 => Ok(None),
        None => Ok(Some(label.to_string())),
        Some(names) => match usize::try_from(label).ok().and_then(|label| names.get(label)) {
            Some(name) => Ok(Some(name.clone())),
            None => Err(format!("the label {label} is none of the {} class names", names.len())),
        },
    };
    let rows = match kind {
        ScalarKind::Text => lists::<ByteArrayType>(file, *number, |value| {
            let text = value.as_utf8().map_err(|_| "text that is not UTF-8".to_owned())?;
            Ok(Some(text.to_owned()).filter(|text| !text.trim().is_empty()))
        }),
        ScalarKind::Integer => lists::<Int32Type>(file, *number, |value| of_number(value.into())),
        ScalarKind::UnsignedInteger => {
            lists::<Int32Type>(file, *number, |value| of_number(value.cast_unsigned().into()))
        }
        ScalarKind::LongInteger => lists::<Int64Type>(file, *number, of_number),
        _ => return Err(format!("column `{name}`: a label is a text or a whole number")),
    };
    rows.map(&mut texts).map_err(in_column)
}

/// What `convert` makes of the entries of each row's list.
fn lists<T: DataType>(
    file: &ParquetFile,
    column: usize,
    convert: impl Fn(T::T) -> Result<Option<String>, String>,
) -> Result<Vec<Vec<String>>, String> {
    let full = file.full_definition(column);
    let (mut rows, mut entries): (Vec<Vec<String>>, u64) = (Vec::new(), 0);
    file.for_each_lists::<T>(column, |read| {
        let mut found = read.values.drain(..);
        for (&definition, &repetition) in read.definitions.iter().zip(&read.repetitions) {
            if repetition == 0 {
                rows.push(Vec::new());
            }
            if definition < full {
                continue;
            }
            let value = found.next().ok_or("the file is damaged: a list has fewer entries than it says")?;
            let row = rows.len() - 1;
            let label = convert(value).map_err(|problem| format!("row {row}: {problem}"))?;
            entries += label.as_ref().map_or(0, |label| 1 + label.len() as u64);
            if entries > file.most_values() {
                return Err("the file is damaged: it has more labels than it can hold".to_owned());
            }
            rows[row].extend(label);
        }
        Ok(())
    })?;
    Ok(rows)
}
