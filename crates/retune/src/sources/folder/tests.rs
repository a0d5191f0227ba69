use std::fs;

use super::*;

/// Lists a folder whose images have one label each.
fn open(root: &Path) -> Result<DataSource, DataError> {
    super::open(root, Labels::One)
}

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
fn split_folders_are_recognized_under_their_usual_names() {
    let root =
        tree(&["train/a/1.png", "train/b/2.png", "valid/a/3.png", "test/b/4.png", "test_ood/a/5.png", "meta/z/6.png"]);
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
fn plain_images_are_unlabeled_in_a_folder_and_in_a_test_split() {
    let source = open(tree(&["b.png", "a.png"]).path()).unwrap();
    assert_eq!(names(&source, SplitName::All), ["a.png", "b.png"]);
    assert!(matches!(source.check_for_training(), Err(DataError::Unlabeled { .. })));
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

fn notes(source: &DataSource) -> Vec<String> {
    source.notes.iter().map(ToString::to_string).collect()
}

/// Endings that stand for formats that are read, and what else lies in such folders, counted by class.
#[test]
fn images_under_other_endings_are_listed_and_what_cannot_be_read_is_counted() {
    let mut files: Vec<String> = (0..10).map(|n| format!("cat/{n}.jpg")).collect();
    files.extend((0..10).map(|n| format!("cat/j{n}.jfif")));
    files.extend(["x.jpe", "x.mpo", "p.ppm", "p.pgm", "q.PNM"].map(|name| format!("cat/{name}")));
    files.extend((0..5).flat_map(|n| ["png", "avif", "heic"].map(|ending| format!("dog/{n}.{ending}"))));
    files.extend(["Thumbs.db", "desktop.ini", "notes.txt", "boxes.xml", "LICENSE"].map(|name| format!("dog/{name}")));
    let source = open(tree(&files.iter().map(String::as_str).collect::<Vec<_>>()).path()).unwrap();
    assert_eq!(source.all().class_counts(), [25, 5]);
    let expected = "10 files in dog cannot be read as images: 5 .avif, 5 .heic (convert them to JPEG or PNG)";
    assert_eq!(notes(&source), [expected]);
}

#[test]
fn a_class_of_files_that_cannot_be_read_is_told_with_the_error() {
    let root = tree(&["cat/1.png", "bird/1.png", "dog/1.heic", "dog/2.HEIC"]);
    let error = open(root.path()).unwrap().check_for_training().unwrap_err().to_string();
    assert!(
        error.contains("class folders dog") && error.contains("2 files in dog cannot be read as images"),
        "{error}"
    );
    let error = open(tree(&["dog/1.heic"]).path()).unwrap_err().to_string();
    assert!(error.contains("1 file in dog cannot be read as an image: 1 .heic"), "{error}");
}

#[test]
fn files_without_an_ending_are_images_if_they_begin_like_one() {
    let root = tree(&["cat/README", "cat/1.png", "dog/1.png"]);
    fs::write(root.path().join("dog/0a1b2c"), b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR").unwrap();
    fs::write(root.path().join("dog/3d4e5f"), b"\xff\xd8\xff\xe0\0\x10JFIF\0").unwrap();
    let source = open(root.path()).unwrap();
    assert_eq!(names(&source, SplitName::All), ["cat/1.png", "dog/0a1b2c", "dog/1.png", "dog/3d4e5f"]);
}

/// What runs, comparisons and other commands write among the classes, and what systems put there.
#[test]
fn outputs_and_folders_of_systems_are_no_classes() {
    let classes = ["cat/1.png", "dog/1.png", "dog/2.png"];
    let root = tree(&classes);
    let clean = names(&open(root.path()).unwrap(), SplitName::All);
    let others = [
        "run1/run.toml",
        "run1/plots/loss.png",
        "run1/samples/hardest.jpg",
        "compared/compare.toml",
        "compared/id_ood.png",
        "rates/lr_find.json",
        "rates/lr_find.png",
        "line/curve.json",
        "line/curve.png",
        "soup/model.safetensors",
        "begun/.lock",
        "runs/first/run.toml",
        "runs/first/plots/loss.png",
        "dog/run2/run.toml",
        "dog/run2/plots/loss.png",
        "@eaDir/1.png",
        "__MACOSX/1.png",
        ".ipynb_checkpoints/1.png",
        "lost+found/",
        "$RECYCLE.BIN/1.png",
        "System Volume Information/1.png",
        "cat/@eaDir/1.png",
    ];
    for file in others {
        let path = root.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if file.ends_with('/') { fs::create_dir_all(path).unwrap() } else { fs::write(path, "").unwrap() }
    }
    let source = open(root.path()).unwrap();
    assert_eq!(source.classes, ["cat", "dog"]);
    assert_eq!(names(&source, SplitName::All), clean);
    source.check_for_training().unwrap();
    let notes = notes(&source);
    assert_eq!(notes.len(), 1, "{notes:?}");
    for output in ["run1", "compared", "rates", "line", "soup", "begun", "runs", "dog/run2"] {
        assert!(notes[0].contains(output), "{output}: {notes:?}");
    }
}

#[test]
fn what_is_passed_over_beside_splits_and_classes_is_told() {
    let files = ["train/a/1.png", "train/b/1.png", "holdout/a/1.png", "labels/x.txt", "cover.png", "run/run.toml"];
    let root = tree(&files);
    let source = open(root.path()).unwrap();
    let path = root.path().display();
    let expected = [
        format!("{path} has train/, so holdout/, labels/, and 1 image beside them are not read"),
        format!("run in {path} is the output of an earlier command and no class"),
    ];
    assert_eq!(notes(&source), expected);
    let root = tree(&["a/1.png", "b/1.png", "c.png", "d.png"]);
    let expected =
        format!("2 images beside the class folders of {} are not read, such as c.png", root.path().display());
    assert_eq!(notes(&open(root.path()).unwrap()), [expected]);
    // Nothing is passed over here.
    assert!(notes(&open(tree(&["train/a/1.png", "val/a/1.png", "readme.txt"]).path()).unwrap()).is_empty());
}
