use std::io::Write;

use proptest::prelude::*;

use super::*;

/// The bytes of an IDX file with the given dimensions.
fn idx(dimensions: &[u32], elements: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dimensions.len() as u8];
    bytes.extend(dimensions.iter().flat_map(|size| size.to_be_bytes()));
    bytes.extend(elements);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn folder(files: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn open_one(name: &str, bytes: Vec<u8>) -> Result<IdxImages, DataError> {
    let folder = folder(&[(name, bytes)]);
    IdxImages::open(&folder.path().join(name))
}

#[test]
fn plain_and_compressed_files_give_the_same_splits() {
    let images = idx(&[2, 1, 2], &[1, 2, 3, 4]);
    let labels = idx(&[2], &[1, 0]);
    let plain = folder(&[
        ("train-images-idx3-ubyte", images.clone()),
        ("train-labels-idx1-ubyte", labels.clone()),
        ("t10k-images.idx3-ubyte", images.clone()),
        ("t10k-labels.idx1-ubyte", labels.clone()),
    ]);
    let compressed = folder(&[
        ("train-images-idx3-ubyte.gz", gzip(&images)),
        ("train-labels-idx1-ubyte.gz", gzip(&labels)),
        ("t10k-images-idx3-ubyte.gz", gzip(&images)),
        ("t10k-labels-idx1-ubyte.gz", gzip(&labels)),
    ]);
    for folder in [plain, compressed] {
        let source = DataSource::open(folder.path()).unwrap();
        assert_eq!(source.classes, ["0", "1"]);
        assert_eq!(source.splits.keys().map(SplitName::to_string).collect::<Vec<_>>(), ["train", "test"]);
        let train = source.split(&SplitName::Train).unwrap();
        assert_eq!(train.labels().unwrap(), [1, 0]);
        assert_eq!(&*train.samples[1].name, "train/000001");
        let image = train.samples[1].image.load(&Default::default()).unwrap();
        assert_eq!(image.into_raw(), [3, 3, 3, 4, 4, 4]);
    }
}

#[test]
fn color_images_may_have_their_channels_last_or_first() {
    let expected = [1, 2, 3, 4, 5, 6];
    let last = open_one("a", idx(&[1, 1, 2, 3], &expected)).unwrap();
    assert_eq!(last.image(0).unwrap().into_raw(), expected);
    let first = open_one("a", gzip(&idx(&[1, 3, 1, 2], &[1, 4, 2, 5, 3, 6]))).unwrap();
    assert_eq!(first.image(0).unwrap().into_raw(), expected);
    assert!(first.image(1).is_err());
}

#[test]
fn class_names_come_from_a_file_in_the_order_of_the_labels() {
    let files = |names: &str| {
        folder(&[
            ("train-images-idx3-ubyte", idx(&[2, 1, 1], &[1, 2])),
            ("train-labels-idx1-ubyte", idx(&[2], &[0, 1])),
            ("classes.txt", names.into()),
        ])
    };
    assert_eq!(DataSource::open(files("trouser\ncoat\n").path()).unwrap().classes, ["trouser", "coat"]);
    let error = DataSource::open(files("trouser\n").path()).unwrap_err().to_string();
    assert!(error.contains("classes.txt: 1 class names do not cover"), "{error}");
    assert!(DataSource::open(files("coat\ncoat\n").path()).is_err());
}

#[test]
fn images_without_labels_are_unlabeled() {
    let folder = folder(&[("test-images-idx3-ubyte", idx(&[2, 1, 1], &[1, 2]))]);
    assert_eq!(DataSource::open(folder.path()).unwrap().all().samples[1].label, None);
}

#[test]
fn damaged_files_are_refused_with_a_reason() {
    let whole = idx(&[2, 1, 2], &[1, 2, 3, 4]);
    let longer = [whole.clone(), vec![0]].concat();
    let mut wrong_checksum = gzip(&whole);
    let at = wrong_checksum.len() - 8;
    wrong_checksum[at] ^= 1;
    let mut floats = whole.clone();
    floats[2] = 0x0d;
    let cases = [
        (whole[..whole.len() - 1].to_vec(), "has 19 bytes where its header announces 20"),
        (longer.clone(), "has 21 bytes where its header announces 20"),
        (gzip(&whole[..whole.len() - 1]), "has 3 bytes of pixels where its header announces 4"),
        (gzip(&longer), "goes on after"),
        (wrong_checksum, "damaged"),
        (floats, "type 0x0d"),
        (b"\x89PNG".to_vec(), "no IDX file"),
        (idx(&[2, 2], &[0; 4]), "are not those of images"),
        (idx(&[2, 0, 2], &[]), "have no pixel"),
        (idx(&[u32::MAX, u32::MAX, u32::MAX], &[]), "too large"),
        (vec![0, 0, 8], "ends within its header"),
    ];
    for (bytes, expected) in cases {
        let error = open_one("train-images-idx3-ubyte", bytes).unwrap_err().to_string();
        assert!(error.contains("train-images-idx3-ubyte: ") && error.contains(expected), "{error}");
    }
}

#[test]
fn labels_must_fit_the_images() {
    let folder = folder(&[
        ("train-images-idx3-ubyte", idx(&[2, 1, 1], &[1, 2])),
        ("train-labels-idx1-ubyte", idx(&[3], &[0, 1, 2])),
    ]);
    let error = DataSource::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("3 labels do not fit the 2 images"), "{error}");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = read_labels(bytes.as_slice());
        let _ = ImageShape::read(&mut bytes.as_slice());
        let _ = read_labels(gzip(&bytes).as_slice());
    }

    #[test]
    fn arbitrary_headers_never_panic_nor_reserve_what_they_announce(
        dimensions in proptest::collection::vec(prop_oneof![0u32..5, any::<u32>()], 0..5),
        pixels in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let bytes = idx(&dimensions, &pixels);
        if let Ok(shape) = ImageShape::read(&mut bytes.as_slice())
            && shape.bytes <= MAX_BYTES_IN_MEMORY
        {
            let _ = read_pixels(&mut bytes.as_slice(), shape.bytes);
        }
        let _ = read_labels(bytes.as_slice());
    }
}
