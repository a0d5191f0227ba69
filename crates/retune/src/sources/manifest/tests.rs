use super::*;
use crate::sources::SplitBy;
use crate::sources::format::Labels;
use proptest::prelude::*;

fn folder_with(manifest: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for image in ["a.png", "b.png", "c, d.png"] {
        fs::write(folder.path().join(image), "").unwrap();
    }
    let path = folder.path().join(manifest);
    fs::write(&path, text).unwrap();
    (folder, path)
}

/// Path, label, split and group of each row, `-` for what is missing.
fn rows_of(format: Syntax, text: &[u8]) -> Result<Vec<[String; 4]>, LineError> {
    let mut rows = Vec::new();
    let add = |row: Row| {
        let fields = [Some(row.path), row.label, row.split, row.group];
        rows.push(fields.map(|field| field.unwrap_or("-").to_owned()));
        Ok(())
    };
    read_rows(format, text, Labels::One, add)?;
    Ok(rows)
}

fn open_text(manifest: &str, text: &str) -> Result<DataSource, DataError> {
    let (_folder, path) = folder_with(manifest, text);
    DataSource::open(path)
}

#[test]
fn a_csv_manifest_may_order_its_columns_freely() {
    let text = "\u{feff}label, path ,split,group,score\ndog,a.png,train,day,1\ncat,b.png,train,,2\ndog,\"c, d.png\",valid,night,3\n";
    let source = open_text("list.csv", text).unwrap();
    assert_eq!(source.classes, ["cat", "dog"]);
    let train = source.split(&SplitName::Train).unwrap();
    assert_eq!(train.labels().unwrap(), [1, 0]);
    assert_eq!(train.samples[0].group.as_deref(), Some("day"));
    assert_eq!(train.samples[1].group, None);
    assert_eq!(&*source.split(&SplitName::Validation).unwrap().samples[0].name, "c, d.png");
    assert_eq!(source.all().groups(), ["day", "night"]);
}

#[test]
fn several_labels_are_in_one_field_or_in_a_column_each() {
    let labels = |manifest: &str, text: &str| {
        let (_folder, path) = folder_with(manifest, text);
        let source = DataSource::open_multi_label(&path).unwrap();
        assert!(source.notes.is_empty(), "{:?}", source.notes);
        let sets = crate::sources::LabelSets::of(&source.classes);
        let of = |label: Option<usize>| sets.of_class(label.unwrap()).to_vec();
        let found = source.all().samples.iter().map(|sample| of(sample.label)).collect::<Vec<_>>();
        (sets.names().to_vec(), found)
    };
    let expected = (vec!["cat".to_owned(), "dog".to_owned()], vec![vec![0, 1], vec![], vec![1]]);
    for (manifest, text) in [
        ("list.csv", "path,labels\na.png,dog|cat\nb.png,\n\"c, d.png\",dog\n"),
        ("list.csv", "path,dog,group,cat\na.png,1,x,1.0\nb.png,0,x,\n\"c, d.png\",1,y,0\n"),
        (
            "list.jsonl",
            "{\"path\": \"a.png\", \"label\": [\"dog\", \"cat\"]}\n{\"path\": \"b.png\", \"label\": []}\n\
             {\"path\": \"c, d.png\", \"label\": \"dog\"}\n",
        ),
        (
            "list.jsonl",
            "{\"path\": \"a.png\", \"dog\": 1, \"cat\": true}\n{\"path\": \"b.png\", \"dog\": 0, \"cat\": 0}\n\
             {\"path\": \"c, d.png\", \"dog\": true, \"cat\": false}\n",
        ),
    ] {
        assert_eq!(labels(manifest, text), expected, "{text}");
    }
    let (_folder, path) = folder_with("list.csv", "path,dog,score\na.png,1,0.7\n");
    let error = DataSource::open_multi_label(&path).unwrap_err().to_string();
    assert!(error.contains("line 2: the column `score` holds 0.7"), "{error}");
}

#[test]
fn both_formats_read_the_same() {
    let csv = rows_of(Syntax::Csv, b"path,label,split\na.png,3,train\n\nb.png,,test\n").unwrap();
    let json = "{\"path\": \"a.png\", \"label\": 3, \"split\": \"train\"}\n\n\
                {\"path\": \"b.png\", \"label\": null, \"split\": \"test\", \"more\": []}\n";
    assert_eq!(csv, rows_of(Syntax::JsonLines, json.as_bytes()).unwrap());
    let b = ["b.png", "-", "test", "-"];
    assert_eq!(csv, [["a.png", "3", "train", "-"], b].map(|row| row.map(str::to_owned)));
}

#[test]
fn the_names_and_lists_of_one_that_the_hub_uses_are_understood() {
    let csv = rows_of(Syntax::Csv, b"file_name,labels\na.png,cat\nb.png,dog\n").unwrap();
    let json =
        "{\"image_file_name\": \"a.png\", \"labels\": [\"cat\"]}\n{\"file_name\": \"b.png\", \"labels\": \"dog\"}\n";
    assert_eq!(csv, rows_of(Syntax::JsonLines, json.as_bytes()).unwrap());
    assert_eq!(csv[0], ["a.png", "cat", "-", "-"]);
}

#[test]
fn unsplit_manifests_are_whole() {
    let source = open_text("list.csv", "path\na.png\nb.png\n").unwrap();
    assert_eq!(source.splits.keys().collect::<Vec<_>>(), [&SplitName::All]);
    assert_eq!(source.all().samples[0].label, None);
}

/// Each mistake gives an error that names the file, the line and the remedy or reason.
#[test]
fn mistakes_are_reported_with_their_line() {
    let cases = [
        ("l.csv", "a.png,dog\nb.png,cat\n", 1, "lack `path`"),
        ("l.csv", "path,label\na.png,dog\nabsent.png,cat\n", 3, "there is no file"),
        ("l.csv", "path,label\na.png,dog\n,cat\n", 3, "path is empty"),
        ("l.csv", "path,label\na.png,dog\n\nb.png,cat,x\n", 4, "3 fields"),
        ("l.csv", "\u{feff}path,label\r\n\r\n\r\na.png,dog\r\n\r\nb.png,cat,x", 6, "3 fields"),
        ("l.csv", "path,label,split\na.png,dog,train\nb.png,cat,\n", 3, "split is missing"),
        ("l.csv", "path,label\n", 1, "no image"),
        ("l.csv", "", 1, "lack `path`"),
        ("l.jsonl", "{\"path\": \"a.png\"}\n{\"path\": 3}\n", 2, "expected an object"),
        ("l.jsonl", "{\"path\": \"a.png\"}\n\n{\"label\": \"x\"}\n", 3, "path"),
        ("l.jsonl", "not json\n", 1, "expected an object"),
        (
            "l.jsonl",
            "\n{\"path\": \"a.png\", \"label\": [\"cat\", \"dog\"]}\n",
            2,
            "the label is a list of 2 (\"cat\", …)",
        ),
        ("l.jsonl", "{\"path\": \"a.png\", \"label\": {\"cat\": 1}}\n", 1, "the label is an object"),
    ];
    for (name, text, line, expected) in cases {
        let error = open_text(name, text).unwrap_err().to_string();
        assert!(error.contains(&format!("{name}, line {line}: ")), "{text:?}: {error}");
        assert!(error.contains(expected), "{text:?}: {error}");
    }
}

/// Long manifests list folders in place of asking for each file; the answers are the same.
#[test]
fn a_long_manifest_names_its_missing_file_too() {
    let mut text = "path,label\n".to_owned();
    (0..MANY_ROWS).for_each(|row| text.push_str(if row % 2 == 0 { "a.png,x\n" } else { "./b.png,y\n" }));
    assert_eq!(open_text("list.csv", &text).unwrap().all().len(), MANY_ROWS);
    text.push_str("a.png,x\nabsent/c.png,y\n");
    let error = open_text("list.csv", &text).unwrap_err().to_string();
    assert!(error.contains(&format!("line {}: ", MANY_ROWS + 3)) && error.contains("there is no file"), "{error}");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = rows_of(Syntax::Csv, &bytes);
        let _ = rows_of(Syntax::JsonLines, &bytes);
    }

    #[test]
    fn almost_valid_text_never_panics(text in "(path|label|split|a\\.png|[,\"\n\r{}:\\\\ ]){0,40}") {
        let _ = rows_of(Syntax::Csv, text.as_bytes());
        let _ = rows_of(Syntax::JsonLines, text.as_bytes());
    }

    #[test]
    fn what_is_written_as_csv_is_read_back(rows in proptest::collection::vec(("[a-z,\" ]{0,6}[a-z]", "[a-z\"]{1,5}"), 1..10)) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(["path", "label"]).unwrap();
        for (path, label) in &rows {
            writer.write_record([path, label]).unwrap();
        }
        let read = rows_of(Syntax::Csv, &writer.into_inner().unwrap()).unwrap();
        let read: Vec<(String, String)> = read.into_iter().map(|[path, label, ..]| (path, label)).collect();
        // Blanks around a field are not kept.
        let expected: Vec<(String, String)> = rows.into_iter().map(|(path, label)| (path.trim().to_owned(), label)).collect();
        prop_assert_eq!(read, expected);
    }
}

#[test]
fn other_names_and_separators_are_known_and_unused_columns_are_noted() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a b.png"), "").unwrap();
    for (text, unused) in [
        ("filename,target,site\na b.png,dog,3\n", "the column site is not used"),
        ("class;image;site;day\ndog;a b.png;3;4\n", "the columns site and day are not used"),
        ("path\tlabel\na b.png\tdog\n", ""),
    ] {
        let path = folder.path().join("l.csv");
        fs::write(&path, text).unwrap();
        let source = DataSource::open(&path).unwrap();
        assert_eq!((source.classes.len(), source.classes[0].as_str(), source.all().len()), (1, "dog", 1), "{text}");
        let notes: Vec<String> = source.notes.iter().map(ToString::to_string).collect();
        assert!(notes.concat().ends_with(unused) && notes.len() == usize::from(!unused.is_empty()), "{notes:?}");
    }
}

#[test]
fn columns_that_may_hold_what_is_missing_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let lines: String = (0..8).map(|image| format!("{image}.png,{},{}\n", image % 2, image / 2)).collect();
    (0..8).for_each(|image| fs::write(folder.path().join(format!("{image}.png")), "").unwrap());
    let error = |header: &str, by: SplitBy| {
        let path = folder.path().join("l.csv");
        fs::write(&path, format!("{header}\n{lines}")).unwrap();
        DataSource::open(&path).unwrap().train_and_validation(0.2, by, 0).unwrap_err().to_string()
    };
    let unlabeled = error("path,diagnosis,group", SplitBy::Image);
    assert!(
        unlabeled.starts_with("no image has a label, and") && unlabeled.ends_with("(the column diagnosis is not used)")
    );
    let ungrouped = error("path,label,site", SplitBy::Group);
    assert!(ungrouped.contains("l.csv names no groups") && ungrouped.ends_with("(the column site is not used)"));
}

#[test]
fn files_that_are_listed_twice_are_noted() {
    let folder = tempfile::tempdir().unwrap();
    (0..8).for_each(|image| fs::write(folder.path().join(format!("{image}.png")), "").unwrap());
    let notes = |more: &str| {
        let lines: String = (0..8).map(|image| format!("{image}.png,{}\n", image % 2)).collect();
        let path = folder.path().join("l.csv");
        fs::write(&path, format!("path,label\n{lines}{more}")).unwrap();
        let notes = DataSource::open(&path).unwrap().train_and_validation(0.2, SplitBy::Image, 0).unwrap().notes;
        notes.iter().map(ToString::to_string).collect::<Vec<_>>().concat()
    };
    assert_eq!(notes(""), "");
    assert_eq!(notes("3.png,1\n4.png,0\n"), "2 images are listed more than once, such as 3.png");
    let expected = "2 images are listed more than once, 1 of them with different labels, such as 4.png";
    assert_eq!(notes("3.png,1\n4.png,1\n"), expected);
}
