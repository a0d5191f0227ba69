//! Which columns of a file hold what.

use std::collections::BTreeMap;

use ::parquet::basic::Type as PhysicalType;
use serde_json::Value;

use super::file::{Column, ParquetFile};
use super::scalars::ScalarKind;

/// Names that a column of images goes by, where there are several columns of bytes.
const IMAGE_NAMES: [&str; 2] = ["image", "img"];

/// Names that a column of paths of images goes by, where no column holds images.
const PATH_NAMES: [&str; 11] = [
    "image",
    "img",
    "image_path",
    "img_path",
    "image_file",
    "path",
    "file_path",
    "filepath",
    "file_name",
    "filename",
    "file",
];

/// Names that a column of labels goes by; the first that a file has is taken.
const LABEL_NAMES: [&str; 8] = ["label", "labels", "fine_label", "class", "class_label", "category", "target", "y"];

/// The columns of a file that are read, as numbers of leaf columns.
pub(super) struct Layout {
    pub image: ImageColumns,
    pub label: Option<LabelColumn>,
    /// A column of several labels for each image, where there is none of one label.
    pub label_lists: Option<LabelListColumn>,
    pub split: Option<usize>,
    pub group: Option<(usize, ScalarKind)>,
}

/// Where the images are.
pub(super) enum ImageColumns {
    /// In the file; those whose bytes are null lie at a path.
    Encoded { name: String, bytes: usize, path: Option<usize> },
    /// In files of their own.
    Paths { name: String, path: usize },
}

/// A column of several labels for each image.
pub(super) enum LabelListColumn {
    /// Lists of text or numbers.
    Lists(LabelColumn),
    /// Lists of something else, structs, or lists of lists, under this name.
    Other(String),
}

/// A column of labels.
pub(super) struct LabelColumn {
    pub number: usize,
    pub name: String,
    pub kind: ScalarKind,
    /// The names of the numbers 0, 1, …, where the file gives them.
    pub names: Option<Vec<String>>,
}

impl Layout {
    pub fn of(file: &ParquetFile) -> Result<Self, String> {
        let column_named = |name: &str| file.columns().find(|column| column.path() == [name]);
        let group = column_named("group").and_then(|column| Some((column.number, ScalarKind::of(column)?)));
        let label = label_column(file)?;
        let label_lists = if label.is_none() { label_lists(file) } else { None };
        Ok(Self {
            image: image_columns(file)?,
            label,
            label_lists,
            split: column_named("split").filter(|column| column.is_text()).map(|column| column.number),
            group,
        })
    }
}

fn image_columns(file: &ParquetFile) -> Result<ImageColumns, String> {
    let encoded = encoded_images(file)?;
    let path_beside = |name: &str| {
        file.columns().find(|column| column.path() == [name, "path"] && column.is_text()).map(|column| column.number)
    };
    if let Some(column) = encoded {
        let name = column.path()[0].clone();
        return Ok(ImageColumns::Encoded { path: path_beside(&name), bytes: column.number, name });
    }
    // In a struct as the hub keeps images, whose bytes are all null and have no type; or a column of text.
    let in_structs = IMAGE_NAMES.iter().find_map(|&name| Some((name, path_beside(name)?)));
    let is_text = |name: &str| file.columns().find(|column| column.path() == [name] && column.is_text());
    let plain = || PATH_NAMES.iter().find_map(|&name| Some((name, is_text(name)?.number)));
    let (name, path) = in_structs.or_else(plain).ok_or_else(|| no_images(file))?;
    Ok(ImageColumns::Paths { name: name.to_owned(), path })
}

/// What to say of a file in which no column can be used.
pub(super) fn no_images(file: &ParquetFile) -> String {
    format!(
        "no column holds images (a struct of `bytes` and `path`, or binary) or their paths: the columns are {}",
        file.column_names().join(", ")
    )
}

fn encoded_images(file: &ParquetFile) -> Result<Option<Column<'_>>, String> {
    let holds_images = |column: &Column<'_>| {
        let is_place = match column.path() {
            [name] => !LABEL_NAMES.contains(&name.as_str()),
            [_, inner] => inner == "bytes",
            _ => false,
        };
        is_place && column.physical_type() == PhysicalType::BYTE_ARRAY && !column.is_text() && !column.is_repeated()
    };
    let candidates: Vec<Column<'_>> = file.columns().filter(holds_images).collect();
    let named = IMAGE_NAMES.iter().find_map(|name| candidates.iter().find(|column| column.path()[0] == *name));
    match (named, &candidates[..]) {
        (Some(column), _) | (None, [column]) => Ok(Some(*column)),
        (None, []) => Ok(None),
        (None, several) => {
            let names: Vec<&str> = several.iter().map(|column| column.path()[0].as_str()).collect();
            Err(format!("several columns may hold images: {}; call the right one `image`", names.join(", ")))
        }
    }
}

/// The column of labels, if there is one.
pub(super) fn label_column(file: &ParquetFile) -> Result<Option<LabelColumn>, String> {
    let mut class_labels = class_labels(file);
    let column_named = |name: &str| file.columns().find(|column| column.path() == [name]);
    let by_name = LABEL_NAMES.iter().find_map(|name| column_named(name));
    let named: Vec<Column<'_>> = class_labels.keys().filter_map(|name| column_named(name)).collect();
    let column = by_name.or_else(|| if let [only] = named[..] { Some(only) } else { None });
    let Some(column) = column else { return Ok(None) };
    let name = column.path()[0].clone();
    let kind = ScalarKind::of(column).ok_or_else(|| {
        format!("the column `{name}` is {}, and labels are text or whole numbers", column.type_name())
    })?;
    Ok(Some(LabelColumn { number: column.number, kind, names: class_labels.remove(&name), name }))
}

/// The column that would hold labels if it held one for each image, and not a list or a struct. By its name, or the only
/// one whose entries have names.
fn label_lists(file: &ParquetFile) -> Option<LabelListColumn> {
    let mut class_labels = class_labels(file);
    let leaves_of = |name: &str| file.columns().filter(|column| column.path()[0] == name).collect::<Vec<_>>();
    let by_name = LABEL_NAMES.into_iter().find(|name| !leaves_of(name).is_empty());
    let by_names_of_classes = || match class_labels.len() {
        1 => class_labels.keys().next().filter(|name| !leaves_of(name).is_empty()).map(String::as_str),
        _ => None,
    };
    let name = by_name.or_else(by_names_of_classes)?.to_owned();
    let lists = match leaves_of(&name)[..] {
        [column] if column.is_list() => ScalarKind::of(column).map(|kind| (column.number, kind)),
        _ => None,
    };
    Some(match lists {
        Some((number, kind)) => {
            LabelListColumn::Lists(LabelColumn { number, kind, names: class_labels.remove(&name), name })
        }
        None => LabelListColumn::Other(name),
    })
}

/// The class names by column, from the metadata that the `datasets` library writes.
fn class_labels(file: &ParquetFile) -> BTreeMap<String, Vec<String>> {
    let parsed: Option<Value> = file.key_value("huggingface").and_then(|text| serde_json::from_str(text).ok());
    let features = parsed.as_ref().and_then(|document| document.pointer("/info/features")?.as_object());
    let names = |feature: &Value| {
        // A list is written as `Sequence` or `List` with the feature of its entries, or as a list of that.
        let of_entries = feature.get("feature").or_else(|| feature.as_array()?.first());
        let feature = of_entries.unwrap_or(feature);
        if feature.get("_type")? != "ClassLabel" {
            return None;
        }
        feature.get("names")?.as_array()?.iter().map(|name| name.as_str().map(str::to_owned)).collect()
    };
    features.into_iter().flatten().filter_map(|(column, feature)| Some((column.clone(), names(feature)?))).collect()
}
