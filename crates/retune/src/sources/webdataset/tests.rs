use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use retune_pixels::decode::DecodeLimits;

use super::*;

/// Written by `generate.py` there, with the package webdataset.
fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/datasets/webdataset")
}

fn png(red: u8) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(2, 2, image::Rgb([red, 0, 0])).write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn several_labels_are_a_list_in_json() {
    let png = png(1);
    let members = [
        ("a.png", &png[..]),
        ("a.json", br#"{"labels": ["cat", "dog"], "width": 2}"#),
        ("b.png", &png),
        ("b.json", br#"{"labels": []}"#),
        ("c.png", &png),
        ("c.json", br#"{"label": "dog"}"#),
    ];
    let root = folder(&members, &[]);
    let source = DataSource::open_multi_label(root.path()).unwrap();
    let sets = crate::sources::LabelSets::of(&source.classes);
    assert_eq!(sets.names(), ["cat", "dog"]);
    let found: Vec<Vec<usize>> =
        source.all().labels().unwrap().into_iter().map(|class| sets.of_class(class).to_vec()).collect();
    assert_eq!(found, [vec![0, 1], vec![], vec![1]]);
}

/// A folder with one archive of these members and other files.
fn folder(members: &[(&str, &[u8])], others: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("shots.tar"), archive(members)).unwrap();
    others.iter().for_each(|(name, text)| fs::write(root.path().join(name), text).unwrap());
    root
}

/// Name and class of every sample.
fn listed(source: &DataSource) -> Vec<String> {
    let samples = source.all();
    let class = |label: Option<usize>| label.map_or("-", |label| samples.classes[label].as_str());
    samples.samples.iter().map(|sample| format!("{} {}", sample.name, class(sample.label))).collect()
}

fn error_of(root: &Path) -> String {
    DataSource::open(root).unwrap_err().to_string()
}

#[test]
fn shards_that_the_package_wrote_are_read() {
    let source = DataSource::open(fixtures()).unwrap();
    let splits: Vec<(String, usize)> =
        source.splits.iter().map(|(split, samples)| (split.to_string(), samples.len())).collect();
    assert_eq!(splits, [("train".to_owned(), 4), ("val".to_owned(), 2)]);
    assert_eq!(source.classes, ["0", "1"]);
    let train = source.split(&SplitName::Train).unwrap();
    assert_eq!(&*train.samples[1].name, "train-000000/shots/0001.png");
    // A name of more than 100 characters takes a header of its own.
    assert_eq!(*train.samples[3].name, format!("train-000000/{}3.png", "x".repeat(120)));
    for (number, sample) in train.samples.iter().enumerate() {
        let image = sample.image.load(&DecodeLimits::default()).unwrap();
        assert_eq!(image.dimensions(), (4, 3));
        assert_eq!(image.get_pixel(0, 0).0, [10 * number as u8, 0, 255 - 10 * number as u8]);
        assert_eq!((sample.label, sample.group.as_deref()), (Some(number % 2), Some("g")));
    }
    assert_eq!(DataSource::open(fixtures().join("val-000000.tar")).unwrap().all().len(), 2);
}

#[test]
fn classes_are_numbers_with_names_or_names() {
    let (image, other) = (png(1), png(2));
    let numbered: [(&str, &[u8]); 4] = [("./a.png", &image), ("./a.cls", b"10\n"), ("b.cls", b"2"), ("b.jpg", &other)];
    assert_eq!(listed(&DataSource::open(folder(&numbered, &[]).path()).unwrap()), ["shots/a.png 10", "shots/b.jpg 2"]);
    let source = DataSource::open(folder(&numbered, &[]).path()).unwrap();
    assert_eq!(source.classes, ["2", "10"], "in the order of numbers");
    let names: String = (0..11).map(|number| format!("class {number}\n")).collect();
    let source = DataSource::open(folder(&numbered, &[("classnames.txt", &names)]).path()).unwrap();
    assert_eq!((source.classes.len(), listed(&source)[0].as_str()), (11, "shots/a.png class 10"));
    let info = r#"{"features": {"jpg": {"_type": "Image"}, "cls": {"names": ["x", "y", "z", "3", "4", "5", "6", "7", "8", "9", "t"]}}}"#;
    let source = DataSource::open(folder(&numbered, &[("dataset_info.json", info)]).path()).unwrap();
    assert_eq!(listed(&source), ["shots/a.png t", "shots/b.jpg z"]);
    let error = error_of(folder(&numbered, &[("classnames.txt", "x\ny\n")]).path());
    assert!(error.contains("classnames.txt: the label 10 is none of the 2 class names"), "{error}");

    let named: [(&str, &[u8]); 8] = [
        ("a.json", br#"{"label": "dog", "caption": "x"}"#),
        ("a.png", &image),
        ("b.cls", b"cat"),
        ("b.json", br#"{"label": "dog"}"#),
        ("b.txt", b"a cat on a mat"),
        ("b.png", &other),
        ("c.png", &image),
        ("c.json", b"[1, 2]"),
    ];
    let source = DataSource::open(folder(&named, &[]).path()).unwrap();
    assert_eq!(listed(&source), ["shots/a.png dog", "shots/b.png cat", "shots/c.png -"]);
    let texts: [(&str, &[u8]); 4] = [("a.png", &image), ("a.txt", b"dog\n"), ("b.png", &image), ("b.txt", b"cat")];
    assert_eq!(DataSource::open(folder(&texts, &[]).path()).unwrap().classes, ["cat", "dog"]);
}

#[test]
fn captions_are_no_classes() {
    let image = png(1);
    let names: Vec<(String, String)> = (0..30).map(|n| (format!("{n:02}.png"), format!("{n:02}.txt"))).collect();
    let texts: Vec<String> = (0..30).map(|n| format!("picture {n}")).collect();
    let members: Vec<(&str, &[u8])> = names
        .iter()
        .zip(&texts)
        .flat_map(|((png, txt), text)| [(png.as_str(), &image[..]), (txt.as_str(), text.as_bytes())])
        .collect();
    let source = DataSource::open(folder(&members, &[]).path()).unwrap();
    assert!(source.all().samples.iter().all(|sample| sample.label.is_none()));
    assert!(source.notes[0].to_string().contains("30 different texts for 30 images"), "{:?}", source.notes);
}

#[test]
fn images_are_told_by_their_contents_too_and_others_are_counted() {
    let image = png(9);
    let members: [(&str, &[u8]); 6] = [
        ("a.img", &image),
        ("a.cls", b"x"),
        ("b.left.png", &image),
        ("b.cls", b"y"),
        ("c.heic", b"\0\0\0\x18ftypheic"),
        ("._d.png", b"a file of macOS"),
    ];
    let root = folder(&members, &[]);
    let source = DataSource::open(root.path()).unwrap();
    assert_eq!(listed(&source), ["shots/a.img x", "shots/b.left.png y"]);
    assert!(source.notes[0].to_string().ends_with("cannot be read as an image: 1 .heic (convert them to JPEG or PNG)"));
    let image = source.all().samples[0].image.load(&DecodeLimits::default()).unwrap();
    assert_eq!(image.get_pixel(1, 1).0, [9, 0, 0]);
}

#[test]
fn mistakes_are_named() {
    let image = png(1);
    let whole = archive(&[("a.png", &image), ("a.cls", b"1")]);
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.tar");
    let write = |bytes: &[u8]| fs::write(&path, bytes).unwrap();
    write(b"\x1f\x8b\x08\0\0\0\0\0\0\0");
    assert!(error_of(root.path()).contains("a.tar: the archive is compressed"));
    fs::rename(&path, root.path().join("a.tar.gz")).unwrap();
    assert!(error_of(&root.path().join("a.tar.gz")).contains("decompress it"));
    fs::remove_file(root.path().join("a.tar.gz")).unwrap();
    write(&whole[..550]);
    assert!(error_of(root.path()).contains("ends within a.png"), "{}", error_of(root.path()));
    write(&[&whole[..1024], &[7; 512]].concat());
    assert!(error_of(root.path()).contains("damaged"), "{}", error_of(root.path()));
    write(&archive(&[("inner.tar", &whole)]));
    assert!(error_of(root.path()).contains("no image among its members"));
    write(&archive(&[("a.png", &image), ("a.json", b"{\"label\": [1, 2]}")]));
    assert!(error_of(root.path()).contains("a.json: the label is a list of 2"));
    write(&archive(&[("a.png", &image), ("a.json", b"{label: 1}")]));
    assert!(error_of(root.path()).contains("a.json: it is not JSON"));
    // Among images, an archive is something that lies there.
    fs::create_dir(root.path().join("cat")).unwrap();
    fs::write(root.path().join("cat/1.png"), "").unwrap();
    assert_eq!(DataSource::open(root.path()).unwrap().classes, ["cat"]);
}

/// More archives than a process may have open files, each read and its image loaded.
#[test]
fn archives_are_not_kept_open() {
    let root = tempfile::tempdir().unwrap();
    let bytes = archive(&[("a.png", &png(3)), ("a.cls", b"0")]);
    (0..3000).for_each(|number| fs::write(root.path().join(format!("train-{number:06}.tar")), &bytes).unwrap());
    let source = DataSource::open(root.path()).unwrap();
    let samples = source.all();
    assert_eq!(samples.len(), 3000);
    let last = samples.samples.last().unwrap();
    assert_eq!(&*last.name, "train-002999/a.png");
    assert_eq!(last.image.load(&DecodeLimits::default()).unwrap().get_pixel(0, 0).0, [3, 0, 0]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn changed_bytes_never_panic(at in any::<proptest::sample::Index>(), cut in any::<proptest::sample::Index>(), byte: u8, number: u8) {
        let image = png(1);
        let mut bytes = archive(&[("a.png", &image), ("a.cls", b"1"), ("b.json", b"{\"label\": 3}"), (&"n".repeat(120), b"x")]);
        let place = at.index(bytes.len());
        bytes[place] = byte;
        // The checksum would hide changes of a header from all that comes after it.
        let header = place / 512 * 512;
        if header + 512 <= bytes.len() && number < 200 {
            let sum: u32 = bytes[header..header + 512].iter().enumerate()
                .map(|(at, &byte)| if (148..156).contains(&at) { 32 } else { u32::from(byte) }).sum();
            bytes[header + 148..header + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        bytes.truncate(if number % 4 == 0 { cut.index(bytes.len()) } else { bytes.len() });
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a.tar"), bytes).unwrap();
        if let Ok(source) = DataSource::open(root.path()) {
            source.all().samples.iter().for_each(|sample| drop(sample.image.load(&DecodeLimits::default())));
        }
    }
}
