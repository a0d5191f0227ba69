//! What can be wrong with data, each in one sentence that says where and what to do.

use std::fmt;
use std::path::PathBuf;

use retune_pixels::decode::DecodeError;

use super::{DataNote, SplitName};
use crate::names::suggestion;
use crate::wording::{counted, grouped, listed, refusal};

impl DataError {
    /// Whether a file or folder that was named is not there.
    pub fn is_of_missing(&self) -> bool {
        match self {
            Self::NotFound { .. } => true,
            Self::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
            _ => false,
        }
    }
}

/// An error in reading, splitting or loading data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// Nothing lies at the path.
    #[error("no data at {}: check the path", .path.display())]
    NotFound {
        /// The path as given.
        path: PathBuf,
    },
    /// The images were in the memory of a program that has ended, or has let go of them.
    #[error("the images of {location} were in the memory of a program: hand the same images over again")]
    NotInMemory {
        /// What stood for them.
        location: String,
    },
    /// Something that is no shift follows a path.
    #[error("{} is followed by something unknown: {reason}", .path.display())]
    UnknownShift {
        /// The path.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The operating system refused a file or folder.
    #[error("cannot read {}: {}", .path.display(), refusal(.source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's reason.
        source: std::io::Error,
    },
    /// The path exists but holds no known layout.
    #[error(
        "{} is not data that can be read: give a folder of class folders, a folder with train/ and val/, a folder of \
         images, a .csv or .jsonl manifest, a .parquet or .tar file or a folder of them, or a folder of IDX or CIFAR files", .path.display()
    )]
    Unrecognized {
        /// The path as given.
        path: PathBuf,
    },
    /// A folder was searched and no image was found in it.
    #[error("no images in {} (looked for {extensions}){}", .path.display(), Besides(.found.as_deref()))]
    NoImages {
        /// The folder.
        path: PathBuf,
        /// The file name extensions that count as images.
        extensions: String,
        /// What looks like images there and cannot be read.
        found: Option<Box<DataNote>>,
    },
    /// A class folder's name is not valid Unicode and cannot be a class name.
    #[error("the folder name {} is not valid UTF-8 and cannot be a class name: rename it", .path.display())]
    NameNotUnicode {
        /// The folder.
        path: PathBuf,
    },
    /// Class folders without a single image, in the data to train on.
    #[error(
        "no images in the class folders {}: add images or remove the folders{}", Listed(.folders), Besides(.found.as_deref())
    )]
    EmptyClasses {
        /// The folders, relative to the data's root.
        folders: Vec<String>,
        /// What looks like images in the data and cannot be read.
        found: Option<Box<DataNote>>,
    },
    /// Training needs at least two classes.
    #[error("{} has {} for training, and at least two classes are needed", .path.display(), Classes(.classes))]
    TooFewClasses {
        /// The data's root.
        path: PathBuf,
        /// The classes found.
        classes: Vec<String>,
    },
    /// Training on images with several labels needs a label.
    #[error("no training image in {} has a label: give some images one", .0.display())]
    NoLabels(PathBuf),
    /// A class occurs in an evaluation split and never in training.
    #[error(
        "the {split} split has images of the class `{class}`, which the training split lacks: add training images or \
         leave the class out"
    )]
    ClassNotInTraining {
        /// The split that has the class.
        split: SplitName,
        /// The class.
        class: String,
    },
    /// An image has a label that the model does not know.
    #[error("some images have the label `{label}`, which is none of the model's labels")]
    UnknownLabel {
        /// The label.
        label: String,
    },
    /// A data set has a class that the model's class list lacks.
    #[error("{} has the class `{class}`, which is none of the model's classes{}: {}", .path.display(), close(.class, .known), Listed(.known))]
    UnknownClass {
        /// The data's root.
        path: PathBuf,
        /// The unknown class.
        class: String,
        /// The model's classes.
        known: Vec<String>,
    },
    /// A data set has a class that is none of a model's, whose classes are WordNet's.
    #[error(
        "{} has the class `{class}`, which is neither the WordNet id nor the name of one of the model's {count} classes{}",
        .path.display(), .set.map(|set| format!(", those of {set}")).unwrap_or_default()
    )]
    NoSynset {
        /// The data's root.
        path: PathBuf,
        /// The unknown class.
        class: String,
        /// Classes of the model.
        count: usize,
        /// The label set that the model's classes were taken for, where the model does not name them.
        set: Option<&'static str>,
    },
    /// A name that several of a model's classes have.
    #[error(
        "{} has the class `{class}`, and several of the model's classes are called so ({}): give them names of their own",
        .path.display(), Listed(.candidates)
    )]
    AmbiguousClass {
        /// The data's root.
        path: PathBuf,
        /// The class.
        class: String,
        /// The model's classes.
        candidates: Vec<String>,
    },
    /// Two classes of a data set are one of a model's.
    #[error(
        "{} has the classes `{}` and `{}`, which are both the model's class `{class}`: put their images together, \
         or rename one", .path.display(), .pair[0], .pair[1]
    )]
    SameClass {
        /// The data's root.
        path: PathBuf,
        /// The two classes.
        pair: Box<[String; 2]>,
        /// The model's class.
        class: String,
    },
    /// A number that goes beyond a model's classes.
    #[error(
        "{} has the class `{class}`, but the model has {} without names, whose numbers go from 0 to {}",
        .path.display(), counted(*.count, "class"), .count.saturating_sub(1)
    )]
    ClassNumber {
        /// The data's root.
        path: PathBuf,
        /// The class.
        class: String,
        /// Classes of the model.
        count: usize,
    },
    /// A model without names of its classes has another number of them.
    #[error("{} has {}, and the model has {model} and does not name them", .path.display(), counted(*.data, "class"))]
    ClassCount {
        /// The data's root.
        path: PathBuf,
        /// Classes of the data.
        data: usize,
        /// Classes of the model.
        model: usize,
    },
    /// The data has no split of that name.
    #[error("{} has no `{split}` split{}: {}", .path.display(), close(&.split.to_string(), .available), Splits(.available))]
    NoSuchSplit {
        /// The data's root.
        path: PathBuf,
        /// The split asked for.
        split: SplitName,
        /// The splits there are.
        available: Vec<String>,
    },
    /// A label is no position in the list of classes.
    #[error("{name} has the label {label}, and there {} {}", if *.classes == 1 { "is" } else { "are" }, counted(*.classes, "class"))]
    NoSuchClass {
        /// The image.
        name: String,
        /// Its label.
        label: usize,
        /// The number of classes.
        classes: usize,
    },
    /// A label is needed where an image has none.
    #[error(
        "{}, and training and accuracy need one for every image: put images into a folder for each class, or list them with \
         their labels{}",
        unlabeled(name, *count, *of), not_used(columns)
    )]
    Unlabeled {
        /// The first such image, relative to the data's root.
        name: String,
        /// How many images have none.
        count: usize,
        /// How many images there are.
        of: usize,
        /// Columns of a manifest that are not used.
        columns: Vec<String>,
    },
    /// Fractions that leave nothing for training or are no fractions.
    #[error(
        "cannot hold out {validation} for validation and {test} for testing: each must be at least 0 and their sum \
         less than 1"
    )]
    BadFractions {
        /// The validation fraction.
        validation: f64,
        /// The test fraction.
        test: f64,
    },
    /// A line of a manifest cannot be used.
    #[error("{}, line {line}: {problem}", .path.display())]
    Manifest {
        /// The manifest.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
    /// A CIFAR file is damaged, or is not what its name says.
    #[error("{}: {problem}", .path.display())]
    Cifar {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A folder holds several data sets, and which one is meant is not clear.
    #[error("{} holds several data sets, {}: name one of them", .path.display(), Listed(.sets))]
    SeveralSets {
        /// The folder.
        path: PathBuf,
        /// The names of the data sets' folders.
        sets: Vec<String>,
    },
    /// A tar archive is damaged, or does not hold images in a known way.
    #[error("{}: {problem}", .path.display())]
    Tar {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Whole groups cannot be held out, because nothing says which groups there are.
    #[error(
        "{} names no groups, so it cannot be split by group: list the images with a column `group`{}",
        .path.display(), not_used(columns)
    )]
    NoGroups {
        /// The manifest, or the data's root.
        path: PathBuf,
        /// Columns of the manifest that are not used.
        columns: Vec<String>,
    },
    /// Whole groups cannot be held out, because a class has one group alone.
    #[error(
        "cannot split by group: all images of the class `{class}` belong to the group `{group}`, and both sides need some"
    )]
    SingleGroup {
        /// The class.
        class: String,
        /// Its only group.
        group: String,
    },
    /// An IDX file is malformed, or does not fit its companion.
    #[error("{}: {problem}", .path.display())]
    Idx {
        /// The IDX file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A Parquet file is damaged, or does not hold labeled images in a known way.
    #[error("{}: {problem}", .path.display())]
    Parquet {
        /// The Parquet file.
        path: PathBuf,
        /// What is wrong with it, with the row and the column.
        problem: String,
    },
    /// A Parquet file, and the library was built without its feature `parquet`.
    #[error("{}: this build reads no Parquet files; build it with the feature `parquet`", .path.display())]
    WithoutParquet {
        /// The Parquet file.
        path: PathBuf,
    },
    /// An image cannot be decoded.
    #[error("cannot decode {}: {source}", .path.display())]
    Decode {
        /// The image file.
        path: PathBuf,
        /// The decoder's reason.
        source: DecodeError,
    },
    /// An image file is too large to be read.
    #[error("{} has {bytes} bytes, more than the {limit} that an image file may have", .path.display())]
    FileTooLarge {
        /// The image file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The largest size accepted.
        limit: u64,
    },
    /// Options of a loader that contradict each other or its data.
    #[error("cannot load batches: {0}")]
    LoaderOptions(String),
    /// The loading thread could not be started, or panicked.
    #[error(
        "the thread that loads images could not be started or stopped before the end of the epoch: try fewer threads"
    )]
    LoaderStopped,
}

/// What else was found, after a semicolon; nothing where there is nothing to tell.
struct Besides<'a>(Option<&'a DataNote>);

impl fmt::Display for Besides<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |note| write!(f, "; {note}"))
    }
}

impl DataError {
    /// Whether the classes of the data are at fault, and not its files.
    pub fn is_of_classes(&self) -> bool {
        matches!(
            self,
            Self::EmptyClasses { .. }
                | Self::TooFewClasses { .. }
                | Self::NoLabels(_)
                | Self::ClassNotInTraining { .. }
                | Self::UnknownClass { .. }
                | Self::UnknownLabel { .. }
                | Self::NoSynset { .. }
                | Self::AmbiguousClass { .. }
                | Self::SameClass { .. }
                | Self::ClassNumber { .. }
                | Self::ClassCount { .. }
        )
    }
}

/// A list of names for an error: all of a short list, the beginning of a long one.
/// The name that may have been meant, as a clause.
fn close(name: &str, known: &[String]) -> String {
    suggestion(name, known.iter().map(String::as_str))
}

struct Listed<'a>(&'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let shown = &self.0[..self.0.len().min(SHOWN)];
        f.write_str(&shown.join(", "))?;
        match self.0.len() - shown.len() {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

/// Which splits there are.
struct Splits<'a>(&'a [String]);

impl fmt::Display for Splits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [only] if *only == SplitName::All.to_string() => f.write_str("its images are not split"),
            splits => write!(f, "it has {}", Listed(splits)),
        }
    }
}

/// A small number of classes in words: `no class`, or `the single class NAME`.
struct Classes<'a>(&'a [String]);

impl fmt::Display for Classes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("no class"),
            [one] => write!(f, "the single class `{one}`"),
            many => Listed(many).fmt(f),
        }
    }
}

/// Which images have no label.
fn unlabeled(name: &str, count: usize, of: usize) -> String {
    match count {
        1 => format!("the image {name} has no label"),
        _ if count == of => "no image has a label".to_owned(),
        _ => format!("{} of the {} have no label, such as {name}", grouped(count), counted(of, "image")),
    }
}

/// Columns that may have been meant for what is missing.
fn not_used(columns: &[String]) -> String {
    match columns {
        [] => String::new(),
        [only] => format!(" (the column {only} is not used)"),
        _ => format!(" (the columns {} are not used)", listed(columns)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_cut_and_counted() {
        let names: Vec<String> = (0..25).map(|i| format!("c{i}")).collect();
        let text = Listed(&names).to_string();
        assert!(text.starts_with("c0, c1, "), "{text}");
        assert!(text.ends_with("c19 and 5 more"), "{text}");
        assert_eq!(Listed(&names[..2]).to_string(), "c0, c1");
    }

    #[test]
    fn what_splits_there_are_is_told() {
        let told = |available: &[SplitName]| {
            let available = available.iter().map(SplitName::to_string).collect();
            DataError::NoSuchSplit { path: "d".into(), split: SplitName::from("test"), available }.to_string()
        };
        assert_eq!(told(&[SplitName::All]), "d has no `test` split: its images are not split");
        assert_eq!(told(&[SplitName::Train, SplitName::Validation]), "d has no `test` split: it has train, val");
    }

    #[test]
    fn messages_name_what_and_where() {
        let error = DataError::UnknownClass {
            path: "shifted".into(),
            class: "zebra".into(),
            known: vec!["cat".into(), "dog".into()],
        };
        assert_eq!(error.to_string(), "shifted has the class `zebra`, which is none of the model's classes: cat, dog");
        let error = DataError::UnknownClass {
            path: "shifted".into(),
            class: "kitten".into(),
            known: vec!["dog".into(), "kittens".into()],
        };
        assert!(error.to_string().contains("none of the model's classes (did you mean 'kittens'?): dog"), "{error}");
    }
}
