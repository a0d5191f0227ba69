use std::io::Write;

use proptest::prelude::*;
use retune_pixels::decode::DecodeLimits;

use super::*;
use crate::loading::small_preprocessing;
use crate::loading::{Loader, LoaderOptions, Order};
use crate::sources::{ImageStore, StoredImage};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parquet").join(name)
}

/// The color that an image is filled with.
fn color(sample: &Sample) -> [u8; 3] {
    let image = sample.image.load(&DecodeLimits::default()).unwrap();
    assert_eq!(image.dimensions(), (6, 5));
    image.get_pixel(5, 4).0
}

#[test]
fn a_folder_as_the_hub_keeps_it_is_split_by_file_names_and_labeled_by_class_names() {
    let source = DataSource::open(fixture("hub")).unwrap();
    // Not sorted: the numbers in the files are positions in this list.
    assert_eq!(source.classes, ["zebra", "ant"]);
    let splits: Vec<String> = source.splits.keys().map(SplitName::to_string).collect();
    assert_eq!(splits, ["train", "val", "test"]);
    let train = source.split(&SplitName::Train).unwrap();
    assert_eq!(train.labels().unwrap(), [0, 1, 0, 1, 1, 1, 0]);
    let colors: Vec<[u8; 3]> = train.samples.iter().map(color).collect();
    let expected = [[0, 0], [10, 100], [20, 0], [30, 100], [40, 100], [0, 100], [10, 0]];
    assert_eq!(colors, expected.map(|[red, green]| [red, green, 50]));
    assert_eq!(&*train.samples[4].name, "data/train-00000-of-00002/000004");
    assert_eq!(source.split(&"test".into()).unwrap().samples[0].label, None);
    source.check_for_training().unwrap();
}

#[test]
fn plain_binary_with_text_labels_splits_and_groups_is_read_too() {
    let source = DataSource::open(fixture("plain.parquet")).unwrap();
    assert_eq!(source.classes, ["cat", "dog"]);
    let all = source.all();
    assert_eq!(all.samples.iter().map(|sample| sample.label).collect::<Vec<_>>(), [Some(1), Some(0), None, Some(1)]);
    assert_eq!(all.groups(), ["day", "night"]);
    assert_eq!(&*source.split(&SplitName::Validation).unwrap().samples[0].name, "plain/000002");
    assert_eq!(all.samples.iter().map(|sample| color(sample)[0]).collect::<Vec<_>>(), [0, 10, 20, 30]);
}

/// The labels of each image of a file of lists, and all labels.
fn label_lists(name: &str) -> Result<(Vec<Vec<String>>, Vec<String>), DataError> {
    let source = DataSource::open_multi_label(fixture("lists").join(name))?;
    let sets = crate::sources::LabelSets::of(&source.classes);
    let of_image = |sample: &Sample| {
        let labels = sets.of_class(sample.label.unwrap()).iter();
        labels.map(|&label| sets.names()[label].clone()).collect()
    };
    Ok((source.all().samples.iter().map(of_image).collect(), sets.names().to_vec()))
}

/// The lists are those of the fixture's program.
#[test]
fn lists_of_labels_are_read_whatever_writes_them() {
    for name in ["string.parquet", "large_string.parquet"] {
        let (found, names) = label_lists(name).unwrap();
        assert_eq!(names, ["cat", "dog", "pet, \"small\""], "{name}");
        let expected = [&["cat"][..], &["cat", "dog"], &[], &[], &["pet, \"small\""], &["dog"]];
        assert_eq!(found, expected, "{name}");
    }
    for name in ["int64.parquet", "int32.parquet", "uint8.parquet"] {
        let (found, _) = label_lists(name).unwrap();
        assert_eq!(found, [&["3"][..], &["3", "5"], &[], &[], &["7"], &["5"]], "{name}");
    }
    for name in ["datasets.parquet", "sequence.parquet", "python_list.parquet"] {
        let (found, names) = label_lists(name).unwrap();
        assert_eq!(names, ["ant", "bee, wild", "zebra"], "{name}");
        assert_eq!(found, [&["zebra"][..], &["ant", "zebra"], &[], &["bee, wild"], &["ant"], &["zebra"]], "{name}");
    }
    for name in ["nested.parquet", "real.parquet"] {
        let error = label_lists(name).unwrap_err().to_string();
        assert!(error.contains("labels"), "{name}: {error}");
    }
    // Of one label each, the files are read as before, with a note.
    let source = DataSource::open(fixture("lists").join("string.parquet")).unwrap();
    assert!(matches!(source.notes[..], [DataNote::SeveralLabels { .. }]), "{:?}", source.notes);
}

/// The row's bytes as the fixture's program made them.
fn expected_bytes(row: usize) -> Vec<u8> {
    vec![(row % 251) as u8; row % 7 + 1]
}

fn images_of(source: &DataSource) -> Arc<dyn ImageStore> {
    match &source.all().samples[0].image {
        ImageSource::Stored { images, .. } => Arc::clone(images),
        other => panic!("{other:?}"),
    }
}

fn encoded(images: &Arc<dyn ImageStore>, row: usize) -> Result<Vec<u8>, DataError> {
    match images.read(row)? {
        StoredImage::Encoded(bytes) => Ok(bytes),
        StoredImage::Pixels(_) => panic!("Parquet files hold encoded images"),
    }
}

#[test]
fn rows_are_found_in_any_order_by_any_number_of_threads() {
    let source = DataSource::open(fixture("pages.parquet")).unwrap();
    assert_eq!(source.classes, ["0", "10", "20"]);
    assert_eq!(source.all().samples[5].label, None);
    let images = images_of(&source);
    assert_eq!(source.all().len(), 3000);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let images = &images;
            scope.spawn(move || {
                // 1009 is coprime to 3000, so every row is asked for.
                for row in (0..3000).map(|at| (at * 1009 + thread * 750) % 3000).filter(|&row| row != 2001) {
                    assert_eq!(encoded(images, row).unwrap(), expected_bytes(row), "row {row}");
                }
            });
        }
    });
    let null = encoded(&images, 2001).unwrap_err().to_string();
    assert!(null.contains("pages.parquet: row 2001, column `img`") && null.contains("null"), "{null}");
    assert!(encoded(&images, 3000).unwrap_err().to_string().contains("only 3000 rows"));
}

#[test]
fn blocks_that_do_not_stay_in_memory_come_back_from_a_temporary_file() {
    let file = ParquetFile::open(&fixture("pages.parquet")).unwrap().unwrap();
    let ImageColumns::Encoded { name, bytes, path } = Layout::of(&file).unwrap().image else { panic!("paths") };
    let columns = EncodedColumns { bytes, path, name };
    let store = Arc::new(BlockStore::with_memory(1));
    let images: Arc<dyn ImageStore> =
        Arc::new(ParquetImages::new(Path::new("pages.parquet"), file, columns, Arc::clone(&store)));
    for _ in 0..3 {
        for row in [3, 1500, 2999] {
            assert_eq!(encoded(&images, row).unwrap(), expected_bytes(row));
        }
    }
    // Three blocks of 4096 bytes in the mean, each written once.
    let spilled = store.spilled_bytes();
    assert_eq!(spilled, (0..3000).filter(|&row| row != 2001).map(|row| expected_bytes(row).len() as u64).sum::<u64>());
    assert!(encoded(&images, 2001).is_err());
}

#[test]
fn a_loader_reads_batches_in_random_order() {
    let source = DataSource::open(fixture("hub")).unwrap();
    let train = source.split(&SplitName::Train).unwrap();
    let preprocessing = retune_pixels::preprocess::Preprocessing { width: 6, height: 5, ..small_preprocessing() };
    let options = LoaderOptions { threads: 3, ..LoaderOptions::deterministic(preprocessing, 3) };
    let loader = Loader::new(train.clone(), options).unwrap();
    let mut seen = Vec::new();
    for batch in loader.epoch(0, Order::Shuffled { seed: 4 }, 0) {
        let batch = batch.unwrap();
        for (&index, &label) in batch.indices.iter().zip(&batch.labels) {
            assert_eq!(train.samples[index].label, Some(label));
            seen.push(index);
        }
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..7).collect::<Vec<_>>());
}

/// What a file of four images, cat and dog in turn, is read as: its classes, labels, and the images' red and green.
type Read = (Vec<String>, Vec<Option<usize>>, Vec<[u8; 2]>);

fn read(name: &str) -> Read {
    let source = DataSource::open(fixture("written").join(name).with_extension("parquet")).unwrap();
    let all = source.all();
    let labels = all.samples.iter().map(|sample| sample.label).collect();
    let colors = all.samples.iter().map(color).map(|[red, green, _]| [red, green]).collect();
    (source.classes, labels, colors)
}

fn expected(classes: [&str; 2]) -> Read {
    let colors = vec![[0, 0], [10, 100], [20, 0], [30, 100]];
    (classes.map(str::to_owned).to_vec(), vec![Some(0), Some(1), Some(0), Some(1)], colors)
}

#[test]
fn every_compression_in_use_is_read() {
    for codec in ["none", "snappy", "gzip", "zstd", "lz4", "brotli"] {
        for version in ["", "_2"] {
            assert_eq!(read(&format!("codec_{codec}{version}")), expected(["cat", "dog"]), "{codec}{version}");
        }
    }
}

#[test]
fn labels_of_every_type_are_read() {
    for (kind, classes) in [
        ("int8", ["0", "1"]),
        ("uint8", ["0", "1"]),
        ("uint32", ["0", "1"]),
        ("uint64", ["0", "1"]),
        ("bool", ["false", "true"]),
        ("dictionary", ["cat", "dog"]),
        ("large_string", ["cat", "dog"]),
        ("binary", ["cat", "dog"]),
    ] {
        assert_eq!(read(&format!("label_{kind}")), expected(classes), "{kind}");
    }
    for name in ["pandas_categorical", "polars_categorical", "large_binary"] {
        assert_eq!(read(name), expected(["cat", "dog"]), "{name}");
    }
    // The last is a null or, as pandas writes it among numbers, NaN.
    for (kind, classes) in [("double", ["0", "1"]), ("float", ["0", "1"]), ("null", ["cat", "dog"])] {
        let (_, mut labels, colors) = expected(classes);
        labels[3] = None;
        assert_eq!(read(&format!("label_{kind}")), (classes.map(str::to_owned).to_vec(), labels, colors), "{kind}");
    }
    // A label of bytes is no image, and groups may be numbers.
    let source = DataSource::open(fixture("written/binary_label_and_group.parquet")).unwrap();
    assert_eq!(
        (source.classes.clone(), source.all().groups()),
        (vec!["cat".into(), "dog".into()], vec!["7".into(), "8".into()])
    );
}

#[test]
fn labels_that_are_none_are_told_in_plain_words() {
    let refusal =
        |kind: &str| DataSource::open(fixture(&format!("written/label_{kind}.parquet"))).unwrap_err().to_string();
    assert!(refusal("decimal").ends_with("the column `label` is of decimals, and labels are text or whole numbers"));
    assert!(refusal("date").ends_with("the column `label` is of the type DATE, and labels are text or whole numbers"));
    let too_large = refusal("too_large");
    assert!(too_large.contains("row 1: 9223372036854775809 is too large a number"), "{too_large}");
    // Lists are no reason not to look at the images.
    let source = DataSource::open(fixture("written/label_list.parquet")).unwrap();
    assert!(source.all().samples.iter().all(|sample| sample.label.is_none()));
    let [note] = &source.notes[..] else { panic!("{:?}", source.notes) };
    assert!(note.to_string().contains("`label` holds several labels an image"), "{note}");
}

#[test]
fn images_are_read_from_paths_beside_the_file() {
    for name in ["paths_in_struct", "paths_in_half", "paths_of_pandas", "paths_in_text", "paths_in_file_name"] {
        assert_eq!(read(name), expected(["cat", "dog"]), "{name}");
    }
    let name = |name: &str| DataSource::open(fixture("written").join(name)).unwrap().all().samples[1].name.to_string();
    assert_eq!(name("paths_in_text.parquet"), "img/1.png");
    assert_eq!(name("paths_in_half.parquet"), "paths_in_half/000001");
    assert_eq!(images::image_beside(Path::new("/data"), "/img/1.png").unwrap(), Path::new("/img/1.png"));

    let folder = folder_of_fixtures(&[
        ("written/paths_in_struct.parquet", "a.parquet"),
        ("written/paths_in_text.parquet", "b.parquet"),
    ]);
    let error = |name: &str| match DataSource::open(folder.path().join(name)) {
        Ok(source) => source.all().samples[2].image.load(&DecodeLimits::default()).unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    let inside = error("a.parquet");
    assert!(
        inside.contains("a.parquet: row 2, column `image`: cannot read") && inside.contains("img/2.png"),
        "{inside}"
    );
    let text = error("b.parquet");
    assert!(
        text.contains("there is no file") && text.contains("img/0.png, which the first row of `image` would name"),
        "{text}"
    );
    let address = DataSource::open(fixture("written/paths_in_image.parquet")).unwrap_err().to_string();
    assert!(address.contains("`https://example.com/0.png` is an address"), "{address}");
    // A column of paths into another folder, as in files of features, is none of images.
    let other = DataSource::open(fixture("written/paths_in_path.parquet")).unwrap_err().to_string();
    assert!(other.contains("no column holds images") && other.contains("path, label"), "{other}");
}

/// A path may lead to what never ends.
#[cfg(unix)]
#[test]
fn a_path_to_a_device_is_refused() {
    let folder = folder_of_fixtures(&[("written/paths_in_struct.parquet", "a.parquet")]);
    fs::create_dir(folder.path().join("img")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("img/0.png")).unwrap();
    let source = DataSource::open(folder.path().join("a.parquet")).unwrap();
    let error = source.all().samples[0].image.load(&DecodeLimits::default()).unwrap_err().to_string();
    assert!(error.contains("img/0.png: it is not a regular file"), "{error}");
}

/// A few hundred bytes of each hold 20 million zeros.
#[test]
fn what_pages_decompress_to_is_bounded() {
    for codec in ["gzip", "zstd", "brotli"] {
        let images = DataSource::open(fixture(&format!("written/bomb_{codec}.parquet"))).unwrap().all();
        let error = images.samples[0].image.load(&DecodeLimits::default()).unwrap_err().to_string();
        assert!(error.contains("announces more bytes than it can hold"), "{codec}: {error}");
    }
}

/// Mistakes are told with the file and the column.
#[test]
fn what_cannot_be_used_is_named() {
    let refusal = |name: &str| DataSource::open(fixture(name)).unwrap_err().to_string();
    let several = refusal("several.parquet");
    assert!(several.contains("several.parquet") && several.contains("left, right"), "{several}");
    let label = refusal("float_label.parquet");
    assert!(label.contains("`label`, row 0: 0.5 is no whole number"), "{label}");
    let features = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/features/list.parquet");
    let none = DataSource::open(features).unwrap_err().to_string();
    assert!(none.contains("no column holds images") && none.contains("path, features, label"), "{none}");

    let spoiled =
        DataSource::open(fixture("spoiled.parquet")).unwrap().all().samples[1].image.load(&DecodeLimits::default());
    let spoiled = spoiled.unwrap_err().to_string();
    assert!(spoiled.contains("spoiled.parquet: row 1, column `image`: not an image"), "{spoiled}");
}

#[test]
fn splits_are_told_by_names_as_the_hub_tells_them() {
    let split =
        |path: &str| split_of_file(Path::new("root"), &Path::new("root").join(path)).map(|split| split.to_string());
    for (path, expected) in [
        ("train-00000-of-00002.parquet", Some("train")),
        ("data/validation-00000-of-00001-0a1b.parquet", Some("val")),
        ("data/unsupervised-00001-of-00002.parquet", Some("unsupervised")),
        ("test.parquet", Some("test")),
        ("my_train_file.parquet", Some("train")),
        ("default/train/0000.parquet", Some("train")),
        ("trains.parquet", None),
        ("all/0000.parquet", None),
    ] {
        assert_eq!(split(path).as_deref(), expected, "{path}");
    }
}

/// A folder with copies of fixtures under other names.
fn folder_of_fixtures(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (from, to) in files {
        let path = folder.path().join(to);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(fixture(from), path).unwrap();
    }
    folder
}

#[test]
fn a_file_of_no_split_beside_others_and_a_stray_file_among_images_are_told_apart() {
    let train = "hub/data/train-00000-of-00002.parquet";
    let mixed = folder_of_fixtures(&[(train, "train.parquet"), (train, "more.parquet")]);
    let error = DataSource::open(mixed.path()).unwrap_err().to_string();
    assert!(error.contains("more.parquet") && error.contains("tells no split"), "{error}");
    let unsplit = folder_of_fixtures(&[(train, "a.parquet"), (train, "b.parquet")]);
    assert_eq!(DataSource::open(unsplit.path()).unwrap().split(&SplitName::All).unwrap().len(), 10);
    let other = folder_of_fixtures(&[(train, "a.parquet"), ("plain.parquet", "b.parquet")]);
    let error = DataSource::open(other.path()).unwrap_err().to_string();
    assert!(error.contains("text in some files and numbers in others"), "{error}");
    let images = folder_of_fixtures(&[(train, "features.parquet"), (train, "cat/1.png"), (train, "dog/1.png")]);
    assert_eq!(DataSource::open(images.path()).unwrap().classes, ["cat", "dog"]);
}

/// Opens a spoiled copy of a fixture and reads every image.
fn read_spoiled(name: &str, spoil: impl Fn(&mut Vec<u8>)) -> Result<usize, DataError> {
    let mut bytes = fs::read(fixture(name)).unwrap();
    spoil(&mut bytes);
    let mut file = tempfile::Builder::new().suffix(".parquet").tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    let dataset = DataSource::open(file.path())?.all();
    for sample in dataset.samples.iter().step_by(17) {
        let _ = sample.image.load(&DecodeLimits::default());
    }
    Ok(dataset.len())
}

const FILES: [&str; 8] = [
    "hub/data/train-00000-of-00002.parquet",
    "plain.parquet",
    "pages.parquet",
    "written/codec_zstd.parquet",
    "written/codec_lz4_2.parquet",
    "written/codec_brotli.parquet",
    "written/paths_in_half.parquet",
    "written/label_bool.parquet",
];

proptest! {
    #[test]
    fn a_file_that_ends_early_is_refused(name in proptest::sample::select(&FILES), part in 0.0..1.0f64) {
        let cut = |bytes: &mut Vec<u8>| bytes.truncate((bytes.len() as f64 * part) as usize);
        prop_assert!(read_spoiled(name, cut).is_err());
    }

    #[test]
    fn flipped_bytes_never_panic(
        name in proptest::sample::select(&FILES),
        flips in proptest::collection::vec((0.0..1.0f64, 1..=255u8), 1..4),
    ) {
        let flip = |bytes: &mut Vec<u8>| {
            for &(place, mask) in &flips {
                let at = (bytes.len() as f64 * place) as usize;
                bytes[at] ^= mask;
            }
        };
        let _ = read_spoiled(name, flip);
    }
}

/// Run lengths let a small file stand for more than it can hold; a page sought past the end once took minutes to be
/// refused.
#[test]
fn what_a_file_expands_to_is_bounded() {
    let error = DataSource::open(fixture("many_rows.parquet")).unwrap_err().to_string();
    assert!(error.contains("announces 100000 rows in 611 bytes"), "{error}");
    let images = DataSource::open(fixture("many_bytes.parquet")).unwrap().all();
    let error = images.samples[7].image.load(&DecodeLimits::default()).unwrap_err().to_string();
    assert!(error.contains("announces 20000000 bytes in 100 images"), "{error}");
    let error = DataSource::open(fixture("repeated_text.parquet")).unwrap_err().to_string();
    assert!(error.contains("repeat more of one another"), "{error}");
    for name in ["endless-page-header.parquet", "endless-footer.parquet"] {
        let error = DataSource::open(fixture("../found").join(name)).unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("not sound"), "{error}");
    }
}
