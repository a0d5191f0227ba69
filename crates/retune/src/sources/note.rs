//! What a user should hear about data that can be used all the same.

use std::fmt;
use std::path::PathBuf;

use super::classes::quoted;
use super::{ClassMatch, SplitName};
use crate::wording::{counted, grouped, listed};

/// Something about data that is worth a line, but does not stop anything.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DataNote {
    /// Files that look like images or films and cannot be read.
    NotImages {
        /// Folders, relative to the data's root, each with how many files have which ending, the most frequent first.
        folders: Vec<(String, Vec<(String, usize)>)>,
    },
    /// Folders or images that lie beside the folders of splits.
    BesideSplits {
        /// The data's root.
        root: PathBuf,
        /// The names of the split folders.
        splits: Vec<String>,
        /// The names of the folders beside them.
        folders: Vec<String>,
        /// How many images lie beside them.
        images: usize,
    },
    /// Images that lie beside class folders.
    BesideClasses {
        /// The folder that holds the class folders.
        folder: PathBuf,
        /// How many images.
        images: usize,
        /// The name of one of them.
        example: String,
    },
    /// Folders that hold what this program wrote.
    Outputs {
        /// The data's root.
        root: PathBuf,
        /// The folders, relative to the root.
        folders: Vec<String>,
    },
    /// A metadata file and the images beside it do not list the same images.
    Metadata {
        /// The metadata file.
        path: PathBuf,
        /// Images that the file does not list. With labels in the file they are left out.
        unlisted: usize,
        /// Whether the unlisted images are left out.
        left_out: bool,
        /// Images that the file lists and that are not there.
        missing: usize,
    },
    /// A published data set without some of its files.
    MissingFiles {
        /// The folder.
        folder: PathBuf,
        /// The names of the files.
        files: Vec<String>,
    },
    /// Labels that look like several labels in one.
    ManyLabels {
        /// How many images have such a label.
        images: usize,
        /// One such label.
        example: String,
    },
    /// Texts beside images that are too many to be names of classes.
    Captions {
        /// The folder or archive.
        path: PathBuf,
        /// How many different texts.
        texts: usize,
        /// How many images.
        images: usize,
    },
    /// Groups that are in the training split and in another split of the same data.
    SharedGroups {
        /// The other split.
        split: SplitName,
        /// How many groups the other split has.
        groups: usize,
        /// How many of them are in the training split too.
        shared: usize,
        /// One of those.
        example: String,
        /// Whether the split was made image by image, so that it could be made by groups.
        avoidable: bool,
    },
    /// The groups that are held out for validation.
    HeldOut {
        /// Their names, each with its number of images.
        groups: Vec<(String, usize)>,
        /// How many images are held out.
        images: usize,
        /// How many images there are.
        of: usize,
    },
    /// Images without a group, where groups are held out.
    Ungrouped {
        /// How many images.
        images: usize,
        /// How many images there are.
        of: usize,
    },
    /// A split by groups was asked for, and the data has a validation split of its own.
    SplitAlready {
        /// The data's root.
        root: PathBuf,
    },
    /// Columns of a manifest that say nothing about images here.
    UnusedColumns {
        /// The manifest.
        path: PathBuf,
        /// Their names.
        columns: Vec<String>,
    },
    /// Images that are listed more than once.
    Repeated {
        /// How many files.
        images: usize,
        /// The name of one of them; of one with different labels, if there is any.
        example: String,
        /// How many of them have different labels.
        contradictory: usize,
    },
    /// Two names that capitals or spaces alone tell apart.
    Alike {
        /// What the names are of.
        kind: NameKind,
        /// One name.
        one: String,
        /// The other.
        other: String,
    },
    /// A split by groups that leaves a class without validation images.
    NotValidated {
        /// The classes.
        classes: Vec<String>,
    },
    /// A column that would hold labels has lists or structs of them, so that its images count as unlabeled.
    SeveralLabels {
        /// The Parquet file.
        path: PathBuf,
        /// The column.
        column: String,
    },
    /// How its classes and the model's were matched, where their names alone did not decide.
    Classes(ClassMatch),
    /// A model names no classes, and has as many as this label set.
    ClassesPresumed(&'static str),
    /// Classes that the model does not know, with the number of their images, which are left out.
    ClassesLeftOut(Vec<(String, usize)>),
    /// JPEG files that were decoded though some of their data is broken or missing.
    Damaged {
        /// How many images.
        images: usize,
        /// The name of one of them.
        example: String,
    },
    /// 16-bit images whose values would hardly show in 8 bits.
    UnusedRange {
        /// Bits that values need.
        bits: u32,
        /// The largest value that was seen.
        largest: u16,
    },
}

/// What a name in data is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// A class.
    Class,
    /// A group.
    Group,
}

impl DataNote {
    /// The largest value that so many bits hold: what should look white.
    pub fn white_level(&self) -> Option<u32> {
        match self {
            Self::UnusedRange { bits, .. } => Some((1 << bits) - 1),
            _ => None,
        }
    }
}

impl fmt::Display for DataNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotImages { folders } => not_images(f, folders),
            Self::BesideSplits { root, splits, folders, images } => {
                let mut beside: Vec<String> = folders.iter().map(|folder| format!("{folder}/")).collect();
                if *images > 0 {
                    beside.push(counted(*images, "image"));
                }
                let splits: Vec<String> = splits.iter().map(|split| format!("{split}/")).collect();
                let (root, splits) = (root.display(), enumerated(&splits));
                write!(
                    f,
                    "{root} has {splits}, so {} beside them {} not read",
                    enumerated(&beside),
                    are(beside.len().max(*images))
                )
            }
            Self::BesideClasses { folder, images, example } => {
                let (folder, are) = (folder.display(), are(*images));
                write!(
                    f,
                    "{} beside the class folders of {folder} {are} not read, such as {example}",
                    counted(*images, "image")
                )
            }
            Self::Outputs { root, folders } => {
                let is = if folders.len() == 1 {
                    "is the output of an earlier command"
                } else {
                    "are outputs of earlier commands"
                };
                write!(f, "{} in {} {is} and no class", enumerated(folders), root.display())
            }
            Self::Metadata { path, unlisted, left_out, missing } => {
                let mut parts = Vec::new();
                if *unlisted > 0 {
                    let left_out = if *left_out { " and left out" } else { "" };
                    parts.push(format!(
                        "{} beside it {} not listed{left_out}",
                        counted(*unlisted, "image"),
                        are(*unlisted)
                    ));
                }
                if *missing > 0 {
                    parts.push(format!("{} that it lists {} not there", counted(*missing, "image"), are(*missing)));
                }
                write!(f, "{}: {}", path.display(), enumerated(&parts))
            }
            Self::MissingFiles { folder, files } => {
                write!(
                    f,
                    "{} lacks {}, so there are fewer images than were published",
                    folder.display(),
                    enumerated(files)
                )
            }
            Self::ManyLabels { images, example } => write!(
                f,
                "{} {} a label such as `{example}`, which looks like several labels in one; each such label is taken as a \
                 class of its own",
                counted(*images, "image"),
                if *images == 1 { "has" } else { "have" },
            ),
            Self::Captions { path, texts, images } => write!(
                f,
                "{}: the .txt files hold {texts} different texts for {images} images, so they are not taken as class names",
                path.display()
            ),
            Self::SharedGroups { split, groups, shared, example, avoidable } => {
                let remedy = match avoidable {
                    true => "splitting by group keeps each group on one side",
                    false => "move each group to one side",
                };
                write!(
                    f,
                    "{shared} of the {} in {split} {} in train too, such as `{example}`; if the images of a \
                     group are alike, as those of one patient, accuracy on {split} is too high: {remedy}",
                    counted(*groups, "group"),
                    if *shared == 1 { "is" } else { "are" },
                )
            }
            Self::HeldOut { groups, images, of } => {
                let named: Vec<String> = groups.iter().map(|(name, images)| format!("{name} ({images})")).collect();
                write!(
                    f,
                    "validation is {} of the {}: {} {}",
                    grouped(*images),
                    counted(*of, "image"),
                    if groups.len() == 1 { "the group" } else { "the groups" },
                    enumerated(&named)
                )
            }
            Self::Ungrouped { images, of } => write!(
                f,
                "{} of the {} {} no group and {} split one by one: images that belong together may be on both sides",
                grouped(*images),
                counted(*of, "image"),
                if *images == 1 { "names" } else { "name" },
                if *images == 1 { "is" } else { "are" },
            ),
            Self::SplitAlready { root } => {
                write!(f, "{} has a validation split, which stays as it is: nothing is split by group", root.display())
            }
            Self::UnusedColumns { path, columns } => write!(
                f,
                "{}: the {} {} {} not used",
                path.display(),
                if columns.len() == 1 { "column" } else { "columns" },
                enumerated(columns),
                are(columns.len())
            ),
            Self::Repeated { images, example, contradictory } => {
                write!(f, "{} {} listed more than once", counted(*images, "image"), are(*images))?;
                match contradictory {
                    0 => write!(f, ", such as {example}"),
                    _ => write!(f, ", {contradictory} of them with different labels, such as {example}"),
                }
            }
            Self::Alike { kind, one, other } => {
                let kind = match kind {
                    NameKind::Class => "classes",
                    NameKind::Group => "groups",
                };
                write!(f, "`{one}` and `{other}` are two {kind}, though capitals or spaces alone tell them apart")
            }
            Self::NotValidated { classes } => {
                write!(
                    f,
                    "no split by group has images of every class on both sides: {} not validated",
                    match &classes[..] {
                        [one] => format!("the class {one} is"),
                        many => format!("the classes {} are", enumerated(many)),
                    }
                )
            }
            Self::SeveralLabels { path, column } => write!(
                f,
                "{}: the column `{column}` holds several labels an image, so the images count as unlabeled; read \
                 them as images with several labels, or write one label for each",
                path.display()
            ),
            Self::Classes(matched) => matched.fmt(f),
            Self::ClassesPresumed(set) => {
                write!(f, "the model names no classes; they are taken for those of {set}, by their number")
            }
            Self::ClassesLeftOut(classes) => {
                let names: Vec<&String> = classes.iter().map(|(class, _)| class).collect();
                let images: usize = classes.iter().map(|(_, images)| images).sum();
                let (noun, count) = if names.len() == 1 { ("class", "its") } else { ("classes", "their") };
                let noun_of_images = if images == 1 { "image is" } else { "images are" };
                write!(
                    f,
                    "the model does not know the data's {noun} {}: {count} {images} {noun_of_images} left out",
                    quoted(&names)
                )
            }
            Self::Damaged { images: 1, example } => {
                write!(f, "{example} is damaged: some of its pixels are gray or wrong")
            }
            Self::Damaged { images, example } => {
                write!(f, "{images} images are damaged, such as {example}: some of their pixels are gray or wrong")
            }
            Self::UnusedRange { bits, largest } => {
                let white = (1 << bits) - 1;
                write!(
                    f,
                    "16-bit images use at most {bits} bits (largest value {largest} of 65535): they will look nearly black; set \
                     the white level to {white}"
                )
            }
        }
    }
}

/// `10 files in dog cannot be read as images: 5 .heic, 5 .avif (convert them to JPEG or PNG)`
fn not_images(f: &mut fmt::Formatter<'_>, folders: &[(String, Vec<(String, usize)>)]) -> fmt::Result {
    const SHOWN: usize = 5;
    let total = |endings: &[(String, usize)]| endings.iter().map(|(_, count)| count).sum::<usize>();
    let files = folders.iter().map(|(_, endings)| total(endings)).sum();
    let endings = |endings: &[(String, usize)]| {
        let each = endings.iter().map(|(ending, count)| format!("{count} .{ending}"));
        each.collect::<Vec<_>>().join(", ")
    };
    let verb = if files == 1 { "cannot be read as an image" } else { "cannot be read as images" };
    let files = counted(files, "file");
    match folders {
        [(folder, found)] => write!(f, "{files} in {folder} {verb}: {}", endings(found))?,
        _ => {
            let shown = folders.iter().take(SHOWN).map(|(folder, found)| format!("in {folder} {}", endings(found)));
            write!(f, "{files} {verb}: {}", shown.collect::<Vec<_>>().join("; "))?;
            if folders.len() > SHOWN {
                write!(f, "; and more in {} other folders", folders.len() - SHOWN)?;
            }
        }
    }
    f.write_str(" (convert them to JPEG or PNG)")
}

fn are(count: usize) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

/// `a`, `a and b`, `a, b, and c`; of many the first ones.
fn enumerated(names: &[String]) -> String {
    const SHOWN: usize = 10;
    match names {
        many if many.len() > SHOWN => format!("{} and {} more", many[..SHOWN].join(", "), many.len() - SHOWN),
        few => listed(few),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<const N: usize>(names: [&str; N]) -> Vec<String> {
        names.map(str::to_owned).to_vec()
    }

    #[test]
    fn one_shared_group_is_singular() {
        let note = |shared, groups| {
            let (split, example) = (SplitName::Validation, "ward 3".to_owned());
            DataNote::SharedGroups { split, groups, shared, example, avoidable: true }.to_string()
        };
        assert!(note(1, 1).starts_with("1 of the 1 group in val is in train too, such as `ward 3`"), "{}", note(1, 1));
        assert!(note(2, 5).starts_with("2 of the 5 groups in val are in train too"), "{}", note(2, 5));
    }

    #[test]
    fn files_that_are_no_images_are_counted_by_folder_and_ending() {
        let dog = ("dog".to_owned(), vec![("heic".to_owned(), 5), ("avif".to_owned(), 5)]);
        let one = DataNote::NotImages { folders: vec![dog.clone()] };
        let expected = "10 files in dog cannot be read as images: 5 .heic, 5 .avif (convert them to JPEG or PNG)";
        assert_eq!(one.to_string(), expected);
        let others = (0..6).map(|number| (format!("c{number}"), vec![("mp4".to_owned(), 1)]));
        let many = DataNote::NotImages { folders: std::iter::once(dog).chain(others).collect() };
        let text = many.to_string();
        assert!(
            text.starts_with("16 files cannot be read as images: in dog 5 .heic, 5 .avif; in c0 1 .mp4; "),
            "{text}"
        );
        assert!(text.contains("; and more in 2 other folders (convert"), "{text}");
    }

    #[test]
    fn what_lies_beside_splits_is_named() {
        let (splits, folders) = (texts(["train", "val"]), texts(["labels", "extra"]));
        let note = DataNote::BesideSplits { root: "photos".into(), splits, folders, images: 0 };
        let expected = "photos has train/ and val/, so labels/ and extra/ beside them are not read";
        assert_eq!(note.to_string(), expected);
    }

    #[test]
    fn one_and_many_have_their_verbs() {
        let metadata = |unlisted, missing| {
            DataNote::Metadata { path: "metadata.csv".into(), unlisted, left_out: true, missing }.to_string()
        };
        assert_eq!(metadata(1, 0), "metadata.csv: 1 image beside it is not listed and left out");
        assert!(
            metadata(2, 3)
                .ends_with("2 images beside it are not listed and left out and 3 images that it lists are not there")
        );
        let damaged = |images| DataNote::Damaged { images, example: "cat/1.jpg".into() }.to_string();
        assert_eq!(damaged(1), "cat/1.jpg is damaged: some of its pixels are gray or wrong");
        assert_eq!(damaged(3), "3 images are damaged, such as cat/1.jpg: some of their pixels are gray or wrong");
        let outputs = |folders| DataNote::Outputs { root: "D".into(), folders }.to_string();
        assert_eq!(outputs(texts(["run1"])), "run1 in D is the output of an earlier command and no class");
        assert_eq!(outputs(texts(["run1", "runs"])), "run1 and runs in D are outputs of earlier commands and no class");
    }
}
