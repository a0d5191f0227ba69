//! Which columns of a file hold what.

use std::collections::BTreeMap;

use ::parquet::basic::Type as PhysicalType;
use serde_json::Value;

use super::file::{Column, ParquetFile};

/// Names that a column of images goes by, where there are several columns of bytes.
const IMAGE_NAMES: [&str; 2] = ["image", "img"];

/// Names that a column of labels goes by; the first that a file has is taken.
const LABEL_NAMES: [&str; 8] = ["label", "labels", "fine_label", "class", "class_label", "category", "target", "y"];

/// The columns of a file that are read, as numbers of leaf columns.
pub(super) struct Layout {
    pub image: usize,
    pub image_name: String,
    pub label: Option<LabelColumn>,
    pub split: Option<usize>,
    pub group: Option<usize>,
}

/// A column of labels.
pub(super) struct LabelColumn {
    pub number: usize,
    pub physical_type: PhysicalType,
    /// The names of the numbers 0, 1, …, where the file gives them.
    pub names: Option<Vec<String>>,
}

impl Layout {
    pub fn of(file: &ParquetFile) -> Result<Self, String> {
        let image = image_column(file)?;
        Ok(Self {
            image: image.number,
            image_name: image.path()[0].clone(),
            label: label_column(file)?,
            split: text_column(file, "split"),
            group: text_column(file, "group"),
        })
    }
}

fn image_column(file: &ParquetFile) -> Result<Column<'_>, String> {
    let holds_images = |column: &Column<'_>| {
        let is_place = column.path().len() == 1 || (column.path().len() == 2 && column.path()[1] == "bytes");
        is_place && column.physical_type() == PhysicalType::BYTE_ARRAY && !column.is_text() && !column.is_repeated()
    };
    let candidates: Vec<Column<'_>> = file.columns().filter(holds_images).collect();
    let named = IMAGE_NAMES.iter().find_map(|name| candidates.iter().find(|column| column.path()[0] == *name));
    match (named, &candidates[..]) {
        (Some(column), _) | (None, [column]) => Ok(*column),
        (None, []) => Err(format!(
            "no column holds images (a struct of `bytes` and `path`, or binary): the columns are {}",
            file.column_names().join(", ")
        )),
        (None, several) => {
            let names: Vec<&str> = several.iter().map(|column| column.path()[0].as_str()).collect();
            Err(format!("several columns may hold images: {}; call the right one `image`", names.join(", ")))
        }
    }
}

fn label_column(file: &ParquetFile) -> Result<Option<LabelColumn>, String> {
    let mut class_labels = class_labels(file);
    let column_named = |name: &str| file.columns().find(|column| column.path() == [name]);
    let by_name = LABEL_NAMES.iter().find_map(|name| column_named(name));
    let column = by_name.or_else(|| match class_labels.len() {
        1 => class_labels.keys().next().and_then(|name| column_named(name)),
        _ => None,
    });
    let Some(column) = column else { return Ok(None) };
    let name = &column.path()[0];
    let physical_type = column.physical_type();
    if !matches!(physical_type, PhysicalType::INT32 | PhysicalType::INT64) && !column.is_text() {
        return Err(format!("the column `{name}` is of the type {physical_type}, and labels are integers or text"));
    }
    Ok(Some(LabelColumn { number: column.number, physical_type, names: class_labels.remove(name) }))
}

fn text_column(file: &ParquetFile, name: &str) -> Option<usize> {
    file.columns().find(|column| column.path() == [name] && column.is_text()).map(|column| column.number)
}

/// The class names by column, from the metadata that the `datasets` library writes.
fn class_labels(file: &ParquetFile) -> BTreeMap<String, Vec<String>> {
    let parsed: Option<Value> = file.key_value("huggingface").and_then(|text| serde_json::from_str(text).ok());
    let features = parsed.as_ref().and_then(|document| document.pointer("/info/features")?.as_object());
    let names = |feature: &Value| {
        if feature.get("_type")? != "ClassLabel" {
            return None;
        }
        feature.get("names")?.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
    };
    features.into_iter().flatten().filter_map(|(column, feature)| Some((column.clone(), names(feature)?))).collect()
}
