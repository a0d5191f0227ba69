use std::fs;
use std::path::{Path, PathBuf};

use retune_pixels::decode::DecodeLimits;

use super::*;
use crate::sources::Dataset;

/// Written by `generate.py` there.
fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/datasets")
}

/// As `generate.py` has it.
fn pixel(number: usize, x: u32, y: u32) -> [u8; 3] {
    [0, 1, 2].map(|c| ((7 * number + 3 * c + 5 * y as usize + 11 * x as usize) % 256) as u8)
}

fn check(dataset: &Dataset, names: &[&str], numbers: &[usize]) {
    assert_eq!(dataset.classes, ["ant", "bee"]);
    assert_eq!(dataset.samples.iter().map(|sample| &*sample.name).collect::<Vec<_>>(), names);
    for (sample, &number) in dataset.samples.iter().zip(numbers) {
        assert_eq!(sample.label, Some(number % 2));
        let image = sample.image.load(&DecodeLimits::default()).unwrap();
        assert_eq!(image.dimensions(), (32, 32));
        for (x, y, found) in image.enumerate_pixels() {
            assert_eq!(found.0, pixel(number, x, y), "{} at {x}, {y}", sample.name);
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn the_published_python_files_of_cifar_10_are_read() {
    let root = fixtures().join("cifar-10-batches-py");
    let source = DataSource::open(&root).unwrap();
    assert!(source.notes.is_empty());
    let batches =
        ["data_batch_1/0000", "data_batch_2/0000", "data_batch_3/0000", "data_batch_4/0000", "data_batch_5/0000"];
    check(&source.split(&SplitName::Train).unwrap(), &batches, &[0, 1, 2, 3, 4]);
    check(&source.split(&"test".into()).unwrap(), &["test_batch/0000"], &[5]);
    source.check_for_training().unwrap();
}

#[test]
fn cifar_100_has_its_fine_labels() {
    let source = DataSource::open(fixtures().join("cifar-100-python")).unwrap();
    check(&source.split(&SplitName::Train).unwrap(), &["train/0000", "train/0001"], &[0, 1]);
    check(&source.split(&"test".into()).unwrap(), &["test/0000"], &[2]);
}

/// Records as the page that publishes them describes them; for 100 classes, the coarse label comes first.
#[test]
fn binary_files_have_the_same_images_and_names() {
    let record = |number: usize, labels: &[u8]| {
        let mut record = labels.to_vec();
        for c in 0..3 {
            (0..1024).for_each(|at| record.push(pixel(number, at % 32, at / 32)[c]));
        }
        record
    };
    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(root.path().join(name), bytes).unwrap();
    write("batches.meta.txt", b"ant\nbee\n\n");
    write("data_batch_1.bin", &[record(0, &[0]), record(1, &[1])].concat());
    write("test_batch.bin", &record(3, &[1]));
    let source = DataSource::open(root.path()).unwrap();
    check(&source.split(&SplitName::Train).unwrap(), &["data_batch_1/0000", "data_batch_1/0001"], &[0, 1]);
    check(&source.split(&"test".into()).unwrap(), &["test_batch/0000"], &[3]);
    let note = source.notes[0].to_string();
    assert!(note.contains("lacks data_batch_2.bin, data_batch_3.bin"), "{note}");

    let root = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(root.path().join(name), bytes).unwrap();
    write("fine_label_names.txt", b"ant\nbee\n");
    write("train.bin", &[record(0, &[9, 0]), record(1, &[9, 1])].concat());
    write("test.bin", &record(1, &[9, 1]));
    let source = DataSource::open(root.path()).unwrap();
    check(&source.split(&SplitName::Train).unwrap(), &["train/0000", "train/0001"], &[0, 1]);
    write("test.bin", &record(1, &[9, 1])[1..]);
    let error = DataSource::open(root.path()).unwrap_err().to_string();
    assert!(error.contains("test.bin: its 3073 bytes"), "{error}");
    write("test.bin", &record(1, &[9, 2]));
    let error = DataSource::open(root.path()).unwrap_err().to_string();
    assert!(error.contains("the label 2 is none of the 2 class names"), "{error}");
}

#[test]
fn the_folder_above_will_do_unless_it_holds_several_sets() {
    let root = tempfile::tempdir().unwrap();
    copy(&fixtures().join("cifar-10-batches-py"), &root.path().join("cifar-10-batches-py"));
    let source = DataSource::open(root.path()).unwrap();
    assert_eq!((source.all().len(), source.root), (6, root.path().join("cifar-10-batches-py")));
    copy(&fixtures().join("cifar-100-python"), &root.path().join("cifar-100-python"));
    let error = DataSource::open(root.path()).unwrap_err().to_string();
    assert!(error.contains("several data sets, cifar-10-batches-py, cifar-100-python"), "{error}");
    // Beside folders of images it is no more than a folder without images.
    fs::create_dir(root.path().join("cat")).unwrap();
    fs::write(root.path().join("cat/1.png"), "").unwrap();
    assert_eq!(DataSource::open(root.path()).unwrap().classes, ["cat"]);
}

#[test]
fn damaged_files_are_named() {
    let root = tempfile::tempdir().unwrap();
    copy(&fixtures().join("cifar-10-batches-py"), root.path());
    let whole = fs::read(root.path().join("data_batch_3")).unwrap();
    fs::write(root.path().join("data_batch_3"), &whole[..2000]).unwrap();
    let error = DataSource::open(root.path()).unwrap_err().to_string();
    assert!(error.ends_with("data_batch_3: it ends early"), "{error}");
    fs::write(root.path().join("data_batch_3"), "version https://git-lfs.github.com/spec/v1\n").unwrap();
    let error = DataSource::open(root.path()).unwrap_err().to_string();
    assert!(error.contains("data_batch_3: it does not begin as a pickle"), "{error}");
}

/// Files named `train`, `test` and `meta` may be anything.
#[test]
fn other_files_of_such_names_are_none() {
    let root = tempfile::tempdir().unwrap();
    for name in ["train", "test", "meta"] {
        fs::write(root.path().join(name), "a list of files").unwrap();
    }
    assert!(open(root.path()).unwrap().is_none());
}
