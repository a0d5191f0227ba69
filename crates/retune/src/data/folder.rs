//! Folders of images: split folders of class folders, class folders, or plain images.
//!
//! The habits are those of torchvision's `ImageFolder` and timm: a class is a folder, its images lie
//! anywhere below it, classes and files are sorted, symbolic links are followed. Hidden files and
//! folders are skipped.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::DataError;
use super::source::{DataSource, ImageSource, Sample, SplitName, slashed};

/// The file name extensions of images, compared without regard to case.
const EXTENSIONS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff"];

/// Whether the name of a file is that of an image.
pub(crate) fn is_image(path: &Path) -> bool {
    let extension = path.extension().and_then(OsStr::to_str);
    extension.is_some_and(|extension| EXTENSIONS.iter().any(|known| known.eq_ignore_ascii_case(extension)))
}

/// Lists a folder's images by split and class.
pub(super) fn open(root: &Path) -> Result<DataSource, DataError> {
    let entries = Entries::of(root)?;
    let mut listing = Listing::default();
    match split_folders(&entries)? {
        Some(folders) => {
            for (split, folder) in folders {
                listing.add_split(root, split, Entries::of(&folder)?)?;
            }
        }
        None => listing.add_split(root, SplitName::All, entries)?,
    }
    listing.into_source(root)
}

/// The visible folders and images directly in a folder, sorted by name, so that the order does not
/// depend on the file system.
struct Entries {
    folders: Vec<PathBuf>,
    images: Vec<PathBuf>,
}

impl Entries {
    fn of(folder: &Path) -> Result<Self, DataError> {
        let unreadable = |source| DataError::Io { path: folder.to_owned(), source };
        let mut entries = Self { folders: Vec::new(), images: Vec::new() };
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let path = entry.path();
            if is_hidden(&path) {
                continue;
            }
            // The folder says most kinds; only links have to be followed. A broken link is neither.
            let kind = entry.file_type().map_err(unreadable)?;
            if kind.is_dir() || (kind.is_symlink() && path.is_dir()) {
                entries.folders.push(path);
            } else if is_image(&path) && (kind.is_file() || path.is_file()) {
                entries.images.push(path);
            }
        }
        entries.folders.sort();
        entries.images.sort();
        Ok(entries)
    }
}

pub(super) fn is_hidden(path: &Path) -> bool {
    // macOS adds `__MACOSX/` and `._NAME` files to archives; the latter start with a dot as well.
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b".") || name == "__MACOSX")
}

/// The split folders among `entries`, or `None` where the folder is not split.
///
/// A folder is split when it has a training folder, or when all its folders are named like splits
/// and have folders in them (evaluation data alone, as `test/CLASS/`). Then folders of other names,
/// such as `labels/`, are no data and are left out.
fn split_folders(entries: &Entries) -> Result<Option<Vec<(SplitName, PathBuf)>>, DataError> {
    let named: Vec<(SplitName, PathBuf)> = entries
        .folders
        .iter()
        .filter_map(|folder| Some((split_of_folder(folder.file_name()?.to_str()?)?, folder.clone())))
        .collect();
    if named.iter().any(|(split, _)| *split == SplitName::Train) {
        return Ok(Some(named));
    }
    if named.is_empty() || named.len() < entries.folders.len() {
        return Ok(None);
    }
    for (_, folder) in &named {
        if Entries::of(folder)?.folders.is_empty() {
            return Ok(None);
        }
    }
    Ok(Some(named))
}

/// The split that a folder's name stands for: `train`, `val|valid|validation`, `test*`.
pub(crate) fn split_of_folder(name: &str) -> Option<SplitName> {
    match SplitName::from(name) {
        SplitName::Other(_) if name.to_ascii_lowercase().starts_with("test") => Some(SplitName::Other(name.to_owned())),
        SplitName::Other(_) | SplitName::All => None,
        split => Some(split),
    }
}

/// A sample's file with its class by name, before the class list is known.
struct Listed {
    path: PathBuf,
    class: Option<String>,
}

#[derive(Default)]
struct Listing {
    splits: BTreeMap<SplitName, Vec<Listed>>,
    empty_class_folders: Vec<String>,
}

impl Listing {
    /// Adds the class folders of one split or, where it has none, its plain images.
    fn add_split(&mut self, root: &Path, split: SplitName, entries: Entries) -> Result<(), DataError> {
        let mut samples = Vec::new();
        for folder in &entries.folders {
            let class = class_name(folder)?;
            let mut images = Vec::new();
            collect_images(folder, &mut HashSet::new(), &mut images)?;
            if images.is_empty() {
                self.empty_class_folders.push(slashed(folder.strip_prefix(root).unwrap_or(folder)));
            }
            samples.extend(images.into_iter().map(|path| Listed { path, class: Some(class.clone()) }));
        }
        if samples.is_empty() {
            samples.extend(entries.images.into_iter().map(|path| Listed { path, class: None }));
        }
        // Two spellings of one split (`val/` and `valid/`) are one split.
        self.splits.entry(split).or_default().extend(samples);
        Ok(())
    }

    fn into_source(mut self, root: &Path) -> Result<DataSource, DataError> {
        self.splits.retain(|_, samples| !samples.is_empty());
        if self.splits.is_empty() {
            return Err(DataError::NoImages { path: root.to_owned(), extensions: EXTENSIONS.join(", ") });
        }
        let names = self.splits.values().flatten().filter_map(|listed| listed.class.as_ref());
        let classes = sorted_classes(names.map(String::as_str));
        let to_sample = |listed: Listed| Sample {
            name: slashed(listed.path.strip_prefix(root).unwrap_or(&listed.path)).into(),
            label: listed.class.and_then(|class| classes.binary_search(&class).ok()),
            group: None,
            image: ImageSource::File(listed.path.into()),
        };
        let splits = self
            .splits
            .into_iter()
            .map(|(split, samples)| (split, samples.into_iter().map(to_sample).collect()))
            .collect();
        Ok(DataSource {
            root: root.to_owned(),
            splits,
            empty_class_folders: self.empty_class_folders,
            notes: Vec::new(),
            classes,
            corruptions: Vec::new(),
        })
    }
}

/// The distinct names in the order of their code points.
pub(super) fn sorted_classes<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let distinct: std::collections::BTreeSet<&str> = names.collect();
    distinct.into_iter().map(str::to_owned).collect()
}

fn class_name(folder: &Path) -> Result<String, DataError> {
    let name = folder.file_name().and_then(OsStr::to_str);
    name.map(str::to_owned).ok_or_else(|| DataError::NameNotUnicode { path: folder.to_owned() })
}

/// All images in `folder` and below it. `seen` are the resolved folders searched so far: none is
/// searched twice, so that symbolic links in circles end, and links to each other do not multiply.
fn collect_images(folder: &Path, seen: &mut HashSet<PathBuf>, images: &mut Vec<PathBuf>) -> Result<(), DataError> {
    let resolved = folder.canonicalize().map_err(|source| DataError::Io { path: folder.to_owned(), source })?;
    if !seen.insert(resolved) {
        return Ok(());
    }
    let entries = Entries::of(folder)?;
    images.extend(entries.images);
    for folder in &entries.folders {
        collect_images(folder, seen, images)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes empty files (opening a source decodes nothing) and the folders they need.
    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            if file.ends_with('/') {
                fs::create_dir_all(path).unwrap();
            } else {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, "").unwrap();
            }
        }
        root
    }

    fn names(source: &DataSource, split: SplitName) -> Vec<String> {
        source.split(&split).unwrap().samples.iter().map(|sample| sample.name.to_string()).collect()
    }

    #[test]
    fn class_folders_are_sorted_and_searched_to_the_bottom() {
        let root = tree(&[
            "dog/b.JPG",
            "dog/a.png",
            "dog/deep/er/c.webp",
            "cat/x.tiff",
            "cat/notes.txt",
            ".git/y.png",
            "cat/.z.png",
        ]);
        let source = open(root.path()).unwrap();
        assert_eq!(source.classes, ["cat", "dog"]);
        assert_eq!(names(&source, SplitName::All), ["cat/x.tiff", "dog/a.png", "dog/b.JPG", "dog/deep/er/c.webp"]);
        assert_eq!(source.all().labels().unwrap(), [0, 1, 1, 1]);
        assert!(source.check_for_training().is_ok());
    }

    #[test]
    fn split_folders_are_recognised_under_their_usual_names() {
        let root = tree(&[
            "train/a/1.png",
            "train/b/2.png",
            "valid/a/3.png",
            "test/b/4.png",
            "test_ood/a/5.png",
            "meta/z/6.png",
        ]);
        let source = open(root.path()).unwrap();
        let splits: Vec<String> = source.splits.keys().map(SplitName::to_string).collect();
        assert_eq!(splits, ["train", "val", "test", "test_ood"]);
        assert_eq!(source.classes, ["a", "b"]);
        assert_eq!(names(&source, "test_ood".into()), ["test_ood/a/5.png"]);
        assert_eq!(source.all().len(), 5);
        let error = source.split(&"testing".into()).unwrap_err().to_string();
        assert!(error.contains("train, val, test, test_ood"), "{error}");
    }

    #[test]
    fn evaluation_data_alone_is_a_split_but_classes_named_test_are_classes() {
        let source = open(tree(&["test/a/1.png", "test/b/1.png"]).path()).unwrap();
        assert_eq!(source.classes, ["a", "b"]);
        assert!(matches!(source.check_for_training(), Err(DataError::NoSuchSplit { .. })));
        let source = open(tree(&["test_tube/1.png", "val/2.png"]).path()).unwrap();
        assert_eq!(source.classes, ["test_tube", "val"]);
    }

    #[test]
    fn plain_images_are_unlabelled_in_a_folder_and_in_a_test_split() {
        let source = open(tree(&["b.png", "a.png"]).path()).unwrap();
        assert_eq!(names(&source, SplitName::All), ["a.png", "b.png"]);
        assert!(matches!(source.check_for_training(), Err(DataError::Unlabelled { .. })));
        let source = open(tree(&["train/a/1.png", "train/b/1.png", "test/1.png"]).path()).unwrap();
        assert_eq!(source.split(&"test".into()).unwrap().samples[0].label, None);
        assert!(source.check_for_training().is_ok());
    }

    #[test]
    fn a_class_that_only_validation_has_is_named() {
        let source = open(tree(&["train/a/1.png", "train/b/1.png", "val/zebra/1.png"]).path()).unwrap();
        let error = source.check_for_training().unwrap_err().to_string();
        assert!(error.contains("`zebra`") && error.contains("val"), "{error}");
    }

    #[test]
    fn empty_class_folders_are_refused_in_training_alone() {
        let source = open(tree(&["train/a/1.png", "train/b/1.png", "train/c/", "val/a/"]).path()).unwrap();
        assert_eq!(source.empty_class_folders, ["train/c", "val/a"]);
        let error = source.check_for_training().unwrap_err().to_string();
        assert!(error.contains("train/c") && !error.contains("val/a"), "{error}");
        let source = open(tree(&["train/a/1.png", "train/b/1.png", "val/b/"]).path()).unwrap();
        assert!(source.check_for_training().is_ok());
    }

    #[test]
    fn too_few_classes_and_no_images_are_errors() {
        let source = open(tree(&["a/1.png"]).path()).unwrap();
        let error = source.check_for_training().unwrap_err().to_string();
        assert!(error.contains("the single class `a`"), "{error}");
        assert!(matches!(open(tree(&["a/readme.md"]).path()), Err(DataError::NoImages { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn symbolic_links_are_followed_but_not_in_circles() {
        let root = tree(&["store/1.png", "data/b/2.png"]);
        let data = root.path().join("data");
        std::os::unix::fs::symlink(root.path().join("store"), data.join("a")).unwrap();
        std::os::unix::fs::symlink(data.join("b"), data.join("b/again")).unwrap();
        std::os::unix::fs::symlink(root.path().join("absent"), data.join("b/broken.png")).unwrap();
        let source = open(&data).unwrap();
        assert_eq!(names(&source, SplitName::All), ["a/1.png", "b/2.png"]);
    }

    /// Twenty folders that each link to all others have more paths than could ever be walked.
    #[cfg(unix)]
    #[test]
    fn links_to_each_other_do_not_multiply() {
        let folders: Vec<String> = (0..20).map(|folder| format!("data/a/{folder:02}/1.png")).collect();
        let mut files: Vec<&str> = folders.iter().map(String::as_str).collect();
        files.push("data/b/2.png");
        let root = tree(&files);
        let class = root.path().join("data/a");
        for one in 0..20 {
            for other in 0..20 {
                let link = class.join(format!("{one:02}/to-{other:02}"));
                std::os::unix::fs::symlink(class.join(format!("{other:02}")), link).unwrap();
            }
        }
        assert_eq!(open(&root.path().join("data")).unwrap().all().len(), 21);
    }
}
